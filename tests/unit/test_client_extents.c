/* test_client_extents.c - the arena's allocator against a plain model of it. */
#include "libclient/extents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

static int calloc_fails;

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
	return calloc_fails ? NULL : __real_calloc(count, bytes);
}

static void test_init_fails(void **state)
{
	struct extents e = {0};

	(void)state;
	calloc_fails = 1;
	assert_int_equal(extents_init(&e, 1 << 20), -ENOMEM);
	calloc_fails = 0;
	assert_int_equal(extents_init(&e, (UINT64_C(1) << 43) + EXTENT_PAGE), -EINVAL);
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t bytes, size, align;
	} cases[] = {
		{0, 64, 64},        {1, 64, 64},        {64, 64, 64},
		{65, 128, 64},      {2048, 2048, 64},   {2049, 4096, 4096},
		{4096, 4096, 4096}, {4097, 8192, 4096}, {65536, 65536, 4096},
	};
	struct extents e;

	(void)state;
	assert_int_equal(extents_init(&e, 1 << 20), 0);
	assert_int_equal(extents_largest(&e), 1 << 20);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t at;

		assert_int_equal(extents_alloc(&e, cases[i].bytes, EXTENT_USER, &at), 0);
		assert_int_equal(at % cases[i].align, 0);
		assert_int_equal(extents_size(&e, at, EXTENT_USER), cases[i].size);
		assert_int_equal(e.free_bytes, (1 << 20) - cases[i].size);
		assert_int_equal(extents_free(&e, at, EXTENT_USER), 0);
		assert_int_equal(e.free_bytes, 1 << 20);
		assert_int_equal(extents_largest(&e), 1 << 20);
	}
	extents_deinit(&e);
	extents_deinit(&e);
}

static void test_wrong_frees(void **state)
{
	struct extents e;
	uint64_t big, small, staged;

	(void)state;
	assert_int_equal(extents_init(&e, 1 << 20), 0);
	assert_int_equal(extents_alloc(&e, 3 * 4096, EXTENT_USER, &big), 0);
	assert_int_equal(extents_alloc(&e, 200, EXTENT_USER, &small), 0);
	assert_int_equal(extents_alloc(&e, 1, EXTENT_STAGE, &staged), 0);
	assert_int_equal(extents_size(&e, staged, EXTENT_STAGE), 4096);

	assert_int_equal(extents_free(&e, big + 4096, EXTENT_USER), -EINVAL); /* inside    */
	assert_int_equal(extents_free(&e, big + 1, EXTENT_USER), -EINVAL);
	assert_int_equal(extents_free(&e, small + 64, EXTENT_USER), -EINVAL);
	assert_int_equal(extents_free(&e, staged, EXTENT_USER), -EINVAL); /* another's     */
	assert_int_equal(extents_free(&e, big, EXTENT_STAGE), -EINVAL);
	assert_int_equal(extents_free(&e, small, EXTENT_STAGE), -EINVAL);
	assert_int_equal(extents_free(&e, 1 << 20, EXTENT_USER), -EINVAL); /* outside      */
	assert_int_equal(extents_free(&e, UINT64_MAX - 63, EXTENT_USER), -EINVAL);

	assert_int_equal(extents_free(&e, big, EXTENT_USER), 0);
	assert_int_equal(extents_free(&e, big, EXTENT_USER), -EINVAL); /* twice            */
	assert_int_equal(extents_free(&e, small, EXTENT_USER), 0);
	assert_int_equal(extents_free(&e, small, EXTENT_USER), -EINVAL);
	assert_int_equal(extents_free(&e, staged, EXTENT_STAGE), 0);
	assert_int_equal(extents_largest(&e), 1 << 20);
	extents_deinit(&e);
}

static void test_exhaustion(void **state)
{
	struct extents e;
	uint64_t at[256];
	uint64_t one;

	(void)state;
	assert_int_equal(extents_init(&e, 1 << 20), 0);
	assert_int_equal(extents_alloc(&e, (1 << 20) + 1, EXTENT_USER, &one), -ENOMEM);
	assert_int_equal(extents_alloc(&e, UINT64_MAX, EXTENT_USER, &one), -ENOMEM);
	for (size_t i = 0; i < 256; i++)
		assert_int_equal(extents_alloc(&e, 4096, EXTENT_USER, &at[i]), 0);
	assert_int_equal(extents_alloc(&e, 1, EXTENT_USER, &one), -ENOMEM);
	assert_int_equal(e.free_bytes, 0);
	assert_int_equal(extents_largest(&e), 0);

	/* Every second page: half is free, and nothing of two pages. */
	for (size_t i = 0; i < 256; i += 2)
		assert_int_equal(extents_free(&e, at[i], EXTENT_USER), 0);
	assert_int_equal(e.free_bytes, 1 << 19);
	assert_int_equal(extents_largest(&e), 4096);
	assert_int_equal(extents_alloc(&e, 4097, EXTENT_USER, &one), -ENOMEM);
	for (size_t i = 1; i < 256; i += 2)
		assert_int_equal(extents_free(&e, at[i], EXTENT_USER), 0);
	assert_int_equal(extents_alloc(&e, 1 << 20, EXTENT_USER, &one), 0);
	extents_deinit(&e);
}

static void test_small_share_a_page(void **state)
{
	struct extents e;
	uint64_t at[64];
	uint64_t other;

	(void)state;
	assert_int_equal(extents_init(&e, 2 * 4096), 0);
	for (size_t i = 0; i < 64; i++) {
		assert_int_equal(extents_alloc(&e, 64, EXTENT_USER, &at[i]), 0);
		assert_int_equal(at[i] / 4096, at[0] / 4096);
	}
	assert_int_equal(extents_alloc(&e, 4096, EXTENT_USER, &other), 0);
	assert_int_equal(extents_largest(&e), 0);
	for (size_t i = 10; i < 13; i++)
		assert_int_equal(extents_free(&e, at[i], EXTENT_USER), 0);
	assert_int_equal(extents_largest(&e), 3 * 64);
	assert_int_equal(extents_alloc(&e, 4 * 64, EXTENT_USER, &other), -ENOMEM);
	assert_int_equal(extents_alloc(&e, 3 * 64, EXTENT_USER, &other), 0);
	assert_int_equal(other, at[10]);
	extents_deinit(&e);
}

/* The model: who owns each 64-byte unit. */
struct piece {
	uint64_t at, bytes;
	enum extent_use use;
};

static void test_random(void **state)
{
	enum { ARENA = 1 << 20, PIECES = 200 };
	static unsigned char owned[ARENA / 64];
	const char *repeat = getenv("CARRY_REPEAT");
	unsigned int seed = 1u + (repeat ? (unsigned int)strtoul(repeat, NULL, 10) : 0u);
	struct piece pieces[PIECES] = {0};
	struct extents e;
	uint64_t used = 0;

	(void)state;
	memset(owned, 0, sizeof(owned));
	assert_int_equal(extents_init(&e, ARENA), 0);
	for (int step = 0; step < 20000; step++) {
		struct piece *p = &pieces[rand_r(&seed) % PIECES];
		unsigned int kind = (unsigned int)rand_r(&seed) % 8;
		uint64_t bytes = (unsigned int)rand_r(&seed) % (kind ? 3000 : 100000);

		if (p->use) {
			memset(&owned[p->at / 64], 0, p->bytes / 64);
			used -= p->bytes;
			assert_int_equal(extents_free(&e, p->at, p->use), 0);
			p->use = 0;
		} else if (extents_alloc(&e, bytes, kind == 1 ? EXTENT_STAGE : EXTENT_USER,
					 &p->at) == 0) {
			p->use = kind == 1 ? EXTENT_STAGE : EXTENT_USER;
			p->bytes = extents_size(&e, p->at, p->use);
			assert_true(p->bytes >= bytes && p->at + p->bytes <= ARENA);
			for (uint64_t u = p->at / 64; u < (p->at + p->bytes) / 64; u++)
				assert_int_equal(owned[u]++, 0);
			used += p->bytes;
		} else {
			assert_true(extents_largest(&e) < bytes + 4096);
		}
		assert_int_equal(e.free_bytes, ARENA - used);
	}
	for (int i = 0; i < PIECES; i++)
		if (pieces[i].use)
			assert_int_equal(extents_free(&e, pieces[i].at, pieces[i].use), 0);
	assert_int_equal(e.free_bytes, ARENA);
	assert_int_equal(extents_largest(&e), ARENA);
	extents_deinit(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init_fails),         cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_wrong_frees),        cmocka_unit_test(test_exhaustion),
		cmocka_unit_test(test_small_share_a_page), cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
