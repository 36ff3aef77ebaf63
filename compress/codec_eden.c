/*
 * codec_eden.c - eden: a random rotation, then 1 to 4 bits for each element.
 *
 * After Vargaftik et al., "EDEN: Communication-Efficient and Robust Distributed Mean Estimation for
 * Federated Learning", 2022.  A block x is rotated by random signs and a Hadamard transform, after
 * which its elements are nearly normal whatever they were before.  Divided by their deviation they
 * become the nearest of 2^bits centroids that are best for the normal distribution, c; decoding
 * turns a multiple of c back:
 *
 *   scale=unbiased   |x|^2 / <Rx, c>: right in the mean over the signs
 *   scale=mse        <Rx, c> / |c|^2: the least error; for use with feedback
 *
 * In the mean means as far as Rx is normal, which takes more than a few elements that are not small
 * in a block.  With rotation=rank each rank has signs of its own, and errors average out over the
 * ranks; with rotation=shared all ranks have the same, as adding before turning back would need.
 *
 * A chunk is cut into blocks; what is left of it into ever smaller powers of two, as large as
 * possible, and less than 64 elements are filled up with zeros.  So the cut does not depend on what
 * lies before.  On the wire, for each block of n elements, little-endian:
 *
 *   float32    what the transformed centroids are multiplied by, times 2^floor(log2(n) / 2); 0: all
 *              are zero; negative: its magnitude is what the centroids are multiplied by as they
 *              are, for the block was not transformed
 *   uint32[n / 32][bits]   bit i of word j is bit j of the code of element i.  The last word has
 *              the signs; the others say which centroid of that sign, counted from zero
 *
 * Everything is scaled by a power of two first, so that nothing overflows before the result, and
 * that saturates.  Errors have either sign, so where the input is near the greatest float32
 * p - decoded may be beyond it.  Such a block is encoded without the transform, always as for
 * scale=mse: then each element keeps its sign, and no residual is larger than p or decoded.
 */
#include <assert.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "compress/codec_eden_kernels.h"
#include "compress/codec_kernels.h"
#include "compress/codec_table.h"
#include "compress/copy.h"

static_assert(EDEN_BLOCK_MIN == 64, "so many codes are a register of bytes");

/* Centroids are below 4, times 2 / sqrt(n) at most: n of them add up to 8 sqrt(n). */
static_assert(EDEN_GREATEST / 8 * (EDEN_GREATEST / 8) > CODEC_BLOCK_MAX, "rounded upwards, too");

enum { EDEN_UNBIASED = 0, EDEN_MSE };
enum { EDEN_RANK = 0, EDEN_SHARED };

/* Magnitudes as the bits of a float32. */
enum {
	EDEN_HUGE = 0x75000000, /* 2^107: below, nothing that is decoded is near 2^128 */
};

/* Positive centroids of 1 to 4 bits (Lloyd and Max) for the normal distribution. */
static const float eden_centroids[EDEN_BITS_MAX + 1][EDEN_CENTROIDS] = {
	{0},
	{0.7978846f},
	{0.4527800f, 1.5104177f},
	{0.2450942f, 0.7560053f, 1.3439093f, 2.1519457f},
	{0.1283950f, 0.3880483f, 0.6567591f, 0.9423402f, 1.2562312f, 1.6180464f, 2.0690172f,
	 2.7326157f},
};

/* --- blocks ------------------------------------------------------------------------------- */

/* Elements of the next block, those that are filled up included. */
static size_t eden_next(const struct codec_setting *s, size_t left)
{
	size_t n = s->block;

	while (n > left && n > EDEN_BLOCK_MIN)
		n /= 2;
	return n;
}

static size_t eden_block_bytes(const struct codec_setting *s, size_t n)
{
	return sizeof(float) + n / 8 * s->bits;
}

static size_t eden_bound(const struct codec_setting *s, size_t count)
{
	size_t bytes = count / s->block * eden_block_bytes(s, s->block);

	for (size_t left = count % s->block; left;) {
		size_t n = eden_next(s, left);

		bytes += eden_block_bytes(s, n);
		left -= n < left ? n : left;
	}
	return bytes;
}

/* p, and what is transformed. */
static size_t eden_work(const struct codec_setting *s, size_t count)
{
	return 2 * eden_next(s, count) * sizeof(float);
}

/* 2^-floor(log2(n) / 2): centroids times this are transformed, the scale has the inverse. */
static struct eden_table eden_table(const struct codec_setting *s, size_t n)
{
	const float *centroids = eden_centroids[s->bits];
	const size_t half = (size_t)1 << (s->bits - 1);
	struct eden_table table = {.centroid = {0}};
	float factor = 1;

	for (; n >= 4; n /= 4)
		factor /= 2;
	for (size_t i = 0; i < half; i++) {
		table.centroid[i] = centroids[i] * factor;
		table.centroid[half + i] = -table.centroid[i];
		if (i)
			table.threshold[i - 1] = (centroids[i - 1] + centroids[i]) / 2;
	}
	return table;
}

struct eden_place {
	struct random_key key;
	uint32_t word;
};

/* Where a block's signs come from: one draw is the signs of EDEN_WORD elements. */
static struct eden_place eden_place(const struct codec_setting *s, struct random_key rank_key,
				    struct random_key shared_key, uint64_t element)
{
	struct random_key key = s->mode == EDEN_SHARED ? shared_key : rank_key;
	uint64_t word = element / EDEN_WORD;

	return (struct eden_place){random_key_at(key, word), (uint32_t)word};
}

/* --- encode ------------------------------------------------------------------------------- */

/* p of a block of n, of which the first `there` exist.  Return: the greatest magnitude's bits. */
static uint32_t eden_source(const struct eden_kernels *k, const struct codec_input *input,
			    size_t at, size_t there, size_t n, float *p)
{
	float in[EDEN_BLOCK_MIN] = {0}, residual[EDEN_BLOCK_MIN] = {0};

	if (there == n)
		return k->source(input->in + at, input->residual ? input->residual + at : NULL,
				 input->residual_scale, n, p);
	assert(n == EDEN_BLOCK_MIN);
	memcpy(in, input->in + at, there * sizeof(float));
	if (input->residual)
		memcpy(residual, input->residual + at, there * sizeof(float));
	return k->source(in, input->residual ? residual : NULL, input->residual_scale, n, p);
}

/*
 * eden_quantise() - codes of p, whose greatest magnitude has these bits; x: their centroids.
 * Return: the scale, negative if not transformed.
 */
static float eden_quantise(const struct codec_setting *s, const struct eden_kernels *k,
			   const struct eden_place *place, const float *p, uint32_t greatest,
			   bool transform, size_t n, float *x, uint8_t *codes)
{
	struct eden_table table = eden_table(s, transform ? n : 1);
	uint32_t exponent = greatest >> 23 < 253 ? greatest >> 23 : 253;
	uint32_t bits = (254 - exponent) << 23;
	struct eden_sums sums;
	float factor, length;
	double scale;

	memcpy(&factor, &bits, sizeof(factor)); /* the greatest becomes 2^-22 to 4 */
	length = sqrtf(k->turn(p, factor, place->key, place->word, n, x));
	if (transform)
		k->transform(x, n);
	else
		length /= sqrtf((float)n);
	sums = k->quantise[s->bits](x, 1 / length, &table, n, codes);
	if (!transform)
		scale = (double)length * (double)sums.product / (double)sums.squares;
	else if (s->scale == EDEN_MSE)
		scale = (double)length * (double)sums.product / ((double)n * (double)sums.squares);
	else
		scale = (double)length / (double)sums.product;
	scale /= (double)factor;
	scale = scale < (double)FLT_MAX ? scale : (double)FLT_MAX;
	return (float)(transform ? scale : -scale);
}

/* eden_back() - centroids to what the scale's magnitude makes values of. */
static void eden_back(const struct eden_kernels *k, float scale, size_t n, float *x)
{
	if (scale > 0)
		k->transform(x, n);
	else if (scale == 0)
		memset(x, 0, n * sizeof(*x));
}

/* Is p - decoded finite?  x: centroids, spoilt. */
static bool eden_leaves_finite(const struct eden_kernels *k, const struct eden_place *place,
			       const float *p, float scale, size_t n, float *x)
{
	eden_back(k, scale, n, x);
	k->left(x, fabsf(scale), place->key, place->word, n, p, x);
	return k->source(x, NULL, 0, n, x) < CODEC_NONFINITE_BITS;
}

static void eden_residual(const struct codec_input *input, const struct eden_kernels *k,
			  const struct eden_place *place, const float *p, float scale, size_t at,
			  size_t there, size_t n, float *x)
{
	bool direct = there == n && !input->away;
	float *out = direct ? input->residual_out + at : x;

	eden_back(k, scale, n, x);
	k->left(x, fabsf(scale), place->key, place->word, n, p, out);
	if (!direct && input->away)
		copy_away(input->residual_out + at, x, there * sizeof(*x));
	else if (!direct)
		memcpy(input->residual_out + at, x, there * sizeof(*x));
}

/* One block, which starts at input->in + at.  Return: of the magnitudes, the greatest's bits. */
static uint32_t eden_encode_block(const struct codec_setting *s, const struct eden_kernels *k,
				  const struct codec_input *input, size_t at, size_t there,
				  size_t n, float *p, uint8_t *to)
{
	float *x = p + n, scale = 0;
	struct eden_place place =
		eden_place(s, input->rank_key, input->shared_key, input->first + at);
	uint32_t greatest = eden_source(k, input, at, there, n, p);

	if (greatest >= CODEC_NONFINITE_BITS)
		return greatest;
	if (greatest)
		scale = eden_quantise(s, k, &place, p, greatest, true, n, x, to + sizeof(scale));
	else
		memset(to + sizeof(scale), 0, eden_block_bytes(s, n) - sizeof(scale));
	if (greatest >= EDEN_HUGE) {
		/* Whether somebody wants the residual or not: the bytes are the same. */
		bool finite = eden_leaves_finite(k, &place, p, scale, n, x);

		scale = eden_quantise(s, k, &place, p, greatest, finite, n, x, to + sizeof(scale));
	}
	memcpy(to, &scale, sizeof(scale));
	if (input->residual_out)
		eden_residual(input, k, &place, p, scale, at, there, n, x);
	return greatest;
}

static struct codec_result eden_encode(const struct codec_setting *s, const struct codec_kernels *k,
				       const struct codec_input *input, void *out)
{
	uint8_t *to = out;

	for (size_t at = 0; at < input->count;) {
		size_t left = input->count - at, n = eden_next(s, left);
		size_t there = n < left ? n : left;

		if (eden_encode_block(s, k->eden, input, at, there, n, input->work, to) >=
		    CODEC_NONFINITE_BITS)
			return (struct codec_result){.nonfinite = true};
		to += eden_block_bytes(s, n);
		at += there;
	}
	return (struct codec_result){.bytes = eden_bound(s, input->count)};
}

/* --- decode ------------------------------------------------------------------------------- */

/* Is the length right, and is each scale a finite number? */
static bool eden_sound(const struct codec_setting *s, const uint8_t *bytes, size_t length,
		       size_t count)
{
	if (length != eden_bound(s, count))
		return false;
	for (size_t at = 0; at < count;) {
		size_t n = eden_next(s, count - at);
		uint32_t scale;

		memcpy(&scale, bytes, sizeof(scale));
		if ((scale & 0x7fffffff) >= CODEC_NONFINITE_BITS)
			return false;
		bytes += eden_block_bytes(s, n);
		at += n;
	}
	return true;
}

/* Most blocks are as long as the one before, and have its table. */
struct eden_known {
	size_t n; /* 0: none yet */
	struct eden_table table;
};

static const struct eden_table *eden_known(struct eden_known *known, const struct codec_setting *s,
					   size_t n)
{
	if (known->n != n) {
		known->n = n;
		known->table = eden_table(s, n);
	}
	return &known->table;
}

/* eden_turned() - a block but for the scale and the signs to x.  Return: the scale's magnitude. */
static float eden_turned(const struct codec_setting *s, const struct eden_kernels *k,
			 struct eden_known *known, const uint8_t *bytes, size_t n,
			 const float *soon, float *x)
{
	float scale;

	memcpy(&scale, bytes, sizeof(scale));
	if (scale > 0)
		k->transformed[s->bits](bytes + sizeof(scale), eden_known(known, s, n), n, soon, x);
	else if (scale < 0)
		k->expand[s->bits](bytes + sizeof(scale), eden_known(known, s, 1), n, soon, x);
	else
		memset(x, 0, n * sizeof(*x));
	return fabsf(scale);
}

static int eden_decode(const struct codec_setting *s, const struct codec_kernels *k,
		       const struct codec_origin *origin, const void *bytes, size_t length,
		       float *out, size_t count)
{
	const uint8_t *from = bytes;
	struct eden_known known = {.n = 0};
	float *x = origin->work;

	if (!eden_sound(s, bytes, length, count))
		return -EBADMSG;
	for (size_t at = 0; at < count;) {
		size_t left = count - at, n = eden_next(s, left), there = n < left ? n : left;
		struct eden_place place =
			eden_place(s, origin->rank_key, origin->shared_key, origin->first + at);
		float scale = eden_turned(s, k->eden, &known, from, n, out + at, x);

		k->eden->value(x, scale, place.key, place.word, n, there == n ? out + at : x);
		if (there < n)
			memcpy(out + at, x, there * sizeof(*x));
		from += eden_block_bytes(s, n);
		at += there;
	}
	return 0;
}

static int eden_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			   const struct codec_origin *origin, const void *bytes, size_t length,
			   float weight, float *sum, size_t count)
{
	const uint8_t *from = bytes;
	struct eden_known known = {.n = 0};
	float *x = origin->work;

	if (!eden_sound(s, bytes, length, count))
		return -EBADMSG;
	for (size_t at = 0; at < count;) {
		size_t left = count - at, n = eden_next(s, left), there = n < left ? n : left;
		struct eden_place place =
			eden_place(s, origin->rank_key, origin->shared_key, origin->first + at);
		float scale = eden_turned(s, k->eden, &known, from, n, sum + at, x);
		float last[EDEN_BLOCK_MIN] = {0};

		if (there == n) {
			k->eden->add(x, scale, place.key, place.word, n, weight, sum + at);
		} else {
			memcpy(last, sum + at, there * sizeof(*last));
			k->eden->add(x, scale, place.key, place.word, n, weight, last);
			memcpy(sum + at, last, there * sizeof(*last));
		}
		from += eden_block_bytes(s, n);
		at += there;
	}
	return 0;
}

/* --- table -------------------------------------------------------------------------------- */

/*
 * With scale=mse the error is at most that of any multiple of any centroids, so also of
 * (|r| - c)^2 for one centroid c > 0, r being an element of Rx over its deviation: in the mean
 * 1 - 2 c E|r| + c^2.  E|r| >= 1 / sqrt(2) for random signs of any numbers (Szarek, 1976), thus
 * delta = sqrt(2) c - c^2 with the c nearest to its optimum 1 / sqrt(2); of one bit c is free.
 * (Blocks too large for the transform aside.)
 *
 * With scale=unbiased nothing is promised: signs that make a one-hot Rx of some x lose more than
 * |x|.  Others lose less, 0.57, 0.13, 0.035 and 0.0095 of random input for 1 to 4 bits, and no
 * input was found for which feedback keeps more than 4 times of it.
 */
static double eden_delta(const struct codec_setting *s, size_t count)
{
	static const double delta[EDEN_BITS_MAX + 1] = {0, 0.5, 0.435, 0.497, 0.497};

	(void)count;
	return s->scale == EDEN_MSE ? delta[s->bits] : 0;
}

/* With 64 elements in a block the mean error is 1 % of the vector, with 1024 less than 0.2 %. */
static bool eden_unbiased(const struct codec_setting *s)
{
	return s->scale == EDEN_UNBIASED && s->block >= 1024;
}

static const struct setting_option eden_options[] = {
	{.key = "bits",
	 .kind = SETTING_NUMBER,
	 .offset = offsetof(struct codec_setting, bits),
	 .min = 1,
	 .max = EDEN_BITS_MAX,
	 .value = 4},
	{.key = "block",
	 .kind = SETTING_POWER_OF_2,
	 .offset = offsetof(struct codec_setting, block),
	 .min = EDEN_BLOCK_MIN,
	 .max = CODEC_BLOCK_MAX,
	 .value = 4096},
	{.key = "scale",
	 .kind = SETTING_WORD,
	 .offset = offsetof(struct codec_setting, scale),
	 .words = "unbiased|mse"},
	{.key = "rotation",
	 .kind = SETTING_WORD,
	 .offset = offsetof(struct codec_setting, mode),
	 .words = "rank|shared"},
	{.key = NULL},
};

static const char *const eden_examples[] = {
	"eden",
	"eden:bits=1,scale=mse",
	"eden:bits=2,block=64,rotation=shared",
	"eden:bits=3,block=65536,scale=mse",
	NULL,
};

const struct codec codec_eden = {
	.name = "eden",
	.id = CODEC_EDEN,
	.options = eden_options,
	.examples = eden_examples,
	.bound = eden_bound,
	.work = eden_work,
	.encode = eden_encode,
	.decode = eden_decode,
	.decode_add = eden_decode_add,
	.delta = eden_delta,
	.unbiased = eden_unbiased,
};
