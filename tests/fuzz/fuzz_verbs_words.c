/*
 * fuzz_verbs_words.c - what a peer says before there is a queue pair.
 *
 * Input: struct verbs_greeting, then struct verbs_word.  Properties: what passes can be given to a
 * device and shown to people, and the ring that it names is one that can be; of one that cannot,
 * nothing but the reason is left.  Messages are only read.
 */
#include "tests/fuzz/property.h"

#include "daemon/transport/verbs_words.h"

static int any_byte(const void *at, size_t bytes)
{
	const unsigned char *byte = at;
	int any = 0;

	for (size_t i = 0; i < bytes; i++)
		any |= byte[i];
	return any;
}

static void greeting_holds(const struct verbs_greeting *g)
{
	PROPERTY(g->magic == VERBS_MAGIC && g->version == VERBS_VERSION && !g->reserved);
	PROPERTY(g->usable == 0 || g->usable == 1);
	PROPERTY(g->tcp_too == 0 || g->tcp_too == 1);
	PROPERTY(terminated(g->why_not, sizeof(g->why_not)));
	PROPERTY(g->usable == !g->why_not[0]);
	if (!g->usable) {
		PROPERTY(!any_byte(&g->qpn, offsetof(struct verbs_greeting, why_not) -
						    offsetof(struct verbs_greeting, qpn)));
		return;
	}
	PROPERTY(g->qpn && !(g->qpn >> 24) && !(g->psn >> 24));
	PROPERTY(g->mtu >= 1 && g->mtu <= 5);
	PROPERTY(g->link == VERBS_INFINIBAND || g->link == VERBS_ROCE_V1 ||
		 g->link == VERBS_ROCE_V2);
	PROPERTY(g->link == VERBS_INFINIBAND ? g->lid >= 1 && g->lid < 0xc000
					     : any_byte(g->gid, sizeof(g->gid)));
	/* Every place in it has a number below 2^19, and an address. */
	PROPERTY(g->ring_bytes >= 1 << 18 && g->ring_bytes / 64 <= 1 << 19);
	PROPERTY(!(g->ring_bytes & 63) && g->ring && !(g->ring & 63));
	PROPERTY(g->ring + g->ring_bytes > g->ring);
}

static void word_holds(const struct verbs_word *w)
{
	PROPERTY(w->magic == VERBS_MAGIC && !w->reserved);
	PROPERTY(w->state == VERBS_CONNECT || w->state == VERBS_JUDGE);
	PROPERTY(terminated(w->why_not, sizeof(w->why_not)));
	PROPERTY(w->good == 0 || w->good == 1);
	PROPERTY(w->good == !w->why_not[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct verbs_greeting g, g_before;
	struct input in = {data, bytes};
	struct verbs_word w, w_before;
	const char *bad;

	take(&in, &g, sizeof(g));
	take(&in, &w, sizeof(w));
	g_before = g;
	w_before = w;
	bad = verbs_greeting_refuse(&g);
	if (bad)
		PROPERTY(*bad);
	else
		greeting_holds(&g);
	bad = verbs_word_refuse(&w);
	if (bad)
		PROPERTY(*bad);
	else
		word_holds(&w);
	PROPERTY(!memcmp(&g, &g_before, sizeof(g)) && !memcmp(&w, &w_before, sizeof(w)));
	return 0;
}
