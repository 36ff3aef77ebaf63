/*
 * feedback_few.c - the owner's sum where every node sends few elements; see feedback.h.
 *
 * Of a chunk in which each of a few nodes sends one element of a hundred, most of the sum is zero.
 * To clear it, look through it and collect what is there takes longer than all the rest that an
 * owner does.  So the sum is a list, and adding is merging: both have their indices in order, and
 * what comes next is found without a branch, as it is as good as random.
 */
#include "compress/feedback_parts.h"

#include <errno.h>
#include <string.h>

/* Elements of all nodes together, of those of a chunk: more are quicker one after the other. */
#define FEW_IN_ALL 0.125f

/* What is in a room: indices in the first half of it, values in the other. */
struct list {
	uint32_t *index;
	float *value;
	size_t n;
};

static struct list list_in(const struct feedback_op *op, const struct feedback_sum *sum, int at)
{
	float *room = sum->room[at];

	return (struct list){(uint32_t *)(void *)room, room + op->count / 2, sum->n};
}

/* An exact codec that keeps few elements keeps all that are not zero. */
bool feedback_adds_few(const struct feedback_op *op, uint32_t nodes)
{
	const struct feedback *feedback = feedback_by_id(op->setting->id);

	return !op->dense && op->setting->id != FEEDBACK_NONE && !feedback->lossy_down &&
	       codec_keeps_few(op->up) && codec_keeps_few(op->down) &&
	       op->up->density * (float)nodes <= FEW_IN_ALL;
}

void feedback_sum_begin(struct feedback_sum *sum)
{
	sum->n = 0;
	sum->at = 0;
}

/* `a` where mask is all ones, `b` where it is zero: compilers take no register for a condition. */
static inline float choose(uint32_t mask, float a, float b)
{
	uint32_t x, y;
	float value;

	memcpy(&x, &a, sizeof(x));
	memcpy(&y, &b, sizeof(y));
	x = (x & mask) | (y & ~mask);
	memcpy(&value, &x, sizeof(value));
	return value;
}

/* out = a + weight * b, where what neither has is zero: what only b has is added to 0. */
static void merge(const struct list *a, const struct codec_few *b, float weight, struct list *out)
{
	size_t i = 0, j = 0, n = 0;

	for (; i < a->n && j < b->n; n++) {
		uint32_t left = a->index[i], right = b->index[j];
		uint32_t in_left = left <= right, in_right = right <= left;
		float old = choose(0 - in_left, a->value[i], 0);

		out->index[n] = in_left ? left : right;
		out->value[n] = choose(0 - in_right, old + weight * b->value[j], old);
		i += in_left;
		j += in_right;
	}
	memcpy(out->index + n, a->index + i, (a->n - i) * sizeof(*out->index));
	memcpy(out->value + n, a->value + i, (a->n - i) * sizeof(*out->value));
	n += a->n - i;
	memcpy(out->index + n, b->index + j, (b->n - j) * sizeof(*out->index));
	for (; j < b->n; j++, n++)
		out->value[n] = 0 + weight * b->value[j];
	out->n = n;
}

int feedback_add_few(const struct feedback_op *op, struct random_key key, float weight,
		     const void *bytes, size_t length, struct feedback_sum *sum)
{
	const struct codec_origin from = {.first = op->first,
					  .rank_key = key,
					  .shared_key = op->shared_key,
					  .work = op->work};
	struct list before = list_in(op, sum, sum->at), after = list_in(op, sum, !sum->at);
	struct codec_few few;
	int error = codec_few(op->up, op->kernels, &from, bytes, length, op->count, &few);

	if (error)
		return error;
	if (few.n > op->count / 2 - sum->n)
		return -ENOSPC;
	if (!feedback_by_id(op->setting->id)->weighted)
		weight = 1;
	merge(&before, &few, weight, &after);
	sum->n = after.n;
	sum->at = !sum->at;
	return 0;
}

struct codec_result feedback_final_few(const struct feedback_op *op, const struct feedback_sum *sum,
				       struct random_key key, float threshold, void *out)
{
	const struct codec_input encoded = {
		.count = op->count,
		.first = op->first,
		.rank_key = key,
		.shared_key = op->shared_key,
		.threshold = threshold,
		.work = op->work,
	};
	struct list list = list_in(op, sum, sum->at);
	const struct codec_few few = {list.index, list.value, list.n};

	if (feedback_by_id(op->setting->id)->final == feedback_final_divided)
		feedback_divide(op, list.value, list.n);
	return codec_encode_few(op->down, &encoded, &few, out);
}
