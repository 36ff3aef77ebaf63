/* peer_rig.c - see peer_rig.h. */
#include "tests/unit/peer_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/crc32c.h"

#define LIMIT_NS (10 * CLOCK_NS_PER_S)

struct peer_rig *peer_rig_new(void)
{
	struct peer_rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	return rig;
}

void peer_rig_open(struct peer_rig *rig, struct peer_rig_side *side, uint64_t instance)
{
	struct peers_options options = {.config = &side->config, .instance = instance};
	struct err err;

	options.offers = rig->offers;
	assert_int_equal(loop_open(&side->loop, &err), 0);
	options.loop = side->loop;
	options.log = side->log;
	options.host = instance == 1 ? "one" : instance == 2 ? "two" : "other";
	side->instance = instance;
	assert_int_equal(peers_open(&side->peers, &options, &err), 0);
	side->config.port = peers_port(side->peers); /* when it is opened again */
}

void peer_rig_close(struct peer_rig *rig, struct peer_rig_side *side)
{
	(void)rig;
	peers_close(side->peers);
	loop_close(side->loop);
	side->peers = NULL;
	side->loop = NULL;
}

struct peer_rig_side *peer_rig_add(struct peer_rig *rig, uint64_t instance, const char *config)
{
	struct peer_rig_side *side = &rig->side[rig->sides];
	char text[512];
	struct err err;
	int bytes = snprintf(text, sizeof(text),
			     "[network]\nlisten = 127.0.0.%zu\nport = 0\nroot_ports = 1-65535\n"
			     "heartbeat_ms = 50\n"
			     "dead_ms = %d\npaths = 2\n%s\n[engine]\nlanes = 2\n",
			     rig->sides + 1, PEER_RIG_DEAD_MS, config);

	assert_true(rig->sides < PEER_RIG_SIDES);
	assert_int_equal(config_parse(&side->config, text, (size_t)bytes, "rig", &err), 0);
	side->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(side->log_fd >= 0);
	assert_int_equal(log_open(&side->log, side->log_fd, LOG_LEVEL_DEBUG), 0);
	side->events = calloc(PEER_RIG_EVENTS, sizeof(*side->events));
	assert_non_null(side->events);
	rig->sides++;
	peer_rig_open(rig, side, instance);
	return side;
}

void peer_rig_free(struct peer_rig *rig)
{
	for (size_t i = 0; i < rig->sides; i++) {
		struct peer_rig_side *side = &rig->side[i];

		peer_rig_close(rig, side);
		/* Descriptors that no test wanted. */
		for (size_t e = 0; e < side->count; e++)
			if (side->events[e].event.kind == PEER_PATH && !side->events[e].taken)
				(void)close(side->events[e].event.fd);
		log_close(side->log);
		(void)close(side->log_fd);
		free(side->events);
	}
	free(rig);
}

uint64_t peer_rig_now_ns(const struct peer_rig *rig)
{
	return clock_now_ns() + rig->added_ns;
}

void peer_rig_pass(struct peer_rig *rig, uint64_t ms)
{
	rig->added_ns += ms * CLOCK_NS_PER_MS;
}

static void side_note(struct peer_rig_side *side, const struct peer_event *event)
{
	struct peer_rig_event *note = &side->events[side->count++];

	assert_true(side->count < PEER_RIG_EVENTS);
	note->event = *event;
	note->taken = false;
	note->first = 0;
	note->crc = 0;
	if (event->kind != PEER_FRAME)
		return;
	if (event->bytes >= sizeof(note->first))
		memcpy(&note->first, event->payload, sizeof(note->first));
	note->crc = crc32c(0, event->payload, event->bytes);
	note->event.payload = NULL;
}

static void side_turn(struct peer_rig *rig, struct peer_rig_side *side, uint64_t wait_ns)
{
	struct loop_event events[32];
	struct peer_event event;
	size_t n = loop_wait(side->loop, events, 32, wait_ns);

	for (size_t i = 0; i < n; i++)
		peers_ready(side->peers, events[i].index, events[i].events, peer_rig_now_ns(rig));
	peers_tick(side->peers, peer_rig_now_ns(rig));
	while (peers_next(side->peers, &event, peer_rig_now_ns(rig)))
		side_note(side, &event);
	log_time(side->log, peer_rig_now_ns(rig));
}

void peer_rig_turn(struct peer_rig *rig)
{
	for (size_t i = 0; i < rig->sides; i++)
		if (rig->side[i].peers && !rig->side[i].stopped)
			side_turn(rig, &rig->side[i],
				  i + 1 == rig->sides ? CLOCK_NS_PER_MS / 2 : 0);
}

void peer_rig_run(struct peer_rig *rig, uint64_t ms)
{
	for (uint64_t passed = 0; passed < ms; passed += 20) {
		peer_rig_pass(rig, 20);
		for (int i = 0; i < 4; i++)
			peer_rig_turn(rig);
	}
}

const struct peer_rig_event *peer_rig_wait(struct peer_rig *rig, struct peer_rig_side *side,
					   enum peer_event_kind kind)
{
	uint64_t began_ns = clock_now_ns();

	for (;;) {
		for (size_t i = 0; i < side->count; i++) {
			struct peer_rig_event *note = &side->events[i];

			if (note->event.kind == kind && !note->taken) {
				note->taken = true;
				return note;
			}
		}
		if (clock_now_ns() - began_ns > LIMIT_NS)
			fail_msg("127.0.0.%zu waits for event %d in vain",
				 (size_t)(side - rig->side) + 1, (int)kind);
		peer_rig_turn(rig);
	}
}

size_t peer_rig_count(const struct peer_rig_side *side, enum peer_event_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < side->count; i++)
		count += side->events[i].event.kind == kind && !side->events[i].taken;
	return count;
}

uint16_t peer_rig_meet(struct peer_rig *rig, struct peer_rig_side *from, struct peer_rig_side *to)
{
	const struct peer_rig_event *met;
	struct peer_about about;
	struct err err;
	int dial = peers_dial(from->peers, peers_address(to->peers), peers_port(to->peers),
			      5 * CLOCK_NS_PER_S, peer_rig_now_ns(rig), &err);

	assert_true(dial >= 0);
	met = peer_rig_wait(rig, from, PEER_MET);
	assert_int_equal(met->event.dial, dial);
	peers_about(from->peers, met->event.peer, &about);
	assert_int_equal(about.node.instance, to->instance);
	assert_int_equal(peers_find(from->peers, to->instance), met->event.peer);
	return met->event.peer;
}

void peer_rig_send(struct peer_rig *rig, struct peer_rig_side *from, uint16_t peer, uint64_t first,
		   uint64_t last)
{
	for (uint64_t i = first; i <= last; i++) {
		struct wire_ready ready = {.group = i, .epoch = 1};

		peers_send(from->peers, peer, WIRE_READY, &ready, sizeof(ready),
			   peer_rig_now_ns(rig));
	}
}

void peer_rig_received(struct peer_rig *rig, struct peer_rig_side *side, uint64_t first,
		       uint64_t last)
{
	for (uint64_t i = first; i <= last; i++) {
		const struct peer_rig_event *note = peer_rig_wait(rig, side, PEER_FRAME);

		assert_int_equal(note->event.frame, WIRE_READY);
		assert_int_equal(note->event.bytes, sizeof(struct wire_ready));
		assert_int_equal(note->first, i);
	}
}

bool peer_rig_logged(const struct peer_rig_side *side, const char *text)
{
	char log[65536];
	ssize_t n = pread(side->log_fd, log, sizeof(log) - 1, 0);

	assert_true(n >= 0);
	log[n] = 0;
	return strstr(log, text) != NULL;
}
