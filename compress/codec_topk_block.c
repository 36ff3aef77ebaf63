/* codec_topk_block.c - topk:mode=block: a fixed number of each 1024 elements; codec_topk.c. */
#include <errno.h>

#include <assert.h>

#include "compress/codec_topk.h"

static_assert((int)TOPK_BLOCK == (int)SPARSE_TILE, "a block is a tile of the kernels");

static size_t last_of(size_t count)
{
	return count % TOPK_BLOCK;
}

size_t topk_block_kept(const struct codec_setting *s, size_t count)
{
	size_t kept = count / TOPK_BLOCK * topk_keep(s->density, TOPK_BLOCK);

	return last_of(count) ? kept + topk_keep(s->density, last_of(count)) : kept;
}

static size_t places_bytes(const struct codec_setting *s, size_t count)
{
	return (topk_block_kept(s, count) * TOPK_PLACE_BITS + 7) / 8;
}

/* The setting alone decides, so that the bytes of a block don't depend on the chunk. */
bool topk_block_bitmap(const struct codec_setting *s)
{
	if (s->indices == TOPK_AUTO)
		return topk_keep(s->density, TOPK_BLOCK) * TOPK_PLACE_BITS > TOPK_BLOCK;
	return s->indices == TOPK_BITMAP;
}

size_t topk_block_bytes(const struct codec_setting *s, size_t count)
{
	return topk_block_kept(s, count) * topk_value_bytes(s) +
	       (topk_block_bitmap(s) ? (count + 7) / 8 : places_bytes(s, count));
}

/* A whole tile's residual that is written while the next tile is read. */
struct topk_late {
	float *left; /* NULL: none */
	const float *p;
};

/* p of the tile at `first`, and what is late to memory.  Return: the greatest magnitude. */
static uint32_t block_source(const struct sparse_kernels *k, const struct codec_input *input,
			     size_t first, struct topk_late *late, float *p)
{
	const float *in = input->in + first;
	const float *residual = input->residual ? input->residual + first : NULL;
	size_t count = topk_tile(input, first);
	struct topk_late now = *late;

	*late = (struct topk_late){NULL, NULL};
	if (now.left && count == TOPK_BLOCK)
		return k->put_source(now.left, now.p, in, residual, input->residual_scale, p);
	if (now.left)
		k->put(now.left, now.p, TOPK_BLOCK, true);
	return k->source(in, residual, input->residual_scale, p, count);
}

/* The list's indices from `first` on, and what is not sent of p to the residual. */
static void block_rest(const struct codec_setting *s, const struct topk_list *l,
		       const struct codec_input *input, size_t first, float *p,
		       struct topk_bits *places, unsigned char *bitmap, struct topk_late *late)
{
	size_t tile = topk_tile(input, first);
	float *left = input->residual_out ? input->residual_out + first : NULL;

	for (size_t i = 0; i < l->n; i++)
		p[l->index[i]] = l->value[i] - topk_sent(s, l->value[i]);
	if (bitmap)
		topk_bitmap_write(l->index, l->n, tile, bitmap + first / 8);
	else
		topk_places_write(places, l->index, l->n);
	if (left && tile == TOPK_BLOCK && input->away && (uintptr_t)left % 64 == 0)
		*late = (struct topk_late){left, p};
	else if (left)
		l->kernels->put(left, p, tile, input->away);
}

struct codec_result topk_block_encode(const struct codec_setting *s, struct topk_list *l,
				      const struct codec_input *input, unsigned char *out)
{
	size_t count = input->count, whole = topk_keep(s->density, TOPK_BLOCK);
	unsigned char *indices = out + topk_block_kept(s, count) * topk_value_bytes(s);
	unsigned char *bitmap = topk_block_bitmap(s) ? indices : NULL;
	struct topk_bits places = {.out = indices};
	struct codec_result result = {.bytes = topk_block_bytes(s, count)};
	_Alignas(64) float tiles[2][SPARSE_TILE];
	struct topk_late late = {NULL, NULL};

	for (size_t first = 0; first < count; first += TOPK_BLOCK) {
		float *p = tiles[first / TOPK_BLOCK % 2];
		struct sparse_tile tile = {
			.in = p,
			.count = topk_tile(input, first),
			.narrow = s->values == TOPK_BF16,
			.away = input->away,
			.left = input->residual_out ? input->residual_out + first : NULL,
		};
		size_t keep = tile.count < TOPK_BLOCK ? topk_keep(s->density, tile.count) : whole;
		uint32_t greatest = block_source(l->kernels, input, first, &late, p);

		if (greatest >= CODEC_NONFINITE_BITS)
			return (struct codec_result){.nonfinite = true};
		tile.least = topk_block(l, p, tile.count, keep, greatest);
		out = topk_values_write(s, l, out);
		if (!bitmap || tile.count < TOPK_BLOCK ||
		    !l->kernels->split(&tile, keep, bitmap + first / 8))
			block_rest(s, l, input, first, p, &places, bitmap, &late);
	}
	if (late.left)
		l->kernels->put(late.left, late.p, TOPK_BLOCK, true);
	topk_bits_end(&places);
	l->kernels->fence();
	return result;
}

/* Each block has as many as it must. */
static int shares_check(const struct codec_setting *s, const uint32_t *index, size_t count)
{
	size_t n = 0;

	for (size_t first = 0; first < count; first += TOPK_BLOCK) {
		size_t tile = count - first < TOPK_BLOCK ? count - first : TOPK_BLOCK;
		size_t last = n + topk_keep(s->density, tile) - 1;

		if (index[n] < first || index[last] >= first + tile)
			return -EBADMSG;
		n = last + 1;
	}
	return 0;
}

bool topk_block_good(const struct codec_setting *s, const struct sparse_kernels *k,
		     const unsigned char *bitmap, size_t length, size_t count)
{
	size_t whole = topk_keep(s->density, TOPK_BLOCK), last = last_of(count);

	if (!topk_bitmap_good(bitmap, length, count))
		return false;
	for (size_t at = 0; at + TOPK_BLOCK <= count; at += TOPK_BLOCK)
		if (k->ones(bitmap + at / 8, TOPK_BLOCK) != whole)
			return false;
	return !last || k->ones(bitmap + (count - last) / 8, last) == topk_keep(s->density, last);
}

int topk_block_read(const struct codec_setting *s, const unsigned char *bytes, size_t length,
		    uint32_t *index, size_t count)
{
	size_t kept = topk_block_kept(s, count), n = 0;

	if (topk_block_bitmap(s))
		return topk_index_read(TOPK_BITMAP, bytes, length, index, kept, count)
			       ? -EBADMSG
			       : shares_check(s, index, count);
	if (!topk_bits_spare(bytes, length, kept * TOPK_PLACE_BITS))
		return -EBADMSG;
	for (size_t first = 0; first < count; first += TOPK_BLOCK) {
		size_t tile = count - first < TOPK_BLOCK ? count - first : TOPK_BLOCK;
		size_t next = first;

		for (size_t keep = topk_keep(s->density, tile); keep; keep--, n++) {
			size_t i = first + topk_bits_get(bytes, length, n * TOPK_PLACE_BITS,
							 TOPK_PLACE_BITS);

			if (i < next || i >= first + tile)
				return -EBADMSG;
			index[n] = (uint32_t)i;
			next = i + 1;
		}
	}
	return 0;
}
