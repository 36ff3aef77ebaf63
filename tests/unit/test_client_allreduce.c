/*
 * test_client_allreduce.c - every place a tensor can be, every type and reduction, what the result
 * says, failures of ops and of the daemon.
 */
#include "libclient/carry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/shm.h"
#include "tests/unit/fake_daemon.h"

#define LANES 2
#define RANKS 3
#define ARENA (1u << 20)

static struct fake *fake;
static struct carry *c;
static struct carry_group *g;

static struct carry_group *join(void)
{
	struct carry_group_options o = {
		.size = sizeof(o), .root = "127.0.0.1", .ranks = RANKS, .timeout_ns = 20000000000};
	struct carry_group *joined = NULL;

	assert_int_equal(carry_group_create(&joined, c, &o), 0);
	return joined;
}

static int setup(void **state)
{
	struct carry_open_options o = {.size = sizeof(o), .arena_bytes = ARENA};

	(void)state;
	fake = fake_start(LANES);
	o.socket = fake_path(fake);
	c = NULL;
	if (carry_open_with(&c, &o))
		return -1;
	g = join();
	return 0;
}

/* Whatever a test did: nothing of the arena may be missing, but for what it still has. */
static int teardown(void **state)
{
	(void)state;
	carry_close(c);
	fake_stop(fake);
	return 0;
}

static uint64_t arena_free(void)
{
	struct carry_arena info = {.size = sizeof(info)};

	assert_int_equal(carry_arena_info(c, &info), 0);
	return info.free_bytes;
}

static void assert_sentence(const char *part)
{
	if (!strstr(carry_last_error(c), part))
		printf("\"%s\" is not in \"%s\"\n", part, carry_last_error(c));
	assert_non_null(strstr(carry_last_error(c), part));
}

/* Element i of an input, and of its sum over RANKS, by type. */
static void put(void *at, enum carry_type type, size_t i, int factor)
{
	int64_t value = ((int64_t)(i % 100) - 50) * factor;
	float f32 = (float)value;
	double f64 = (double)value;
	int32_t i32 = (int32_t)value;
	uint16_t u16 = (uint16_t)value;
	uint8_t u8 = (uint8_t)value;

	switch (type) {
	case CARRY_F32: memcpy(at, &f32, 4); break;
	case CARRY_F64: memcpy(at, &f64, 8); break;
	case CARRY_I32: memcpy(at, &i32, 4); break;
	case CARRY_I64: memcpy(at, &value, 8); break;
	case CARRY_F16:
	case CARRY_BF16: memcpy(at, &u16, 2); break;
	case CARRY_I8:
	case CARRY_U8: memcpy(at, &u8, 1); break;
	}
}

/* The fake daemon sums these; for the others it returns the input. */
static bool summed(enum carry_type type, enum carry_reduce reduce)
{
	return reduce == CARRY_SUM &&
	       (type == CARRY_F32 || type == CARRY_F64 || type == CARRY_I32 || type == CARRY_I64);
}

#define PLACE_BYTES 16384
#define EDGE 64

/* memory[PLACE_BYTES] with a pattern before and after in + count elements, offset by `shift`. */
struct places {
	char *memory;
	size_t shift;
};

static char *begin(const struct places *p)
{
	return p->memory + EDGE + p->shift;
}

static void fill(const struct places *p, enum carry_type type, size_t count)
{
	memset(p->memory, 0x5a, PLACE_BYTES);
	for (size_t i = 0; i < count; i++)
		put(begin(p) + i * carry_type_bytes(type), type, i, 1);
}

static void assert_edges(const struct places *p, size_t bytes)
{
	for (size_t i = 0; i < EDGE + p->shift; i++)
		assert_int_equal(p->memory[i], 0x5a);
	for (size_t i = 0; i < EDGE; i++)
		assert_int_equal(begin(p)[bytes + i], 0x5a);
}

static void assert_elements(const char *at, enum carry_type type, size_t count, int factor)
{
	size_t element = carry_type_bytes(type);
	char want[8];

	for (size_t i = 0; i < count; i++) {
		put(want, type, i, factor);
		assert_memory_equal(at + i * element, want, element);
	}
}

static void one_case(const struct places *in, const struct places *out, enum carry_type type,
		     enum carry_reduce reduce, size_t count)
{
	size_t bytes = count * carry_type_bytes(type);
	int factor = summed(type, reduce) ? RANKS : 1;

	if (out->memory != in->memory)
		memset(out->memory, 0x5a, PLACE_BYTES);
	fill(in, type, count);
	assert_int_equal(carry_allreduce(g, begin(in), begin(out), count, type, reduce, NULL, NULL),
			 0);
	assert_elements(begin(out), type, count, factor);
	assert_edges(out, bytes);
	if (in->memory != out->memory) {
		assert_elements(begin(in), type, count, 1);
		assert_edges(in, bytes);
	}
}

static void test_places(void **state)
{
	static const size_t counts[] = {0, 1, 2, 7, 1000};
	static const size_t shifts[] = {0, 1, 2, 4};
	static char here[PLACE_BYTES], there[PLACE_BYTES];
	char *arena = carry_alloc(c, PLACE_BYTES);
	char *arena2 = carry_alloc(c, PLACE_BYTES);
	char *const memories[][2] = {{arena, arena}, {arena, arena2}, {arena, here},
				     {here, arena},  {here, here},    {here, there}};
	uint64_t unused = arena_free();

	(void)state;
	for (int type = CARRY_F32; type <= CARRY_I64; type++)
		for (int reduce = CARRY_SUM; reduce <= CARRY_PROD; reduce++)
			for (size_t n = 0; n < 5; n++)
				for (size_t m = 0; m < 6 * 4; m++) {
					struct places in = {memories[m / 4][0], shifts[m % 4]};
					struct places out = {memories[m / 4][1], shifts[m % 4]};

					one_case(&in, &out, (enum carry_type)type,
						 (enum carry_reduce)reduce, counts[n]);
				}
	assert_int_equal(arena_free(), unused);
}

/* Input and result overlap: within the arena, outside, and across its end. */
static void test_overlap(void **state)
{
	static char here[PLACE_BYTES];
	char *arena = carry_alloc(c, PLACE_BYTES);
	char *const memories[] = {arena, here};
	static const size_t shifts[] = {4, 8, 396, 3}; /* less than the 400 bytes; one unaligned */

	(void)state;
	for (size_t m = 0; m < 2; m++)
		for (size_t s = 0; s < 4 * 2; s++) {
			char *low = memories[m] + 1024;
			char *high = low + shifts[s / 2];
			char *in = s % 2 ? low : high;
			char *out = s % 2 ? high : low;

			for (size_t i = 0; i < 100; i++)
				put(in + 4 * i, CARRY_F32, i, 1);
			assert_int_equal(
				carry_allreduce(g, in, out, 100, CARRY_F32, CARRY_SUM, NULL, NULL),
				0);
			assert_elements(out, CARRY_F32, 100, RANKS);
		}
}

static void test_result(void **state)
{
	struct carry_op_options o = {.size = sizeof(o), .key = "a", .schedule = "ring"};
	struct carry_op_result result = {.size = sizeof(result)};
	struct carry_work *w = NULL;
	enum { ALONE = SHM_ALONE_BYTES / sizeof(float) };
	static float x[ALONE + 1];

	(void)state;
	for (uint64_t seq = 1; seq <= 200; seq++) {
		size_t count = seq % 2 ? ALONE : ALONE + 1;

		assert_int_equal(carry_allreduce(g, x, x, count, CARRY_F32, CARRY_SUM, &o, &w), 0);
		assert_int_equal(carry_wait(w, -1, &result), 0);
		assert_int_equal(result.size, sizeof(result));
		assert_int_equal(result.status, 0);
		assert_int_equal(result.seq, seq);
		/* A small op is lane 0's alone. */
		assert_int_equal(result.wire_bytes, seq % 2 ? count : 2 * count + 1);
	}
	assert_int_equal(fake_look(fake).ops, 200);
	assert_true(fake_look(fake).key == UINT64_C(0xaf63dc4c8601ec8c));
	assert_int_equal(fake_look(fake).schedule, 3);
	assert_int_equal(carry_allreduce(g, x, x, 10, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	assert_int_equal(fake_look(fake).key, 0);
	assert_int_equal(fake_look(fake).schedule, 0);
	assert_int_equal(carry_group_destroy(g), 0);
	assert_int_equal(fake_look(fake).posted_through, 201);
}

static void test_bad_arguments(void **state)
{
	struct carry_op_options o = {.size = sizeof(o), .schedule = "rinG"};
	struct carry_op_result result = {.size = 0};
	struct carry_work *w = NULL;
	float x = 1;

	(void)state;
	assert_int_equal(carry_allreduce(g, &x, &x, 1, (enum carry_type)9, CARRY_SUM, NULL, NULL),
			 -EINVAL);
	assert_sentence("element type 9 does not exist");
	assert_int_equal(carry_allreduce(g, &x, &x, 1, (enum carry_type)0, CARRY_SUM, NULL, NULL),
			 -EINVAL);
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_F32, (enum carry_reduce)6, NULL, NULL),
			 -EINVAL);
	assert_sentence("reduction 6 does not exist");
	assert_int_equal(carry_allreduce(g, NULL, &x, 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -EINVAL);
	assert_sentence("in is NULL");
	assert_int_equal(carry_allreduce(g, &x, NULL, 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -EINVAL);
	assert_sentence("out is NULL");
	assert_int_equal(carry_allreduce(g, NULL, NULL, 0, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	assert_int_equal(carry_allreduce(g, &x, &x, SIZE_MAX / 2, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -EINVAL);
	assert_sentence("more than memory can hold");
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_F32, CARRY_SUM, &o, NULL), -EINVAL);
	assert_sentence("schedule \"rinG\"");
	assert_int_equal(carry_allreduce(g, &x, &x, 1, CARRY_F32, CARRY_SUM, NULL, &w), 0);
	assert_int_equal(carry_wait(w, -1, &result), -EINVAL);
	assert_sentence("struct carry_op_result: size is not set");
	assert_int_equal(carry_wait(w, -1, NULL), 0);
	assert_int_equal(carry_wait(w, -1, NULL), -EINVAL);
	assert_sentence("released by an earlier carry_wait()");
	assert_int_equal(carry_test(w), -EINVAL);
	assert_int_equal(fake_look(fake).ops, 2);
}

static void test_failures(void **state)
{
	static const struct {
		int status, r;
		const char *why, *sentence;
	} cases[] = {
		{-EHOSTDOWN, -EHOSTDOWN, "rank 2 on b died", "rank 2 on b died"},
		{-EBADMSG, -EBADMSG, "rank 1 called\nsum of 3", "rank 1 called sum of 3"},
		{-ETIMEDOUT, -ETIME, "deadline", "deadline"},
		{-EIO, -EIO, "", "op 4 of group \"world\" failed: Input/output error"},
	};
	struct carry_op_result result = {.size = sizeof(result)};
	struct carry_work *w = NULL;
	uint64_t unused = arena_free();
	float x[2] = {1, 2};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_set(fake,
			 (struct fake_control){.status = cases[i].status, .why = cases[i].why});
		assert_int_equal(carry_allreduce(g, x, x, 2, CARRY_F32, CARRY_SUM, NULL, &w), 0);
		assert_int_equal(carry_wait(w, -1, &result), cases[i].r);
		assert_int_equal(result.status, cases[i].r);
		assert_string_equal(carry_last_error(c), cases[i].sentence);
		assert_true(x[0] == 1 && x[1] == 2);
	}
	assert_int_equal(arena_free(), unused);
	fake_set(fake, (struct fake_control){0});
	assert_int_equal(carry_allreduce(g, x, x, 2, CARRY_F32, CARRY_SUM, NULL, NULL), 0);
	assert_true(x[0] == 3 && x[1] == 6);
}

static void test_garbage(void **state)
{
	static const struct {
		enum fake_garbage garbage;
		const char *sentence;
	} cases[] = {
		{FAKE_BAD_SEQ, "completed an op that was not in flight (lane 0, group 0, op 65"},
		{FAKE_BAD_GROUP, "not in flight (lane 0, group 67"},
		{FAKE_BAD_STATUS, "status 17"},
		{FAKE_BAD_RING, "broke a completion ring"},
		{FAKE_TWICE, "completed an op that was not in flight (lane 0"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum { COUNT = SHM_ALONE_BYTES / sizeof(float) + 1 }; /* both lanes' */
		static float x[COUNT] = {1};

		fake_set(fake, (struct fake_control){.garbage = cases[i].garbage});
		assert_int_equal(carry_allreduce(g, x, x, COUNT, CARRY_F32, CARRY_SUM, NULL, NULL),
				 -EPROTO);
		assert_sentence(cases[i].sentence);
		assert_int_equal(carry_allreduce(g, x, x, 1, CARRY_F32, CARRY_SUM, NULL, NULL),
				 -EPROTO);
		fake_wait(fake, FAKE_CLIENTS, 0); /* hung up on */
		teardown(state);
		setup(state);
	}
}

static void *die_thread(void *argument)
{
	fake_wait(fake, FAKE_HOLDING, *(uint32_t *)argument);
	fake_set(fake, (struct fake_control){.die = true});
	return NULL;
}

static void test_daemon_dies(void **state)
{
	struct carry_work *works[8];
	uint32_t held = 9;
	float x[9] = {1};
	pthread_t thread;

	(void)state;
	fake_set(fake, (struct fake_control){.hold = true});
	assert_int_equal(pthread_create(&thread, NULL, die_thread, &held), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(
			carry_allreduce(g, &x[i], &x[i], 1, CARRY_F32, CARRY_SUM, NULL, &works[i]),
			0);
	assert_int_equal(carry_allreduce(g, &x[8], &x[8], 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -ECONNRESET);
	assert_sentence("has ended");
	pthread_join(thread, NULL);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(carry_test(works[i]), 1);
		assert_int_equal(carry_wait(works[i], -1, NULL), -ECONNRESET);
		assert_sentence(fake_path(fake));
	}
	assert_int_equal(carry_allreduce(g, x, x, 1, CARRY_F32, CARRY_SUM, NULL, NULL),
			 -ECONNRESET);
	assert_int_equal(carry_group_abort(g), -ECONNRESET);
	assert_int_equal(arena_free(), ARENA);
	assert_int_equal(carry_group_destroy(g), -ECONNRESET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_places),        TEST(test_overlap),  TEST(test_result),
		TEST(test_bad_arguments), TEST(test_failures), TEST(test_garbage),
		TEST(test_daemon_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
