/* codec_topk_select.c - see codec_topk_select.h. */
#include "compress/codec_topk_select.h"

#include <assert.h>
#include <string.h>

static size_t whole_groups(size_t count)
{
	return (count + SPARSE_GROUP - 1) / SPARSE_GROUP;
}

size_t topk_list_bytes(size_t count)
{
	size_t room = whole_groups(count) * SPARSE_GROUP;

	return 2 * room * sizeof(float) + room * sizeof(uint32_t) +
	       TOPK_BINS * TOPK_TABLES * sizeof(uint32_t);
}

struct topk_list topk_list(const struct sparse_kernels *kernels, void *work, size_t count)
{
	size_t room = whole_groups(count) * SPARSE_GROUP;
	struct topk_list l = {.kernels = kernels, .p = work};

	l.value = l.p + room;
	l.index = (uint32_t *)(void *)(l.value + room);
	l.histogram = l.index + room;
	return l;
}

static uint32_t magnitude_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits & 0x7fffffffu;
}

void topk_collect(struct topk_list *l, const float *p, size_t count, size_t first, uint32_t least)
{
	l->n += l->kernels->collect(p, count, (uint32_t)first, least, l->index + l->n,
				    l->value + l->n);
}

static uint32_t least_of(const struct topk_list *l)
{
	uint32_t least = magnitude_of(l->value[0]);

	for (size_t i = 1; i < l->n; i++) {
		uint32_t magnitude = magnitude_of(l->value[i]);

		least = magnitude < least ? magnitude : least;
	}
	return least;
}

/* The last ones of the least magnitude go until `keep` are left. */
static void drop_ties(struct topk_list *l, size_t keep, uint32_t least)
{
	size_t first = l->n, n;

	for (size_t more = l->n - keep; more;)
		more -= magnitude_of(l->value[--first]) == least;
	n = first;
	for (size_t i = first; i < l->n; i++) {
		l->index[n] = l->index[i];
		l->value[n] = l->value[i];
		n += magnitude_of(l->value[i]) != least;
	}
	l->n = n;
}

/*
 * Of the candidates, all from `cut` on, the `keep` greatest; fewer reach `high`.
 * Return: a magnitude that all of them have, most of the time little less than the least.
 */
static uint32_t narrow(struct topk_list *l, size_t keep, uint32_t cut, uint32_t high)
{
	size_t groups = whole_groups(l->n);
	uint32_t least;

	assert(l->n >= keep);
	if (l->n == keep)
		return cut;
	memset(l->value + l->n, 0, (groups * SPARSE_GROUP - l->n) * sizeof(*l->value));
	least = l->kernels->between(l->value, groups, keep, (struct sparse_reach){cut, l->n}, high,
				    1);
	l->n = l->kernels->filter(l->index, l->value, l->n, least);
	if (l->n > keep)
		drop_ties(l, keep, least);
	return least;
}

/* Nothing but zeros: any would do, so the first ones. */
static void take_first(struct topk_list *l, const float *p, size_t keep)
{
	for (size_t i = 0; i < keep; i++)
		l->index[i] = (uint32_t)i;
	memcpy(l->value, p, keep * sizeof(*p));
	l->n = keep;
}

/* The bottom of the bin that has the keep-th greatest. */
static uint32_t histogram_cut(struct topk_list *l, size_t count, size_t keep)
{
	/* What a few elements cost is clearing the tables: one of them, and what is used of it. */
	size_t tables = count < TOPK_BINS ? 1 : TOPK_TABLES, above = 0, i = 0;
	uint32_t bin = l->greatest >> TOPK_BIN_SHIFT, *bins = l->histogram;

	for (size_t table = 0; table < tables; table++)
		memset(bins + table * TOPK_BINS, 0, (bin + 1) * sizeof(*bins));
	for (; tables == TOPK_TABLES && i + TOPK_TABLES <= count; i += TOPK_TABLES)
		for (size_t table = 0; table < TOPK_TABLES; table++) {
			uint32_t magnitude = magnitude_of(l->p[i + table]);

			bins[table * TOPK_BINS + (magnitude >> TOPK_BIN_SHIFT)]++;
		}
	for (; i < count; i++)
		bins[magnitude_of(l->p[i]) >> TOPK_BIN_SHIFT]++;
	for (;; bin--) {
		for (size_t table = 0; table < tables; table++)
			above += bins[table * TOPK_BINS + bin];
		if (above >= keep)
			return bin << TOPK_BIN_SHIFT;
	}
}

/*
 * A sixteenth of the elements, one line of each sixteen, says where to cut so that a few more than
 * `keep` remain.  Lines take turns: columns of a matrix should not be seen alone.  Return: 0: it
 * is too little to tell.
 */
static uint32_t sample_cut(struct topk_list *l, size_t count, size_t keep)
{
	enum { LINE = 16, EACH = 16, STEP = 5, LEAST = 1024, COARSE = 14 };
	size_t lines = count / (LINE * EACH), n = lines * LINE, groups = whole_groups(n);
	size_t share = (keep + EACH - 1) / EACH, spread = 1, want;
	float *sample = l->value; /* nothing is collected yet */

	while (spread * spread < share)
		spread++;
	want = share + 4 * spread + 4;
	if (n < LEAST || want >= n)
		return 0;
	for (size_t i = 0; i < lines; i++)
		memcpy(sample + i * LINE, l->p + (i * EACH + i * STEP % EACH) * LINE,
		       LINE * sizeof(*sample));
	memset(sample + n, 0, (groups * SPARSE_GROUP - n) * sizeof(*sample));
	return l->kernels->between(sample, groups, want, (struct sparse_reach){0, n},
				   l->greatest + 1, (uint32_t)1 << COARSE);
}

uint32_t topk_gather(struct topk_list *l, const struct codec_input *input, size_t keep,
		     uint32_t cut)
{
	enum { SPARE = 256 };
	const float *residual = input->residual;

	for (size_t first = 0; first < input->count; first += SPARSE_TILE) {
		size_t count = topk_tile(input, first);
		uint32_t greatest =
			l->kernels->source(input->in + first, residual ? residual + first : NULL,
					   input->residual_scale, l->p + first, count);

		l->greatest = greatest > l->greatest ? greatest : l->greatest;
		if (!cut)
			continue;
		/* While the tile is in the nearest cache, and memory brings the next. */
		topk_collect(l, l->p + first, count, first, cut);
		if (l->n > 2 * keep + SPARE)
			cut = narrow(l, keep, cut, l->greatest + 1);
	}
	return cut;
}

uint32_t topk_exact(struct topk_list *l, size_t count, size_t keep, uint32_t cut)
{
	if (!l->greatest) {
		take_first(l, l->p, keep);
		return 0;
	}
	if (cut && l->n >= keep) {
		narrow(l, keep, cut, l->greatest + 1);
		return least_of(l);
	}
	l->n = 0;
	cut = sample_cut(l, count, keep);
	if (cut) {
		topk_collect(l, l->p, count, 0, cut);
		if (l->n >= keep) {
			narrow(l, keep, cut, l->greatest + 1);
			return least_of(l);
		}
		l->n = 0;
	}
	cut = histogram_cut(l, count, keep);
	topk_collect(l, l->p, count, 0, cut);
	narrow(l, keep, cut, cut + ((uint32_t)1 << TOPK_BIN_SHIFT));
	return least_of(l);
}

/* Blocks that follow each other are alike: a little below their least magnitude are enough. */
static uint32_t block_guess(const struct topk_list *l, size_t keep)
{
	uint32_t margin = (uint32_t)1 << (keep < 8 ? 21 : 20);

	return l->guess > margin ? l->guess - margin : 0;
}

uint32_t topk_block(struct topk_list *l, const float *p, size_t count, size_t keep,
		    uint32_t greatest)
{
	enum { MANY = 4 * SPARSE_GROUP };
	size_t groups = whole_groups(count);
	uint32_t guess = block_guess(l, keep), least;

	l->n = 0;
	if (!greatest) {
		take_first(l, p, keep);
		l->guess = 0;
		return 0;
	}
	if (guess)
		topk_collect(l, p, count, 0, guess);
	if (l->n < keep || l->n > keep + MANY) {
		guess = l->kernels->between(p, groups, keep, (struct sparse_reach){0, count},
					    greatest + 1, (uint32_t)1 << TOPK_BIN_SHIFT);
		l->n = 0;
		topk_collect(l, p, count, 0, guess);
	}
	least = narrow(l, keep, guess, greatest + 1);
	l->guess = l->guess ? l->guess - l->guess / 4 + least / 4 : least;
	return least;
}
