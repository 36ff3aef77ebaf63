/*
 * world.h - a whole cluster in one process: lanes, trainers, network, main threads.
 *
 * Real: struct engine and all below it, the rings and the arena (plain memory), the
 * transports "sim" and "fault".  Played: trainers, who post what they were told to and
 * read completions; and a main thread for each node, which connects paths, forms
 * groups and turns facts into commands, each lane hearing of them at a time of its own.
 *
 * A node whose lanes a test plays itself has bare transports in their place: world_make_raw().
 *
 *   world_open() -> world_add_group()... -> world_start() -> world_turn() until done
 *                -> world_end() -> world_close()
 *
 * The clock is the simulated network's.  Everything follows from options.seed.  What
 * must not happen ends the program with one line that names the seed.
 *
 * Numbers: a node of the world is not a node of a group (world_group.node_of), and the
 * peer that a lane knows a node by is another number again (world_peer()).
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/engine.h"
#include "daemon/transport/sim.h"

enum {
	WORLD_NODES_MAX = 9,
	WORLD_LANES_MAX = 4,
	WORLD_LOCAL_MAX = 3, /* trainers of a node */
	WORLD_RANKS_MAX = WORLD_NODES_MAX * WORLD_LOCAL_MAX,
	WORLD_GROUPS_MAX = 4,
	WORLD_OPS_MAX = 200, /* of a group, in all */
	WORLD_PATHS_MAX = 3,
	WORLD_TIMERS_MAX = 8192,
	WORLD_HANDLE = 5, /* handle of group g: 5 + g */
};

struct world_dice {
	uint64_t state;
};
uint32_t world_roll(struct world_dice *d, uint32_t sides); /* 0..sides-1 */

struct world_options {
	uint64_t seed; /* of everything that may not change a result */
	uint16_t nodes, lanes, paths;
	uint32_t local[WORLD_NODES_MAX]; /* trainers of each node                       */
	uint64_t arena_bytes;
	uint32_t queue_frames;
	bool payload_crc;
	bool harm; /* cuts, torn payloads, flipped bits, delays                */
	struct sim_shape shape;
};

/* An op as all its ranks should call it. */
struct world_op {
	struct op_call call;
	uint64_t in_offset, out_offset; /* in every rank's arena               */
	bool noise;                     /* values that do not add exactly      */
};

struct world_rank {
	uint16_t node;    /* of the world                                              */
	uint32_t trainer; /* of that node                                              */
	uint16_t group_node;
	uint32_t local; /* among the group's ranks there                             */
	uint64_t most;  /* it posts no op beyond                                     */
	uint64_t posted[WORLD_LANES_MAX];
	uint8_t done[WORLD_OPS_MAX + 1]; /* bit per lane: completion came              */
	int status[WORLD_OPS_MAX + 1];   /* the first that was not 0                   */
	uint64_t odd_seq;                /* 0, or the op that it calls otherwise       */
	struct op_call odd;
	bool gone;             /* its trainer died or has left the group                          */
	int why;               /* ... and its groups end behind it with this, unless 0 */
	uint32_t posted_facts; /* RANK_POSTED of lanes                                 */
	uint64_t posted_least;
};

struct world_group {
	uint64_t id;
	uint32_t epoch;
	uint16_t nodes;
	uint16_t node_of[WORLD_NODES_MAX]; /* of the world                            */
	uint32_t ranks, ranks_of_node[WORLD_NODES_MAX];
	struct world_rank rank[WORLD_RANKS_MAX];
	uint64_t ops;
	struct world_op op[WORLD_OPS_MAX + 1];
	uint16_t schedule; /* forced by the group */
	uint32_t slots, buffers, chunk_bytes_max, chunk_bytes_usual;
	uint64_t flat_bytes_max;
	struct owner_table owners;
	struct exchange *x[WORLD_NODES_MAX][WORLD_LANES_MAX]; /* [group_node] */
	uint16_t peers[WORLD_NODES_MAX][WORLD_NODES_MAX];
	struct engine_group_stats stats[WORLD_NODES_MAX][WORLD_LANES_MAX];
	bool removed[WORLD_NODES_MAX][WORLD_LANES_MAX];
	int ended[WORLD_OPS_MAX + 1]; /* decided: error of that op, 0: none          */
	uint64_t over_from;           /* all from here were ended; UINT64_MAX: none  */
};

struct world_trainer {
	bool attached, dead;
	bool hostile;     /* its rings are not ours to use: it may be bad                 */
	uint32_t removed; /* CLIENT_REMOVED of lanes */
	unsigned char *base;
	struct shm_layout layout;
	struct shm_port submit[WORLD_LANES_MAX], complete[WORLD_LANES_MAX];
};

/* A path between nodes a < b on one lane; side 0 is a's. */
struct world_path {
	int ends[2];
	bool up[2];
	bool closed; /* not to be made again */
	uint32_t received[2];
	uint32_t made; /* how often */
};

struct world_node {
	bool dead, hostile;
	struct engine *lanes[WORLD_LANES_MAX];
	struct transport *raw[WORLD_LANES_MAX]; /* instead, of a node that a test plays itself */
	bool peer_removed[WORLD_NODES_MAX][WORLD_LANES_MAX];
	struct world_trainer trainers[WORLD_LOCAL_MAX];
};

/* A command that a lane will find in its mailbox at due_ns. */
struct world_timer {
	uint64_t due_ns;
	uint16_t node, lane;
	struct engine_command command;
};

struct world {
	struct world_options options;
	struct world_dice dice;
	const struct vec *vec;
	struct sim_net *net;
	uint64_t now_ns;
	struct world_node node[WORLD_NODES_MAX];
	struct world_path path[WORLD_LANES_MAX][WORLD_NODES_MAX][WORLD_NODES_MAX][WORLD_PATHS_MAX];
	uint32_t groups;
	struct world_group *group[WORLD_GROUPS_MAX];
	struct world_timer *timers; /* [WORLD_TIMERS_MAX], in no order */
	uint32_t timers_count;
	uint64_t last_due_ns[WORLD_NODES_MAX][WORLD_LANES_MAX];
	uint64_t facts[ENGINE_PEER_LIES + 1]; /* how many of each kind                */
	struct engine_fact last;
	struct exchange_mismatch mismatch; /* the last one                            */
	uint64_t idle_ns;                  /* since something happened                */
	bool mismatch_over;                /* a mismatch ends all that follows, too   */
};

enum {
	WORLD_MISMATCH = -74,
	WORLD_TOO_BIG = -27,
	WORLD_DAMAGED = -5,
	WORLD_ABORTED = -125,
	WORLD_DIED = -112,
	WORLD_LEFT = -107,
};

void world_fail(const struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* --- world.c: life and time ----------------------------------------------------------------- */

/* --seeds N --first SEED; @run: once a seed; @done: what has been shown.  Return: for main(). */
int world_main(int argc, char **argv, uint64_t seeds, void (*run)(uint64_t seed), const char *done);

struct world *world_open(const struct world_options *options);
/* A group of those nodes and all their trainers; ops, slots etc. are filled in later. */
struct world_group *world_add_group(struct world *w, const uint16_t *nodes, uint16_t n);
/* That trainer is no rank of g after all; before world_start(). */
void world_without(struct world_group *g, uint16_t node, uint32_t trainer);
/* The node's lanes are bare transports; before world_start(). */
void world_make_raw(struct world *w, uint16_t node);
/* Give the ops of all groups their place in the arena.  Return: bytes. */
uint64_t world_place_ops(struct world *w);
void world_start(struct world *w); /* exchanges are made, lanes told, paths joined        */
/* Everybody does something; if nobody has anything to do, time passes. */
void world_turn(struct world *w);
void world_turns(struct world *w, uint32_t n);
/* Turn until all ranks that live have their completions of all that they post. */
void world_finish(struct world *w);
bool world_finished(const struct world *w);
/* world_rank_over() - has op `seq` ended for it on all lanes that take part? */
bool world_rank_over(const struct world *w, const struct world_group *g,
		     const struct world_rank *rank, uint64_t seq);
bool world_rank_finished(const struct world *w, const struct world_group *g,
			 const struct world_rank *rank);
/* Ranks leave, groups, trainers and peers are removed; every lane must say so. */
void world_end(struct world *w);
void world_close(struct world *w);

/* --- world_main.c: the main threads --------------------------------------------------------- */

uint16_t world_peer(uint16_t node);
void world_command(struct world *w, uint16_t node, uint16_t lane, uint64_t in_ns,
		   const struct engine_command *command);
bool world_run_timers(struct world *w);
uint64_t world_next_timer(const struct world *w);
void world_connect_all(struct world *w);
void world_part_all(struct world *w);
bool world_take_facts(struct world *w);
/* Of a raw node: what it reads, it throws away.  Return: whether anything came. */
bool world_raw_turn(struct world *w, uint16_t node);
/* A path of a raw node to `other`, as long as it is up; else NULL. */
const struct world_path *world_raw_path(const struct world *w, uint16_t node, uint16_t lane,
					uint16_t other, uint16_t path);
/* END at every living member, at times of their own. */
void world_decide(struct world *w, struct world_group *g, uint64_t first, uint64_t last, int error);
void world_kill_trainer(struct world *w, uint16_t node, uint32_t trainer);
void world_kill_node(struct world *w, uint16_t node); /* its lanes stop; the others hear of it */
void world_leave(struct world *w, struct world_group *g, struct world_rank *rank, int why);

/* --- world_trainer.c ------------------------------------------------------------------------ */

void world_attach(struct world *w, uint16_t node, uint32_t trainer);
void world_detach(struct world_trainer *t);
bool world_trainers_turn(struct world *w);
bool world_submit(struct world *w, struct world_trainer *t, uint16_t lane,
		  const struct shm_submission *s);
struct world_trainer *world_trainer_of(struct world *w, const struct world_rank *rank);
void world_abort(struct world *w, struct world_group *g, struct world_rank *rank);
unsigned char *world_in(struct world *w, const struct world_group *g, uint32_t rank, uint64_t seq);
unsigned char *world_out(struct world *w, const struct world_group *g, uint32_t rank, uint64_t seq);

/* --- world_values.c ------------------------------------------------------------------------- */

void world_fill(struct world *w, const struct world_group *g); /* inputs of all ranks */
/* All ranks that ended op seq well have the same bits, and the sum, if it can be told. */
void world_check_op(struct world *w, const struct world_group *g, uint64_t seq);
uint32_t world_hash_op(struct world *w, const struct world_group *g,
		       uint64_t seq); /* of the result */

#endif
