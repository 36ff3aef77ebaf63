/*
 * codec_topk.c - the elements of greatest magnitude, with their indices.
 *
 *   density   k = ceil(density * elements), of the chunk or of each block
 *   mode      exact: exactly k of the chunk; ties go to the lowest index
 *             block: exactly k of each 1024 elements (fewer of a last short one): messages of one
 *             size, and cuts at multiples of 1024 change nothing
 *             threshold: all that reach input.threshold, one pass over memory; if that is not
 *             within [k / 2, 2k], or there is none yet, exactly k.  result.threshold tends to k
 *   scope     of mode=threshold.  chunk: as above, a threshold for each chunk.  tensor: one for all
 *             chunks, and a chunk keeps what reaches it, from nothing to everything; k is the
 *             chunk's expected part.  Each result.threshold is linear in what was kept, so that
 *             their mean over a tensor's chunks, weighted by elements, is the tensor's next
 *             threshold.  Without a threshold: exactly k, and the least magnitude of them
 *   values    f32, or bf16 (rounded to nearest even, saturating; feedback carries the rest)
 *   indices   bitmap, gaps or local (codec_topk_index.h), auto: whichever is smallest
 *
 * On the wire, little-endian:
 *   mode=block: the values of all blocks, then the indices, both of fixed size: a bitmap of the
 *   chunk, or the places in their blocks, 10 bits each.
 *   Others: uint8 coding (0 all, 1 bitmap, 2 gaps, 3 local), uint24 elements kept, the values in
 *   the order of their indices, the indices.
 */
#include "compress/codec_topk.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "compress/codec_plain_kernels.h"
#include "compress/codec_table.h"

size_t topk_keep(float density, size_t count)
{
	/* The float nearest to 0.1 is above it: 101 of 1000 is not what was meant. */
	double share = (double)density * (1 - 0x1p-23);
	size_t keep = (size_t)ceil(share * (double)count);

	return keep < count ? keep : count;
}

size_t topk_value_bytes(const struct codec_setting *s)
{
	return s->values == TOPK_BF16 ? sizeof(uint16_t) : sizeof(float);
}

/* How many elements a message of mode exact or threshold may keep. */
static void keep_range(const struct codec_setting *s, size_t count, size_t *least, size_t *most)
{
	size_t keep = topk_keep(s->density, count);

	*least = *most = keep;
	if (s->mode != TOPK_THRESHOLD)
		return;
	*least = s->scope == TOPK_TENSOR ? 0 : (keep + 1) / 2;
	*most = s->scope == TOPK_TENSOR || keep > count / 2 ? count : 2 * keep;
}

/* --- sizes -------------------------------------------------------------------------------- */

static size_t index_most(const struct codec_setting *s, size_t kept, size_t count)
{
	size_t best = SIZE_MAX;

	for (unsigned int coding = TOPK_BITMAP; coding < TOPK_CODINGS; coding++) {
		size_t bytes = topk_index_most((enum topk_coding)coding, kept, count);

		if ((s->indices == TOPK_AUTO || s->indices == coding) && bytes < best)
			best = bytes;
	}
	return best;
}

static size_t topk_bound(const struct codec_setting *s, size_t count)
{
	enum { SLACK = 2 }; /* fewer may need a byte or two more: each part is rounded up */
	size_t value = topk_value_bytes(s), least, most;

	if (s->mode == TOPK_BY_BLOCK)
		return topk_block_bytes(s, count);
	keep_range(s, count, &least, &most);
	if (s->mode == TOPK_THRESHOLD && most == count) {
		/* No more than everything, see fits(), or than exactly k. */
		size_t keep = topk_keep(s->density, count);
		size_t exact = keep * value + index_most(s, keep, count);

		return TOPK_HEADER_BYTES + (exact > count * value ? exact : count * value) + SLACK;
	}
	return TOPK_HEADER_BYTES + most * value + index_most(s, most, count) + SLACK;
}

static size_t topk_work(const struct codec_setting *s, size_t count)
{
	(void)s;
	return topk_list_bytes(count);
}

/* --- messages ----------------------------------------------------------------------------- */

unsigned char *topk_values_write(const struct codec_setting *s, const struct topk_list *l,
				 unsigned char *out)
{
	if (s->values == TOPK_F32)
		memcpy(out, l->value, l->n * sizeof(float));
	else
		l->kernels->narrow(l->value, l->n, out);
	return out + l->n * topk_value_bytes(s);
}

static enum topk_coding coding_of(const struct codec_setting *s, const struct topk_list *l,
				  size_t count)
{
	enum topk_coding best = TOPK_BITMAP;
	size_t least = topk_index_most(TOPK_BITMAP, l->n, count);

	if (l->n == count)
		return TOPK_ALL;
	if (s->indices != TOPK_AUTO)
		return (enum topk_coding)s->indices;
	if (topk_index_most(TOPK_LOCAL, l->n, count) < least) {
		best = TOPK_LOCAL;
		least = topk_index_most(TOPK_LOCAL, l->n, count);
	}
	if (topk_index_most(TOPK_GAPS, l->n, count) < least)
		return TOPK_GAPS;
	return topk_index_bytes(TOPK_GAPS, l->index, l->n, count) < least ? TOPK_GAPS : best;
}

static size_t message_write(const struct codec_setting *s, const struct topk_list *l, size_t count,
			    unsigned char *out)
{
	enum topk_coding coding = coding_of(s, l, count);
	uint32_t header = (uint32_t)coding | (uint32_t)l->n << 8;
	unsigned char *at;

	memcpy(out, &header, sizeof(header));
	at = topk_values_write(s, l, out + TOPK_HEADER_BYTES);
	at += topk_index_write(coding, l->index, l->n, count, at);
	return (size_t)(at - out);
}

/* --- encoding ----------------------------------------------------------------------------- */

/*
 * All that reach the threshold.  The residual is written at once, before their number is
 * known; the list has what it lacks, so that ungather() can bring p back.
 */
static void gather_reaching(const struct codec_setting *s, struct topk_list *l,
			    const struct codec_input *input, uint32_t least)
{
	float *left = input->residual_out ? input->residual_out : l->p;

	for (size_t first = 0; first < input->count; first += SPARSE_TILE) {
		struct sparse_tile tile = {
			.in = input->in + first,
			.residual = input->residual ? input->residual + first : NULL,
			.scale = input->residual_scale,
			.count = topk_tile(input, first),
			.first = (uint32_t)first,
			.least = least,
			.narrow = s->values == TOPK_BF16,
			.away = input->away && input->residual_out,
			.left = left + first,
			.index = l->index + l->n,
			.value = l->value + l->n,
		};

		l->n += l->kernels->reach(&tile, &l->greatest);
	}
	l->kernels->fence();
}

static void ungather(struct topk_list *l, const struct codec_input *input)
{
	size_t count = input->count, rest = count % SPARSE_GROUP;

	if (input->residual_out)
		memcpy(l->p, input->residual_out, count * sizeof(*l->p));
	for (size_t i = 0; i < l->n; i++)
		l->p[l->index[i]] = l->value[i];
	if (rest) /* whole groups, with zeros */
		memset(l->p + count, 0, (SPARSE_GROUP - rest) * sizeof(*l->p));
}

static void residual_write(const struct codec_setting *s, struct topk_list *l,
			   const struct codec_input *input)
{
	if (!input->residual_out)
		return;
	for (size_t i = 0; i < l->n; i++)
		l->p[l->index[i]] = l->value[i] - topk_sent(s, l->value[i]);
	l->kernels->put(input->residual_out, l->p, input->count, input->away);
	l->kernels->fence();
}

/* Everything is sent, so nothing is looked for; the residual is what bf16 loses. */
static size_t write_all(const struct codec_setting *s, struct topk_list *l,
			const struct codec_input *input, unsigned char *out)
{
	size_t count = input->count, bytes;

	l->n = count;
	l->value = l->p;
	bytes = message_write(s, l, count, out);
	if (!input->residual_out)
		return bytes;
	for (size_t i = 0; i < count; i++)
		l->p[i] -= topk_sent(s, l->p[i]);
	l->kernels->put(input->residual_out, l->p, count, input->away);
	l->kernels->fence();
	return bytes;
}

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The threshold's magnitude, less than a finite number; 0: there is none. */
static uint32_t threshold_bits(float threshold)
{
	uint32_t bits = bits_of(threshold);

	return bits < CODEC_NONFINITE_BITS ? bits : 0;
}

/*
 * Exact: where to look for candidates, a little below what was kept in the last step.  If now there
 * are too few, or without a hint, they are looked for when the whole chunk is known.
 */
static uint32_t guess_cut(const struct codec_setting *s, uint32_t hint)
{
	enum { MARGIN = 1 << 19 }; /* a sixteenth of an octave */

	return s->mode == TOPK_EXACT && s->density < 0.25f && hint > MARGIN ? hint - MARGIN : 0;
}

/*
 * One step towards k: threshold * (1 + gain * (kept / k - 1)).  Near the threshold t of a
 * density q the number kept falls like t^-s, s about 2 ln(1 / q) for a Gaussian and ln(1 / q) for
 * a Laplacian, so 1 / (2 ln(1 / q)) neither overshoots nor is slow.  The logarithm is piecewise
 * linear, off by 0.09 at most: C libraries differ in theirs.
 */
static float threshold_next(float density, float threshold, size_t kept, size_t keep)
{
	const double ln2 = 0x1.62e43p-1;
	double octaves = 127 - (double)threshold_bits(density) * 0x1p-23;
	double gain = 1 / (2 * ln2 * octaves > 1 ? 2 * ln2 * octaves : 1);
	double next = 1 + gain * ((double)kept / (double)keep - 1);

	next *= (double)threshold;
	return (float)(next < 0x1p127 ? next : 0x1p127);
}

static bool fits(const struct codec_setting *s, const struct topk_list *l, size_t count)
{
	size_t value = topk_value_bytes(s), least, most;

	keep_range(s, count, &least, &most);
	if (l->n < least || l->n > most)
		return false;
	/* Where it is no smaller, everything is sent instead. */
	return most < count || l->n * value + index_most(s, l->n, count) <= count * value;
}

/* Values that lose nothing are in the list as they are sent. */
static struct codec_few sent_few(const struct codec_setting *s, const struct topk_list *l)
{
	return s->values == TOPK_F32 ? (struct codec_few){l->index, l->value, l->n}
				     : (struct codec_few){0};
}

static struct codec_result topk_encode(const struct codec_setting *s, const struct codec_kernels *k,
				       const struct codec_input *input, void *out)
{
	struct topk_list l = topk_list(k->sparse, input->work, input->count);
	size_t count = input->count, keep = topk_keep(s->density, count);
	uint32_t hint = threshold_bits(input->threshold), cut = guess_cut(s, hint), least;
	struct codec_result result = {0};

	if (s->mode == TOPK_BY_BLOCK)
		return topk_block_encode(s, &l, input, out);
	if (s->mode == TOPK_THRESHOLD && hint) {
		gather_reaching(s, &l, input, hint);
		result.nonfinite = l.greatest >= CODEC_NONFINITE_BITS;
		if (result.nonfinite)
			return result;
		result.threshold = threshold_next(s->density, input->threshold, l.n, keep);
		if (fits(s, &l, count)) {
			result.bytes = message_write(s, &l, count, out);
			result.few = sent_few(s, &l);
			return result;
		}
		if (s->scope == TOPK_TENSOR)
			keep = count; /* everything is smaller */
		else
			result.threshold = 0;
		ungather(&l, input);
	} else {
		cut = topk_gather(&l, input, keep, cut);
		result.nonfinite = l.greatest >= CODEC_NONFINITE_BITS;
		if (result.nonfinite)
			return result;
	}
	if (keep == count && s->mode == TOPK_EXACT) {
		result.bytes = write_all(s, &l, input, out);
		return result;
	}
	least = topk_exact(&l, count, keep, cut);
	if (!(result.threshold > 0))
		result.threshold = float_of(least);
	result.bytes = message_write(s, &l, count, out);
	result.few = sent_few(s, &l);
	residual_write(s, &l, input);
	return result;
}

/* Those of few that reach the threshold into the list.  No branch: sums may be zero as often. */
static void list_reaching(struct topk_list *l, const struct codec_few *few, uint32_t least)
{
	for (size_t i = 0; i < few->n; i++) {
		uint32_t magnitude = bits_of(few->value[i]) & 0x7fffffffu;

		l->greatest = magnitude > l->greatest ? magnitude : l->greatest;
		l->index[l->n] = few->index[i];
		l->value[l->n] = few->value[i];
		l->n += magnitude >= least;
	}
}

/* Only where zeros are never sent: by one threshold for all chunks. */
static struct codec_result topk_encode_few(const struct codec_setting *s,
					   const struct codec_input *input,
					   const struct codec_few *few, void *out)
{
	struct topk_list l = topk_list(&sparse_scalar, input->work, input->count);
	uint32_t hint = threshold_bits(input->threshold);
	struct codec_result result = {0};

	if (s->scope != TOPK_TENSOR || !hint || input->residual || input->residual_out)
		return result;
	list_reaching(&l, few, hint);
	result.nonfinite = l.greatest >= CODEC_NONFINITE_BITS;
	if (result.nonfinite || !fits(s, &l, input->count))
		return result;
	result.threshold = threshold_next(s->density, input->threshold, l.n,
					  topk_keep(s->density, input->count));
	result.bytes = message_write(s, &l, input->count, out);
	return result;
}

/* --- decoding ----------------------------------------------------------------------------- */

/* Where the values of a message belong: everywhere, by the bitmap, or by the list of indices. */
struct topk_places {
	bool all;
	const unsigned char *bitmap;
	float *whole; /* where the values are to be if they belong everywhere; NULL: in the list */
};

static int values_read(const struct codec_setting *s, struct topk_list *l,
		       const unsigned char *bytes)
{
	uint32_t greatest = l->kernels->read(bytes, s->values == TOPK_BF16, l->n, l->value);

	return greatest < CODEC_NONFINITE_BITS ? 0 : -EBADMSG;
}

static int places_read(struct topk_list *l, enum topk_coding coding, const unsigned char *bytes,
		       size_t length, size_t count, struct topk_places *places)
{
	if (coding == TOPK_ALL && places && !length) {
		places->all = true;
		return 0;
	}
	if (coding == TOPK_BITMAP && places) {
		places->bitmap = bytes;
		return topk_bitmap_good(bytes, length, count) &&
				       l->kernels->ones(bytes, count) == l->n
			       ? 0
			       : -EBADMSG;
	}
	return topk_index_read(coding, bytes, length, l->index, l->n, count);
}

static int message_read(const struct codec_setting *s, struct topk_list *l,
			const unsigned char *bytes, size_t length, size_t count,
			struct topk_places *places)
{
	size_t least, most, values;
	unsigned int coding;
	uint32_t header;

	if (length < TOPK_HEADER_BYTES)
		return -EBADMSG;
	memcpy(&header, bytes, sizeof(header));
	coding = header & 0xff;
	l->n = header >> 8;
	keep_range(s, count, &least, &most);
	if (l->n < least || l->n > most || coding >= TOPK_CODINGS)
		return -EBADMSG;
	if ((coding == TOPK_ALL) != (l->n == count))
		return -EBADMSG;
	if (coding != TOPK_ALL && s->indices != TOPK_AUTO && s->indices != coding)
		return -EBADMSG;
	if (coding == TOPK_ALL && places && places->whole)
		l->value = places->whole;
	values = TOPK_HEADER_BYTES + l->n * topk_value_bytes(s);
	if (length < values || values_read(s, l, bytes + TOPK_HEADER_BYTES))
		return -EBADMSG;
	return places_read(l, (enum topk_coding)coding, bytes + values, length - values, count,
			   places);
}

static int blocks_read(const struct codec_setting *s, struct topk_list *l,
		       const unsigned char *bytes, size_t length, size_t count,
		       struct topk_places *places)
{
	size_t values = topk_block_kept(s, count) * topk_value_bytes(s);

	if (length != topk_block_bytes(s, count))
		return -EBADMSG;
	l->n = topk_block_kept(s, count);
	if (values_read(s, l, bytes))
		return -EBADMSG;
	if (!places || !topk_block_bitmap(s))
		return topk_block_read(s, bytes + values, length - values, l->index, count);
	places->bitmap = bytes + values;
	return topk_block_good(s, l->kernels, bytes + values, length - values, count) ? 0
										      : -EBADMSG;
}

/* places: NULL: all is to become a list of indices. */
static int any_read(const struct codec_setting *s, struct topk_list *l, const void *bytes,
		    size_t length, size_t count, struct topk_places *places)
{
	return s->mode == TOPK_BY_BLOCK ? blocks_read(s, l, bytes, length, count, places)
					: message_read(s, l, bytes, length, count, places);
}

static int topk_decode(const struct codec_setting *s, const struct codec_kernels *k,
		       const struct codec_origin *origin, const void *bytes, size_t length,
		       float *out, size_t count)
{
	struct topk_list l = topk_list(k->sparse, origin->work, count);
	struct topk_places places = {.whole = out};

	if (any_read(s, &l, bytes, length, count, &places))
		return -EBADMSG;
	if (places.bitmap) {
		k->sparse->expand(places.bitmap, l.value, count, out);
	} else if (!places.all) {
		memset(out, 0, count * sizeof(*out));
		for (size_t i = 0; i < l.n; i++)
			out[l.index[i]] = l.value[i];
	}
	return 0;
}

static int topk_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			   const struct codec_origin *origin, const void *bytes, size_t length,
			   float weight, float *sum, size_t count)
{
	struct topk_list l = topk_list(k->sparse, origin->work, count);
	struct topk_places places = {0};

	if (any_read(s, &l, bytes, length, count, &places))
		return -EBADMSG;
	if (places.all)
		k->plain->add(l.value, weight, count, sum);
	else if (places.bitmap)
		k->sparse->expand_add(places.bitmap, l.value, weight, count, sum);
	else
		for (size_t i = 0; i < l.n; i++)
			sum[l.index[i]] += weight * l.value[i];
	return 0;
}

static int topk_few(const struct codec_setting *s, const struct codec_kernels *k,
		    const struct codec_origin *origin, const void *bytes, size_t length,
		    size_t count, struct codec_few *out)
{
	struct topk_list l = topk_list(k->sparse, origin->work, count);

	if (any_read(s, &l, bytes, length, count, NULL))
		return -EBADMSG;
	*out = (struct codec_few){l.index, l.value, l.n};
	return 0;
}

/* --- the entry ---------------------------------------------------------------------------- */

static void topk_derive(struct codec_setting *s)
{
	s->block = s->mode == TOPK_BY_BLOCK ? TOPK_BLOCK : 0;
}

static const char *topk_refuse(const struct codec_setting *s)
{
	if (s->scope == TOPK_TENSOR && s->mode != TOPK_THRESHOLD)
		return "scope=tensor needs mode=threshold";
	if (s->mode == TOPK_BY_BLOCK && s->indices == TOPK_GAPS)
		return "gaps differ in size, and mode=block has messages of one size";
	return NULL;
}

/* What is kept is the greatest of all, so at least its share of the energy.  bf16 loses more. */
static double topk_delta(const struct codec_setting *s, size_t count)
{
	size_t last = count % TOPK_BLOCK, least, most;
	double delta;

	if (s->values != TOPK_F32 || s->scope == TOPK_TENSOR)
		return 0;
	if (s->mode != TOPK_BY_BLOCK) {
		keep_range(s, count, &least, &most);
		return (double)least / (double)count;
	}
	delta = (double)topk_keep(s->density, TOPK_BLOCK) / TOPK_BLOCK;
	if (last && (double)topk_keep(s->density, last) / (double)last < delta)
		delta = (double)topk_keep(s->density, last) / (double)last;
	return count < TOPK_BLOCK ? (double)topk_keep(s->density, count) / (double)count : delta;
}

static const struct setting_option topk_options[] = {
	{"density", SETTING_REAL, offsetof(struct codec_setting, density), 1e-5, 1, NULL, 0.01},
	{"mode", SETTING_WORD, offsetof(struct codec_setting, mode), 0, 0, "exact|block|threshold",
	 TOPK_EXACT},
	{"scope", SETTING_WORD, offsetof(struct codec_setting, scope), 0, 0, "chunk|tensor",
	 TOPK_CHUNK},
	{"values", SETTING_WORD, offsetof(struct codec_setting, values), 0, 0, "f32|bf16",
	 TOPK_F32},
	{"indices", SETTING_WORD, offsetof(struct codec_setting, indices), 0, 0,
	 "auto|bitmap|gaps|local", TOPK_AUTO},
	{.key = NULL},
};

static const char *const topk_examples[] = {
	"topk",
	"topk:density=0.1,values=bf16",
	"topk:density=0.3,indices=bitmap",
	"topk:density=0.001,indices=gaps",
	"topk:density=0.05,indices=local",
	"topk:density=1",
	"topk:mode=block",
	"topk:mode=block,density=0.1",
	"topk:mode=block,density=0.2,values=bf16",
	"topk:mode=threshold",
	"topk:mode=threshold,scope=tensor,values=bf16",
	NULL,
};

const struct codec codec_topk = {
	.name = "topk",
	.id = CODEC_TOPK,
	.options = topk_options,
	.derive = topk_derive,
	.refuse = topk_refuse,
	.examples = topk_examples,
	.bound = topk_bound,
	.work = topk_work,
	.encode = topk_encode,
	.decode = topk_decode,
	.decode_add = topk_decode_add,
	.few = topk_few,
	.encode_few = topk_encode_few,
	.delta = topk_delta,
};
