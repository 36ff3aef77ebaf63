/* codec_mx_kernels.h - inner loops of mxfp8 and mxfp4, one struct for each CPU variant. */
#ifndef COMPRESS_CODEC_MX_KERNELS_H
#define COMPRESS_CODEC_MX_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { MX_BLOCK = 32 };

enum mx_format { MX_E4M3 = 0, MX_E5M2, MX_E2M1, MX_FORMATS };

struct mx_shape {
	uint32_t mantissa, bias; /* of an element: bits, and what is added to its exponent */
	uint32_t emax;           /* exponent of the greatest element */
	uint32_t most;           /* the greatest element's code; those beyond it are no numbers */
};

/* Constant, so that each kernel gets its own as immediate numbers. */
static inline struct mx_shape mx_shape(enum mx_format format)
{
	switch (format) {
	case MX_E4M3: return (struct mx_shape){3, 7, 8, 0x7e};
	case MX_E5M2: return (struct mx_shape){2, 15, 15, 0x7b};
	case MX_E2M1:
	case MX_FORMATS: break;
	}
	return (struct mx_shape){1, 1, 2, 0x07};
}

/* Of one block: the scale and the elements. */
static inline size_t mx_block_bytes(enum mx_format format)
{
	return format == MX_E2M1 ? 1 + MX_BLOCK / 2 : 1 + MX_BLOCK;
}

struct mx_kernels {
	/*
	 * p = in + scale * residual (NULL: p = in), whole blocks of it to out; p - decoded to left,
	 * which may be residual, or NULL.  Return: the greatest magnitude's bits.
	 */
	uint32_t (*encode[MX_FORMATS])(const float *in, const float *residual, float scale,
				       size_t blocks, uint8_t *out, float *left);
	/* Of bytes that were checked. */
	void (*decode[MX_FORMATS])(const uint8_t *bytes, size_t blocks, float *out);
	void (*decode_add[MX_FORMATS])(const uint8_t *bytes, size_t blocks, float weight,
				       float *sum);
};

extern const struct mx_kernels mx_scalar;
#ifdef __x86_64__
extern const struct mx_kernels mx_avx2, mx_avx512;
#endif

#endif
