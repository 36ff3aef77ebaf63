/* test_header_c.c - carry.h in C: stands alone, and the numbers in it stay what they are. */
#include "libclient/carry.h"

/* carry.h comes first and alone; what follows is for the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

/* Programs that were compiled yesterday have these inside. */
static void test_numbers(void **state)
{
	static const int numbers[] = {CARRY_F32, CARRY_F64, CARRY_F16, CARRY_BF16,
				      CARRY_I8,  CARRY_U8,  CARRY_I32, CARRY_I64};
	static const int reductions[] = {CARRY_SUM, CARRY_AVG, CARRY_MIN, CARRY_MAX, CARRY_PROD};

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(numbers[i], i + 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(reductions[i], i + 1);
}

static void test_type_bytes(void **state)
{
	static const size_t bytes[] = {0, 4, 8, 2, 2, 1, 1, 4, 8, 0};

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(carry_type_bytes((enum carry_type)i), bytes[i]);
	assert_int_equal(carry_type_bytes((enum carry_type)257), 0);
	assert_int_equal(carry_type_bytes((enum carry_type) - 1), 0);
}

/* Structures grow at the end only: the offsets of version 0.1 on a 64-bit machine. */
static void test_layouts(void **state)
{
	(void)state;
#if UINTPTR_MAX == UINT64_MAX
	assert_int_equal(offsetof(struct carry_open_options, timeout_ns), 24);
	assert_int_equal(sizeof(struct carry_open_options), 32);
	assert_int_equal(offsetof(struct carry_group_options, rank), 40);
	assert_int_equal(offsetof(struct carry_group_options, root_port), 48);
	assert_int_equal(offsetof(struct carry_group_options, timeout_ns), 56);
	assert_int_equal(offsetof(struct carry_group_options, codec), 64);
	assert_int_equal(sizeof(struct carry_group_options), 96);
	assert_int_equal(offsetof(struct carry_op_options, codec), 24);
	assert_int_equal(offsetof(struct carry_op_options, result), 56);
	assert_int_equal(sizeof(struct carry_op_options), 64);
	assert_int_equal(offsetof(struct carry_op_result, flags), 12);
	assert_int_equal(offsetof(struct carry_op_result, seq), 16);
	assert_int_equal(offsetof(struct carry_op_result, culprit), 32);
	assert_int_equal(sizeof(struct carry_op_result), 40);
	assert_int_equal(sizeof(struct carry_arena), 32);
#endif
	assert_int_equal(offsetof(struct carry_open_options, size), 0);
	assert_int_equal(offsetof(struct carry_group_options, size), 0);
	assert_int_equal(offsetof(struct carry_op_options, size), 0);
	assert_int_equal(offsetof(struct carry_op_result, size), 0);
	assert_int_equal(offsetof(struct carry_arena, size), 0);
}

static void test_version(void **state)
{
	(void)state;
	assert_string_equal(carry_version(), CARRY_RELEASE);
	assert_int_equal(strspn(carry_version(), "0123456789."), strlen(carry_version()));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_type_bytes),
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
