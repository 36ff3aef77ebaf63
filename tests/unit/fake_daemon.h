/*
 * fake_daemon.h - a carryd in a thread of the test, that can be told to misbehave.
 *
 * Speaks proto/ctl.h and proto/shm.h for any number of trainers.  Every group is complete at once:
 * its other ranks are imagined, and contribute what this one does.  So AVG, MIN and MAX give the
 * input, SUM of `ranks` ranks gives ranks * input (f32, f64, i32, i64), and what else there is
 * gives the input.  Lane l of n writes elements [count*l/n, count*(l+1)/n).
 */
#ifndef TESTS_UNIT_FAKE_DAEMON_H
#define TESTS_UNIT_FAKE_DAEMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_CLIENTS_MAX 8
#define FAKE_ARENA_BYTES (4u << 20) /* unless the trainer wants another size */
#define FAKE_REFUSAL "this daemon takes nobody today"

/* What happens to a trainer that wants to attach. */
enum fake_attach {
	FAKE_ATTACH = 0,
	FAKE_REFUSE,     /* CTL_ERROR, -EPERM, FAKE_REFUSAL             */
	FAKE_HANG_UP,    /* closes the connection                       */
	FAKE_SILENT,     /* never answers                               */
	FAKE_VERSION,    /* answers with CTL_VERSION + 1                */
	FAKE_FEW_FDS,    /* one descriptor too few                      */
	FAKE_BAD_LAYOUT, /* a shm_header that says another arena        */
	FAKE_WRONG_SIZE, /* says another total_bytes than the memfd has */
	FAKE_WRONG_KIND, /* answers CTL_OK                              */
};

/* What happens to a request of an attached trainer. */
enum fake_ask {
	FAKE_ANSWER = 0,
	FAKE_NO_ANSWER,   /* keeps the answer until the mode changes       */
	FAKE_ASK_ERROR,   /* CTL_ERROR, -EEXIST, "rank 0 is given twice"   */
	FAKE_ASK_WRONG,   /* CTL_CREATED for a destroy, CTL_OK for a create */
	FAKE_ASK_GARBLED, /* a bad magic number                            */
	FAKE_ASK_LANES,   /* more lanes than there are                     */
};

/* Completions that make no sense; each is sent once. */
enum fake_garbage {
	FAKE_NO_GARBAGE = 0,
	FAKE_BAD_SEQ,
	FAKE_BAD_GROUP,
	FAKE_BAD_STATUS,
	FAKE_BAD_RING, /* tail far ahead */
	FAKE_TWICE,    /* a lane answers twice; needs 2 lanes */
};

/* May be changed at any time with fake_set(). */
struct fake_control {
	enum fake_attach attach;
	enum fake_ask ask;
	enum fake_garbage garbage;
	bool hold;  /* ops are taken and not completed                     */
	bool deaf;  /* rings are not read                                  */
	bool die;   /* end at once, as a process does                      */
	int status; /* negative errno that ops end with, or 0              */
	const char *why;
};

/* What it has seen. */
struct fake_seen {
	uint32_t clients; /* attached now                         */
	uint32_t groups;  /* created and not destroyed            */
	uint32_t destroys;
	uint32_t aborts;
	uint32_t holding;        /* submissions held, over all lanes     */
	uint64_t ops;            /* submissions of lane 0                */
	uint64_t passed;         /* submissions of lanes that don't take part */
	uint64_t woken;          /* doorbells of lanes but 0                  */
	uint64_t posted_through; /* ops of the last group destroyed */
	uint64_t key;            /* of the last submission               */
	uint16_t schedule;       /* of the last submission               */
	char name[64];           /* of the last create                   */
	char run[64];
	char root[64];
	uint16_t root_port;
	uint32_t timeout_ms;
};

struct fake;

/* fake_start() - listens on fake_path() when it returns.  @lanes: 1..16.  Asserts success. */
struct fake *fake_start(uint32_t lanes);
void fake_stop(struct fake *f); /* NULL is allowed */
const char *fake_path(const struct fake *f);

/* fake_set() - change its ways; returns when it has taken them. */
void fake_set(struct fake *f, struct fake_control control);

/* fake_look() - what it has seen so far. */
struct fake_seen fake_look(struct fake *f);

/* fake_wait() - until it has seen so many; asserts that this takes less than 10 s. */
enum fake_count { FAKE_CLIENTS, FAKE_GROUPS, FAKE_HOLDING };
void fake_wait(struct fake *f, enum fake_count what, uint32_t n);

/* pass_ms() - let time pass: for a thread to get to where it waits, or for nothing to happen. */
void pass_ms(unsigned int ms);

#endif
