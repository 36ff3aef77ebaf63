/*
 * report.h - what carryctl gets to see, as JSON with stable keys.
 *
 * "status"  version, process, lanes and their counters, trainers, memory account
 * "groups"  groups and their peers (control.c makes it), and what each group did on this node:
 *             ops_done, ops_failed, ops_in_flight (an op counts once, whatever the number of
 *             local ranks and lanes), bytes_reduced (tensors of ops done), payload_sent (to others)
 * "links"   data connections of each lane to each daemon: over RDMA (which device) or TCP (why not
 *             RDMA), frames and bytes since that daemon is known; and the lanes' counters
 * "config"  every key of the configuration with value, default, range and origin
 *
 * Pure but for what it reads of clients: the caller brings the numbers.
 */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/client.h"
#include "daemon/config.h"
#include "daemon/err.h"

/* A lane's counters, as engine.h has them. */
#define REPORT_COUNTERS(X)  \
	X(rounds)           \
	X(slept)            \
	X(syscalls)         \
	X(ops_done)         \
	X(ops_failed)       \
	X(payload_sent)     \
	X(payload_received) \
	X(wire_sent)        \
	X(wire_received)    \
	X(frames_sent)      \
	X(frames_received)  \
	X(frames_stale)     \
	X(frames_resent)    \
	X(zerocopy_sends)   \
	X(zerocopy_copied)  \
	X(work_requests)    \
	X(completions)      \
	X(registrations)    \
	X(registered_bytes) \
	X(retries_exceeded) \
	X(rnr_exceeded)     \
	X(requests_failed)

struct report_lane {
	const char *transport; /* its features, for people */
#define X(counter) uint64_t counter;
	REPORT_COUNTERS(X)
#undef X
};

struct report {
	const char *version;
	pid_t pid;
	uint64_t uptime_ns;
	const struct config *config;
	const struct clients *clients;
	const struct report_lane *lanes; /* [lane_count] */
	uint32_t lane_count;
	json_t *groups; /* arrays; borrowed */
	json_t *peers;
	json_t *paths;
	json_t *state; /* NULL if it was not asked for */
};

/*
 * report_answer() - the report called `what`.
 * Return: JSON text of malloc, or NULL and *err: there is no such report, or no memory.
 */
char *report_answer(const struct report *r, const char *what, struct err *err);

/* report_text() - a string of any bytes; if it is not UTF-8, '?' stands for what is not ASCII. */
json_t *report_text(const char *text);

#endif
