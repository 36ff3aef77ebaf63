/*
 * codec_dither.h - what natural, qsgd and terngrad have in common: blocks with a header each, and
 * in them tiles of codes that are rounded at random.
 *
 * A format says how; dither_encode() and the others, which are struct codec's, go over blocks and
 * tiles.  On the wire: block after block, its header, then its tiles, each as many bytes as the
 * format says.
 */
#ifndef COMPRESS_CODEC_DITHER_H
#define COMPRESS_CODEC_DITHER_H

#include "compress/codec.h"
#include "compress/codec_dither_kernels.h"

struct dither_format {
	size_t header_bytes, tile; /* tile: elements */
	bool scattered;            /* decode() doesn't write a tile from its beginning to its end */
	size_t (*bytes)(const struct codec_setting *s, size_t count); /* of a tile */
	bool (*squares)(const struct codec_setting *s); /* does header_of() need their sum? */
	/* header_of() - the block's header, from what was measured of its count elements. */
	void (*header_of)(const struct codec_setting *s, struct dither_measure measure,
			  size_t count, unsigned char *header);
	void (*encode)(const struct codec_setting *s, const struct dither_kernels *k,
		       const unsigned char *header, const float *p, struct random_key key,
		       uint32_t element, size_t count, unsigned char *bytes);
	/* decode() - of a tile whose header and bytes are good. */
	void (*decode)(const struct codec_setting *s, const struct dither_kernels *k,
		       const unsigned char *header, const unsigned char *bytes, float *out,
		       size_t count);
	bool (*good_header)(const unsigned char *header);
	bool (*good_tile)(const struct codec_setting *s, const struct dither_kernels *k,
			  const unsigned char *bytes, size_t count);
};

extern const struct dither_format dither_natural, dither_qsgd, dither_terngrad;

size_t dither_bound(const struct codec_setting *s, size_t count);
size_t dither_work(const struct codec_setting *s, size_t count);
struct codec_result dither_encode(const struct codec_setting *s, const struct codec_kernels *k,
				  const struct codec_input *input, void *out);
int dither_decode(const struct codec_setting *s, const struct codec_kernels *k,
		  const struct codec_origin *origin, const void *bytes, size_t length, float *out,
		  size_t count);
int dither_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
		      const struct codec_origin *origin, const void *bytes, size_t length,
		      float weight, float *sum, size_t count);

/* A scale as a header: float32, little-endian, finite and not negative. */
float dither_scale(const unsigned char *header);
bool dither_good_scale(const unsigned char *header);

/* dither_shift() - a power of two s so that s * scale and 1 / (s * scale) are normal floats. */
float dither_shift(float scale);

#endif
