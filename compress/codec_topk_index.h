/*
 * codec_topk_index.h - which elements of a chunk are kept, as bytes.
 *
 *   all      nothing: every element is kept
 *   bitmap   ceil(count / 8) bytes; bit i % 8 of byte i / 8 is element i
 *   gaps     a Rice code of the gaps between kept elements: gap = index - index before - 1 (of the
 *            first: index).  ceil(kept * r / 8) bytes hold the low r bits of each gap; then, up to
 *            the end, gap >> r zeros and a one for each.  r follows from count and kept: the
 *            first for which r + 1 does not lower kept * (r + 1) + ((count - kept) >> r), the
 *            most bits that this can take
 *   local    of each 1024 elements uint16 how many are kept, then 10 bits for the place of each
 *
 * Bits fill bytes from the lowest on; spare bits are zero, numbers are little-endian.
 */
#ifndef COMPRESS_CODEC_TOPK_INDEX_H
#define COMPRESS_CODEC_TOPK_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum topk_coding { TOPK_ALL, TOPK_BITMAP, TOPK_GAPS, TOPK_LOCAL, TOPK_CODINGS };

enum {
	TOPK_BLOCK = 1024,    /* elements */
	TOPK_PLACE_BITS = 10, /* of a place in a block */
};

/* topk_index_most() - bytes that indices of `kept` elements take at most in a coding. */
size_t topk_index_most(enum topk_coding coding, size_t kept, size_t count);

/* topk_index_bytes() - bytes that these take. */
size_t topk_index_bytes(enum topk_coding coding, const uint32_t *index, size_t kept, size_t count);

/* topk_bitmap_write() - ceil(count / 8) bytes. */
void topk_bitmap_write(const uint32_t *index, size_t kept, size_t count, unsigned char *out);

/* topk_bitmap_good() - is it of the right length, its spare bits zero?  Bits are not counted. */
bool topk_bitmap_good(const unsigned char *bytes, size_t length, size_t count);

/* Return: the bytes written. */
size_t topk_index_write(enum topk_coding coding, const uint32_t *index, size_t kept, size_t count,
			unsigned char *out);

/*
 * topk_index_read() - hostile bytes to indices, ascending and below count
 * @index: room for kept
 * Return: 0; -EBADMSG if they are not what topk_index_write() makes of exactly `kept` indices.
 */
int topk_index_read(enum topk_coding coding, const unsigned char *bytes, size_t length,
		    uint32_t *index, size_t kept, size_t count);

/* Numbers of a few bits, one after the other. */
struct topk_bits {
	unsigned char *out;
	uint64_t word;
	unsigned int held; /* bits in word, less than 32 */
};

void topk_bits_put(struct topk_bits *bits, uint32_t value, unsigned int width);
void topk_bits_end(struct topk_bits *bits);

/* topk_places_write() - the places of indices in their blocks. */
void topk_places_write(struct topk_bits *bits, const uint32_t *index, size_t kept);

/* topk_bits_get() - `width` bits (up to 32) from bit `at`; all lie within bytes[length]. */
uint32_t topk_bits_get(const unsigned char *bytes, size_t length, size_t at, unsigned int width);

/* topk_bits_spare() - are the bits from `used` up to 8 * length zero? */
bool topk_bits_spare(const unsigned char *bytes, size_t length, size_t used);

#endif
