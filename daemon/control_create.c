/*
 * control_create.c - a trainer asks for a group: JOIN to the root's daemon, until the
 * answer; see control.h.
 *
 *   DIALLING --who is there--> JOINED --TABLE--> SETUP --GO--> answered CREATED
 *       |                        |                 |
 *       +-- unreachable          +-- REFUSE, the root's death, too late --> answered ERROR
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control_state.h"

#define DIAL_PATIENCE_NS (24 * 3600 * CLOCK_NS_PER_S) /* each trainer has a deadline of its own */

/* --- the end of a wish ---------------------------------------------------------------------- */

static void hang_up_if_unused(struct control *c, uint32_t dial)
{
	for (const struct create *create = c->creates; create; create = create->next)
		if (create->state == CREATE_DIALLING && create->dial == dial)
			return;
	peers_hang_up(c->peers, dial);
}

static bool is_pending(const struct create *create)
{
	return create->state == CREATE_DIALLING || create->state == CREATE_JOINED;
}

static bool same_group(const struct create *a, const struct create *b)
{
	return a->uid == b->uid && strcmp(a->request.name, b->request.name) == 0 &&
	       strcmp(a->request.run, b->request.run) == 0;
}

void create_settled(struct control *c, struct create *create)
{
	if (!create->counts)
		return;
	create->counts = false;
	for (struct create *other = c->creates; other; other = other->next)
		if (other != create && is_pending(other) && same_group(other, create)) {
			other->counts = true;
			return;
		}
}

void create_free(struct control *c, struct create *create, uint64_t now_ns)
{
	struct create **at = &c->creates;

	while (*at != create)
		at = &(*at)->next;
	*at = create->next;
	create_settled(c, create);
	if (create->state == CREATE_DIALLING)
		hang_up_if_unused(c, create->dial);
	else if (create->root != CONTROL_NOBODY)
		peers_drop(c->peers, create->root, now_ns);
	free(create);
}

void create_answer_error(struct control *c, struct create *create, int error, const char *text,
			 uint64_t now_ns)
{
	if (!create->gone)
		client_answer_error(c->clients, create->client, create->id, error, text);
	log_put(c->log, LOG_LEVEL_INFO, LOG_RENDEZVOUS_FAILED,
		"rank %u is in no group: %s client=%u group=%s", create->request.rank, text,
		create->client, create->request.name);
	create_free(c, create, now_ns);
}

void create_withdraw(struct control *c, const struct create *create, int error, const char *text,
		     uint64_t now_ns)
{
	struct wire_refuse refusal = {
		.uid = create->uid, .rank = create->request.rank, .error = error};

	memcpy(refusal.name, create->request.name, sizeof(refusal.name));
	memcpy(refusal.run, create->request.run, sizeof(refusal.run));
	(void)snprintf(refusal.text, sizeof(refusal.text), "%s", text);
	frame_to_root(c, create->root, WIRE_REFUSE, &refusal, sizeof(refusal), now_ns);
}

/* The group being set up in which the wish has a seat, if there is one. */
static struct control_group *seated_in(struct control *c, const struct create *create)
{
	for (struct control_group *g = c->groups; g; g = g->next)
		for (uint32_t i = 0; i < g->group->local_ranks; i++)
			if (g->seats[i].create == create)
				return g;
	return NULL;
}

/* No group for this one; one that is being set up is undone for all its ranks here. */
static void fail(struct control *c, struct create *create, int error, const char *text,
		 uint64_t now_ns)
{
	struct control_group *g = seated_in(c, create);
	struct create *seated[EXCHANGE_LOCAL_MAX];
	uint32_t count = 0;

	if (!g) {
		create_answer_error(c, create, error, text, now_ns);
		return;
	}
	for (uint32_t i = 0; i < g->group->local_ranks; i++)
		if (g->seats[i].create)
			seated[count++] = g->seats[i].create;
	setup_undo(c, g, now_ns);
	for (uint32_t i = 0; i < count; i++)
		create_answer_error(c, seated[i], error, text, now_ns);
}

static_assert((int)WIRE_CHUNK_BYTES_LEAST == (int)OP_CHUNK_BYTES_MAX_LEAST, "chunks can be cut");

/* --- JOIN ----------------------------------------------------------------------------------- */

/*
 * The largest chunks for which a group of that many ranks fits into inflight_bytes, however
 * its ranks are spread over nodes.  Slots shrink as nodes are added, so a few nodes may need
 * more than many: all powers of two and the worst case are tried.
 */
static int offered_chunk_bytes(const struct control *c, uint32_t ranks, uint32_t *out,
			       struct err *err)
{
	uint32_t most = ranks < WIRE_NODES_MAX ? ranks : WIRE_NODES_MAX, least = UINT32_MAX;

	for (uint32_t nodes = 1;; nodes = 2 * nodes - (nodes > 1)) {
		struct exchange_plan plan = {
			.nodes = (uint16_t)(nodes < most ? nodes : most),
			.lanes = (uint16_t)c->n,
			.local_ranks = ranks < EXCHANGE_LOCAL_MAX ? ranks : EXCHANGE_LOCAL_MAX,
		};
		int ret = exchange_plan_size(&plan, c->config->inflight_bytes, err);

		if (ret)
			return ret;
		if (plan.chunk_bytes_max < least)
			least = plan.chunk_bytes_max;
		if (nodes >= most)
			break;
	}
	*out = least;
	return 0;
}

static void join(struct control *c, struct create *create, uint16_t root, uint64_t now_ns)
{
	const struct ctl_create *request = &create->request;
	struct wire_join frame = {
		.uid = create->uid,
		.rank = request->rank,
		.ranks = request->ranks,
		.pid = create->pid,
		.lanes = c->n,
		.timeout_ms = 1,
		.chunk_bytes_usual =
			control_has_verbs(c) ? OP_CHUNK_BYTES_RDMA : OP_CHUNK_BYTES_TCP,
		.flat_bytes_max = (uint32_t)c->config->flat_bytes_max,
		.schedule = request->schedule ? request->schedule : c->schedule,
		.paths = (uint16_t)c->config->paths,
	};
	struct err err;

	if (create->deadline_ns > now_ns + CLOCK_NS_PER_MS)
		frame.timeout_ms = (uint32_t)((create->deadline_ns - now_ns) / CLOCK_NS_PER_MS);
	create->state = CREATE_JOINED;
	create->root = root;
	if (root != CONTROL_NOBODY)
		peers_hold(c->peers, root, now_ns);
	if (offered_chunk_bytes(c, request->ranks, &frame.chunk_bytes_max, &err)) {
		create_answer_error(c, create, err.code, err.text, now_ns);
		return;
	}
	memcpy(frame.name, request->name, sizeof(frame.name));
	memcpy(frame.run, request->run, sizeof(frame.run));
	frame_to_root(c, root, WIRE_JOIN, &frame, sizeof(frame), now_ns);
}

static struct create *dialling(const struct control *c, const struct ctl_create *request)
{
	struct create *create = c->creates;

	while (create && (create->state != CREATE_DIALLING ||
			  create->request.root_port != request->root_port ||
			  strcmp(create->request.root, request->root) != 0))
		create = create->next;
	return create;
}

/* How many addresses are being dialled for that user? */
static uint32_t dials_of(const struct control *c, uint32_t uid)
{
	bool dialled[PEER_DIALS_MAX] = {false};
	uint32_t count = 0;

	for (const struct create *create = c->creates; create; create = create->next)
		if (create->uid == uid && create->state == CREATE_DIALLING &&
		    !dialled[create->dial]) {
			dialled[create->dial] = true;
			count++;
		}
	return count;
}

/* Return: 0, or negative errno and *err. */
static int find_root(struct control *c, struct create *create, uint64_t now_ns, struct err *err)
{
	const struct ctl_create *request = &create->request;
	const struct create *other = dialling(c, request);
	int ret = 0;

	if (other) {
		create->dial = other->dial;
	} else if (dials_of(c, create->uid) >= CONTROL_UID_DIALS_MAX) {
		ret = err_set(err, -EUSERS, "%d roots are being sought for user %u already",
			      CONTROL_UID_DIALS_MAX, create->uid);
	} else {
		ret = peers_dial(c->peers, request->root, request->root_port, DIAL_PATIENCE_NS,
				 now_ns, err);
		create->dial = (uint32_t)ret;
	}
	if (ret < 0)
		return err_add(err, "the root's daemon at %s port %u", request->root,
			       request->root_port);
	create->state = CREATE_DIALLING;
	create->next = c->creates;
	c->creates = create;
	return 0;
}

/*
 * Nobody keeps the others out: neither a trainer nor a user has more wishes pending than
 * he has a use for, and groups that are pending count as groups.
 */
static int check_shares(const struct control *c, struct create *create, struct err *err)
{
	uint32_t of_client = client_groups(c->clients, create->client), of_user = 0;
	uint32_t groups = c->group_count;

	create->counts = true;
	for (const struct create *other = c->creates; other; other = other->next) {
		if (!is_pending(other))
			continue;
		of_client += other->client == create->client;
		of_user += other->uid == create->uid;
		groups += other->counts;
		create->counts &= !same_group(other, create);
	}
	if (of_client >= SHM_GROUPS_MAX)
		return err_set(err, -ENOSPC, "pid %u on host %s is in, or waits for, %d groups",
			       create->pid, c->host, SHM_GROUPS_MAX);
	if (of_user >= CONTROL_UID_CREATES_MAX)
		return err_set(err, -EUSERS, "%u ranks of user %u on host %s wait for groups",
			       of_user, create->uid, c->host);
	if (create->counts && groups >= c->config->groups)
		return err_set(err, -EUSERS,
			       "carryd on host %s has %u groups, as many as [limits] groups allows",
			       c->host, groups);
	return 0;
}

/* What can be refused here and now. */
static int check(const struct control *c, struct create *create, struct err *err)
{
	const struct ctl_create *request = &create->request;

	if (c->stopping)
		return err_set(err, -ESHUTDOWN, "carryd on host %s is being stopped", c->host);
	if (request->ranks > WIRE_RANKS_MAX)
		return err_set(err, -E2BIG, "group \"%s\" has %u ranks, more than %d",
			       request->name, request->ranks, WIRE_RANKS_MAX);
	if (request->schedule && !sched_by_id(request->schedule))
		return err_set(err, -EINVAL, "group \"%s\": there is no schedule %u", request->name,
			       request->schedule);
	return check_shares(c, create, err);
}

void create_begin(struct control *c, const struct client_request *request, uint64_t now_ns)
{
	struct create *create = calloc(1, sizeof(*create));
	struct err err;
	int ret;

	if (!create) {
		client_answer_error(c->clients, request->client, request->id, -ENOMEM,
				    "carryd has no memory left");
		return;
	}
	create->request = request->create;
	create->client = request->client;
	create->id = request->id;
	create->pid = (uint32_t)client_pid(c->clients, request->client);
	create->uid = (uint32_t)client_uid(c->clients, request->client);
	create->deadline_ns = now_ns + request->create.timeout_ms * CLOCK_NS_PER_MS;
	ret = check(c, create, &err);
	if (!ret && peers_is_self(c->peers, request->create.root, request->create.root_port)) {
		create->next = c->creates;
		c->creates = create;
		join(c, create, CONTROL_NOBODY, now_ns);
		return;
	}
	if (!ret)
		ret = find_root(c, create, now_ns, &err);
	if (!ret)
		return;
	client_answer_error(c->clients, request->client, request->id, ret, err.text);
	free(create);
}

/* --- what came of it ------------------------------------------------------------------------ */

void create_dialled(struct control *c, const struct peer_event *event, uint64_t now_ns)
{
	struct create *create, *next;

	for (create = c->creates; create; create = next) {
		char text[WIRE_TEXT_BYTES];

		next = create->next;
		if (create->state != CREATE_DIALLING || create->dial != event->dial)
			continue;
		/* The dial is over and hung up: nothing may hang up its successor. */
		create->state = CREATE_JOINED;
		create->root = CONTROL_NOBODY;
		if (event->kind == PEER_MET) {
			join(c, create, event->peer, now_ns);
		} else if (event->kind == PEER_SELF) {
			join(c, create, CONTROL_NOBODY, now_ns);
		} else {
			(void)snprintf(text, sizeof(text), "the root's daemon at %s port %u %.*s",
				       create->request.root, create->request.root_port, 256,
				       event->text);
			create_answer_error(c, create, event->error, text, now_ns);
		}
	}
}

/* Two trainers with one claim: the newer one, which is first in the list, is meant. */
void create_refused(struct control *c, uint16_t root, const struct wire_refuse *refusal,
		    uint64_t now_ns)
{
	for (struct create *create = c->creates; create; create = create->next)
		if (create->state != CREATE_DIALLING && create->root == root &&
		    create->request.rank == refusal->rank && create->uid == refusal->uid &&
		    strcmp(create->request.name, refusal->name) == 0 &&
		    strcmp(create->request.run, refusal->run) == 0) {
			fail(c, create, refusal->error, refusal->text, now_ns);
			return;
		}
}

/* The first wish that waits for this root, or NULL. */
static struct create *waits_for(const struct control *c, uint16_t root)
{
	struct create *create = c->creates;

	while (create && (create->state == CREATE_DIALLING || create->root != root))
		create = create->next;
	return create;
}

void create_root_died(struct control *c, uint16_t peer, const char *what, uint64_t now_ns)
{
	struct peer_about about;
	struct create *create;
	char text[WIRE_TEXT_BYTES];

	peers_about(c->peers, peer, &about);
	(void)snprintf(text, sizeof(text), "the root's daemon (host %s, %s port %u) %.*s",
		       about.node.host, about.node.address, about.node.port, 200, what);
	while ((create = waits_for(c, peer)))
		fail(c, create, -EHOSTDOWN, text, now_ns);
}

void create_client_gone(struct control *c, uint32_t client, const char *why, uint64_t now_ns)
{
	struct create *create, *next;

	for (create = c->creates; create; create = next) {
		char text[WIRE_TEXT_BYTES];

		next = create->next;
		if (create->client != client || create->gone)
			continue;
		create->gone = true;
		(void)snprintf(text, sizeof(text), "rank %u (pid %u on host %s) died: %.*s",
			       create->request.rank, create->pid, c->host, 200, why);
		if (create->state != CREATE_DIALLING)
			create_withdraw(c, create, GROUP_DIED, text, now_ns);
		/* One with a seat waits for the root: GO may be on its way. */
		if (create->state == CREATE_DIALLING || create->state == CREATE_JOINED)
			create_free(c, create, now_ns);
	}
}

/* --- time ----------------------------------------------------------------------------------- */

/* Whoever knows best speaks first: we while something is missing here, else the root. */
static uint64_t due_ns(const struct create *create)
{
	bool ours = create->state == CREATE_DIALLING || create->state == CREATE_SETUP;

	return create->deadline_ns + (ours ? 0 : CONTROL_GRACE_NS);
}

static void too_late(struct control *c, struct create *create, uint64_t now_ns)
{
	char text[WIRE_TEXT_BYTES], trouble[WIRE_TEXT_BYTES];

	if (create->state == CREATE_SETUP) {
		setup_trouble(c, seated_in(c, create), text, sizeof(text));
		create_withdraw(c, create, -EHOSTUNREACH, text, now_ns);
		fail(c, create, -EHOSTUNREACH, text, now_ns);
		return;
	}
	if (create->state == CREATE_DIALLING) {
		peers_dial_trouble(c->peers, create->dial, trouble, sizeof(trouble));
		(void)snprintf(text, sizeof(text), "the root's daemon at %s port %u %.*s",
			       create->request.root, create->request.root_port, 256, trouble);
		create_answer_error(c, create, -EHOSTUNREACH, text, now_ns);
		return;
	}
	(void)snprintf(text, sizeof(text),
		       "the root's daemon at %s port %u did not say within %" PRIu32
		       " ms whether group \"%s\" is complete",
		       create->request.root, create->request.root_port, create->request.timeout_ms,
		       create->request.name);
	create_withdraw(c, create, -ETIMEDOUT, text, now_ns);
	fail(c, create, -ETIMEDOUT, text, now_ns);
}

void create_tick(struct control *c, uint64_t now_ns)
{
	struct create *create = c->creates;

	while (create) {
		if (due_ns(create) > now_ns) {
			create = create->next;
			continue;
		}
		too_late(c, create, now_ns);
		create = c->creates; /* more than one may be gone */
	}
}

uint64_t create_deadline_ns(const struct control *c)
{
	uint64_t first = UINT64_MAX;

	for (const struct create *create = c->creates; create; create = create->next)
		if (due_ns(create) < first)
			first = due_ns(create);
	return first;
}
