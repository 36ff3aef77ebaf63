/*
 * codec_sign.c - sign: one bit an element and one scale a block.
 *
 * On the wire, block after block: float32 scale, little-endian, finite and not negative; then the
 * block's signs, (elements + 7) / 8 bytes, LSB first: 1 is -scale, 0 is +scale.  The bits after
 * the last element are 0.  Zero of either sign counts as +.  The last block may be shorter.
 *
 *   scale=l1  mean |p|: the least-squares choice.  What is lost of a block of n is
 *             ||p||^2 - ||p||_1^2 / n, at most (1 - 1/n) ||p||^2: it always contracts.
 *   scale=l2  sqrt(mean p^2), as DeepSpeed's 1-bit optimizers have it (there one per tensor).  It
 *             keeps the norm, and loses up to twice ||p||^2 of a sparse block: nothing is promised.
 *
 * Where the sum of magnitudes (codec_sign_kernels.h: partly in float) is not finite, it is taken
 * again in double, where nothing overflows that floats can make; so it is not finite exactly if
 * some p is not.  The mean of floats is a float.  One below the least denormal is 0.
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compress/codec_kernels.h"
#include "compress/codec_sign_kernels.h"
#include "compress/codec_table.h"

enum sign_scale { SIGN_L1, SIGN_L2 };

/* Of so many elements two p fit in a near cache. */
enum { SIGN_BLOCK_SHARED = 8192 };

static size_t sign_block_bytes(size_t count)
{
	return sizeof(float) + (count + 7) / 8;
}

static size_t sign_bound(const struct codec_setting *s, size_t count)
{
	size_t rest = count % s->block;

	return count / s->block * sign_block_bytes(s->block) + (rest ? sign_block_bytes(rest) : 0);
}

/* Of a block whose second pass may wait for the first pass of the next one. */
static bool sign_shares(const struct codec_setting *s)
{
	return s->block % SIGN_GROUP == 0 && s->block <= SIGN_BLOCK_SHARED;
}

static size_t sign_work(const struct codec_setting *s, size_t count)
{
	size_t most = sign_shares(s) ? 2 * s->block : s->block;

	return (count < most ? count : most) * sizeof(float);
}

static double sign_sum(const float *p, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += fabs((double)p[i]);
	return sum;
}

/* p of a block is in `work` between its two passes, in the nearest cache for usual blocks. */
static float *block_p(const struct codec_setting *s, const struct codec_input *input, size_t first)
{
	bool second = sign_shares(s) && first / s->block % 2;

	return (float *)input->work + (second ? s->block : 0);
}

/*
 * Return: whether the second pass of the block at `first` waits for the first pass of the next,
 * which then does both, so that memory is read and written at once.
 */
static bool block_waits(const struct codec_setting *s, const struct codec_input *input,
			size_t first)
{
	return input->away && sign_shares(s) && input->count - first >= 2 * s->block &&
	       (uintptr_t)(input->residual_out + first) % 64 == 0;
}

static struct codec_result encode_blocks(const struct codec_setting *s,
					 const struct sign_kernels *sign,
					 const struct codec_input *input, void *out)
{
	bool squares = s->scale == SIGN_L2, waits = false;
	unsigned char *to = out;
	struct sign_pending pending = {0};

	for (size_t first = 0; first < input->count; first += s->block) {
		size_t rest = input->count - first, count = rest < s->block ? rest : s->block;
		const float *residual = input->residual ? input->residual + first : NULL;
		float *p = block_p(s, input, first);
		double sum = sign->pack(to + sizeof(float), p, input->in + first, residual,
					input->residual_scale, count, squares, input->away,
					waits ? &pending : NULL);
		double mean;
		float scale;

		if (!isfinite(sum))
			sum = sign_sum(p, count);
		if (!isfinite(sum))
			return (struct codec_result){.nonfinite = true};
		mean = sum / (double)count;
		scale = (float)(squares ? sqrt(mean) : mean);
		memcpy(to, &scale, sizeof(scale));
		to += sign_block_bytes(count);
		if (!input->residual_out)
			continue;
		pending = (struct sign_pending){input->residual_out + first, p, scale};
		waits = block_waits(s, input, first);
		if (!waits)
			sign->residual(pending.out, p, scale, count, input->away);
	}
	return (struct codec_result){.bytes = (size_t)(to - (unsigned char *)out)};
}

static struct codec_result sign_encode(const struct codec_setting *s, const struct codec_kernels *k,
				       const struct codec_input *input, void *out)
{
	struct codec_result result = encode_blocks(s, k->sign, input, out);

	k->sign->fence();
	return result;
}

static float sign_scale_at(const unsigned char *bytes)
{
	float scale;

	memcpy(&scale, bytes, sizeof(scale));
	return scale;
}

static int sign_check(const struct codec_setting *s, const unsigned char *bytes, size_t length,
		      size_t count)
{
	if (length != sign_bound(s, count))
		return -EBADMSG;
	for (size_t at = 0; at < length; at += sign_block_bytes(s->block)) {
		uint32_t scale;

		memcpy(&scale, bytes + at, sizeof(scale));
		if (scale >= CODEC_NONFINITE_BITS)
			return -EBADMSG;
	}
	return count % 8 && bytes[length - 1] >> count % 8 ? -EBADMSG : 0;
}

static int sign_decode(const struct codec_setting *s, const struct codec_kernels *k,
		       const struct codec_origin *origin, const void *bytes, size_t length,
		       float *out, size_t count)
{
	const unsigned char *from = bytes;
	int error = sign_check(s, from, length, count);

	for (size_t first = 0; !error && first < count; first += s->block) {
		size_t left = count - first, block = left < s->block ? left : s->block;

		k->sign->unpack(out + first, from + sizeof(float), sign_scale_at(from), block,
				origin->away);
		from += sign_block_bytes(block);
	}
	k->sign->fence();
	return error;
}

static int sign_decode_add(const struct codec_setting *s, const struct codec_kernels *k,
			   const struct codec_origin *origin, const void *bytes, size_t length,
			   float weight, float *sum, size_t count)
{
	const unsigned char *from = bytes;
	int error = sign_check(s, from, length, count);

	(void)origin;
	for (size_t first = 0; !error && first < count; first += s->block) {
		size_t left = count - first, block = left < s->block ? left : s->block;

		k->sign->unpack_add(sum + first, from + sizeof(float), weight * sign_scale_at(from),
				    block);
		from += sign_block_bytes(block);
	}
	return error;
}

static double sign_delta(const struct codec_setting *s, size_t count)
{
	return s->scale == SIGN_L1 ? 1.0 / (double)(count < s->block ? count : s->block) : 0;
}

static const struct setting_option sign_options[] = {
	{.key = "block",
	 .kind = SETTING_POWER_OF_2,
	 .offset = offsetof(struct codec_setting, block),
	 .min = 64,
	 .max = CODEC_BLOCK_MAX,
	 .value = 1024},
	{.key = "scale",
	 .kind = SETTING_WORD,
	 .offset = offsetof(struct codec_setting, scale),
	 .words = "l1|l2",
	 .value = SIGN_L1},
	{.key = NULL},
};

static const char *const sign_examples[] = {"sign", "sign:scale=l2", "sign:block=64",
					    "sign:block=65536", NULL};

const struct codec codec_sign = {
	.name = "sign",
	.id = CODEC_SIGN,
	.options = sign_options,
	.examples = sign_examples,
	.bound = sign_bound,
	.work = sign_work,
	.encode = sign_encode,
	.decode = sign_decode,
	.decode_add = sign_decode_add,
	.delta = sign_delta,
};
