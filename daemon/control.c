/* control.c - open, close, the entries, the pump; see control.h. */
#include "daemon/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/control_state.h"

/* --- open and close ------------------------------------------------------------------------- */

static int make_instance(uint64_t *out, struct err *err)
{
	do
		if (getrandom(out, sizeof(*out), 0) != (ssize_t)sizeof(*out))
			return err_set(err, -errno, "draw a random number: %s", strerror(errno));
	while (!*out);
	return 0;
}

static void host_name(char host[WIRE_NAME_BYTES])
{
	if (gethostname(host, WIRE_NAME_BYTES - 1) || !host[0])
		(void)snprintf(host, WIRE_NAME_BYTES, "unknown");
	host[WIRE_NAME_BYTES - 1] = 0;
	for (char *at = host; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
}

/* What all lanes can do. */
static uint32_t offers_of(const struct config *config, struct engine_thread *const *lanes,
			  uint32_t n)
{
	uint32_t offers = n ? UINT32_MAX : 0;

	for (uint32_t lane = 0; lane < n; lane++)
		offers &= engine_offers(engine_thread_engine(lanes[lane]));
	return offers | (strcmp(config->transport, "auto") == 0 ? WIRE_OFFER_AUTO : 0u);
}

int control_open(struct control **out, const struct config *config, struct loop *loop,
		 struct log *log, struct clients *clients, struct engine_thread *const *lanes,
		 uint32_t n, struct err *err)
{
	const struct sched *forced = sched_by_name(config->force);
	struct control *c = calloc(1, sizeof(*c));
	struct peers_options options = {.config = config, .loop = loop, .log = log};
	int ret;

	if (!c)
		return err_set(err, -ENOMEM, "no memory for the control of groups");
	c->config = config;
	c->loop = loop;
	c->log = log;
	c->clients = clients;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): pointers are what is copied */
	memcpy(c->lanes, lanes, n * sizeof(*lanes));
	c->n = n;
	c->vec = vec_best();
	c->schedule = forced ? forced->id : 0;
	c->own_last = &c->own_first;
	host_name(c->host);
	ret = make_instance(&c->instance, err);
	options.instance = c->instance;
	options.host = c->host;
	options.offers = offers_of(config, lanes, n);
	if (!ret && rendezvous_new(&c->rendezvous, c->instance))
		ret = err_set(err, -ENOMEM, "no memory for the rendezvous");
	if (!ret)
		ret = peers_open(&c->peers, &options, err);
	if (ret) {
		control_close(c);
		return ret;
	}
	*out = c;
	return 0;
}

static void own_free(struct control *c)
{
	while (c->own_first) {
		struct own_frame *frame = c->own_first;

		c->own_first = frame->next;
		free(frame);
	}
	c->own_last = &c->own_first;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	while (c->groups)
		setup_free(c, c->groups, 0);
	while (c->creates)
		create_free(c, c->creates, 0);
	own_free(c);
	rendezvous_free(c->rendezvous);
	peers_close(c->peers);
	for (uint32_t lane = 0; lane < c->n; lane++)
		free(c->backlog[lane].commands);
	free(c);
}

const char *control_address(const struct control *c)
{
	return peers_address(c->peers);
}

uint16_t control_port(const struct control *c)
{
	return peers_port(c->peers);
}

/* --- commands to the lanes ------------------------------------------------------------------ */

static void backlog_add(struct backlog *b, const struct engine_command *command)
{
	if (b->count == b->room) {
		uint32_t room = b->room ? b->room * 2 : 64;
		struct engine_command *more = realloc(b->commands, room * sizeof(*more));

		/* A lane without its commands is no use to anybody. */
		if (!more)
			abort();
		b->commands = more;
		b->room = room;
	}
	b->commands[b->count++] = *command;
}

void control_command(struct control *c, uint32_t lane, const struct engine_command *command)
{
	if (c->backlog[lane].count || !engine_thread_command(c->lanes[lane], command))
		backlog_add(&c->backlog[lane], command);
}

void control_command_all(struct control *c, uint32_t lanes, const struct engine_command *command)
{
	for (uint32_t lane = 0; lane < lanes; lane++)
		control_command(c, lane, command);
}

/* Return: whether some remain. */
static bool backlog_work_off(struct control *c)
{
	bool left = false;

	for (uint32_t lane = 0; lane < c->n; lane++) {
		struct backlog *b = &c->backlog[lane];
		uint32_t done = 0;

		if (!b->count)
			continue;
		while (done < b->count && engine_thread_command(c->lanes[lane], &b->commands[done]))
			done++;
		b->count -= done;
		memmove(b->commands, b->commands + done, b->count * sizeof(*b->commands));
		left |= b->count > 0;
	}
	return left;
}

/* --- the pump ------------------------------------------------------------------------------- */

static void path_made(struct control *c, const struct peer_event *event)
{
	if (c->peer[event->peer].leaving) {
		(void)close(event->fd);
		return;
	}
	control_command(c, event->lane,
			&(struct engine_command){.kind = ENGINE_PATH_ADD,
						 .peer = event->peer,
						 .path = event->path,
						 .fd = event->fd,
						 .received = event->received,
						 .offers = event->offers});
	log_put(c->log, LOG_LEVEL_DEBUG, LOG_PATH_UP,
		"a data connection is up peer=%u lane=%u path=%u", event->peer, event->lane,
		event->path);
}

static void take_from_lanes(struct control *c, uint16_t peer)
{
	if (c->peer[peer].leaving)
		return;
	c->peer[peer].leaving = true;
	control_command_all(c, c->n,
			    &(struct engine_command){.kind = ENGINE_PEER_REMOVE, .peer = peer});
}

static void peer_died(struct control *c, const struct peer_event *event, uint64_t now_ns)
{
	struct peer_about about;

	peers_about(c->peers, event->peer, &about);
	log_put(c->log,
		about.references ? LOG_LEVEL_WARNING
		: event->error   ? LOG_LEVEL_INFO
				 : LOG_LEVEL_DEBUG,
		LOG_PEER_DEAD, "host %s %s peer=%s port=%u", about.node.host, event->text,
		about.node.address, about.node.port);
	rendezvous_node_gone(c->rendezvous, about.node.instance, event->text);
	create_root_died(c, event->peer, event->text, now_ns);
	end_peer_died(c, event->peer, event->text, now_ns);
	take_from_lanes(c, event->peer);
}

static void take_event(struct control *c, const struct peer_event *event, uint64_t now_ns)
{
	switch (event->kind) {
	case PEER_MET:
	case PEER_SELF:
	case PEER_UNREACHABLE: create_dialled(c, event, now_ns); return;
	case PEER_FRAME: frame_take(c, event, now_ns); return;
	case PEER_PATH: path_made(c, event); return;
	case PEER_CUT:
		control_command(c, event->lane,
				&(struct engine_command){.kind = ENGINE_PATH_CUT,
							 .peer = event->peer,
							 .path = event->path});
		return;
	case PEER_DIED: peer_died(c, event, now_ns); return;
	}
}

/* The rendezvous depends on those with ranks in it; the dead are forgotten when nobody does. */
static void hold_peers(struct control *c, uint64_t now_ns)
{
	for (uint16_t i = 0; i < peers_end(c->peers); i++) {
		struct control_peer *peer = &c->peer[i];
		struct peer_about about;
		bool wanted;

		peers_about(c->peers, i, &about);
		if (about.state == PEER_STATE_FREE)
			continue;
		wanted = rendezvous_involves(c->rendezvous, about.node.instance);
		if (wanted && !peer->rooted)
			peers_hold(c->peers, i, now_ns);
		else if (!wanted && peer->rooted)
			peers_drop(c->peers, i, now_ns);
		about.references += wanted;
		about.references -= peer->rooted;
		peer->rooted = wanted;
		if (about.state == PEER_STATE_DEAD && peer->removed == c->n && !about.references) {
			peers_forget(c->peers, i);
			*peer = (struct control_peer){.removed = 0};
		}
	}
}

/* Work off what an entry has caused. */
static void pump(struct control *c, uint64_t now_ns)
{
	struct peer_event event;
	bool any;

	do {
		any = false;
		while (peers_next(c->peers, &event, now_ns)) {
			take_event(c, &event, now_ns);
			any = true;
		}
		any |= frame_send_rendezvous(c, now_ns);
		any |= frame_take_own(c, now_ns);
		any |= setup_check(c, now_ns);
		end_remove(c);
	} while (any);
	hold_peers(c, now_ns);
	(void)backlog_work_off(c);
}

/* --- the entries ---------------------------------------------------------------------------- */

static void client_attached_now(struct control *c, uint32_t client)
{
	control_command_all(
		c, c->n,
		&(struct engine_command){.kind = ENGINE_CLIENT_ADD,
					 .client = client,
					 .base = client_base(c->clients, client),
					 .layout = *client_layout(c->clients, client),
					 .wake_fd = client_wake_fd(c->clients, client)});
	c->client[client] = (struct control_client){.added = true};
}

static void client_gone(struct control *c, uint32_t client, const char *why, uint64_t now_ns)
{
	if (!c->client[client].added) {
		client_forget(c->clients, client);
		return;
	}
	create_client_gone(c, client, why, now_ns);
	end_client_gone(c, client, why);
	c->client[client].leaving = true;
	control_command_all(
		c, c->n, &(struct engine_command){.kind = ENGINE_CLIENT_REMOVE, .client = client});
}

void control_request(struct control *c, const struct client_request *request, uint64_t now_ns)
{
	switch (request->kind) {
	case CLIENT_ATTACHED: client_attached_now(c, request->client); break;
	case CLIENT_CREATE: create_begin(c, request, now_ns); break;
	case CLIENT_DESTROY: end_destroy(c, request); break;
	case CLIENT_TENSOR: tensor_request(c, request); break;
	case CLIENT_GONE: client_gone(c, request->client, request->why, now_ns); break;
	case CLIENT_QUERY: return; /* main.c's */
	}
	pump(c, now_ns);
}

void control_facts(struct control *c, uint64_t now_ns)
{
	for (uint32_t lane = 0; lane < c->n; lane++)
		while (fact_take(c, lane, now_ns))
			;
	pump(c, now_ns);
}

void control_peer_ready(struct control *c, uint32_t index, uint32_t events, uint64_t now_ns)
{
	peers_ready(c->peers, index, events, now_ns);
	pump(c, now_ns);
}

void control_tick(struct control *c, uint64_t now_ns)
{
	uint64_t rounds[WIRE_LANES_MAX];

	for (uint32_t lane = 0; lane < c->n; lane++)
		rounds[lane] = atomic_load_explicit(
			&engine_stats(engine_thread_engine(c->lanes[lane]))->rounds,
			memory_order_relaxed);
	peers_progress(c->peers, rounds, c->n);
	peers_tick(c->peers, now_ns);
	create_tick(c, now_ns);
	rendezvous_tick(c->rendezvous, now_ns);
	pump(c, now_ns);
}

uint64_t control_deadline_ns(const struct control *c)
{
	uint64_t first = peers_deadline_ns(c->peers);

	if (rendezvous_deadline_ns(c->rendezvous) < first)
		first = rendezvous_deadline_ns(c->rendezvous);
	if (create_deadline_ns(c) < first)
		first = create_deadline_ns(c);
	for (uint32_t lane = 0; lane < c->n; lane++)
		if (c->backlog[lane].count)
			first = 0;
	return first;
}

void control_stop(struct control *c, uint64_t now_ns)
{
	char text[WIRE_TEXT_BYTES];

	(void)snprintf(text, sizeof(text), "carryd on host %s is being stopped", c->host);
	c->stopping = true;
	rendezvous_stop(c->rendezvous, text);
	end_all(c, text, now_ns);
	pump(c, now_ns);
	while (c->creates) {
		if (c->creates->state != CREATE_DIALLING)
			create_withdraw(c, c->creates, -ESHUTDOWN, text, now_ns);
		create_answer_error(c, c->creates, -ESHUTDOWN, text, now_ns);
	}
	/* All ops are over; what lanes still have for others needs nobody's answer any more. */
	for (uint16_t i = 0; i < peers_end(c->peers); i++)
		take_from_lanes(c, i);
	peers_bye(c->peers, now_ns);
	pump(c, now_ns);
}

bool control_stopped(const struct control *c)
{
	return !c->groups && peers_quiet(c->peers);
}
