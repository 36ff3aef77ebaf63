/*
 * fuzz_codec.c - messages of all codecs, and what they encode.
 *
 * Input: a codec's number, which of its examples, uint16 elements less one (at most COUNT), then
 * the message.  Properties:
 * - decode and decode_add take the message or both refuse it as -EBADMSG, the same on the slowest
 *   and the fastest CPU variant, which also give the same bits;
 * - decode_add adds weight * decoded, and nothing if it refuses;
 * - the message read as float32 is encoded, unless one is not finite, which is said; what comes out
 *   is within the bound and is decoded to finite numbers, the same for both variants.
 * Blocks of memory have exactly their size, so that ASan sees what goes beyond.
 */
#include "tests/fuzz/property.h"

#include <errno.h>
#include <math.h>

#include "compress/codec.h"
#include "daemon/codec_spec.h"

enum { COUNT = 4096 };

struct header {
	uint8_t id, example;
	uint16_t count;
};

struct target {
	struct codec_setting setting;
	size_t count;
	void *work;
};

static struct codec_origin origin_of(const struct target *t)
{
	return (struct codec_origin){.first = (uint64_t)t->setting.block * 3,
				     .rank_key = random_key(1, 2, 3, 4),
				     .shared_key = random_key(1, 2, 3, RANDOM_SHARED),
				     .work = t->work};
}

static void *block(const void *from, size_t bytes)
{
	void *copy = malloc(bytes ? bytes : 1);

	PROPERTY(copy);
	if (from)
		memcpy(copy, from, bytes);
	else
		memset(copy, 0, bytes);
	return copy;
}

/* Return: the decoded elements, or NULL if the bytes were refused. */
static float *decode(const struct target *t, const struct codec_kernels *k, const void *bytes,
		     size_t length)
{
	struct codec_origin origin = origin_of(t);
	float *out = block(NULL, t->count * sizeof(float));
	float *sum = block(NULL, t->count * sizeof(float));
	int error = codec_decode(&t->setting, k, &origin, bytes, length, out, t->count);

	PROPERTY(error == 0 || error == -EBADMSG);
	PROPERTY(codec_decode_add(&t->setting, k, &origin, bytes, length, 0.25f, sum, t->count) ==
		 error);
	for (size_t i = 0; i < t->count; i++) {
		float right = error ? 0 : 0.25f * out[i];

		PROPERTY(sum[i] == right || isnan(right));
	}
	free(sum);
	if (!error)
		return out;
	free(out);
	return NULL;
}

static float *decode_twice(const struct target *t, const void *bytes, size_t length)
{
	float *one = decode(t, codec_kernels_of(vec_variants[0]), bytes, length);
	float *two = decode(t, codec_kernels_of(vec_best()), bytes, length);

	PROPERTY(!one == !two);
	PROPERTY(!one || memcmp(one, two, t->count * sizeof(float)) == 0);
	free(two);
	return one;
}

/* Return: what was encoded; length 0: it is not finite. */
static void *encode(const struct target *t, const struct codec_kernels *k, const float *in,
		    float *left, size_t *length)
{
	struct codec_origin origin = origin_of(t);
	struct codec_input input = {.in = in,
				    .residual_out = left,
				    .count = t->count,
				    .first = origin.first,
				    .rank_key = origin.rank_key,
				    .shared_key = origin.shared_key,
				    .work = t->work};
	size_t bound = codec_bound(&t->setting, t->count);
	void *bytes = block(NULL, bound);
	struct codec_result result = codec_encode(&t->setting, k, &input, bytes);

	PROPERTY(result.nonfinite || (result.bytes >= 1 && result.bytes <= bound));
	*length = result.nonfinite ? 0 : result.bytes;
	return bytes;
}

static void encode_twice(const struct target *t, const struct input *message)
{
	size_t bytes = t->count * sizeof(float), one_length, two_length;
	size_t there = message->bytes < bytes ? message->bytes : bytes;
	float *in = block(NULL, bytes), *one_left = block(NULL, bytes);
	float *two_left = block(NULL, bytes), *decoded;
	bool finite = true;
	void *one, *two;

	if (there)
		memcpy(in, message->data, there);
	for (size_t i = 0; i < t->count; i++)
		finite = finite && isfinite(in[i]);
	one = encode(t, codec_kernels_of(vec_variants[0]), in, one_left, &one_length);
	two = encode(t, codec_kernels_of(vec_best()), in, two_left, &two_length);
	PROPERTY((one_length > 0) == finite && one_length == two_length);
	PROPERTY(memcmp(one, two, one_length) == 0);
	if (finite) {
		PROPERTY(memcmp(one_left, two_left, bytes) == 0);
		decoded = decode_twice(t, one, one_length);
		PROPERTY(decoded);
		for (size_t i = 0; i < t->count; i++) {
			float left = in[i] - decoded[i];

			PROPERTY(isfinite(decoded[i]));
			PROPERTY(one_left[i] == left);
		}
		free(decoded);
	}
	free(one);
	free(two);
	free(in);
	free(one_left);
	free(two_left);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input in = {data, bytes};
	const struct codec *codec;
	struct header header;
	struct target t;
	struct err err;
	size_t examples = 0;
	void *message;

	take(&in, &header, sizeof(header));
	codec = codec_by_id(header.id);
	if (!codec)
		return 0;
	while (codec->examples[examples])
		examples++;
	PROPERTY(codec_parse(&t.setting, codec->examples[header.example % examples], &err) == 0);
	t.count = header.count % COUNT + 1u;
	t.work = aligned_alloc(64, codec_work_bytes(&t.setting, t.count) / 64 * 64 + 64);
	PROPERTY(t.work);
	message = rest_of(&in);
	free(decode_twice(&t, message, in.bytes));
	free(message);
	encode_twice(&t, &in);
	free(t.work);
	return 0;
}
