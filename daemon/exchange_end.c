/*
 * exchange_end.c - which ops were decided to fail, and how far all ops are over; see exchange.h.
 *
 * A decision may be about ops that nobody here has posted yet, and a rank may go on over
 * ended ops however far behind the others of its node are.  So ends are kept as ranges,
 * apart from the ops, until the slowest rank has passed them.  The first decision about
 * an op stands.
 */
#include "daemon/exchange_state.h"

#include <string.h>

const struct ended *exchange_ended(const struct exchange *x, uint64_t seq)
{
	for (uint32_t i = 0; i < x->ends_count && x->ends[i].first <= seq; i++)
		if (seq <= x->ends[i].last)
			return &x->ends[i];
	return NULL;
}

/* After all ops that are over in order: have all ranks passed it? */
static bool passed(const struct exchange *x, uint64_t seq)
{
	return seq <= x->posted_by_all && !exchange_op(x, seq);
}

bool exchange_seq_over(const struct exchange *x, uint64_t seq)
{
	const struct op *op = exchange_op(x, seq);

	return seq <= x->done_through || (op && op_over(op)) || exchange_ended(x, seq) ||
	       passed(x, seq);
}

static uint64_t first_not_over(const struct exchange *x, uint64_t seq)
{
	for (;;) {
		const struct op *op = exchange_op(x, seq);
		const struct ended *ended = exchange_ended(x, seq);

		if (seq <= x->done_through)
			seq = x->done_through + 1;
		else if ((op && op_over(op)) || passed(x, seq))
			seq++;
		else if (!ended || ended->last == UINT64_MAX)
			return seq;
		else
			seq = ended->last + 1;
	}
}

struct op *exchange_op_at(const struct exchange *x, struct cursor *at)
{
	uint64_t seq = first_not_over(x, at->seq);
	struct op *op = exchange_op(x, seq);

	if (seq != at->seq)
		*at = (struct cursor){.seq = seq};
	if (!op || op->state != OP_RUNNING)
		return NULL;
	if (at->chunk < op->first)
		at->chunk = op->first;
	return op;
}

static void forget_ends(struct exchange *x)
{
	uint64_t through = x->done_through < x->posted_by_all ? x->done_through : x->posted_by_all;
	uint32_t done = 0;

	while (done < x->ends_count && x->ends[done].last <= through)
		done++;
	if (!done)
		return;
	x->ends_count -= done;
	memmove(x->ends, x->ends + done, x->ends_count * sizeof(*x->ends));
}

void exchange_note_posted(struct exchange *x, uint32_t local_rank, uint64_t seq)
{
	uint64_t least = UINT64_MAX;

	x->posted[local_rank] = seq;
	for (uint32_t r = 0; r < x->plan.local_ranks; r++)
		if (!x->left[r] && x->posted[r] < least)
			least = x->posted[r];
	if (seq > x->posted_by_any)
		x->posted_by_any = seq;
	x->posted_by_all = least < x->posted_by_any ? least : x->posted_by_any;
}

void exchange_advance(struct exchange *x)
{
	for (;;) {
		uint64_t seq = x->done_through + 1;
		struct op *op = exchange_op(x, seq);
		const struct ended *ended = exchange_ended(x, seq);

		if (op && op_over(op)) {
			x->done_through = seq;
			exchange_op_retire(x, op);
		} else if (!op && ended && ended->last != UINT64_MAX) {
			/* Beyond what was posted there are no ops that could still be running. */
			x->done_through = seq <= x->posted_by_any ? seq : ended->last;
		} else if (passed(x, seq)) {
			x->done_through = seq;
		} else {
			break;
		}
	}
	forget_ends(x);
}

/* [first, last] lies between ends[i - 1] and ends[i].  Return: false: everything is over now. */
static bool insert_end(struct exchange *x, uint32_t i, uint64_t first, uint64_t last, int error)
{
	struct ended *ends = x->ends;

	if (i && ends[i - 1].last + 1 == first && ends[i - 1].error == error) {
		ends[i - 1].last = last;
		return true;
	}
	/*
	 * Holes are ops in flight.  A decider that leaves more of them than there can be
	 * breaks the rules: the group is over, from the first hole on.
	 */
	if (x->ends_count == EXCHANGE_ENDS_MAX) {
		ends[0].first = first < ends[0].first ? first : ends[0].first;
		ends[0].last = UINT64_MAX;
		x->ends_count = 1;
		return false;
	}
	memmove(ends + i + 1, ends + i, (x->ends_count - i) * sizeof(*ends));
	ends[i] = (struct ended){.first = first, .last = last, .error = error};
	x->ends_count++;
	return true;
}

void exchange_note_end(struct exchange *x, uint64_t first, uint64_t last, int error)
{
	uint32_t i = 0;

	while (first <= last) {
		uint64_t until = last;
		struct ended next = {.first = UINT64_MAX, .last = UINT64_MAX};

		while (i < x->ends_count && x->ends[i].last < first)
			i++;
		if (i < x->ends_count)
			next = x->ends[i];
		if (i < x->ends_count && next.first <= last)
			until = next.first - 1;
		if ((i == x->ends_count || next.first > first) &&
		    !insert_end(x, i, first, until, error))
			return;
		if (until == last || next.last >= last)
			return;
		first = next.last + 1;
	}
}

/*
 * Finals of ops that ended are not sent any more, also of those that are complete here:
 * whoever lacks them has ended them.
 */
static void cancel_finals(struct exchange *x, uint64_t first, uint64_t last)
{
	for (uint64_t n = x->queue_head; n < x->queue_tail; n++) {
		struct final *final = &x->queue[n % x->plan.buffers];

		if (final->frame.seq >= first && final->frame.seq <= last)
			final->cancelled = true;
	}
}

void exchange_end(struct exchange *x, uint64_t first_seq, uint64_t last_seq, int error)
{
	exchange_note_end(x, first_seq, last_seq, error);
	for (uint32_t i = 0; i < EXCHANGE_OPS_MAX; i++) {
		struct op *op = &x->ops[i];

		if (op->state != OP_FREE && !op_over(op) && exchange_ended(x, op->seq))
			exchange_op_end(x, op, error);
	}
	exchange_advance(x);
	exchange_drop_slots(x);
	cancel_finals(x, first_seq, last_seq);
}
