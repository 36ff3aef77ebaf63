/*
 * test_codec.c - what every codec promises (codec.h), for each entry of the table, each of its
 * examples and each CPU variant.
 *
 * Buffers are heap blocks of exactly their size, so that AddressSanitizer sees what goes beyond.
 */
#include "compress/codec.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"

#define EACH_CODEC(c) for (const struct codec *const *at = codec_table, *c; (c = *at); at++)
#define EACH_EXAMPLE(c, spec) \
	for (const char *const *example = (c)->examples, *spec; (spec = *example); example++)

static const uint32_t counts[] = {1, 2, 3, 31, 32, 33, 1000, 1024, 1025, 8192, 20000};
#define COUNTS (sizeof(counts) / sizeof(*counts))

/* --- data --------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *state) /* splitmix64 */
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static float gauss(uint64_t *state)
{
	double u = ((double)(draw(state) >> 11) + 0.5) * 0x1p-53;
	double v = (double)(draw(state) >> 11) * 0x1p-53;

	return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

enum shape {
	ZERO,
	GAUSS,
	ONE_HOT,
	ALL_EQUAL,
	ALTERNATING,
	HUGE_AND_TINY, /* 1e-38 to 1e38 */
	DENORMAL,
	MINUS_ZERO,
	LARGEST,
	SHAPES
};

static float element(enum shape shape, size_t i, size_t count, uint64_t *state)
{
	switch (shape) {
	case ZERO: return 0;
	case GAUSS: return gauss(state);
	case ONE_HOT: return i == count / 2 ? -3.5f : 0;
	case ALL_EQUAL: return 0.1f;
	case ALTERNATING: return i % 2 ? -7.25f : 7.25f;
	case HUGE_AND_TINY: return gauss(state) * powf(10, (float)(draw(state) % 75) - 37);
	case DENORMAL: return (float)(draw(state) % 2000) * 0x1p-149f;
	case MINUS_ZERO: return i % 3 ? -0.0f : 0.0f;
	case LARGEST: return i % 5 ? 0x1.fffffep127f : -0x1.fffffep127f;
	case SHAPES: break;
	}
	return 0;
}

static float *vector(enum shape shape, size_t count, uint64_t seed)
{
	float *v = malloc(count * sizeof(*v));

	for (size_t i = 0; i < count; i++)
		v[i] = element(shape, i, count, &seed);
	return v;
}

/* --- one encoding ------------------------------------------------------------------------- */

struct encoded {
	struct codec_setting setting;
	const struct codec_kernels *kernels;
	struct codec_origin origin;
	void *bytes;
	size_t length, count;
	float *residual, *decoded;
	struct codec_result result;
};

static const struct codec_kernels *best(void)
{
	return codec_kernels_of(vec_best());
}

static void encode(struct encoded *e, const char *spec, const struct codec_kernels *k,
		   const float *in, const float *residual, uint64_t first, size_t count,
		   uint64_t step)
{
	struct err err;
	struct codec_input input = {
		.in = in,
		.residual = residual,
		.residual_scale = residual ? 0.75f : 0,
		.count = count,
		.first = first,
		.rank_key = random_key(7, step, 11, 3),
		.shared_key = random_key(7, step, 11, RANDOM_SHARED),
	};
	void *exact;

	*e = (struct encoded){.kernels = k, .count = count};
	assert_int_equal(codec_parse(&e->setting, spec, &err), 0);
	e->residual = malloc(count * sizeof(float));
	e->decoded = malloc(count * sizeof(float));
	input.residual_out = e->residual;
	input.work = aligned_alloc(64, codec_work_bytes(&e->setting, count) / 64 * 64 + 64);
	e->origin = (struct codec_origin){first, input.rank_key, input.shared_key, input.work};
	e->bytes = malloc(codec_bound(&e->setting, count));
	e->result = codec_encode(&e->setting, k, &input, e->bytes);
	if (e->result.nonfinite)
		return;
	e->length = e->result.bytes;
	assert_in_range(e->length, 1, codec_bound(&e->setting, count));
	exact = malloc(e->length);
	memcpy(exact, e->bytes, e->length);
	free(e->bytes);
	e->bytes = exact;
	assert_int_equal(
		codec_decode(&e->setting, k, &e->origin, e->bytes, e->length, e->decoded, count),
		0);
}

static void drop(struct encoded *e)
{
	free(e->origin.work);
	free(e->bytes);
	free(e->residual);
	free(e->decoded);
}

/* --- tests -------------------------------------------------------------------------------- */

static void specs_and_back(void **state)
{
	(void)state;
	EACH_CODEC(c)
	{
		assert_true(codec_by_id((uint8_t)c->id) == c);
		assert_non_null(c->examples[0]);
		EACH_EXAMPLE(c, spec)
		{
			char text[CODEC_SPEC_BYTES], again[CODEC_SPEC_BYTES];
			struct codec_setting s, t;
			struct err err;

			if (codec_parse(&s, spec, &err))
				fail_msg("%s: %s", spec, err.text);
			assert_int_equal(s.id, c->id);
			assert_int_equal(codec_check(&s), 0);
			codec_format(&s, text);
			assert_int_equal(codec_parse(&t, text, &err), 0);
			assert_memory_equal(&s, &t, sizeof(s));
			codec_format(&t, again);
			assert_string_equal(text, again);
		}
	}
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

/* Finite; p - decoded is the residual, to the last bit; zero stays zero. */
static void residual_is_what_is_lost(void **state)
{
	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			for (size_t n = 0; n < COUNTS * SHAPES * 2; n++) {
				size_t count = counts[n % COUNTS];
				enum shape shape = (enum shape)(n / COUNTS % SHAPES);
				bool feedback = n / COUNTS / SHAPES;
				float *in = vector(shape, count, n);
				float *residual = feedback && shape != LARGEST
							  ? vector(GAUSS, count, ~n)
							  : NULL;
				struct encoded e;

				encode(&e, spec, best(), in, residual, 0, count, n);
				assert_false(e.result.nonfinite);
				for (size_t i = 0; i < count; i++) {
					float scaled = residual ? 0.75f * residual[i] : 0;
					float p = residual ? in[i] + scaled : in[i];
					float left = p - e.decoded[i];

					if (!isfinite(e.decoded[i]) ||
					    (left != e.residual[i] &&
					     !(left == 0 && e.residual[i] == 0)))
						fail_msg("%s, shape %d, %zu of %zu: %a became %a, "
							 "%a is left",
							 spec, shape, i, count, (double)p,
							 (double)e.decoded[i],
							 (double)e.residual[i]);
					if (shape == ZERO && !residual && e.decoded[i] != 0)
						fail_msg("%s: zero became %a", spec,
							 (double)e.decoded[i]);
				}
				drop(&e);
				free(in);
				free(residual);
			}
		}
	}
}

static void variants_agree(void **state)
{
	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			for (size_t n = 0; n < COUNTS * SHAPES; n++) {
				size_t count = counts[n % COUNTS];
				float *in = vector((enum shape)(n / COUNTS), count, n);
				float *residual =
					n / COUNTS == LARGEST ? NULL : vector(GAUSS, count, ~n);
				struct encoded e, f;

				encode(&e, spec, codec_kernels_of(vec_variants[0]), in, residual, 0,
				       count, n);
				for (size_t v = 1; vec_variants[v]; v++) {
					if (!vec_supported(vec_variants[v]))
						continue;
					encode(&f, spec, codec_kernels_of(vec_variants[v]), in,
					       residual, 0, count, n);
					assert_int_equal(e.length, f.length);
					if (memcmp(e.bytes, f.bytes, e.length) != 0 ||
					    memcmp(e.decoded, f.decoded, count * 4) != 0 ||
					    memcmp(e.residual, f.residual, count * 4) != 0)
						fail_msg("%s, shape %zu, %zu elements: %s differs",
							 spec, n / COUNTS, count,
							 vec_variants[v]->name);
					drop(&f);
				}
				drop(&e);
				free(in);
				free(residual);
			}
		}
	}
}

static void adding_is_decoding_and_adding(void **state)
{
	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			for (size_t n = 0; n < COUNTS; n++) {
				float *in = vector(GAUSS, counts[n], n);
				float *sum = vector(GAUSS, counts[n], n + 99);
				float *before = vector(GAUSS, counts[n], n + 99);
				struct encoded e;

				encode(&e, spec, best(), in, NULL, 0, counts[n], n);
				assert_int_equal(codec_decode_add(&e.setting, e.kernels, &e.origin,
								  e.bytes, e.length, 0.3f, sum,
								  counts[n]),
						 0);
				for (size_t i = 0; i < counts[n]; i++) {
					float product = 0.3f * e.decoded[i];
					float right = before[i] + product;

					if (right != sum[i])
						fail_msg("%s: %zu of %u: %a, not %a", spec, i,
							 counts[n], (double)sum[i], (double)right);
				}
				drop(&e);
				free(in);
				free(sum);
				free(before);
			}
		}
	}
}

/* Cut at a multiple of the block, the same elements come out. */
static void cuts_do_not_matter(void **state)
{
	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			uint32_t count = 150000, cut;
			float *in = vector(GAUSS, count, 5);
			struct encoded whole, first, second;

			encode(&whole, spec, best(), in, NULL, 1 << 20, count, 1);
			cut = whole.setting.block
				      ? 65536 / whole.setting.block * whole.setting.block
				      : count;
			encode(&first, spec, best(), in, NULL, 1 << 20, cut, 1);
			assert_memory_equal(first.decoded, whole.decoded, cut * sizeof(float));
			if (cut < count) {
				encode(&second, spec, best(), in + cut, NULL, (1 << 20) + cut,
				       count - cut, 1);
				assert_memory_equal(second.decoded, whole.decoded + cut,
						    (count - cut) * sizeof(float));
				drop(&second);
			}
			drop(&first);
			drop(&whole);
			free(in);
		}
	}
}

static void nonfinite_is_found(void **state)
{
	static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};

	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			for (size_t n = 0; n < COUNTS * 4 * 3; n++) {
				size_t count = counts[n % COUNTS];
				size_t place = n / COUNTS / 4;
				float *in = vector(GAUSS, count, n);
				struct encoded e;

				in[place * (count - 1) / 2] = bad[n / COUNTS % 4];
				encode(&e, spec, best(), in, NULL, 0, count, n);
				if (!e.result.nonfinite)
					fail_msg("%s: not found in %zu", spec, count);
				drop(&e);
				free(in);
			}
			for (size_t place = 0; place < 3; place++) { /* of the sum alone */
				float *in = vector(LARGEST, 1025, 1);
				float *residual = vector(ZERO, 1025, 1);
				struct encoded e;

				residual[place * 512] = in[place * 512];
				encode(&e, spec, best(), in, residual, 0, 1025, 1);
				assert_true(e.result.nonfinite);
				drop(&e);
				free(in);
				free(residual);
			}
		}
	}
}

/* Whatever comes: 0 or -EBADMSG, nothing beyond the buffers; decode_add agrees with decode. */
static void hostile_bytes(void **state)
{
	uint64_t seed = 42;

	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			for (size_t n = 0; n < 3000; n++) {
				size_t count = counts[n % COUNTS];
				float *in = vector(n % 7 ? GAUSS : ZERO, count, n);
				struct encoded e;
				unsigned char *bytes;
				float *sum = calloc(count, sizeof(*sum));
				size_t length;
				int error;

				encode(&e, spec, best(), in, NULL, 0, count, n);
				length = n % 3 == 0 ? draw(&seed) % (e.length + 9) : e.length;
				bytes = malloc(length ? length : 1);
				for (size_t i = 0; i < length; i++)
					bytes[i] = n % 2 && i < e.length
							   ? ((unsigned char *)e.bytes)[i]
							   : (unsigned char)draw(&seed);
				for (size_t flips = draw(&seed) % 4; flips && length; flips--)
					bytes[draw(&seed) % length] ^=
						(unsigned char)(1 << draw(&seed) % 8);
				error = codec_decode(&e.setting, e.kernels, &e.origin, bytes,
						     length, e.decoded, count);
				assert_true(error == 0 || error == -EBADMSG);
				assert_int_equal(codec_decode_add(&e.setting, e.kernels, &e.origin,
								  bytes, length, 1, sum, count),
						 error);
				for (size_t i = 0; error && i < count; i++)
					assert_true(sum[i] == 0);
				free(bytes);
				free(sum);
				drop(&e);
				free(in);
			}
		}
	}
}

static double norm2(const float *v, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += (double)v[i] * (double)v[i];
	return sum;
}

/*
 * The contraction that a codec promises holds for each shape; for random ones in the mean, which
 * 20 draws show to within 5 of their standard errors.  Below the least normal number, 2^-126,
 * nothing is promised.
 */
static void contracts(void **state)
{
	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			for (size_t n = 0; n < COUNTS * SHAPES; n++) {
				size_t count = counts[n % COUNTS];
				enum shape shape = (enum shape)(n / COUNTS);
				float *in = vector(shape, count, n);
				double left = 0, squares = 0, delta, error;
				struct encoded e;

				for (uint64_t step = 0; step < 20; step++) {
					double lost;

					encode(&e, spec, best(), in, NULL, 0, count, step);
					delta = c->delta ? c->delta(&e.setting, count) : 0;
					lost = norm2(e.residual, count);
					left += lost / 20;
					squares += lost * lost / 20;
					drop(&e);
					if (delta <= 0)
						break;
				}
				assert_true(delta <= 1);
				error = sqrt(fmax(squares - left * left, 0) / 19);
				if (delta > 0 &&
				    left - 5 * error > (1 - delta) * norm2(in, count) * (1 + 1e-6) +
							       (double)count * 0x1p-252)
					fail_msg("%s, shape %d, %zu: %g left of %g, delta %g", spec,
						 shape, count, left, norm2(in, count), delta);
				free(in);
			}
		}
	}
}

/*
 * The mean of 1e4 draws is within 5 standard deviations of its elements' own mean error.  An
 * element very near a level errs that little almost always and a whole step once in 1e5 draws, so
 * the deviation is at least as of 25 of the greatest errors in all draws.
 */
static void unbiased(void **state)
{
	enum { COUNT = 4096 };
	const char *slower = getenv("CARRY_SLOWER"); /* a sanitizer looks on */
	const uint64_t draws = slower && strcmp(slower, "1") != 0 ? 1000 : 10000;
	double *sum = malloc(COUNT * sizeof(*sum)), *squares = malloc(COUNT * sizeof(*sum));

	(void)state;
	EACH_CODEC(c)
	{
		EACH_EXAMPLE(c, spec)
		{
			float *in = vector(GAUSS, COUNT, 77);
			struct codec_setting s;
			struct err err;
			double z2 = 0, greatest = 0;

			assert_int_equal(codec_parse(&s, spec, &err), 0);
			memset(sum, 0, COUNT * sizeof(*sum));
			memset(squares, 0, COUNT * sizeof(*sum));
			for (uint64_t step = 0; c->unbiased && c->unbiased(&s) && step < draws;
			     step++) {
				struct encoded e;

				encode(&e, spec, best(), in, NULL, 0, COUNT, step);
				for (size_t i = 0; i < COUNT; i++) {
					double error = (double)e.decoded[i] - (double)in[i];

					sum[i] += error;
					squares[i] += error * error;
					greatest = fmax(greatest, fabs(error));
				}
				drop(&e);
			}
			for (size_t i = 0; i < COUNT; i++) {
				/* The mean's variance is squares / draws^2. */
				double variance = squares[i] + 25 * greatest * greatest;
				double z = greatest > 0 ? sum[i] / sqrt(variance) : 0;

				z2 += z * z;
				if (fabs(z) > 5.5)
					fail_msg("%s: element %zu is off by %.1f sigma", spec, i,
						 z);
			}
			/* Chi-squared of 4096: mean 4096, deviation 90.5. */
			if (z2 > COUNT + 5 * 90.5)
				fail_msg("%s: chi-squared %.0f of %d", spec, z2, COUNT);
			free(in);
		}
	}
	free(sum);
	free(squares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specs_and_back),
		cmocka_unit_test(bad_specs),
		cmocka_unit_test(residual_is_what_is_lost),
		cmocka_unit_test(variants_agree),
		cmocka_unit_test(adding_is_decoding_and_adding),
		cmocka_unit_test(cuts_do_not_matter),
		cmocka_unit_test(nonfinite_is_found),
		cmocka_unit_test(hostile_bytes),
		cmocka_unit_test(contracts),
		cmocka_unit_test(unbiased),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
