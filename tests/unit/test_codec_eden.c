/*
 * test_codec_eden.c - eden: bytes of small cases, a reference in double precision that multiplies
 * by the whole Hadamard matrix, the error that was published, and very large and small numbers.
 */
#include "compress/codec.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "tests/common/draw.h"

enum { SAMPLES = 1 << 20, CHUNK = 1 << 18 };

static void near_to(double value, double right, double distance)
{
	if (!(fabs(value - right) <= distance))
		fail_msg("%.9g is not within %g of %.9g", value, distance, right);
}

/* --- one encoding ------------------------------------------------------------------------- */

struct encoded {
	struct codec_setting setting;
	struct codec_origin origin;
	unsigned char *bytes;
	size_t length, count;
	float *left, *decoded;
};

static const struct codec_kernels *best(void)
{
	return codec_kernels_of(vec_best());
}

static void encode_on(struct encoded *e, const struct codec_kernels *kernels, const char *spec,
		      const float *in, uint64_t first, size_t count, uint32_t rank)
{
	struct codec_result result;
	struct codec_input input = {
		.in = in,
		.count = count,
		.first = first,
		.rank_key = random_key(1, 2, 3, rank),
		.shared_key = random_key(1, 2, 3, RANDOM_SHARED),
	};
	struct err err;

	*e = (struct encoded){.count = count};
	assert_int_equal(codec_parse(&e->setting, spec, &err), 0);
	e->bytes = malloc(codec_bound(&e->setting, count));
	e->left = malloc(count * sizeof(float));
	e->decoded = malloc(count * sizeof(float));
	input.residual_out = e->left;
	input.work = aligned_alloc(64, codec_work_bytes(&e->setting, count));
	e->origin = (struct codec_origin){.first = first,
					  .rank_key = input.rank_key,
					  .shared_key = input.shared_key,
					  .work = input.work};
	result = codec_encode(&e->setting, kernels, &input, e->bytes);
	assert_false(result.nonfinite);
	e->length = result.bytes;
	assert_int_equal(codec_decode(&e->setting, kernels, &e->origin, e->bytes, e->length,
				      e->decoded, count),
			 0);
}

static void encode(struct encoded *e, const char *spec, const float *in, uint64_t first,
		   size_t count, uint32_t rank)
{
	encode_on(e, best(), spec, in, first, count, rank);
}

static void drop(struct encoded *e)
{
	free(e->origin.work);
	free(e->bytes);
	free(e->left);
	free(e->decoded);
}

static double lost(const float *in, const float *out, size_t count)
{
	double error = 0, all = 0;

	for (size_t i = 0; i < count; i++) {
		double d = (double)in[i] - (double)out[i];

		error += d * d;
		all += (double)in[i] * (double)in[i];
	}
	return error / all;
}

/* --- the format --------------------------------------------------------------------------- */

static void sizes(void **state)
{
	struct codec_setting s;
	struct err err;

	(void)state;
	assert_int_equal(codec_parse(&s, "eden:bits=3", &err), 0);
	assert_int_equal(s.block, 4096);
	assert_int_equal(codec_bound(&s, 1), 4 + 24);
	assert_int_equal(codec_bound(&s, 64), 4 + 24);
	assert_int_equal(codec_bound(&s, 65), 2 * (4 + 24));
	assert_int_equal(codec_bound(&s, 4096), 4 + 1536);
	assert_int_equal(codec_bound(&s, 8192 + 1024 + 64), 2 * (4 + 1536) + 4 + 384 + 4 + 24);
	assert_int_equal(codec_work_bytes(&s, 1 << 18), 2 * 4096 * 4);
	assert_int_equal(codec_work_bytes(&s, 100), 2 * 64 * 4);
}

/* A block that was not transformed shows the centroids, up to the signs. */
static void shown(float *centroids, unsigned int bits)
{
	struct codec_origin origin = {.first = 0};
	unsigned char message[4 + 64 / 8 * 4] = {0};
	float out[64], work[128] __attribute__((aligned(64))), minus_one = -1;
	struct codec_setting s;
	struct err err;
	char spec[32];

	(void)snprintf(spec, sizeof(spec), "eden:bits=%u,block=64", bits);
	assert_int_equal(codec_parse(&s, spec, &err), 0);
	memcpy(message, &minus_one, sizeof(minus_one));
	for (unsigned int i = 0; i < 8; i++)
		for (unsigned int bit = 0; bit + 1 < bits; bit++)
			message[4 + 4 * bit] |= (unsigned char)((i >> bit & 1) << i);
	origin.work = work;
	assert_int_equal(codec_decode(&s, best(), &origin, message, codec_bound(&s, 64), out, 64),
			 0);
	for (unsigned int i = 0; i < 1u << (bits - 1); i++)
		centroids[i] = fabsf(out[i]);
	message[4 + 4 * (bits - 1)] = 1; /* the sign of element 0 */
	centroids[8] = out[0];
	assert_int_equal(codec_decode(&s, best(), &origin, message, codec_bound(&s, 64), out, 64),
			 0);
	assert_true(out[0] == -centroids[8]);
}

static double density(double x)
{
	return exp(-x * x / 2) / sqrt(2 * M_PI);
}

/* Each is the mean of a normal variable between the middles: what Lloyd's iteration ends with. */
static void centroids_are_means(void **state)
{
	(void)state;
	for (unsigned int bits = 1; bits <= 4; bits++) {
		unsigned int count = 1u << (bits - 1);
		float c[9];

		shown(c, bits);
		for (unsigned int i = 0; i < count; i++) {
			double low = i ? ((double)c[i - 1] + (double)c[i]) / 2 : 0;
			double high = i + 1 < count ? ((double)c[i] + (double)c[i + 1]) / 2 : 40;
			double mass = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2;

			near_to((double)c[i], (density(low) - density(high)) / mass, 2e-4);
		}
	}
}

static int sign_of(const struct encoded *e, uint64_t element)
{
	struct random_key key = e->setting.mode ? e->origin.shared_key : e->origin.rank_key;

	return random_u32(random_key_at(key, element / 32), (uint32_t)(element / 32)) >>
				       element % 32 &
			       1
		       ? -1
		       : 1;
}

static int hadamard(size_t i, size_t j)
{
	return __builtin_parityll(i & j) ? -1 : 1;
}

/* One element that is not zero: all elements of the transform are as large, one bit says all. */
static void bytes_of_a_spike(void **state)
{
	float in[64] = {0}, c[9], scale;
	struct encoded e;

	(void)state;
	shown(c, 1);
	in[19] = -3;
	encode(&e, "eden:bits=1,block=64,scale=mse", in, 640, 64, 5);
	assert_int_equal(e.length, 12);
	memcpy(&scale, e.bytes, sizeof(scale));
	near_to((double)scale, 3 / 8. / (double)c[0], 1e-6);
	for (size_t i = 0; i < 64; i++) {
		int bit = e.bytes[4 + i / 8] >> i % 8 & 1;

		assert_int_equal(bit ? -1 : 1, -hadamard(i, 19) * sign_of(&e, 640 + 19));
		if (i == 19)
			near_to((double)e.decoded[i], -3, 1e-6);
		else
			assert_true(e.decoded[i] == 0);
	}
	drop(&e);
}

/* The definition, in double precision: R x = H D x / |x|, its nearest centroids, and back. */
static void matches(const char *spec, const float *in, size_t n, uint64_t first)
{
	double norm2 = 0, product = 0, squares = 0, scale, *chosen = malloc(n * sizeof(*chosen));
	float c[9];
	struct encoded e;

	encode(&e, spec, in, first, n, 7);
	shown(c, e.setting.bits);
	for (size_t i = 0; i < n; i++)
		norm2 += (double)in[i] * (double)in[i];
	for (size_t i = 0; i < n; i++) {
		const unsigned char *word = e.bytes + 4 + i / 32 * 4 * e.setting.bits;
		double r = 0, nearest = INFINITY;
		unsigned int code = 0;

		for (size_t j = 0; j < n; j++)
			r += hadamard(i, j) * sign_of(&e, first + j) * (double)in[j];
		r /= sqrt(norm2);
		for (unsigned int bit = 0; bit < e.setting.bits; bit++)
			code |= (word[4 * bit + i % 32 / 8] >> i % 8 & 1u) << bit;
		chosen[i] = (double)c[code & ((1u << (e.setting.bits - 1)) - 1)];
		chosen[i] *= code >> (e.setting.bits - 1) ? -1 : 1;
		for (unsigned int k = 0; k < 1u << (e.setting.bits - 1); k++)
			nearest = fmin(nearest, fabs(fabs(r) - (double)c[k]));
		if (fabs(fabs(r - chosen[i]) - nearest) > 1e-5)
			fail_msg("%s: %g became %g", spec, r, chosen[i]);
		product += r * chosen[i];
		squares += chosen[i] * chosen[i];
	}
	scale = e.setting.scale ? sqrt(norm2) * product / (double)n / squares
				: sqrt(norm2) / product;
	for (size_t i = 0; i < n; i++) {
		double right = 0;

		for (size_t j = 0; j < n; j++)
			right += hadamard(i, j) * chosen[j];
		right *= scale * sign_of(&e, first + i);
		near_to((double)e.decoded[i], right, 2e-6 * sqrt(norm2));
		assert_true(e.left[i] == in[i] - e.decoded[i]);
	}
	drop(&e);
	free(chosen);
}

static void as_defined(void **state)
{
	static const char *const rest[] = {"", ",scale=mse", ",rotation=shared"};

	(void)state;
	for (unsigned int bits = 1; bits <= 4; bits++) {
		for (size_t n = 64; n <= 2048; n *= 2) {
			for (size_t i = 0; i < sizeof(rest) / sizeof(*rest); i++) {
				float *in =
					draw_vector((enum draw_law)(n / 64 % 3), n, 3, n + bits);
				char spec[64];

				(void)snprintf(spec, sizeof(spec), "eden:bits=%u,block=%zu%s", bits,
					       n, rest[i]);
				matches(spec, in, n, n == 512 ? (1ull << 37) + 512 : 3 * n);
				free(in);
			}
		}
	}
}

/* What is left after the blocks: ever smaller powers of two, each encoded as if it were alone. */
static void tails(void **state)
{
	static const size_t part[] = {4096, 512, 64, 7};
	float *in = draw_vector(DRAW_GAUSS, 4096 + 512 + 64 + 7, 1, 3);
	struct encoded whole, alone;
	size_t at = 0, byte = 0;

	(void)state;
	encode(&whole, "eden", in, 8192, 4096 + 512 + 64 + 7, 1);
	for (size_t i = 0; i < sizeof(part) / sizeof(*part); i++) {
		char spec[32];

		(void)snprintf(spec, sizeof(spec), "eden:block=%zu",
			       part[i] < 64 ? (size_t)64 : part[i]);
		encode(&alone, spec, in + at, 8192 + at, part[i], 1);
		assert_memory_equal(alone.bytes, whole.bytes + byte, alone.length);
		assert_memory_equal(alone.decoded, whole.decoded + at, part[i] * sizeof(float));
		assert_memory_equal(alone.left, whole.left + at, part[i] * sizeof(float));
		at += part[i];
		byte += alone.length;
		drop(&alone);
	}
	assert_int_equal(byte, whole.length);
	drop(&whole);
	free(in);
}

static void hostile_scales(void **state)
{
	static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
	static const float good[] = {0, -0.0f, 0x1.fffffep127f, -0x1.fffffep127f, 0x1p-149f};
	float *in = draw_vector(DRAW_GAUSS, 4096 + 100, 1, 3), sum[4096 + 100] = {0};
	struct encoded e;

	(void)state;
	encode(&e, "eden", in, 0, 4096 + 100, 1);
	for (size_t i = 0; i < 3 * 9; i++) {
		/* Of the whole block, of the 64 elements after it, and of the last 36. */
		size_t block = i % 3, at = block == 0 ? 0 : 4 + 2048 + (block - 1) * 36;
		const float *scale = i / 3 < 4 ? &bad[i / 3] : &good[i / 3 - 4];
		int right = i / 3 < 4 ? -EBADMSG : 0;
		float was;

		memcpy(&was, e.bytes + at, sizeof(was));
		memcpy(e.bytes + at, scale, sizeof(*scale));
		assert_int_equal(codec_decode(&e.setting, best(), &e.origin, e.bytes, e.length,
					      e.decoded, e.count),
				 right);
		for (size_t j = 0; !right && j < e.count; j++)
			assert_true(isfinite(e.decoded[j]));
		if (right)
			assert_int_equal(codec_decode_add(&e.setting, best(), &e.origin, e.bytes,
							  e.length, 1, sum, e.count),
					 right);
		memcpy(e.bytes + at, &was, sizeof(was));
	}
	for (size_t j = 0; j < e.count; j++)
		assert_true(sum[j] == 0);
	for (size_t length = 0; length < e.length + 5; length += length < 2000 ? 173 : 1)
		if (length != e.length)
			assert_int_equal(codec_decode(&e.setting, best(), &e.origin, in, length,
						      e.decoded, e.count),
					 -EBADMSG);
	drop(&e);
	free(in);
}

/* All codes the greatest: one element of the block becomes 256 times 2.73 / 2^8 times the scale. */
static void scales_near_the_limit(void **state)
{
	static const float least = FLT_MAX / 4096;
	const float scales[] = {nextafterf(least, 0),  least,  nextafterf(least, INFINITY),
				FLT_MAX / 512,         -least, -FLT_MAX / 2,
				nextafterf(-least, 0), FLT_MAX};
	size_t count = 65536;
	float *in = calloc(count, sizeof(*in)), *right = malloc(count * sizeof(*right));
	struct encoded e;

	(void)state;
	encode(&e, "eden:block=65536", in, 0, count, 1);
	for (size_t w = 0; w < count / 32; w++)
		memcpy(e.bytes + 4 + w * 16, (const uint32_t[]){~0u, ~0u, ~0u, 0}, 16);
	for (size_t i = 0; i < sizeof(scales) / sizeof(*scales); i++) {
		memcpy(e.bytes, &scales[i], sizeof(scales[i]));
		for (size_t v = 0; vec_variants[v]; v++) {
			if (!vec_supported(vec_variants[v]))
				continue;
			assert_int_equal(codec_decode(&e.setting, codec_kernels_of(vec_variants[v]),
						      &e.origin, e.bytes, e.length, e.decoded,
						      count),
					 0);
			for (size_t j = 0; j < count; j++)
				assert_true(isfinite(e.decoded[j]));
			if (v == 0)
				memcpy(right, e.decoded, count * sizeof(*right));
			assert_memory_equal(e.decoded, right, count * sizeof(*right));
		}
		/* The others add up to nothing; there are as many signs as places. */
		if (scales[i] > 0)
			assert_true(fabsf(right[0]) > 600 * fminf(scales[i], FLT_MAX / 701));
	}
	drop(&e);
	free(right);
	free(in);
}

/* --- errors ------------------------------------------------------------------------------- */

static void errors(void **state)
{
	static const struct {
		const char *spec;
		double error;
	} rows[] = {
		{"eden:bits=1,scale=mse", .363}, {"eden:bits=1", .570},
		{"eden:bits=2", .133},           {"eden:bits=3", .0359},
		{"eden:bits=4", .0096},          {"eden:bits=4,block=65536", .0096},
	};

	(void)state;
	for (enum draw_law law = DRAW_GAUSS; law <= DRAW_STUDENT; law++) {
		float *in = draw_vector(law, SAMPLES, 1, 17);

		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			double error = 0, all = 0;

			for (size_t at = 0; at < SAMPLES; at += CHUNK) {
				struct encoded e;

				encode(&e, rows[i].spec, in + at, at, CHUNK, 1);
				for (size_t j = 0; j < CHUNK; j++) {
					error += (double)e.left[j] * (double)e.left[j];
					all += (double)in[at + j] * (double)in[at + j];
				}
				drop(&e);
			}
			error /= all;
			print_message("%s, law %d: %.4g\n", rows[i].spec, (int)law, error);
			if (fabs(error / rows[i].error - 1) > (law == DRAW_GAUSS ? 0.02 : 0.05))
				fail_msg("%s: %g, not %g", rows[i].spec, error, rows[i].error);
		}
		free(in);
	}
}

/* The same input on eight ranks: rotations of their own average out, a shared one does not. */
static void ranks_average(void **state)
{
	float *in = draw_vector(DRAW_GAUSS, 8192, 1, 9), *mean = calloc(8192, sizeof(*mean));

	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		const char *spec = shared ? "eden:bits=1,rotation=shared" : "eden:bits=1";
		double right = shared ? .570 : .570 / 8;

		memset(mean, 0, 8192 * sizeof(*mean));
		for (uint32_t rank = 0; rank < 8; rank++) {
			struct encoded e;

			encode(&e, spec, in, 0, 8192, rank);
			for (size_t i = 0; i < 8192; i++)
				mean[i] += e.decoded[i] / 8;
			drop(&e);
		}
		near_to(lost(in, mean, 8192), right, 0.05 * right);
	}
	free(in);
	free(mean);
}

/* --- large and small ---------------------------------------------------------------------- */

static void scaled_inputs(void **state)
{
	static const struct {
		double times, limit;
	} rows[] = {{1e37, .0101}, {6e37, .02},  {1e-30, .0101}, {1e-37, .0101},
		    {1e-40, .011}, {1e-43, .05}, {1e20, .0101}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		float *in = draw_vector(DRAW_GAUSS, 4096, rows[i].times, 21);
		struct encoded e;

		encode(&e, "eden:scale=mse", in, 0, 4096, 1);
		for (size_t j = 0; j < 4096; j++)
			assert_true(isfinite(e.decoded[j]) && isfinite(e.left[j]));
		if (lost(in, e.decoded, 4096) > rows[i].limit)
			fail_msg("%g: %g lost", rows[i].times, lost(in, e.decoded, 4096));
		drop(&e);
		free(in);
	}
}

/* At the end of the range: nothing becomes infinite, and what is sent is still of use. */
static void greatest_inputs(void **state)
{
	static const char *const specs[] = {"eden:bits=1", "eden:bits=1,scale=mse", "eden:bits=2",
					    "eden:bits=3,block=65536", "eden"};
	uint64_t seed = 1;

	(void)state;
	for (size_t i = 0; i < 5 * 4; i++) {
		float *in = malloc(4096 * sizeof(*in));
		struct encoded e;

		for (size_t j = 0; j < 4096; j++) {
			in[j] = draw_uniform(&seed) < 0.5 ? 0x1.fffffep127f : -0x1.fffffep127f;
			if (i / 5 == 1)
				in[j] *= (float)draw_uniform(&seed);
			else if (i / 5 == 2)
				in[j] *= j == 77 ? 1 : 0x1p-30f;
			else if (i / 5 == 3)
				in[j] = fabsf(in[j]);
		}
		encode(&e, specs[i % 5], in, 0, 4096, 1);
		for (size_t j = 0; j < 4096; j++)
			assert_true(isfinite(e.decoded[j]) && isfinite(e.left[j]));
		if (lost(in, e.decoded, 4096) > 0.26)
			fail_msg("%s, %zu: %g lost", specs[i % 5], i / 5,
				 lost(in, e.decoded, 4096));
		drop(&e);
		free(in);
	}
}

/* Blocks longer than what is turned at once, longer than any of test_codec_bits.c. */
static void long_blocks_have_the_same_bits(void **state)
{
	static const char *const specs[] = {"eden:bits=3,block=32768", "eden:bits=1,block=65536",
					    "eden:bits=2,block=32768", "eden:block=65536",
					    "eden:bits=2,block=256"};

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
		size_t count = 65536;
		float *in = draw_vector(DRAW_GAUSS, count, 1, i);
		struct encoded right, e;

		encode_on(&right, codec_kernels_of(vec_variants[0]), specs[i], in, 0, count, 3);
		for (size_t v = 0; vec_variants[v]; v++) {
			if (!vec_supported(vec_variants[v]))
				continue;
			encode_on(&e, codec_kernels_of(vec_variants[v]), specs[i], in, 0, count, 3);
			assert_int_equal(e.length, right.length);
			assert_memory_equal(e.bytes, right.bytes, right.length);
			assert_memory_equal(e.decoded, right.decoded, count * sizeof(float));
			assert_memory_equal(e.left, right.left, count * sizeof(float));
			drop(&e);
		}
		drop(&right);
		free(in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_blocks_have_the_same_bits),
		cmocka_unit_test(sizes),
		cmocka_unit_test(centroids_are_means),
		cmocka_unit_test(bytes_of_a_spike),
		cmocka_unit_test(as_defined),
		cmocka_unit_test(tails),
		cmocka_unit_test(hostile_scales),
		cmocka_unit_test(scales_near_the_limit),
		cmocka_unit_test(errors),
		cmocka_unit_test(ranks_average),
		cmocka_unit_test(scaled_inputs),
		cmocka_unit_test(greatest_inputs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
