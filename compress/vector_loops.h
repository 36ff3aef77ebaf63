/*
 * vector_loops.h - the loops of one CPU variant.  No header of types: each vector_VARIANT.c
 * includes it once, and so compiles the same loops for its own registers.
 *
 * Before it, the variant defines
 *
 *   types      f32v f64v and i8v u8v i32v u32v i64v u64v: one register of that element (plain C
 *              types in the scalar variant), and halfv: as many 16-bit elements as f32v has lanes.
 *              Arithmetic operators must work on them.  Integers are added and multiplied as
 *              unsigned, so that they wrap.
 *   floats     TYPE canonical_TYPE(v)             every NaN becomes the quiet one
 *              TYPE smaller_TYPE(a, b), larger_TYPE(a, b)    -0 < +0; the quiet NaN if one is NaN
 *   narrow     f32v widen_f16(halfv), widen_bf16(halfv)
 *              halfv narrow_f16(f32v), narrow_bf16(f32v)     given canonical NaNs
 *   PICK(TYPE, less, a, b)                        lane by lane: less ? a : b
 *   VARIANT                                       its name; the table will be vec_VARIANT
 *
 * A loop runs over whole registers, counted in bytes.  What is left at the end is copied into
 * registers' worth of zeros, computed like the rest, and copied out.  So an element's bits don't
 * depend on where in the vector it lies.
 *
 * No kernel multiplies and then adds, so there is nothing that contraction could fuse.
 */
#include "compress/inline.h"

struct operands { /* those beyond the number of inputs repeat the first and don't count */
	const unsigned char *a, *b, *c, *d;
};

INLINE struct operands operands_of(const void *const *in, size_t inputs)
{
	return (struct operands){in[0], in[1], inputs > 2 ? in[2] : in[0],
				 inputs > 3 ? in[3] : in[0]};
}

struct rest { /* of up to four operands, less than a register of each */
	unsigned char a[sizeof(f64v)], b[sizeof(f64v)], c[sizeof(f64v)], d[sizeof(f64v)];
};

/* rest_of() - copy the last bytes of each operand, from `at`, and zeros after them. */
static struct operands rest_of(struct rest *rest, struct operands in, size_t at, size_t bytes)
{
	memset(rest, 0, sizeof(*rest));
	memcpy(rest->a, in.a + at, bytes);
	memcpy(rest->b, in.b + at, bytes);
	memcpy(rest->c, in.c + at, bytes);
	memcpy(rest->d, in.d + at, bytes);
	return (struct operands){rest->a, rest->b, rest->c, rest->d};
}

/* A packed struct, not memcpy(): clang 14 takes a fortified memcpy() through the stack. */
#define MEMORY(V)                                            \
	struct packed_##V {                                  \
		V v;                                         \
	} __attribute__((packed, may_alias));                \
	INLINE V load_##V(const unsigned char *from)         \
	{                                                    \
		return ((const struct packed_##V *)from)->v; \
	}                                                    \
	INLINE void store_##V(unsigned char *to, V v)        \
	{                                                    \
		((struct packed_##V *)to)->v = v;            \
	}

MEMORY(f32v)
MEMORY(f64v)
MEMORY(halfv)
MEMORY(i8v)
MEMORY(u8v)
MEMORY(i32v)
MEMORY(u32v)
MEMORY(i64v)
MEMORY(u64v)

/* --- folds -------------------------------------------------------------------------------- */

#define FOLD(name, V, op, finish)                                                                 \
	INLINE void name##_step(unsigned char *out, struct operands in, size_t inputs, size_t at) \
	{                                                                                         \
		V v = op(V, load_##V(in.a + at), load_##V(in.b + at));                            \
		if (inputs > 2)                                                                   \
			v = op(V, v, load_##V(in.c + at));                                        \
		if (inputs > 3)                                                                   \
			v = op(V, v, load_##V(in.d + at));                                        \
		store_##V(out + at, finish(v));                                                   \
	}                                                                                         \
	INLINE size_t name##_run(unsigned char *out, struct operands in, size_t inputs,           \
				 size_t bytes)                                                    \
	{                                                                                         \
		size_t at = 0;                                                                    \
		for (; bytes - at >= sizeof(V); at += sizeof(V))                                  \
			name##_step(out, in, inputs, at);                                         \
		return at;                                                                        \
	}                                                                                         \
	static void name(void *out, const void *const *in, size_t inputs, size_t count)           \
	{                                                                                         \
		size_t bytes = count * ELEMENT_##V, at;                                           \
		struct operands o = operands_of(in, inputs);                                      \
		struct rest rest;                                                                 \
		if (inputs == 2)                                                                  \
			at = name##_run(out, o, 2, bytes);                                        \
		else if (inputs == 3)                                                             \
			at = name##_run(out, o, 3, bytes);                                        \
		else                                                                              \
			at = name##_run(out, o, 4, bytes);                                        \
		if (at == bytes)                                                                  \
			return;                                                                   \
		name##_step(rest.a, rest_of(&rest, o, at, bytes - at), inputs, 0);                \
		memcpy((unsigned char *)out + at, rest.a, bytes - at);                            \
	}

#define ELEMENT_f32v 4
#define ELEMENT_f64v 8
#define ELEMENT_i8v 1
#define ELEMENT_u8v 1
#define ELEMENT_i32v 4
#define ELEMENT_u32v 4
#define ELEMENT_i64v 8
#define ELEMENT_u64v 8

#define AS_IT_IS(v) (v)
#define ADD_FLOAT(V, a, b) ((a) + (b))
#define MUL_FLOAT(V, a, b) ((a) * (b))
#define MIN_FLOAT(V, a, b) smaller_##V(a, b)
#define MAX_FLOAT(V, a, b) larger_##V(a, b)

FOLD(sum_f32, f32v, ADD_FLOAT, canonical_f32v)
FOLD(min_f32, f32v, MIN_FLOAT, AS_IT_IS)
FOLD(max_f32, f32v, MAX_FLOAT, AS_IT_IS)
FOLD(prod_f32, f32v, MUL_FLOAT, canonical_f32v)
FOLD(sum_f64, f64v, ADD_FLOAT, canonical_f64v)
FOLD(min_f64, f64v, MIN_FLOAT, AS_IT_IS)
FOLD(max_f64, f64v, MAX_FLOAT, AS_IT_IS)
FOLD(prod_f64, f64v, MUL_FLOAT, canonical_f64v)

#define INTEGER_OPS(V)                       \
	INLINE V smaller_##V(V a, V b)       \
	{                                    \
		return PICK(V, a < b, a, b); \
	}                                    \
	INLINE V larger_##V(V a, V b)        \
	{                                    \
		return PICK(V, a < b, b, a); \
	}

INTEGER_OPS(i8v)
INTEGER_OPS(u8v)
INTEGER_OPS(i32v)
INTEGER_OPS(i64v)

#define ADD_INTEGER(V, a, b) ((V)((a) + (b)))
#define MUL_INTEGER(V, a, b) ((V)((a) * (b)))
#define MIN_INTEGER(V, a, b) smaller_##V(a, b)
#define MAX_INTEGER(V, a, b) larger_##V(a, b)

FOLD(sum_8, u8v, ADD_INTEGER, AS_IT_IS)
FOLD(prod_8, u8v, MUL_INTEGER, AS_IT_IS)
FOLD(min_i8, i8v, MIN_INTEGER, AS_IT_IS)
FOLD(max_i8, i8v, MAX_INTEGER, AS_IT_IS)
FOLD(min_u8, u8v, MIN_INTEGER, AS_IT_IS)
FOLD(max_u8, u8v, MAX_INTEGER, AS_IT_IS)
FOLD(sum_32, u32v, ADD_INTEGER, AS_IT_IS)
FOLD(prod_32, u32v, MUL_INTEGER, AS_IT_IS)
FOLD(min_i32, i32v, MIN_INTEGER, AS_IT_IS)
FOLD(max_i32, i32v, MAX_INTEGER, AS_IT_IS)
FOLD(sum_64, u64v, ADD_INTEGER, AS_IT_IS)
FOLD(prod_64, u64v, MUL_INTEGER, AS_IT_IS)
FOLD(min_i64, i64v, MIN_INTEGER, AS_IT_IS)
FOLD(max_i64, i64v, MAX_INTEGER, AS_IT_IS)

/* --- divide ------------------------------------------------------------------------------- */

/*
 * Dividing by a power of two is multiplying by its inverse, which is exact and much faster: both
 * are the one rounding of the same number.
 */
#define DIVIDE(name, V, T)                                                           \
	INLINE void name##_step(unsigned char *data, T d, bool inverse)              \
	{                                                                            \
		V v = load_##V(data);                                                \
		store_##V(data, canonical_##V(inverse ? v *d : v / d));              \
	}                                                                            \
	INLINE void name##_run(unsigned char *data, T d, bool inverse, size_t bytes) \
	{                                                                            \
		unsigned char rest[sizeof(V)] = {0};                                 \
		size_t at = 0;                                                       \
		for (; bytes - at >= sizeof(V); at += sizeof(V))                     \
			name##_step(data + at, d, inverse);                          \
		if (at == bytes)                                                     \
			return;                                                      \
		memcpy(rest, data + at, bytes - at);                                 \
		name##_step(rest, d, inverse);                                       \
		memcpy(data + at, rest, bytes - at);                                 \
	}                                                                            \
	static void name(void *data, uint64_t divisor, size_t count)                 \
	{                                                                            \
		if (divisor & (divisor - 1))                                         \
			name##_run(data, (T)divisor, false, count * sizeof(T));      \
		else                                                                 \
			name##_run(data, 1 / (T)divisor, true, count * sizeof(T));   \
	}

DIVIDE(divide_f32, f32v, float)
DIVIDE(divide_f64, f64v, double)

/* --- narrow types: f16 and bf16 ------------------------------------------------------------ */

#define CONVERT(name, I, O, in_bytes, out_bytes, op)                                       \
	INLINE void name##_step(unsigned char *out, const unsigned char *in)               \
	{                                                                                  \
		store_##O(out, op(load_##I(in)));                                          \
	}                                                                                  \
	static void name(void *out, const void *in, size_t count)                          \
	{                                                                                  \
		const size_t lanes = sizeof(I) / in_bytes;                                 \
		const unsigned char *from = in;                                            \
		unsigned char *to = out;                                                   \
		unsigned char rest_in[sizeof(I)] = {0}, rest_out[sizeof(O)];               \
		for (; count >= lanes; count -= lanes, from += sizeof(I), to += sizeof(O)) \
			name##_step(to, from);                                             \
		if (!count)                                                                \
			return;                                                            \
		memcpy(rest_in, from, count *in_bytes);                                    \
		name##_step(rest_out, rest_in);                                            \
		memcpy(to, rest_out, count *out_bytes);                                    \
	}

#define WIDEN_F16(v) canonical_f32v(widen_f16(v))
#define WIDEN_BF16(v) canonical_f32v(widen_bf16(v))
#define NARROW_F16(v) narrow_f16(canonical_f32v(v))
#define NARROW_BF16(v) narrow_bf16(canonical_f32v(v))

CONVERT(widen_all_f16, halfv, f32v, 2, 4, WIDEN_F16)
CONVERT(widen_all_bf16, halfv, f32v, 2, 4, WIDEN_BF16)
CONVERT(narrow_all_f16, f32v, halfv, 4, 2, NARROW_F16)
CONVERT(narrow_all_bf16, f32v, halfv, 4, 2, NARROW_BF16)

/* Here `at` and `bytes` are those of a narrow vector; a wide one has twice as many. */
#define NARROW_SUM(name, widen, narrow)                                                        \
	INLINE void name##_step(unsigned char *out, bool wide_out, struct operands in,         \
				bool wide_first, size_t inputs, size_t at)                     \
	{                                                                                      \
		f32v v = wide_first ? load_f32v(in.a + 2 * at) : widen(load_halfv(in.a + at)); \
		v += widen(load_halfv(in.b + at));                                             \
		if (inputs > 2)                                                                \
			v += widen(load_halfv(in.c + at));                                     \
		if (inputs > 3)                                                                \
			v += widen(load_halfv(in.d + at));                                     \
		v = canonical_f32v(v);                                                         \
		if (wide_out)                                                                  \
			store_f32v(out + 2 * at, v);                                           \
		else                                                                           \
			store_halfv(out + at, narrow(v));                                      \
	}                                                                                      \
	INLINE size_t name##_run(unsigned char *out, bool wide_out, struct operands in,        \
				 bool wide_first, size_t inputs, size_t bytes)                 \
	{                                                                                      \
		size_t at = 0;                                                                 \
		for (; bytes - at >= sizeof(halfv); at += sizeof(halfv))                       \
			name##_step(out, wide_out, in, wide_first, inputs, at);                \
		return at;                                                                     \
	}                                                                                      \
	INLINE size_t name##_all(unsigned char *out, bool wide_out, struct operands in,        \
				 bool wide_first, size_t inputs, size_t bytes)                 \
	{                                                                                      \
		if (inputs == 2)                                                               \
			return name##_run(out, wide_out, in, wide_first, 2, bytes);            \
		if (inputs == 3)                                                               \
			return name##_run(out, wide_out, in, wide_first, 3, bytes);            \
		return name##_run(out, wide_out, in, wide_first, 4, bytes);                    \
	}                                                                                      \
	static void name(void *out, bool wide_out, const void *const *in, bool wide_first,     \
			 size_t inputs, size_t count)                                          \
	{                                                                                      \
		struct operands o = operands_of(in, inputs);                                   \
		size_t bytes = 2 * count, at;                                                  \
		struct rest rest;                                                              \
		if (wide_first && wide_out)                                                    \
			at = name##_all(out, true, o, true, inputs, bytes);                    \
		else if (wide_first)                                                           \
			at = name##_all(out, false, o, true, inputs, bytes);                   \
		else if (wide_out)                                                             \
			at = name##_all(out, true, o, false, inputs, bytes);                   \
		else                                                                           \
			at = name##_all(out, false, o, false, inputs, bytes);                  \
		if (at == bytes)                                                               \
			return;                                                                \
		struct operands r = rest_of(&rest, o, at, bytes - at);                         \
		if (wide_first)                                                                \
			memcpy(rest.a, o.a + 2 * at, 2 * (bytes - at));                        \
		name##_step(rest.a, wide_out, r, wide_first, inputs, 0);                       \
		if (wide_out)                                                                  \
			memcpy((unsigned char *)out + 2 * at, rest.a, 2 * (bytes - at));       \
		else                                                                           \
			memcpy((unsigned char *)out + at, rest.a, bytes - at);                 \
	}

NARROW_SUM(sum_f16, widen_f16, narrow_f16)
NARROW_SUM(sum_bf16, widen_bf16, narrow_bf16)

/* --- the table ---------------------------------------------------------------------------- */

#define STRING(text) #text
#define NAME_OF(variant) STRING(variant)
#define JOIN(a, b) a##b
#define STRUCT_OF(variant) JOIN(vec_, variant)
#define FOLDS(sum, min, max, prod)                                                  \
	{                                                                           \
		[VEC_SUM] = sum, [VEC_AVG] = sum, [VEC_MIN] = min, [VEC_MAX] = max, \
		[VEC_PROD] = prod                                                   \
	}

const struct vec STRUCT_OF(VARIANT) = {
	.name = NAME_OF(VARIANT),
	.fold =
		{
			[VEC_F32] = FOLDS(sum_f32, min_f32, max_f32, prod_f32),
			[VEC_F64] = FOLDS(sum_f64, min_f64, max_f64, prod_f64),
			[VEC_I8] = FOLDS(sum_8, min_i8, max_i8, prod_8),
			[VEC_U8] = FOLDS(sum_8, min_u8, max_u8, prod_8),
			[VEC_I32] = FOLDS(sum_32, min_i32, max_i32, prod_32),
			[VEC_I64] = FOLDS(sum_64, min_i64, max_i64, prod_64),
		},
	.divide = {[VEC_F32] = divide_f32, [VEC_F64] = divide_f64},
	.widen = {[VEC_F16] = widen_all_f16, [VEC_BF16] = widen_all_bf16},
	.narrow = {[VEC_F16] = narrow_all_f16, [VEC_BF16] = narrow_all_bf16},
	.sum = {[VEC_F16] = sum_f16, [VEC_BF16] = sum_bf16},
};
