/*
 * codec_randk.c - a random part of the elements, the same on all ranks.
 *
 * A chunk is cut into blocks of 64 elements (the last may be shorter); ceil(density * blocks) of
 * them are kept, drawn without replacement by codec_input.shared_key and the blocks' places in
 * the tensor.  The receiver draws the same ones, so no indices are sent, and what all ranks
 * send can be added as it is.
 *
 *   density   share of the blocks
 *   scale     none: values as they are; a contraction, for feedback
 *             unbiased: times blocks / kept, so that the mean over the draws is the input; what
 *             overflows becomes the greatest number
 *
 * On the wire: float32, little-endian, of the blocks kept, in order, scaled.
 */
#include <errno.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_plain_kernels.h"
#include "compress/codec_table.h"
#include "compress/codec_topk.h"

enum { RANDK_BLOCK = SPARSE_GROUP };
enum { RANDK_NONE, RANDK_UNBIASED };

#define GREATEST 0x1.fffffep127f

/* The draws of a chunk, block after block. */
struct randk_draw {
	struct random_key key;
	uint64_t element; /* of the next block's first in the tensor */
	size_t blocks;    /* to come                                 */
	size_t keep;      /* of them                                 */
};

static size_t blocks_of(size_t count)
{
	return (count + RANDK_BLOCK - 1) / RANDK_BLOCK;
}

static size_t keep_of(const struct codec_setting *s, size_t count)
{
	return topk_keep(s->density, blocks_of(count));
}

static struct randk_draw draw_of(const struct codec_setting *s, struct random_key key,
				 uint64_t first, size_t count)
{
	return (struct randk_draw){key, first, blocks_of(count), keep_of(s, count)};
}

/* Is the next block kept?  It is with probability keep / blocks, both of those still to come. */
static inline bool draw_next(struct randk_draw *d)
{
	struct random_key key = random_key_at(d->key, d->element);
	uint64_t draw = random_u32(key, (uint32_t)d->element);
	bool kept = (draw * d->blocks) >> 32 < d->keep;

	d->element += RANDK_BLOCK;
	d->blocks--;
	d->keep -= kept;
	return kept;
}

static float scale_of(const struct codec_setting *s, size_t count)
{
	if (s->scale == RANDK_NONE)
		return 1;
	return (float)((double)blocks_of(count) / (double)keep_of(s, count));
}

static size_t randk_bound(const struct codec_setting *s, size_t count)
{
	size_t most = keep_of(s, count) * RANDK_BLOCK;

	return (most < count ? most : count) * sizeof(float);
}

/* The bytes that these draws make. */
static size_t randk_bytes(struct randk_draw d, size_t count)
{
	size_t rest = count % RANDK_BLOCK, kept = d.keep;
	bool last = false;

	while (rest && d.blocks)
		last = draw_next(&d);
	return (kept * RANDK_BLOCK - (last ? RANDK_BLOCK - rest : 0)) * sizeof(float);
}

static void scale_values(const float *p, float scale, float *values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		float value = scale * p[i];

		value = value > GREATEST ? GREATEST : value;
		values[i] = value < -GREATEST ? -GREATEST : value;
	}
}

static struct codec_result randk_encode(const struct codec_setting *s,
					const struct codec_kernels *k,
					const struct codec_input *input, void *out)
{
	struct randk_draw draw = draw_of(s, input->shared_key, input->first, input->count);
	float scale = scale_of(s, input->count), values[RANDK_BLOCK];
	_Alignas(64) float p[SPARSE_TILE];
	unsigned char *at = out;

	for (size_t first = 0; first < input->count; first += SPARSE_TILE) {
		size_t count = topk_tile(input, first);

		if (k->sparse->source(input->in + first,
				      input->residual ? input->residual + first : NULL,
				      input->residual_scale, p, count) >= CODEC_NONFINITE_BITS)
			return (struct codec_result){.nonfinite = true};
		for (size_t i = 0; i < count; i += RANDK_BLOCK) {
			size_t block = count - i < RANDK_BLOCK ? count - i : RANDK_BLOCK;

			if (!draw_next(&draw))
				continue;
			scale_values(p + i, scale, values, block);
			for (size_t j = 0; j < block; j++)
				p[i + j] -= values[j];
			memcpy(at, values, block * sizeof(*values));
			at += block * sizeof(*values);
		}
		if (input->residual_out)
			k->sparse->put(input->residual_out + first, p, count, input->away);
	}
	k->sparse->fence();
	return (struct codec_result){.bytes = (size_t)(at - (unsigned char *)out)};
}

/* The length is right and all values are finite. */
static int randk_check(const struct codec_kernels *k, struct randk_draw draw,
		       const unsigned char *bytes, size_t length, size_t count)
{
	size_t left = length / sizeof(float);
	float values[RANDK_BLOCK];

	if (length != randk_bytes(draw, count))
		return -EBADMSG;
	while (left) {
		size_t some = left < RANDK_BLOCK ? left : RANDK_BLOCK;

		if (k->sparse->read(bytes, false, some, values) >= CODEC_NONFINITE_BITS)
			return -EBADMSG;
		bytes += some * sizeof(*values);
		left -= some;
	}
	return 0;
}

static int randk_decode(const struct codec_setting *s, const struct codec_kernels *k,
			const struct codec_origin *origin, const void *bytes, size_t length,
			float *out, size_t count)
{
	struct randk_draw draw = draw_of(s, origin->shared_key, origin->first, count);
	const unsigned char *at = bytes;

	if (randk_check(k, draw, bytes, length, count))
		return -EBADMSG;
	memset(out, 0, count * sizeof(*out)); /* at once: most are zeros */
	for (size_t i = 0; i < count; i += RANDK_BLOCK) {
		size_t block = count - i < RANDK_BLOCK ? count - i : RANDK_BLOCK;

		if (!draw_next(&draw))
			continue;
		memcpy(out + i, at, block * sizeof(*out));
		at += block * sizeof(*out);
	}
	return 0;
}

static int randk_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			    const struct codec_origin *origin, const void *bytes, size_t length,
			    float weight, float *sum, size_t count)
{
	struct randk_draw draw = draw_of(s, origin->shared_key, origin->first, count);
	const unsigned char *at = bytes;
	float values[RANDK_BLOCK];

	if (randk_check(k, draw, bytes, length, count))
		return -EBADMSG;
	for (size_t i = 0; i < count; i += RANDK_BLOCK) {
		size_t block = count - i < RANDK_BLOCK ? count - i : RANDK_BLOCK;

		if (!draw_next(&draw))
			continue;
		memcpy(values, at, block * sizeof(*values));
		at += block * sizeof(*values);
		k->plain->add(values, weight, block, sum + i);
	}
	return 0;
}

/* Unbiased, blocks / kept - 1 of the square is lost in the mean. */
static const char *randk_runs_away(const struct codec_setting *s, size_t count)
{
	if (s->scale == RANDK_NONE || 2 * keep_of(s, count) > blocks_of(count))
		return NULL;
	return "needs scale=none, or a density above one half: its noise grows";
}

static bool randk_unbiased(const struct codec_setting *s)
{
	return s->scale == RANDK_UNBIASED;
}

static const struct setting_option randk_options[] = {
	{"density", SETTING_REAL, offsetof(struct codec_setting, density), 1e-5, 1, NULL, 0.01},
	{"scale", SETTING_WORD, offsetof(struct codec_setting, scale), 0, 0, "none|unbiased",
	 RANDK_NONE},
	{.key = NULL},
};

static const char *const randk_examples[] = {
	"randk",
	"randk:density=0.25",
	"randk:density=0.25,scale=unbiased",
	NULL,
};

/*
 * No delta is promised: the mean over the draws is kept / blocks without scale, but it comes from
 * few draws, most of which may miss all that a chunk has.
 */
const struct codec codec_randk = {
	.name = "randk",
	.id = CODEC_RANDK,
	.options = randk_options,
	.examples = randk_examples,
	.bound = randk_bound,
	.encode = randk_encode,
	.decode = randk_decode,
	.decode_add = randk_decode_add,
	.runs_away = randk_runs_away,
	.unbiased = randk_unbiased,
};
