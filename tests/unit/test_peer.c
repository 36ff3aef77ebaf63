/*
 * test_peer.c - dialling, numbered frames over connections that break, heartbeats: two
 * or three daemons' peers over loopback.
 * Wrapped: __wrap_malloc __wrap_calloc __wrap_realloc
 */
#include "daemon/peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/peer_state.h"
#include "proto/crc32c.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/peer_rig.h"

/* Reset the control connection to the peer from outside, as a middlebox would. */
static void cut(struct peer_rig_side *side, uint16_t peer)
{
	const struct linger linger = {.l_onoff = 1};
	uint16_t conn = side->peers->peers[peer].out;

	assert_int_not_equal(conn, CONN_NONE);
	(void)setsockopt(side->peers->conns[conn].fd, SOL_SOCKET, SO_LINGER, &linger,
			 sizeof(linger));
	assert_int_equal(shutdown(side->peers->conns[conn].fd, SHUT_RDWR), 0);
}

static void test_frames(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b), to_a;
	struct peer_about about;

	(void)state;
	peer_rig_send(rig, a, to_b, 1, 100);
	peer_rig_received(rig, b, 1, 100);
	/* b knows a by its HELLO, and needs no dialling. */
	assert_true(peers_find(b->peers, 1) >= 0);
	to_a = (uint16_t)peers_find(b->peers, 1);
	peers_about(b->peers, to_a, &about);
	assert_string_equal(about.node.address, "127.0.0.1");
	assert_int_equal(about.node.port, peers_port(a->peers));
	assert_string_equal(about.node.host, "one");
	peer_rig_send(rig, b, to_a, 1000, 1100);
	peer_rig_received(rig, a, 1000, 1100);
	while (!peers_quiet(a->peers) || !peers_quiet(b->peers))
		peer_rig_turn(rig);
	peers_about(a->peers, to_b, &about);
	assert_int_equal(about.queued, 0);
	assert_true(about.connected);
	assert_string_equal(about.trouble, "");
	assert_int_equal(peer_rig_count(a, PEER_FRAME) + peer_rig_count(b, PEER_FRAME), 0);
	peer_rig_free(rig);
}

/* The largest table, several of them: more than sockets and buffers hold. */
static void test_large_frames(void **state)
{
	size_t bytes = wire_table_bytes(WIRE_NODES_MAX, WIRE_RANKS_MAX);
	struct wire_table *table = calloc(1, bytes);
	struct wire_node *nodes = (struct wire_node *)(table + 1);
	uint16_t *ranks = (uint16_t *)(nodes + WIRE_NODES_MAX);
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b);

	(void)state;
	assert_non_null(table);
	*table = (struct wire_table){.group = 1,
				     .name = "n",
				     .epoch = 1,
				     .nodes = WIRE_NODES_MAX,
				     .ranks = WIRE_RANKS_MAX,
				     .lanes = 1,
				     .chunk_bytes_max = WIRE_CHUNK_BYTES_LEAST,
				     .chunk_bytes_usual = 32768,
				     .paths = 1};
	for (uint16_t i = 0; i < WIRE_NODES_MAX; i++)
		nodes[i] = (struct wire_node){
			.instance = i + 1u, .port = 1, .address = "10.0.0.1", .host = "h"};
	for (uint32_t i = 0; i < WIRE_RANKS_MAX; i++)
		ranks[i] = (uint16_t)(i % WIRE_NODES_MAX);
	for (uint64_t i = 1; i <= 100; i++) {
		table->group = i;
		peers_send(a->peers, to_b, WIRE_TABLE, table, (uint32_t)bytes,
			   peer_rig_now_ns(rig));
	}
	for (uint64_t i = 1; i <= 100; i++) {
		const struct peer_rig_event *note = peer_rig_wait(rig, b, PEER_FRAME);

		table->group = i;
		assert_int_equal(note->event.frame, WIRE_TABLE);
		assert_int_equal(note->event.bytes, bytes);
		assert_int_equal(note->crc, crc32c(0, table, bytes));
	}
	free(table);
	peer_rig_free(rig);
}

/* Cut before the other has taken a frame: it does not know us yet, and has forgotten nothing. */
static void test_cut_at_once(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b);

	(void)state;
	cut(a, to_b);
	for (int i = 0; i < 50; i++)
		peer_rig_turn(rig);
	assert_int_equal(peer_rig_count(a, PEER_DIED), 0);
	peer_rig_send(rig, a, to_b, 1, 3);
	peer_rig_received(rig, b, 1, 3);
	peer_rig_free(rig);
}

/* Connections are cut at any moment; every frame arrives once and in order. */
static void test_cut(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b), to_a;
	uint64_t sent = 0;

	(void)state;
	peer_rig_send(rig, a, to_b, 1, 1);
	peer_rig_received(rig, b, 1, 1);
	to_a = (uint16_t)peers_find(b->peers, 1);
	peer_rig_send(rig, b, to_a, 1, 1);
	peer_rig_received(rig, a, 1, 1);
	sent = 1;
	for (int round = 0; round < 40; round++) {
		uint64_t more = (uint64_t)(round * 7 % 23);

		peer_rig_send(rig, a, to_b, sent + 1, sent + more);
		peer_rig_send(rig, b, to_a, sent + 1, sent + more);
		sent += more;
		for (int i = 0; i < round % 3; i++)
			peer_rig_turn(rig);
		if (a->peers->peers[to_b].out != CONN_NONE)
			cut(a, to_b);
		if (round % 2 && b->peers->peers[to_a].out != CONN_NONE)
			cut(b, to_a);
		for (int i = 0; i < round % 5; i++)
			peer_rig_turn(rig);
	}
	peer_rig_received(rig, b, 2, sent);
	peer_rig_received(rig, a, 2, sent);
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	peer_rig_free(rig);
}

/* Dialling twice makes a new connection of it; the stream goes on. */
static void test_dial_again(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b);

	(void)state;
	for (uint64_t i = 0; i < 10; i++) {
		peer_rig_send(rig, a, to_b, 10 * i + 1, 10 * i + 10);
		assert_int_equal(peer_rig_meet(rig, a, b), to_b);
	}
	peer_rig_received(rig, b, 1, 100);
	peer_rig_free(rig);
}

/* Both dial each other at the same time; three know each other. */
static void test_three(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *s[3] = {peer_rig_add(rig, 3, ""), peer_rig_add(rig, 1, ""),
				      peer_rig_add(rig, 2, "")};
	uint16_t to[3][3];

	(void)state;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			if (i != j)
				to[i][j] = peer_rig_meet(rig, s[i], s[j]);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			if (i != j)
				peer_rig_send(rig, s[i], to[i][j], 100, 120);
	for (int i = 0; i < 3; i++) {
		uint64_t sums[PEERS_MAX] = {0};

		for (int n = 0; n < 42; n++) {
			const struct peer_rig_event *note = peer_rig_wait(rig, s[i], PEER_FRAME);

			assert_int_equal(note->first, 100 + sums[note->event.peer]++);
		}
	}
	peer_rig_free(rig);
}

static void unreachable(struct peer_rig *rig, struct peer_rig_side *side, int error,
			const char *text)
{
	const struct peer_rig_event *note = peer_rig_wait(rig, side, PEER_UNREACHABLE);

	assert_string_equal(note->event.text, text);
	assert_int_equal(note->event.error, error);
}

static int listener(uint16_t *port)
{
	struct sockaddr_storage address;
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(interface_parse("127.0.0.9", 0, &address), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, interface_bytes(&address)), 0);
	assert_int_equal(listen(fd, 10), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	*port = interface_port((struct sockaddr *)&address);
	return fd;
}

static int dial(struct peer_rig *rig, struct peer_rig_side *side, uint16_t port)
{
	struct err err;
	int ret = peers_dial(side->peers, "127.0.0.9", port, 5 * CLOCK_NS_PER_S,
			     peer_rig_now_ns(rig), &err);

	assert_true(ret >= 0);
	return ret;
}

static int accepted(struct peer_rig *rig, int listener_fd)
{
	uint64_t began_ns = clock_now_ns();
	int fd;

	while ((fd = accept(listener_fd, NULL, NULL)) < 0) {
		assert_true(clock_now_ns() - began_ns < 10 * CLOCK_NS_PER_S);
		peer_rig_turn(rig);
	}
	return fd;
}

/* What is no carryd, or another one, is told apart. */
static void test_dial_strangers(void **state)
{
	struct wire_frame frame = {.kind = WIRE_ACK};
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	char text[WIRE_TEXT_BYTES];
	uint16_t port;
	int fd = listener(&port), peer, number;

	(void)state;
	(void)dial(rig, a, port);
	peer = accepted(rig, fd);
	assert_int_equal(write(peer, "SSH-2.0-x\r\n", 11), 11);
	unreachable(rig, a, -EPROTO, "is not a carryd: bad magic");
	(void)close(peer);

	(void)dial(rig, a, port);
	peer = accepted(rig, fd);
	wire_seal(&frame, NULL);
	assert_int_equal(write(peer, &frame, sizeof(frame)), sizeof(frame));
	unreachable(rig, a, -EPROTO, "began with ACK instead of HELLO");
	(void)close(peer);

	(void)dial(rig, a, port);
	peer = accepted(rig, fd);
	frame.version = WIRE_VERSION + 1;
	assert_int_equal(write(peer, &frame, sizeof(frame)), sizeof(frame));
	unreachable(rig, a, -EPROTO, "speaks version 2 of the protocol, not 1");
	(void)close(peer);

	number = dial(rig, a, port);
	peer = accepted(rig, fd);
	wire_seal(&frame, NULL);
	frame.kind = WIRE_HELLO; /* its checksum is wrong now: damage on the way */
	assert_int_equal(write(peer, &frame, sizeof(frame)), sizeof(frame));
	(void)close(accepted(rig, fd)); /* it is tried again */
	peers_dial_trouble(a->peers, (uint32_t)number, text, sizeof(text));
	assert_string_equal(text, "sent a bad HELLO: bad header checksum");
	assert_int_equal(peer_rig_count(a, PEER_UNREACHABLE), 0);
	(void)close(peer);
	(void)close(fd);
	peer_rig_free(rig);
}

/* Nobody, somebody silent, somebody who hangs up: tried again for a while. */
static void test_dial_in_vain(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	char text[WIRE_TEXT_BYTES];
	uint16_t port;
	int fd = listener(&port), peer, number;

	(void)state;
	/* Silent: until the patience is over. */
	number = dial(rig, a, port);
	peer = accepted(rig, fd);
	for (int i = 0; i < 10; i++)
		peer_rig_turn(rig);
	peers_dial_trouble(a->peers, (uint32_t)number, text, sizeof(text));
	assert_string_equal(text, "does not answer");
	peer_rig_pass(rig, 2100);
	peer_rig_turn(rig);
	peers_dial_trouble(a->peers, (uint32_t)number, text, sizeof(text));
	assert_string_equal(text, "takes the connection and says nothing");
	assert_int_equal(peer_rig_count(a, PEER_UNREACHABLE), 0);
	peer_rig_pass(rig, 3000);
	unreachable(rig, a, -ETIMEDOUT, "takes the connection and says nothing");
	(void)close(peer);

	/* Hung up on, twice. */
	(void)dial(rig, a, port);
	(void)close(accepted(rig, fd));
	peer_rig_turn(rig);
	peer_rig_pass(rig, 500);
	peer = accepted(rig, fd);
	peer_rig_pass(rig, 1600);
	(void)close(peer);
	unreachable(rig, a, -EHOSTUNREACH,
		    "closes connections without a word: [network] peers of its carryd may exclude "
		    "this host");

	/* Refused: for 2 s, since it may just be starting. */
	(void)close(fd);
	(void)dial(rig, a, port);
	peer_rig_turn(rig);
	peer_rig_pass(rig, 1000);
	peer_rig_turn(rig);
	assert_int_equal(peer_rig_count(a, PEER_UNREACHABLE), 0);
	peer_rig_pass(rig, 1100);
	unreachable(rig, a, -EHOSTUNREACH, "refuses connections: no carryd listens there");

	/* Hung up: no event any more. */
	number = dial(rig, a, port);
	peers_hang_up(a->peers, (uint32_t)number);
	peer_rig_pass(rig, 6000);
	for (int i = 0; i < 10; i++)
		peer_rig_turn(rig);
	assert_int_equal(peer_rig_count(a, PEER_UNREACHABLE), 0);
	peer_rig_free(rig);
}

/* A daemon that starts a little later is met. */
static void test_dial_early(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	struct err err;

	(void)state;
	peer_rig_close(rig, b);
	assert_true(peers_dial(a->peers, "127.0.0.2", (uint16_t)b->config.port, 5 * CLOCK_NS_PER_S,
			       peer_rig_now_ns(rig), &err) >= 0);
	for (int i = 0; i < 5; i++)
		peer_rig_turn(rig);
	peer_rig_open(rig, b, 2);
	(void)peer_rig_wait(rig, a, PEER_MET);
	peer_rig_free(rig);
}

static void test_dial_self(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	struct err err;

	(void)state;
	assert_true(peers_is_self(a->peers, "127.0.0.1", peers_port(a->peers)));
	assert_true(peers_is_self(a->peers, "::ffff:127.0.0.1", peers_port(a->peers)));
	assert_false(peers_is_self(a->peers, "127.0.0.2", peers_port(a->peers)));
	assert_false(peers_is_self(a->peers, "127.0.0.1", (uint16_t)(peers_port(a->peers) - 1)));
	assert_true(peers_dial(a->peers, "127.0.0.1", peers_port(a->peers), CLOCK_NS_PER_S,
			       peer_rig_now_ns(rig), &err) >= 0);
	(void)peer_rig_wait(rig, a, PEER_SELF);
	assert_int_equal(peers_find(a->peers, 1), -1);
	peer_rig_free(rig);
}

static void test_networks(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "peers = 127.0.0.0/24,fd00::/8");
	struct peer_rig_side *b = peer_rig_add(rig, 2, "peers = 10.0.0.0/8");
	struct err err;

	(void)state;
	assert_int_equal(peers_check_network(a->peers, "127.0.0.77", &err), 0);
	assert_int_equal(peers_check_network(a->peers, "fd12::1", &err), 0);
	assert_int_equal(peers_check_network(a->peers, "10.0.0.1", &err), -EPERM);
	assert_string_equal(err.text,
			    "10.0.0.1 is in none of the networks of peers ([network] peers)");
	assert_int_equal(peers_check_network(a->peers, "somewhere", &err), -EINVAL);
	assert_int_equal(peers_dial(a->peers, "127.0.1.1", 1, 1, peer_rig_now_ns(rig), &err),
			 -EPERM);
	/* The other side does not take us. */
	assert_true(peers_dial(a->peers, "127.0.0.2", peers_port(b->peers), CLOCK_NS_PER_S,
			       peer_rig_now_ns(rig), &err) >= 0);
	peer_rig_pass(rig, 500);
	(void)peer_rig_wait(rig, a, PEER_UNREACHABLE);
	assert_int_equal(peers_find(b->peers, 1), -1);
	assert_true(peer_rig_logged(b, "127.0.0.1 is in none of the networks of peers"));
	peer_rig_free(rig);
}

static void test_limits(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	struct wire_node node = {.port = 1, .address = "127.0.0.9", .host = "h"};
	struct err err;

	(void)state;
	for (int i = 0; i < PEER_DIALS_MAX; i++)
		assert_int_equal(peers_dial(a->peers, "127.0.0.9", 1, CLOCK_NS_PER_S,
					    peer_rig_now_ns(rig), &err),
				 i);
	assert_int_equal(
		peers_dial(a->peers, "127.0.0.9", 1, CLOCK_NS_PER_S, peer_rig_now_ns(rig), &err),
		-EUSERS);
	assert_string_equal(err.text, "64 endpoints are being dialled already");
	for (uint16_t i = 0; i < PEERS_MAX; i++) {
		node.instance = 100 + i;
		node.port = (uint16_t)(1 + i);
		assert_int_equal(peers_know(a->peers, &node, peer_rig_now_ns(rig)), i);
		assert_int_equal(peers_know(a->peers, &node, peer_rig_now_ns(rig)), i);
	}
	node.instance = 1000;
	assert_int_equal(peers_know(a->peers, &node, peer_rig_now_ns(rig)), -ENOSPC);
	peers_forget(a->peers, 17);
	assert_int_equal(peers_know(a->peers, &node, peer_rig_now_ns(rig)), 17);
	peer_rig_free(rig);
}

static void test_port_taken(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	struct peers_options options = {
		.config = &a->config, .loop = a->loop, .log = a->log, .instance = 5, .host = "h"};
	struct peers *other = NULL;
	struct err err;
	char text[128];

	(void)state;
	assert_int_equal(peers_open(&other, &options, &err), -EADDRINUSE);
	assert_null(other);
	(void)snprintf(text, sizeof(text), "listen on 127.0.0.1 port %u: Address already in use",
		       peers_port(a->peers));
	assert_string_equal(err.text, text);
	/* Every allocation of open fails once. */
	a->config.port = 0;
	for (int n = 1;; n++) {
		int ret;

		fail_alloc_at(n);
		ret = peers_open(&other, &options, &err);
		fail_alloc_at(0);
		if (!ret) {
			assert_int_equal(n, 4);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		assert_string_equal(err.text, "no memory for the table of connections");
	}
	peers_close(other);
	peers_close(NULL);
	peer_rig_free(rig);
}

/* With references, quiet peers hear of each other for as long as you like. */
static void test_heartbeats(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b);
	struct peer_about about;

	(void)state;
	/* One side alone: the other answers. */
	peers_hold(a->peers, to_b, peer_rig_now_ns(rig));
	peer_rig_run(rig, 5ull * PEER_RIG_DEAD_MS);
	peers_about(a->peers, to_b, &about);
	assert_int_equal(about.references, 1);
	assert_true(peer_rig_now_ns(rig) - about.heard_ns < PEER_RIG_DEAD_MS * CLOCK_NS_PER_MS);
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	/* Without references there is silence, which proves nothing. */
	peers_drop(a->peers, to_b, peer_rig_now_ns(rig));
	peer_rig_run(rig, 3ull * PEER_RIG_DEAD_MS);
	peers_about(a->peers, to_b, &about);
	assert_true(peer_rig_now_ns(rig) - about.heard_ns > 2 * PEER_RIG_DEAD_MS * CLOCK_NS_PER_MS);
	assert_true(about.connected);
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	/* A cut after all that silence is only a cut. */
	cut(a, to_b);
	peer_rig_run(rig, 100);
	peer_rig_send(rig, a, to_b, 1, 3);
	peer_rig_received(rig, b, 1, 3);
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	peer_rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_at_once),    cmocka_unit_test(test_frames),
		cmocka_unit_test(test_large_frames),   cmocka_unit_test(test_cut),
		cmocka_unit_test(test_dial_again),     cmocka_unit_test(test_three),
		cmocka_unit_test(test_dial_strangers), cmocka_unit_test(test_dial_in_vain),
		cmocka_unit_test(test_dial_early),     cmocka_unit_test(test_dial_self),
		cmocka_unit_test(test_networks),       cmocka_unit_test(test_limits),
		cmocka_unit_test(test_port_taken),     cmocka_unit_test(test_heartbeats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
