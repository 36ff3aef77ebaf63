/*
 * peer_path.c - data connections, from wanted to a lane's.
 *
 * The daemon with the lower instance connects; the other accepts.  Both HELLOs say how
 * many frames their sender has received, and that must be final: so a connection that
 * arrives while the old one is still up here is held until the lane has let go.
 *
 * They also say how their senders can move data.  If that does not fit, here RDMA alone and there
 * TCP alone, both sides know it from then on, and no path to that peer is tried again.
 */
#include "daemon/peer_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct path *path_of(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path)
{
	return &p->peers[peer].paths[lane * p->config->paths + path];
}

static bool we_connect(const struct peers *p, uint16_t peer)
{
	return p->instance < p->peers[peer].node.instance;
}

/* It has frames that we never sent: it does not know yet that we forgot it, and met it anew. */
static bool of_old(const struct path *path, const struct wire_hello *hello)
{
	return hello->received && !path->was_up;
}

static void path_ready(struct peers *p, uint16_t conn, struct path *path)
{
	path->their_received = conn_hello(peers_conn(p, conn))->received;
	path->offers =
		conn_hello(peers_conn(p, conn))->offers & (p->offers | ~(uint32_t)WIRE_OFFER_VERBS);
	path->over = NULL;
	path->about[0] = 0;
	path->fd = conn_take_fd(p, conn);
	path->conn = CONN_NONE;
	path->state = PATH_READY;
	p->news = true;
}

static void path_retry(struct peers *p, struct path *path, uint64_t now_ns)
{
	path->state = PATH_WANTED;
	path->conn = CONN_NONE;
	path->retry_at_ns = now_ns + peer_backoff(&path->backoff_ns);
	peers_due(p, path->retry_at_ns);
}

/* Do the offers of this HELLO and ours fit?  If not that is noted, and logged the first time. */
static bool fits(struct peers *p, uint16_t number, const struct wire_hello *hello)
{
	struct peer *peer = &p->peers[number];

	if (wire_offers_fit(p->offers, hello->offers))
		return true;
	if (!peer->unlike)
		log_put(p->log, LOG_LEVEL_WARNING, LOG_PEER_UNLIKE,
			"no data connection to host %s is possible: it moves data over %s, this "
			"host over %s; set [engine] transport to one word, or to auto, on both",
			peer->node.host, wire_offers_text(hello->offers),
			wire_offers_text(p->offers));
	peer->unlike = true;
	peer->offers = hello->offers;
	p->news = true;
	return false;
}

/* --- as the one that connects ----------------------------------------------------------------- */

void path_connect(struct peers *p, uint16_t number, uint16_t lane, uint16_t index, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct path *path = path_of(p, number, lane, index);
	int conn = conn_connect(p, CONN_DATA_OUT, peer->node.address, peer->node.port, now_ns);

	if (conn < 0) {
		path_retry(p, path, now_ns);
		return;
	}
	p->conns[conn].peer = number;
	p->conns[conn].lane = lane;
	p->conns[conn].path = index;
	p->conns[conn].known = peer->knew_us;
	path->conn = (uint16_t)conn;
	path->state = PATH_CONNECTING;
}

void path_out_lost(struct peers *p, uint16_t conn, const struct err *err, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);
	struct path *path = path_of(p, c->peer, c->lane, c->path);

	log_put(p->log, LOG_LEVEL_DEBUG, LOG_PATH_DOWN,
		"no data connection to host %s: it %s lane=%u path=%u", p->peers[c->peer].node.host,
		err->text, c->lane, c->path);
	conn_close(p, conn);
	path_retry(p, path, now_ns);
}

void path_out_ready(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);
	struct peer *peer = &p->peers[c->peer];
	struct path *path = path_of(p, c->peer, c->lane, c->path);
	struct err err;
	int ret;

	ret = conn_greet(p, conn, peer->proven ? peer->node.instance : 0, path->received, now_ns,
			 &err);
	if (ret > 0) {
		const struct wire_hello *hello = conn_hello(c);

		if (hello->instance != peer->node.instance || hello->purpose != WIRE_DATA ||
		    hello->lane != c->lane || hello->path != c->path) {
			ret = err_set(&err, -EPROTO, "answered for something else");
		} else if (c->known && !hello->peer_instance) {
			peer_forgot_us(p, c->peer);
			return;
		} else if (!fits(p, c->peer, hello)) {
			conn_close(p, conn);
			path->conn = CONN_NONE;
			path->state = PATH_UNWANTED;
			return;
		} else if (of_old(path, hello)) {
			ret = err_set(&err, -EPROTO, "remembers us from a time that we forgot");
		} else {
			path_ready(p, conn, path);
			return;
		}
	}
	if (ret < 0)
		path_out_lost(p, conn, &err, now_ns);
}

/* --- as the one that accepts ------------------------------------------------------------------ */

static void path_answer(struct peers *p, uint16_t number, uint16_t conn, struct path *path)
{
	const struct peer *peer = &p->peers[number];
	const struct wire_hello *hello = conn_hello(peers_conn(p, conn));
	bool fit = fits(p, number, hello);

	if (!fit)
		path->state = PATH_UNWANTED;
	if ((fit && of_old(path, hello)) ||
	    conn_say_hello(p, conn, peer->proven ? peer->node.instance : 0, path->received) || !fit)
		conn_close(p, conn); /* the other side makes a new one, or sees that it is no use */
	else
		path_ready(p, conn, path);
}

/* The newest connection that is held for the path; older ones are closed. */
static uint16_t take_held(struct peers *p, uint16_t number, uint16_t lane, uint16_t index)
{
	uint64_t instance = p->peers[number].node.instance;
	uint16_t newest = CONN_NONE;

	for (uint16_t i = 0; p->held && i < p->conns_end; i++) {
		const struct conn *c = &p->conns[i];

		if (c->kind != CONN_HELD || c->lane != lane || c->path != index ||
		    conn_hello(c)->instance != instance)
			continue;
		if (newest != CONN_NONE && p->conns[newest].since_ns > c->since_ns) {
			conn_close(p, i);
			continue;
		}
		if (newest != CONN_NONE)
			conn_close(p, newest);
		newest = i;
	}
	return newest;
}

void path_accept(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);
	const struct wire_hello *hello = conn_hello(c);
	int number = peers_find(p, hello->instance);
	struct path *path;

	if (hello->lane >= p->config->lanes || hello->path >= p->config->paths ||
	    hello->instance > p->instance) {
		conn_close(p, conn);
		return;
	}
	c->lane = hello->lane;
	c->path = hello->path;
	c->since_ns = now_ns;
	c->deadline_ns = now_ns + PEER_HELD_NS;
	peers_due(p, c->deadline_ns);
	conn_become(p, conn, CONN_HELD);
	conn_watch(p, conn, 0);
	if (number < 0)
		return;
	c->peer = (uint16_t)number;
	path = path_of(p, c->peer, c->lane, c->path);
	switch (path->state) {
	case PATH_READY:
		(void)close(path->fd);
		path_answer(p, c->peer, conn, path);
		return;
	case PATH_WANTED: path_answer(p, c->peer, conn, path); return;
	case PATH_UP:
		path->state = PATH_CUTTING;
		path->cut_told = false;
		p->news = true;
		return;
	case PATH_UNWANTED:
		if (p->peers[number].unlike)
			path_answer(p, c->peer, conn, path);
		return;
	case PATH_CONNECTING: /* never on this side */
	case PATH_CUTTING: return;
	}
}

/* --- for control ------------------------------------------------------------------------------ */

static void path_look(struct peers *p, uint16_t peer, uint16_t lane, uint16_t index)
{
	uint16_t held = take_held(p, peer, lane, index);

	if (held != CONN_NONE)
		path_answer(p, peer, held, path_of(p, peer, lane, index));
	else if (we_connect(p, peer))
		peers_due(p, path_of(p, peer, lane, index)->retry_at_ns);
}

void peers_want_path(struct peers *p, uint16_t peer, uint16_t lane, uint16_t index, uint64_t now_ns)
{
	struct path *path = path_of(p, peer, lane, index);

	if (p->peers[peer].state != PEER_STATE_KNOWN || path->state != PATH_UNWANTED ||
	    p->peers[peer].unlike)
		return;
	path->state = PATH_WANTED;
	path->conn = CONN_NONE;
	path->retry_at_ns = now_ns;
	path_look(p, peer, lane, index);
}

void peers_path_down(struct peers *p, uint16_t peer, uint16_t lane, uint16_t index,
		     uint32_t received, uint64_t now_ns)
{
	struct path *path = path_of(p, peer, lane, index);

	if (p->peers[peer].state != PEER_STATE_KNOWN ||
	    (path->state != PATH_UP && path->state != PATH_CUTTING))
		return;
	/* A HELLO proves little: the lanes may not have agreed, and will not the next time. */
	if (received != path->received || now_ns >= path->retry_at_ns + PEER_BACKOFF_MAX_NS)
		path->backoff_ns = 0;
	path->received = received;
	path_retry(p, path, now_ns);
	path_look(p, peer, lane, index);
}

bool peers_path_is_up(const struct peers *p, uint16_t peer, uint16_t lane, uint16_t index)
{
	const struct path *path = &p->peers[peer].paths[lane * p->config->paths + index];

	return path->state == PATH_UP || path->state == PATH_CUTTING;
}

void peers_path_over(struct peers *p, uint16_t peer, uint16_t lane, uint16_t index,
		     const char *over, const char *about)
{
	struct path *path = path_of(p, peer, lane, index);

	if (p->peers[peer].state != PEER_STATE_KNOWN ||
	    (path->state != PATH_UP && path->state != PATH_CUTTING))
		return;
	path->over = over;
	(void)snprintf(path->about, sizeof(path->about), "%s", about);
}

void peers_path_about(const struct peers *p, uint16_t peer, uint16_t lane, uint16_t index,
		      struct peer_path_about *out)
{
	const struct path *path = &p->peers[peer].paths[lane * p->config->paths + index];
	bool up = peers_path_is_up(p, peer, lane, index);

	*out = (struct peer_path_about){
		.state = up                             ? PEER_PATH_UP
			 : path->state != PATH_UNWANTED ? PEER_PATH_WANTED
							: PEER_PATH_UNWANTED,
		.over = up && path->over ? path->over : "",
		.about = up && path->over ? path->about : "",
	};
}

void path_tick(struct peers *p, uint16_t number, uint64_t now_ns)
{
	for (uint16_t lane = 0; lane < p->config->lanes; lane++)
		for (uint16_t i = 0; i < p->config->paths; i++) {
			struct path *path = path_of(p, number, lane, i);

			if (path->state != PATH_WANTED || !we_connect(p, number))
				continue;
			if (path->retry_at_ns <= now_ns)
				path_connect(p, number, lane, i, now_ns);
			else
				peers_due(p, path->retry_at_ns);
		}
}

bool path_next(struct peers *p, uint16_t number, struct peer_event *out)
{
	for (uint16_t lane = 0; lane < p->config->lanes; lane++)
		for (uint16_t i = 0; i < p->config->paths; i++) {
			struct path *path = path_of(p, number, lane, i);

			if (path->state == PATH_READY) {
				out->kind = PEER_PATH;
				out->fd = path->fd;
				out->received = path->their_received;
				out->offers = path->offers;
				path->state = PATH_UP;
				path->was_up = true;
			} else if (path->state == PATH_CUTTING && !path->cut_told) {
				out->kind = PEER_CUT;
				path->cut_told = true;
			} else {
				continue;
			}
			out->peer = number;
			out->lane = lane;
			out->path = i;
			return true;
		}
	return false;
}

void path_close_all(struct peers *p, uint16_t number)
{
	for (uint16_t lane = 0; lane < p->config->lanes; lane++)
		for (uint16_t i = 0; i < p->config->paths; i++) {
			struct path *path = path_of(p, number, lane, i);
			uint16_t held = take_held(p, number, lane, i);

			if (held != CONN_NONE)
				conn_close(p, held);
			if (path->state == PATH_READY)
				(void)close(path->fd);
			if (path->state == PATH_CONNECTING)
				conn_close(p, path->conn);
			*path = (struct path){.conn = CONN_NONE, .fd = -1};
		}
}
