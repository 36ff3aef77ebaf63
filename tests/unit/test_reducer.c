/*
 * test_reducer.c - carry-train's sums, over a libcarry that the test plays.
 *
 * The other rank of the played group has the values in `other`; every failure of libcarry
 * must come out as a sentence, and everything opened must be closed again, once.
 */
#include "tools/train/reducer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
	int fail_open, fail_create, fail_allreduce, fail_wait; /* codes to return */
	bool fail_alloc;
	int opened, closed, created, destroyed, in_flight;
	uint64_t arena_bytes;
	void *memory;
	int64_t other[2]; /* halves of the other rank's hash */
} lib;

static char handle, group, work; /* addresses that stand for handles */

int __wrap_carry_open_with(struct carry **out, const struct carry_open_options *o);
int __wrap_carry_open_with(struct carry **out, const struct carry_open_options *o)
{
	lib.arena_bytes = o->arena_bytes;
	if (lib.fail_open)
		return lib.fail_open;
	lib.opened++;
	*out = (struct carry *)(void *)&handle;
	return 0;
}

void __wrap_carry_close(struct carry *c);
void __wrap_carry_close(struct carry *c)
{
	assert_ptr_equal(c, &handle);
	lib.closed++;
	free(lib.memory);
	lib.memory = NULL;
}

void *__wrap_carry_alloc(struct carry *c, size_t bytes);
void *__wrap_carry_alloc(struct carry *c, size_t bytes)
{
	assert_ptr_equal(c, &handle);
	assert_true(bytes <= lib.arena_bytes);
	lib.memory = lib.fail_alloc ? NULL : calloc(1, bytes);
	return lib.memory;
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
	assert_int_equal(o->ranks, 0); /* all from the environment */
	assert_string_equal(o->codec, "int4");
	assert_string_equal(o->feedback, "ef14");
	if (lib.fail_create)
		return lib.fail_create;
	lib.created++;
	*out = (struct carry_group *)(void *)&group;
	return 0;
}

int __wrap_carry_group_destroy(struct carry_group *g);
int __wrap_carry_group_destroy(struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	assert_int_equal(lib.in_flight, 0);
	lib.destroyed++;
	return 0;
}

uint32_t __wrap_carry_group_rank(const struct carry_group *g);
uint32_t __wrap_carry_group_rank(const struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	return 1;
}

uint32_t __wrap_carry_group_ranks(const struct carry_group *g);
uint32_t __wrap_carry_group_ranks(const struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	return 2;
}

uint32_t __wrap_carry_group_nodes(const struct carry_group *g);
uint32_t __wrap_carry_group_nodes(const struct carry_group *g)
{
	assert_ptr_equal(g, &group);
	return 2;
}

static const size_t counts[] = {5, 300000};

/* Sums double: the other rank has what we have.  Hashes meet `other`. */
int __wrap_carry_allreduce(struct carry_group *g, const void *in, void *out, size_t count,
			   enum carry_type type, enum carry_reduce reduce,
			   const struct carry_op_options *o, struct carry_work **w);
int __wrap_carry_allreduce(struct carry_group *g, const void *in, void *out, size_t count,
			   enum carry_type type, enum carry_reduce reduce,
			   const struct carry_op_options *o, struct carry_work **w)
{
	assert_ptr_equal(g, &group);
	assert_ptr_equal(in, out);
	if (type == CARRY_F32) /* the state of each bucket's feedback has a name */
		assert_string_equal(o->key, count == counts[0] ? "layer0" : "layer1");
	else
		assert_null(o);
	if (lib.fail_allreduce)
		return lib.fail_allreduce;
	for (size_t i = 0; i < count; i++) {
		if (type == CARRY_F32) {
			((float *)out)[i] *= 2;
		} else if (type == CARRY_F64) {
			((double *)out)[i] *= 2;
		} else {
			int64_t mine = ((int64_t *)out)[i], theirs = lib.other[i];

			assert_int_equal(type, CARRY_I64);
			if (reduce == CARRY_MIN ? theirs < mine : theirs > mine)
				((int64_t *)out)[i] = theirs;
		}
	}
	assert_non_null(w);
	*w = (struct carry_work *)(void *)&work;
	lib.in_flight++;
	return 0;
}

int __wrap_carry_wait(struct carry_work *w, int64_t timeout_ns, struct carry_op_result *result);
int __wrap_carry_wait(struct carry_work *w, int64_t timeout_ns, struct carry_op_result *result)
{
	assert_ptr_equal(w, &work);
	assert_true(timeout_ns == 7000000000);
	if (lib.fail_wait == -ETIMEDOUT)
		return lib.fail_wait;
	lib.in_flight--;
	if (result)
		result->wire_bytes = 100;
	return lib.fail_wait;
}

static int open_it(struct reducer *r, bool local)
{
	const struct reducer_options options = {
		.local = local, .codec = "int4", .feedback = "ef14", .timeout_ns = 7000000000};

	return reducer_open(r, &options, counts, 2);
}

static int reset(void **state)
{
	(void)state;
	memset(&lib, 0, sizeof(lib));
	return 0;
}

static void local(void **state)
{
	struct reducer r;
	double values[] = {1, 2};
	bool same = false;

	(void)state;
	assert_int_equal(open_it(&r, true), 0);
	assert_int_equal(r.rank, 0);
	assert_int_equal(r.ranks, 1);
	for (size_t i = 0; i < counts[1]; i++)
		r.bucket[1][i] = 3;
	r.bucket[0][4] = 1;
	for (size_t b = 0; b < 2; b++) {
		assert_int_equal(reducer_post(&r, b), 0);
		assert_int_equal(reducer_wait(&r, b), 0);
	}
	assert_true(r.bucket[0][4] == 1 && r.bucket[1][0] == 3);
	assert_int_equal(reducer_sum(&r, values, 2), 0);
	assert_true(values[1] == 2);
	assert_int_equal(reducer_same(&r, 1, &same), 0);
	assert_true(same);
	assert_int_equal(r.wire_bytes, 0);
	reducer_close(&r);
	reducer_close(&r);
	assert_int_equal(lib.opened, 0);
}

static void in_a_group(void **state)
{
	struct reducer r;
	double values[] = {1, 2};

	(void)state;
	assert_int_equal(open_it(&r, false), 0);
	assert_int_equal(r.rank, 1);
	assert_int_equal(r.ranks, 2);
	for (size_t b = 0; b < 2; b++)
		for (size_t i = 0; i < counts[b]; i++)
			r.bucket[b][i] = (float)(b + 1);
	assert_int_equal(reducer_post(&r, 1), 0);
	assert_int_equal(reducer_post(&r, 0), 0);
	assert_int_equal(lib.in_flight, 2);
	assert_int_equal(reducer_wait(&r, 1), 0);
	assert_int_equal(reducer_wait(&r, 0), 0);
	assert_true(r.bucket[0][4] == 2 && r.bucket[1][counts[1] - 1] == 4);
	assert_int_equal(r.wire_bytes, 200);
	assert_int_equal(reducer_sum(&r, values, 2), 0);
	assert_true(values[0] == 2 && values[1] == 4);
	assert_int_equal(r.wire_bytes, 200); /* of gradients only */
	reducer_close(&r);
	assert_int_equal(lib.destroyed, 1);
	assert_int_equal(lib.closed, 1);
	reducer_close(&r);
	assert_int_equal(lib.closed, 1);
}

static void same_or_not(void **state)
{
	static const struct {
		int64_t other[2];
		bool same;
	} cases[] = {
		{{0x89abcdef, 0xf1234567}, true},  {{0x89abcdee, 0xf1234567}, false},
		{{0x89abcdf0, 0xf1234567}, false}, {{0x89abcdef, 0xf1234566}, false},
		{{0x89abcdef, 0xf1234568}, false},
	};
	struct reducer r;

	(void)state;
	assert_int_equal(open_it(&r, false), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool same = !cases[i].same;

		memcpy(lib.other, cases[i].other, sizeof(lib.other));
		assert_int_equal(reducer_same(&r, 0xf123456789abcdefu, &same), 0);
		assert_int_equal(same, cases[i].same);
	}
	reducer_close(&r);
}

static void open_fails(void **state)
{
	struct reducer r;

	lib.fail_open = -ENOENT;
	assert_int_equal(open_it(&r, false), -ENOENT);
	assert_string_equal(r.why, "cannot attach: the played library failed");
	assert_int_equal(lib.closed, 0);

	reset(state);
	lib.fail_alloc = true;
	assert_int_equal(open_it(&r, false), -ENOMEM);
	assert_string_equal(r.why, "cannot place the gradients: the played library failed");
	assert_int_equal(lib.closed, 1);

	reset(state);
	lib.fail_create = -ETIMEDOUT;
	assert_int_equal(open_it(&r, false), -ETIMEDOUT);
	assert_string_equal(r.why, "cannot join the group: the played library failed");
	assert_int_equal(lib.closed, 1);
	assert_int_equal(lib.destroyed, 0);
}

/* After a failure the group is not destroyed, which would wait, but ended by closing. */
static void ops_fail(void **state)
{
	struct reducer r;
	double value = 1;

	assert_int_equal(open_it(&r, false), 0);
	lib.fail_allreduce = -EHOSTDOWN;
	assert_int_equal(reducer_post(&r, 0), -EHOSTDOWN);
	assert_string_equal(r.why, "cannot sum a gradient: the played library failed");
	reducer_close(&r);
	assert_int_equal(lib.closed, 1);
	assert_int_equal(lib.destroyed, 0);

	reset(state);
	assert_int_equal(open_it(&r, false), 0);
	assert_int_equal(reducer_post(&r, 1), 0);
	lib.fail_wait = -ETIMEDOUT;
	assert_int_equal(reducer_wait(&r, 1), -ETIMEDOUT);
	assert_string_equal(r.why, "sum of layer 1's gradient: not complete after 7 s");
	reducer_close(&r);
	assert_int_equal(lib.closed, 1);
	assert_int_equal(lib.destroyed, 0);

	reset(state);
	assert_int_equal(open_it(&r, false), 0);
	lib.fail_wait = -EHOSTDOWN;
	assert_int_equal(reducer_sum(&r, &value, 1), -EHOSTDOWN);
	assert_string_equal(r.why, "sum of the scores: the played library failed");
	assert_true(value == 1);
	reducer_close(&r);
	assert_int_equal(lib.closed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(local, reset),
		cmocka_unit_test_setup(in_a_group, reset),
		cmocka_unit_test_setup(same_or_not, reset),
		cmocka_unit_test_setup(open_fails, reset),
		cmocka_unit_test_setup(ops_fail, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
