/*
 * rig.h - two instances of a transport, joined by lines, and traffic over them that is
 * checked frame by frame.
 *
 * A *line* is a path between the two sides; it has a name of its own on each.  A line's
 * flow[s] is what side s sends on it: frames number 0, 1, 2..., of the given sizes,
 * whose headers and payloads follow from (line, side, number).  rig_turn() sends what
 * there is room for, polls once and checks every rule of transport.h that an event
 * can break: order, contents, cookies once, nothing after DOWN.
 *
 * Payloads lie in memory of their own, which is overwritten and freed as soon as the
 * transport says that it may be (SENT, DOWN): AddressSanitizer sees who comes late.
 */
#ifndef TESTS_COMMON_RIG_H
#define TESTS_COMMON_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/transport/sim.h"
#include "daemon/transport/transport.h"

enum { RIG_LINES_MAX = 16, RIG_EVENTS_MAX = 64 };

/* What is tested: an entry of the table and how to open it. */
struct rig_variant {
	const char *name;
	const char *transport;
	int family; /* AF_INET, AF_INET6, AF_UNSPEC: over sim */
	struct transport_options options;
};

struct rig_flow {
	const uint32_t *sizes; /* of payloads */
	uint32_t count;
	uint32_t queued;    /* given to send()   */
	uint32_t sent;      /* reported by SENT  */
	uint32_t announced; /* HEADERs           */
	uint32_t received;  /* FRAMEs            */
	uint64_t discarded; /* payloads thrown away */
	void **payloads;    /* by number, of those that are with the transport */
	void *placed;       /* where the frame announced last goes */
	bool waiting;       /* ... which was not said yet          */
};

struct rig_line {
	uint16_t peer[2], path[2];
	int fd[2]; /* as given to attach() */
	struct rig_flow flow[2];
	bool up[2];
	int error[2]; /* of its DOWN */
	enum wire_verdict verdict[2];
	uint32_t discard_every; /* place(NULL) for every so many frames; 0: none */
	bool hold;              /* do not answer HEADERs yet */
};

struct rig {
	const struct rig_variant *variant;
	const struct transport_ops *ops;
	struct transport *side[2];
	struct sim_net *net;
	int wake[2], bell[2]; /* epoll descriptors; the eventfds in them */
	size_t events_max; /* size of the array given to poll() */
	uint32_t lines_count;
	struct rig_line lines[RIG_LINES_MAX];
};

/* Every transport, plain and with its features on and off; loops end at .name NULL. */
extern const struct rig_variant rig_variants[];

/* Return: whether this machine has what the variant needs (IPv6). */
bool rig_possible(const struct rig_variant *variant);

/* A connected pair of TCP sockets on the loopback interface, or -1: no such family here. */
int rig_sockets(int family, int fds[2]);

void rig_open(struct rig *rig, const struct rig_variant *variant);
void rig_open_seed(struct rig *rig, const struct rig_variant *variant, uint64_t seed);
void rig_close(struct rig *rig);

/* Join the sides by a line with these names on side 0 and side 1.  Its number is returned. */
uint32_t rig_join(struct rig *rig, uint16_t peer0, uint16_t path0, uint16_t peer1, uint16_t path1);

/* Let side `from` of the line send `count` more frames of these sizes; sizes must stay. */
void rig_load(struct rig *rig, uint32_t line, int from, const uint32_t *sizes, uint32_t count);

/* Answer the HEADER that was held. */
void rig_place(struct rig *rig, uint32_t line, int to);

/* The header and payload that `number` of a flow must have. */
struct wire_frame rig_frame(uint32_t line, int from, uint32_t number, uint32_t bytes);
void rig_fill(unsigned char *payload, uint32_t line, int from, uint32_t number, uint32_t bytes);

/* One turn of a side.  Return: how many events there were. */
size_t rig_turn(struct rig *rig, int side);

/* Both sides in turn until everything that was loaded was received and SENT, or fail. */
void rig_finish(struct rig *rig);

/* ... or until the line is DOWN on that side. */
void rig_until_down(struct rig *rig, uint32_t line, int side);

/* ... or until what was loaded on this line is through. */
void rig_finish_line(struct rig *rig, uint32_t line);

/* ... or until a HEADER on this line waits for rig_place(). */
void rig_until_held(struct rig *rig, uint32_t line, int to);

/* Until nothing has happened for a while; a busy machine may make it seem so. */
void rig_settle(struct rig *rig);

#endif
