/*
 * test_codec_randk.c - randk: how many blocks, which, what is sent of them, and lengths that no
 * encoder makes.
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

enum { BLOCK = 64, MOST = 64 * 100 };

struct sent {
	struct codec_setting setting;
	struct codec_origin origin;
	struct codec_result result;
	size_t count;
	float bytes[MOST], residual[MOST], decoded[MOST];
};

static int decode(struct sent *m, size_t length)
{
	return codec_decode(&m->setting, codec_kernels_of(vec_best()), &m->origin, m->bytes, length,
			    m->decoded, m->count);
}

static void encode(struct sent *m, const char *spec, const float *in, size_t count, uint64_t step,
		   uint32_t rank)
{
	struct err err;
	struct codec_input input = {
		.in = in,
		.residual_out = m->residual,
		.count = count,
		.first = 1 << 20,
		.rank_key = random_key(1, step, 2, rank),
		.shared_key = random_key(1, step, 2, RANDOM_SHARED),
	};

	assert_int_equal(codec_parse(&m->setting, spec, &err), 0);
	m->count = count;
	m->origin = (struct codec_origin){.first = input.first,
					  .rank_key = input.rank_key,
					  .shared_key = input.shared_key,
					  .work = NULL};
	m->result = codec_encode(&m->setting, codec_kernels_of(vec_best()), &input, m->bytes);
	assert_false(m->result.nonfinite);
	assert_in_range(m->result.bytes, 4, codec_bound(&m->setting, count));
	assert_int_equal(decode(m, m->result.bytes), 0);
}

/* Elements that are numbered from 1, so that a kept one is never zero. */
static const float *numbered(void)
{
	static float in[MOST];

	for (size_t i = 0; i < MOST; i++)
		in[i] = (float)(i + 1);
	return in;
}

/* Which blocks were kept; all of a block or nothing.  Return: how many. */
static size_t kept(const struct sent *m, bool *blocks)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i++) {
		blocks[i / BLOCK] = m->decoded[i / BLOCK * BLOCK] > 0;
		assert_true((m->decoded[i] > 0) == blocks[i / BLOCK]);
		n += i % BLOCK == 0 && blocks[i / BLOCK];
	}
	return n;
}

static void sends_the_blocks_in_order(void **state)
{
	const float *in = numbered();
	bool blocks[100];
	struct sent m;
	size_t at = 0;

	(void)state;
	encode(&m, "randk:density=0.1", in, MOST, 5, 0);
	assert_int_equal(kept(&m, blocks), 10);
	assert_int_equal(m.result.bytes, 10 * BLOCK * sizeof(float));
	for (size_t i = 0; i < MOST; i++) {
		assert_true(m.decoded[i] == (blocks[i / BLOCK] ? in[i] : 0));
		assert_true(m.residual[i] == (blocks[i / BLOCK] ? 0 : in[i]));
		if (blocks[i / BLOCK])
			assert_true(m.bytes[at++] == in[i]);
	}
}

static void ranks_draw_alike_and_steps_do_not(void **state)
{
	const float *in = numbered();
	bool blocks[100];
	struct sent a, b;

	(void)state;
	encode(&a, "randk:density=0.1", in, MOST, 5, 0);
	encode(&b, "randk:density=0.1", in, MOST, 5, 1);
	assert_memory_equal(a.decoded, b.decoded, sizeof(a.decoded));
	encode(&b, "randk:density=0.1", in, MOST, 6, 0);
	assert_int_equal(kept(&b, blocks), 10);
	assert_true(memcmp(a.decoded, b.decoded, sizeof(a.decoded)) != 0);
}

/* Exactly the share of the blocks, whatever the draw; a short last block is one too. */
static void keeps_exactly_its_share(void **state)
{
	static const size_t counts[] = {1, 63, 64, 65, 640, 641, 6399, 6400};
	static const size_t right[] = {1, 1, 1, 1, 3, 4, 30, 30}; /* ceil of 0.3 * blocks */
	const float *in = numbered();
	bool blocks[100];
	struct sent m;

	(void)state;
	for (size_t i = 0; i < 8; i++)
		for (uint64_t step = 0; step < 50; step++) {
			encode(&m, "randk:density=0.3", in, counts[i], step, 0);
			assert_int_equal(kept(&m, blocks), right[i]);
		}
	encode(&m, "randk:density=1", in, 6399, 0, 0);
	assert_memory_equal(m.bytes, in, 6399 * sizeof(*in));
}

/* Each block is as likely as any other, and so are neighbours together. */
static void blocks_are_equally_likely(void **state)
{
	enum { STEPS = 20000 };
	const float *in = numbered();
	size_t times[100] = {0}, pairs = 0;
	double chi2 = 0, expected = STEPS * 0.1;
	struct sent m;

	(void)state;
	for (uint64_t step = 0; step < STEPS; step++) {
		bool blocks[100];

		encode(&m, "randk:density=0.1", in, MOST, step, 0);
		assert_int_equal(kept(&m, blocks), 10);
		for (size_t i = 0; i < 100; i++) {
			times[i] += blocks[i];
			pairs += i > 0 && blocks[i] && blocks[i - 1];
		}
	}
	for (size_t i = 0; i < 100; i++) {
		double off = (double)times[i] - expected;

		chi2 += off * off / (expected * 0.9) * 0.99;
	}
	assert_true(chi2 > 99 - 5 * 14.1 && chi2 < 99 + 5 * 14.1); /* 99 degrees of freedom */
	/* 99 pairs of neighbours, each with 10 / 100 * 9 / 99: 0.9 a step. */
	assert_true(fabs((double)pairs / STEPS - 0.9) < 5 * sqrt(0.9 / STEPS));
}

/* Without scale what is lost is 1 - kept / blocks in the mean; with it the mean is the input. */
static void loses_what_it_must(void **state)
{
	enum { STEPS = 4000 };
	const float *in = numbered();
	double left = 0, all = 0, sum = 0, right = 0;
	struct sent m;

	(void)state;
	for (uint64_t step = 0; step < STEPS; step++) {
		encode(&m, "randk:density=0.25", in, MOST, step, 0);
		for (size_t i = 0; i < MOST; i++) {
			left += (double)m.residual[i] * (double)m.residual[i];
			all += (double)in[i] * (double)in[i];
		}
		encode(&m, "randk:density=0.25,scale=unbiased", in, MOST, step, 0);
		for (size_t i = 0; i < MOST; i++) {
			assert_true(m.decoded[i] == 0 || m.decoded[i] == 4 * in[i]);
			sum += (double)m.decoded[i];
			right += (double)in[i];
		}
	}
	assert_true(fabs(left / all - 0.75) < 0.01);
	assert_true(fabs(sum / right - 1) < 0.01);
}

static void saturates(void **state)
{
	float in[640];
	struct sent m;

	(void)state;
	for (size_t i = 0; i < 640; i++)
		in[i] = i % 2 ? 0x1.fffffep127f : -0x1p127f;
	encode(&m, "randk:density=0.1,scale=unbiased", in, 640, 1, 0);
	for (size_t i = 0; i < BLOCK; i++)
		assert_true(m.bytes[i] == (i % 2 ? 0x1.fffffep127f : -0x1.fffffep127f));
}

static void hostile_messages(void **state)
{
	const float *in = numbered();
	struct sent m;

	(void)state;
	for (uint64_t step = 0; step < 40; step++) {
		size_t bytes, last = 0;

		/* A last block of 3: the length says whether it is one of the 2 that are kept. */
		encode(&m, "randk:density=0.4", in, 4 * BLOCK + 3, step, 0);
		bytes = m.result.bytes;
		last = m.decoded[4 * BLOCK] > 0;
		assert_int_equal(bytes, last ? (BLOCK + 3) * 4 : 2 * BLOCK * 4);
		assert_int_equal(decode(&m, bytes - 1), -EBADMSG);
		assert_int_equal(decode(&m, bytes + 4), -EBADMSG);
		assert_int_equal(decode(&m, last ? 2 * BLOCK * 4 : (BLOCK + 3) * 4), -EBADMSG);
		assert_int_equal(decode(&m, 0), -EBADMSG);
		m.bytes[bytes / 4 - 1] = step % 2 ? NAN : -INFINITY;
		assert_int_equal(decode(&m, bytes), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_the_blocks_in_order),
		cmocka_unit_test(ranks_draw_alike_and_steps_do_not),
		cmocka_unit_test(keeps_exactly_its_share),
		cmocka_unit_test(blocks_are_equally_likely),
		cmocka_unit_test(loses_what_it_must),
		cmocka_unit_test(saturates),
		cmocka_unit_test(hostile_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
