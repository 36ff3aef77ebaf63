/*
 * feedback_loco.c - loco: ef14 whose residual is a moving average, kept in 8 bits an element.
 *
 *   p = in + scale * e;  e' = Q8(beta scale e + (1 - beta) (p - C(p)))
 *
 * e is read as zero in every step that is a multiple of `reset`.  In memory: for each block of
 * FEEDBACK_BLOCK elements float32 scale, int8[block]; the last block may be short.  Element i is
 * scale * int8; scale = max / 127, rounding to nearest even.  A dense op leaves zero.
 * work: float32[count] behind the codec's.
 */
#include <math.h>
#include <string.h>

#include "compress/feedback_parts.h"
#include "compress/feedback_table.h"

#define SCALE_MAX 0x1.02p+121f /* 127 times that is finite */

enum { BLOCK_BYTES = sizeof(float) + FEEDBACK_BLOCK };

static size_t block_count(size_t count, size_t block)
{
	size_t left = count - block * FEEDBACK_BLOCK;

	return left < FEEDBACK_BLOCK ? left : FEEDBACK_BLOCK;
}

static void load(float *e, const void *stored, size_t count)
{
	for (size_t b = 0; b * FEEDBACK_BLOCK < count; b++) {
		const char *from = (const char *)stored + b * BLOCK_BYTES;
		const int8_t *q = (const int8_t *)(from + sizeof(float));
		float scale;

		memcpy(&scale, from, sizeof(scale));
		for (size_t i = 0; i < block_count(count, b); i++)
			e[b * FEEDBACK_BLOCK + i] = scale * (float)q[i];
	}
}

/* One block; all of e is finite. */
static void store_block(void *stored, const float *e, size_t count)
{
	int8_t *q = (int8_t *)stored + sizeof(float);
	float greatest = 0, scale;

	for (size_t i = 0; i < count; i++)
		greatest = fabsf(e[i]) > greatest ? fabsf(e[i]) : greatest;
	scale = greatest / 127 < SCALE_MAX ? greatest / 127 : SCALE_MAX;
	memcpy(stored, &scale, sizeof(scale));
	for (size_t i = 0; i < count; i++) {
		float ratio = scale > 0 ? e[i] / scale : 0;

		ratio = ratio > 127 ? 127 : ratio;
		ratio = ratio < -127 ? -127 : ratio;
		q[i] = (int8_t)rintf(ratio);
	}
}

static void store(void *stored, const float *e, size_t count)
{
	for (size_t b = 0; b * FEEDBACK_BLOCK < count; b++)
		store_block((char *)stored + b * BLOCK_BYTES, e + b * FEEDBACK_BLOCK,
			    block_count(count, b));
}

static float *residual_of(const struct feedback_op *op)
{
	return (float *)((char *)op->work + feedback_codec_work(op->up, op->down, op->count));
}

static bool restarts(const struct feedback_op *op)
{
	return op->setting->reset && op->step % op->setting->reset == 0;
}

static struct codec_result loco_contribution(const struct feedback_op *op,
					     const struct feedback_state *state,
					     const struct feedback_input *input, void *out)
{
	const char *now = state->now[FEEDBACK_RESIDUAL];
	float *lost = residual_of(op), beta = op->setting->beta;
	float old[FEEDBACK_BLOCK];
	struct feedback_op near = *op;
	struct codec_result r;

	near.away = false; /* what is lost is read at once */
	load(lost, now, op->count);
	r = feedback_encode_up(&near, input, input->in, restarts(op) ? NULL : lost, op->scale, lost,
			       out);
	if (r.nonfinite || feedback_nonfinite(op->kernels, lost, op->count)) {
		r.nonfinite = true;
		return r;
	}
	if (!op->dense) {
		feedback_scaled(lost, 1 - beta, lost, op->count);
		for (size_t b = 0; !restarts(op) && b * FEEDBACK_BLOCK < op->count; b++) {
			size_t count = block_count(op->count, b);

			load(old, now + b * BLOCK_BYTES, count);
			(void)feedback_sum_of(op->kernels, lost + b * FEEDBACK_BLOCK,
					      lost + b * FEEDBACK_BLOCK, beta * op->scale, old,
					      count);
		}
	}
	r.nonfinite = feedback_nonfinite(op->kernels, lost, op->count);
	if (!r.nonfinite)
		store(state->next[FEEDBACK_RESIDUAL], lost, op->count);
	return r;
}

static int loco_left_out(const struct feedback_op *op, const struct feedback_state *state,
			 const struct feedback_input *input, const void *bytes, size_t length)
{
	float *e = residual_of(op), beta = op->setting->beta;

	if (op->dense) {
		load(e, state->now[FEEDBACK_RESIDUAL], op->count);
		feedback_scaled(e, beta * op->scale, restarts(op) ? NULL : e, op->count);
	} else {
		load(e, state->next[FEEDBACK_RESIDUAL], op->count);
	}
	feedback_add_own(op, input, bytes, length, 1 - beta, e);
	store(state->next[FEEDBACK_RESIDUAL], e, op->count);
	return 0;
}

static const struct setting_option options[] = {
	{"beta", SETTING_REAL, offsetof(struct feedback_setting, beta), 0, 0.999, NULL, 0.8},
	{"reset", SETTING_NUMBER, offsetof(struct feedback_setting, reset), 0, 1 << 30, NULL, 1024},
	{0},
};

static const char *const examples[] = {"loco", "loco:beta=0,reset=0", "loco:beta=0.5,reset=7",
				       NULL};

const struct feedback feedback_loco = {
	.name = "loco",
	.id = FEEDBACK_LOCO,
	.options = options,
	.examples = examples,
	.vectors = FEEDBACK_HAS(FEEDBACK_RESIDUAL),
	.contribution = loco_contribution,
	.left_out = loco_left_out,
	.final = feedback_final_divided,
	.result = feedback_result_plain,
};
