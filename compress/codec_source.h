/*
 * codec_source.h - what a codec encodes: p = in + residual_scale * residual, a tile at a time.
 *
 * For codecs without a loop of their own that fuses this.  Plain C; compilers make it wide.
 */
#ifndef COMPRESS_CODEC_SOURCE_H
#define COMPRESS_CODEC_SOURCE_H

#include <string.h>

#include "compress/codec.h"

enum { CODEC_SOURCE_TILE = 1024 }; /* elements: 4 KiB of stack */

static inline size_t codec_source_tile(const struct codec_input *input, size_t first)
{
	size_t left = input->count - first;

	return left < CODEC_SOURCE_TILE ? left : CODEC_SOURCE_TILE;
}

/*
 * codec_source() - p of elements [first, first + count) to p[].
 * Return: the greatest magnitude's bits (without the sign), for codec_source_nonfinite().
 */
static inline uint32_t codec_source(const struct codec_input *input, size_t first, size_t count,
				    float *restrict p)
{
	const float *in = input->in + first;
	const float *residual = input->residual ? input->residual + first : NULL;
	float scale = input->residual_scale;
	uint32_t greatest = 0;

	if (residual)
		for (size_t i = 0; i < count; i++)
			p[i] = in[i] + scale * residual[i];
	else
		memcpy(p, in, count * sizeof(*p));
	for (size_t i = 0; i < count; i++) {
		uint32_t bits;

		memcpy(&bits, &p[i], sizeof(bits));
		bits &= 0x7fffffffu;
		greatest = bits > greatest ? bits : greatest;
	}
	return greatest;
}

static inline bool codec_source_nonfinite(uint32_t greatest)
{
	return greatest >= 0x7f800000u;
}

#endif
