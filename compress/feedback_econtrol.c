/*
 * feedback_econtrol.c - econtrol: ef21's estimate h, and a residual e that is fed back gently.
 *
 *   d = C(eta e + in - h);  e' = e + in - h - d;  h' = h + d;  G' = G + sum of d
 *
 * e' is made of the old h and of all of e.  eta = 0 is ef21.  What goes in is applied or in e:
 * sum of in = sum of h' + e.  In a dense op h is read as zero: h' = in + eta e is sent.
 */
#include "compress/feedback_parts.h"
#include "compress/feedback_table.h"

static struct codec_result econtrol_contribution(const struct feedback_op *op,
						 const struct feedback_state *state,
						 const struct feedback_input *input, void *out)
{
	const float *e = state->now[FEEDBACK_RESIDUAL];
	const float *h = feedback_relative(op, state, FEEDBACK_ESTIMATE);
	float *next_e = state->next[FEEDBACK_RESIDUAL];
	float eta = op->setting->eta * op->scale;
	struct codec_result r;

	(void)feedback_sum_of(op->kernels, next_e, input->in, -op->scale, h, op->count);
	r = feedback_encode_up(op, input, next_e, e, eta, NULL, out);
	if (r.nonfinite)
		return r;
	(void)feedback_sum_of(op->kernels, next_e, next_e, op->scale, e, op->count);
	feedback_add_own(op, input, out, r.bytes, -1, next_e);
	r.few = (struct codec_few){0}; /* this has used their memory */
	r.nonfinite = feedback_nonfinite(op->kernels, next_e, op->count);
	r.nonfinite |= feedback_follow_own(op, state, input, out, &r, FEEDBACK_ESTIMATE, op->scale);
	return r;
}

static int econtrol_left_out(const struct feedback_op *op, const struct feedback_state *state,
			     const struct feedback_input *input, const void *bytes, size_t length)
{
	(void)input;
	(void)bytes;
	(void)length;
	feedback_scaled(state->next[FEEDBACK_RESIDUAL], op->scale, state->now[FEEDBACK_RESIDUAL],
			op->count);
	feedback_stay(op, state, FEEDBACK_ESTIMATE, op->scale);
	return 0;
}

static const struct setting_option options[] = {
	{"eta", SETTING_REAL, offsetof(struct feedback_setting, eta), 0, 1, NULL, 0.1},
	{0},
};

static const char *const examples[] = {"econtrol", "econtrol:eta=0.01", "econtrol:eta=0", NULL};

const struct feedback feedback_econtrol = {
	.name = "econtrol",
	.id = FEEDBACK_ECONTROL,
	.options = options,
	.examples = examples,
	.vectors = FEEDBACK_HAS(FEEDBACK_RESIDUAL) | FEEDBACK_HAS(FEEDBACK_ESTIMATE) |
		   FEEDBACK_HAS(FEEDBACK_SUM),
	.contribution = econtrol_contribution,
	.left_out = econtrol_left_out,
	.final = feedback_final_sum,
	.result = feedback_result_sum,
};
