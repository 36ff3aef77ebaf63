/*
 * test_promises.c - what codec.h promises of NaN and infinity, of bytes from elsewhere, and of
 * `away`, for the whole table.
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

enum { COUNT = 2500 };

#define EACH_EXAMPLE(spec)                                                    \
	for (const struct codec *const *entry = codec_table; *entry; entry++) \
		for (const char *const *example = (*entry)->examples, *spec;  \
		     (spec = *example) != NULL; example++)

static uint32_t draw(uint32_t i)
{
	return random_u32(random_key(3, 1, 4, 1), i);
}

static void *aligned(size_t bytes)
{
	return aligned_alloc(64, bytes / 64 * 64 + 64);
}

struct bench {
	struct codec_setting setting;
	const struct codec_kernels *kernels;
	struct codec_input input;
	struct codec_origin origin;
	float in[COUNT], decoded[COUNT];
	unsigned char *bytes;
	size_t bound;
};

static struct bench *bench_new(const char *spec)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct err err;

	assert_int_equal(codec_parse(&b->setting, spec, &err), 0);
	b->kernels = codec_kernels_of(vec_best());
	b->bound = codec_bound(&b->setting, COUNT);
	b->bytes = malloc(b->bound);
	b->input = (struct codec_input){
		.in = b->in,
		.residual_scale = 1,
		.count = COUNT,
		.rank_key = random_key(1, 2, 3, 4),
		.shared_key = random_key(1, 2, 3, RANDOM_SHARED),
		.work = aligned(codec_work_bytes(&b->setting, COUNT)),
	};
	b->origin = (struct codec_origin){.first = 0,
					  .rank_key = b->input.rank_key,
					  .shared_key = b->input.shared_key,
					  .work = b->input.work};
	for (uint32_t i = 0; i < COUNT; i++)
		b->in[i] = ldexpf((float)(int32_t)draw(i), (int)(draw(COUNT + i) % 20) - 40);
	return b;
}

static void bench_free(struct bench *b)
{
	free(b->input.work);
	free(b->bytes);
	free(b);
}

static struct codec_result encode(struct bench *b)
{
	return codec_encode(&b->setting, b->kernels, &b->input, b->bytes);
}

static int decode(struct bench *b, const void *bytes, size_t length)
{
	return codec_decode(&b->setting, b->kernels, &b->origin, bytes, length, b->decoded, COUNT);
}

static bool plain(const struct bench *b)
{
	return b->setting.id == CODEC_NONE || b->setting.id == CODEC_BF16 ||
	       b->setting.id == CODEC_FP16;
}

/* --- NaN and infinity --------------------------------------------------------------------- */

/* Without a residual the very bits; with one what adding gives. */
static void none_writes_what_is_not_finite(void **state)
{
	static const uint32_t odd[] = {0x7fc00000, 0xffc12345, 0x7f800000, 0xff800000};
	struct bench *b = bench_new("none");
	float *residual = calloc(COUNT, sizeof(*residual)), *p = malloc(COUNT * sizeof(*p));

	(void)state;
	for (size_t i = 0; i < 4; i++)
		memcpy(&b->in[i * (COUNT - 1) / 3], &odd[i], sizeof(odd[i]));
	for (size_t with = 0; with < 2; with++) {
		struct codec_result r;

		for (size_t i = 0; i < COUNT; i++)
			p[i] = b->in[i] + (with ? residual[i] = 0.5f : 0);
		b->input.residual = with ? residual : NULL;
		memset(b->bytes, 0, b->bound);
		r = encode(b);
		assert_true(r.nonfinite);
		assert_int_equal(r.bytes, COUNT * sizeof(float));
		if (!with)
			assert_memory_equal(b->bytes, b->in, COUNT * sizeof(float));
		assert_int_equal(decode(b, b->bytes, r.bytes), 0);
		for (size_t i = 0; i < COUNT; i++)
			assert_true(b->decoded[i] == p[i] || (isnan(b->decoded[i]) && isnan(p[i])));
	}
	free(p);
	free(residual);
	bench_free(b);
}

/* A payload of plain floats is as its sender wrote it. */
static void plain_bytes_are_taken(void **state)
{
	static const struct {
		const char *spec;
		uint32_t bits[3]; /* a NaN, infinity, -infinity */
		size_t size;
	} plain[] = {
		{"none", {0x7fc00001, 0x7f800000, 0xff800000}, 4},
		{"bf16", {0x7fc1, 0x7f80, 0xff80}, 2},
		{"fp16", {0x7e01, 0x7c00, 0xfc00}, 2},
	};

	(void)state;
	for (size_t n = 0; n < 3; n++) {
		struct bench *b = bench_new(plain[n].spec);
		struct codec_result r = encode(b);
		float *good = malloc(sizeof(b->decoded)), *sum = calloc(COUNT, sizeof(*sum));

		assert_false(r.nonfinite);
		assert_int_equal(decode(b, b->bytes, r.bytes), 0);
		memcpy(good, b->decoded, sizeof(b->decoded));
		for (size_t i = 0; i < 3; i++)
			memcpy(b->bytes + (100 + i) * plain[n].size, &plain[n].bits[i],
			       plain[n].size);
		assert_int_equal(decode(b, b->bytes, r.bytes), 0);
		assert_int_equal(codec_decode_add(&b->setting, b->kernels, &b->origin, b->bytes,
						  r.bytes, 1, sum, COUNT),
				 0);
		good[100] = 0;
		assert_true(isnan(b->decoded[100]) && isnan(sum[100]));
		good[101] = INFINITY;
		good[102] = -INFINITY;
		for (size_t i = 0; i < COUNT; i++)
			assert_true(i == 100 || (b->decoded[i] == good[i] && sum[i] == good[i]));
		free(good);
		free(sum);
		bench_free(b);
	}
}

/* All other bytes that are taken, whoever made them, give finite numbers. */
static void what_is_decoded_is_finite(void **state)
{
	(void)state;
	EACH_EXAMPLE(spec)
	{
		struct bench *b = bench_new(spec);
		struct codec_result r = encode(b);
		unsigned char *bytes = malloc(r.bytes);
		size_t taken = 0;

		for (uint32_t n = 0; n < 2000 && !plain(b); n++) {
			memcpy(bytes, b->bytes, r.bytes);
			for (uint32_t i = 0; i <= n % 8; i++) {
				uint32_t at = draw(8 * n + i), to = draw(8 * n + i + 100000);

				/* The first bytes are scales. */
				at = at % 3 ? at % (uint32_t)r.bytes : at % 8 % (uint32_t)r.bytes;
				bytes[at] = to % 2 ? 0xff : (unsigned char)(to >> 8);
			}
			if (decode(b, bytes, r.bytes))
				continue;
			taken++;
			for (size_t i = 0; i < COUNT; i++)
				if (!isfinite(b->decoded[i]))
					fail_msg("%s: element %zu is %g", spec, i,
						 (double)b->decoded[i]);
		}
		if (!plain(b) && taken == 0)
			fail_msg("%s: none of 2000 messages was taken", spec);
		free(bytes);
		bench_free(b);
	}
}

/* --- hints -------------------------------------------------------------------------------- */

/* Past the caches or not, at any place, in place: the same bytes and the same residual. */
static void away_is_a_hint(void **state)
{
	float *room = aligned((COUNT + 16) * sizeof(float));
	float *left = aligned(COUNT * sizeof(float));

	(void)state;
	EACH_EXAMPLE(spec)
	{
		struct bench *b = bench_new(spec);
		unsigned char *again = malloc(b->bound);

		for (size_t n = 0; n < 4; n++) {
			float *residual = room + (n & 1);
			struct codec_result one, two;

			for (uint32_t i = 0; i < COUNT; i++)
				residual[i] = (float)(int32_t)draw(i + 77) * 0x1p-31f;
			b->input.residual = residual;
			b->input.residual_out = left;
			b->input.away = false;
			one = encode(b);
			memcpy(again, b->bytes, one.bytes);
			b->input.away = n & 2;
			b->input.residual_out = residual;
			two = encode(b);
			assert_false(one.nonfinite || two.nonfinite);
			assert_int_equal(one.bytes, two.bytes);
			assert_memory_equal(b->bytes, again, one.bytes);
			if (memcmp(left, residual, COUNT * sizeof(float)) != 0)
				fail_msg("%s, %zu: another residual", spec, n);
		}
		free(again);
		bench_free(b);
	}
	free(room);
	free(left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_writes_what_is_not_finite),
		cmocka_unit_test(plain_bytes_are_taken),
		cmocka_unit_test(what_is_decoded_is_finite),
		cmocka_unit_test(away_is_a_hint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
