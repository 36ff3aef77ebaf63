/*
 * test_peer_life.c - who is dead, who only looks so, and what strangers can do: refused
 * connections, other instances, silence, forgetting, BYE; garbage, floods.
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
#include "tests/unit/peer_rig.h"

static void died(struct peer_rig *rig, struct peer_rig_side *side, uint16_t peer, int error,
		 const char *text)
{
	const struct peer_rig_event *note = peer_rig_wait(rig, side, PEER_DIED);
	struct peer_about about;

	assert_int_equal(note->event.peer, peer);
	assert_int_equal(note->event.error, error);
	assert_non_null(strstr(note->event.text, text));
	peers_about(side->peers, peer, &about);
	assert_int_equal(about.state, PEER_STATE_DEAD);
}

/* Two that know each other, with references on both sides. */
static struct peer_rig *pair(struct peer_rig_side **a, struct peer_rig_side **b, uint16_t *to_b,
			     uint16_t *to_a)
{
	struct peer_rig *rig = peer_rig_new();

	*a = peer_rig_add(rig, 1, "");
	*b = peer_rig_add(rig, 2, "");
	*to_b = peer_rig_meet(rig, *a, *b);
	peer_rig_send(rig, *a, *to_b, 1, 2);
	peer_rig_received(rig, *b, 1, 2);
	*to_a = (uint16_t)peers_find((*b)->peers, 1);
	peers_hold((*a)->peers, *to_b, peer_rig_now_ns(rig));
	peers_hold((*b)->peers, *to_a, peer_rig_now_ns(rig));
	peer_rig_send(rig, *b, *to_a, 1, 2);
	peer_rig_received(rig, *a, 1, 2);
	return rig;
}

/* Its process is gone: no limit has to pass. */
static void test_kernel_refuses(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	/* What it sent before is told first. */
	peer_rig_send(rig, b, to_a, 3, 50);
	peer_rig_close(rig, b);
	died(rig, a, to_b, -EHOSTDOWN, "died: its kernel refuses connections");
	peer_rig_received(rig, a, 3, 50);
	assert_int_equal(a->events[a->count - 1].event.kind, PEER_DIED);
	/* Frames for the dead go nowhere, and its number is free once we say so. */
	peer_rig_send(rig, a, to_b, 3, 4);
	assert_true(peers_quiet(a->peers));
	peers_drop(a->peers, to_b, peer_rig_now_ns(rig));
	peers_forget(a->peers, to_b);
	assert_int_equal(peers_find(a->peers, 2), -1);
	peer_rig_open(rig, b, 2);
	peer_rig_free(rig);
}

/* `ss -K` ends listening sockets too: whoever did that, the daemon is found again. */
static void test_listener_shut_down(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	struct peer_rig_side *b = peer_rig_add(rig, 2, "");
	uint16_t port = peers_port(b->peers);
	uint32_t shut = 0;

	(void)state;
	for (uint32_t i = 0; i < b->peers->conns_end; i++)
		if (b->peers->conns[i].kind == CONN_LISTEN) {
			assert_int_equal(shutdown(b->peers->conns[i].fd, SHUT_RDWR), 0);
			shut++;
		}
	assert_int_equal(shut, 1);
	peer_rig_run(rig, 20);
	assert_true(peer_rig_logged(b, "the listening socket was shut down from outside"));
	assert_int_equal(peers_port(b->peers), port);
	(void)peer_rig_meet(rig, a, b);
	peer_rig_free(rig);
}

static void test_started_again(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b, again;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	peer_rig_close(rig, b);
	peer_rig_open(rig, b, 22);
	died(rig, a, to_b, -EHOSTDOWN, "died: another carryd runs there now");
	/* The new one is another peer, even while the old one is not forgotten. */
	again = peer_rig_meet(rig, a, b);
	assert_int_not_equal(again, to_b);
	peer_rig_send(rig, a, again, 1, 3);
	peer_rig_received(rig, b, 1, 3);
	peer_rig_free(rig);
}

/* A peer that nobody refers to is found to be another one by dialling, or by a table. */
static void test_predecessor(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	struct wire_node node = {.instance = 50, .port = 9, .address = "127.0.0.9", .host = "nine"};

	(void)state;
	assert_int_equal(peers_know(a->peers, &node, peer_rig_now_ns(rig)), 0);
	node.instance = 51;
	assert_int_equal(peers_know(a->peers, &node, peer_rig_now_ns(rig)), 1);
	died(rig, a, 0, -EHOSTDOWN, "died: another carryd runs there now");
	peer_rig_free(rig);
}

/* Not a word for dead_ms, although the connection stands; it goes on later. */
static void test_silence(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b, again;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	b->stopped = true;
	peer_rig_run(rig, PEER_RIG_DEAD_MS - 200);
	assert_int_equal(peer_rig_count(a, PEER_DIED), 0);
	peer_rig_run(rig, 300);
	died(rig, a, to_b, -EHOSTDOWN, "is taken for dead: nothing was heard of it for 1.0 s");
	peers_drop(a->peers, to_b, peer_rig_now_ns(rig));
	peers_forget(a->peers, to_b);
	/* When it wakes up it learns what we think of it, whoever knew whom first. */
	b->stopped = false;
	died(rig, b, to_a, -EHOSTDOWN, "has taken this daemon for dead");
	peers_drop(b->peers, to_a, peer_rig_now_ns(rig));
	peers_forget(b->peers, to_a);
	/* And both begin anew. */
	again = peer_rig_meet(rig, b, a);
	peer_rig_send(rig, b, again, 7, 9);
	peer_rig_received(rig, a, 7, 9);
	peer_rig_free(rig);
}

/* Nobody needs it any more while it is silent: it may have given us up meanwhile. */
static void test_silence_when_dropped(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	b->stopped = true;
	peer_rig_run(rig, PEER_RIG_DEAD_MS * 3 / 10);
	peers_drop(a->peers, to_b, peer_rig_now_ns(rig)); /* a heartbeat may be late */
	peer_rig_run(rig, PEER_RIG_DEAD_MS * 4 / 10);
	assert_int_equal(peer_rig_count(a, PEER_DIED), 0);
	peers_hold(a->peers, to_b, peer_rig_now_ns(rig));
	peer_rig_run(rig, PEER_RIG_DEAD_MS * 7 / 10);
	assert_int_equal(peer_rig_count(a, PEER_DIED), 0);
	peers_drop(a->peers, to_b, peer_rig_now_ns(rig));
	died(rig, a, to_b, 0, "was silent when it was needed last");
	peer_rig_free(rig);
}

/* The same, but the survivor has not forgotten yet (a lane is still busy with it). */
static void test_silence_not_forgotten(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	b->stopped = true;
	peer_rig_run(rig, PEER_RIG_DEAD_MS + 200);
	died(rig, a, to_b, -EHOSTDOWN, "nothing was heard of it");
	b->stopped = false;
	died(rig, b, to_a, -EHOSTDOWN, "has taken this daemon for dead");
	peer_rig_free(rig);
}

/* A peer of a table that never answers. */
static void test_never_there(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	struct wire_node node = {.instance = 50, .port = 9, .address = "127.0.0.9", .host = "x"};
	int peer = peers_know(a->peers, &node, peer_rig_now_ns(rig));

	(void)state;
	assert_true(peer >= 0);
	peers_hold(a->peers, (uint16_t)peer, peer_rig_now_ns(rig));
	died(rig, a, (uint16_t)peer, -EHOSTDOWN, "died: its kernel refuses connections");
	peer_rig_free(rig);
}

static void test_bye(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	peer_rig_send(rig, b, to_a, 3, 9);
	peers_bye(b->peers, peer_rig_now_ns(rig));
	died(rig, a, to_b, -EHOSTDOWN, "was stopped");
	peer_rig_received(rig, a, 3, 9);
	for (int i = 0; i < 1000 && !peers_quiet(b->peers); i++)
		peer_rig_turn(rig);
	assert_true(peers_quiet(b->peers));
	peer_rig_free(rig);
}

/* b knows a, and has never had a connection to it: there is nothing to wait for... */
static void test_bye_without_connection(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b), to_a;

	(void)state;
	peer_rig_send(rig, a, to_b, 1, 2);
	peer_rig_received(rig, b, 1, 2);
	to_a = (uint16_t)peers_find(b->peers, 1);
	assert_int_equal(b->peers->peers[to_a].out, CONN_NONE);
	peers_bye(b->peers, peer_rig_now_ns(rig));
	assert_true(peers_quiet(b->peers));
	peer_rig_close(rig, b);
	died(rig, a, to_b, -EHOSTDOWN, "died: its kernel refuses connections");
	peer_rig_open(rig, b, 2);
	peer_rig_free(rig);
}

/* ...but what b had to say before it was stopped arrives. */
static void test_last_words(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	uint16_t to_b = peer_rig_meet(rig, a, b), to_a;

	(void)state;
	peer_rig_send(rig, a, to_b, 1, 2);
	peer_rig_received(rig, b, 1, 2);
	to_a = (uint16_t)peers_find(b->peers, 1);
	peer_rig_send(rig, b, to_a, 1, 2);
	assert_int_equal(b->peers->peers[to_a].out, CONN_NONE);
	peers_bye(b->peers, peer_rig_now_ns(rig));
	assert_false(peers_quiet(b->peers));
	peer_rig_received(rig, a, 1, 2);
	died(rig, a, to_b, -EHOSTDOWN, "was stopped");
	for (int i = 0; i < 1000 && !peers_quiet(b->peers); i++)
		peer_rig_turn(rig);
	assert_true(peers_quiet(b->peers));
	peer_rig_free(rig);
}

static void test_condemned(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	peers_condemn(a->peers, to_b, -EPROTO, "it lies");
	peers_condemn(a->peers, to_b, -EPROTO, "it lies again");
	died(rig, a, to_b, -EPROTO, "it lies");
	died(rig, b, to_a, -EHOSTDOWN, "has taken this daemon for dead");
	assert_int_equal(peer_rig_count(a, PEER_DIED), 0);
	peer_rig_free(rig);
}

/* Nobody needs the other: after a minute both forget, and meet anew when they must. */
static void test_idle(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b, again;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	peers_drop(a->peers, to_b, peer_rig_now_ns(rig));
	/* The other has a use for us: its heartbeats say so. */
	for (int i = 0; i < 1300; i++) {
		peer_rig_pass(rig, 50);
		peer_rig_turn(rig);
		peer_rig_turn(rig);
	}
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	peers_drop(b->peers, to_a, peer_rig_now_ns(rig));
	peer_rig_pass(rig, 59000);
	for (int i = 0; i < 10; i++)
		peer_rig_turn(rig);
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	b->stopped = true; /* it does not come to think of it itself */
	peer_rig_pass(rig, 1500);
	died(rig, a, to_b, 0, "was not needed for a minute");
	peers_forget(a->peers, to_b);
	b->stopped = false;
	b->peers->peers[to_a].used_ns = peer_rig_now_ns(rig);
	died(rig, b, to_a, 0, "has no use for this daemon any more");
	peers_forget(b->peers, to_a);
	again = peer_rig_meet(rig, b, a);
	peer_rig_send(rig, b, again, 5, 6);
	peer_rig_received(rig, a, 5, 6);
	peer_rig_free(rig);
}

/* --- strangers ------------------------------------------------------------------------------ */

static int stranger(const struct peer_rig_side *side)
{
	struct sockaddr_storage to;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(interface_parse("127.0.0.1", peers_port(side->peers), &to), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, interface_bytes(&to)), 0);
	return fd;
}

static size_t greeting(unsigned char *bytes, struct wire_hello hello, uint16_t kind)
{
	struct wire_frame frame = {.kind = kind, .payload_bytes = sizeof(hello)};

	wire_seal(&frame, &hello);
	memcpy(bytes, &frame, sizeof(frame));
	memcpy(bytes + sizeof(frame), &hello, sizeof(hello));
	return HELLO_BYTES;
}

static const struct wire_hello valid = {.instance = 9,
					.purpose = WIRE_CONTROL,
					.port = 7117,
					.address = "127.0.0.9",
					.host = "nine"};

/* The connection is ended, perhaps after an answer.  Return: bytes of it. */
static size_t ended(struct peer_rig *rig, int fd)
{
	uint64_t began_ns = clock_now_ns();
	unsigned char bytes[1024];
	size_t got = 0;

	for (;;) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n > 0)
			got += (size_t)n;
		else if (n == 0 || errno == ECONNRESET)
			break;
		assert_true(clock_now_ns() - began_ns < 10 * CLOCK_NS_PER_S);
		peer_rig_turn(rig);
	}
	(void)close(fd);
	return got;
}

static void garbage(struct peer_rig *rig, struct peer_rig_side *side, const void *bytes, size_t n,
		    size_t answer, const char *why)
{
	int fd = stranger(side);

	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	assert_int_equal(ended(rig, fd), answer);
	assert_true(peer_rig_logged(side, why));
}

static void test_garbage(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);
	unsigned char bytes[HELLO_BYTES];
	struct wire_hello bad = valid;
	struct wire_frame *frame = (struct wire_frame *)(void *)bytes;
	size_t n;

	(void)state;
	garbage(rig, a, "GET / HTTP/1.1\r\n\r\n", 18, 0, "is not a carryd: bad magic");
	n = greeting(bytes, valid, WIRE_HELLO);
	frame->version = 2;
	garbage(rig, a, bytes, 8, HELLO_BYTES, "speaks version 2 of the protocol, not 1");
	peer_rig_run(rig, 1500); /* the log repeats nothing within a second */
	n = greeting(bytes, valid, WIRE_BEAT);
	garbage(rig, a, bytes, n, HELLO_BYTES, "sent a bad HELLO: bad payload length");
	n = greeting(bytes, valid, WIRE_HELLO);
	bytes[n - 1] ^= 1;
	garbage(rig, a, bytes, n, HELLO_BYTES, "sent a bad HELLO: bad payload");
	peer_rig_run(rig, 1500);
	bad.purpose = 7;
	n = greeting(bytes, bad, WIRE_HELLO);
	garbage(rig, a, bytes, n, HELLO_BYTES, "sent a bad HELLO: bad payload");
	/* Cut off in the middle. */
	(void)close(stranger(a));
	/* Looking for somebody else: told who is here. */
	bad = valid;
	bad.peer_instance = 77;
	n = greeting(bytes, bad, WIRE_HELLO);
	garbage(rig, a, bytes, n, HELLO_BYTES, "");
	assert_int_equal(peers_find(a->peers, 9), -1);
	/* Nobody else noticed. */
	peer_rig_send(rig, b, to_a, 3, 9);
	peer_rig_received(rig, a, 3, 9);
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	peer_rig_free(rig);
}

/* Half a HELLO and then nothing: two seconds. */
static void test_slow(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	unsigned char bytes[HELLO_BYTES];
	int fd = stranger(a);

	(void)state;
	(void)greeting(bytes, valid, WIRE_HELLO);
	for (size_t i = 0; i < 200; i += 10) {
		assert_int_equal(send(fd, bytes + i, 10, 0), 10);
		peer_rig_turn(rig);
	}
	peer_rig_pass(rig, 1900);
	peer_rig_turn(rig);
	assert_int_equal(a->peers->strangers, 1);
	peer_rig_pass(rig, 200);
	assert_int_equal(ended(rig, fd), 0);
	assert_int_equal(a->peers->strangers, 0);
	assert_true(peer_rig_logged(a, "no HELLO within 2 s"));
	peer_rig_free(rig);
}

static void test_flood(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, ""), *b = peer_rig_add(rig, 2, "");
	int fds[3 * PEER_HALF_OPEN_MAX];

	(void)state;
	for (int i = 0; i < 3 * PEER_HALF_OPEN_MAX; i++) {
		fds[i] = stranger(a);
		peer_rig_turn(rig);
		assert_true(a->peers->strangers <= PEER_HALF_OPEN_MAX);
	}
	assert_true(peer_rig_logged(a, "too many connections wait for a HELLO"));
	(void)peer_rig_meet(rig, b, a);
	for (int i = 0; i < 3 * PEER_HALF_OPEN_MAX; i++)
		(void)close(fds[i]);
	for (int i = 0; i < 1000 && a->peers->strangers; i++)
		peer_rig_turn(rig);
	assert_int_equal(a->peers->strangers, 0);
	peer_rig_free(rig);
}

/* After a good HELLO: frames that no peer may send, one by one. */
static void test_bad_frames(void **state)
{
	static const struct {
		uint16_t kind;
		uint32_t seq, bytes, times; /* until its sender is dead */
		const char *why;
	} rows[] = {
		{WIRE_ACK, 0, 0, PEER_REFUSED_MAX, "8 bad control frames in a row, last unknown"},
		{WIRE_CREDIT, 0, 0, PEER_REFUSED_MAX, "unknown kind"},
		{WIRE_READY, 2, sizeof(struct wire_ready), 1, "it has the wrong number"},
		{WIRE_READY, 0, sizeof(struct wire_ready), PEER_REFUSED_MAX, "field out of range"},
		{WIRE_READY, 1, 8, PEER_REFUSED_MAX, "bad payload length"},
		{WIRE_GO, 1, sizeof(struct wire_ready), PEER_REFUSED_MAX, "bad payload"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer_rig *rig = peer_rig_new();
		struct peer_rig_side *a = peer_rig_add(rig, 1, "");
		struct wire_ready ready = {.group = i < 5, .epoch = 1};
		struct wire_frame frame = {.kind = rows[i].kind,
					   .path_seq = rows[i].seq,
					   .payload_bytes = rows[i].bytes};
		unsigned char bytes[HELLO_BYTES];
		size_t n = greeting(bytes, valid, WIRE_HELLO);

		wire_seal(&frame, rows[i].bytes ? &ready : NULL);
		for (uint32_t left = rows[i].times; left; left--) {
			int fd = stranger(a);

			assert_int_equal(send(fd, bytes, n, 0), n);
			assert_int_equal(send(fd, &frame, sizeof(frame), 0), sizeof(frame));
			assert_int_equal(send(fd, &ready, rows[i].bytes, 0), rows[i].bytes);
			if (left == 1)
				died(rig, a, 0, -EPROTO, rows[i].why);
			assert_int_equal(ended(rig, fd), HELLO_BYTES);
			assert_int_equal(peer_rig_count(a, PEER_DIED), 0);
		}
		assert_int_equal(peer_rig_count(a, PEER_FRAME), 0);
		peer_rig_free(rig);
	}
}

/* Bytes that nobody sent, on the connection of a to b: as from b, or as from a. */
static void garble(struct peer_rig *rig, struct peer_rig_side *from, uint16_t conn)
{
	static const unsigned char rubbish[WIRE_HEADER_BYTES] = {1, 2, 3};

	assert_int_not_equal(conn, CONN_NONE);
	assert_int_equal(send(from->peers->conns[conn].fd, rubbish, sizeof(rubbish), 0),
			 sizeof(rubbish));
	for (int i = 0; i < 20; i++)
		peer_rig_turn(rig);
}

/* It costs a connection: what was sent comes, on the next one. */
static void test_garbled_once(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	for (uint64_t i = 0; i < 3 * PEER_REFUSED_MAX; i++) {
		if (i % 2)
			garble(rig, a, a->peers->peers[to_b].out);
		else
			garble(rig, b, b->peers->peers[to_a].in);
		peer_rig_send(rig, a, to_b, 3 + i, 3 + i);
		peer_rig_received(rig, b, 3 + i, 3 + i);
	}
	assert_true(peer_rig_logged(b, "bad control frame: bad magic"));
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	peer_rig_free(rig);
}

/* The same on idle connections: heartbeats are good frames, too. */
static void test_garbled_idle(void **state)
{
	struct peer_rig_side *a, *b;
	uint16_t to_a, to_b;
	struct peer_rig *rig = pair(&a, &b, &to_b, &to_a);

	(void)state;
	for (int i = 0; i < 2 * PEER_REFUSED_MAX; i++) {
		garble(rig, a, a->peers->peers[to_b].out);
		garble(rig, b, b->peers->peers[to_a].in);
		peer_rig_run(rig, 3 * a->config.heartbeat_ms);
	}
	assert_true(peer_rig_logged(b, "bad control frame: bad magic"));
	assert_int_equal(peer_rig_count(a, PEER_DIED) + peer_rig_count(b, PEER_DIED), 0);
	peer_rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel_refuses),
		cmocka_unit_test(test_listener_shut_down),
		cmocka_unit_test(test_started_again),
		cmocka_unit_test(test_predecessor),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_silence_when_dropped),
		cmocka_unit_test(test_silence_not_forgotten),
		cmocka_unit_test(test_never_there),
		cmocka_unit_test(test_bye),
		cmocka_unit_test(test_bye_without_connection),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_condemned),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_garbled_once),
		cmocka_unit_test(test_garbled_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
