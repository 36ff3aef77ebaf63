/*
 * vector.c - drives the kernels of one CPU variant: which, over how much, in what order.
 *
 * A kernel folds up to four vectors.  What one kernel call can do is done over the whole length.
 * Anything more (five inputs, a division, mixed f16 and f32) goes tile by tile through a sum that
 * stays in the L1 cache:
 *
 *   tile = in[0] o in[1] o in[2] o in[3]        first call: four inputs
 *   tile = tile o in[4] o in[5] o in[6]         further calls: the sum so far and three more
 *   out = round(tile / divisor)
 *
 * The last fold writes into out where out has the sum type.  The ones before must not: out may be
 * an input that is still to be read.
 */
#include "compress/vector.h"

#include <assert.h>
#include <string.h>

#include "compress/vector_variants.h"

#define TILE 1024 /* elements; 4 KiB of f32 */
#define FOLD 4    /* operands of one kernel call */

struct job {
	const struct vec *v;
	enum vec_type type, sum_type, out_type;
	enum vec_reduce reduce;
	const struct vec_input *in;
	size_t inputs;
	uint64_t divisor;
	unsigned char *out;
};

struct span { /* elements of the job's vectors */
	size_t first, count;
};

const struct vec *const vec_variants[] = {
	&vec_scalar,
#ifdef __x86_64__
	&vec_avx2,
	&vec_avx512,
#endif
	NULL,
};

static const void *input_at(const struct vec_input *in, struct span span)
{
	return (const unsigned char *)in->data + span.first * vec_type_bytes(in->type);
}

/* |value| / divisor fits, and INT64_MIN has a magnitude, only in unsigned. */
static int64_t quotient(int64_t value, uint64_t divisor)
{
	uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	uint64_t q = magnitude / divisor;

	return value < 0 ? (int64_t)(0 - q) : (int64_t)q;
}

static void divide_i64(unsigned char *data, uint64_t divisor, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int64_t value;

		memcpy(&value, data + i * sizeof(value), sizeof(value));
		value = quotient(value, divisor);
		memcpy(data + i * sizeof(value), &value, sizeof(value));
	}
}

/*
 * In doubles, which divide faster than integers.  Exact: the quotient of two integers below 2^32
 * is an integer or at least 2^-32 away from one, far more than it is rounded by, and a larger
 * divisor makes 0 either way.
 */
static void divide_i32(unsigned char *data, uint64_t divisor, size_t count)
{
	double d = (double)divisor;

	for (size_t i = 0; i < count; i++) {
		int32_t value;

		memcpy(&value, data + i * sizeof(value), sizeof(value));
		value = (int32_t)((double)value / d);
		memcpy(data + i * sizeof(value), &value, sizeof(value));
	}
}

/* A byte has so few values that a table is quicker than dividing more than 256 of them. */
static void divide_bytes(unsigned char *data, bool is_signed, uint64_t divisor, size_t count)
{
	unsigned char table[256];

	for (int i = 0; i < 256; i++)
		table[i] = (unsigned char)quotient(is_signed && i > 127 ? i - 256 : i, divisor);
	for (size_t i = 0; i < count; i++)
		data[i] = table[data[i]];
}

static void divide(const struct job *job, void *data, size_t count)
{
	switch (job->sum_type) {
	case VEC_F32:
	case VEC_F64: job->v->divide[job->sum_type](data, job->divisor, count); break;
	case VEC_I8: divide_bytes(data, true, job->divisor, count); break;
	case VEC_U8: divide_bytes(data, false, job->divisor, count); break;
	case VEC_I32: divide_i32(data, job->divisor, count); break;
	case VEC_I64: divide_i64(data, job->divisor, count); break;
	case VEC_F16:
	case VEC_BF16: assert(false); /* no sum has a narrow type */
	}
}

/* convert() - one input of the job into a type of the job. */
static void convert(const struct job *job, const struct vec_input *in, void *out,
		    enum vec_type out_type, struct span span)
{
	const void *data = input_at(in, span);

	if (in->type != out_type && out_type == job->sum_type)
		job->v->widen[in->type](out, data, span.count);
	else if (in->type != out_type)
		job->v->narrow[out_type](out, data, span.count);
	else if (data != out)
		memcpy(out, data, span.count * vec_type_bytes(out_type));
}

/* Can sum[] do this: narrow inputs, after a first operand that may be wide? */
static bool adds_narrow(const struct job *job, bool have_sum, size_t next, size_t stop)
{
	if (job->type == job->sum_type || (job->reduce != VEC_SUM && job->reduce != VEC_AVG))
		return false;
	if (!have_sum && stop - next < 2)
		return false;
	for (size_t i = have_sum ? next : next + 1; i < stop; i++)
		if (job->in[i].type == job->sum_type)
			return false;
	return true;
}

/* fold_narrow() - target = sum (may be NULL) + in[next] .. + in[stop - 1], see adds_narrow(). */
static void fold_narrow(const struct job *job, struct span span, const void *sum, size_t next,
			size_t stop, void *target, bool wide_target)
{
	const void *operands[FOLD];
	size_t n = 0;
	bool wide_first = sum || job->in[next].type == job->sum_type;

	if (sum)
		operands[n++] = sum;
	for (size_t i = next; i < stop; i++)
		operands[n++] = input_at(&job->in[i], span);
	job->v->sum[job->type](target, wide_target, operands, wide_first, n, span.count);
}

/* fold_wide() - target = sum (may be NULL) o in[next] .. o in[stop - 1], any mix of types. */
static void fold_wide(const struct job *job, struct span span, const void *sum, size_t next,
		      size_t stop, void *target)
{
	float widened[FOLD][TILE];
	const void *operands[FOLD];
	size_t n = 0;

	if (!sum && stop - next == 1) {
		convert(job, &job->in[next], target, job->sum_type, span);
		return;
	}
	if (sum)
		operands[n++] = sum;
	for (size_t i = next; i < stop; i++) {
		if (job->in[i].type == job->sum_type) {
			operands[n++] = input_at(&job->in[i], span);
		} else {
			convert(job, &job->in[i], widened[n], job->sum_type, span);
			operands[n] = widened[n];
			n++;
		}
	}
	job->v->fold[job->sum_type][job->reduce](target, operands, n, span.count);
}

static void combine_span(const struct job *job, struct span span)
{
	_Alignas(64) unsigned char tile[TILE * sizeof(double)];
	unsigned char *out = job->out + span.first * vec_type_bytes(job->out_type);
	bool wide_out = job->out_type == job->sum_type;
	void *sum = NULL;

	for (size_t next = 0, stop; next < job->inputs; next = stop) {
		size_t room = sum ? FOLD - 1 : FOLD;

		stop = job->inputs - next < room ? job->inputs : next + room;
		void *target = wide_out && stop == job->inputs ? out : tile;

		if (!adds_narrow(job, sum != NULL, next, stop)) {
			fold_wide(job, span, sum, next, stop, target);
		} else if (stop == job->inputs && !job->divisor && !wide_out) {
			fold_narrow(job, span, sum, next, stop, out, false);
			return;
		} else {
			fold_narrow(job, span, sum, next, stop, target, true);
		}
		sum = target;
	}
	if (job->divisor)
		divide(job, sum, span.count);
	if (!wide_out)
		job->v->narrow[job->type](out, sum, span.count);
}

/* Does one kernel call do it all, with no tile in between? */
static bool single_call(const struct job *job)
{
	if (job->divisor || job->inputs < 2 || job->inputs > FOLD)
		return false;
	if (adds_narrow(job, false, 0, job->inputs))
		return true;
	for (size_t i = 0; i < job->inputs; i++)
		if (job->in[i].type != job->sum_type)
			return false;
	return job->out_type == job->sum_type;
}

size_t vec_type_bytes(enum vec_type type)
{
	switch (type) {
	case VEC_I8:
	case VEC_U8: return 1;
	case VEC_F16:
	case VEC_BF16: return 2;
	case VEC_F32:
	case VEC_I32: return 4;
	case VEC_F64:
	case VEC_I64: return 8;
	}
	return 0;
}

enum vec_type vec_sum_type(enum vec_type type)
{
	return type == VEC_F16 || type == VEC_BF16 ? VEC_F32 : type;
}

const char *vec_type_name(enum vec_type type)
{
	switch (type) {
	case VEC_F32: return "f32";
	case VEC_F64: return "f64";
	case VEC_F16: return "f16";
	case VEC_BF16: return "bf16";
	case VEC_I8: return "i8";
	case VEC_U8: return "u8";
	case VEC_I32: return "i32";
	case VEC_I64: return "i64";
	}
	return NULL;
}

const char *vec_reduce_name(enum vec_reduce reduce)
{
	switch (reduce) {
	case VEC_SUM: return "sum";
	case VEC_AVG: return "avg";
	case VEC_MIN: return "min";
	case VEC_MAX: return "max";
	case VEC_PROD: return "prod";
	}
	return NULL;
}

bool vec_supported(const struct vec *v)
{
#ifdef __x86_64__
	if (v == &vec_avx512)
		return vec_avx512_supported();
	if (v == &vec_avx2)
		return vec_avx2_supported();
#endif
	return v == &vec_scalar;
}

const struct vec *vec_best(void)
{
	const struct vec *best = vec_variants[0];

	for (const struct vec *const *v = vec_variants; *v; v++)
		if (vec_supported(*v))
			best = *v;
	return best;
}

void vec_combine(const struct vec *v, enum vec_type type, enum vec_reduce reduce,
		 const struct vec_input *in, size_t inputs, uint64_t divisor, void *out,
		 enum vec_type out_type, size_t count)
{
	struct job job = {
		.v = v,
		.type = type,
		.sum_type = vec_sum_type(type),
		.out_type = out_type,
		.reduce = reduce,
		.in = in,
		.inputs = inputs,
		.divisor = divisor,
		.out = out,
	};

	assert(inputs >= 1);
	assert(!divisor || reduce == VEC_SUM || reduce == VEC_AVG);
	assert(out_type == type || out_type == job.sum_type);
	for (size_t i = 0; i < inputs; i++)
		assert(in[i].type == type || in[i].type == job.sum_type);

	if (!count)
		return;
	if (inputs == 1 && !divisor) {
		convert(&job, in, out, out_type, (struct span){0, count});
		return;
	}

	size_t step = single_call(&job) ? count : TILE;

	for (size_t first = 0; first < count; first += step)
		combine_span(&job,
			     (struct span){first, count - first < step ? count - first : step});
}
