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
	EDEN_NEAR = 4096,           /* elements that are turned while they are in the first cache */
	EDEN_CODES = EDEN_BLOCK_MIN /* elements whose codes are read at once */
};

/* --- transform ---------------------------------------------------------------------------- */

INLINE void eden_pair(f32v *a, f32v *b)
{
	/* cppcheck-suppress uninitvar; eden_pass() loads as many as the radix has */
	f32v first = *a;

	*a = first + *b;
	*b = first - *b;
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
		i32v magnitude;

		if (residual)
			v = v + scale * load_f32v(residual + i);
		store_f32v(p + i, v);
		magnitude = (i32v)(bits_of(v) & 0x7fffffff);
		most = (i32v)PICK(magnitude > most, (u32v)magnitude, (u32v)most);
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

/* Of EDEN_CODES elements, sign and all, to a byte each. */
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
#elif LANES == 8
	const __m256i byte =
		_mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
	const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);

	UNROLL for (size_t w = 0; w < EDEN_CODES / EDEN_WORD; w++)
	{
		__m256i all = _mm256_setzero_si256();

		UNROLL for (uint32_t i = bits; i--;)
		{
			__m256i plane =
				_mm256_shuffle_epi8(_mm256_set1_epi32((int)words[w][i]), byte);

			plane = _mm256_cmpeq_epi8(_mm256_and_si256(plane, bit), bit);
			all = _mm256_sub_epi8(_mm256_add_epi8(all, all), plane);
		}
		_mm256_storeu_si256((__m256i *)(void *)(codes + w * EDEN_WORD), all);
	}
#else
	for (size_t j = 0; j < EDEN_CODES; j++) {
		codes[j] = 0;
		for (uint32_t i = 0; i < bits; i++)
			codes[j] |= (uint8_t)((words[j / EDEN_WORD][i] >> j % EDEN_WORD & 1) << i);
	}
#endif
}

/* The centroid of each code.  Eight lanes look up eight numbers: of more, the sign is lost. */
INLINE f32v eden_centroid(const struct eden_table *table, u32v code, uint32_t bits)
{
	f32v v = look_up(table->centroid, code);

	if (LANES == 8 && bits == EDEN_BITS_MAX)
		v = floats_of(bits_of(v) | (code << (32 - EDEN_BITS_MAX) & 0x80000000));
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
			store_f32v(x + j + g, eden_centroid(table, load_bytes(code + g), bits));
	}
}

#if LANES == 16
/*
 * Centroids, and the first pass of their transform while they are in registers, of which eight
 * lanes have too few: there it takes longer than storing what is between.  soon[from..] is fetched.
 */
INLINE void eden_expand_pass(const uint8_t *codes, const struct eden_table *table, size_t n,
			     const float *soon, size_t from, float *x, uint32_t bits)
{
	uint8_t code[EDEN_FIRST];

	for (size_t j = 0; j < n; j += EDEN_FIRST) {
		f32v v[EDEN_RADIX];

		UNROLL for (size_t g = 0; g < EDEN_FIRST; g += EDEN_CODES)
		{
			eden_codes(codes, bits, code + g);
			codes += EDEN_CODES / 8 * bits;
		}
		UNROLL for (size_t g = 0; g < EDEN_FIRST; g += 16) eden_fetch(soon, from + j + g);
		UNROLL for (int i = 0; i < EDEN_RADIX; i++) v[i] =
			eden_within(eden_centroid(table, load_bytes(code + i * LANES), bits));
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
#if LANES == 16
	if (n >= EDEN_FIRST) {
		for (size_t i = 0; i < n; i += EDEN_NEAR) {
			size_t near = n < EDEN_NEAR ? n : EDEN_NEAR;

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
INLINE void eden_finish(const float *x, float scale, struct random_key key, uint32_t word, size_t n,
			enum eden_result result, const float *other, float weight, float *out)
{
	for (size_t j = 0; j < n; j += EDEN_WORD) {
		uint32_t signs = random_u32(key, word++);

		UNROLL for (int g = 0; g < EDEN_WORD / LANES; g++)
		{
			size_t at = j + (size_t)g * LANES;
			f32v v = flip(limit(load_f32v(x + at) * scale, FLT_MAX), signs,
				      (uint32_t)g * LANES);

			if (result == EDEN_LEFT)
				v = load_f32v(other + at) - v;
			else if (result == EDEN_ADD)
				v = load_f32v(other + at) + weight * v;
			store_f32v(out + at, v);
		}
	}
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
