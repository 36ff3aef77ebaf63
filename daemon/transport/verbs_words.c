/* verbs_words.c - see verbs_words.h. */
#include "daemon/transport/verbs_words.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "proto/text.h"

enum { MTU_MIN = 1, MTU_MAX = 5 };

static bool is_zero(const void *from, const void *to)
{
	for (const unsigned char *at = from; at < (const unsigned char *)to; at++)
		if (*at)
			return false;
	return true;
}

/* One that can: what the device is given from it. */
static const char *refuse_queue_pair(const struct verbs_greeting *g)
{
	if (g->link >= VERBS_LINKS)
		return "its greeting has a kind of link that there is not";
	if (g->mtu < MTU_MIN || g->mtu > MTU_MAX)
		return "its greeting has an MTU that there is not";
	if (!g->qpn || g->qpn > VERBS_NUMBER_MAX || g->psn > VERBS_NUMBER_MAX)
		return "its greeting has a queue pair or packet number out of range";
	if (g->link == VERBS_INFINIBAND && (!g->lid || g->lid > VERBS_LID_MAX))
		return "its greeting has a LID out of range";
	if (g->link != VERBS_INFINIBAND && is_zero(g->gid, g->gid + sizeof(g->gid)))
		return "its greeting has no GID";
	if (g->ring_bytes < VERBS_RING_BYTES_MIN || g->ring_bytes > VERBS_RING_BYTES_MAX ||
	    g->ring_bytes % VERBS_UNIT_BYTES)
		return "its greeting has a ring of a size out of range";
	if (!g->ring || g->ring % VERBS_UNIT_BYTES || g->ring > UINT64_MAX - g->ring_bytes)
		return "its greeting has a ring at an impossible address";
	return NULL;
}

const char *verbs_greeting_refuse(const struct verbs_greeting *g)
{
	if (g->magic != VERBS_MAGIC)
		return "it does not begin as a meeting of verbs";
	if (g->version != VERBS_VERSION)
		return "its meeting of verbs is of another version";
	if (g->usable > 1 || g->tcp_too > 1)
		return "its greeting has a flag that is neither 0 nor 1";
	if (g->reserved)
		return "its greeting has reserved bits set";
	if (!text_ok(g->why_not, sizeof(g->why_not)))
		return "its greeting has a bad text";
	if (g->usable && g->why_not[0])
		return "its greeting says that it can, and why not";
	if (g->usable)
		return refuse_queue_pair(g);
	if (!g->why_not[0])
		return "its greeting does not say why it cannot";
	return is_zero(&g->qpn, &g->reserved) ? NULL : "its greeting has values that mean nothing";
}

const char *verbs_word_refuse(const struct verbs_word *w)
{
	if (w->magic != VERBS_MAGIC)
		return "its word is not one of verbs";
	if (w->state != VERBS_CONNECT && w->state != VERBS_JUDGE)
		return "its word is about a step that there is not";
	if (w->good > 1)
		return "its word has a flag that is neither 0 nor 1";
	if (w->reserved)
		return "its word has reserved bits set";
	if (!text_ok(w->why_not, sizeof(w->why_not)))
		return "its word has a bad text";
	if (w->good && w->why_not[0])
		return "its word is good, and says why not";
	return w->good || w->why_not[0] ? NULL : "its word does not say why not";
}
