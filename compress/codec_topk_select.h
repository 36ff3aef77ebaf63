/*
 * codec_topk_select.h - which elements have the greatest magnitudes.
 *
 * Ties go to the lowest index, so what is selected depends on the values alone; guesses (a sample,
 * the block before) change how fast it is found, never what.
 *
 * A selection by number takes two steps: candidates, all elements above some magnitude, one
 * pass over a tile or chunk; then the magnitude of the last one that is kept, bit by bit over the
 * few candidates.  A guess of the caller's says where to cut, or a sample of the chunk; if both
 * were wrong, or the chunk is small, a histogram of the top 11 bits does.
 */
#ifndef COMPRESS_CODEC_TOPK_SELECT_H
#define COMPRESS_CODEC_TOPK_SELECT_H

#include "compress/codec.h"
#include "compress/codec_sparse_kernels.h"

/* What is selected, in work: index ascending, values as they are in p. */
struct topk_list {
	const struct sparse_kernels *kernels;
	float *p;            /* room for a chunk, in whole groups */
	uint32_t *index;     /* as many                           */
	float *value;        /* as many                           */
	uint32_t *histogram; /* TOPK_BINS * TOPK_TABLES           */
	size_t n;
	uint32_t greatest; /* magnitude in the chunk            */
	uint32_t guess;    /* block: a mean of the last blocks' least magnitudes; 0: none */
};

enum {
	TOPK_BINS = 2048,
	TOPK_TABLES = 4, /* so that equal neighbours don't wait for each other */
	TOPK_BIN_SHIFT = 20,
};

/* Elements of the tile that begins at `first`. */
static inline size_t topk_tile(const struct codec_input *input, size_t first)
{
	size_t left = input->count - first;

	return left < SPARSE_TILE ? left : SPARSE_TILE;
}

size_t topk_list_bytes(size_t count);
struct topk_list topk_list(const struct sparse_kernels *kernels, void *work, size_t count);

/* topk_collect() - appends what of p[count] has at least that magnitude; p[0] has index first. */
void topk_collect(struct topk_list *l, const float *p, size_t count, size_t first, uint32_t least);

/*
 * topk_gather() - p = in + scale * residual into l->p; unless cut is 0, the list has what reaches
 * it and may be one of the `keep` greatest
 * Return: the cut, raised while there was far more than that.
 */
uint32_t topk_gather(struct topk_list *l, const struct codec_input *input, size_t keep,
		     uint32_t cut);

/*
 * topk_exact() - the list becomes the `keep` greatest of l->p[count]
 * @cut: of topk_gather(); too few may have it
 * Return: the least magnitude in the list.
 */
uint32_t topk_exact(struct topk_list *l, size_t count, size_t keep, uint32_t cut);

/*
 * topk_block() - the list becomes the `keep` greatest of a block p[count], indices within it
 * @greatest: magnitude in it
 * Return: a magnitude that all of them have.
 */
uint32_t topk_block(struct topk_list *l, const float *p, size_t count, size_t keep,
		    uint32_t greatest);

#endif
