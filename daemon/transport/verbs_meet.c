/*
 * verbs_meet.c - two ends agree over their socket on a queue pair, or on TCP.
 *
 *   GREET     both say who they are and what they can; if either cannot: TCP
 *   CONNECT   the queue pair can receive and send; both say so
 *   PROBE     one empty write each, which the other's device has to acknowledge
 *   JUDGE     both say whether theirs was; yes, yes: UP
 *
 * Both see the same four statements and so come to the same end; a message has a fixed size, so
 * that what follows on the socket, should it become a TCP path, begins where it has to.
 */
#include "daemon/transport/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "daemon/clock.h"

#define MEET_NS (5 * CLOCK_NS_PER_S)

enum { TIMEOUT_DEFAULT = 14, RETRIES_DEFAULT = 6, RNR_FOR_EVER = 7, RNR_640_US = 12 };

/* --- queue pairs ---------------------------------------------------------------------------- */

static uint32_t bucket(uint32_t qpn)
{
	return qpn & ((1u << VERBS_QPN_BITS) - 1);
}

static void qpn_put(struct transport *t, struct verbs_path *p)
{
	uint32_t i = bucket(p->qp->qp_num);

	while (t->by_qpn[i])
		i = bucket(i + 1);
	t->by_qpn[i] = p;
}

struct verbs_path *verbs_by_qpn(struct transport *t, uint32_t qpn)
{
	for (uint32_t i = bucket(qpn); t->by_qpn[i]; i = bucket(i + 1))
		if (t->by_qpn[i]->qp->qp_num == qpn)
			return t->by_qpn[i];
	return NULL;
}

void verbs_qp_stop(struct verbs_path *p)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	(void)ibv_modify_qp(p->qp, &attr, IBV_QP_STATE);
}

void verbs_qp_free(struct transport *t, struct verbs_path *p)
{
	struct ibv_qp *qp = p->qp;

	p->qp = NULL;
	if (!qp)
		return;
	memset(t->by_qpn, 0, sizeof(t->by_qpn));
	for (uint32_t i = 0; i < t->active_count; i++)
		if (t->paths[t->active[i]]->qp)
			qpn_put(t, t->paths[t->active[i]]);
	(void)ibv_destroy_qp(qp);
	t->device.qps--;
	/* Completions may have gone with it, and their receives: they are not counted any more. */
	t->device.receives_missing += VERBS_WINDOW;
}

/* Return: 0 or negative errno. */
static int qp_make(struct transport *t, struct verbs_path *p)
{
	struct ibv_qp_init_attr init = {
		.send_cq = t->device.cq,
		.recv_cq = t->device.cq,
		.srq = t->device.srq,
		.cap = {.max_send_wr = VERBS_SEND_DEPTH,
			.max_send_sge = t->device.sges,
			.max_inline_data = VERBS_INLINE_BYTES},
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
				   .port_num = t->device.port,
				   .qp_access_flags = IBV_ACCESS_REMOTE_WRITE};

	p->qp = ibv_create_qp(t->device.pd, &init);
	if (!p->qp) {
		init.cap.max_inline_data = 0;
		p->qp = ibv_create_qp(t->device.pd, &init);
	}
	if (!p->qp)
		return -errno;
	t->device.qps++;
	qpn_put(t, p);
	p->inline_bytes = init.cap.max_inline_data;
	return -ibv_modify_qp(p->qp, &attr,
			      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static uint8_t link_of(const struct verbs_device *d)
{
	if (!d->ethernet)
		return VERBS_INFINIBAND;
	return d->version2 ? VERBS_ROCE_V2 : VERBS_ROCE_V1;
}

/* Return: 0 or negative errno. */
static int qp_connect(struct transport *t, struct verbs_path *p)
{
	const struct transport_options *o = &t->options;
	const struct verbs_greeting *peer = &p->theirs;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = (enum ibv_mtu)(peer->mtu < p->mine.mtu ? peer->mtu : p->mine.mtu),
		.dest_qp_num = peer->qpn,
		.rq_psn = peer->psn,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = RNR_640_US,
		.ah_attr = {.dlid = peer->lid,
			    .sl = (uint8_t)o->verbs_service_level,
			    .is_global = t->device.ethernet,
			    .port_num = t->device.port},
	};
	uint16_t port = verbs_udp_port(p->slot / TRANSPORT_PATHS_MAX, o->lane,
				       p->slot % TRANSPORT_PATHS_MAX);
	int error;

	if (t->device.ethernet) {
		memcpy(attr.ah_attr.grh.dgid.raw, peer->gid, sizeof(peer->gid));
		attr.ah_attr.grh.sgid_index = (uint8_t)t->device.gid_index;
		attr.ah_attr.grh.hop_limit = 64;
		attr.ah_attr.grh.traffic_class = (uint8_t)o->verbs_traffic_class;
		attr.ah_attr.grh.flow_label = verbs_udp_flow_label(port);
	}
	error = ibv_modify_qp(p->qp, &attr,
			      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				      IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				      IBV_QP_MIN_RNR_TIMER);
	if (error)
		return -error;
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTS,
		.sq_psn = p->mine.psn,
		.timeout = (uint8_t)(o->verbs_timeout ? o->verbs_timeout : TIMEOUT_DEFAULT),
		.retry_cnt = (uint8_t)(o->verbs_retries ? o->verbs_retries : RETRIES_DEFAULT),
		.rnr_retry = RNR_FOR_EVER, /* a lane that is stopped is judged by heartbeats */
		.max_rd_atomic = 1,
	};
	error = ibv_modify_qp(p->qp, &attr,
			      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				      IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
	if (!error && link_of(&t->device) == VERBS_ROCE_V2)
		verbs_udp_set(&t->device.udp, p->qp, port);
	return -error;
}

/* --- what is said --------------------------------------------------------------------------- */

/* The first bytes on a socket always find room.  Return: 0 or negative errno. */
static int say(const struct verbs_path *p, const void *message, size_t bytes)
{
	ssize_t n = send(p->fd, message, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	return (size_t)n == bytes ? 0 : -ENOBUFS;
}

/* Return: 1: it is whole; 0: more is to come; negative errno. */
static int hear(struct verbs_path *p, void *message, size_t bytes)
{
	ssize_t n;

	if (p->have == bytes)
		return 1;
	n = recv(p->fd, (unsigned char *)message + p->have, bytes - p->have, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return p->have ? -ECONNRESET : -EPIPE;
	p->have += (uint32_t)n;
	return p->have == bytes;
}

/* After its last word, until we answer, the other end says nothing; but it may go. */
static int gone(const struct verbs_path *p)
{
	char byte;
	ssize_t n = recv(p->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n ? -EPROTO : -EPIPE;
}

/* What we have to offer.  Return: NULL, or why there is nothing: it is left as text. */
static const char *prepare(struct transport *t, struct verbs_path *p, char *text, size_t bytes)
{
	const char *why = verbs_device_refuses(&t->device);
	struct verbs_greeting *g = &p->mine;
	int ret;

	p->refused = why;
	if (why) {
		(void)snprintf(text, bytes, "%.*s", (int)bytes - 1, why);
		return text;
	}
	ret = qp_make(t, p);
	if (!ret)
		ret = verbs_send_init(t, p);
	if (!ret)
		ret = verbs_receive_init(t, p);
	if (ret) {
		why = verbs_device_refuses(&t->device);
		if (why)
			(void)snprintf(text, bytes, "%.*s", (int)bytes - 1, why);
		else
			(void)snprintf(text, bytes, "%.16s: %.48s", t->device.name, strerror(-ret));
		return text;
	}
	g->qpn = p->qp->qp_num;
	if (getrandom(&g->psn, sizeof(g->psn), 0) != sizeof(g->psn))
		g->psn = (uint32_t)clock_now_ns();
	g->psn &= 0xffffff;
	g->rkey = p->rx.ring_mr->rkey;
	g->ring = (uintptr_t)p->rx.ring;
	g->ring_bytes = (uint32_t)p->rx.ring_bytes;
	memcpy(g->gid, t->device.gid.raw, sizeof(g->gid));
	g->lid = t->device.lid;
	g->link = link_of(&t->device);
	g->mtu = (uint8_t)t->device.mtu;
	g->usable = 1;
	return NULL;
}

int verbs_meet(struct transport *t, struct verbs_path *p)
{
	struct verbs_greeting *g = &p->mine;

	*g = (struct verbs_greeting){.magic = VERBS_MAGIC, .version = VERBS_VERSION};
	g->tcp_too = t->options.tcp_too;
	(void)prepare(t, p, g->why_not, sizeof(g->why_not));
	p->state = VERBS_GREET;
	p->deadline_ns = clock_now_ns() + MEET_NS;
	return say(p, g, sizeof(*g));
}

static void say_word(struct transport *t, struct verbs_path *p, const char *why_not)
{
	struct verbs_word word = {
		.magic = VERBS_MAGIC, .state = (uint8_t)p->state, .good = !why_not};
	int ret;

	p->mine_good = !why_not;
	(void)snprintf(word.why_not, sizeof(word.why_not), "%s", why_not ? why_not : "");
	memcpy(p->mine.why_not, word.why_not, sizeof(word.why_not));
	ret = say(p, &word, sizeof(word));
	if (ret)
		verbs_end(t, p, ret, NULL);
}

/* --- the steps ------------------------------------------------------------------------------ */

/* It will not be a queue pair. */
static void settle_for_tcp(struct transport *t, struct verbs_path *p, const char *who,
			   const char *why, enum verbs_tcp because)
{
	verbs_status_tcp(t, p->slot, who, why);
	verbs_event_over_tcp(t, p->slot, because);
	if (p->mine.tcp_too && p->theirs.tcp_too)
		p->state = VERBS_TO_TCP;
	else
		verbs_end(t, p, -EOPNOTSUPP, "no queue pair could be made, and TCP is not allowed");
}

static void greeted(struct transport *t, struct verbs_path *p)
{
	const struct verbs_greeting *g = &p->theirs;
	const char *bad = verbs_greeting_refuse(g);
	int ret;

	if (bad) {
		verbs_end(t, p, -EPROTO, bad);
		return;
	}
	if (!p->mine.usable || !g->usable) {
		settle_for_tcp(t, p, p->mine.usable ? "there" : "here",
			       p->mine.usable ? g->why_not : p->mine.why_not,
			       p->mine.usable ? VERBS_TCP_STAYS
			       : p->refused   ? VERBS_TCP_HERE
					      : VERBS_TCP_FAILED);
		return;
	}
	if (g->link != p->mine.link) {
		settle_for_tcp(t, p, "both", "not the same kind of fabric", VERBS_TCP_STAYS);
		return;
	}
	p->tx.units = g->ring_bytes / VERBS_UNIT_BYTES;
	p->state = VERBS_CONNECT;
	ret = qp_connect(t, p);
	say_word(t, p, ret ? strerror(-ret) : NULL);
}

static void connected(struct transport *t, struct verbs_path *p)
{
	int ret;

	p->state = VERBS_PROBE;
	ret = verbs_send_bare(t, p);
	if (ret)
		verbs_meet_probed(t, p, strerror(-ret));
}

void verbs_meet_probed(struct transport *t, struct verbs_path *p, const char *why_not)
{
	p->state = VERBS_JUDGE;
	say_word(t, p, why_not);
}

/* Both have said how a step went. */
static void agreed(struct transport *t, struct verbs_path *p)
{
	const char *bad = verbs_word_refuse(&p->word);

	p->have = 0;
	if (bad)
		verbs_end(t, p, -EPROTO, bad);
	else if (p->word.state != p->state)
		verbs_end(t, p, -EPROTO, "it spoke out of turn when queue pairs were made");
	else if (!p->mine_good)
		settle_for_tcp(t, p, "here", p->mine.why_not, VERBS_TCP_FAILED);
	else if (!p->word.good)
		settle_for_tcp(t, p, "there", p->word.why_not, VERBS_TCP_FAILED);
	else if (p->state == VERBS_CONNECT)
		connected(t, p);
	else {
		p->state = VERBS_UP;
		verbs_event_up(t, p->slot);
	}
}

void verbs_meet_go_on(struct transport *t, struct verbs_path *p, uint64_t now_ns)
{
	int ret = 0;

	if (p->state == VERBS_GREET) {
		ret = hear(p, &p->theirs, sizeof(p->theirs));
		if (ret > 0) {
			p->have = 0;
			greeted(t, p);
		}
	}
	while (ret >= 0 && !p->error &&
	       (p->state == VERBS_CONNECT || p->state == VERBS_PROBE || p->state == VERBS_JUDGE)) {
		ret = hear(p, &p->word, sizeof(p->word));
		if (ret > 0 && p->state == VERBS_PROBE)
			ret = gone(p); /* what was heard early waits for us */
		if (ret <= 0)
			break;
		agreed(t, p);
	}
	if (ret < 0)
		verbs_end(t, p, ret, NULL);
	else if (p->state < VERBS_UP && now_ns >= p->deadline_ns)
		verbs_end(t, p, -ETIMEDOUT, "the other end did not finish making a queue pair");
}
