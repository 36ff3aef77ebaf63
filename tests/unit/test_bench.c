/*
 * test_bench.c - carry-perf's measurement, over a libcarry that the test plays.
 *
 * The played group has one rank, so a right allreduce is a copy; then it is made wrong.
 */
#include "tools/perf/bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct {
	int fail_create, fail_wait;
	size_t fail_alloc_at; /* the n-th carry_alloc(), from 1 */
	bool idle;            /* allreduce does nothing         */
	bool coded;           /* with a codec                   */
	bool slow_barriers;   /* 2 ms of processor time each    */
	bool differs;         /* another rank has another hash  */
	size_t spoil_at;      /* byte of each op's result, from 1 */
	int in_place, out_of_place, of_bench;
	int closed, destroyed;
	uint64_t arena_bytes, allocated_bytes;
	void *memory[8];
	size_t allocations;
} lib;

static char handle, group, work; /* addresses that stand for handles */

int __wrap_carry_open_with(struct carry **out, const struct carry_open_options *o);
int __wrap_carry_open_with(struct carry **out, const struct carry_open_options *o)
{
	lib.arena_bytes = o->arena_bytes;
	*out = (struct carry *)(void *)&handle;
	return 0;
}

void __wrap_carry_close(struct carry *c);
void __wrap_carry_close(struct carry *c)
{
	assert_ptr_equal(c, &handle);
	lib.closed++;
	for (size_t i = 0; i < lib.allocations; i++)
		free(lib.memory[i]);
	lib.allocations = 0;
}

void *__wrap_carry_alloc(struct carry *c, size_t bytes);
void *__wrap_carry_alloc(struct carry *c, size_t bytes)
{
	assert_ptr_equal(c, &handle);
	lib.allocated_bytes += (bytes + 4095) / 4096 * 4096;
	assert_true(lib.allocated_bytes <= lib.arena_bytes);
	if (lib.allocations + 1 == lib.fail_alloc_at)
		return NULL;
	return lib.memory[lib.allocations++] = calloc(1, bytes + 1);
}

const char *__wrap_carry_last_error(const struct carry *c);
const char *__wrap_carry_last_error(const struct carry *c)
{
	(void)c;
	return "the played library failed";
}

int __wrap_carry_group_create(struct carry_group **out, struct carry *c,
			      const struct carry_group_options *o);
int __wrap_carry_group_create(struct carry_group **out, struct carry *c,
			      const struct carry_group_options *o)
{
	assert_ptr_equal(c, &handle);
	assert_string_equal(o->schedule, lib.coded ? "direct" : "flat");
	assert_string_equal(o->codec, lib.coded ? "int8" : "none");
	assert_int_equal(o->codec_bytes_min, 1); /* what is measured is what was asked for */
	if (lib.fail_create)
		return lib.fail_create;
	*out = (struct carry_group *)(void *)&group;
	return 0;
}

int __wrap_carry_group_destroy(struct carry_group *g);
int __wrap_carry_group_destroy(struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	lib.destroyed++;
	return 0;
}

uint32_t __wrap_carry_group_rank(const struct carry_group *g);
uint32_t __wrap_carry_group_rank(const struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	return 0;
}

uint32_t __wrap_carry_group_ranks(const struct carry_group *g);
uint32_t __wrap_carry_group_ranks(const struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	return 1;
}

uint32_t __wrap_carry_group_nodes(const struct carry_group *g);
uint32_t __wrap_carry_group_nodes(const struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	return 1;
}

static void burn_ms(long ms)
{
	clock_t until = clock() + ms * CLOCKS_PER_SEC / 1000;

	while (clock() < until) {
	}
}

int __wrap_carry_allreduce(struct carry_group *g, const void *in, void *out, size_t count,
			   enum carry_type type, enum carry_reduce reduce,
			   const struct carry_op_options *o, struct carry_work **w);
int __wrap_carry_allreduce(struct carry_group *g, const void *in, void *out, size_t count,
			   enum carry_type type, enum carry_reduce reduce,
			   const struct carry_op_options *o, struct carry_work **w)
{
	assert_ptr_equal(g, &group);
	if (type == CARRY_BF16 && lib.coded) /* feedback keeps its state under a key of each size */
		assert_string_equal(o->key, in == out ? "in-place.500" : "out.500");
	else
		assert_string_equal(o->key, "");
	*w = (struct carry_work *)(void *)&work;
	if (type != CARRY_BF16) {
		lib.of_bench++; /* barriers and figures */
		if (lib.slow_barriers && type == CARRY_F64 && count == 1)
			burn_ms(2);
		assert_ptr_equal(in, out);
		if (type == CARRY_I64 && reduce == CARRY_MIN && lib.differs)
			*(int64_t *)out = 0;
		return 0;
	}
	assert_int_equal(reduce, CARRY_AVG);
	assert_int_equal(count, 500);
	lib.in_place += in == out;
	lib.out_of_place += in != out;
	if (in != out && !lib.idle)
		memcpy(out, in, 2 * count);
	if (lib.spoil_at)
		((unsigned char *)out)[lib.spoil_at - 1] ^= 0x40;
	return 0;
}

int __wrap_carry_wait(struct carry_work *w, int64_t timeout_ns, struct carry_op_result *result);
int __wrap_carry_wait(struct carry_work *w, int64_t timeout_ns, struct carry_op_result *result)
{
	assert_ptr_equal(w, &work);
	assert_true(timeout_ns == 7000000000);
	result->wire_bytes = 1234;
	return lib.fail_wait;
}

static const struct perf_options options = {
	.min_bytes = 8,
	.max_bytes = 5000,
	.factor = 2,
	.iterations = 10,
	.warmups = 3,
	.type = CARRY_BF16,
	.reduce = CARRY_AVG,
	.check = true,
	.schedule = "flat",
	.codec = "none",
	.feedback = "none",
	.timeout_s = 7,
};

static int reset(void **state)
{
	(void)state;
	memset(&lib, 0, sizeof(lib));
	return 0;
}

static void measures(void **state)
{
	struct perf_result r = {0};
	struct bench b;

	(void)state;
	assert_int_equal(bench_open(&b, &options), 0);
	assert_int_equal(bench_measure(&b, 1001, &r), 0); /* an odd byte is left over */
	assert_int_equal(r.bytes, 1000);
	assert_int_equal(r.count, 500);
	assert_int_equal(r.out_of_place.wrong, 0);
	assert_int_equal(r.in_place.wrong, 0);
	assert_true(r.out_of_place.wire_bytes == 1234);
	assert_true(r.in_place.wire_bytes == 1234);
	assert_true(r.out_of_place.min_us <= r.out_of_place.median_us);
	assert_true(r.out_of_place.median_us <= r.out_of_place.p99_us);
	assert_true(r.out_of_place.p99_us <= r.out_of_place.max_us);
	assert_true(r.out_of_place.mean_us > 0);
	/* Warm-ups, iterations and the check. */
	assert_int_equal(lib.out_of_place, 3 + 10 + 1);
	assert_int_equal(lib.in_place, 3 + 10 + 1);
	bench_close(&b);
	assert_int_equal(lib.destroyed, 1);
	assert_int_equal(lib.closed, 1);
}

static void wrong_results(void **state)
{
	struct perf_result r = {0};
	struct bench b;

	(void)state;
	lib.spoil_at = 77;
	assert_int_equal(bench_open(&b, &options), 0);
	assert_int_equal(bench_measure(&b, 1000, &r), 0);
	assert_int_equal(r.out_of_place.wrong, 1);
	assert_int_equal(r.in_place.wrong, 1);
	bench_close(&b);

	/* What did nothing has every element wrong, though ops before it left right ones. */
	reset(state);
	lib.idle = true;
	assert_int_equal(bench_open(&b, &options), 0);
	assert_int_equal(bench_measure(&b, 1000, &r), 0);
	assert_int_equal(r.out_of_place.wrong, 500);
	bench_close(&b);
}

static void unchecked(void **state)
{
	struct perf_options o = options;
	struct perf_result r = {0};
	struct bench b;

	(void)state;
	o.check = false;
	lib.spoil_at = 77;
	assert_int_equal(bench_open(&b, &o), 0);
	assert_int_equal(bench_measure(&b, 1000, &r), 0);
	assert_int_equal(r.out_of_place.wrong, 0);
	assert_int_equal(lib.out_of_place, 3 + 10);
	bench_close(&b);
}

/* With a codec results are near: how near is told; "wrong" is what differs between ranks. */
static void coded(void **state)
{
	struct perf_options o = options;
	struct perf_result r = {0};
	struct bench b;

	(void)state;
	o.codec = "int8";
	o.feedback = "ef14";
	o.schedule = "direct";
	for (int differs = 0; differs < 2; differs++) {
		reset(state);
		lib.coded = true;
		lib.differs = differs;
		lib.spoil_at = 77;
		assert_int_equal(bench_open(&b, &o), 0);
		assert_int_equal(bench_measure(&b, 1000, &r), 0);
		assert_true(r.out_of_place.error > 0 && r.out_of_place.error_max > 0);
		assert_true(r.in_place.error > 0); /* its input is filled in anew each time */
		assert_int_equal(r.out_of_place.wrong, differs ? 500 : 0);
		assert_int_equal(r.in_place.wrong, differs ? 500 : 0);
		bench_close(&b);
	}
	reset(state);
	lib.coded = true;
	assert_int_equal(bench_open(&b, &o), 0);
	assert_int_equal(bench_measure(&b, 1000, &r), 0);
	assert_true(r.out_of_place.error == 0 && r.in_place.error_max == 0);
	lib.slow_barriers = true; /* filling in anew ends with one, and is no part of the op */
	assert_int_equal(bench_measure(&b, 1000, &r), 0);
	assert_true(r.in_place.cpu_s < 0.01);
	bench_close(&b);
}

static void failures(void **state)
{
	struct perf_result r = {0};
	struct bench b;

	for (size_t at = 1; at <= 3; at++) {
		reset(state);
		lib.fail_alloc_at = at;
		assert_int_equal(bench_open(&b, &options), -ENOMEM);
		assert_string_equal(b.why,
				    "the arena is too small for -e: the played library failed");
		bench_close(&b);
		assert_int_equal(lib.closed, 1);
	}

	reset(state);
	lib.fail_create = -EHOSTUNREACH;
	assert_int_equal(bench_open(&b, &options), -EHOSTUNREACH);
	assert_string_equal(b.why, "cannot join the group: the played library failed");
	bench_close(&b);
	assert_int_equal(lib.destroyed, 0);
	assert_int_equal(lib.closed, 1);

	reset(state);
	lib.fail_wait = -ETIMEDOUT;
	assert_int_equal(bench_open(&b, &options), 0);
	assert_int_equal(bench_measure(&b, 1000, &r), -ETIMEDOUT);
	assert_string_equal(b.why, "allreduce of 1 elements: not complete after 7 s");
	assert_int_equal(r.count, 0);
	bench_close(&b);
	assert_int_equal(lib.destroyed, 0);
	assert_int_equal(lib.closed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(measures, reset),
		cmocka_unit_test_setup(wrong_results, reset),
		cmocka_unit_test_setup(unchecked, reset),
		cmocka_unit_test_setup(coded, reset),
		cmocka_unit_test_setup(failures, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
