/* peer_dial.c - endpoints whose daemon is not known yet; see peer_state.h. */
#include "daemon/peer_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void dial_end(struct peers *p, struct dial *d, enum dial_state state)
{
	d->state = state;
	p->news = true;
}

static void dial_start(struct peers *p, uint32_t number, uint64_t now_ns)
{
	struct dial *d = &p->dials[number];
	int conn = conn_connect(p, CONN_DIAL, d->address, d->port, now_ns);
	struct err err;

	if (conn >= 0) {
		d->conn = (uint16_t)conn;
		p->conns[conn].dial = number;
		return;
	}
	(void)err_set(&err, conn, "%s", strerror(-conn));
	dial_lost(p, number, &err, now_ns);
}

/* Trainers name roots: they may not make us knock at any door. */
static int check_port(const struct peers *p, uint16_t port, struct err *err)
{
	if (config_root_port(p->config, p->port, port))
		return 0;
	if (!*p->config->root_ports)
		return err_set(err, -EPERM,
			       "roots must have the port of this daemon, %u ([network] root_ports "
			       "is empty)",
			       p->port);
	return err_set(err, -EPERM, "the port is not one of %s ([network] root_ports)",
		       p->config->root_ports);
}

int peers_dial(struct peers *p, const char *address, uint16_t port, uint64_t patience_ns,
	       uint64_t now_ns, struct err *err)
{
	struct dial *d = p->dials;
	int ret = peers_check_network(p, address, err);

	if (!ret)
		ret = check_port(p, port, err);
	if (ret)
		return ret;
	while (d < p->dials + PEER_DIALS_MAX && d->state != DIAL_FREE)
		d++;
	if (d == p->dials + PEER_DIALS_MAX)
		return err_set(err, -EUSERS, "%d endpoints are being dialled already",
			       PEER_DIALS_MAX);
	*d = (struct dial){.state = DIAL_TRYING,
			   .port = port,
			   .conn = CONN_NONE,
			   .began_ns = now_ns,
			   .deadline_ns = now_ns + patience_ns};
	(void)snprintf(d->address, sizeof(d->address), "%s", address);
	peers_due(p, d->deadline_ns);
	dial_start(p, (uint32_t)(d - p->dials), now_ns);
	return (int)(d - p->dials);
}

void peers_hang_up(struct peers *p, uint32_t dial)
{
	struct dial *d = &p->dials[dial];

	if (d->conn != CONN_NONE && d->state == DIAL_TRYING)
		conn_close(p, d->conn);
	*d = (struct dial){.conn = CONN_NONE};
}

void peers_dial_trouble(const struct peers *p, uint32_t dial, char *text, size_t bytes)
{
	const char *trouble = p->dials[dial].trouble;

	(void)snprintf(text, bytes, "%s", trouble[0] ? trouble : "does not answer");
}

/* In words, as far as strerror() is not enough for a person. */
static void dial_say(struct dial *d, const struct err *err)
{
	const char *text = err->text;

	if (err->code == -ECONNREFUSED)
		text = "refuses connections: no carryd listens there";
	else if (err->code == -ECONNRESET)
		text = "closes connections without a word: [network] peers of its carryd may "
		       "exclude this host";
	(void)snprintf(d->trouble, sizeof(d->trouble), "%s", text);
	d->error = err->code == -EPROTO || err->code == -ETIMEDOUT || err->code == -EPERM
			   ? err->code
			   : -EHOSTUNREACH;
}

void dial_lost(struct peers *p, uint32_t dial, const struct err *err, uint64_t now_ns)
{
	struct dial *d = &p->dials[dial];
	bool answered = err->code != -ETIMEDOUT && err->code != -EAGAIN;

	if (d->conn != CONN_NONE)
		conn_close(p, d->conn);
	d->conn = CONN_NONE;
	dial_say(d, err);
	if (err->code == -EPROTO || now_ns >= d->deadline_ns ||
	    (answered && now_ns - d->began_ns >= PEER_PATIENCE_NS)) {
		dial_end(p, d, DIAL_FAILED);
		return;
	}
	d->retry_at_ns = now_ns + peer_backoff(&d->backoff_ns);
	peers_due(p, d->retry_at_ns);
}

static void dial_met(struct peers *p, struct dial *d, uint64_t now_ns)
{
	struct wire_node node;
	struct err err;
	int number;

	peer_node_of_hello(peers_conn(p, d->conn), &node);
	(void)snprintf(node.address, sizeof(node.address), "%s", d->address);
	node.port = d->port;
	number = peer_take(p, &node, now_ns);
	if (number >= 0 && stream_forgotten(&p->peers[number], peers_conn(p, d->conn)))
		peer_forgot_us(p, (uint16_t)number);
	if (number < 0 || p->peers[number].state == PEER_STATE_DEAD) {
		(void)err_set(&err, number < 0 ? number : -EAGAIN,
			      number < 0 ? "cannot be taken in: too many daemons are known"
					 : "was dead a moment ago");
		dial_lost(p, (uint32_t)(d - p->dials), &err, now_ns);
		return;
	}
	d->peer = (uint16_t)number;
	dial_end(p, d, DIAL_MET);
	stream_out_up(p, d->peer, d->conn, now_ns);
	d->conn = CONN_NONE;
}

void dial_ready(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	uint32_t number = peers_conn(p, conn)->dial;
	struct dial *d = &p->dials[number];
	struct err err;
	int ret = conn_greet(p, conn, 0, 0, now_ns, &err);

	if (ret > 0 && conn_hello(peers_conn(p, conn))->purpose != WIRE_CONTROL)
		ret = err_set(&err, -EPROTO, "answered for something else");
	if (ret < 0) {
		dial_lost(p, number, &err, now_ns);
	} else if (ret && conn_hello(peers_conn(p, conn))->instance == p->instance) {
		conn_close(p, conn);
		d->conn = CONN_NONE;
		dial_end(p, d, DIAL_SELF);
	} else if (ret) {
		dial_met(p, d, now_ns);
	}
}

void dial_tick(struct peers *p, uint32_t number, uint64_t now_ns)
{
	struct dial *d = &p->dials[number];

	if (d->state != DIAL_TRYING)
		return;
	if (now_ns >= d->deadline_ns) {
		if (d->conn != CONN_NONE)
			conn_close(p, d->conn);
		d->conn = CONN_NONE;
		if (!d->trouble[0])
			(void)snprintf(d->trouble, sizeof(d->trouble), "does not answer");
		if (!d->error)
			d->error = -EHOSTUNREACH;
		dial_end(p, d, DIAL_FAILED);
		return;
	}
	peers_due(p, d->deadline_ns);
	if (d->conn != CONN_NONE)
		return;
	if (d->retry_at_ns <= now_ns)
		dial_start(p, number, now_ns);
	else
		peers_due(p, d->retry_at_ns);
}

bool dial_next(struct peers *p, struct peer_event *out)
{
	for (uint32_t i = 0; i < PEER_DIALS_MAX; i++) {
		struct dial *d = &p->dials[i];

		switch (d->state) {
		case DIAL_FREE:
		case DIAL_TRYING: continue;
		case DIAL_MET:
			out->kind = PEER_MET;
			out->peer = d->peer;
			break;
		case DIAL_SELF: out->kind = PEER_SELF; break;
		case DIAL_FAILED:
			out->kind = PEER_UNREACHABLE;
			out->error = d->error;
			(void)snprintf(out->text, sizeof(out->text), "%s", d->trouble);
			break;
		}
		out->dial = i;
		*d = (struct dial){.conn = CONN_NONE};
		return true;
	}
	return false;
}
