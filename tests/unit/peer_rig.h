/*
 * peer_rig.h - daemons' peers on 127.0.0.x in one process, each with its own loop, driven in
 * turn until something happened.
 *
 * Sockets are real; time is the clock's plus what a test adds to it, so that no test waits for
 * a limit to pass.  A side that is stopped is not driven, like a process after SIGSTOP.
 */
#ifndef TESTS_UNIT_PEER_RIG_H
#define TESTS_UNIT_PEER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/peer.h"

enum { PEER_RIG_SIDES = 3, PEER_RIG_EVENTS = 4096, PEER_RIG_DEAD_MS = 1000 };

struct peer_rig_event {
	struct peer_event event; /* payload is gone                      */
	uint64_t first;          /* first 8 bytes of it, 0 without them  */
	uint32_t crc;
	bool taken;
};

struct peer_rig_side {
	struct config config;
	struct loop *loop;
	struct log *log;
	struct peers *peers;
	uint64_t instance;
	int log_fd; /* a memfd */
	bool stopped;
	struct peer_rig_event *events;
	size_t count;
};

struct peer_rig {
	struct peer_rig_side side[PEER_RIG_SIDES];
	size_t sides;
	uint32_t offers; /* of those opened from now on */
	uint64_t added_ns;
};

struct peer_rig *peer_rig_new(void);
void peer_rig_free(struct peer_rig *rig);

/* A daemon on 127.0.0.(1 + number); `config` is more text for its configuration. */
struct peer_rig_side *peer_rig_add(struct peer_rig *rig, uint64_t instance, const char *config);
void peer_rig_open(struct peer_rig *rig, struct peer_rig_side *side, uint64_t instance);
void peer_rig_close(struct peer_rig *rig, struct peer_rig_side *side);

uint64_t peer_rig_now_ns(const struct peer_rig *rig);
void peer_rig_pass(struct peer_rig *rig, uint64_t ms); /* time, without driving anybody */
/* Time in which everybody is driven, in steps shorter than heartbeats. */
void peer_rig_run(struct peer_rig *rig, uint64_t ms);
void peer_rig_turn(struct peer_rig *rig); /* everybody once, waiting 1 ms at most */

/* Drive until the side has seen such an event that was not taken yet; fails after 10 s. */
const struct peer_rig_event *peer_rig_wait(struct peer_rig *rig, struct peer_rig_side *side,
					   enum peer_event_kind kind);
/* How many such events there are that were not taken. */
size_t peer_rig_count(const struct peer_rig_side *side, enum peer_event_kind kind);

/* Dial and be met.  Return: the peer's number. */
uint16_t peer_rig_meet(struct peer_rig *rig, struct peer_rig_side *from, struct peer_rig_side *to);
/* READY frames with these numbers as groups. */
void peer_rig_send(struct peer_rig *rig, struct peer_rig_side *from, uint16_t peer, uint64_t first,
		   uint64_t last);
/* They came, each once, in order. */
void peer_rig_received(struct peer_rig *rig, struct peer_rig_side *side, uint64_t first,
		       uint64_t last);

/* Does the log contain the text? */
bool peer_rig_logged(const struct peer_rig_side *side, const char *text);

#endif
