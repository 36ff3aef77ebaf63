/*
 * codec_int_kernels.h - what int8, int4 and int2 share: the scale of a block, and the inner loops'
 * interface.  The wire format is in codec_int.c.
 *
 * A scale is zero, or from 2^-126 (so that its inverse is finite) to what the greatest code times
 * it leaves finite.  On the wire it is one of
 *
 *   fp16  2 bytes.  Bit 15 clear: an IEEE binary16 (normal, or zero).  Bit 15 set: the other 15
 *         bits are a bfloat16 without its sign, for what binary16 doesn't reach: below 2^-14,
 *         where most gradients' scales lie, and from 65536.  So no block is lost by its scale.
 *   fp32  4 bytes.
 *   pow2  1 byte: 0 is zero, e is 2^(e - 127).
 */
#ifndef COMPRESS_CODEC_INT_KERNELS_H
#define COMPRESS_CODEC_INT_KERNELS_H

#include <string.h>

#include "compress/codec.h"

enum int_kind { INT_8 = 0, INT_4, INT_2, INT_KINDS };
enum int_scale { INT_FP16 = 0, INT_FP32, INT_POW2 };

enum {
	INT_BLOCK_MIN = 32,
	INT_BLOCK_MAX = 4096, /* 16 KiB of p on the stack */
};

/* One CPU variant; counts are of the chunk, bytes as codec_int.c lays them out, checked. */
struct int_kernels {
	/* By kind and rounding.  Return: greatest bits of |p|; see CODEC_NONFINITE_BITS. */
	uint32_t (*encode[INT_KINDS][2])(const struct codec_setting *s,
					 const struct codec_input *input, unsigned char *out);
	/* away: past the caches if aligned to 64; blocks are whole lines. */
	void (*decode[INT_KINDS])(const struct codec_setting *s, const unsigned char *bytes,
				  float *out, size_t count, bool away);
	void (*decode_add[INT_KINDS])(const struct codec_setting *s, const unsigned char *bytes,
				      float weight, float *sum, size_t count);
};

extern const struct int_kernels int_scalar;
#ifdef __x86_64__
extern const struct int_kernels int_avx2;
extern const struct int_kernels int_avx512;
#endif

static inline uint32_t int_bits(enum int_kind kind)
{
	return 8u >> kind;
}

static inline size_t int_code_bytes(enum int_kind kind, size_t count)
{
	return (count * int_bits(kind) + 7) / 8;
}

/* The greatest scale, exact in fp16 (as bfloat16) and fp32: below 2^128 / 127, / 7, / 3. */
static inline float int_scale_max(enum int_kind kind, enum int_scale format)
{
	static const float most[INT_KINDS][2] = {
		{0x1.02p121f, 0x1p121f}, {0x1.24p125f, 0x1p125f}, {0x1.54p126f, 0x1p126f}};

	return most[kind][format == INT_POW2];
}

static inline size_t int_scale_bytes(enum int_scale format)
{
	return format == INT_FP16 ? 2 : format == INT_FP32 ? 4 : 1;
}

static inline uint32_t int_float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float int_bits_float(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline bool int_scale_half(uint32_t bits) /* is it in binary16's normal range? */
{
	return bits - 0x38800000u < 0x47800000u - 0x38800000u;
}

/*
 * int_scale_round() - the scale that the format has: the next from s on upward, so that no code
 * is out of range; or the nearest.  s is finite, not negative; zero stays zero.
 */
static inline float int_scale_round(enum int_scale format, float s, float most, bool nearest)
{
	uint32_t bits, rest;

	if (!(s > 0))
		return 0;
	s = s < 0x1p-126f ? 0x1p-126f : s;
	bits = int_float_bits(s);
	rest = format == INT_FP32 ? 0 : format == INT_POW2 ? 0x7fffff : 0xffff;
	if (format == INT_FP16 && int_scale_half(bits))
		rest = 0x1fff;
	bits = (bits + (nearest ? (rest + 1) / 2 : rest)) & ~rest;
	s = int_bits_float(bits);
	return s < most ? s : most;
}

/* int_scale_put() - a rounded scale to the wire.  Return: where the codes begin. */
static inline unsigned char *int_scale_put(enum int_scale format, float s, unsigned char *out)
{
	uint32_t bits = int_float_bits(s);
	uint16_t half;

	switch (format) {
	case INT_FP32: memcpy(out, &bits, sizeof(bits)); return out + sizeof(bits);
	case INT_POW2: *out = (unsigned char)(bits >> 23); return out + 1;
	case INT_FP16: break;
	}
	if (int_scale_half(bits))
		half = (uint16_t)((bits - 0x38000000u) >> 13);
	else
		half = (uint16_t)(bits ? 0x8000 | bits >> 16 : 0);
	memcpy(out, &half, sizeof(half));
	return out + sizeof(half);
}

static inline float int_scale_get(enum int_scale format, const unsigned char *bytes)
{
	uint32_t bits;
	uint16_t half;

	switch (format) {
	case INT_FP32: memcpy(&bits, bytes, sizeof(bits)); return int_bits_float(bits);
	case INT_POW2: return int_bits_float((uint32_t)*bytes << 23);
	case INT_FP16: break;
	}
	memcpy(&half, bytes, sizeof(half));
	if (half & 0x8000)
		return int_bits_float((uint32_t)(half & 0x7fff) << 16);
	return half ? int_bits_float(((uint32_t)half << 13) + 0x38000000u) : 0;
}

/* int_scale_fits() - is a scale from the wire one that int_scale_put() makes, for this kind? */
static inline bool int_scale_fits(enum int_scale format, enum int_kind kind,
				  const unsigned char *bytes)
{
	float s = int_scale_get(format, bytes);
	uint32_t bits = int_float_bits(s);
	bool wide = format == INT_FP16 && bytes[1] & 0x80; /* a bfloat16 */

	if (!bits)
		return !wide;
	if (format == INT_FP16 && int_scale_half(bits) == wide)
		return false;
	return s >= 0x1p-126f && s <= int_scale_max(kind, format);
}

#endif
