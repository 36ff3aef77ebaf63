/* feedback_none.c - no feedback: what the codec loses is lost.  Any codec up and down. */
#include "compress/feedback_parts.h"
#include "compress/feedback_table.h"

static struct codec_result none_contribution(const struct feedback_op *op,
					     const struct feedback_state *state,
					     const struct feedback_input *input, void *out)
{
	(void)state;
	return feedback_encode_up(op, input, input->in, NULL, 0, NULL, out);
}

static int none_left_out(const struct feedback_op *op, const struct feedback_state *state,
			 const struct feedback_input *input, const void *bytes, size_t length)
{
	(void)op;
	(void)state;
	(void)input;
	(void)bytes;
	(void)length;
	return 0;
}

static const char *const examples[] = {"none", NULL};

const struct feedback feedback_none = {
	.name = "none",
	.id = FEEDBACK_NONE,
	.examples = examples,
	.lossy_down = true,
	.contribution = none_contribution,
	.left_out = none_left_out,
	.final = feedback_final_divided,
	.result = feedback_result_plain,
};
