/*
 * test_perf_options.c - the command line of carry-perf, and the sizes it makes.
 */
#include "tools/perf/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 32

/* Words, separated by single spaces, as a command line. */
static enum perf_action parse(struct perf_options *o, const char *words, char *why)
{
	static char text[256]; /* options point into it */
	char *args[ARGS_MAX + 1] = {text};
	int count = 0;

	assert_true(strlen(words) < sizeof(text));
	memcpy(text, words, strlen(words) + 1);
	for (char *next = text; next; count++) {
		assert_true(count < ARGS_MAX);
		args[count] = next;
		next = strchr(next, ' ');
		if (next)
			*next++ = '\0';
	}
	return perf_options_parse(o, count, args, why, PERF_WHY_BYTES);
}

static void defaults(void **state)
{
	struct perf_options o;
	char why[PERF_WHY_BYTES];

	(void)state;
	assert_int_equal(parse(&o, "carry-perf", why), PERF_RUN);
	assert_int_equal(o.min_bytes, 8);
	assert_int_equal(o.max_bytes, 64 << 20);
	assert_int_equal(o.factor, 2);
	assert_int_equal(o.iterations, 20);
	assert_int_equal(o.warmups, 5);
	assert_int_equal(o.type, CARRY_F32);
	assert_int_equal(o.reduce, CARRY_SUM);
	assert_int_equal(o.ranks, 0);
	assert_false(o.check);
	assert_null(o.schedule);
}

static void values(void **state)
{
	struct perf_options o;
	char why[PERF_WHY_BYTES];

	(void)state;
	assert_int_equal(parse(&o,
			       "p -o allreduce -b 1K -e 2M -f 4 -n 7 -w 0 -t bf16 -r prod --check "
			       "--json x --rank 1 --ranks 2 --root h --schedule ring",
			       why),
			 PERF_RUN);
	assert_int_equal(o.min_bytes, 1024);
	assert_int_equal(o.max_bytes, 2 << 20);
	assert_int_equal(o.factor, 4);
	assert_int_equal(o.iterations, 7);
	assert_int_equal(o.warmups, 0);
	assert_int_equal(o.type, CARRY_BF16);
	assert_string_equal(perf_type_name(o.type), "bf16");
	assert_int_equal(o.reduce, CARRY_PROD);
	assert_string_equal(perf_reduce_name(o.reduce), "prod");
	assert_true(o.check);
	assert_string_equal(o.json, "x");
	assert_int_equal(o.rank, 1);
	assert_int_equal(o.ranks, 2);
	assert_string_equal(o.root, "h");
	assert_string_equal(o.schedule, "ring");
	assert_int_equal(
		parse(&o, "p --codec none --feedback none --timeout 9 --arena 3G -i 1K", why),
		PERF_RUN);
	assert_false(perf_is_coded(&o));
	assert_int_equal(o.timeout_s, 9);
	assert_true(o.arena_bytes == 3ull << 30);
	assert_int_equal(o.step_bytes, 1024);
	assert_int_equal(parse(&o, "p --codec int4:block=64 --schedule direct", why), PERF_RUN);
	assert_string_equal(o.codec, "int4:block=64");
	assert_string_equal(o.feedback, "none");
	assert_true(perf_is_coded(&o));
	assert_int_equal(parse(&o, "p --feedback ef21 --schedule auto", why), PERF_RUN);
	assert_string_equal(o.feedback, "ef21");
	assert_true(perf_is_coded(&o));
	assert_int_equal(parse(&o, "p -h", why), PERF_HELP);
	assert_int_equal(parse(&o, "p --version", why), PERF_VERSION);
}

static void refusals(void **state)
{
	static const struct {
		const char *words, *why;
	} cases[] = {
		{"p -o reduce", "-o: \"reduce\" is unknown; there is allreduce"},
		{"p -b 8 -e 4", "-b 8 is more than -e 4"},
		{"p -e 8X", "-e: \"8X\" is not a number"},
		{"p -e 2000G", "-e: \"2000G\" is out of range"},
		{"p -f 1", "-f: \"1\" is out of range"},
		{"p -i 0", "-i: \"0\" is out of range"},
		{"p -n 0", "-n: \"0\" is out of range"},
		{"p -t float", "-t: \"float\" is unknown; there is f32 f64 f16 bf16 i8 u8 i32 i64"},
		{"p -r mean", "-r: \"mean\" is unknown; there is sum avg min max prod"},
		{"p --schedule tree",
		 "--schedule: \"tree\" is unknown; there is auto direct flat ring"},
		{"p --codec int8 -t i32",
		 "codec and feedback are for sums and averages of f32, f16 and bf16, not for sum "
		 "of "
		 "i32"},
		{"p --feedback ef14 -r max",
		 "codec and feedback are for sums and averages of f32, f16 and bf16, not for max "
		 "of "
		 "f32"},
		{"p --codec int8 --schedule ring",
		 "--schedule ring does not go with a codec or feedback: these go direct"},
		{"p --feedback ef14 --schedule flat",
		 "--schedule flat does not go with a codec or feedback: these go direct"},
		{"p --rank 0", "--rank and --ranks go together"},
		{"p --ranks 2", "--rank and --ranks go together"},
		{"p --rank 2 --ranks 2", "--rank 2 is not below --ranks 2"},
		{"p -i 1", "-b, -e and -i make more than 100000 sizes"},
		{"p -b", "option -b wants a value"},
		{"p --root", "option --root wants a value"},
		{"p -z", "option -z is unknown"},
		{"p --check=yes", "\"--check=yes\": this option takes no value"},
		{"p 64M", "\"64M\" is no option"},
	};
	struct perf_options o;
	char why[PERF_WHY_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(&o, cases[i].words, why), PERF_BAD);
		assert_string_equal(why, cases[i].why);
	}
}

static void expect_sizes(const char *words, const uint64_t *sizes, size_t count)
{
	struct perf_options o;
	char why[PERF_WHY_BYTES];

	assert_int_equal(parse(&o, words, why), PERF_RUN);
	uint64_t bytes = o.min_bytes;
	for (size_t i = 0; i < count; i++) {
		assert_true(bytes == sizes[i]);
		assert_int_equal(perf_next_bytes(&o, &bytes), i + 1 < count);
	}
	assert_int_equal(perf_size_count(&o), count);
}

static void sizes(void **state)
{
	(void)state;
	expect_sizes("p -b 8 -e 64", (const uint64_t[]){8, 16, 32, 64}, 4);
	expect_sizes("p -b 8 -e 63 -f 3", (const uint64_t[]){8, 24}, 2);
	expect_sizes("p -b 8 -e 8", (const uint64_t[]){8}, 1);
	expect_sizes("p -b 0 -e 0", (const uint64_t[]){0}, 1);
	expect_sizes("p -b 0 -e 16 -t f64", (const uint64_t[]){0, 8, 16}, 3);
	expect_sizes("p -b 10 -e 40 -i 10", (const uint64_t[]){10, 20, 30, 40}, 4);
	expect_sizes("p -b 0 -e 25 -i 10", (const uint64_t[]){0, 10, 20}, 3);
	expect_sizes("p -b 512G -e 1024G -f 1000000000000", (const uint64_t[]){512ull << 30}, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(refusals),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
