/* codec_sign_scalar.c - the loops of codec_sign.c in plain C, for any CPU. */
#include "compress/codec_sign_kernels.h"

#include <stdint.h>
#include <string.h>

#include "compress/inline.h"

#define VARIANT scalar
#define EACH for (size_t i = 0; i < 16; i++)

typedef struct {
	float at[16];
} v16;

typedef struct {
	double at[16];
} sums16;

INLINE v16 load16(const float *from)
{
	v16 v;

	memcpy(v.at, from, sizeof(v.at));
	return v;
}

INLINE void store16(float *to, v16 v)
{
	memcpy(to, v.at, sizeof(v.at));
}

INLINE void stream16(float *to, v16 v)
{
	store16(to, v);
}

INLINE v16 splat16(float x)
{
	v16 v;

	EACH v.at[i] = x;
	return v;
}

INLINE v16 add16(v16 a, v16 b)
{
	EACH a.at[i] += b.at[i];
	return a;
}

INLINE v16 subtract16(v16 a, v16 b)
{
	EACH a.at[i] -= b.at[i];
	return a;
}

INLINE v16 multiply16(v16 a, v16 b)
{
	EACH a.at[i] *= b.at[i];
	return a;
}

INLINE unsigned int below_zero16(v16 v)
{
	unsigned int bits = 0;

	EACH bits |= (unsigned int)(v.at[i] < 0) << i;
	return bits;
}

INLINE v16 by_sign16(v16 v, v16 plus, v16 minus)
{
	EACH v.at[i] = v.at[i] < 0 ? minus.at[i] : plus.at[i];
	return v;
}

INLINE v16 by_bits16(unsigned int bits, v16 plus, v16 minus)
{
	EACH plus.at[i] = bits >> i & 1 ? minus.at[i] : plus.at[i];
	return plus;
}

INLINE sums16 sums_zero(void)
{
	return (sums16){{0}};
}

INLINE v16 magnitudes16(v16 v)
{
	EACH v.at[i] = __builtin_fabsf(v.at[i]);
	return v;
}

INLINE sums16 sums_add(sums16 s, v16 v)
{
	EACH s.at[i] += (double)v.at[i];
	return s;
}

INLINE sums16 sums_squares(sums16 s, v16 v)
{
	EACH s.at[i] += (double)v.at[i] * (double)v.at[i];
	return s;
}

INLINE void sums_store(double *to, sums16 s)
{
	memcpy(to, s.at, sizeof(s.at));
}

static void fence(void)
{
}

#include "compress/codec_sign_loops.h"
