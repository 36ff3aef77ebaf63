/* feedback.c - the table of error feedback, its options, and calls into it; see feedback.h. */
#include "compress/feedback.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "compress/feedback_parts.h"
#include "compress/feedback_table.h"

#define FEEDBACK_ENTRY(name) &feedback_##name,
const struct feedback *const feedback_table[] = {FEEDBACK_TABLE(FEEDBACK_ENTRY) NULL};
#undef FEEDBACK_ENTRY

static const struct codec_setting exact = {.id = CODEC_NONE};

const struct feedback *feedback_by_id(uint8_t id)
{
	for (const struct feedback *const *f = feedback_table; *f; f++)
		if ((*f)->id == id)
			return *f;
	return NULL;
}

int feedback_check(const struct feedback_setting *s)
{
	const struct feedback *feedback = feedback_by_id(s->id);
	struct feedback_setting known = {.id = s->id};
	/* By bytes: a number is only ever what was set from the same text. */
	const unsigned char *right = (const unsigned char *)&known;
	const unsigned char *given = (const unsigned char *)s;

	if (!feedback)
		return -EINVAL;
	if (!setting_copy(&known, s, feedback->options))
		return -EINVAL;
	/* What is no option of it must be zero. */
	return memcmp(right, given, sizeof(known)) == 0 ? 0 : -EINVAL;
}

/* --- codecs ------------------------------------------------------------------------------- */

static double delta_of(const struct codec_setting *s, size_t count)
{
	const struct codec *codec = codec_by_id(s->id);

	return codec->delta ? codec->delta(s, count) : 0;
}

static const char *runs_away(const struct codec_setting *s, size_t count)
{
	const struct codec *codec = codec_by_id(s->id);

	return codec->runs_away ? codec->runs_away(s, count) : NULL;
}

const char *feedback_refuse(const struct feedback_setting *s, const struct codec_setting *up,
			    const struct codec_setting *down, size_t count)
{
	const struct feedback *feedback = feedback_by_id(s->id);
	const char *needs;

	if (s->id == FEEDBACK_NONE)
		return NULL;
	/* Found by trial with top-k of 1 to 30 %: twice is stable, three to five times is not. */
	if (s->id == FEEDBACK_ECONTROL && up->density > 0 && s->eta > 2.0001f * up->density)
		return "needs an eta of at most twice the share of elements that the codec keeps";
	needs = runs_away(up, count);
	if (needs)
		return needs;
	if (!feedback->lossy_down && !(delta_of(down, count) >= 1))
		return "needs an exact codec down: none";
	return runs_away(down, count);
}

const struct codec_setting *feedback_up(const struct feedback_op *op)
{
	return op->dense ? &exact : op->up;
}

const struct codec_setting *feedback_down(const struct feedback_op *op)
{
	return op->dense ? &exact : op->down;
}

/* --- sizes -------------------------------------------------------------------------------- */

size_t feedback_vector_bytes(const struct feedback_setting *s, enum feedback_vector vector,
			     size_t count)
{
	if (!(feedback_by_id(s->id)->vectors & 1u << vector))
		return 0;
	if (s->id != FEEDBACK_LOCO)
		return count * sizeof(float);
	return count + (count + FEEDBACK_BLOCK - 1) / FEEDBACK_BLOCK * sizeof(float);
}

size_t feedback_work_bytes(const struct feedback_setting *s, const struct codec_setting *up,
			   const struct codec_setting *down, size_t count)
{
	return feedback_codec_work(up, down, count) +
	       (s->id == FEEDBACK_LOCO ? count * sizeof(float) : 0);
}

/*
 * What was few elements of each node is more of all; but who sends a tenth changes most lines of
 * the vector anyway.
 */
static bool keeps_few(const struct codec_setting *s)
{
	return codec_keeps_few(s) && s->density <= 0.25f;
}

uint32_t feedback_logged(const struct feedback_setting *s)
{
	uint32_t vectors = FEEDBACK_HAS(FEEDBACK_ESTIMATE) | FEEDBACK_HAS(FEEDBACK_SUM);

	if (s->id == FEEDBACK_EF21_W) /* makes what g follows in the room for the next g */
		vectors = FEEDBACK_HAS(FEEDBACK_SUM);
	return vectors & feedback_by_id(s->id)->vectors;
}

uint32_t feedback_in_place(const struct feedback_setting *s, const struct codec_setting *up,
			   const struct codec_setting *down)
{
	uint32_t sums = codec_keeps_few(down) ? 0 : FEEDBACK_HAS(FEEDBACK_SUM);

	return keeps_few(up) ? feedback_logged(s) & ~sums : 0;
}

/* --- calls -------------------------------------------------------------------------------- */

#define ALL_OF_WORKER                                                        \
	(FEEDBACK_HAS(FEEDBACK_RESIDUAL) | FEEDBACK_HAS(FEEDBACK_ESTIMATE) | \
	 FEEDBACK_HAS(FEEDBACK_MOMENTUM))

/* What ops that don't count have left in these vectors. */
static void undo(const struct feedback_op *op, const struct feedback_state *state, uint32_t vectors)
{
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++)
		if (vectors & FEEDBACK_HAS(v) && state->log[v].marks)
			feedback_log_undo(&state->log[v], op->count);
}

struct codec_result feedback_contribution(const struct feedback_op *op,
					  const struct feedback_state *state,
					  const struct feedback_input *input, void *out)
{
	undo(op, state, ALL_OF_WORKER);
	assert(op->count >= 1 && op->count <= CODEC_COUNT_MAX);
	return feedback_by_id(op->setting->id)->contribution(op, state, input, out);
}

int feedback_left_out(const struct feedback_op *op, const struct feedback_state *state,
		      const struct feedback_input *input, const void *bytes, size_t length)
{
	undo(op, state, ALL_OF_WORKER);
	return feedback_by_id(op->setting->id)->left_out(op, state, input, bytes, length);
}

int feedback_add(const struct feedback_op *op, struct random_key key, float weight,
		 const void *bytes, size_t length, float *sum)
{
	const struct codec_origin from = {.first = op->first,
					  .rank_key = key,
					  .shared_key = op->shared_key,
					  .work = op->work};

	if (!feedback_by_id(op->setting->id)->weighted)
		weight = 1;
	return codec_decode_add(feedback_up(op), op->kernels, &from, bytes, length, weight, sum,
				op->count);
}

struct codec_result feedback_final(const struct feedback_op *op, const struct feedback_state *state,
				   float *sum, struct random_key key, float threshold, void *out)
{
	undo(op, state, ~ALL_OF_WORKER);
	return feedback_by_id(op->setting->id)->final(op, state, sum, key, threshold, out);
}

int feedback_result(const struct feedback_op *op, const struct feedback_state *state,
		    struct random_key key, const void *bytes, size_t length, float *result,
		    bool *nonfinite)
{
	undo(op, state, FEEDBACK_HAS(FEEDBACK_SUM));
	return feedback_by_id(op->setting->id)
		->result(op, state, key, bytes, length, result, nonfinite);
}
