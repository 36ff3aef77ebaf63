/*
 * feedback_few.c - the owner's sum where every node sends few elements; see feedback.h.
 *
 * Of a chunk in which each of a few nodes sends one element of a hundred, most of the sum is zero.
 * To clear it, look through it and collect what is there takes longer than all the rest that an
 * owner does; a bit for each element says where to look instead.
 */
#include "compress/feedback_parts.h"

#include <string.h>

enum { WORD = 64 }; /* bits of a mark */

/* Elements of all nodes together, of those of a chunk: more are quicker one after the other. */
#define FEW_IN_ALL 0.125f

static size_t words_of(size_t count)
{
	return (count + WORD - 1) / WORD;
}

/* An exact codec that keeps few elements keeps all that are not zero. */
bool feedback_adds_few(const struct feedback_op *op, uint32_t nodes)
{
	const struct feedback *feedback = feedback_by_id(op->setting->id);

	return !op->dense && op->setting->id != FEEDBACK_NONE && !feedback->lossy_down &&
	       codec_keeps_few(op->up) && codec_keeps_few(op->down) &&
	       op->up->density * (float)nodes <= FEW_IN_ALL;
}

void feedback_sum_begin(const struct feedback_op *op, const struct feedback_sum *sum)
{
	memset(sum->marks, 0, words_of(op->count) * sizeof(*sum->marks));
}

/* What is not marked counts as zero, whatever it is.  No branch: marks are as good as random. */
static float value_at(const struct feedback_sum *sum, uint32_t i)
{
	uint32_t bits, marked = (uint32_t)(sum->marks[i / WORD] >> i % WORD & 1);
	float value;

	memcpy(&bits, &sum->value[i], sizeof(bits));
	bits &= 0 - marked;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

int feedback_add_few(const struct feedback_op *op, struct random_key key, float weight,
		     const void *bytes, size_t length, const struct feedback_sum *sum)
{
	const struct codec_origin from = {.first = op->first,
					  .rank_key = key,
					  .shared_key = op->shared_key,
					  .work = op->work};
	struct codec_few few;
	int error = codec_few(op->up, op->kernels, &from, bytes, length, op->count, &few);

	if (error)
		return error;
	if (!feedback_by_id(op->setting->id)->weighted)
		weight = 1;
	for (size_t n = 0; n < few.n; n++) {
		uint32_t i = few.index[n];

		sum->value[i] = value_at(sum, i) + weight * few.value[n];
		sum->marks[i / WORD] |= (uint64_t)1 << i % WORD;
	}
	return 0;
}

static void divide_marked(const struct feedback_op *op, const struct feedback_sum *sum)
{
	for (size_t word = 0; word < words_of(op->count); word++)
		for (uint64_t mask = sum->marks[word]; mask; mask &= mask - 1)
			feedback_divide(
				op, &sum->value[word * WORD + (size_t)__builtin_ctzll(mask)], 1);
}

struct codec_result feedback_final_few(const struct feedback_op *op, const struct feedback_sum *sum,
				       struct random_key key, float threshold, void *out)
{
	const struct codec_input encoded = {
		.in = sum->value,
		.count = op->count,
		.first = op->first,
		.rank_key = key,
		.shared_key = op->shared_key,
		.threshold = threshold,
		.work = op->work,
	};

	if (feedback_by_id(op->setting->id)->final == feedback_final_divided && op->divisor > 1)
		divide_marked(op, sum);
	return codec_encode_marked(op->down, &encoded, sum->marks, out);
}
