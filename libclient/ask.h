/*
 * ask.h - a request to the daemon, and its answer.
 *
 * Several threads may ask at once; answers come in any order.  Whoever is the watcher (see
 * internal.h) receives them and hands them out by their id.
 */
#ifndef LIBCLIENT_ASK_H
#define LIBCLIENT_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/ctl.h"

struct carry;

/* On the stack of the thread that asks, in c->asks while it waits. */
struct ask {
	struct ask *next;
	uint32_t id;
	uint16_t kind; /* enum ctl_kind of the request                */
	bool done;     /* answered, or the connection is over         */
	int error;     /* negative errno: refused, `text` says why    */
	char text[CTL_TEXT_BYTES];
	struct ctl_created created; /* of CTL_CREATED                              */
	struct ctl_number number;   /* of CTL_NUMBER                               */
};

/*
 * ask_run() - locked: send a request, wait for its answer.
 * @ask: filled in
 * @kind: CTL_CREATE, CTL_TENSOR or CTL_DESTROY; @body, @bytes: what belongs to it
 * Return: 0; what the daemon answered or why it ended, with a sentence; -ETIMEDOUT with
 * ask->done false: no answer until deadline_ns.
 */
int ask_run(struct carry *c, struct ask *ask, uint16_t kind, const void *body, uint32_t bytes,
	    uint64_t deadline_ns);

/* ask_answer() - locked, watcher: hand out a packet that came.  @packet: aligned to 8 */
void ask_answer(struct carry *c, const void *packet, size_t bytes);

/* ask_end() - locked: the connection is over, nobody gets an answer any more. */
void ask_end(struct carry *c);

/* ask_verdict() - why an answer cannot be used, for the rest of a sentence that begins "carryd". */
const char *ask_verdict(enum ctl_verdict verdict);

#endif
