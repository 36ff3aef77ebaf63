/*
 * codec_eden_loops.h - the loops of eden, between lanes.h and lanes_end.h.
 *
 * The transform takes the strides of its butterflies in ascending order, so that each variant adds
 * the same numbers, however many stages it does between a load and a store: all those within a
 * register, and with 16 lanes four of 16 registers each pass.
 */

enum {
	EDEN_SUMS = 16, /* partial sums: of elements i, i + 16, .. */
	EDEN_HALVES = EDEN_WORD / EDEN_SUMS,
	EDEN_ROW = EDEN_SUMS / LANES, /* registers of a half word */
	EDEN_RADIX = LANES == 16 ? 16 : 8,
	EDEN_FIRST = EDEN_RADIX * LANES, /* elements that the first pass turns together */
	EDEN_NEAR = 4096, /* elements that are turned while they are in the first cache */
	EDEN_CODES = EDEN_BLOCK_MIN,                /* elements whose codes are read at once */
	EDEN_BYTES = LANES == 16 ? EDEN_FIRST : 512 /* codes made ahead of the pass */
};

/* --- transform ---------------------------------------------------------------------------- */

INLINE void eden_pair(f32v *a, f32v *b)
{
	/* cppcheck-suppress uninitvar; eden_pass() loads as many as the radix has */
	f32v first = *a;

	*a = first + *b;
	*b = subtract(first, *b);
}

INLINE void eden_four(f32v *v)
{
	eden_pair(v, v + 1);
	eden_pair(v + 2, v + 3);
	eden_pair(v, v + 2);
	eden_pair(v + 1, v + 3);
}

INLINE void eden_eight(f32v *v)
{
	eden_four(v);
	eden_four(v + 4);
	eden_pair(v, v + 4);
	eden_pair(v + 1, v + 5);
	eden_pair(v + 2, v + 6);
	eden_pair(v + 3, v + 7);
}

INLINE void eden_sixteen(f32v *v)
{
	eden_eight(v);
	eden_eight(v + 8);
	eden_pair(v, v + 8);
	eden_pair(v + 1, v + 9);
	eden_pair(v + 2, v + 10);
	eden_pair(v + 3, v + 11);
	eden_pair(v + 4, v + 12);
	eden_pair(v + 5, v + 13);
	eden_pair(v + 6, v + 14);
	eden_pair(v + 7, v + 15);
}

#if LANES > 1
/* One stage within a register: a + b in the lane of a, and in the lane of b -b + a. */
INLINE f32v eden_lanes(f32v v, f32v swapped, uint32_t stride)
{
	return add_signed(v, (lane_numbers() & stride) * (0x80000000u / stride), swapped);
}
#endif

/* All stages of strides below LANES. */
INLINE f32v eden_within(f32v v)
{
#if LANES > 1
	v = eden_lanes(v, swap_1(v), 1);
	v = eden_lanes(v, swap_2(v), 2);
	v = eden_lanes(v, swap_4(v), 4);
#endif
#if LANES == 16
	v = eden_lanes(v, swap_8(v), 8);
#endif
	return v;
}

/* All stages between as many registers as the radix says. */
INLINE void eden_between(f32v *v, int radix)
{
	if (radix == 16)
		eden_sixteen(v);
	else if (radix == 8)
		eden_eight(v);
	else if (radix == 4)
		eden_four(v);
	else
		eden_pair(v, v + 1);
}

INLINE void eden_pass(float *x, size_t n, size_t stride, int radix, bool within)
{
	for (size_t base = 0; base < n; base += stride * (size_t)radix) {
		for (size_t j = base; j < base + stride; j += LANES) {
			f32v v[16];

			UNROLL for (int i = 0; i < radix; i++)
			{
				v[i] = load_f32v(x + j + (size_t)i * stride);
				if (within)
					v[i] = eden_within(v[i]);
			}
			eden_between(v, radix);
			UNROLL for (int i = 0; i < radix; i++)
				store_f32v(x + j + (size_t)i * stride, v[i]);
		}
	}
}

/* From a stride on. */
static void eden_passes(float *x, size_t n, size_t stride)
{
	for (; n / stride >= EDEN_RADIX; stride *= EDEN_RADIX)
		eden_pass(x, n, stride, EDEN_RADIX, false);
	if (n / stride == 8)
		eden_pass(x, n, stride, 8, false);
	else if (n / stride == 4)
		eden_pass(x, n, stride, 4, false);
	else if (n / stride == 2)
		eden_pass(x, n, stride, 2, false);
}

/* Strides below EDEN_NEAR, or n. */
INLINE void eden_transform_near(float *x, size_t n)
{
	if (n < EDEN_FIRST) { /* 64 or 128 elements in registers of 16 */
		if (n == 4 * LANES)
			eden_pass(x, n, LANES, 4, true);
		else
			eden_pass(x, n, LANES, 8, true);
		return;
	}
	eden_pass(x, n, LANES, EDEN_RADIX, true);
	eden_passes(x, n, EDEN_FIRST);
}

static void eden_transform(float *x, size_t n)
{
	for (size_t i = 0; i < n; i += EDEN_NEAR)
		eden_transform_near(x + i, n < EDEN_NEAR ? n : EDEN_NEAR);
	eden_passes(x, n, EDEN_NEAR);
}

/* --- sums --------------------------------------------------------------------------------- */

/* EDEN_SUMS partial sums in a fixed tree. */
INLINE float eden_sum(const f32v *row)
{
	float sum[EDEN_SUMS];

	for (int i = 0; i < EDEN_ROW; i++)
		store_f32v(sum + i * LANES, row[i]);
	for (int half = EDEN_SUMS / 2; half; half /= 2)
		for (int i = 0; i < half; i++)
			sum[i] += sum[i + half];
	return sum[0];
}

static uint32_t eden_source(const float *in, const float *residual, float scale, size_t n, float *p)
{
	i32v most = (i32v){0};

	for (size_t i = 0; i < n; i += LANES) {
		f32v v = load_f32v(in + i);

		if (residual)
			v = v + scale * load_f32v(residual + i);
		store_f32v(p + i, v);
		most = larger(most, (i32v)(bits_of(v) & 0x7fffffff));
	}
	return greatest_lane(most);
}

static float eden_turn(const float *p, float factor, struct random_key key, uint32_t word, size_t n,
		       float *x)
{
	f32v squares[EDEN_ROW] = {(f32v){0}};

	for (size_t i = 0; i < n; i += EDEN_WORD) {
		uint32_t signs = random_u32(key, word++);

		UNROLL for (int g = 0; g < EDEN_WORD / LANES; g++)
		{
			f32v v = load_f32v(p + i + g * LANES) * factor;

			squares[g % EDEN_ROW] += v * v;
			store_f32v(x + i + g * LANES, flip(v, signs, (uint32_t)g * LANES));
		}
	}
	return eden_sum(squares);
}

/* --- codes -------------------------------------------------------------------------------- */

INLINE struct eden_sums eden_quantise(float *x, float inverse, const struct eden_table *table,
				      size_t n, uint8_t *codes, uint32_t bits)
{
	f32v products[EDEN_ROW] = {(f32v){0}}, squares[EDEN_ROW] = {(f32v){0}};

	for (size_t j = 0; j < n; j += EDEN_WORD) {
		uint32_t words[EDEN_BITS_MAX] = {0};

		UNROLL for (int g = 0; g < EDEN_WORD / LANES; g++)
		{
			f32v v = load_f32v(x + j + g * LANES) * inverse, c;
			u32v sign = bits_of(v) & 0x80000000, code = (u32v){0};
			f32v magnitude = floats_of(bits_of(v) ^ sign);

			UNROLL for (uint32_t i = 0; i + 1 < 1u << (bits - 1); i++) code +=
				ONE_WHERE(magnitude > table->threshold[i]);
			c = look_up(table->centroid, code);
			products[g % EDEN_ROW] += magnitude * c;
			squares[g % EDEN_ROW] += c * c;
			store_f32v(x + j + g * LANES, floats_of(bits_of(c) | sign));
			UNROLL for (uint32_t i = 0; i + 1 < bits; i++) words[i] |=
				gather_top(code << (31 - i)) << (g * LANES);
			words[bits - 1] |= gather_top(sign) << (g * LANES);
		}
		memcpy(codes, words, bits * sizeof(*words));
		codes += bits * sizeof(*words);
	}
	return (struct eden_sums){eden_sum(products), eden_sum(squares)};
}

#if LANES == 8
/* Bits of the mask change places with those that many bits above them. */
INLINE __m256i eden_exchange(__m256i v, int bits, uint32_t mask)
{
	__m256i places = _mm256_set1_epi32((int)mask);
	__m256i t = _mm256_and_si256(_mm256_xor_si256(v, _mm256_srli_epi32(v, bits)), places);

	return _mm256_xor_si256(_mm256_xor_si256(v, t), _mm256_slli_epi32(t, bits));
}

/*
 * Four words of planes to each half, so that 32 bits are four rows of eight elements' bits, row i
 * their bit i.  Rows that there are not become zero.
 */
INLINE __m256i eden_planes(const uint8_t *from, uint32_t bits)
{
	const __m128i *first = (const __m128i *)(const void *)from;
	const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	const __m128i none = _mm_cmpgt_epi8(_mm_and_si128(order, _mm_set1_epi8(12)),
					    _mm_set1_epi8((char)(4 * bits - 1)));
	const uint32_t second = bits == 1 ? 4 : 16 - 4 * bits; /* where the second word's begin */
	__m128i a, b;

	if (bits == 1) {
		a = _mm_loadl_epi64(first);
		b = a;
	} else { /* not beyond the end */
		a = _mm_loadu_si128(first);
		b = _mm_loadu_si128((const __m128i *)(const void *)(from + 8 * bits - 16));
	}
	a = _mm_shuffle_epi8(a, _mm_or_si128(order, none));
	b = _mm_shuffle_epi8(b,
			     _mm_or_si128(_mm_add_epi8(order, _mm_set1_epi8((char)second)), none));
	return _mm256_set_m128i(b, a);
}

/* Codes of EDEN_CODES elements to a byte each; of four bits, the sign goes to all higher bits. */
INLINE void eden_codes(const uint8_t *from, uint32_t bits, uint8_t *codes)
{
	const __m256i low = _mm256_set1_epi8(15);
	const __m256i negative = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1));
	__m256i v = eden_planes(from, bits), first, last;

	/* Turned in two squares of four, whose rows are an element's code. */
	v = eden_exchange(v, 7, 0x00aa00aa);
	v = eden_exchange(v, 14, 0x0000cccc);
	first = _mm256_and_si256(v, low);
	last = _mm256_and_si256(_mm256_srli_epi32(v, 4), low);
	if (bits == EDEN_BITS_MAX) {
		first = _mm256_shuffle_epi8(negative, first);
		last = _mm256_shuffle_epi8(negative, last);
	}
	v = _mm256_unpacklo_epi32(first, last);
	last = _mm256_unpackhi_epi32(first, last);
	_mm256_storeu2_m128i((__m128i *)(void *)(codes + 32), (__m128i *)(void *)codes, v);
	_mm256_storeu2_m128i((__m128i *)(void *)(codes + 48), (__m128i *)(void *)(codes + 16),
			     last);
}
#else
/* Codes of EDEN_CODES elements, sign and all, to a byte each. */
INLINE void eden_codes(const uint8_t *from, uint32_t bits, uint8_t *codes)
{
	uint32_t words[EDEN_CODES / EDEN_WORD][EDEN_BITS_MAX];

	for (size_t w = 0; w < EDEN_CODES / EDEN_WORD; w++)
		memcpy(words[w], from + w * bits * sizeof(uint32_t), bits * sizeof(uint32_t));
#if LANES == 16
	__m512i all = _mm512_setzero_si512();

	UNROLL for (uint32_t i = 0; i < bits; i++)
	{
		__mmask64 plane = words[0][i] | (uint64_t)words[1][i] << 32;

		all = _mm512_mask_add_epi8(all, plane, all, _mm512_set1_epi8((char)(1 << i)));
	}
	_mm512_storeu_si512(codes, all);
#else
	for (size_t j = 0; j < EDEN_CODES; j++) {
		codes[j] = 0;
		for (uint32_t i = 0; i < bits; i++)
			codes[j] |= (uint8_t)((words[j / EDEN_WORD][i] >> j % EDEN_WORD & 1) << i);
	}
#endif
}
#endif

/* The centroid of each code.  Eight lanes look up eight numbers: of more, the sign is lost. */
INLINE f32v eden_centroid(const struct eden_table *table, const uint8_t *codes, uint32_t bits)
{
	u32v code = load_signed(codes);
	f32v v = look_up(table->centroid, code);

	if (LANES == 8 && bits == EDEN_BITS_MAX)
		v = floats_of(bits_of(v) | (code & 0x80000000));
	return v;
}

/* A block at the end may be longer than what will be written: there it is in vain. */
INLINE void eden_fetch(const float *soon, size_t i)
{
	__builtin_prefetch((const void *)((uintptr_t)soon + i * sizeof(*soon)), 1);
}

INLINE void eden_expand(const uint8_t *codes, const struct eden_table *table, size_t n,
			const float *soon, float *x, uint32_t bits)
{
	uint8_t code[EDEN_CODES];

	for (size_t j = 0; j < n; j += EDEN_CODES) {
		eden_codes(codes, bits, code);
		codes += EDEN_CODES / 8 * bits;
		UNROLL for (size_t g = 0; g < EDEN_CODES; g += 16) eden_fetch(soon, j + g);
		UNROLL for (size_t g = 0; g < EDEN_CODES; g += LANES)
			store_f32v(x + j + g, eden_centroid(table, code + g, bits));
	}
}

#if LANES > 1
static_assert(EDEN_BYTES % EDEN_FIRST == 0, "whole passes");

/* Of EDEN_FIRST elements. */
INLINE void eden_codes_first(const uint8_t *from, uint32_t bits, uint8_t *codes)
{
	UNROLL for (size_t g = 0; g < EDEN_FIRST; g += EDEN_CODES)
		eden_codes(from + g / 8 * bits, bits, codes + g);
}

/*
 * Centroids, and the first pass of their transform while they are in registers.  Eight lanes have
 * too few registers for making codes between the passes.  soon[from..] is fetched.
 */
INLINE void eden_expand_pass(const uint8_t *codes, const struct eden_table *table, size_t n,
			     const float *soon, size_t from, float *x, uint32_t bits)
{
	const size_t ahead = n < EDEN_BYTES ? EDEN_FIRST : EDEN_BYTES;
	uint8_t code[EDEN_BYTES];

	for (size_t j = 0; j < n; j += EDEN_FIRST) {
		const size_t place = LANES == 16 ? 0 : j % ahead; /* in code */
		f32v v[EDEN_RADIX];

		for (size_t g = 0; !place && g < ahead; g += EDEN_FIRST) {
			eden_codes_first(codes, bits, code + g);
			codes += EDEN_FIRST / 8 * bits;
		}
		UNROLL for (size_t g = 0; g < EDEN_FIRST; g += 16) eden_fetch(soon, from + j + g);
		UNROLL for (int i = 0; i < EDEN_RADIX; i++) v[i] =
			eden_within(eden_centroid(table, code + place + i * LANES, bits));
		eden_between(v, EDEN_RADIX);
		UNROLL for (int i = 0; i < EDEN_RADIX; i++)
			store_f32v(x + j + (size_t)i * LANES, v[i]);
	}
}
#endif

/* Centroids, transformed. */
INLINE void eden_transformed(const uint8_t *codes, const struct eden_table *table, size_t n,
			     const float *soon, float *x, uint32_t bits)
{
#if LANES > 1
	if (n >= EDEN_FIRST) {
		const size_t near = n < EDEN_NEAR ? n : EDEN_NEAR;

		for (size_t i = 0; i < n; i += near) {
			eden_expand_pass(codes + i / 8 * bits, table, near, soon, i, x + i, bits);
			eden_passes(x + i, near, EDEN_FIRST);
		}
		eden_passes(x, n, EDEN_NEAR);
		return;
	}
#endif
	eden_expand(codes, table, n, soon, x, bits);
	eden_transform(x, n);
}

/* --- results ------------------------------------------------------------------------------ */

enum eden_result { EDEN_VALUE, EDEN_LEFT, EDEN_ADD };

/* v = x * scale, with its sign; other: p or the sum. */
INLINE void eden_results(const float *x, float scale, bool limited, struct random_key key,
			 uint32_t word, size_t n, enum eden_result result, const float *other,
			 float weight, float *out)
{
	for (size_t j = 0; j < n; j += EDEN_WORD) {
		uint32_t signs = random_u32(key, word++);

		UNROLL for (int g = 0; g < EDEN_WORD / LANES; g++)
		{
			size_t at = j + (size_t)g * LANES;
			f32v v = load_f32v(x + at) * scale;

			if (limited)
				v = limit(v, FLT_MAX);
			v = flip(v, signs, (uint32_t)g * LANES);
			if (result == EDEN_LEFT)
				v = load_f32v(other + at) - v;
			else if (result == EDEN_ADD)
				v = load_f32v(other + at) + weight * v;
			store_f32v(out + at, v);
		}
	}
}

/* What is nowhere near the limit need not be compared with it; sixteen lanes do it in one step. */
INLINE void eden_finish(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
			enum eden_result result, const float *other, float weight, float *out)
{
	if (LANES != 16 && scale < FLT_MAX / EDEN_GREATEST)
		eden_results(x, scale, false, key, word, n, result, other, weight, out);
	else
		eden_results(x, scale, true, key, word, n, result, other, weight, out);
}

static void eden_value(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
		       float *out)
{
	eden_finish(x, scale, key, word, n, EDEN_VALUE, NULL, 0, out);
}

static void eden_left(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
		      const float *p, float *out)
{
	eden_finish(x, scale, key, word, n, EDEN_LEFT, p, 0, out);
}

static void eden_add(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
		     float weight, float *sum)
{
	eden_finish(x, scale, key, word, n, EDEN_ADD, sum, weight, sum);
}

#define EDEN_BITS(bits)                                                                            \
	static struct eden_sums eden_quantise_##bits(                                              \
		float *x, float inverse, const struct eden_table *table, size_t n, uint8_t *codes) \
	{                                                                                          \
		return eden_quantise(x, inverse, table, n, codes, bits);                           \
	}                                                                                          \
	static void eden_expand_##bits(const uint8_t *codes, const struct eden_table *table,       \
				       size_t n, const float *soon, float *x)                      \
	{                                                                                          \
		eden_expand(codes, table, n, soon, x, bits);                                       \
	}                                                                                          \
	static void eden_transformed_##bits(const uint8_t *codes, const struct eden_table *table,  \
					    size_t n, const float *soon, float *x)                 \
	{                                                                                          \
		eden_transformed(codes, table, n, soon, x, bits);                                  \
	}

EDEN_BITS(1)
EDEN_BITS(2)
EDEN_BITS(3)
EDEN_BITS(4)

const struct eden_kernels EDEN_VARIANT = {
	.source = eden_source,
	.turn = eden_turn,
	.transform = eden_transform,
	.quantise = {NULL, eden_quantise_1, eden_quantise_2, eden_quantise_3, eden_quantise_4},
	.expand = {NULL, eden_expand_1, eden_expand_2, eden_expand_3, eden_expand_4},
	.transformed = {NULL, eden_transformed_1, eden_transformed_2, eden_transformed_3,
			eden_transformed_4},
	.value = eden_value,
	.left = eden_left,
	.add = eden_add,
};
