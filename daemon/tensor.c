/* tensor.c - the state of a tensor as ops see it; see tensor.h. */
#include "daemon/tensor.h"

#include <assert.h>

#include "compress/codec_topk.h"
#include "daemon/tensor_state.h"

static uint32_t inside(uint64_t word)
{
	return (uint32_t)(word / WORD_INSIDE & 0xff);
}

static uint32_t good_lanes(uint64_t word)
{
	return (uint32_t)(word / WORD_GOOD & 0xff);
}

/* The word with this op in it, as the first lane or as another one. */
static uint64_t entered(uint64_t word, const struct tensor_op *op)
{
	uint64_t current = word & WORD_CURRENT;

	if ((uint32_t)word == (uint32_t)op->seq)
		return word + WORD_INSIDE;
	if (op->discard && (word & WORD_UNDO))
		current ^= op->tensor->state->changed;
	/* No WORD_UNDO: the other copies are written to from now on. */
	return (uint32_t)op->seq | WORD_INSIDE | current;
}

static bool has(const struct tensor_state *s, enum feedback_vector v)
{
	return s->vectors[0][v] != NULL;
}

/* Is all that it keeps what was not sent yet, or all of it what was sent last? */
static bool may_be_plain(const struct tensor_state *s)
{
	bool residual = has(s, FEEDBACK_RESIDUAL), estimate = has(s, FEEDBACK_ESTIMATE);

	return residual != estimate && !has(s, FEEDBACK_MOMENTUM);
}

bool tensor_enter(const struct tensor_op *op, struct tensor_turn *turn)
{
	struct tensor_state *s = op->tensor->state;
	uint64_t word = atomic_load(&s->word), next;
	const struct tensor_head *from;
	bool dense;

	do {
		if (inside(word) && (uint32_t)word != (uint32_t)op->seq)
			return false;
		next = entered(word, op);
	} while (!atomic_compare_exchange_weak(&s->word, &word, next));
	turn->from = next & WORD_HEAD ? 1 : 0;
	turn->vectors = (uint8_t)(next / WORD_VECTORS & (WORD_HEAD / WORD_VECTORS - 1));
	from = &s->heads[turn->from];
	turn->base = from->seq;
	turn->step = from->step;
	turn->last_weight = from->weight;
	dense = coding_dense(&op->tensor->coding);
	turn->dense = dense || from->stale;
	turn->in_place = turn->dense ? 0 : op->tensor->in_place;
	turn->plain = dense && !from->carries && may_be_plain(s);
	turn->once = dense ? from->carries && may_be_plain(s) : from->stale;
	return true;
}

static float mean_threshold(const float *thresholds, const struct tensor_op *op, bool all)
{
	double sum = 0;
	uint32_t counted = 0;

	for (uint32_t c = 0; c < op->chunks; c++) {
		sum += (double)thresholds[c];
		counted += all || thresholds[c] > 0;
	}
	return counted ? (float)(sum / counted) : 0;
}

/* A plain op: it has changed no vector, but estimates are not of the last op any more. */
static void commit_plain(const struct tensor_state *s, const struct tensor_turn *turn,
			 struct tensor_head *to)
{
	to->seq = turn->base;
	to->step = turn->step;
	to->weight = turn->last_weight;
	to->carries = false;
	to->stale = has(s, FEEDBACK_ESTIMATE);
	to->digest = 0; /* thresholds are those of the other head */
}

static void commit_coded(const struct tensor_op *op, const struct tensor_turn *turn,
			 struct tensor_head *to)
{
	to->seq = op->seq;
	to->step = turn->step + 1;
	to->weight = op->weight;
	to->carries = !turn->dense;
	to->stale = false;
	to->digest = op->tensor->digest;
	/* Every node encodes all chunks up, but only those that it owns down. */
	to->mean[TENSOR_UP] = mean_threshold(to->thresholds[TENSOR_UP], op, true);
	to->mean[TENSOR_DOWN] = mean_threshold(to->thresholds[TENSOR_DOWN], op, false);
}

/* The last lane has left well: what was written is the state. */
static void commit(const struct tensor_op *op, const struct tensor_turn *turn)
{
	struct tensor_state *s = op->tensor->state;
	struct tensor_head *to = &s->heads[!turn->from];
	uint64_t word = atomic_load(&s->word), next;

	if (turn->plain) {
		commit_plain(s, turn, to);
		s->changed = WORD_HEAD;
	} else {
		commit_coded(op, turn, to);
		s->changed = WORD_CURRENT & ~(turn->in_place * WORD_VECTORS);
	}
	do
		next = (word ^ s->changed) | WORD_UNDO;
	while (!atomic_compare_exchange_weak(&s->word, &word, next));
}

void tensor_leave(const struct tensor_op *op, const struct tensor_turn *turn, bool good)
{
	struct tensor_state *s = op->tensor->state;

	/* As long as it is inside, no other op begins. */
	if (good && good_lanes(atomic_fetch_add(&s->word, WORD_GOOD)) + 1 == op->lanes)
		commit(op, turn);
	(void)atomic_fetch_sub(&s->word, WORD_INSIDE);
}

void tensor_slices(const struct tensor_op *op, const struct tensor_turn *turn, uint64_t first,
		   struct feedback_state *out)
{
	const struct tensor_state *s = op->tensor->state;

	*out = (struct feedback_state){0};
	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
		int from = turn->vectors >> v & 1;
		int to = turn->in_place >> v & 1 ? from : !from;
		size_t at;

		if (!s->vectors[from][v])
			continue;
		at = feedback_vector_bytes(&s->feedback, v, first);
		out->now[v] = s->vectors[from][v] + at;
		out->next[v] = s->vectors[to][v] + at;
		assert(!s->marks[v] || first % FEEDBACK_CELL == 0);
		if (s->marks[v])
			out->log[v] = (struct feedback_log){
				.values = (float *)(void *)(s->vectors[from][v] + at),
				.marks = s->marks[v] + feedback_log_cells(first),
				.old = (float *)(void *)(s->vectors[!from][v] + at),
				.op = op->seq,
				.base = turn->base,
			};
	}
}

float tensor_threshold(const struct tensor_op *op, const struct tensor_turn *turn,
		       enum tensor_way way, uint32_t chunk)
{
	const struct tensor_head *from = &op->tensor->state->heads[turn->from];
	const struct coding *coding = &op->tensor->coding;
	const struct codec_setting *codec = way == TENSOR_UP ? &coding->up : &coding->down;

	if (from->digest != op->tensor->digest)
		return 0;
	return codec->scope == TOPK_TENSOR ? from->mean[way] : from->thresholds[way][chunk];
}

void tensor_keep_threshold(const struct tensor_op *op, const struct tensor_turn *turn,
			   enum tensor_way way, uint32_t chunk, float threshold)
{
	op->tensor->state->heads[!turn->from].thresholds[way][chunk] = threshold;
}

const char *tensor_name(const struct tensor *t)
{
	return t && t->state ? t->state->name : "";
}
