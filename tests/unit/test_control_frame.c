/*
 * test_control_frame.c - what a daemon says of a group counts if it is in the group, of its own
 * ranks, in this epoch.  The group has no lanes; other daemons are names.
 */
#include "daemon/control.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/control_state.h"

struct fixture {
	struct config config;
	struct loop *loop;
	struct log *log;
	int log_fd;
	struct control *c;
	struct control_group *g;
	uint16_t member, stranger;
};

static uint16_t know(struct control *c, const struct wire_node *node)
{
	int peer = peers_know(c->peers, node, 1);

	assert_true(peer >= 0);
	return (uint16_t)peer;
}

/* A group of two nodes, rank 0 on the first; `node` is ours, the member's is the other. */
static void make_group(struct fixture *f, uint16_t node)
{
	struct {
		struct wire_table head;
		struct wire_node nodes[2];
		uint16_t ranks[4];
	} table = {.head = {.group = 77,
			    .name = "w",
			    .epoch = 1,
			    .nodes = 2,
			    .ranks = 2,
			    .lanes = 1,
			    .chunk_bytes_max = 65536,
			    .chunk_bytes_usual = 32768,
			    .paths = 1},
		   .ranks = {0, 1}};
	struct wire_node other = {.instance = 5, .port = 7117, .address = "127.0.0.2", .host = "b"};
	struct err err;

	frame_own_node(f->c, &table.nodes[node]);
	table.nodes[!node] = other;
	f->member = know(f->c, &other);
	(void)snprintf(other.address, sizeof(other.address), "127.0.0.3");
	(void)snprintf(other.host, sizeof(other.host), "evil");
	other.instance = 6;
	f->stranger = know(f->c, &other);
	f->g = calloc(1, sizeof(*f->g));
	assert_non_null(f->g);
	assert_int_equal(group_new(&f->g->group, &table.head, f->c->instance, &err), 0);
	f->g->group->lanes = 0;
	f->g->group->local[0].state = GROUP_RANK_LEFT;
	f->g->state = CONTROL_RUNNING;
	f->g->peers = calloc(2, sizeof(*f->g->peers));
	assert_non_null(f->g->peers);
	f->g->peers[node] = CONTROL_NOBODY;
	f->g->peers[!node] = f->member;
	peers_hold(f->c->peers, f->member, 1);
	f->c->groups = f->g;
	f->c->group_count = 1;
}

static struct fixture *make(uint16_t node)
{
	static const char text[] = "[network]\nlisten = 127.0.0.1\nport = 0\n";
	struct fixture *f = calloc(1, sizeof(*f));
	struct engine_thread *none[1] = {NULL};
	struct err err;

	assert_non_null(f);
	f->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(f->log_fd >= 0);
	assert_int_equal(config_parse(&f->config, text, sizeof(text) - 1, "test", &err), 0);
	assert_int_equal(loop_open(&f->loop, &err), 0);
	assert_int_equal(log_open(&f->log, f->log_fd, LOG_LEVEL_DEBUG), 0);
	assert_int_equal(control_open(&f->c, &f->config, f->loop, f->log, NULL, none, 0, &err), 0);
	make_group(f, node);
	return f;
}

static void end(struct fixture *f)
{
	setup_free(f->c, f->g, 1);
	control_close(f->c);
	loop_close(f->loop);
	log_close(f->log);
	(void)close(f->log_fd);
	free(f);
}

static bool over(const struct fixture *f)
{
	return f->g->group->ended_from != UINT64_MAX;
}

static void came(struct fixture *f, uint16_t peer, enum wire_kind kind, const void *payload)
{
	frame_take(f->c,
		   &(struct peer_event){.kind = PEER_FRAME,
					.peer = peer,
					.frame = (uint16_t)kind,
					.payload = payload},
		   1);
}

static void test_leave(void **state)
{
	struct wire_leave leave = {.group = 77, .epoch = 1, .rank = 1};
	struct fixture *f = make(0);

	(void)state;
	came(f, f->stranger, WIRE_LEAVE, &leave);
	assert_false(over(f));
	leave.epoch = 2;
	came(f, f->member, WIRE_LEAVE, &leave);
	assert_false(over(f));
	leave.epoch = 1;
	leave.rank = 0; /* is ours */
	came(f, f->member, WIRE_LEAVE, &leave);
	leave.rank = 2;
	came(f, f->member, WIRE_LEAVE, &leave);
	assert_false(over(f));
	leave.rank = 1;
	came(f, f->member, WIRE_LEAVE, &leave);
	assert_true(over(f));
	assert_int_equal(f->g->group->ended_error, GROUP_LEFT);
	end(f);
}

/* As node 0 we get PROPOSE; as node 1, END from node 0. */
static void test_proposal_and_decision(void **state)
{
	(void)state;
	for (uint16_t node = 0; node < 2; node++) {
		enum wire_kind kind = node ? WIRE_END : WIRE_PROPOSE;
		struct wire_end frame = {.group = 77,
					 .first_seq = 1,
					 .last_seq = UINT64_MAX,
					 .epoch = 1,
					 .error = GROUP_ABORTED,
					 .text = "x"};
		struct fixture *f = make(node);

		came(f, f->stranger, kind, &frame);
		assert_false(over(f));
		frame.epoch = 2;
		came(f, f->member, kind, &frame);
		assert_false(over(f));
		frame.epoch = 1;
		came(f, f->member, kind, &frame);
		assert_true(over(f));
		assert_int_equal(f->g->group->ended_error, GROUP_ABORTED);
		end(f);
	}
}

/* The group waits for GO: from its root, for this epoch. */
static void test_go(void **state)
{
	struct wire_ready go = {.group = 77, .epoch = 2};
	struct fixture *f = make(1);

	(void)state;
	f->g->state = CONTROL_READY;
	f->g->root = f->member;
	f->g->group->local_ranks = 0; /* nobody to answer */
	came(f, f->member, WIRE_GO, &go);
	go.epoch = 1;
	came(f, f->stranger, WIRE_GO, &go);
	assert_int_equal(f->g->state, CONTROL_READY);
	came(f, f->member, WIRE_GO, &go);
	assert_int_equal(f->g->state, CONTROL_RUNNING);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_proposal_and_decision),
		cmocka_unit_test(test_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
