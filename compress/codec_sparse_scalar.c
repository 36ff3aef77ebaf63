/* codec_sparse_scalar.c - the loops of sparse codecs in plain C, for any CPU. */
#include "compress/codec_sparse_kernels.h"

#include <string.h>

#define VARIANT scalar

static inline uint64_t mask_of(const float *p, uint32_t least)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < SPARSE_GROUP; i++) {
		uint32_t magnitude;

		memcpy(&magnitude, &p[i], sizeof(magnitude));
		bits |= (uint64_t)((magnitude & 0x7fffffffu) >= least) << i;
	}
	return bits;
}

#define collect_group sparse_one_by_one

static inline size_t expand_line(const float *value, uint32_t kept, float *out)
{
	size_t n = 0;

	memset(out, 0, 16 * sizeof(*out));
	for (; kept; kept &= kept - 1, n++)
		out[__builtin_ctz(kept)] = value[n];
	return n;
}

static inline size_t expand_add_line(const float *value, uint32_t kept, float weight, float *sum)
{
	size_t n = 0;

	for (; kept; kept &= kept - 1, n++)
		sum[__builtin_ctz(kept)] += weight * value[n];
	return n;
}

static inline void copy_line(float *out, const unsigned char *bytes)
{
	memcpy(out, bytes, 16 * sizeof(*out));
}

static inline void stream_line(float *out, const float *p)
{
	memcpy(out, p, 64);
}

static void stream_end(void)
{
}

#include "compress/codec_sparse_loops.h"
