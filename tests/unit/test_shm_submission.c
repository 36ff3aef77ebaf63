/* test_shm_submission.c - every verdict on a submission. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/shm.h"
#include "tests/common/samples.h"

#define VERDICT(field, value, verdict)                                             \
	do {                                                                       \
		struct shm_submission s = sample_submission();                     \
		s.field = value;                                                   \
		assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), verdict); \
	} while (0)

static void submission_fields(void **state)
{
	(void)state;
	VERDICT(work, 0, SHM_OK);
	VERDICT(kind, 0, SHM_BAD_KIND);
	VERDICT(kind, 3, SHM_BAD_KIND);
	VERDICT(type, 0, SHM_BAD_TYPE);
	VERDICT(type, SHM_I64 + 1, SHM_BAD_TYPE);
	VERDICT(type, 255, SHM_BAD_TYPE);
	VERDICT(reduce, 0, SHM_BAD_REDUCE);
	VERDICT(reduce, SHM_PROD, SHM_OK);
	VERDICT(reduce, SHM_PROD + 1, SHM_BAD_REDUCE);
	VERDICT(flags, 1, SHM_NOT_ZERO);
	VERDICT(weight, 1, SHM_NOT_ZERO);
	VERDICT(weight, -0.0f, SHM_NOT_ZERO);
	VERDICT(scale, 1, SHM_NOT_ZERO);
	VERDICT(coding, 1, SHM_BAD_FACTOR); /* it needs weight and scale */
	VERDICT(schedule, 3, SHM_OK);
	VERDICT(key, UINT64_MAX, SHM_OK);
	VERDICT(group, SHM_GROUPS_MAX - 1, SHM_OK);
	VERDICT(group, SHM_GROUPS_MAX, SHM_BAD_GROUP);
	VERDICT(seq, 0, SHM_BAD_SEQ);
	VERDICT(seq, UINT64_MAX, SHM_OK);
}

/* With a coding: factors that are numbers, and one flag. */
static void submission_with_a_coding(void **state)
{
	static const struct {
		float weight, scale;
		uint8_t flags;
		enum shm_verdict verdict;
	} rows[] = {
		{1, 1, 0, SHM_OK},
		{0.25f, 1e30f, SHM_DISCARD, SHM_OK},
		{1, 1, 2, SHM_NOT_ZERO},
		{0, 1, 0, SHM_BAD_FACTOR},
		{1, 0, 0, SHM_BAD_FACTOR},
		{-1, 1, 0, SHM_BAD_FACTOR},
		{1, -1, 0, SHM_BAD_FACTOR},
		{NAN, 1, 0, SHM_BAD_FACTOR},
		{1, INFINITY, 0, SHM_BAD_FACTOR},
		{1e-40f, 1, 0, SHM_BAD_FACTOR}, /* no normal number */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct shm_submission s = sample_submission();

		s.coding = (uint16_t)(1 + i);
		s.weight = rows[i].weight;
		s.scale = rows[i].scale;
		s.flags = rows[i].flags;
		assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), rows[i].verdict);
	}
}

static void submission_ranges(void **state)
{
	(void)state;
	VERDICT(in_offset, SAMPLE_ARENA - 4000, SHM_OK);
	VERDICT(in_offset, SAMPLE_ARENA - 3999, SHM_BAD_RANGE);
	VERDICT(in_offset, UINT64_MAX, SHM_BAD_RANGE);
	VERDICT(in_offset, UINT64_MAX - 3999, SHM_BAD_RANGE);
	VERDICT(out_offset, SAMPLE_ARENA - 4000, SHM_OK);
	VERDICT(out_offset, SAMPLE_ARENA - 3999, SHM_BAD_RANGE);
	VERDICT(out_offset, UINT64_MAX - 3999, SHM_BAD_RANGE);
	VERDICT(in_offset, 4097, SHM_OK); /* any alignment */
	VERDICT(count, SAMPLE_ARENA / 4 + 1, SHM_BAD_RANGE);
	VERDICT(count, 1ull << 62, SHM_BAD_RANGE); /* times 4 it is 0 */
	VERDICT(count, (1ull << 62) + 1, SHM_BAD_RANGE);
	VERDICT(count, UINT64_MAX, SHM_BAD_RANGE);
	/* in at 4096, 4000 bytes */
	VERDICT(out_offset, 4096, SHM_OK); /* in place */
	VERDICT(out_offset, 4097, SHM_OVERLAP);
	VERDICT(out_offset, 8095, SHM_OVERLAP);
	VERDICT(out_offset, 8096, SHM_OK);
	VERDICT(out_offset, 4095, SHM_OVERLAP);
	VERDICT(out_offset, 97, SHM_OVERLAP);
	VERDICT(out_offset, 96, SHM_OK);
}

static void submission_of_nothing(void **state)
{
	struct shm_submission s = sample_submission();

	(void)state;
	s.count = 0;
	s.in_offset = SAMPLE_ARENA;
	s.out_offset = 0;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_OK);
	s.in_offset++;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_RANGE);
}

static void submission_order(void **state)
{
	struct shm_submission s = sample_submission();

	(void)state;
	s.out_offset = s.in_offset + 1;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_OVERLAP);
	s.in_offset = SAMPLE_ARENA;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_RANGE);
	s.seq = 0;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_SEQ);
	s.group = SHM_GROUPS_MAX;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_GROUP);
	s.weight = 1;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_NOT_ZERO);
	s.reduce = 0;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_REDUCE);
	s.type = 0;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_TYPE);
	s.kind = 0;
	assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), SHM_BAD_KIND);
}

#define ABORT_VERDICT(field, value, verdict)                                       \
	do {                                                                       \
		struct shm_submission s = {.kind = SHM_ABORT, .group = 5};         \
		s.field = value;                                                   \
		assert_int_equal(shm_submission_check(&s, SAMPLE_ARENA), verdict); \
	} while (0)

static void submission_of_an_abort(void **state)
{
	(void)state;
	ABORT_VERDICT(work, 7, SHM_OK);
	ABORT_VERDICT(seq, 7, SHM_OK);
	ABORT_VERDICT(group, SHM_GROUPS_MAX, SHM_BAD_GROUP);
	ABORT_VERDICT(type, SHM_F32, SHM_BAD_TYPE);
	ABORT_VERDICT(reduce, SHM_SUM, SHM_BAD_REDUCE);
	ABORT_VERDICT(key, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(count, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(in_offset, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(out_offset, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(flags, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(schedule, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(coding, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(weight, 1, SHM_NOT_ZERO);
	ABORT_VERDICT(scale, -0.0f, SHM_NOT_ZERO);
}

static void types(void **state)
{
	static const size_t bytes[] = {0, 4, 8, 2, 2, 1, 1, 4, 8};

	(void)state;
	for (unsigned type = 0; type < 256; type++)
		assert_int_equal(shm_type_bytes((uint8_t)type), type < 9 ? bytes[type] : 0);
}

static void verdict_names(void **state)
{
	(void)state;
	assert_string_equal(shm_verdict_name(SHM_OK), "ok");
	for (int i = SHM_OK; i <= SHM_RING_FULL; i++)
		for (int j = SHM_OK; j < i; j++)
			assert_string_not_equal(shm_verdict_name((enum shm_verdict)i),
						shm_verdict_name((enum shm_verdict)j));
	assert_string_equal(shm_verdict_name((enum shm_verdict)99), "unknown verdict");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(submission_fields),
		cmocka_unit_test(submission_with_a_coding),
		cmocka_unit_test(submission_ranges),
		cmocka_unit_test(submission_of_nothing),
		cmocka_unit_test(submission_order),
		cmocka_unit_test(submission_of_an_abort),
		cmocka_unit_test(types),
		cmocka_unit_test(verdict_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
