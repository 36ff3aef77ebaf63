/*
 * group.h - the members of a group, as one daemon sees them; and the words about them.
 *
 * Pure: made from a TABLE, changed by what control.c tells it.  It knows which node has
 * which ranks, which of them are ours and how far they are on their way out, and which
 * ops have been ended by the decider (node 0).
 *
 * A local rank:  GROUP_RANK_HERE -> GROUP_RANK_LEAVING (lanes were asked how far it
 * posted) -> GROUP_RANK_LEFT (all lanes answered; `posted` is the least of their answers)
 */
#ifndef DAEMON_GROUP_H
#define DAEMON_GROUP_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/err.h"
#include "daemon/exchange.h"
#include "proto/wire.h"

/*
 * Why ops end, the only place that says it; carry.h tells users the same.
 *   a rank, its host or its daemon died      GROUP_DIED
 *   a rank destroyed the group               GROUP_LEFT
 *   carry_group_abort()                      GROUP_ABORTED
 *   ranks called different ops               GROUP_MISMATCH
 *   the tensor has too many chunks           GROUP_TOO_BIG
 *   an input does not match its checksum     GROUP_DAMAGED
 *   two ops at once on one key's state       GROUP_BUSY
 *   a daemon is being stopped                GROUP_STOPPED
 */
enum {
	GROUP_DIED = -EHOSTDOWN,
	GROUP_LEFT = -ENOTCONN,
	GROUP_ABORTED = -ECANCELED,
	GROUP_MISMATCH = -EBADMSG,
	GROUP_TOO_BIG = -EFBIG,
	GROUP_DAMAGED = -EIO,
	GROUP_BUSY = -EBUSY,
	GROUP_STOPPED = -EHOSTDOWN,
};

enum group_rank_state { GROUP_RANK_HERE = 0, GROUP_RANK_LEAVING, GROUP_RANK_LEFT };

/* A rank whose trainer is attached to this daemon. */
struct group_local {
	uint32_t rank;
	uint32_t client, handle; /* the trainer, and its name for the group                */
	uint32_t pid;
	enum group_rank_state state;
	uint32_t answers; /* of lanes: RANK_POSTED                                    */
	uint64_t posted;  /* least of them                                            */
	int error;        /* why it leaves: GROUP_LEFT or GROUP_DIED                  */
	char why[WIRE_TEXT_BYTES];
};

struct group_node {
	struct wire_node about;
	uint32_t ranks; /* how many */
	bool dead;
};

struct group {
	uint64_t id;
	char name[WIRE_NAME_BYTES], run[WIRE_NAME_BYTES];
	uint32_t uid, epoch;
	uint16_t nodes, node; /* node: ours */
	uint32_t ranks;
	/* agreed, whatever our own configuration says */
	uint32_t lanes, chunk_bytes_max, chunk_bytes_usual, flat_bytes_max;
	uint16_t schedule, paths;
	struct group_node *node_list; /* [nodes] */
	uint32_t *ranks_of_node;      /* [nodes], for exchange_plan */
	uint16_t *node_of_rank;       /* [ranks] */
	uint32_t local_ranks;
	struct group_local local[EXCHANGE_LOCAL_MAX];
	uint64_t ended_ops[EXCHANGE_OPS_MAX]; /* single ones, by seq % EXCHANGE_OPS_MAX */
	/* what the decider has ended: from here on everything, UINT64_MAX: nothing */
	uint64_t ended_from;
	int ended_error;
	char ended_text[WIRE_TEXT_BYTES];
	char op_text[WIRE_TEXT_BYTES]; /* of the last op that was ended alone; "": none */
};

/*
 * group_new() - from a table that passed wire_table_check().
 * @instance: ours
 * Return: 0; -ENOMEM, -EPROTO (we are not in it), -E2BIG (too many ranks here) and *err.
 */
int group_new(struct group **out, const struct wire_table *table, uint64_t instance,
	      struct err *err);
void group_free(struct group *g); /* NULL is allowed */

/* Return: node of that instance, or -1. */
int group_node_of(const struct group *g, uint64_t instance);

/*
 * group_ending() - would END first..last change anything?  If so it is noted.  A range
 * has one op or no end.
 */
bool group_ending(struct group *g, uint64_t first, uint64_t last, int error, const char *text);

/*
 * group_end_words() - `text`, for trainers.  They have one place for it, and a trainer that was
 * slow to look may find it in the place of what ended an op before; so that is repeated.
 */
void group_end_words(const struct group *g, const char *text, char *out, size_t bytes);

/* A lane says how far a leaving rank posted.  Return: whether all `lanes` have said so now. */
bool group_rank_posted(struct group *g, uint32_t local, uint64_t seq);
bool group_all_left(const struct group *g); /* every local rank is GROUP_RANK_LEFT */

/* --- words ------------------------------------------------------------------------------------ */

/* "rank 3" or "ranks 0, 2, 5-7" of those for which has[rank]; ends in "..." if it is too long. */
void group_ranks_text(const bool *has, uint32_t ranks, char *text, size_t bytes);
/* "node 2 (host b, 10.0.0.3:7117, ranks 4-5)" */
void group_node_text(const struct group *g, uint16_t node, char *text, size_t bytes);
/* "ranks 4-5 on host b" */
void group_node_ranks_text(const struct group *g, uint16_t node, char *text, size_t bytes);
/* "rank 3 (pid 17 on host a)" */
void group_local_text(const struct group *g, const struct group_local *local, char *text,
		      size_t bytes);
/* "op 12: ranks 4-5 on host b called allreduce f32 x 2048 sum, ranks 0-1 on host a ..." */
void group_mismatch_text(const struct group *g, const struct exchange_mismatch *m, char *text,
			 size_t bytes);
/*
 * group_trouble_text() - "op 12: rank 3 (pid 17 on host a) called ..., but ... is the most"
 * Return: the error with which the op should end.
 */
int group_trouble_text(const struct group *g, const struct exchange_trouble *t, char *text,
		       size_t bytes);
/* An address with its port: "10.0.0.3:7117", "[fd00::3]:7117". */
void group_endpoint_text(const char *address, uint16_t port, char *text, size_t bytes);

#endif
