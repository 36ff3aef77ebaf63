/*
 * feedback_log.h - vectors that an op changes where they lie, and how that is taken back.
 *
 * An op with a codec that keeps few elements changes few elements of the vectors that follow what
 * was sent.  To write another copy of them whole would cost more than all the rest, so they are
 * changed in place: `next` is `now`.  What was overwritten goes to a log, which has the room of
 * the other copy.  A vector is cut into cells of FEEDBACK_CELL elements; of each
 *
 *   marks[cell]   op * 2048 + entries: who has changed it last; 0: there is nothing to take back
 *   old + cell    entries {float value; uint32 place in the cell}; or, where more than half of the
 *                 elements change, all values as they were (entries = 2047)
 *
 * Ops have numbers that grow.  `base` is the last one that counts: what is marked as changed by a
 * later one is put back by feedback_log_undo() before anything else is done with the slice.  So an
 * op that ends badly leaves its changes to whoever comes next, however many cells it came to, and
 * an op is taken back by saying a lower base.  Cells know nothing of chunks: the next op may be cut
 * in another way, or write the other copy whole, over a log that has nothing more to say.  Where
 * one element of a hundred changes, a cell's entries are two lines of a cache; smaller cells would
 * take one each, and loops so short that no processor foresees their ends.
 */
#ifndef COMPRESS_FEEDBACK_LOG_H
#define COMPRESS_FEEDBACK_LOG_H

#include "compress/codec.h"

enum { FEEDBACK_CELL = 1024 }; /* elements; slices of what has a log begin at multiples of it */

/* Of a slice of a vector. */
struct feedback_log {
	float *values;     /* [count]: the slice                                          */
	uint64_t *marks;   /* [cells]; NULL: it is never changed in place                 */
	float *old;        /* [count]                                                     */
	uint64_t op, base; /* numbers of this op, below 2^53, and of the last that counts */
};

size_t feedback_log_cells(uint64_t count);

/* feedback_log_undo() - the values become what they were after `base`. */
void feedback_log_undo(const struct feedback_log *log, size_t count);

/*
 * feedback_log_before() - the same into out, while an op may be changing values and log.
 * Return: false: it did, and what is in out is nothing.
 */
bool feedback_log_before(const struct feedback_log *log, size_t count, float *out);

/* feedback_log_all() - all values, which have been undone, are going to be overwritten. */
void feedback_log_all(const struct feedback_log *log, size_t count);

/*
 * feedback_log_add() - values, which have been undone, += the elements from few->index[*next] on
 * that are below `end`, a multiple of FEEDBACK_CELL or count; *next moves behind them.
 * Return: is one of the sums no finite number?
 */
bool feedback_log_add(const struct feedback_log *log, size_t count, const struct codec_few *few,
		      size_t *next, size_t end);

#endif
