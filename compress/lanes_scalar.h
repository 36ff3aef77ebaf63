/*
 * lanes_scalar.h - sixteen lanes of float32 and uint32 in plain C, for any CPU.
 *
 * lanes_avx2.h and lanes_avx512.h have the same functions for their registers; all give the same
 * bits, so a loop that is written with them once and compiled for each gives them too.  Floats
 * are neither NaN nor infinite where an operation's result would depend on it.
 *
 *   f_set f_load f_add f_sub f_mul f_min f_max   lane by lane; any alignment
 *   f_store, f_stream    to memory; f_stream past the caches, aligned to 64
 *   f_above(a, t, x)     a > t ? x : 0
 *   f_sum                the sum, in the order of a fixed tree
 *   u_set u_add u_and u_or u_xor u_mul u_max     modulo 2^32
 *   u_right(a, n)        a >> n
 *   u_most               the greatest lane
 *   f_of, u_of           the same bits as the other type
 *   f_from               int32 to float
 *   f_nearest            to the nearest int32, even on a tie; magnitudes below 2^22
 *   narrow8 narrow4 narrow2   a lane's low 8, 4 or 2 bits to 16, 8 or 4 bytes, low bits first
 *   narrow8_64 narrow4_64     the same of four, 64 or 32 bytes; lanes are -128 to 127
 *   widen8, widen4       those bytes as int32; -128 and -8 become -127 and -7
 *   widen2               those bytes as 2 c - 3: -3, -1, 1, 3
 */
#ifndef COMPRESS_LANES_SCALAR_H
#define COMPRESS_LANES_SCALAR_H

#include <stdint.h>
#include <string.h>

/* Not inline.h's: here a lane is a loop, and all copies of it keep compilers busy for minutes. */
#define LANE static inline __attribute__((unused))
#define LANES for (int i = 0; i < 16; i++)

typedef struct {
	float v[16];
} f32x16;
typedef struct {
	uint32_t v[16];
} u32x16;

#define LANES_2(V, name, expression)         \
	LANE V name(V x, V y)                \
	{                                    \
		LANES                        \
		{                            \
			x.v[i] = expression; \
		}                            \
		return x;                    \
	}

LANES_2(f32x16, f_add, x.v[i] + y.v[i])
LANES_2(f32x16, f_sub, x.v[i] - y.v[i])
LANES_2(f32x16, f_mul, x.v[i] * y.v[i])
LANES_2(f32x16, f_min, x.v[i] < y.v[i] ? x.v[i] : y.v[i])
LANES_2(f32x16, f_max, x.v[i] > y.v[i] ? x.v[i] : y.v[i])
LANES_2(u32x16, u_add, x.v[i] + y.v[i])
LANES_2(u32x16, u_and, x.v[i] & y.v[i])
LANES_2(u32x16, u_or, x.v[i] | y.v[i])
LANES_2(u32x16, u_xor, x.v[i] ^ y.v[i])
LANES_2(u32x16, u_mul, x.v[i] * y.v[i])
LANES_2(u32x16, u_max, x.v[i] > y.v[i] ? x.v[i] : y.v[i])

LANE f32x16 f_set(float value)
{
	f32x16 x;

	LANES x.v[i] = value;
	return x;
}

LANE u32x16 u_set(uint32_t value)
{
	u32x16 x;

	LANES x.v[i] = value;
	return x;
}

LANE u32x16 u_lanes(void) /* 0, 1, 2 .. 15 */
{
	u32x16 x;

	LANES x.v[i] = (uint32_t)i;
	return x;
}

LANE f32x16 f_load(const float *from)
{
	f32x16 x;

	memcpy(&x, from, sizeof(x));
	return x;
}

LANE void f_store(float *to, f32x16 x)
{
	memcpy(to, &x, sizeof(x));
}

LANE void f_stream(float *to, f32x16 x)
{
	f_store(to, x);
}

LANE void stream_end(void)
{
}

LANE f32x16 f_above(f32x16 x, f32x16 least, f32x16 y)
{
	LANES y.v[i] = x.v[i] > least.v[i] ? y.v[i] : 0;
	return y;
}

LANE float f_sum(f32x16 x)
{
	for (int half = 8; half; half /= 2)
		for (int i = 0; i < half; i++)
			x.v[i] += x.v[i + half];
	return x.v[0];
}

LANE u32x16 u_right(u32x16 x, int bits)
{
	LANES x.v[i] >>= bits;
	return x;
}

LANE uint32_t u_most(u32x16 x)
{
	uint32_t most = 0;

	LANES most = x.v[i] > most ? x.v[i] : most;
	return most;
}

LANE f32x16 f_of(u32x16 x)
{
	f32x16 y;

	memcpy(&y, &x, sizeof(y));
	return y;
}

LANE u32x16 u_of(f32x16 x)
{
	u32x16 y;

	memcpy(&y, &x, sizeof(y));
	return y;
}

LANE f32x16 f_from(u32x16 x)
{
	f32x16 y;

	LANES y.v[i] = (float)(int32_t)x.v[i];
	return y;
}

/* Beyond 2^23 there are no halves: the sum is rounded, and has the integer in its low bits. */
LANE u32x16 f_nearest(f32x16 x)
{
	return u_add(u_of(f_add(x, f_set(0x1.8p23f))), u_set(0u - 0x4b400000u));
}

LANE void narrow8(unsigned char *to, u32x16 x)
{
	LANES to[i] = (unsigned char)x.v[i];
}

LANE void narrow4(unsigned char *to, u32x16 x)
{
	for (int i = 0; i < 8; i++)
		to[i] = (unsigned char)((x.v[2 * i] & 15) | x.v[2 * i + 1] << 4);
}

LANE void narrow2(unsigned char *to, u32x16 x)
{
	for (int i = 0; i < 16; i += 4)
		to[i / 4] = (unsigned char)((x.v[i] & 3) | (x.v[i + 1] & 3) << 2 |
					    (x.v[i + 2] & 3) << 4 | x.v[i + 3] << 6);
}

LANE void narrow8_64(unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	narrow8(to, a);
	narrow8(to + 16, b);
	narrow8(to + 32, c);
	narrow8(to + 48, d);
}

LANE void narrow4_64(unsigned char *to, u32x16 a, u32x16 b, u32x16 c, u32x16 d)
{
	narrow4(to, a);
	narrow4(to + 8, b);
	narrow4(to + 16, c);
	narrow4(to + 24, d);
}

LANE u32x16 widen8(const unsigned char *from)
{
	u32x16 x;

	LANES x.v[i] = (uint32_t)(from[i] == 0x80 ? -127 : (int8_t)from[i]);
	return x;
}

LANE u32x16 widen4(const unsigned char *from)
{
	u32x16 x;

	LANES
	{
		int32_t code = ((from[i / 2] >> i % 2 * 4 & 15) ^ 8) - 8;

		x.v[i] = (uint32_t)(code == -8 ? -7 : code);
	}
	return x;
}

LANE u32x16 widen2(const unsigned char *from)
{
	u32x16 x;

	LANES x.v[i] = (uint32_t)((from[i / 4] >> i % 4 * 2 & 3) * 2 - 3);
	return x;
}

#undef LANES_2
#undef LANES

#endif
