/*
 * vector.h - sums, minima, maxima and products of vectors: what a reduction does to memory.
 *
 * vec_combine() folds any number of equally long vectors, strictly in input order, in one pass
 * over memory: each input is read once, the result is written once.  There is one set of kernels
 * per CPU variant, and all variants give the same bits for the same call:
 *
 *   - the sum type of f16, bf16 and f32 is f32, of f64 it is f64, of an integer itself.
 *     Everything is computed in the sum type and rounded once, to nearest even, on the way out;
 *   - a NaN that was computed or converted is *the* quiet NaN of its type: f16 7e00, bf16 7fc0,
 *     f32 7fc00000, f64 7ff8000000000000.  Which operand's payload an addition keeps depends on
 *     what the compiler made of it, so no payload survives arithmetic (a plain copy keeps all);
 *   - NaN wins in min and max; -0 is smaller than +0;
 *   - denormals count as they are, in and out;
 *   - integers wrap in sums and products, averages truncate toward zero (after the wrap).
 *
 * The floating-point environment must be the default one: round to nearest, no flush to zero.
 * Pure: no allocation, no state; at most 32 KiB of stack.  Any thread.
 */
#ifndef COMPRESS_VECTOR_H
#define COMPRESS_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vec_type { VEC_F32 = 1, VEC_F64, VEC_F16, VEC_BF16, VEC_I8, VEC_U8, VEC_I32, VEC_I64 };
enum vec_reduce { VEC_SUM = 1, VEC_AVG, VEC_MIN, VEC_MAX, VEC_PROD };

#define VEC_TYPES 8   /* valid types are 1..VEC_TYPES */
#define VEC_REDUCES 5 /* valid reductions are 1..VEC_REDUCES */

size_t vec_type_bytes(enum vec_type type);      /* of one element; 0 if there is no such type */
enum vec_type vec_sum_type(enum vec_type type); /* type must be valid */
const char *vec_type_name(enum vec_type type);  /* "f32"; NULL if there is no such type */
const char *vec_reduce_name(enum vec_reduce reduce); /* "sum"; NULL if there is no such reduction */

/*
 * One CPU variant.  The kernels are for vec_combine() and, where they fit, for codecs; they take
 * pointers of any alignment, and an output may equal an input of the same element size.
 */
struct vec {
	const char *name;

	/* By sum type and reduction: out = in[0] o in[1] .. o in[inputs - 1], inputs 2..4. */
	void (*fold[VEC_TYPES + 1][VEC_REDUCES + 1])(void *out, const void *const *in,
						     size_t inputs, size_t count);

	/* By sum type, floats only: data /= divisor, in place. */
	void (*divide[VEC_TYPES + 1])(void *data, uint64_t divisor, size_t count);

	/* By narrow type (f16, bf16): to float32[count] and back. */
	void (*widen[VEC_TYPES + 1])(void *out, const void *in, size_t count);
	void (*narrow[VEC_TYPES + 1])(void *out, const void *in, size_t count);

	/*
	 * By narrow type: the sum of 2..4 narrow inputs without a stop in memory.
	 * wide_out: out is float32[count].  wide_first: in[0] is float32[count].
	 */
	void (*sum[VEC_TYPES + 1])(void *out, bool wide_out, const void *const *in, bool wide_first,
				   size_t inputs, size_t count);
};

/* All variants of this build, slowest first, ended by NULL. */
extern const struct vec *const vec_variants[];

/* vec_supported() - can this CPU (and this kernel) run it? */
bool vec_supported(const struct vec *v);

/* vec_best() - the fastest supported one.  Ask once: a hypervisor may make the asking slow. */
const struct vec *vec_best(void);

struct vec_input {
	const void *data;   /* any alignment */
	enum vec_type type; /* the tensor's type or its sum type */
};

/*
 * vec_combine() - out[i] = in[0][i] o in[1][i] o ..., rounded to out_type
 * @v:        a supported variant
 * @type:     the tensor's type
 * @reduce:   VEC_AVG adds like VEC_SUM
 * @inputs:   at least 1; 1 converts, or copies
 * @divisor:  VEC_SUM and VEC_AVG: what to divide the sum by, in the sum type, before rounding;
 *            0 does not divide.  Must be 0 for other reductions.
 * @out:      out_type[count]; equal to an input of the same element size, or apart from all
 * @out_type: the tensor's type or its sum type
 * @count:    elements; 0 touches nothing
 */
void vec_combine(const struct vec *v, enum vec_type type, enum vec_reduce reduce,
		 const struct vec_input *in, size_t inputs, uint64_t divisor, void *out,
		 enum vec_type out_type, size_t count);

#endif
