/* feedback_log.c - see feedback_log.h. */
#include "compress/feedback_log.h"

#include <assert.h>
#include <string.h>

#include "compress/inline.h"

enum {
	TRIES = 4,
	AHEAD = 64, /* elements */
};

#define MARK_ENTRIES 2048u /* a mark is op * MARK_ENTRIES + entries */
#define ALL (MARK_ENTRIES - 1)

struct entry {
	float value;
	uint32_t place;
};

static_assert(FEEDBACK_CELL < MARK_ENTRIES, "entries of a cell fit into a mark");
static_assert(sizeof(struct entry) == 2 * sizeof(float), "half a cell's entries fit into its room");

size_t feedback_log_cells(uint64_t count)
{
	return (size_t)((count + FEEDBACK_CELL - 1) / FEEDBACK_CELL);
}

static size_t cell_count(size_t cell, size_t count)
{
	size_t left = count - cell * FEEDBACK_CELL;

	return left < FEEDBACK_CELL ? left : FEEDBACK_CELL;
}

static bool later(const struct feedback_log *log, uint64_t mark)
{
	return mark / MARK_ENTRIES > log->base;
}

/* x[count], a cell, as the mark says that it was. */
static void put_back(const float *old, uint64_t mark, float *x, size_t count)
{
	size_t entries = mark % MARK_ENTRIES;

	if (entries == ALL) {
		memcpy(x, old, count * sizeof(*x));
		return;
	}
	for (size_t i = 0; i < entries && 2 * i + 1 < count; i++) {
		struct entry entry;

		memcpy(&entry, old + 2 * i, sizeof(entry));
		if (entry.place < count) /* it is, unless it changes while it is looked at */
			x[entry.place] = entry.value;
	}
}

void feedback_log_undo(const struct feedback_log *log, size_t count)
{
	size_t cells = feedback_log_cells(count);

	for (size_t c = 0; c < cells; c++) {
		size_t first = c * FEEDBACK_CELL;

		if (!later(log, log->marks[c]))
			continue;
		put_back(log->old + first, log->marks[c], log->values + first,
			 cell_count(c, count));
		__atomic_store_n(&log->marks[c], 0, __ATOMIC_RELEASE);
	}
}

/*
 * Marks are set before the values change and taken away when they are back, so what was read
 * between two looks at the same mark is either untouched or in the log.
 */
static bool cell_before(const struct feedback_log *log, size_t cell, size_t count, float *out)
{
	const float *values = log->values + cell * FEEDBACK_CELL;
	const float *old = log->old + cell * FEEDBACK_CELL;

	for (int i = 0; i < TRIES; i++) {
		uint64_t mark = __atomic_load_n(&log->marks[cell], __ATOMIC_ACQUIRE), after;

		memcpy(out, values, count * sizeof(*out));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&log->marks[cell], __ATOMIC_ACQUIRE);
		if (later(log, after))
			put_back(old, after, out, count);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&log->marks[cell], __ATOMIC_ACQUIRE) == mark && mark == after)
			return true;
	}
	return false;
}

bool feedback_log_before(const struct feedback_log *log, size_t count, float *out)
{
	size_t cells = feedback_log_cells(count);

	for (size_t c = 0; c < cells; c++)
		if (!cell_before(log, c, cell_count(c, count), out + c * FEEDBACK_CELL))
			return false;
	return true;
}

static void set_mark(const struct feedback_log *log, size_t cell, size_t entries)
{
	assert(!later(log, log->marks[cell]) && log->op > log->base);
	__atomic_store_n(&log->marks[cell], log->op * MARK_ENTRIES + entries, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

void feedback_log_all(const struct feedback_log *log, size_t count)
{
	size_t cells = feedback_log_cells(count);

	memcpy(log->old, log->values, count * sizeof(*log->old));
	for (size_t c = 0; c < cells; c++)
		set_mark(log, c, ALL);
}

/* What n elements of a cell of `count` are now. */
static void log_cell(const struct feedback_log *log, size_t cell, size_t count,
		     const uint32_t *index, size_t n)
{
	const float *values = log->values + cell * FEEDBACK_CELL;
	float *old = log->old + cell * FEEDBACK_CELL;

	if (n > count / 2) {
		memcpy(old, values, count * sizeof(*old));
		set_mark(log, cell, ALL);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		uint32_t place = index[i] % FEEDBACK_CELL;
		struct entry entry = {values[place], place};

		memcpy(old + 2 * i, &entry, sizeof(entry));
	}
	set_mark(log, cell, n);
}

static bool nonfinite(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return (bits & 0x7fffffffu) >= CODEC_NONFINITE_BITS;
}

/*
 * All that is touched lies far apart: its lines are asked for before it is their turn.  Inline, as
 * gcc 12 leaves out calls of a function that does nothing but this.
 */
INLINE void fetch(const struct feedback_log *log, const struct codec_few *few, size_t i)
{
	if (i >= few->n)
		return;
	__builtin_prefetch(log->values + few->index[i], 1);
	__builtin_prefetch(log->old + few->index[i] / FEEDBACK_CELL * FEEDBACK_CELL, 1);
}

bool feedback_log_add(const struct feedback_log *log, size_t count, const struct codec_few *few,
		      size_t *next, size_t end)
{
	float *values = log->values;
	size_t i = *next;
	bool found = false;

	while (i < few->n && few->index[i] < end) {
		size_t cell = few->index[i] / FEEDBACK_CELL, first = cell * FEEDBACK_CELL;
		size_t size = cell_count(cell, count), last = i;

		for (; last < few->n && few->index[last] < first + size; last++)
			fetch(log, few, last + AHEAD);
		log_cell(log, cell, size, few->index + i, last - i);
		for (; i < last; i++) {
			values[few->index[i]] += few->value[i];
			found |= nonfinite(values[few->index[i]]);
		}
	}
	*next = i;
	return found;
}
