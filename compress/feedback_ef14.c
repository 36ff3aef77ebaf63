/*
 * feedback_ef14.c - ef14: what the codec loses is added to the next input.  twosided: the owner
 * does the same with the sum, so that both directions are compressed.
 *
 *   worker   p = in + scale * e;  e' = p - C(p)
 *   owner    q = S / divisor + scale * E;  E' = q - D(q)        (twosided)
 *
 * What goes in comes out or is still in e and E, in the average's unit:
 * sum of results = sum of mean inputs - mean e - E.
 */
#include "compress/feedback_parts.h"
#include "compress/feedback_table.h"

static struct codec_result ef14_contribution(const struct feedback_op *op,
					     const struct feedback_state *state,
					     const struct feedback_input *input, void *out)
{
	return feedback_encode_up(op, input, input->in, state->now[FEEDBACK_RESIDUAL], op->scale,
				  state->next[FEEDBACK_RESIDUAL], out);
}

/* p is what was kept and what was sent. */
static int ef14_left_out(const struct feedback_op *op, const struct feedback_state *state,
			 const struct feedback_input *input, const void *bytes, size_t length)
{
	feedback_add_own(op, input, bytes, length, 1, state->next[FEEDBACK_RESIDUAL]);
	return 0;
}

static struct codec_result twosided_final(const struct feedback_op *op,
					  const struct feedback_state *state, float *sum,
					  struct random_key key, float threshold, void *out)
{
	feedback_divide(op, sum, op->count);
	return feedback_encode_down(op, sum, state->now[FEEDBACK_OWNER_RESIDUAL], op->scale,
				    state->next[FEEDBACK_OWNER_RESIDUAL], key, threshold, out);
}

static const char *const ef14_examples[] = {"ef14", NULL};
static const char *const twosided_examples[] = {"twosided", NULL};

const struct feedback feedback_ef14 = {
	.name = "ef14",
	.id = FEEDBACK_EF14,
	.examples = ef14_examples,
	.vectors = FEEDBACK_HAS(FEEDBACK_RESIDUAL),
	.contribution = ef14_contribution,
	.left_out = ef14_left_out,
	.final = feedback_final_divided,
	.result = feedback_result_plain,
};

const struct feedback feedback_twosided = {
	.name = "twosided",
	.id = FEEDBACK_TWOSIDED,
	.examples = twosided_examples,
	.vectors = FEEDBACK_HAS(FEEDBACK_RESIDUAL) | FEEDBACK_HAS(FEEDBACK_OWNER_RESIDUAL),
	.lossy_down = true,
	.contribution = ef14_contribution,
	.left_out = ef14_left_out,
	.final = twosided_final,
	.result = feedback_result_plain,
};
