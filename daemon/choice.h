/*
 * choice.h - which of its alternatives a tensor goes by: codec "auto:int8/int4".
 *
 * One member, the chooser (chooser.h), decides for each such list and class of sizes; all others
 * follow.  What it says is a lease: these changes hold from op `from` on, and nothing else changes
 * up to op `through`.  The next lease begins where the last one ended.  Nobody begins an op that
 * needs a choice before he has a lease for it; so everybody changes at the same op, whenever he
 * hears of it.
 *
 * Until something else is said the choice is alternative 0, dense.
 * Pure; each lane has its own.
 */
#ifndef DAEMON_CHOICE_H
#define DAEMON_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/err.h"
#include "proto/wire.h"

enum {
	CHOICE_ALTERNATIVES_MAX = WIRE_ALTERNATIVES_MAX, /* of a list, dense included */
	CHOICE_LISTS_MAX = 64,                           /* list and class of sizes, of a group */
	/*
	 * Leases with changes that have not begun yet.  They are CHOOSER_PERIOD ops apart, and a
	 * lane that small ops leave asleep is behind by no more ops than its rings hold.
	 */
	CHOICE_PENDING_MAX = 16,
	CHOICE_SPEC_BYTES = 128,
};

/* --- lists ------------------------------------------------------------------------------------ */

/* The codecs of a list; [0] is "none". */
struct choice_list {
	uint32_t count;
	char codec[CHOICE_ALTERNATIVES_MAX][CHOICE_SPEC_BYTES];
};

/*
 * choice_parse() - "auto" or "auto:CODEC/CODEC...": dense is always among them, and one more.
 * Return: 1; 0: it is no list but a codec; -EINVAL and *err.
 */
int choice_parse(struct choice_list *out, const char *spec, struct err *err);

/* Tensors whose sizes differ by less than a factor of two are of one class. */
uint8_t choice_size_class(uint64_t bytes);
uint64_t choice_class_bytes(uint8_t size_class); /* the least in it */

/* --- what was chosen -------------------------------------------------------------------------- */

/* By which alternative a list goes, for one class of sizes. */
struct choice {
	uint32_t list; /* digest */
	uint8_t size_class, alternative;
};

/* What lanes must know of a decision. */
struct choice_lease {
	uint64_t from, through;
	uint32_t count;
	struct choice changes[WIRE_CHOICES_MAX];
};

/* The chooser's, with what it has measured. */
struct choice_decision {
	uint64_t from, through;
	uint32_t count;
	struct wire_choice changes[WIRE_CHOICES_MAX];
	bool full; /* said once: a list and class had no room, and stay dense */
};

void choice_lease_of(struct choice_lease *out, const struct choice_decision *decision);

/* All zero: nobody has a lease. */
struct choices {
	uint64_t through;
	uint32_t count, pending; /* pending: ascending */
	struct choice now[CHOICE_LISTS_MAX];
	struct choice_lease leases[CHOICE_PENDING_MAX];
};

/*
 * choices_add() - @lease: begins where the last one ended.
 * @seq: the next op that may ask
 * Return: false: CHOICE_PENDING_MAX begin later than that.
 */
bool choices_add(struct choices *c, const struct choice_lease *lease, uint64_t seq);

/*
 * choices_at() - the alternative of a list, by its digest, and a class for op `seq`, which is at
 * most `through` and not lower than any that was asked for before.
 */
uint8_t choices_at(struct choices *c, uint32_t list, uint8_t size_class, uint64_t seq);

/* An op that went by a choice, for the chooser. */
struct choice_sample {
	uint64_t seq, bytes;
	/* As op_clock.h says; 0: it was over with the one before it. */
	uint64_t ns;
	uint32_t list;
	uint8_t size_class;
	uint8_t alternative, alternatives; /* by which it went, of how many */
};

#endif
