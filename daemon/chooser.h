/*
 * chooser.h - the member that decides by which alternative tensors go: it measures, tries, settles.
 *
 * For each list of alternatives and class of sizes (choice.h) it is told how long ops took.  Each
 * alternative is tried for a period of so many ops and so long a time, all over which it is
 * measured, and those that are too close to tell are tried again, twice, and the median counts: the
 * same op takes 10 to 30 % more or less from one second to the next where processors are shared.
 * Short ones take twice as long for some milliseconds, or seconds: where trials were of less than
 * half a second of ops, what was within a factor of two is tried again at least once.  The one
 * with the least time for its bytes is taken, or one that loses less and is hardly slower.
 * Then it stays, until
 *
 *   - it has become slower (by a quarter, in the mean of the last periods): those that were faster
 *     than this are tried again at once;
 *   - a while has passed, of ops and of time: those that came close are tried again, now and then
 *     all.  The while doubles with each such trial; it is short again, and the trial of all, when
 *     its own time has become another one.
 *
 * Changes hold from the op on with which the last lease ended; leases are at least CHOOSER_PERIOD
 * ops long, so nothing changes twice in so many ops.  They are longer, up to 400, where
 * ops are short; so ops that become large go by what was chosen before for so many.
 * Pure: the time is passed in.  One of a group, on one lane of its lowest node.
 */
#ifndef DAEMON_CHOOSER_H
#define DAEMON_CHOOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/choice.h"

enum {
	CHOOSER_PERIOD = 100, /* ops, at least, between changes                          */
	CHOOSER_MARGIN = 32,  /* a lease is renewed when so few of its ops are left      */
	CHOOSER_SAMPLES_MIN = 12,
};
#define CHOOSER_PAUSE_NS UINT64_C(50000000) /* a period, at least, however short ops are */

struct chooser;

int chooser_new(struct chooser **out); /* Return: 0 or -ENOMEM */
void chooser_free(struct chooser *c);  /* NULL is allowed */

/* An op is over. */
void chooser_note(struct chooser *c, const struct choice_sample *sample);

/*
 * chooser_lease() - op `seq` is to begin, or somebody asks for it: is it time for a lease?
 * All leases must reach the members, in order.
 */
bool chooser_lease(struct chooser *c, uint64_t seq, uint64_t now_ns, struct choice_decision *out);

#endif
