/* feedback_parts.c - see feedback_parts.h. */
#include "compress/feedback_parts.h"

#include <assert.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_plain_kernels.h"

/* --- loops -------------------------------------------------------------------------------- */

enum {
	WIDE = 16,   /* elements: a fixed trip count is what -O2 makes vectors of */
	TILE = 1024, /* elements: 4 KiB of stack */
};

static_assert(TILE % FEEDBACK_CELL == 0, "a tile is logged in whole cells");

void feedback_scaled(float *out, float scale, const float *x, size_t count)
{
	size_t i = 0;

	if (!x) {
		memset(out, 0, count * sizeof(*out));
		return;
	}
	if (scale == 1) {
		memmove(out, x, count * sizeof(*out));
		return;
	}
	for (; count - i >= WIDE; i += WIDE) {
		float scaled[WIDE];

		for (size_t j = 0; j < WIDE; j++)
			scaled[j] = scale * x[i + j];
		memcpy(out + i, scaled, sizeof(scaled));
	}
	for (; i < count; i++)
		out[i] = scale * x[i];
}

bool feedback_sum_of(const struct codec_kernels *k, float *out, const float *in, float scale,
		     const float *x, size_t count)
{
	return k->plain->source(in, x, scale, count, out) >= CODEC_NONFINITE_BITS;
}

bool feedback_nonfinite(const struct codec_kernels *k, const float *x, size_t count)
{
	float copy[TILE];
	bool found = false;

	for (size_t i = 0; i < count; i += TILE)
		found |= feedback_sum_of(k, copy, x + i, 0, NULL,
					 count - i < TILE ? count - i : TILE);
	return found;
}

/* --- parts -------------------------------------------------------------------------------- */

const float *feedback_relative(const struct feedback_op *op, const struct feedback_state *state,
			       enum feedback_vector vector)
{
	return op->dense ? NULL : state->now[vector];
}

static struct codec_origin origin(const struct feedback_op *op, struct random_key key)
{
	return (struct codec_origin){
		.first = op->first,
		.rank_key = key,
		.shared_key = op->shared_key,
		.work = op->work,
	};
}

void feedback_add_own(const struct feedback_op *op, const struct feedback_input *input,
		      const void *bytes, size_t length, float weight, float *out)
{
	struct codec_origin from = origin(op, input->key);
	int error = codec_decode_add(feedback_up(op), op->kernels, &from, bytes, length, weight,
				     out, op->count);

	assert(!error);
}

struct codec_result feedback_encode_up(const struct feedback_op *op,
				       const struct feedback_input *input, const float *in,
				       const float *residual, float residual_scale,
				       float *residual_out, void *out)
{
	const struct codec_input encoded = {
		.in = in,
		.residual = residual,
		.residual_scale = residual_scale,
		.residual_out = residual_out,
		.count = op->count,
		.first = op->first,
		.rank_key = input->key,
		.shared_key = op->shared_key,
		.threshold = input->threshold,
		.away = op->away,
		.work = op->work,
	};

	return codec_encode(feedback_up(op), op->kernels, &encoded, out);
}

struct codec_result feedback_encode_down(const struct feedback_op *op, const float *in,
					 const float *residual, float residual_scale,
					 float *residual_out, struct random_key key,
					 float threshold, void *out)
{
	const struct codec_input encoded = {
		.in = in,
		.residual = residual,
		.residual_scale = residual_scale,
		.residual_out = residual_out,
		.count = op->count,
		.first = op->first,
		.rank_key = key,
		.shared_key = op->shared_key,
		.threshold = threshold,
		.away = op->away,
		.work = op->work,
	};

	return codec_encode(feedback_down(op), op->kernels, &encoded, out);
}

size_t feedback_codec_work(const struct codec_setting *up, const struct codec_setting *down,
			   size_t count)
{
	size_t a = codec_work_bytes(up, count), b = codec_work_bytes(down, count);

	return ((a > b ? a : b) + 63) / 64 * 64;
}

/* --- what follows ------------------------------------------------------------------------- */

static bool in_place(const struct feedback_state *state, enum feedback_vector vector)
{
	return state->next[vector] && state->next[vector] == state->now[vector];
}

void feedback_stay(const struct feedback_op *op, const struct feedback_state *state,
		   enum feedback_vector vector, float scale)
{
	const float *now = feedback_relative(op, state, vector);

	if (in_place(state, vector)) {
		if (now && scale == 1)
			return;
		feedback_log_all(&state->log[vector], op->count);
	}
	feedback_scaled(state->next[vector], scale, now, op->count);
}

/* Is it enough to change the few elements that a message of the codec has? */
static bool changes_few(const struct feedback_op *op, const struct feedback_state *state,
			enum feedback_vector vector, float scale, const struct codec_setting *codec)
{
	return in_place(state, vector) && !op->dense && scale == 1 && codec_keeps_few(codec);
}

/* Before all of it is changed. */
static void stay_logged(const struct feedback_op *op, const struct feedback_state *state,
			enum feedback_vector vector, float scale)
{
	if (in_place(state, vector) && !op->dense && scale == 1)
		feedback_log_all(&state->log[vector], op->count);
	feedback_stay(op, state, vector, scale);
}

bool feedback_follow_own(const struct feedback_op *op, const struct feedback_state *state,
			 const struct feedback_input *input, const void *bytes,
			 const struct codec_result *own, enum feedback_vector vector, float scale)
{
	const struct codec_setting *up = feedback_up(op);
	struct codec_origin from = origin(op, input->key);
	struct codec_few few = own->few;
	size_t next = 0;

	if (changes_few(op, state, vector, scale, up)) {
		int error = few.index ? 0
				      : codec_few(up, op->kernels, &from, bytes, own->bytes,
						  op->count, &few);

		assert(!error);
		return feedback_log_add(&state->log[vector], op->count, &few, &next, op->count);
	}
	stay_logged(op, state, vector, scale);
	feedback_add_own(op, input, bytes, own->bytes, 1, state->next[vector]);
	return feedback_nonfinite(op->kernels, state->next[vector], op->count);
}

/* --- finals and results ------------------------------------------------------------------- */

void feedback_divide(const struct feedback_op *op, float *x, size_t count)
{
	if (op->divisor > 1)
		op->kernels->vec->divide[VEC_F32](x, op->divisor, count);
}

struct codec_result feedback_final_sum(const struct feedback_op *op,
				       const struct feedback_state *state, float *sum,
				       struct random_key key, float threshold, void *out)
{
	(void)state;
	return feedback_encode_down(op, sum, NULL, 0, NULL, key, threshold, out);
}

struct codec_result feedback_final_divided(const struct feedback_op *op,
					   const struct feedback_state *state, float *sum,
					   struct random_key key, float threshold, void *out)
{
	feedback_divide(op, sum, op->count);
	return feedback_final_sum(op, state, sum, key, threshold, out);
}

int feedback_result_plain(const struct feedback_op *op, const struct feedback_state *state,
			  struct random_key key, const void *bytes, size_t length, float *result,
			  bool *nonfinite)
{
	struct codec_origin from = origin(op, key);

	(void)state;
	*nonfinite = false;
	from.away = op->result_away;
	return codec_decode(feedback_down(op), op->kernels, &from, bytes, length, result,
			    op->count);
}

/* A tile of G, divided, to the result.  Return: the greatest magnitude in it. */
static uint32_t result_tile(const struct feedback_op *op, const float *sum, float *result,
			    size_t count)
{
	const struct sparse_kernels *k = op->kernels->sparse;
	_Alignas(64) float tile[TILE];
	uint32_t greatest = k->source(sum, NULL, 0, tile, count);

	feedback_divide(op, tile, count);
	k->put(result, tile, count, op->result_away);
	return greatest;
}

/*
 * G of which few elements change.  It was finite, so only what changes may be so no more; and it
 * goes to the result as it is, unless that is an average.
 */
static bool result_some(const struct feedback_op *op, const struct feedback_log *log,
			const struct codec_few *few, float *result)
{
	const struct sparse_kernels *k = op->kernels->sparse;
	bool nonfinite = false;
	size_t next = 0;

	for (size_t first = 0; first < op->count; first += TILE) {
		size_t count = op->count - first < TILE ? op->count - first : TILE;
		const float *sum = log->values + first;

		nonfinite |= feedback_log_add(log, op->count, few, &next, first + count);
		if (op->divisor > 1)
			(void)result_tile(op, sum, result + first, count);
		else
			k->pass(result + first, sum, count, op->result_away);
	}
	k->fence();
	return nonfinite;
}

int feedback_result_sum(const struct feedback_op *op, const struct feedback_state *state,
			struct random_key key, const void *bytes, size_t length, float *result,
			bool *nonfinite)
{
	const struct codec_setting *down = feedback_down(op);
	struct codec_origin from = origin(op, key);
	float *sum = state->next[FEEDBACK_SUM];
	uint32_t greatest = 0;
	int error;

	if (changes_few(op, state, FEEDBACK_SUM, op->scale, down)) {
		struct codec_few few;

		error = codec_few(down, op->kernels, &from, bytes, length, op->count, &few);
		if (!error)
			*nonfinite = result_some(op, &state->log[FEEDBACK_SUM], &few, result);
		return error;
	}
	stay_logged(op, state, FEEDBACK_SUM, op->scale);
	error = codec_decode_add(down, op->kernels, &from, bytes, length, 1, sum, op->count);
	if (error)
		return error;
	for (size_t first = 0; first < op->count; first += TILE) {
		size_t count = op->count - first < TILE ? op->count - first : TILE;
		uint32_t most = result_tile(op, sum + first, result + first, count);

		greatest = most > greatest ? most : greatest;
	}
	op->kernels->sparse->fence();
	*nonfinite = greatest >= CODEC_NONFINITE_BITS;
	return 0;
}
