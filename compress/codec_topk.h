/* codec_topk.h - what the files of topk share; the codec itself is in codec_topk.c. */
#ifndef COMPRESS_CODEC_TOPK_H
#define COMPRESS_CODEC_TOPK_H

#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_topk_index.h"
#include "compress/codec_topk_select.h"

/* Numbers of the options' words. */
enum { TOPK_EXACT, TOPK_BY_BLOCK, TOPK_THRESHOLD };
enum { TOPK_CHUNK, TOPK_TENSOR };
enum { TOPK_F32, TOPK_BF16 };
enum { TOPK_AUTO }; /* and enum topk_coding from TOPK_BITMAP on */

enum { TOPK_HEADER_BYTES = 4 };

/* topk_keep() - how many elements of `count`: 1 to count. */
size_t topk_keep(float density, size_t count);
size_t topk_value_bytes(const struct codec_setting *s);

/* topk_sent() - what decoding makes of a value. */
static inline float topk_sent(const struct codec_setting *s, float value)
{
	return s->values == TOPK_BF16 ? sparse_widen(sparse_narrow(value)) : value;
}

/* topk_values_write() - those of a list.  Return: where they end. */
unsigned char *topk_values_write(const struct codec_setting *s, const struct topk_list *l,
				 unsigned char *out);

/* mode=block; see codec_topk.c for the bytes. */
size_t topk_block_kept(const struct codec_setting *s, size_t count);
size_t topk_block_bytes(const struct codec_setting *s, size_t count);
struct codec_result topk_block_encode(const struct codec_setting *s, struct topk_list *l,
				      const struct codec_input *input, unsigned char *out);
/* topk_block_bitmap() - are the indices a bitmap? */
bool topk_block_bitmap(const struct codec_setting *s);
/* topk_block_good() - has a hostile bitmap as many bits in each block as it must? */
bool topk_block_good(const struct codec_setting *s, const struct sparse_kernels *k,
		     const unsigned char *bitmap, size_t length, size_t count);
/* topk_block_read() - hostile bytes to topk_block_kept() indices.  Return: 0 or -EBADMSG. */
int topk_block_read(const struct codec_setting *s, const unsigned char *bytes, size_t length,
		    uint32_t *index, size_t count);

#endif
