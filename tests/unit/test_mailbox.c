/*
 * test_mailbox.c - the queue between two threads: order, room, and a producer and a
 * consumer at the same time.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/mailbox.h"
#include "tests/unit/fail_alloc.h"

struct letter {
	uint64_t number;
	uint64_t text[5];
};

static struct letter letter(uint64_t number)
{
	struct letter l = {.number = number};

	for (size_t i = 0; i < 5; i++)
		l.text[i] = number * (i + 2);
	return l;
}

static void order_and_room(void **state)
{
	struct mailbox box;
	struct letter l;

	(void)state;
	assert_int_equal(mailbox_init(&box, 4, sizeof(l)), 0);
	assert_true(mailbox_empty(&box));
	assert_false(mailbox_get(&box, &l));
	for (uint64_t round = 0; round < 5; round++) {
		for (uint64_t i = 0; i < 4; i++) {
			l = letter(round * 10 + i);
			assert_true(mailbox_put(&box, &l));
			assert_false(mailbox_empty(&box));
		}
		assert_false(mailbox_put(&box, &l));
		for (uint64_t i = 0; i < 4; i++) {
			struct letter expected = letter(round * 10 + i);

			assert_true(mailbox_get(&box, &l));
			assert_memory_equal(&l, &expected, sizeof(l));
		}
		assert_false(mailbox_get(&box, &l));
		/* Positions that are no multiple of the size next time. */
		l = letter(0);
		assert_true(mailbox_put(&box, &l));
		assert_true(mailbox_get(&box, &l));
	}
	mailbox_deinit(&box);
	mailbox_deinit(&box);
}

enum { LETTERS = 100000 };

static void *produce(void *argument)
{
	struct mailbox *box = argument;

	for (uint64_t i = 0; i < LETTERS; i++) {
		struct letter l = letter(i);

		while (!mailbox_put(box, &l))
			sched_yield();
	}
	return NULL;
}

static void two_threads(void **state)
{
	struct mailbox box;
	pthread_t producer;
	uint64_t wrong = 0;

	(void)state;
	assert_int_equal(mailbox_init(&box, 64, sizeof(struct letter)), 0);
	assert_int_equal(pthread_create(&producer, NULL, produce, &box), 0);
	for (uint64_t i = 0; i < LETTERS; i++) {
		struct letter expected = letter(i), got;

		while (!mailbox_get(&box, &got))
			sched_yield();
		wrong += memcmp(&got, &expected, sizeof(got)) != 0;
	}
	assert_int_equal(wrong, 0);
	assert_int_equal(pthread_join(producer, NULL), 0);
	assert_true(mailbox_empty(&box));
	mailbox_deinit(&box);
}

static void no_memory(void **state)
{
	struct mailbox box;

	(void)state;
	fail_alloc_at(1);
	assert_int_equal(mailbox_init(&box, 64, 64), -ENOMEM);
	mailbox_deinit(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_and_room),
		cmocka_unit_test(two_threads),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
