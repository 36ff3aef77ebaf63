/*
 * coding.h - which codec and feedback an op goes with, and the daemon's number for it.
 *
 * The words are the caller's, the group's or a rule's for keys; what they mean is the daemon's to
 * say (CTL_TENSOR), once for each combination; the number is kept with the group.
 */
#ifndef LIBCLIENT_CODING_H
#define LIBCLIENT_CODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/carry.h"
#include "proto/ctl.h"

struct carry;
struct carry_group;

#define CODING_BYTES_MIN 16384 /* of a tensor, unless the group says so */
#define CODING_RULES_MAX 32

/* What a group's ops go with unless they say so themselves. */
struct coding_default {
	struct replay *replay; /* NULL: `codec` it is */
	char codec[CTL_SPEC_BYTES], feedback[CTL_SPEC_BYTES];
	uint64_t bytes_min;
	uint32_t rules;
	struct coding_rule {
		char pattern[64]; /* of keys, as fnmatch() takes it */
		char codec[CTL_SPEC_BYTES];
	} rule[CODING_RULES_MAX];
};

/* A combination that the daemon has given a number. */
struct coding_number {
	struct coding_number *next;
	struct ctl_tensor asked;
	uint16_t coding; /* of submissions; 0: dense */
};

/* An op, as far as this is concerned. */
struct coding_call {
	const char *key;
	uint64_t key_hash;
	uint64_t count;
	size_t bytes;
	enum carry_type type;
	enum carry_reduce reduce;
	uint64_t seq;        /* that it will have      */
	bool other_schedule; /* than direct is forced */
};

/*
 * coding_default_read() - from the options of a group; asks the daemon about words.  Not locked.
 * @name: of the group
 * Return: 0, or negative errno with a sentence.  Either way there is something to free.
 */
int coding_default_read(struct coding_default *d, struct carry *c, const char *name,
			const struct carry_group_options *o);
void coding_default_free(struct coding_default *d);

/*
 * coding_of() - locked, may let the lock go: the number for this op.
 * @coding: 0: dense
 * @state: the hash of the key whose state the op changes; 0: none
 * Return: 0, or negative errno with a sentence.
 */
int coding_of(uint16_t *coding, uint64_t *state, struct carry_group *g,
	      const struct coding_call *call, const struct carry_op_options *o);

void coding_free(struct coding_number *numbers);

#endif
