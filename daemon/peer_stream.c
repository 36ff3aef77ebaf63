/*
 * peer_stream.c - control streams: numbered frames, acknowledgements, heartbeats.
 *
 * Out: peer->first ... last are frames that are not acknowledged, `unsent` the next of
 * them for this connection; a BEAT goes between two of them.  In: frames are read into
 * conn->in and taken one by one by stream_in_next(); then one ACK tells of all.
 */
#include "daemon/peer_state.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* --- out -------------------------------------------------------------------------------------- */

static void frame_free_first(struct peer *peer)
{
	struct out_frame *frame = peer->first;

	if (peer->unsent == frame) {
		peer->unsent = frame->next;
		peer->offset = 0;
	}
	peer->first = frame->next;
	if (!peer->first)
		peer->last = NULL;
	peer->queued -= frame->bytes;
	peer->acked = frame->seq;
	free(frame);
}

void stream_free(struct peer *peer)
{
	while (peer->first)
		frame_free_first(peer);
}

/* The other side has all frames up to `through`.  Return: whether that can be. */
static bool acknowledged(struct peer *peer, uint32_t through)
{
	if (through == peer->acked)
		return true;
	if (!wire_path_seq_after(through, peer->acked) || wire_path_seq_after(through, peer->sent))
		return false;
	while (peer->first && peer->acked != through)
		frame_free_first(peer);
	return true;
}

void peers_send(struct peers *p, uint16_t number, enum wire_kind kind, const void *payload,
		uint32_t bytes, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct wire_frame header = {.kind = (uint16_t)kind, .payload_bytes = bytes};
	struct out_frame *frame;

	if (peer->state != PEER_STATE_KNOWN)
		return;
	frame = malloc(sizeof(*frame) + sizeof(header) + bytes);
	if (!frame || peer->queued > PEER_QUEUE_BYTES_MAX) {
		free(frame);
		peer_die(p, number, -ENOBUFS, "takes no control frames any more");
		return;
	}
	peer->sent = wire_path_seq_next(peer->sent);
	header.path_seq = peer->sent;
	wire_seal(&header, bytes ? payload : NULL);
	frame->next = NULL;
	frame->seq = peer->sent;
	frame->bytes = (uint32_t)(sizeof(header) + bytes);
	memcpy(frame->data, &header, sizeof(header));
	if (bytes)
		memcpy(frame->data + sizeof(header), payload, bytes);
	if (peer->last)
		peer->last->next = frame;
	else
		peer->first = frame;
	peer->last = frame;
	peer->queued += frame->bytes;
	if (!peer->unsent)
		peer->unsent = frame;
	stream_out_push(p, number, now_ns);
	if (peer->out == CONN_NONE)
		peers_due(p, peer->retry_at_ns);
}

void stream_out_start(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	int conn = conn_connect(p, CONN_CONTROL_OUT, peer->node.address, peer->node.port, now_ns);
	struct err err;

	if (conn >= 0) {
		peer->out = (uint16_t)conn;
		p->conns[conn].peer = number;
		return;
	}
	(void)err_set(&err, conn, "%s", strerror(-conn));
	(void)stream_out_lost(p, number, &err, now_ns);
}

bool stream_out_lost(struct peers *p, uint16_t number, const struct err *err, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	bool was_up = peer->out != CONN_NONE && p->conns[peer->out].stage == CONN_UP;

	if (peer->out != CONN_NONE)
		conn_close(p, peer->out);
	peer->out = CONN_NONE;
	peer->unsent = peer->first;
	peer->offset = 0;
	(void)snprintf(peer->trouble, sizeof(peer->trouble), "%s", err->text);
	if (was_up && !peer->references)
		peer->heard_ns = now_ns; /* until now nobody listened */
	if (err->code == -ECONNREFUSED) {
		peer_die(p, number, -EHOSTDOWN, "died: its kernel refuses connections");
		return true;
	}
	/* Whether its kernel refuses a new connection must be known at once. */
	peer->retry_at_ns = was_up ? now_ns : now_ns + peer_backoff(&peer->backoff_ns);
	peers_due(p, peer->retry_at_ns);
	return false;
}

bool stream_forgotten(const struct peer *peer, const struct conn *c)
{
	/* A HELLO was answered, perhaps, and cut before a frame was taken: it never knew us. */
	return peer->knew_us && !conn_hello(c)->peer_instance;
}

void stream_out_up(struct peers *p, uint16_t number, uint16_t conn, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct conn *c = peers_conn(p, conn);
	const struct wire_hello *hello = conn_hello(c);
	struct err err;

	if (peer->out != CONN_NONE && peer->out != conn)
		conn_close(p, peer->out);
	conn_become(p, conn, CONN_CONTROL_OUT);
	peer->out = conn;
	c->peer = number;
	if (stream_forgotten(peer, c)) {
		peer_forgot_us(p, number);
		return;
	}
	c->in = malloc(WIRE_HEADER_BYTES);
	if (!c->in || !acknowledged(peer, hello->received)) {
		/* Not met yet: it remembers us from a time that we forgot, and will notice. */
		(void)err_set(&err, -EPROTO,
			      c->in ? "counts control frames that were never sent"
				    : "no memory for a connection");
		if (c->in && peer->met)
			peer_die(p, number, -EPROTO, err.text);
		else
			(void)stream_out_lost(p, number, &err, now_ns);
		return;
	}
	c->stage = CONN_UP;
	c->deadline_ns = UINT64_MAX;
	if (!peer->met)
		log_put(p->log, LOG_LEVEL_INFO, LOG_PEER_UP,
			"connected to host %s peer=%s port=%u instance=%016llx", peer->node.host,
			peer->node.address, peer->node.port,
			(unsigned long long)peer->node.instance);
	peer->met = true;
	if (hello->peer_instance)
		peer->knew_us = true;
	peer->backoff_ns = 0;
	peer->trouble[0] = 0;
	peer->unsent = peer->first;
	peer->offset = 0;
	peer->heard_ns = now_ns;
	peer->beat_at_ns = now_ns;
	peers_due(p, now_ns);
	stream_out_push(p, number, now_ns);
}

/* Send what there is.  Return: 1: everything; 0: the socket is full; negative errno. */
static int push(struct peer *peer, struct conn *c)
{
	while (peer->unsent || c->small_have) {
		struct out_frame *frame = peer->unsent;
		ssize_t n;

		if (c->small_have && (c->small_sent || !peer->offset)) {
			int ret = conn_send_small(c);

			if (ret <= 0)
				return ret;
			continue;
		}
		assert(frame); /* nothing small is left, so the loop goes on for it */
		n = send(c->fd, frame->data + peer->offset, frame->bytes - peer->offset,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		peer->offset += (uint32_t)n;
		if (peer->offset < frame->bytes)
			continue;
		peer->unsent = frame->next;
		peer->offset = 0;
	}
	return 1;
}

void stream_out_push(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct err err;
	int ret;

	if (peer->out == CONN_NONE || p->conns[peer->out].stage != CONN_UP)
		return;
	ret = push(peer, peers_conn(p, peer->out));
	if (ret >= 0) {
		conn_watch(p, peer->out, ret ? EPOLLIN : EPOLLIN | EPOLLOUT);
		return;
	}
	(void)err_set(&err, ret, "%s", strerror(-ret));
	(void)stream_out_lost(p, number, &err, now_ns);
}

void stream_beat(struct peers *p, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct wire_beat beat = {
		.instance = p->instance, .sent_ns = now_ns, .echo_ns = peer->echo_ns};
	struct wire_frame frame = {.kind = WIRE_BEAT, .payload_bytes = sizeof(beat)};
	struct conn *c = peers_conn(p, peer->out);

	peer->beat_at_ns = now_ns + p->config->heartbeat_ms * CLOCK_NS_PER_MS;
	if (c->small_have)
		return; /* the last one is still here */
	memcpy(beat.progress, p->progress, sizeof(beat.progress));
	wire_seal(&frame, &beat);
	memcpy(c->small, &frame, sizeof(frame));
	memcpy(c->small + sizeof(frame), &beat, sizeof(beat));
	c->small_have = sizeof(frame) + sizeof(beat);
	stream_out_push(p, number, now_ns);
}

/* An ACK, the only thing that comes this way.  Return: 1: took one; 0: none; negative errno. */
static int read_ack(struct peer *peer, struct conn *c, uint64_t now_ns, struct err *err)
{
	enum wire_verdict verdict;
	struct wire_frame frame;
	ssize_t n = recv(c->fd, c->in + c->in_have, WIRE_HEADER_BYTES - c->in_have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_set(err, -errno, "%s", strerror(errno));
	if (n == 0)
		return err_set(err, -ECONNRESET, "closed the connection");
	c->in_have += (uint32_t)n;
	if (c->in_have < WIRE_HEADER_BYTES)
		return 1;
	c->in_have = 0;
	memcpy(&frame, c->in, sizeof(frame));
	verdict = wire_check(&frame);
	if (verdict != WIRE_OK && refused_again(&peer->out_refused, now_ns))
		return err_set(err, -EPROTO, "sent %d bad acknowledgements in a row, last %s",
			       PEER_REFUSED_MAX, wire_verdict_name(verdict));
	if (verdict != WIRE_OK)
		return err_set(err, -EBADMSG, "sent a bad acknowledgement: %s",
			       wire_verdict_name(verdict));
	if (frame.kind != WIRE_ACK || !acknowledged(peer, frame.path_ack))
		return err_set(err, -EPROTO, "acknowledges what was not sent");
	peer->knew_us = true; /* it acknowledges what it has taken, heartbeats too */
	peer->out_refused.count = 0;
	return 1;
}

void stream_out_ready(struct peers *p, uint16_t conn, uint32_t events, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);
	uint16_t number = c->peer;
	struct peer *peer = &p->peers[number];
	struct err err;
	int ret;

	if (c->stage != CONN_UP) {
		ret = conn_greet(p, conn, peer->node.instance, 0, now_ns, &err);
		if (ret < 0)
			(void)stream_out_lost(p, number, &err, now_ns);
		else if (ret && conn_hello(c)->instance != peer->node.instance)
			peer_die(p, number, -EHOSTDOWN, "died: another carryd runs there now");
		else if (ret)
			stream_out_up(p, number, conn, now_ns);
		return;
	}
	while ((ret = read_ack(peer, c, now_ns, &err)) > 0)
		peer->heard_ns = now_ns;
	if (ret == -EPROTO)
		peer_die(p, number, ret, err.text);
	else if (ret < 0)
		(void)stream_out_lost(p, number, &err, now_ns);
	else if (events & EPOLLOUT)
		stream_out_push(p, number, now_ns);
}

/* --- in --------------------------------------------------------------------------------------- */

void stream_in_accept(struct peers *p, uint16_t conn, uint16_t number, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct conn *c = peers_conn(p, conn);
	unsigned char *in = malloc(CONTROL_IN_BYTES);

	/* What the old connection had and was not taken is sent again. */
	if (peer->in != CONN_NONE)
		conn_close(p, peer->in);
	peer->in = CONN_NONE;
	if (!in ||
	    conn_say_hello(p, conn, peer->proven ? peer->node.instance : 0, peer->received)) {
		free(in);
		conn_close(p, conn);
		return;
	}
	conn_become(p, conn, CONN_CONTROL_IN);
	c->peer = number;
	c->in = in;
	c->stage = CONN_UP;
	c->deadline_ns = UINT64_MAX;
	peer->in = conn;
	peer->heard_ns = now_ns;
}

static void send_ack(struct peers *p, struct peer *peer)
{
	struct conn *c = peers_conn(p, peer->in);
	struct wire_frame frame = {.kind = WIRE_ACK, .path_ack = peer->received};
	int ret;

	if (!c->small_have) {
		wire_seal(&frame, NULL);
		memcpy(c->small, &frame, sizeof(frame));
		c->small_have = sizeof(frame);
		c->owes_ack = false;
	}
	ret = conn_send_small(c);
	/* An error is found by reading; whoever lacks the ACK asks again with the next HELLO. */
	if (ret >= 0)
		conn_watch(p, peer->in, ret && !c->owes_ack ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/* Read what there is and has room. */
static void read_frames(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);

	while (!c->ended && c->in_have < CONTROL_IN_BYTES) {
		ssize_t n = recv(c->fd, c->in + c->in_have, CONTROL_IN_BYTES - c->in_have,
				 MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			c->ended = true;
			break;
		}
		c->in_have += (uint32_t)n;
		p->peers[c->peer].heard_ns = now_ns;
	}
	p->news = true;
}

void stream_in_ready(struct peers *p, uint16_t conn, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, conn);

	if (c->small_have || c->owes_ack)
		send_ack(p, &p->peers[c->peer]);
	read_frames(p, conn, now_ns);
}

static enum wire_verdict check_payload(const struct wire_frame *frame, const void *payload)
{
	uint32_t bytes = frame->payload_bytes;
	enum wire_verdict verdict = wire_check_payload(frame, payload);

	if (verdict != WIRE_OK)
		return verdict;
	switch ((enum wire_kind)frame->kind) {
	case WIRE_JOIN: return wire_join_check(payload, bytes);
	case WIRE_REFUSE: return wire_refuse_check(payload, bytes);
	case WIRE_TABLE: return wire_table_check(payload, bytes);
	case WIRE_READY:
	case WIRE_GO: return wire_ready_check(payload, bytes);
	case WIRE_LEAVE: return wire_leave_check(payload, bytes);
	case WIRE_PROPOSE:
	case WIRE_END: return wire_end_check(payload, bytes);
	case WIRE_BEAT: return wire_beat_check(payload, bytes);
	case WIRE_CHOOSE: return wire_choose_check(payload, bytes);
	case WIRE_LEASE: return wire_lease_check(payload, bytes);
	case WIRE_BYE: return WIRE_OK;
	case WIRE_HELLO:
	case WIRE_CONTRIBUTION:
	case WIRE_FINAL:
	case WIRE_CREDIT:
	case WIRE_CALL:
	case WIRE_ACK: break;
	}
	return WIRE_BAD_KIND;
}

/* A whole frame, copied to `frame` and p->payload.  Return: 1; 0: none; negative: it is bad. */
static int take_frame(struct peers *p, struct conn *c, struct wire_frame *frame)
{
	enum wire_verdict verdict;
	uint32_t whole;

	if (c->in_have < WIRE_HEADER_BYTES)
		return 0;
	memcpy(frame, c->in, sizeof(*frame));
	verdict = wire_check(frame);
	if (verdict != WIRE_OK || frame->payload_bytes > WIRE_MESSAGE_BYTES_MAX)
		return -(int)(verdict ? verdict : WIRE_BAD_LENGTH);
	whole = WIRE_HEADER_BYTES + frame->payload_bytes;
	if (c->in_have < whole)
		return 0;
	memcpy(p->payload, c->in + WIRE_HEADER_BYTES, frame->payload_bytes);
	c->in_have -= whole;
	memmove(c->in, c->in + whole, c->in_have);
	verdict = check_payload(frame, p->payload);
	return verdict == WIRE_OK ? 1 : -(int)verdict;
}

/* No more comes on this connection. */
static void end_in(struct peers *p, struct peer *peer, uint64_t now_ns)
{
	conn_close(p, peer->in);
	peer->in = CONN_NONE;
	if (!peer->references)
		peer->heard_ns = now_ns;
	peers_due(p, now_ns + p->config->dead_ms * CLOCK_NS_PER_MS);
}

/* Nothing whole is left.  Return: whether more was read. */
static bool read_more(struct peers *p, struct peer *peer, uint64_t now_ns)
{
	struct conn *c = peers_conn(p, peer->in);
	uint32_t had = c->in_have;

	if (!c->ended)
		read_frames(p, peer->in, now_ns);
	if (c->in_have > had)
		return true;
	if (c->owes_ack)
		send_ack(p, peer);
	if (c->ended)
		end_in(p, peer, now_ns);
	return false;
}

/* It comes again on the next connection, unless it never comes as it should. */
static void refuse_in(struct peers *p, uint16_t number, enum wire_verdict verdict, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	char text[WIRE_TEXT_BYTES];

	if (refused_again(&peer->in_refused, now_ns)) {
		(void)snprintf(text, sizeof(text),
			       "is taken for dead: %d bad control frames in a row, last %s",
			       PEER_REFUSED_MAX, wire_verdict_name(verdict));
		peer_die(p, number, -EPROTO, text);
		return;
	}
	log_put(p->log, LOG_LEVEL_WARNING, LOG_PEER_REFUSED,
		"ended a control connection of host %s: bad control frame: %s", peer->node.host,
		wire_verdict_name(verdict));
	end_in(p, peer, now_ns);
}

bool stream_in_next(struct peers *p, uint16_t number, struct peer_event *out, uint64_t now_ns)
{
	struct peer *peer = &p->peers[number];
	struct wire_frame frame;

	while (peer->in != CONN_NONE) {
		struct conn *c = peers_conn(p, peer->in);
		int ret = take_frame(p, c, &frame);

		if (ret < 0) {
			refuse_in(p, number, (enum wire_verdict) - ret, now_ns);
			return false;
		}
		if (ret == 0 && !read_more(p, peer, now_ns))
			return false;
		if (ret == 0)
			continue;
		peer->proven = true;
		peer->in_refused.count = 0;
		c->owes_ack = true;
		if (frame.kind == WIRE_BEAT) {
			const void *beat = p->payload;

			peer->echo_ns = ((const struct wire_beat *)beat)->sent_ns;
			peer->used_ns = now_ns; /* whoever refers to us sends these */
			continue;
		}
		if (frame.path_seq != wire_path_seq_next(peer->received)) {
			peer_die(p, number, -EPROTO,
				 "sent a bad control frame: it has the wrong number");
			return false;
		}
		peer->received = frame.path_seq;
		if (frame.kind == WIRE_BYE) {
			peer_die(p, number, -EHOSTDOWN, "was stopped");
			continue;
		}
		out->kind = PEER_FRAME;
		out->peer = number;
		out->frame = frame.kind;
		out->payload = p->payload;
		out->bytes = frame.payload_bytes;
		return true;
	}
	return false;
}
