/*
 * test_choice.c - lists of codecs, classes of sizes, and leases: every lane asks at its own pace
 * and changes at the same op.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/choice.h"

static void lists(void **state)
{
	struct choice_list list;
	struct err err;

	(void)state;
	assert_int_equal(choice_parse(&list, "int4", &err), 0);
	assert_int_equal(choice_parse(&list, "", &err), 0);
	assert_int_equal(choice_parse(&list, "automatic", &err), 0);
	assert_int_equal(choice_parse(&list, "auto", &err), 1);
	assert_int_equal(list.count, 3);
	assert_string_equal(list.codec[0], "none");
	assert_string_equal(list.codec[1], "int8");
	assert_string_equal(list.codec[2], "int4");
	assert_int_equal(choice_parse(&list, "auto:topk:density=0.01,mode=block/sign", &err), 1);
	assert_int_equal(list.count, 3);
	assert_string_equal(list.codec[1], "topk:density=0.01,mode=block");
	assert_string_equal(list.codec[2], "sign");
	assert_int_equal(choice_parse(&list, "auto:int8/int4/int2/sign", &err), 1);
	assert_int_equal(list.count, CHOICE_ALTERNATIVES_MAX);
}

static void bad_lists(void **state)
{
	static const struct {
		const char *spec, *says;
	} bad[] = {
		{"auto:", "a codec is missing"},
		{"auto:int8/", "a codec is missing"},
		{"auto:/int8", "a codec is missing"},
		{"auto:int8//int4", "a codec is missing"},
		{"auto:none/int8", "none is always among"},
		{"auto:int8/none:", "none is always among"},
		{"auto:int8/int4/int2/sign/bf16", "more than 4 codecs"},
	};
	char spec[CHOICE_SPEC_BYTES + 16] = "auto:";
	struct choice_list list;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(choice_parse(&list, bad[i].spec, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i].says));
	}
	memset(spec + 5, 'x', CHOICE_SPEC_BYTES);
	assert_int_equal(choice_parse(&list, spec, &err), -EINVAL);
	assert_non_null(strstr(err.text, "longer than 127 bytes"));
	spec[5 + CHOICE_SPEC_BYTES - 1] = 0;
	assert_int_equal(choice_parse(&list, spec, &err), 1);
}

static void classes(void **state)
{
	(void)state;
	assert_int_equal(choice_size_class(0), 0);
	assert_int_equal(choice_size_class(1), 0);
	assert_int_equal(choice_size_class(16383), 13);
	assert_int_equal(choice_size_class(16384), 14);
	assert_int_equal(choice_size_class(32767), 14);
	assert_int_equal(choice_size_class(UINT64_MAX), 63);
	for (uint8_t c = 0; c < 64; c++)
		assert_int_equal(choice_size_class(choice_class_bytes(c)), c);
}

static struct choice_lease lease(uint64_t from, uint64_t through, uint32_t list, uint8_t size_class,
				 uint8_t alternative)
{
	return (struct choice_lease){
		.from = from,
		.through = through,
		.count = 1,
		.changes[0] = {.list = list, .size_class = size_class, .alternative = alternative}};
}

static void add(struct choices *c, uint64_t from, uint64_t through, uint8_t alternative)
{
	struct choice_lease l = lease(from, through, 7, 20, alternative);

	assert_true(choices_add(c, &l, 1));
}

static void change_at_their_op(void **state)
{
	struct choices early = {0}, late = {0};

	(void)state;
	add(&early, 1, 100, 1);
	assert_int_equal(choices_at(&early, 7, 20, 1), 1);
	assert_int_equal(choices_at(&early, 7, 21, 1), 0); /* nothing was said of it */
	assert_int_equal(choices_at(&early, 8, 20, 1), 0);
	assert_int_equal(choices_at(&early, 7, 20, 50), 1);
	add(&early, 101, 200, 2);
	add(&early, 201, 300, 0);
	assert_int_equal(choices_at(&early, 7, 20, 100), 1);
	assert_int_equal(choices_at(&early, 7, 20, 101), 2);
	assert_int_equal(choices_at(&early, 7, 20, 200), 2);
	assert_int_equal(choices_at(&early, 7, 20, 300), 0);

	/* The other lane heard everything before it began. */
	add(&late, 1, 100, 1);
	add(&late, 101, 200, 2);
	add(&late, 201, 300, 0);
	assert_int_equal(choices_at(&late, 7, 20, 1), 1);
	assert_int_equal(choices_at(&late, 7, 20, 150), 2);
	assert_int_equal(choices_at(&late, 7, 20, 201), 0);
}

static void leases_without_changes(void **state)
{
	struct choices c = {0};
	struct choice_lease empty = {.from = 101, .through = 100000};

	(void)state;
	add(&c, 1, 100, 2);
	assert_true(choices_add(&c, &empty, 1));
	assert_int_equal(c.through, 100000);
	assert_int_equal(choices_at(&c, 7, 20, 100000), 2);
}

static void too_many_to_come(void **state)
{
	struct choices c = {0};
	struct choice_lease l;

	(void)state;
	add(&c, 1, 10, 1); /* begins at once */
	for (uint64_t i = 1; i <= CHOICE_PENDING_MAX; i++)
		add(&c, 10 * i + 1, 10 * i + 10, (uint8_t)(i % 3));
	l = lease(c.through + 1, c.through + 10, 7, 20, 1);
	assert_false(choices_add(&c, &l, 10));
	assert_true(choices_add(&c, &l, 11)); /* one of them has begun */
	assert_int_equal(choices_at(&c, 7, 20, 11), 1);
	assert_int_equal(choices_at(&c, 7, 20, l.through), 1);
}

/* More lists than are kept: the last ones stay dense, nothing else changes. */
static void too_many_lists(void **state)
{
	struct choices c = {0};

	(void)state;
	for (uint32_t i = 0; i <= CHOICE_LISTS_MAX; i++) {
		struct choice_lease l = lease(i + 1, i + 1, i + 1, 20, 1);

		assert_true(choices_add(&c, &l, i + 1));
	}
	assert_int_equal(choices_at(&c, 1, 20, c.through), 1);
	assert_int_equal(choices_at(&c, CHOICE_LISTS_MAX, 20, c.through), 1);
	assert_int_equal(choices_at(&c, CHOICE_LISTS_MAX + 1, 20, c.through), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(bad_lists),
		cmocka_unit_test(classes),
		cmocka_unit_test(change_at_their_op),
		cmocka_unit_test(leases_without_changes),
		cmocka_unit_test(too_many_to_come),
		cmocka_unit_test(too_many_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
