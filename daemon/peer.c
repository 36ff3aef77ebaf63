/* peer.c - life, the table of peers, death, what is told, time; see peer_state.h. */
#include "daemon/peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/peer_state.h"

/* --- open and close --------------------------------------------------------------------------- */

static int look_at_interfaces(struct peers *p, struct err *err)
{
	int count = interface_list(p->interfaces, INTERFACE_LIST_MAX), best;

	if (count < 0)
		return err_set(err, count, "list the network interfaces: %s", strerror(-count));
	p->interface_count = (size_t)count;
	if (*p->config->peers)
		return netlist_networks(p->config->peers, p->networks, &p->network_count, err);
	p->network_count = interface_networks(p->interfaces, p->interface_count,
					      p->config->interfaces, p->networks);
	best = interface_choose(p->interfaces, p->interface_count, p->config->interfaces);
	if (best < 0 && *p->config->interfaces && !*p->config->listen)
		return err_set(err, -ENODEV,
			       "no interface that is up matches \"%s\" "
			       "([network] interfaces)",
			       p->config->interfaces);
	return 0;
}

static void choose_address(struct peers *p)
{
	int best = interface_choose(p->interfaces, p->interface_count, p->config->interfaces);

	if (p->bound)
		(void)snprintf(p->address, sizeof(p->address), "%.*s", INTERFACE_ADDRESS_BYTES - 1,
			       p->config->listen);
	else if (best >= 0)
		interface_text((const struct sockaddr *)&p->interfaces[best].address, p->address);
	else
		(void)snprintf(p->address, sizeof(p->address), "127.0.0.1");
}

int peers_open(struct peers **out, const struct peers_options *options, struct err *err)
{
	struct peers *p = calloc(1, sizeof(*p));
	int ret = -ENOMEM;

	if (p) {
		p->conns = calloc(CONNS_MAX, sizeof(*p->conns));
		p->interfaces = calloc(INTERFACE_LIST_MAX, sizeof(*p->interfaces));
	}
	if (!p || !p->conns || !p->interfaces) {
		(void)err_set(err, ret, "no memory for the table of connections");
		goto fail;
	}
	p->config = options->config;
	p->loop = options->loop;
	p->log = options->log;
	p->instance = options->instance;
	p->offers = options->offers;
	p->next_ns = UINT64_MAX;
	(void)snprintf(p->host, sizeof(p->host), "%s", options->host);
	for (uint32_t i = 0; i < PEER_DIALS_MAX; i++)
		p->dials[i].conn = CONN_NONE;
	ret = look_at_interfaces(p, err);
	if (!ret)
		ret = socket_listen(p, err);
	if (ret)
		goto fail;
	choose_address(p);
	*out = p;
	return 0;

fail:
	peers_close(p);
	return ret;
}

static void peer_free(struct peers *p, uint16_t number)
{
	struct peer *peer = &p->peers[number];

	if (peer->state == PEER_STATE_FREE)
		return;
	path_close_all(p, number);
	if (peer->in != CONN_NONE)
		conn_close(p, peer->in);
	if (peer->out != CONN_NONE)
		conn_close(p, peer->out);
	stream_free(peer);
	free(peer->paths);
	memset(peer, 0, sizeof(*peer));
	while (p->peers_end && p->peers[p->peers_end - 1].state == PEER_STATE_FREE)
		p->peers_end--;
}

void peers_close(struct peers *p)
{
	if (!p)
		return;
	for (uint16_t i = 0; i < PEERS_MAX; i++)
		peer_free(p, i);
	for (uint16_t i = 0; p->conns && i < CONNS_MAX; i++)
		conn_close(p, i);
	free(p->conns);
	free(p->interfaces);
	free(p);
}

const char *peers_address(const struct peers *p)
{
	return p->address;
}

uint16_t peers_port(const struct peers *p)
{
	return p->port;
}

bool peers_is_self(const struct peers *p, const char *address, uint16_t port)
{
	struct sockaddr_storage there;

	if (port != p->port || interface_parse(address, port, &there))
		return false;
	if (p->bound)
		return interface_find(&(struct interface){.address = p->listen}, 1,
				      (const struct sockaddr *)&there);
	return interface_is_own(p->interfaces, p->interface_count, (const struct sockaddr *)&there);
}

int peers_check_network(const struct peers *p, const char *address, struct err *err)
{
	struct sockaddr_storage there;

	if (interface_parse(address, 0, &there))
		return err_set(err, -EINVAL, "%s is not a numeric address that this host can use",
			       address);
	if (netlist_contains(p->networks, p->network_count, (const struct sockaddr *)&there))
		return 0;
	return err_set(err, -EPERM, "%s is in none of the networks of peers ([network] peers)",
		       address);
}

/* --- the table of peers ----------------------------------------------------------------------- */

int peers_find(const struct peers *p, uint64_t instance)
{
	for (uint32_t i = 0; i < p->peers_end; i++)
		if (p->peers[i].state != PEER_STATE_FREE && p->peers[i].node.instance == instance)
			return (int)i;
	return -1;
}

/* Whoever had this endpoint before is dead: it has been started again. */
static void bury_predecessors(struct peers *p, const struct wire_node *node)
{
	for (uint16_t i = 0; i < p->peers_end; i++) {
		const struct peer *peer = &p->peers[i];

		if (peer->state == PEER_STATE_KNOWN && peer->node.port == node->port &&
		    strcmp(peer->node.address, node->address) == 0)
			peer_die(p, i, -EHOSTDOWN, "died: another carryd runs there now");
	}
}

int peer_take(struct peers *p, const struct wire_node *node, uint64_t now_ns)
{
	int found = peers_find(p, node->instance);
	uint32_t i = 0;
	struct peer *peer;

	if (found >= 0)
		return found;
	while (i < PEERS_MAX && p->peers[i].state != PEER_STATE_FREE)
		i++;
	if (i == PEERS_MAX)
		return -ENOSPC;
	peer = &p->peers[i];
	peer->paths = calloc(p->config->lanes * p->config->paths, sizeof(*peer->paths));
	if (!peer->paths)
		return -ENOSPC;
	bury_predecessors(p, node);
	peer->state = PEER_STATE_KNOWN;
	peer->node = *node;
	peer->in = peer->out = CONN_NONE;
	peer->heard_ns = peer->retry_at_ns = peer->used_ns = now_ns;
	if (i >= p->peers_end)
		p->peers_end = (uint16_t)(i + 1);
	return (int)i;
}

uint16_t peers_end(const struct peers *p)
{
	return p->peers_end;
}

int peers_know(struct peers *p, const struct wire_node *node, uint64_t now_ns)
{
	return peer_take(p, node, now_ns);
}

void peers_hold(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];

	if (peer->references++ == 0) {
		peer->heard_ns = now_ns;
		peer->beat_at_ns = now_ns;
	}
	peers_due(p, now_ns);
}

void peers_drop(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	uint64_t silent_ns = now_ns - peer->heard_ns;

	peer->references--;
	peer->used_ns = now_ns;
	peers_due(p, now_ns);
	/* Heartbeats were due, and did not come: perhaps it took us for dead meanwhile. */
	if (!peer->references && silent_ns >= p->config->dead_ms * CLOCK_NS_PER_MS / 2)
		peer_die(p, number, 0, "was silent when it was needed last");
}

void peer_die(struct peers *p, uint16_t number, int error, const char *text)
{
	struct peer *peer = &p->peers[number];

	if (peer->state != PEER_STATE_KNOWN)
		return;
	peer->state = PEER_STATE_DEAD;
	peer->error = error;
	(void)snprintf(peer->trouble, sizeof(peer->trouble), "%s", text);
	if (peer->out != CONN_NONE)
		conn_close(p, peer->out);
	peer->out = CONN_NONE;
	/* What it sent before it died still counts, unless it makes no sense. */
	if (error == -EPROTO && peer->in != CONN_NONE) {
		conn_close(p, peer->in);
		peer->in = CONN_NONE;
	}
	stream_free(peer);
	path_close_all(p, number);
	p->news = true;
}

bool refused_again(struct refused *refused, uint64_t now_ns)
{
	if (now_ns > refused->last_ns + PEER_REFUSED_NS)
		refused->count = 0;
	refused->last_ns = now_ns;
	return ++refused->count >= PEER_REFUSED_MAX;
}

void peers_refused(struct peers *p, uint16_t number, uint16_t lane, uint16_t path, uint64_t taken,
		   const char *why, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	char text[WIRE_TEXT_BYTES];
	struct path *at;

	if (peer->state != PEER_STATE_KNOWN)
		return;
	at = path_of(p, number, lane, path);
	if (at->taken != taken)
		at->refused.count = 0;
	at->taken = taken;
	if (!refused_again(&at->refused, now_ns))
		return;
	(void)snprintf(text, sizeof(text),
		       "is taken for dead: %d bad data frames in a row, last %s", PEER_REFUSED_MAX,
		       why);
	peer_die(p, number, -EPROTO, text);
}

void peer_forgot_us(struct peers *p, uint16_t number)
{
	if (p->peers[number].references)
		peer_die(p, number, -EHOSTDOWN, "has taken this daemon for dead");
	else
		peer_die(p, number, 0, "has no use for this daemon any more");
}

void peers_condemn(struct peers *p, uint16_t number, int error, const char *text)
{
	peer_die(p, number, error, text);
}

void peers_forget(struct peers *p, uint16_t number)
{
	peer_free(p, number);
}

void peers_progress(struct peers *p, const uint64_t *rounds, uint32_t lanes)
{
	memcpy(p->progress, rounds, lanes * sizeof(*rounds));
}

void peers_about(const struct peers *p, uint16_t number, struct peer_about *out)
{
	const struct peer *peer = &p->peers[number];

	*out = (struct peer_about){
		.state = peer->state,
		.node = peer->node,
		.references = peer->references,
		.connected = peer->out != CONN_NONE && p->conns[peer->out].stage == CONN_UP,
		.queued = peer->queued,
		.heard_ns = peer->heard_ns,
		.unlike = peer->unlike,
		.offers = peer->offers,
	};
	memcpy(out->trouble, peer->trouble, sizeof(out->trouble));
}

uint32_t peers_offers(const struct peers *p)
{
	return p->offers;
}

/* --- strangers -------------------------------------------------------------------------------- */

void peer_refuse(struct peers *p, uint16_t conn, const char *why)
{
	char endpoint[ENDPOINT_BYTES];

	conn_endpoint(peers_conn(p, conn), endpoint);
	log_put(p->log, LOG_LEVEL_WARNING, LOG_PEER_REFUSED, "refused a connection of %s: %s",
		endpoint, why);
	conn_close(p, conn);
}

void peer_node_of_hello(const struct conn *c, struct wire_node *out)
{
	const struct wire_hello *hello = conn_hello(c);
	const struct sockaddr *remote = (const struct sockaddr *)&c->remote;

	*out = (struct wire_node){.instance = hello->instance, .port = hello->port};
	memcpy(out->address, hello->address, sizeof(out->address));
	memcpy(out->host, hello->host, sizeof(out->host));
	/* The scope of a link-local address is each host's own. */
	if (interface_link_local(remote))
		interface_text(remote, out->address);
}

static void accept_control(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct wire_node node;
	int number;

	peer_node_of_hello(peers_conn(p, conn), &node);
	number = peer_take(p, &node, now_ns);
	if (number < 0) {
		peer_refuse(p, conn, "too many daemons are known");
	} else if (p->peers[number].state == PEER_STATE_DEAD) {
		/* It lives, but we gave it up: tell it so. */
		(void)conn_say_hello(p, conn, 0, 0);
		conn_close(p, conn);
	} else {
		stream_in_accept(p, conn, (uint16_t)number, now_ns);
	}
}

void peer_stranger(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);
	const struct wire_hello *hello = conn_hello(c);
	struct err err;
	int ret = conn_read_hello(c, &err);

	if (ret == 0)
		return;
	if (ret < 0) {
		/* So that a carryd of another version can say what it has found. */
		if (((const struct wire_frame *)(const void *)c->hello)->magic == WIRE_MAGIC)
			(void)conn_say_hello(p, conn, 0, 0);
		peer_refuse(p, conn, err.text);
		return;
	}
	if (hello->instance == p->instance ||
	    (hello->peer_instance && hello->peer_instance != p->instance)) {
		(void)conn_say_hello(p, conn, 0, 0); /* who we are is all it needs */
		conn_close(p, conn);
	} else if (hello->purpose == WIRE_DATA) {
		path_accept(p, conn, now_ns);
	} else {
		accept_control(p, conn, now_ns);
	}
}

/* --- events ----------------------------------------------------------------------------------- */

void peers_ready(struct peers *p, uint32_t index, uint32_t events, uint64_t now_ns)
{
	uint16_t conn = (uint16_t)index;

	if (index >= p->conns_end)
		return;
	switch (p->conns[conn].kind) {
	case CONN_FREE: return;
	case CONN_LISTEN: socket_accept(p, conn, now_ns); return;
	case CONN_STRANGER: peer_stranger(p, conn, now_ns); return;
	case CONN_HELD: conn_close(p, conn); return; /* only its end is watched */
	case CONN_CONTROL_IN: stream_in_ready(p, conn, now_ns); return;
	case CONN_DIAL: dial_ready(p, conn, now_ns); return;
	case CONN_CONTROL_OUT: stream_out_ready(p, conn, events, now_ns); return;
	case CONN_DATA_OUT: path_out_ready(p, conn, now_ns); return;
	}
}

static bool death_next(struct peers *p, uint16_t number, struct peer_event *out)
{
	struct peer *peer = &p->peers[number];

	if (peer->state != PEER_STATE_DEAD || peer->death_told)
		return false;
	peer->death_told = true;
	if (peer->in != CONN_NONE)
		conn_close(p, peer->in);
	peer->in = CONN_NONE;
	out->kind = PEER_DIED;
	out->peer = number;
	out->error = peer->error;
	(void)snprintf(out->text, sizeof(out->text), "%s", peer->trouble);
	return true;
}

bool peers_next(struct peers *p, struct peer_event *out, uint64_t now_ns)
{
	if (!p->news)
		return false;
	memset(out, 0, offsetof(struct peer_event, text));
	out->text[0] = 0;
	if (dial_next(p, out))
		return true;
	for (uint16_t i = 0; i < p->peers_end; i++)
		if (p->peers[i].state != PEER_STATE_FREE &&
		    (stream_in_next(p, i, out, now_ns) || path_next(p, i, out) ||
		     death_next(p, i, out)))
			return true;
	/* A bad frame may have killed a peer that was passed already. */
	for (uint16_t i = 0; i < p->peers_end; i++)
		if (death_next(p, i, out))
			return true;
	p->news = false;
	return false;
}

/* --- time ------------------------------------------------------------------------------------- */

static void conn_tick(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct conn *c = &p->conns[conn];
	struct err err;

	if (c->kind == CONN_FREE || c->deadline_ns == UINT64_MAX)
		return;
	if (c->deadline_ns > now_ns) {
		peers_due(p, c->deadline_ns);
		return;
	}
	switch (c->kind) {
	case CONN_STRANGER: peer_refuse(p, conn, "no HELLO within 2 s"); return;
	case CONN_HELD: conn_close(p, conn); return;
	case CONN_DIAL:
		(void)conn_late(c, &err);
		dial_lost(p, c->dial, &err, now_ns);
		return;
	case CONN_CONTROL_OUT:
		(void)conn_late(c, &err);
		(void)stream_out_lost(p, c->peer, &err, now_ns);
		return;
	case CONN_DATA_OUT:
		(void)conn_late(c, &err);
		path_out_lost(p, conn, &err, now_ns);
		return;
	case CONN_FREE:
	case CONN_LISTEN:
	case CONN_CONTROL_IN: return;
	}
}

static void peer_silent(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	uint64_t tenths = (now_ns - peer->heard_ns) / (CLOCK_NS_PER_S / 10);
	char text[WIRE_TEXT_BYTES];

	(void)snprintf(text, sizeof(text), "is taken for dead: nothing was heard of it for %u.%u s",
		       (unsigned int)(tenths / 10), (unsigned int)(tenths % 10));
	if (peer->trouble[0]) {
		size_t used = strlen(text);

		(void)snprintf(text + used, sizeof(text) - used, " (%.*s)", 200, peer->trouble);
	}
	peer_die(p, number, -EHOSTDOWN, text);
}

static void peer_tick(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	uint64_t dead_at_ns = peer->heard_ns + p->config->dead_ms * CLOCK_NS_PER_MS;

	if (peer->state != PEER_STATE_KNOWN)
		return;
	/* Without references and without a connection nothing keeps it. */
	if (peer->references ||
	    (peer->in == CONN_NONE &&
	     !(peer->out != CONN_NONE && p->conns[peer->out].stage == CONN_UP))) {
		if (dead_at_ns <= now_ns) {
			peer_silent(p, number, now_ns);
			return;
		}
		peers_due(p, dead_at_ns);
	}
	if (!peer->references) {
		if (peer->used_ns + PEER_IDLE_NS <= now_ns) {
			peer_die(p, number, 0, "was not needed for a minute");
			return;
		}
		peers_due(p, peer->used_ns + PEER_IDLE_NS);
	}
	/* At the end, too, what is queued still goes out. */
	if (peer->out == CONN_NONE &&
	    (peer->first || (!p->leaving && (peer->references || peer->met)))) {
		if (peer->retry_at_ns <= now_ns)
			stream_out_start(p, number, now_ns);
		else
			peers_due(p, peer->retry_at_ns);
	}
	if (peer->state == PEER_STATE_KNOWN && peer->references && peer->out != CONN_NONE &&
	    p->conns[peer->out].stage == CONN_UP) {
		if (peer->beat_at_ns <= now_ns)
			stream_beat(p, number, now_ns);
		peers_due(p, peer->beat_at_ns);
	}
	if (peer->state == PEER_STATE_KNOWN && !p->leaving)
		path_tick(p, number, now_ns);
}

void peers_tick(struct peers *p, uint64_t now_ns)
{
	if (now_ns < p->next_ns)
		return;
	p->next_ns = UINT64_MAX;
	if (p->paused)
		socket_resume(p, now_ns);
	for (uint16_t i = 0; i < p->conns_end; i++)
		conn_tick(p, i, now_ns);
	for (uint32_t i = 0; i < PEER_DIALS_MAX; i++)
		dial_tick(p, i, now_ns);
	for (uint16_t i = 0; i < p->peers_end; i++)
		peer_tick(p, i, now_ns);
}

uint64_t peers_deadline_ns(const struct peers *p)
{
	return p->news ? 0 : p->next_ns;
}

/* --- the end ---------------------------------------------------------------------------------- */

void peers_bye(struct peers *p, uint64_t now_ns)
{
	p->leaving = true;
	socket_unlisten(p);
	for (uint16_t i = 0; i < p->peers_end; i++)
		/* Who has no connection of ours sees that nobody listens here any more. */
		if (p->peers[i].state == PEER_STATE_KNOWN &&
		    (p->peers[i].out != CONN_NONE || p->peers[i].first))
			peers_send(p, i, WIRE_BYE, NULL, 0, now_ns);
}

bool peers_quiet(const struct peers *p)
{
	for (uint32_t i = 0; i < p->peers_end; i++)
		if (p->peers[i].state == PEER_STATE_KNOWN && p->peers[i].first)
			return false;
	return true;
}
