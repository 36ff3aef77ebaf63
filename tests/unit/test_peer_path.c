/*
 * test_peer_path.c - data connections: who connects, what is told to lanes, what both sides know
 * of each other's streams when a connection is made again.
 */
#include "daemon/peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/peer_state.h"
#include "tests/unit/peer_rig.h"

struct fixture {
	struct peer_rig *rig;
	struct peer_rig_side *a, *b; /* a has the lower instance: it connects */
	uint16_t to_a, to_b;
};

static struct fixture pair(void)
{
	struct fixture f = {.rig = peer_rig_new()};

	f.a = peer_rig_add(f.rig, 1, "");
	f.b = peer_rig_add(f.rig, 2, "");
	f.to_b = peer_rig_meet(f.rig, f.a, f.b);
	f.to_a = peer_rig_meet(f.rig, f.b, f.a);
	return f;
}

static void want(struct fixture *f, uint16_t lane, uint16_t path)
{
	peers_want_path(f->a->peers, f->to_b, lane, path, peer_rig_now_ns(f->rig));
	peers_want_path(f->b->peers, f->to_a, lane, path, peer_rig_now_ns(f->rig));
}

/* The path is up, and the peer is said to have so many of our frames.  Return: descriptor. */
static int up(struct fixture *f, struct peer_rig_side *side, uint16_t lane, uint16_t path,
	      uint32_t received)
{
	const struct peer_rig_event *note = peer_rig_wait(f->rig, side, PEER_PATH);
	uint16_t peer = side == f->a ? f->to_b : f->to_a;

	assert_int_equal(note->event.peer, peer);
	assert_int_equal(note->event.lane, lane);
	assert_int_equal(note->event.path, path);
	assert_int_equal(note->event.received, received);
	assert_true(peers_path_is_up(side->peers, peer, lane, path));
	return note->event.fd;
}

/* Bytes that one side writes come out at the other, from the very first. */
static void joined(int one, int other)
{
	char text[6] = "";
	size_t got = 0;

	assert_int_equal(send(one, "hello", 5, 0), 5);
	while (got < 5) {
		ssize_t n = recv(other, text + got, 5 - got, 0);

		if (n < 0 && errno == EAGAIN)
			continue;
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_string_equal(text, "hello");
	(void)close(one);
	(void)close(other);
}

static void test_first(void **state)
{
	struct fixture f = pair();

	(void)state;
	assert_false(peers_path_is_up(f.a->peers, f.to_b, 1, 1));
	for (uint16_t lane = 0; lane < 2; lane++)
		for (uint16_t path = 0; path < 2; path++) {
			int one, other;

			want(&f, lane, path);
			one = up(&f, f.a, lane, path, 0);
			other = up(&f, f.b, lane, path, 0);
			joined(one, other);
		}
	peer_rig_free(f.rig);
}

/* One side wants it long before the other: the connection waits. */
static void test_one_side_early(void **state)
{
	struct fixture f = pair();
	int one;

	(void)state;
	peers_want_path(f.a->peers, f.to_b, 0, 0, peer_rig_now_ns(f.rig));
	peer_rig_run(f.rig, 500);
	assert_int_equal(peer_rig_count(f.a, PEER_PATH) + peer_rig_count(f.b, PEER_PATH), 0);
	assert_int_equal(f.b->peers->held, 1);
	peers_want_path(f.b->peers, f.to_a, 0, 0, peer_rig_now_ns(f.rig));
	peers_want_path(f.b->peers, f.to_a, 0, 0, peer_rig_now_ns(f.rig));
	one = up(&f, f.b, 0, 0, 0);
	joined(one, up(&f, f.a, 0, 0, 0));

	/* The side that is connected to wants it, and nothing happens until the other does. */
	peers_want_path(f.b->peers, f.to_a, 1, 0, peer_rig_now_ns(f.rig));
	peer_rig_run(f.rig, 500);
	assert_int_equal(peer_rig_count(f.b, PEER_PATH), 0);
	peers_want_path(f.a->peers, f.to_b, 1, 0, peer_rig_now_ns(f.rig));
	one = up(&f, f.a, 1, 0, 0);
	joined(one, up(&f, f.b, 1, 0, 0));
	peer_rig_free(f.rig);
}

/* Nobody ever wants it: it is given up, and made again. */
static void test_held_too_long(void **state)
{
	struct fixture f = pair();
	int one;

	(void)state;
	peers_want_path(f.a->peers, f.to_b, 0, 0, peer_rig_now_ns(f.rig));
	peer_rig_run(f.rig, 9000);
	assert_int_equal(peer_rig_count(f.a, PEER_PATH) + peer_rig_count(f.b, PEER_PATH), 0);
	assert_true(f.b->peers->held <= 1);
	peers_want_path(f.b->peers, f.to_a, 0, 0, peer_rig_now_ns(f.rig));
	one = up(&f, f.b, 0, 0, 0);
	joined(one, up(&f, f.a, 0, 0, 0));
	peer_rig_free(f.rig);
}

/* Both lanes have noticed: each HELLO says what its side has received. */
static void test_again(void **state)
{
	struct fixture f = pair();

	(void)state;
	want(&f, 0, 0);
	(void)close(up(&f, f.a, 0, 0, 0));
	(void)close(up(&f, f.b, 0, 0, 0));
	for (uint32_t i = 1; i < 20; i++) {
		int one;

		if (i % 2)
			peers_path_down(f.a->peers, f.to_b, 0, 0, 100 * i, peer_rig_now_ns(f.rig));
		peers_path_down(f.b->peers, f.to_a, 0, 0, 7 * i, peer_rig_now_ns(f.rig));
		if (i % 2 == 0)
			peers_path_down(f.a->peers, f.to_b, 0, 0, 100 * i, peer_rig_now_ns(f.rig));
		assert_false(peers_path_is_up(f.a->peers, f.to_b, 0, 0));
		one = up(&f, f.a, 0, 0, 7 * i);
		joined(one, up(&f, f.b, 0, 0, 100 * i));
	}
	peer_rig_free(f.rig);
}

/* HELLOs succeed, and the lanes do nothing with the connection: the next one is made later. */
static void test_again_and_again(void **state)
{
	struct fixture f = pair();
	uint64_t ms = 0;

	(void)state;
	want(&f, 0, 0);
	for (uint32_t i = 0; i < 14; i++) {
		uint64_t from_ns = peer_rig_now_ns(f.rig);
		uint32_t received = i < 12 ? 0 : 5; /* the last but one brought frames */

		(void)close(up(&f, f.a, 0, 0, 0));
		(void)close(up(&f, f.b, 0, 0, received && i > 12 ? 5 : 0));
		ms = (peer_rig_now_ns(f.rig) - from_ns) / CLOCK_NS_PER_MS;
		if (i > 8 && i < 13)
			assert_in_range(ms, 900, 1500);
		peers_path_down(f.b->peers, f.to_a, 0, 0, 0, peer_rig_now_ns(f.rig));
		peers_path_down(f.a->peers, f.to_b, 0, 0, received, peer_rig_now_ns(f.rig));
	}
	assert_true(ms < 100);
	peer_rig_free(f.rig);
}

/* Only the side that connects has noticed: the other is told to end the old one first. */
static void test_cut(void **state)
{
	struct fixture f = pair();
	const struct peer_rig_event *note;
	int one;

	(void)state;
	want(&f, 1, 1);
	(void)close(up(&f, f.a, 1, 1, 0));
	(void)close(up(&f, f.b, 1, 1, 0));
	peers_path_down(f.a->peers, f.to_b, 1, 1, 11, peer_rig_now_ns(f.rig));
	note = peer_rig_wait(f.rig, f.b, PEER_CUT);
	assert_int_equal(note->event.peer, f.to_a);
	assert_int_equal(note->event.lane, 1);
	assert_int_equal(note->event.path, 1);
	peer_rig_run(f.rig, 300);
	assert_int_equal(peer_rig_count(f.b, PEER_CUT), 0); /* told once */
	assert_int_equal(peer_rig_count(f.a, PEER_PATH) + peer_rig_count(f.b, PEER_PATH), 0);
	peers_path_down(f.b->peers, f.to_a, 1, 1, 22, peer_rig_now_ns(f.rig));
	one = up(&f, f.a, 1, 1, 22);
	joined(one, up(&f, f.b, 1, 1, 11));
	peer_rig_free(f.rig);
}

/* A connection breaks before a lane has it. */
static void test_cut_while_ready(void **state)
{
	struct fixture f = pair();
	struct peers *b = f.b->peers;
	int one;

	(void)state;
	f.b->stopped = true;
	want(&f, 0, 0);
	/* b has the greeting and answers; but its lane is not told before a has lost it. */
	while (f.a->peers->peers[f.to_b].paths[0].state != PATH_CONNECTING ||
	       f.a->peers->conns[f.a->peers->peers[f.to_b].paths[0].conn].stage != CONN_GREETING)
		peer_rig_turn(f.rig);
	peer_rig_pass(f.rig, 11000); /* a gives up, and connects again */
	peer_rig_turn(f.rig);
	peer_rig_pass(f.rig, 2000);
	peer_rig_turn(f.rig);
	f.b->stopped = false;
	one = up(&f, f.a, 0, 0, 0);
	joined(one, up(&f, f.b, 0, 0, 0));
	assert_true(b->held <= 1);
	peer_rig_free(f.rig);
}

/* Nothing of a dead peer's paths stays. */
static void test_dead(void **state)
{
	struct fixture f = pair();

	(void)state;
	peer_rig_send(f.rig, f.b, f.to_a, 1, 2);
	peer_rig_received(f.rig, f.a, 1, 2);
	want(&f, 0, 0);
	(void)close(up(&f, f.a, 0, 0, 0));
	(void)close(up(&f, f.b, 0, 0, 0));
	peers_want_path(f.a->peers, f.to_b, 1, 0, peer_rig_now_ns(f.rig));
	peer_rig_run(f.rig, 100);
	peers_condemn(f.a->peers, f.to_b, -EPROTO, "bad");
	peers_path_down(f.a->peers, f.to_b, 0, 0, 1, peer_rig_now_ns(f.rig));
	peers_want_path(f.a->peers, f.to_b, 0, 1, peer_rig_now_ns(f.rig));
	(void)peer_rig_wait(f.rig, f.b, PEER_DIED);
	for (uint16_t lane = 0; lane < 2; lane++)
		for (uint16_t path = 0; path < 2; path++) {
			assert_false(peers_path_is_up(f.a->peers, f.to_b, lane, path));
			assert_false(peers_path_is_up(f.b->peers, f.to_a, lane, path));
		}
	assert_int_equal(f.b->peers->held, 0);
	peer_rig_free(f.rig);
}

/* What is refused ends a peer only if nothing good comes between, again and again. */
static void test_refused(void **state)
{
	struct fixture f = pair();
	struct peers *a = f.a->peers;
	uint64_t now_ns = peer_rig_now_ns(f.rig);
	const struct peer_rig_event *note;

	(void)state;
	want(&f, 0, 0);
	(void)close(up(&f, f.a, 0, 0, 0));
	(void)close(up(&f, f.b, 0, 0, 0));
	for (uint32_t i = 0; i < 3 * PEER_REFUSED_MAX; i++) /* each time it got on */
		peers_refused(a, f.to_b, 0, 0, i + 1, "bad magic", now_ns);
	for (uint32_t i = 0; i < 3 * PEER_REFUSED_MAX; i++) /* seldom */
		peers_refused(a, f.to_b, 0, 0, 100, "bad magic", now_ns += PEER_REFUSED_NS + 1);
	for (uint32_t i = 1; i < PEER_REFUSED_MAX; i++) { /* of two paths */
		peers_refused(a, f.to_b, 0, 0, 200, "bad magic", now_ns);
		peers_refused(a, f.to_b, 1, 1, 0, "bad magic", now_ns);
	}
	peer_rig_run(f.rig, 20);
	assert_int_equal(peer_rig_count(f.a, PEER_DIED), 0);
	peers_refused(a, f.to_b, 0, 0, 200, "unknown kind", now_ns);
	note = peer_rig_wait(f.rig, f.a, PEER_DIED);
	assert_int_equal(note->event.error, -EPROTO);
	assert_string_equal(note->event.text,
			    "is taken for dead: 8 bad data frames in a row, last unknown kind");
	peers_refused(a, f.to_b, 0, 0, 200, "unknown kind", now_ns); /* changes nothing */
	peer_rig_free(f.rig);
}

/* Connect to b as the daemon of that HELLO.  Return: descriptor. */
static int greet(const struct peer_rig_side *b, const struct wire_hello *hello)
{
	struct wire_frame frame = {.kind = WIRE_HELLO, .payload_bytes = sizeof(*hello)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage to;

	assert_int_equal(interface_parse("127.0.0.1", peers_port(b->peers), &to), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, interface_bytes(&to)), 0);
	wire_seal(&frame, hello);
	assert_int_equal(send(fd, &frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(send(fd, hello, sizeof(*hello), 0), sizeof(*hello));
	return fd;
}

/* The HELLO that comes, or nothing but the end.  Return: bytes. */
static size_t heard(struct peer_rig *rig, int fd, struct wire_hello *out)
{
	unsigned char bytes[HELLO_BYTES];
	size_t have = 0;

	for (int turn = 0; turn < 10000 && have < sizeof(bytes); turn++) {
		ssize_t n = recv(fd, bytes + have, sizeof(bytes) - have, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		have += n > 0 ? (size_t)n : 0;
		peer_rig_turn(rig);
	}
	if (have == sizeof(bytes))
		memcpy(out, bytes + WIRE_HEADER_BYTES, sizeof(*out));
	return have;
}

/* b met a anew; a connection comes from an a that has not noticed yet that it was forgotten. */
static void test_old_acquaintance(void **state)
{
	static const struct wire_node node = {.instance = 1, .port = 9, .address = "127.0.0.1"};
	struct wire_hello hello = {.instance = 1, .peer_instance = 2, .purpose = WIRE_DATA};
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *b = peer_rig_add(rig, 2, "");
	int peer = peers_know(b->peers, &node, peer_rig_now_ns(rig)), fd;
	struct wire_hello answer;

	(void)state;
	peers_want_path(b->peers, (uint16_t)peer, 0, 0, peer_rig_now_ns(rig));
	hello.received = 5; /* of what? */
	fd = greet(b, &hello);
	assert_int_equal(heard(rig, fd, &answer), 0);
	(void)close(fd);
	assert_int_equal(peer_rig_count(b, PEER_PATH) + peer_rig_count(b, PEER_DIED), 0);
	/* It had sent us much and received nothing: the answer does not name it, so it learns. */
	hello.received = 0;
	fd = greet(b, &hello);
	assert_int_equal(heard(rig, fd, &answer), HELLO_BYTES);
	assert_int_equal(answer.instance, 2);
	assert_int_equal(answer.peer_instance, 0);
	(void)close(peer_rig_wait(rig, b, PEER_PATH)->event.fd);
	(void)close(fd);
	assert_false(b->peers->peers[peer].knew_us);
	/* When the path was up it may have received something. */
	peers_path_down(b->peers, (uint16_t)peer, 0, 0, 3, peer_rig_now_ns(rig));
	hello.received = 5;
	fd = greet(b, &hello);
	assert_int_equal(heard(rig, fd, &answer), HELLO_BYTES);
	assert_int_equal(answer.received, 3);
	(void)close(peer_rig_wait(rig, b, PEER_PATH)->event.fd);
	(void)close(fd);
	peer_rig_free(rig);
}

/* The other way round: a connects, and is answered so.  Return: the peer's number. */
static uint16_t answered(struct peer_rig *rig, struct peer_rig_side *a, bool knew_us,
			 uint64_t peer_instance, uint32_t received)
{
	struct wire_hello hello = {.instance = 9,
				   .peer_instance = peer_instance,
				   .purpose = WIRE_DATA,
				   .received = received};
	struct wire_frame frame = {.kind = WIRE_HELLO, .payload_bytes = sizeof(hello)};
	struct wire_node node = {.instance = 9, .address = "127.0.0.1"};
	struct sockaddr_in here = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(here);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fd = -1;
	int peer;

	assert_int_equal(bind(listener, (struct sockaddr *)&here, bytes), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &bytes), 0);
	node.port = ntohs(here.sin_port);
	peer = peers_know(a->peers, &node, peer_rig_now_ns(rig));
	a->peers->peers[peer].knew_us = knew_us;
	peers_want_path(a->peers, (uint16_t)peer, 0, 0, peer_rig_now_ns(rig));
	for (int turn = 0; turn < 10000 && fd < 0; turn++) {
		peer_rig_turn(rig);
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	}
	assert_true(fd >= 0);
	(void)close(listener);
	wire_seal(&frame, &hello);
	assert_int_equal(send(fd, &frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(send(fd, &hello, sizeof(hello), 0), sizeof(hello));
	assert_int_equal(heard(rig, fd, &hello), HELLO_BYTES);
	assert_int_equal(hello.peer_instance, 0); /* it has not said a word to us yet */
	for (int turn = 0; turn < 20; turn++)
		peer_rig_turn(rig);
	(void)close(fd);
	return (uint16_t)peer;
}

static void test_old_acquaintance_answers(void **state)
{
	struct peer_rig *rig = peer_rig_new();
	struct peer_rig_side *a = peer_rig_add(rig, 1, "");
	const struct peer_rig_event *note;
	uint16_t peer;

	(void)state;
	peer = answered(rig, a, false, 1, 5);
	assert_int_equal(peer_rig_count(a, PEER_PATH) + peer_rig_count(a, PEER_DIED), 0);
	assert_int_equal(a->peers->peers[peer].paths[0].state, PATH_WANTED);
	peers_condemn(a->peers, peer, -EPROTO, "was tried");
	(void)peer_rig_wait(rig, a, PEER_DIED);
	peers_forget(a->peers, peer);

	(void)answered(rig, a, true, 0, 0);
	note = peer_rig_wait(rig, a, PEER_DIED);
	assert_int_equal(note->event.error, 0);
	assert_string_equal(note->event.text, "has no use for this daemon any more");
	peers_forget(a->peers, peer);

	(void)answered(rig, a, false, 0, 0); /* neither has said a word */
	(void)close(peer_rig_wait(rig, a, PEER_PATH)->event.fd);
	peer_rig_free(rig);
}

/* Lanes and paths that this daemon does not have are refused; the wrong side, too. */
static void test_impossible(void **state)
{
	static const struct {
		uint64_t instance;
		uint16_t lane, path;
	} rows[] = {{1, 2, 0}, {1, 0, 2}, {3, 0, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer_rig *rig = peer_rig_new();
		struct peer_rig_side *b = peer_rig_add(rig, 2, "");
		struct wire_hello hello = {.instance = rows[i].instance,
					   .peer_instance = 2,
					   .purpose = WIRE_DATA,
					   .lane = rows[i].lane,
					   .path = rows[i].path};
		int fd = greet(b, &hello);
		ssize_t n;
		char byte;

		for (int turn = 0; turn < 10000; turn++) {
			n = recv(fd, &byte, 1, MSG_DONTWAIT);
			if (n >= 0 || errno != EAGAIN)
				break;
			peer_rig_turn(rig);
		}
		assert_int_equal(n, 0);
		(void)close(fd);
		assert_int_equal(b->peers->held, 0);
		peer_rig_free(rig);
	}
}

static bool is_unlike(const struct peer_rig_side *side, uint16_t peer, uint32_t offers)
{
	struct peer_about about;

	peers_about(side->peers, peer, &about);
	return about.unlike && about.offers == offers && about.state == PEER_STATE_KNOWN;
}

static size_t times_logged(const struct peer_rig_side *side, const char *text)
{
	char log[16384];
	ssize_t n = pread(side->log_fd, log, sizeof(log) - 1, 0);
	size_t times = 0;

	assert_true(n >= 0);
	log[n] = 0;
	for (const char *at = log; (at = strstr(at, text)); at++)
		times++;
	return times;
}

/*
 * RDMA alone here and TCP alone there: both sides learn it by the first connection, say it once,
 * and try no more, whoever of them connects, and also if one of them wants the path late.
 */
static void test_offers(void **state)
{
	enum { VERBS = WIRE_OFFER_VERBS, ALONE = WIRE_OFFER_VERBS | WIRE_OFFER_NO_TCP };
	static const struct {
		uint32_t a, b;
		bool fit;
	} rows[] = {
		{ALONE, 0, false},
		{0, ALONE, false},
		{ALONE, WIRE_OFFER_AUTO, false},
		{ALONE, ALONE, true},
		{ALONE, VERBS | WIRE_OFFER_AUTO, true},
		{VERBS | WIRE_OFFER_AUTO, 0, true},
		{WIRE_OFFER_AUTO, 0, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer_rig *rig = peer_rig_new();
		struct fixture f = {.rig = rig};
		const char *text = "no data connection to host two is possible";

		rig->offers = rows[i].a;
		f.a = peer_rig_add(rig, 1, "");
		rig->offers = rows[i].b;
		f.b = peer_rig_add(rig, 2, "");
		f.to_b = peer_rig_meet(rig, f.a, f.b);
		f.to_a = peer_rig_meet(rig, f.b, f.a);
		peers_want_path(f.a->peers, f.to_b, 0, 0, peer_rig_now_ns(rig));
		peer_rig_run(rig, 100);
		want(&f, 0, 0);
		if (rows[i].fit) {
			const struct peer_event *at_a = &peer_rig_wait(rig, f.a, PEER_PATH)->event;
			const struct peer_event *at_b = &peer_rig_wait(rig, f.b, PEER_PATH)->event;

			assert_int_equal(at_a->offers & VERBS, rows[i].a & rows[i].b & VERBS);
			assert_int_equal(at_b->offers & VERBS, rows[i].a & rows[i].b & VERBS);
			assert_int_equal(at_a->offers | VERBS, rows[i].b | VERBS);
			joined(at_a->fd, at_b->fd);
		} else {
			want(&f, 1, 0);
			peer_rig_run(rig, 500);
			want(&f, 0, 1); /* of the next group */
			peer_rig_run(rig, 500);
			assert_true(is_unlike(f.a, f.to_b, rows[i].b));
			assert_true(is_unlike(f.b, f.to_a, rows[i].a));
			assert_int_equal(times_logged(f.a, text), 1);
			assert_int_equal(times_logged(f.a, wire_offers_text(rows[i].b)), 1);
			assert_int_equal(times_logged(f.b, wire_offers_text(rows[i].a)), 1);
			assert_int_equal(f.b->peers->held, 0);
			assert_false(peers_path_is_up(f.a->peers, f.to_b, 0, 0));
		}
		assert_int_equal(peer_rig_count(f.a, PEER_PATH), 0);
		assert_int_equal(peer_rig_count(f.b, PEER_PATH), 0);
		assert_int_equal(peer_rig_count(f.a, PEER_DIED), 0);
		peer_rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_one_side_early),
		cmocka_unit_test(test_held_too_long),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_again_and_again),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_while_ready),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_impossible),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_old_acquaintance),
		cmocka_unit_test(test_old_acquaintance_answers),
		cmocka_unit_test(test_offers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
