/*
 * control_state.h - what the control is made of; for control*.c alone.  See control.h
 * for which file does what.
 */
#ifndef DAEMON_CONTROL_STATE_H
#define DAEMON_CONTROL_STATE_H

#include "daemon/clock.h"
#include "daemon/control.h"
#include "daemon/group.h"
#include "daemon/peer.h"
#include "daemon/rendezvous.h"

static_assert((int)PEERS_MAX == (int)ENGINE_PEERS_MAX, "peers have one numbering");

#define CONTROL_NOBODY UINT16_MAX    /* as a peer: this daemon itself */
#define CONTROL_UID_CREATES_MAX 1024 /* pending, of one user */
#define CONTROL_UID_DIALS_MAX (PEER_DIALS_MAX / 4)
#define CONTROL_GRACE_NS (500 * CLOCK_NS_PER_MS) /* so that the root's sentence comes first */

/* A trainer's wish to be in a group, until it is answered. */
enum create_state {
	CREATE_DIALLING, /* who is at the root's address?                        */
	CREATE_JOINED,   /* JOIN was sent to `root`                              */
	CREATE_SETUP,    /* TABLE came: it has a seat in a group                 */
	CREATE_READY,    /* and READY was sent                                   */
};

struct create {
	struct create *next;
	struct ctl_create request;
	uint32_t client, id;
	bool gone;   /* the trainer died meanwhile */
	bool counts; /* pending: as a group; the others of that group do not */
	uint32_t pid, uid;
	enum create_state state;
	uint32_t dial;
	uint16_t root; /* JOINED, SETUP: a peer (held), or CONTROL_NOBODY           */
	uint64_t deadline_ns;
};

enum control_group_state {
	CONTROL_SETUP,    /* connections are made                                 */
	CONTROL_READY,    /* READY was sent                                       */
	CONTROL_RUNNING,  /* GO came                                              */
	CONTROL_REMOVING, /* all lanes were told GROUP_REMOVE                     */
};

/* What control knows of a local rank beside group_local. */
struct seat {
	struct create *create; /* until GO                                             */
	bool destroying;       /* a CTL_DESTROY waits                                  */
	uint32_t destroy_id;
	uint32_t destroy_client;
};

/* What was chosen, for people. */
struct choice_event {
	uint64_t from; /* op */
	struct wire_choice choice;
};

enum { CHOICE_HISTORY_MAX = 64 };
struct choice_record {
	uint64_t through;                  /* of the last lease                                   */
	uint64_t from[CHOICE_PENDING_MAX]; /* of the last leases with changes               */
	uint64_t leases;                   /* with changes                                        */
	uint64_t changes;                  /* events ever                                         */
	struct choice_event history[CHOICE_HISTORY_MAX]; /* number % ..._MAX               */
	uint32_t count;
	struct choice_event now[CHOICE_LISTS_MAX];
};

/*
 * Figures of a group, of all lanes together.  An op is done when all lanes are done with it, and
 * failed if one failed; what a lane has not heard of yet, as small ops are lane 0's alone, is done
 * there.
 */
struct control_figures {
	uint64_t posted, done, failed;
	uint64_t bytes;   /* of tensors of ops done */
	uint64_t payload; /* sent                   */
};

/* @stats: [lanes], which they write meanwhile. */
void control_figures(const struct engine_group_stats *stats, uint16_t lanes,
		     struct control_figures *out);

struct control_group {
	struct control_group *next;
	struct group *group;
	enum control_group_state state;
	uint16_t root; /* SETUP, READY: as in create (not held for it)             */
	bool failed;   /* SETUP: the root was told why                             */
	struct owner_table *owners;
	struct exchange *exchanges[WIRE_LANES_MAX]; /* [lanes of the group] */
	uint16_t *peers;  /* uint16[nodes], for the lanes; held                       */
	uint32_t removed; /* lanes that said GROUP_REMOVED                            */
	uint64_t memory_bytes;
	struct tensors *tensors; /* the lanes read them                  */
	struct chooser *chooser; /* lane 0's until GROUP_REMOVED; NULL: not on this node        */
	struct op_clock *clock;  /* the lanes'; with the chooser */
	struct choice_record choices;
	uint32_t local_rank[EXCHANGE_LOCAL_MAX];         /* numbers of the local ranks, for plans */
	struct engine_group_stats stats[WIRE_LANES_MAX]; /* written by the lanes      */
	struct seat seats[EXCHANGE_LOCAL_MAX];
};

/* A frame to ourselves. */
struct own_frame {
	struct own_frame *next;
	bool to_root; /* for the rendezvous, else for a member                        */
	enum wire_kind kind;
	uint32_t bytes;
	_Alignas(8) unsigned char payload[];
};

struct control_client {
	bool added, leaving;
	uint32_t removed; /* lanes that said CLIENT_REMOVED */
};

struct control_peer {
	bool rooted;  /* the rendezvous holds it                                      */
	bool leaving; /* lanes were told PEER_REMOVE                                   */
	uint32_t removed;
};

/* Commands that a lane's mailbox had no room for. */
struct backlog {
	struct engine_command *commands;
	uint32_t count, room;
};

struct control {
	const struct config *config;
	struct loop *loop;
	struct log *log;
	struct clients *clients;
	struct engine_thread *lanes[WIRE_LANES_MAX];
	uint32_t n;
	uint64_t instance;
	char host[WIRE_NAME_BYTES];
	const struct vec *vec;
	uint16_t schedule; /* forced by the configuration, 0: none */
	struct peers *peers;
	struct rendezvous *rendezvous;
	struct create *creates;
	struct control_group *groups;
	uint32_t group_count;
	struct own_frame *own_first, **own_last;
	struct backlog backlog[WIRE_LANES_MAX];
	bool stopping;
	struct control_client client[CLIENTS_MAX];
	struct control_peer peer[PEERS_MAX];
};

/* --- control.c ------------------------------------------------------------------------------ */

/* A command to one lane, or to the first `lanes` of them; never lost. */
void control_command(struct control *c, uint32_t lane, const struct engine_command *command);
void control_command_all(struct control *c, uint32_t lanes, const struct engine_command *command);

/* --- control_create.c ----------------------------------------------------------------------- */

void create_begin(struct control *c, const struct client_request *request, uint64_t now_ns);
void create_answer_error(struct control *c, struct create *create, int error, const char *text,
			 uint64_t now_ns);
/* It is not pending any more: another of that group counts now, if there is one. */
void create_settled(struct control *c, struct create *create);
/* Forget it, unanswered. */
void create_free(struct control *c, struct create *create, uint64_t now_ns);
void create_refused(struct control *c, uint16_t root, const struct wire_refuse *refusal,
		    uint64_t now_ns);
void create_dialled(struct control *c, const struct peer_event *event, uint64_t now_ns);
/* The root of all these is dead. */
void create_root_died(struct control *c, uint16_t peer, const char *text, uint64_t now_ns);
void create_client_gone(struct control *c, uint32_t client, const char *why, uint64_t now_ns);
/* Tell the root that this rank is out. */
void create_withdraw(struct control *c, const struct create *create, int error, const char *text,
		     uint64_t now_ns);
void create_tick(struct control *c, uint64_t now_ns);
uint64_t create_deadline_ns(const struct control *c);

/* --- control_setup.c ------------------------------------------------------------------------ */

void setup_begin(struct control *c, uint16_t root, const struct wire_table *table, uint64_t now_ns);
/* Is a group ready now, or cannot be?  Return: whether one was. */
bool setup_check(struct control *c, uint64_t now_ns);
void setup_go(struct control *c, uint16_t root, const struct wire_ready *go, uint64_t now_ns);
/* The root refused, or is dead, or it is too late: no group. */
void setup_undo(struct control *c, struct control_group *g, uint64_t now_ns);
/* It cannot be: tell the root, which refuses it to all. */
void setup_fail(struct control *c, struct control_group *g, int error, const char *text,
		uint64_t now_ns);
/* What it waits for: "node 0 (...) has no connection to node 2 (...)". */
void setup_trouble(const struct control *c, const struct control_group *g, char *text,
		   size_t bytes);
void setup_free(struct control *c, struct control_group *g, uint64_t now_ns);
struct control_group *control_group_of(struct control *c, uint64_t id);
struct control_group *control_group_with(struct control *c, const struct exchange *x);

/* Do the lanes have a device for RDMA, or wait for one? */
static inline bool control_has_verbs(const struct control *c)
{
	return (peers_offers(c->peers) & WIRE_OFFER_VERBS) != 0;
}

/* --- control_tensor.c ----------------------------------------------------------------------- */

/* CTL_TENSOR: how a trainer wants tensors to be sent. */
void tensor_request(struct control *c, const struct client_request *request);

/* --- control_choice.c ----------------------------------------------------------------------- */

/* The chooser, which is on one of our lanes, gives a lease. */
void choice_decided(struct control *c, struct control_group *g,
		    const struct choice_decision *decision, uint64_t now_ns);
void choice_needed(struct control *c, struct control_group *g, uint64_t seq, uint64_t now_ns);
/* Frames of another node. */
void choice_asked(struct control *c, struct control_group *g, const struct wire_choose *choose);
void choice_came(struct control *c, struct control_group *g, uint16_t peer,
		 const struct wire_lease *lease, uint64_t now_ns);
void choice_add_json(json_t *object, const struct control_group *g);

/* --- control_links.c ------------------------------------------------------------------------ */

/* Of a node of a group: over, paths_rdma, paths_tcp, why_not_rdma. */
void links_add_node(json_t *node, const struct control *c, const struct control_group *g,
		    uint16_t n);

/* --- control_end.c -------------------------------------------------------------------------- */

/* Ask the decider to end ops first..last. */
void end_propose(struct control *c, struct control_group *g, uint64_t first, uint64_t last,
		 int error, const char *text, uint64_t now_ns);
/* As the decider: END to all. */
void end_decide(struct control *c, struct control_group *g, uint64_t first, uint64_t last,
		int error, const char *text, uint64_t now_ns);
/* The decision has come. */
void end_apply(struct control *c, struct control_group *g, uint64_t first, uint64_t last, int error,
	       const char *text);
void end_rank_posted(struct control *c, struct control_group *g, uint32_t local, uint64_t seq,
		     uint64_t now_ns);
void end_rank_left(struct control *c, struct control_group *g, uint32_t local, uint64_t now_ns);
void end_destroy(struct control *c, const struct client_request *request);
void end_client_gone(struct control *c, uint32_t client, const char *why);
void end_peer_died(struct control *c, uint16_t peer, const char *text, uint64_t now_ns);
/* GO came, and a node has died meanwhile. */
void end_if_dead(struct control *c, struct control_group *g, uint64_t now_ns);
/* We said READY and will not be in: whoever got GO must know. */
void end_give_up(struct control *c, struct control_group *g, uint64_t now_ns);
void end_all(struct control *c, const char *text, uint64_t now_ns);
/* Groups that all local ranks have left. */
void end_remove(struct control *c);

/* --- control_frame.c ------------------------------------------------------------------------ */

/* To a peer, or to ourselves (CONTROL_NOBODY). */
void frame_to_root(struct control *c, uint16_t root, enum wire_kind kind, const void *payload,
		   uint32_t bytes, uint64_t now_ns);
void frame_to_member(struct control *c, uint16_t member, enum wire_kind kind, const void *payload,
		     uint32_t bytes, uint64_t now_ns);
/* To the daemon of a node of a group. */
void frame_to_node(struct control *c, const struct control_group *g, uint16_t node,
		   enum wire_kind kind, const void *payload, uint32_t bytes, uint64_t now_ns);
void frame_take(struct control *c, const struct peer_event *event, uint64_t now_ns);
/* One frame to ourselves.  Return: whether there was one. */
bool frame_take_own(struct control *c, uint64_t now_ns);
/* What the rendezvous has to say.  Return: whether there was something. */
bool frame_send_rendezvous(struct control *c, uint64_t now_ns);
void frame_own_node(const struct control *c, struct wire_node *out);

/* --- control_fact.c ------------------------------------------------------------------------- */

/* Return: whether there was a fact. */
bool fact_take(struct control *c, uint32_t lane, uint64_t now_ns);

#endif
