/*
 * feedback_ef21.c - ef21 and its sequels: each node's estimate g of its own input follows it by
 * compressed differences, and G, the sum of all g, is what everybody uses.
 *
 *   ef21       c = C(in - g);  g' = g + c;  G' = G + sum of c
 *   ef21-w     c = C(in / w - g);  G' = G + sum of w c: the sum is of inputs whatever the weights
 *              are.  A node that changes its weight keeps w g by scaling g.
 *   ef21-sgdm  v' = (1 - eta) v + eta in, from v = in in the tensor's first op;  ef21 of v'
 *   ef21-bc    the owner's B = sum of g; G follows it by compressed differences as well
 *
 * All state is multiplied by op->scale as it is read.  In a dense op g, B and G are read as zero.
 */
#include "compress/feedback_parts.h"
#include "compress/feedback_table.h"

/* What g is multiplied by as it is read. */
static float estimate_scale(const struct feedback_op *op, const struct feedback_input *input)
{
	if (op->setting->id != FEEDBACK_EF21_W || input->weight == input->last_weight ||
	    !(input->last_weight > 0))
		return op->scale;
	return op->scale * (input->last_weight / input->weight);
}

/* c = C(target - scale g), g' = scale g + c; target may be the memory of g'. */
static struct codec_result follow(const struct feedback_op *op, const struct feedback_state *state,
				  const struct feedback_input *input, const float *target,
				  void *out)
{
	const float *g = feedback_relative(op, state, FEEDBACK_ESTIMATE);
	float scale = estimate_scale(op, input);
	struct codec_result r = feedback_encode_up(op, input, target, g, -scale, NULL, out);

	if (!r.nonfinite)
		r.nonfinite =
			feedback_follow_own(op, state, input, out, &r, FEEDBACK_ESTIMATE, scale);
	return r;
}

static struct codec_result ef21_contribution(const struct feedback_op *op,
					     const struct feedback_state *state,
					     const struct feedback_input *input, void *out)
{
	return follow(op, state, input, input->in, out);
}

static struct codec_result ef21_w_contribution(const struct feedback_op *op,
					       const struct feedback_state *state,
					       const struct feedback_input *input, void *out)
{
	float *target = state->next[FEEDBACK_ESTIMATE];

	feedback_scaled(target, 1 / input->weight, input->in, op->count);
	return follow(op, state, input, target, out);
}

static struct codec_result ef21_sgdm_contribution(const struct feedback_op *op,
						  const struct feedback_state *state,
						  const struct feedback_input *input, void *out)
{
	float *v = state->next[FEEDBACK_MOMENTUM];
	float eta = op->step ? op->setting->eta : 1;

	feedback_scaled(v, eta, input->in, op->count);
	if (op->step)
		(void)feedback_sum_of(op->kernels, v, v, (1 - eta) * op->scale,
				      state->now[FEEDBACK_MOMENTUM], op->count);
	return follow(op, state, input, v, out);
}

static int ef21_left_out(const struct feedback_op *op, const struct feedback_state *state,
			 const struct feedback_input *input, const void *bytes, size_t length)
{
	(void)bytes;
	(void)length;
	feedback_stay(op, state, FEEDBACK_ESTIMATE, estimate_scale(op, input));
	if (op->setting->id == FEEDBACK_EF21_SGDM)
		feedback_scaled(state->next[FEEDBACK_MOMENTUM], op->scale,
				state->now[FEEDBACK_MOMENTUM], op->count);
	return 0;
}

static struct codec_result ef21_bc_final(const struct feedback_op *op,
					 const struct feedback_state *state, float *sum,
					 struct random_key key, float threshold, void *out)
{
	float *all = state->next[FEEDBACK_OWNER_SUM];

	(void)feedback_sum_of(op->kernels, all, sum, op->scale,
			      feedback_relative(op, state, FEEDBACK_OWNER_SUM), op->count);
	return feedback_encode_down(op, all, feedback_relative(op, state, FEEDBACK_SUM), -op->scale,
				    NULL, key, threshold, out);
}

static const struct setting_option momentum_options[] = {
	{"eta", SETTING_REAL, offsetof(struct feedback_setting, eta), 1e-6, 1, NULL, 0.1},
	{0},
};

static const char *const ef21_examples[] = {"ef21", NULL};
static const char *const ef21_w_examples[] = {"ef21-w", NULL};
static const char *const ef21_sgdm_examples[] = {"ef21-sgdm", "ef21-sgdm:eta=0.01", NULL};
static const char *const ef21_bc_examples[] = {"ef21-bc", NULL};

#define EF21_VECTORS (FEEDBACK_HAS(FEEDBACK_ESTIMATE) | FEEDBACK_HAS(FEEDBACK_SUM))

const struct feedback feedback_ef21 = {
	.name = "ef21",
	.id = FEEDBACK_EF21,
	.examples = ef21_examples,
	.vectors = EF21_VECTORS,
	.contribution = ef21_contribution,
	.left_out = ef21_left_out,
	.final = feedback_final_sum,
	.result = feedback_result_sum,
};

const struct feedback feedback_ef21_w = {
	.name = "ef21-w",
	.id = FEEDBACK_EF21_W,
	.examples = ef21_w_examples,
	.vectors = EF21_VECTORS,
	.weighted = true,
	.contribution = ef21_w_contribution,
	.left_out = ef21_left_out,
	.final = feedback_final_sum,
	.result = feedback_result_sum,
};

const struct feedback feedback_ef21_sgdm = {
	.name = "ef21-sgdm",
	.id = FEEDBACK_EF21_SGDM,
	.options = momentum_options,
	.examples = ef21_sgdm_examples,
	.vectors = EF21_VECTORS | FEEDBACK_HAS(FEEDBACK_MOMENTUM),
	.contribution = ef21_sgdm_contribution,
	.left_out = ef21_left_out,
	.final = feedback_final_sum,
	.result = feedback_result_sum,
};

const struct feedback feedback_ef21_bc = {
	.name = "ef21-bc",
	.id = FEEDBACK_EF21_BC,
	.examples = ef21_bc_examples,
	.vectors = EF21_VECTORS | FEEDBACK_HAS(FEEDBACK_OWNER_SUM),
	.lossy_down = true,
	.contribution = ef21_contribution,
	.left_out = ef21_left_out,
	.final = ef21_bc_final,
	.result = feedback_result_sum,
};
