/*
 * test_link.c - numbers, acknowledgement and sending again, also where numbers wrap around.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/link.h"

static const struct wire_frame data = {.kind = WIRE_CONTRIBUTION, .group = 1};

static void open_link(struct link *l, uint32_t begin)
{
	assert_int_equal(link_init(l, 2), 0);
	for (int p = 0; p < 2; p++)
		l->path[p].sent = l->path[p].told = l->path[p].acked = l->path[p].received = begin;
	assert_true(link_up(l, 0, begin));
	assert_true(link_up(l, 1, begin));
}

static void close_link(struct link *l)
{
	while (link_drop(l))
		;
	link_deinit(l);
}

static void push(struct link *l, uint16_t path, uintptr_t name)
{
	assert_true(link_room(l, path));
	(void)link_push(l, path, &data, NULL, NULL, (void *)name);
}

static void acknowledged_entries_come_back_in_order(void **state)
{
	(void)state;

	/* Also where the number wraps: after UINT32_MAX comes 1. */
	for (uint32_t begin = UINT32_MAX - 5; begin != 3; begin++) {
		struct link l;
		uint32_t third;

		open_link(&l, begin);
		for (uintptr_t i = 1; i <= 5; i++)
			push(&l, 0, i);
		third = wire_path_seq_next(wire_path_seq_next(wire_path_seq_next(begin)));
		assert_true(link_ack(&l, 0, third));
		assert_null(link_released(&l, 0)); /* the transport may still read them */
		link_flushed(&l, 0, third);
		for (uintptr_t i = 1; i <= 3; i++)
			assert_ptr_equal(link_released(&l, 0)->buffer, (void *)i);
		assert_null(link_released(&l, 0));
		close_link(&l);
	}
}

static void what_was_never_sent_cannot_be_acknowledged(void **state)
{
	struct link l;

	(void)state;
	open_link(&l, 0);
	push(&l, 0, 1);
	assert_false(link_ack(&l, 0, 2));
	assert_false(link_ack(&l, 1, 1)); /* other path */
	link_down(&l, 0);
	assert_false(link_up(&l, 0, 2));
	assert_true(link_up(&l, 0, 1));
	close_link(&l);
}

static void an_old_acknowledgement_says_nothing(void **state)
{
	struct link l;

	(void)state;
	open_link(&l, 0);
	push(&l, 0, 1);
	push(&l, 0, 2);
	assert_true(link_ack(&l, 0, 2));
	link_flushed(&l, 0, 2);
	while (link_released(&l, 0))
		;
	assert_true(link_ack(&l, 0, 1));
	assert_null(link_released(&l, 0));
	close_link(&l);
}

static void a_new_connection_gets_what_did_not_arrive(void **state)
{
	(void)state;

	for (uint32_t begin = UINT32_MAX - 3; begin != 2; begin++) {
		struct link l;
		struct link_entry *entry;

		open_link(&l, begin);
		for (uintptr_t i = 1; i <= 4; i++)
			push(&l, 1, i);
		link_down(&l, 1);
		assert_false(link_room(&l, 1));
		assert_null(link_resend(&l, 1));
		assert_true(link_up(&l, 1, wire_path_seq_next(wire_path_seq_next(begin))));
		assert_false(link_room(&l, 1)); /* nothing new before what is old */
		for (uintptr_t i = 3; i <= 4; i++) {
			entry = link_resend(&l, 1);
			assert_non_null(entry);
			assert_ptr_equal(entry->buffer, (void *)i);
			link_resent(&l, 1);
		}
		assert_null(link_resend(&l, 1));
		assert_true(link_room(&l, 1));
		close_link(&l);
	}
}

static void a_new_connection_acknowledges_too(void **state)
{
	struct link l;

	(void)state;
	open_link(&l, 0);
	for (uintptr_t i = 1; i <= 3; i++)
		push(&l, 0, i);
	link_down(&l, 0);
	assert_null(link_released(&l, 0)); /* it is not known what came through */
	assert_true(link_up(&l, 0, 2));
	assert_ptr_equal(link_released(&l, 0)->buffer, (void *)1);
	assert_ptr_equal(link_released(&l, 0)->buffer, (void *)2);
	assert_null(link_released(&l, 0));
	assert_false(link_ack(&l, 0, 3)); /* this connection has not been given it yet */
	link_resent(&l, 0);
	assert_true(link_ack(&l, 0, 3));
	link_flushed(&l, 0, 3);
	assert_ptr_equal(link_released(&l, 0)->buffer, (void *)3);
	link_down(&l, 0);
	assert_false(link_up(&l, 0, 2)); /* fewer than it acknowledged */
	assert_true(link_up(&l, 0, 3));
	close_link(&l);
}

static void zero_is_no_number(void **state)
{
	struct link l;

	(void)state;
	open_link(&l, UINT32_MAX - 2);
	for (uintptr_t i = 1; i <= 5; i++)
		push(&l, 0, i);
	link_flushed(&l, 0, 3);
	assert_true(link_ack(&l, 0, 0)); /* older than anything, though 0 lies between */
	assert_null(link_released(&l, 0));
	link_down(&l, 0);
	assert_false(link_up(&l, 0, 0));
	assert_true(link_up(&l, 0, 3));
	close_link(&l);
}

static void frames_come_in_order_or_not_at_all(void **state)
{
	struct wire_frame f = data;
	struct link l;

	(void)state;
	open_link(&l, 0);
	f.path_seq = 2;
	assert_int_equal(link_arriving(&l, 0, &f), LINK_WRONG_NUMBER);
	f.path_seq = 1;
	assert_int_equal(link_arriving(&l, 0, &f), LINK_TAKE);
	link_down(&l, 0); /* in the middle of its payload */
	assert_int_equal(l.path[0].received, 0);
	assert_true(link_up(&l, 0, 0));
	assert_int_equal(link_arriving(&l, 0, &f), LINK_TAKE);
	link_arrived(&l, 0, &f);
	assert_int_equal(l.path[0].received, 1);
	assert_int_equal(link_arriving(&l, 0, &f), LINK_WRONG_NUMBER); /* twice */
	f.path_seq = 0;
	assert_int_equal(link_arriving(&l, 0, &f), LINK_NOT_NUMBERED);
	close_link(&l);
}

static void the_log_is_bounded(void **state)
{
	struct link l;
	int pushed = 0;

	(void)state;
	open_link(&l, UINT32_MAX - 20);
	for (; link_room(&l, 0); pushed++)
		push(&l, 0, (uintptr_t)pushed);
	assert_in_range(pushed, LINK_LOG - 3, LINK_LOG);
	link_flushed(&l, 0, UINT32_MAX - 18);
	assert_true(link_ack(&l, 0, UINT32_MAX - 19));
	assert_ptr_equal(link_released(&l, 0)->buffer, (void *)0);
	assert_true(link_room(&l, 0));
	close_link(&l);
}

static void acknowledgement_falls_due(void **state)
{
	struct wire_frame f = data, out = {0};
	struct link l;

	(void)state;
	open_link(&l, 0);
	assert_int_equal(link_owes_ack(&l, 0), 0);
	f.path_seq = 1;
	(void)link_arriving(&l, 0, &f);
	link_arrived(&l, 0, &f);
	assert_int_equal(link_owes_ack(&l, 0), 1);
	f.path_seq = 2;
	f.payload_bytes = 4u << 20;
	(void)link_arriving(&l, 0, &f);
	link_arrived(&l, 0, &f);
	assert_int_equal(link_owes_ack(&l, 0), 2);
	link_announce(&l, 0, &out);
	assert_int_equal(out.path_ack, 2);
	assert_int_equal(link_owes_ack(&l, 0), 0);
	close_link(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acknowledged_entries_come_back_in_order),
		cmocka_unit_test(what_was_never_sent_cannot_be_acknowledged),
		cmocka_unit_test(an_old_acknowledgement_says_nothing),
		cmocka_unit_test(a_new_connection_gets_what_did_not_arrive),
		cmocka_unit_test(a_new_connection_acknowledges_too),
		cmocka_unit_test(zero_is_no_number),
		cmocka_unit_test(frames_come_in_order_or_not_at_all),
		cmocka_unit_test(the_log_is_bounded),
		cmocka_unit_test(acknowledgement_falls_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
