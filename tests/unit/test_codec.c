/*
 * test_codec.c - what every codec promises of one encoding (codec.h), for each entry of the table
 * and each of its examples.  The mean over draws is in test_codec_mean.c, what must not change a
 * bit in test_codec_bits.c.
 */
#include "compress/codec.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "tests/unit/codec_case.h"

/* --- specs -------------------------------------------------------------------------------- */

static void there_and_back(const struct codec *c, const char *spec, const struct case_set *set)
{
	char text[CODEC_SPEC_BYTES], again[CODEC_SPEC_BYTES];
	struct codec_setting s = case_setting(spec), t;

	(void)set;
	assert_true(codec_by_id((uint8_t)c->id) == c);
	assert_int_equal(s.id, c->id);
	assert_int_equal(codec_check(&s), 0);
	codec_format(&s, text);
	t = case_setting(text);
	assert_memory_equal(&s, &t, sizeof(s));
	codec_format(&t, again);
	assert_string_equal(text, again);
}

static void specs_and_back(void **state)
{
	(void)state;
	for (const struct codec *const *c = codec_table; *c; c++)
		assert_non_null((*c)->examples[0]);
	case_each(there_and_back);
}

static void refused(const char *spec, const char *words)
{
	struct codec_setting s;
	struct err err;

	assert_int_equal(codec_parse(&s, spec, &err), -EINVAL);
	assert_string_equal(err.text, words);
}

static void bad_specs(void **state)
{
	struct codec_setting s = {.id = CODEC_NONE, .block = 32};

	(void)state;
	refused("", "there is no codec \"\"");
	refused("non", "there is no codec \"non\"");
	refused("nonee", "there is no codec \"nonee\"");
	refused("none:", "codec none has no option \"\"");
	refused("none:block=32", "codec none has no option \"block\"");
	refused("none,block", "there is no codec \"none,block\"");
	assert_int_equal(codec_check(&s), -EINVAL);
	s = (struct codec_setting){.id = 255};
	assert_int_equal(codec_check(&s), -EINVAL);
}

/* --- residuals and sums ------------------------------------------------------------------- */

/* Finite; p - decoded is the residual, to the last bit; zero stays zero. */
static void loses(const char *spec, enum case_shape shape, const struct case_input *input)
{
	struct codec_case e;

	case_encode(&e, spec, input);
	assert_false(e.result.nonfinite);
	for (size_t i = 0; i < input->count; i++) {
		float scaled = input->residual ? 0.75f * input->residual[i] : 0;
		float p = input->residual ? input->in[i] + scaled : input->in[i];
		float left = p - e.decoded[i];

		if (!isfinite(e.decoded[i]) || left != e.residual[i])
			fail_msg("%s, shape %d, %zu of %zu: %a became %a, %a is left", spec, shape,
				 i, input->count, (double)p, (double)e.decoded[i],
				 (double)e.residual[i]);
		if ((shape == CASE_ZERO || shape == CASE_MINUS_ZERO) && !input->residual)
			assert_true(e.decoded[i] == 0);
	}
	case_drop(&e);
}

static void residual_of(const struct codec *c, const char *spec, const struct case_set *set)
{
	(void)c;
	for (size_t n = 0; n < CASE_COUNTS; n++)
		for (enum case_shape shape = 0; shape < CASE_SHAPES; shape++) {
			struct case_input input = {.in = set->in[shape][n],
						   .residual_scale = 0.75f,
						   .count = case_counts[n],
						   .step = n};

			loses(spec, shape, &input);
			input.residual = set->residual[n];
			if (shape != CASE_LARGEST) /* the sum is not finite */
				loses(spec, shape, &input);
		}
}

static void residual_is_what_is_lost(void **state)
{
	(void)state;
	case_each(residual_of);
}

static void adds(const struct codec *c, const char *spec, const struct case_set *set)
{
	(void)c;
	for (size_t n = 0; n < CASE_COUNTS; n++) {
		size_t count = case_counts[n];
		const float *before = set->residual[n];
		float *sum = malloc(count * sizeof(*sum));
		struct codec_case e;

		memcpy(sum, before, count * sizeof(*sum));
		case_encode(&e, spec,
			    &(struct case_input){
				    .in = set->in[CASE_GAUSS][n], .count = count, .step = n});
		assert_int_equal(codec_decode_add(&e.setting, e.kernels, &e.origin, e.bytes,
						  e.result.bytes, 0.3f, sum, count),
				 0);
		for (size_t i = 0; i < count; i++) {
			float product = 0.3f * e.decoded[i];
			float right = before[i] + product;

			if (right != sum[i])
				fail_msg("%s: %zu of %zu: %a, not %a", spec, i, count,
					 (double)sum[i], (double)right);
		}
		case_drop(&e);
		free(sum);
	}
}

static void adding_is_decoding_and_adding(void **state)
{
	(void)state;
	case_each(adds);
}

/* --- what is not finite, bytes that no encoder makes -------------------------------------- */

static void found(const char *spec, const float *in, const float *residual, size_t count)
{
	struct codec_case e;

	case_encode(&e, spec, &(struct case_input){.in = in, .residual = residual, .count = count});
	if (!e.result.nonfinite)
		fail_msg("%s: not found in %zu", spec, count);
	case_drop(&e);
}

static void finds(const struct codec *c, const char *spec, const struct case_set *set)
{
	static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};

	(void)c;
	for (size_t n = 0; n < CASE_COUNTS * 4 * 3; n++) {
		size_t count = case_counts[n % CASE_COUNTS], place = n / CASE_COUNTS / 4;
		float *in = set->in[CASE_GAUSS][n % CASE_COUNTS];
		float *at = &in[place * (count - 1) / 2], was = *at;

		*at = bad[n / CASE_COUNTS % 4];
		found(spec, in, NULL, count);
		*at = was;
	}
	for (size_t place = 0; place < 3; place++) { /* of the sum alone */
		float *in = case_vector(CASE_LARGEST, 1025, 1);
		float *residual = case_vector(CASE_ZERO, 1025, 1);

		residual[place * 512] = in[place * 512];
		found(spec, in, residual, 1025);
		free(in);
		free(residual);
	}
}

static void nonfinite_is_found(void **state)
{
	(void)state;
	case_each(finds);
}

/* A message, changed: of another length, all random, or with a few bits flipped. */
static unsigned char *corrupted(const struct codec_case *e, size_t n, uint64_t *seed,
				size_t *length)
{
	size_t sent = e->result.bytes;
	unsigned char *bytes;

	*length = n % 3 == 0 ? draw_u64(seed) % (sent + 9) : sent;
	bytes = malloc(*length ? *length : 1);
	draw_bytes(bytes, *length, seed);
	if (n % 2)
		memcpy(bytes, e->bytes, *length < sent ? *length : sent);
	for (size_t flips = draw_u64(seed) % 4; flips && *length; flips--)
		bytes[draw_u64(seed) % *length] ^= (unsigned char)(1 << draw_u64(seed) % 8);
	return bytes;
}

/* Whatever comes: 0 or -EBADMSG, nothing beyond the buffers; decode_add agrees with decode. */
static void withstands(const struct codec *c, const char *spec, const struct case_set *set)
{
	uint64_t seed = 42;

	(void)c;
	for (size_t n = 0; n < 3000; n++) {
		size_t size = n % CASE_COUNTS, count = case_counts[size], length;
		enum case_shape shape = n % 7 ? CASE_GAUSS : n / 7 % CASE_SHAPES;
		float *sum = calloc(count, sizeof(*sum));
		struct codec_case e;
		unsigned char *bytes;
		int error;

		case_encode(&e, spec,
			    &(struct case_input){
				    .in = set->in[shape][size], .count = count, .step = n});
		bytes = corrupted(&e, n, &seed, &length);
		error = case_decode(&e, bytes, length);
		assert_true(error == 0 || error == -EBADMSG);
		assert_int_equal(codec_decode_add(&e.setting, e.kernels, &e.origin, bytes, length,
						  1, sum, count),
				 error);
		if (error)
			assert_memory_equal(sum, set->in[CASE_ZERO][size], count * sizeof(*sum));
		free(bytes);
		free(sum);
		case_drop(&e);
	}
}

static void hostile_bytes(void **state)
{
	(void)state;
	case_each(withstands);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specs_and_back),
		cmocka_unit_test(bad_specs),
		cmocka_unit_test(residual_is_what_is_lost),
		cmocka_unit_test(adding_is_decoding_and_adding),
		cmocka_unit_test(nonfinite_is_found),
		cmocka_unit_test(hostile_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
