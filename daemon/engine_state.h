/*
 * engine_state.h - what an engine is made of; for engine*.c alone.
 *
 *   engine.c         life, commands, the duty cycle
 *   engine_client.c  trainers' rings: submissions in, completions out
 *   engine_choice.c  ops whose codec is chosen as it goes: leases, measurements
 *   engine_net.c     frames: transport events in, sends, credits, acknowledgements
 */
#ifndef DAEMON_ENGINE_STATE_H
#define DAEMON_ENGINE_STATE_H

#include "daemon/engine.h"
#include "daemon/link.h"

enum { ENGINE_NOBODY = UINT16_MAX };

/* A trainer, seen from this lane. */
struct engine_client {
	bool used;
	bool leaving; /* no longer read, no longer told                               */
	bool bad;     /* broke a rule: told the main thread, not read any more         */
	unsigned char *base;
	struct shm_layout layout;
	int wake_fd;
	struct shm_port submit, complete;
	const struct shm_submission *submissions;
	struct shm_completion *completions;
	uint64_t doubtful; /* position of a submission whose handle was unknown; else UINT64_MAX */
	bool wake;         /* completions were written since it was last woken             */
	struct engine_seat {
		struct engine_group *group; /* NULL: no such handle on this lane */
		uint32_t local_rank;
	} seats[SHM_GROUPS_MAX]; /* by handle */
};

/* A group of which this lane moves a share. */
struct engine_group {
	bool used;
	bool removing;
	struct exchange *exchange;
	const uint16_t *peers;            /* [nodes], the main thread's */
	const struct tensors *tensors;    /* the main thread's; NULL: there are none */
	struct engine_group_stats *stats; /* the main thread's; NULL: nobody asks */
	uint64_t posted;                  /* highest seq that a local rank called */
	struct engine_tally {
		uint64_t seq;   /* of the last op here that is over           */
		uint64_t bytes; /* of the tensor of the last op here, posted  */
		/* with a chooser: */
		struct choice_sample choice; /* of the last call, if it is `measured`     */
		bool measured;
	} tally[EXCHANGE_OPS_MAX]; /* by seq % EXCHANGE_OPS_MAX */
	struct op_clock *clock;    /* of all lanes; NULL: nobody chooses on this node      */
	struct chooser *chooser;   /* NULL: not on this lane                              */
	uint64_t asked;            /* the last op for which we said NEEDS_LEASE            */
	bool choosing;             /* an op has left the choice of its codec to the group  */
	uint64_t waited_for;       /* by its op, when that was last looked at; 0: none */
	uint16_t node_of_peer[ENGINE_PEERS_MAX];
	uint64_t aborted; /* bit per local rank: its trainer said so, once is enough */
	uint32_t rank_client[EXCHANGE_LOCAL_MAX]; /* ENGINE_CLIENTS_MAX: nobody */
	uint32_t rank_handle[EXCHANGE_LOCAL_MAX];
};

/* A payload on its way into a slot. */
struct engine_arriving {
	struct exchange *exchange; /* NULL: of no group of ours, or nothing on its way */
	uint16_t node;
	void *memory; /* NULL: thrown away; its credits count */
};

struct engine_peer {
	bool used;
	bool removing;
	uint32_t attached; /* paths that the transport has */
	struct link link;
	struct engine_arriving arriving[WIRE_PATHS_MAX];
	uint64_t taken[WIRE_PATHS_MAX];   /* frames, numbered or not */
	const char *over[WIRE_PATHS_MAX]; /* as the main thread was told; NULL: nothing yet */
};

/* A text for another thread: version is odd while the lane writes. */
struct engine_text {
	_Atomic uint64_t version;
	_Atomic uint64_t words[ENGINE_TEXT_BYTES / sizeof(uint64_t)];
};

struct engine {
	struct engine_options options;
	const struct transport_ops *ops;
	struct transport *transport;
	struct mailbox commands, facts;
	struct engine_stats stats;
	bool stop;
	bool facts_put; /* since the main thread was last rung                  */
	uint64_t now_ns;
	uint64_t call_at_ns; /* when to look for ops that stand still                 */
	uint64_t lazy_at_ns; /* when small debts of credit and acknowledgement are paid; 0: none */
	uint32_t turn;       /* which group sends first                              */
	uint64_t described_ns;    /* when `about` was last written                      */
	struct engine_text about; /* of engine_describe()                            */

	struct engine_client *clients; /* [ENGINE_CLIENTS_MAX] */
	uint32_t clients_end;          /* all in use are below */
	struct engine_group *groups;   /* [ENGINE_GROUPS_MAX]  */
	uint32_t groups_end;
	struct engine_peer *peers; /* [ENGINE_PEERS_MAX]   */
	uint32_t peers_end;
	struct engine_path_stats *path_stats; /* [ENGINE_PEERS_MAX * WIRE_PATHS_MAX] */
};

/* A figure of the lane that other threads read. */
static inline void engine_count(_Atomic uint64_t *figure, uint64_t more)
{
	atomic_fetch_add_explicit(figure, more, memory_order_relaxed);
}

/* engine.c */
void engine_tell(struct engine *e, const struct engine_fact *fact);
bool engine_take_commands(struct engine *e);
struct engine_group *engine_group_of(struct engine *e, uint64_t id);
struct engine_group *engine_group_with(struct engine *e, const struct exchange *x);

/* engine_client.c */
void engine_client_add(struct engine *e, const struct engine_command *c);
void engine_client_remove(struct engine *e, uint32_t number);
void engine_clients_let_go(struct engine *e); /* those that are leaving and no longer needed */
bool engine_take_submissions(struct engine *e);
void engine_drain_client(struct engine *e, uint32_t number); /* all that is in its ring */
bool engine_give_completions(struct engine *e);
void engine_clients_sleep(struct engine *e); /* set the flags */
void engine_clients_awake(struct engine *e);
bool engine_clients_ready(struct engine *e); /* is there anything in a ring? */

/* engine_choice.c */
void engine_choice_posted(struct engine *e, struct engine_group *group, uint64_t seq,
			  uint32_t lanes);
void engine_choice_over(struct engine *e, struct engine_group *group, uint64_t seq, bool good);
void engine_choice_lease(struct engine *e, const struct engine_command *c);
void engine_choice_asked(struct engine *e, const struct engine_command *c);

/* engine_net.c */
void engine_path_add(struct engine *e, const struct engine_command *c);
void engine_path_cut(struct engine *e, uint16_t peer, uint16_t path);
void engine_peer_remove(struct engine *e, uint16_t peer);
bool engine_peer_finish_removal(struct engine *e, uint16_t peer);
bool engine_take_events(struct engine *e);
bool engine_send_frames(struct engine *e);
void engine_call_out(struct engine *e);  /* ops that stand still: CALL */
bool engine_pay_debts(struct engine *e); /* credits and acknowledgements */
bool engine_arriving_in(const struct engine *e, const struct exchange *x);

static inline bool engine_gathers(const struct engine *e, uint16_t peer, uint16_t path,
				  uint32_t *waiting)
{
	return e->ops->gathers && e->ops->gathers(e->transport, peer, path, waiting);
}

#endif
