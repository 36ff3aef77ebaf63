/*
 * test_feedback_log.c - values that are changed in place and put back, to the last bit.
 */
#include "compress/feedback_log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/draw.h"

enum { CELL = FEEDBACK_CELL };

/* Heap blocks of exactly their size. */
struct vector {
	struct feedback_log log;
	size_t count;
	uint32_t *index;
	float *value;
};

static struct vector vector_of(size_t count, uint64_t seed)
{
	struct vector v = {.count = count};

	v.log.values = draw_vector(DRAW_GAUSS, count, 1, seed);
	v.log.values[count / 2] = -0.0f;
	v.log.old = malloc(count * sizeof(float));
	v.log.marks = calloc(feedback_log_cells(count), sizeof(uint64_t));
	v.index = malloc(count * sizeof(*v.index));
	v.value = malloc(count * sizeof(*v.value));
	return v;
}

static void drop(struct vector *v)
{
	free(v->log.values);
	free(v->log.old);
	free(v->log.marks);
	free(v->index);
	free(v->value);
}

static float *copy(const struct vector *v)
{
	float *out = malloc(v->count * sizeof(*out));

	memcpy(out, v->log.values, v->count * sizeof(*out));
	return out;
}

static bool same(const struct vector *v, const float *values)
{
	return memcmp(v->log.values, values, v->count * sizeof(*values)) == 0;
}

/* Op `op` adds to each element with the probability `share`; or to all. */
static void change(struct vector *v, uint64_t op, double share, uint64_t *draws)
{
	struct codec_few few = {v->index, v->value, 0};
	float *right = copy(v);
	size_t next = 0;

	for (size_t i = 0; i < v->count; i++)
		if (draw_uniform(draws) < share) {
			v->index[few.n] = (uint32_t)i;
			v->value[few.n] = (float)draw_gauss(draws);
			right[i] += v->value[few.n++];
		}
	v->log.op = op;
	for (size_t end = 0; end < v->count;) {
		end = v->count - end < 3 * CELL ? v->count : end + 3 * CELL;
		assert_false(feedback_log_add(&v->log, v->count, &few, &next, end));
		assert_true(next == few.n || v->index[next] >= end);
	}
	assert_int_equal(next, few.n);
	assert_true(same(v, right));
	free(right);
}

/* What is before `base` stays; all later is put back, now or in a copy. */
static void put_back(void **state)
{
	static const size_t counts[] = {1, 2, 255, 1023, 1024, 1025, 9000};
	static const double shares[] = {0.001, 0.01, 0.3, 0.49, 0.51, 1};
	uint64_t draws = 7;

	(void)state;
	for (size_t n = 0; n < 7 * 6; n++) {
		struct vector v = vector_of(counts[n % 7], n);
		float *before = copy(&v), *seen = copy(&v);

		for (uint64_t op = 1; op <= 4; op++) {
			change(&v, op, shares[n / 7], &draws);
			if (op == 2) { /* it counts */
				v.log.base = 2;
				memcpy(before, v.log.values, v.count * sizeof(*before));
				continue;
			}
			assert_true(feedback_log_before(&v.log, v.count, seen));
			assert_memory_equal(seen, before, v.count * sizeof(*seen));
			feedback_log_undo(&v.log, v.count);
			assert_true(same(&v, before));
			feedback_log_undo(&v.log, v.count);
			assert_true(same(&v, before));
		}
		free(before);
		free(seen);
		drop(&v);
	}
}

/* An op that counted, and then does not: what it changed is put back if nobody wrote since. */
static void taken_back(void **state)
{
	struct vector v = vector_of(3000, 1);
	uint64_t draws = 3;
	float *before;

	(void)state;
	change(&v, 10, 0.1, &draws);
	v.log.base = 10;
	before = copy(&v);
	change(&v, 11, 0.1, &draws);
	v.log.base = 11;
	feedback_log_undo(&v.log, v.count);
	assert_false(same(&v, before));
	v.log.base = 10;
	feedback_log_undo(&v.log, v.count);
	assert_true(same(&v, before));
	free(before);
	drop(&v);
}

static void all_of_it(void **state)
{
	struct vector v = vector_of(2 * CELL + 500, 2);
	float *before = copy(&v);

	(void)state;
	v.log.op = 5;
	feedback_log_all(&v.log, v.count);
	for (size_t i = 0; i < v.count; i++)
		v.log.values[i] = NAN;
	v.log.op = 6;
	feedback_log_undo(&v.log, v.count);
	assert_true(same(&v, before));
	free(before);
	drop(&v);
}

static void what_is_no_number(void **state)
{
	struct vector v = vector_of(3000, 3);
	float *before = copy(&v);
	const float values[] = {3e38f, 1, 3e38f, -INFINITY, NAN};
	const uint32_t places[] = {3, 1500, 1501, 2999, 7};
	const bool found[] = {false, false, true, true, true};

	(void)state;
	v.log.values[1501] = before[1501] = 3e38f;
	for (int i = 0; i < 5; i++) {
		struct codec_few few = {&places[i], &values[i], 1};
		size_t next = 0;

		v.log.op = 1 + (uint64_t)i;
		assert_int_equal(feedback_log_add(&v.log, v.count, &few, &next, v.count), found[i]);
		feedback_log_undo(&v.log, v.count);
		assert_true(same(&v, before));
	}
	free(before);
	drop(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_back),
		cmocka_unit_test(taken_back),
		cmocka_unit_test(all_of_it),
		cmocka_unit_test(what_is_no_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
