/*
 * verbs_cq.c - the lane's completion queue: what completes goes to its path, receives that
 * were used are given back, and the queue is armed before the lane sleeps.
 */
#include "daemon/transport/verbs.h"

#include <arpa/inet.h>

enum { ROUNDS = 16 }; /* of VERBS_COMPLETIONS; then others have their turn */

static void complete(struct transport *t, const struct ibv_wc *wc)
{
	struct verbs_path *p = verbs_by_qpn(t, wc->qp_num);

	t->stats.completions++;
	if (wc->status != IBV_WC_SUCCESS)
		verbs_status_count(&t->stats, wc->status);
	if (!wc->wr_id)
		t->device.receives_missing++;
	if (!p || p->error)
		return;
	if (wc->status != IBV_WC_SUCCESS && p->state == VERBS_PROBE)
		verbs_meet_probed(t, p, verbs_status_text(wc->status));
	else if (wc->status != IBV_WC_SUCCESS)
		verbs_end(t, p, verbs_status_errno(wc->status), verbs_status_text(wc->status));
	else if (!wc->wr_id && wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM)
		verbs_break(t, p, WIRE_BAD_KIND); /* sent, not written: it has no immediate */
	else if (!wc->wr_id)
		verbs_receive_arrived(t, p, ntohl(wc->imm_data), wc->byte_len);
	else
		verbs_send_done(p, wc->wr_id);
	if (wc->status == IBV_WC_SUCCESS && wc->wr_id && p->state == VERBS_PROBE)
		verbs_meet_probed(t, p, NULL);
}

bool verbs_cq_take(struct transport *t)
{
	struct ibv_wc wc[VERBS_COMPLETIONS];
	int n = VERBS_COMPLETIONS;
	bool any = false;

	if (!t->device.cq)
		return false;
	for (int round = 0; round < ROUNDS && n == VERBS_COMPLETIONS; round++) {
		n = ibv_poll_cq(t->device.cq, VERBS_COMPLETIONS, wc);
		for (int i = 0; i < n; i++)
			complete(t, &wc[i]);
		any |= n > 0;
	}
	if (t->device.receives_missing >= VERBS_REPOST)
		verbs_device_receives(&t->device);
	return any;
}

void verbs_cq_take_all(struct transport *t)
{
	for (int i = 0; i < VERBS_CQ_ENTRIES / VERBS_COMPLETIONS / ROUNDS + 1; i++)
		if (!verbs_cq_take(t))
			return;
}

/* The event that woke us is taken off here and not when it came: then there was work to do. */
void verbs_cq_arm(struct transport *t)
{
	struct ibv_cq *cq;
	void *context;

	if (t->device.armed && !t->device.fired)
		return;
	/* It was armed once, so there is one. */
	if (t->device.fired && !ibv_get_cq_event(t->device.channel, &cq, &context))
		t->device.unacknowledged++;
	t->device.fired = false;
	t->device.armed = !ibv_req_notify_cq(t->device.cq, 0);
	/* Acknowledging takes a lock: not each time. */
	if (t->device.unacknowledged >= 1000) {
		ibv_ack_cq_events(t->device.cq, t->device.unacknowledged);
		t->device.unacknowledged = 0;
	}
}
