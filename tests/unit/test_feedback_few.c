/*
 * test_feedback_few.c - sums of few elements: to the last bit the finals that whole sums give, or
 * none.
 */
#include "compress/feedback.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/coding.h"
#include "tests/common/draw.h"
#include "tests/unit/codec_case.h"

enum { NODES = 4, COUNT = 5000 }; /* no whole group, nor word */

struct messages {
	struct coding coding;
	struct feedback_op op;
	float *in[NODES];
	unsigned char *bytes[NODES];
	size_t length[NODES];
	size_t room;     /* of a final                   */
	float threshold; /* of the last step, 0: none */
};

static struct random_key key_of(uint32_t node)
{
	return random_key(0, 1, 2, node);
}

static void messages_init(struct messages *m, const char *codec, const char *feedback, size_t count,
			  uint64_t divisor)
{
	struct err err;

	*m = (struct messages){0};
	assert_int_equal(coding_parse(&m->coding, codec, feedback, 0, &err), 0);
	m->op = (struct feedback_op){
		.setting = &m->coding.feedback,
		.up = &m->coding.up,
		.down = &m->coding.down,
		.kernels = case_best(),
		.count = count,
		.divisor = divisor,
		.scale = 1,
		.shared_key = key_of(RANDOM_SHARED),
	};
	m->op.work = aligned_alloc(64, feedback_work_bytes(&m->coding.feedback, &m->coding.up,
							   &m->coding.down, count));
	m->room = codec_bound(&m->coding.down, count);
	for (uint32_t n = 0; n < NODES; n++)
		m->in[n] = draw_vector(DRAW_STUDENT, count, 1, n + 1);
	/* What the first two nodes send alike is nothing together, and stays out of the final. */
	for (size_t i = 0; i < count / 2; i++)
		m->in[1][i] = -m->in[0][i];
}

static void messages_encode(struct messages *m)
{
	for (uint32_t n = 0; n < NODES; n++) {
		struct codec_input input = {
			.in = m->in[n],
			.count = m->op.count,
			.rank_key = key_of(n),
			.shared_key = m->op.shared_key,
			.threshold = m->threshold,
			.work = m->op.work,
		};
		struct codec_result r;

		m->bytes[n] = malloc(codec_bound(m->op.up, m->op.count));
		r = codec_encode(m->op.up, m->op.kernels, &input, m->bytes[n]);
		assert_false(r.nonfinite);
		m->length[n] = r.bytes;
	}
}

static void messages_drop(struct messages *m)
{
	for (uint32_t n = 0; n < NODES; n++) {
		free(m->in[n]);
		free(m->bytes[n]);
	}
	free(m->op.work);
}

static struct codec_result whole(const struct messages *m, float threshold, unsigned char *out)
{
	const struct feedback_state none = {0};
	float *sum = calloc(m->op.count, sizeof(*sum));
	struct codec_result r;

	for (uint32_t n = 0; n < NODES; n++)
		assert_int_equal(feedback_add(&m->op, key_of(n), 0.5f + (float)n, m->bytes[n],
					      m->length[n], sum),
				 0);
	r = feedback_final(&m->op, &none, sum, key_of(NODES), threshold, out);
	free(sum);
	return r;
}

static struct codec_result few(const struct messages *m, float threshold, unsigned char *out)
{
	size_t count = m->op.count;
	struct feedback_sum sum = {
		{malloc(count * sizeof(float)), malloc(count * sizeof(float))}, count, 1};
	struct codec_result r;

	/* What lies there is no part of the sum. */
	for (size_t i = 0; i < count; i++)
		sum.room[0][i] = sum.room[1][i] = NAN;
	assert_true(feedback_adds_few(&m->op, NODES));
	feedback_sum_begin(&sum);
	for (uint32_t n = 0; n < NODES; n++)
		assert_int_equal(feedback_add_few(&m->op, key_of(n), 0.5f + (float)n, m->bytes[n],
						  m->length[n], &sum),
				 0);
	r = feedback_final_few(&m->op, &sum, key_of(NODES), threshold, out);
	free(sum.room[0]);
	free(sum.room[1]);
	return r;
}

static void assert_same(const struct messages *m)
{
	const float least = 0x1p-149f;
	unsigned char *a = malloc(m->room), *b = malloc(m->room);
	struct codec_result r = whole(m, least, a), s = few(m, least, b);

	assert_true(r.bytes > 0);
	assert_int_equal(s.bytes, r.bytes);
	assert_memory_equal(a, b, r.bytes);
	assert_memory_equal(&s.threshold, &r.threshold, sizeof(r.threshold));
	free(a);
	free(b);
}

static void finals_are_those_of_whole_sums(void **state)
{
	static const char *const codecs[] = {
		"topk",
		"topk:density=0.03,values=bf16",
		"topk:density=0.02,mode=block",
		"topk:density=0.01,mode=threshold,scope=tensor",
	};
	static const char *const feedbacks[] = {"ef14", "ef21", "ef21-w", "ef21-sgdm",
						"econtrol:eta=0.01"};
	static const size_t counts[] = {1024, 4096, COUNT, COUNT + 1};

	(void)state;
	for (size_t c = 0; c < sizeof(codecs) / sizeof(*codecs); c++)
		for (size_t f = 0; f < sizeof(feedbacks) / sizeof(*feedbacks); f++)
			for (size_t n = 0; n < sizeof(counts) / sizeof(*counts); n++) {
				struct messages m;

				messages_init(&m, codecs[c], feedbacks[f], counts[n],
					      n % 2 ? 1 : 3);
				messages_encode(&m);
				assert_same(&m);
				messages_drop(&m);
			}
}

static void sums_of_nothing_are_finals_too(void **state)
{
	struct messages m;

	(void)state;
	messages_init(&m, "topk", "ef21", COUNT, 1);
	for (uint32_t n = 0; n < NODES; n++)
		for (size_t i = 0; i < COUNT; i++)
			m.in[n][i] = n % 2 ? 0.0f : -0.0f;
	messages_encode(&m);
	assert_same(&m);
	messages_drop(&m);
}

static void what_is_not_finite_goes_the_other_way(void **state)
{
	unsigned char *out;
	struct messages m;

	(void)state;
	messages_init(&m, "topk", "ef21", COUNT, 1);
	m.in[0][4000] = m.in[2][4000] = m.in[3][4000] = 3e38f;
	messages_encode(&m);
	out = malloc(m.room);
	assert_int_equal(few(&m, 0x1p-149f, out).bytes, 0);
	assert_true(whole(&m, 0x1p-149f, out).nonfinite);
	free(out);
	messages_drop(&m);
}

/* Return: how many contributions found room; then there was none, and the sum is as it was. */
static uint32_t added(const struct messages *m)
{
	size_t count = m->op.count, n = 0;
	float *rooms = malloc(2 * count * sizeof(float));
	struct feedback_sum sum = {{rooms, rooms + count}, 0, 0};
	uint32_t node = 0;
	int error = 0;

	feedback_sum_begin(&sum);
	for (; node < NODES && !error; node += !error) {
		n = sum.n;
		error = feedback_add_few(&m->op, key_of(node), 1, m->bytes[node], m->length[node],
					 &sum);
	}
	assert_int_equal(error, node < NODES ? -ENOSPC : 0);
	assert_true(!error || sum.n == n);
	free(rooms);
	return node;
}

static void what_finds_no_room_is_told(void **state)
{
	struct messages m;

	(void)state;
	messages_init(&m, "topk", "ef21", 1, 1); /* one element, as the last chunk may have */
	messages_encode(&m);
	assert_int_equal(added(&m), 0);
	messages_drop(&m);
	/* A threshold that is far too low lets nearly all through. */
	messages_init(&m, "topk:density=0.01,mode=threshold,scope=tensor", "ef21", COUNT, 1);
	m.threshold = 0x1p-20f;
	messages_encode(&m);
	assert_in_range(added(&m), 0, NODES - 1);
	messages_drop(&m);
}

static void others_are_refused(void **state)
{
	static const char *const pairs[][2] = {
		{"topk:density=0.05", "ef21"}, /* of four nodes: a fifth of all */
		{"topk", "ef21-bc"},
		{"topk", "twosided"},
		{"topk", "none"},
		{"int8", "ef21"},
		{"randk:density=0.01", "ef21"},
	};
	struct messages m;

	(void)state;
	for (size_t p = 0; p < sizeof(pairs) / sizeof(*pairs); p++) {
		messages_init(&m, pairs[p][0], pairs[p][1], COUNT, 1);
		assert_false(feedback_adds_few(&m.op, NODES));
		messages_drop(&m);
	}
	messages_init(&m, "topk", "ef21", COUNT, 1);
	m.op.dense = true;
	assert_false(feedback_adds_few(&m.op, NODES));
	messages_drop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finals_are_those_of_whole_sums),
		cmocka_unit_test(sums_of_nothing_are_finals_too),
		cmocka_unit_test(what_is_not_finite_goes_the_other_way),
		cmocka_unit_test(what_finds_no_room_is_told),
		cmocka_unit_test(others_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
