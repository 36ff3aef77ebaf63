/* group.c - see group.h. */
#include "daemon/group.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/vector.h"

/* --- members ---------------------------------------------------------------------------------- */

static int group_fill(struct group *g, const struct wire_table *table, uint64_t instance,
		      struct err *err)
{
	const struct wire_node *nodes = wire_table_nodes(table);
	const uint16_t *ranks = wire_table_ranks(table);
	int node = -1;

	for (uint32_t n = 0; n < table->nodes; n++) {
		g->node_list[n].about = nodes[n];
		if (nodes[n].instance == instance)
			node = (int)n;
	}
	if (node < 0)
		return err_set(err, -EPROTO, "group \"%s\" was formed without this node",
			       table->name);
	g->node = (uint16_t)node;
	for (uint32_t r = 0; r < table->ranks; r++) {
		g->node_of_rank[r] = ranks[r];
		g->node_list[ranks[r]].ranks++;
		g->ranks_of_node[ranks[r]]++;
		if (ranks[r] != node)
			continue;
		if (g->local_ranks == EXCHANGE_LOCAL_MAX)
			return err_set(err, -E2BIG,
				       "group \"%s\" has more than %d ranks on one node",
				       table->name, EXCHANGE_LOCAL_MAX);
		g->local[g->local_ranks++] = (struct group_local){.rank = r};
	}
	return 0;
}

int group_new(struct group **out, const struct wire_table *table, uint64_t instance,
	      struct err *err)
{
	struct group *g = calloc(1, sizeof(*g));
	int ret = -ENOMEM;

	if (g) {
		g->node_list = calloc(table->nodes, sizeof(*g->node_list));
		g->ranks_of_node = calloc(table->nodes, sizeof(*g->ranks_of_node));
		g->node_of_rank = calloc(table->ranks, sizeof(*g->node_of_rank));
	}
	if (!g || !g->node_list || !g->ranks_of_node || !g->node_of_rank) {
		(void)err_set(err, ret, "no memory for group \"%s\" of %u nodes", table->name,
			      table->nodes);
		goto fail;
	}
	g->id = table->group;
	memcpy(g->name, table->name, sizeof(g->name));
	memcpy(g->run, table->run, sizeof(g->run));
	g->uid = table->uid;
	g->epoch = table->epoch;
	g->nodes = (uint16_t)table->nodes;
	g->ranks = table->ranks;
	g->lanes = table->lanes;
	g->chunk_bytes_max = table->chunk_bytes_max;
	g->chunk_bytes_usual = table->chunk_bytes_usual;
	g->flat_bytes_max = table->flat_bytes_max;
	g->schedule = table->schedule;
	g->paths = table->paths;
	g->ended_from = UINT64_MAX;
	ret = group_fill(g, table, instance, err);
	if (ret)
		goto fail;
	*out = g;
	return 0;

fail:
	group_free(g);
	return ret;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	free(g->node_list);
	free(g->ranks_of_node);
	free(g->node_of_rank);
	free(g);
}

int group_node_of(const struct group *g, uint64_t instance)
{
	for (int n = 0; n < g->nodes; n++)
		if (g->node_list[n].about.instance == instance)
			return n;
	return -1;
}

bool group_ending(struct group *g, uint64_t first, uint64_t last, int error, const char *text)
{
	if (first >= g->ended_from)
		return false;
	if (last != UINT64_MAX) {
		uint64_t *known = &g->ended_ops[first % EXCHANGE_OPS_MAX];

		if (*known == first)
			return false;
		*known = first;
		(void)snprintf(g->op_text, sizeof(g->op_text), "%s", text);
		return true;
	}
	g->ended_from = first;
	g->ended_error = error;
	(void)snprintf(g->ended_text, sizeof(g->ended_text), "%s", text);
	return true;
}

bool group_rank_posted(struct group *g, uint32_t local, uint64_t seq)
{
	struct group_local *l = &g->local[local];

	assert(local < g->local_ranks && l->state == GROUP_RANK_LEAVING);
	if (!l->answers || seq < l->posted)
		l->posted = seq;
	l->answers++;
	if (l->answers < g->lanes)
		return false;
	l->state = GROUP_RANK_LEFT;
	return true;
}

bool group_all_left(const struct group *g)
{
	for (uint32_t i = 0; i < g->local_ranks; i++)
		if (g->local[i].state != GROUP_RANK_LEFT)
			return false;
	return true;
}

void group_end_words(const struct group *g, const char *text, char *out, size_t bytes)
{
	if (g->op_text[0] && strcmp(g->op_text, text) != 0)
		(void)snprintf(out, bytes, "%.120s; before that, %s", text, g->op_text);
	else
		(void)snprintf(out, bytes, "%s", text);
}

/* --- words ------------------------------------------------------------------------------------ */

/* A text being put together in a field of fixed size; what does not fit is left out. */
struct words {
	char *text;
	size_t bytes, used;
	bool full;
};

__attribute__((format(printf, 2, 3))) static bool words_add(struct words *w, const char *format,
							    ...)
{
	va_list args;
	int n;

	if (w->full)
		return false;
	va_start(args, format);
	n = vsnprintf(w->text + w->used, w->bytes - w->used, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= w->bytes - w->used) {
		w->text[w->used] = 0;
		w->full = true;
		return false;
	}
	w->used += (size_t)n;
	return true;
}

static const char *words_plural(const bool *has, uint32_t ranks)
{
	uint32_t count = 0;

	for (uint32_t r = 0; r < ranks; r++)
		count += has[r];
	return count == 1 ? "rank" : "ranks";
}

void group_ranks_text(const bool *has, uint32_t ranks, char *text, size_t bytes)
{
	struct words w = {.text = text, .bytes = bytes};
	const char *between = " ";
	uint32_t first, last;

	text[0] = 0;
	(void)words_add(&w, "%s", words_plural(has, ranks));
	w.bytes -= sizeof("...") - 1;
	for (first = 0; first < ranks; first = last + 1) {
		last = first;
		if (!has[first])
			continue;
		while (last + 1 < ranks && has[last + 1])
			last++;
		if (first == last)
			(void)words_add(&w, "%s%u", between, first);
		else
			(void)words_add(&w, "%s%u-%u", between, first, last);
		between = ", ";
	}
	if (!w.full)
		return;
	w.full = false;
	w.bytes += sizeof("...") - 1;
	(void)words_add(&w, "...");
}

static void node_ranks(const struct group *g, uint16_t node, char *text, size_t bytes)
{
	bool has[WIRE_RANKS_MAX];

	for (uint32_t r = 0; r < g->ranks; r++)
		has[r] = g->node_of_rank[r] == node;
	group_ranks_text(has, g->ranks, text, bytes);
}

void group_endpoint_text(const char *address, uint16_t port, char *text, size_t bytes)
{
	(void)snprintf(text, bytes, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
}

void group_node_text(const struct group *g, uint16_t node, char *text, size_t bytes)
{
	const struct wire_node *about = &g->node_list[node].about;
	char ranks[64], endpoint[72];

	node_ranks(g, node, ranks, sizeof(ranks));
	group_endpoint_text(about->address, about->port, endpoint, sizeof(endpoint));
	(void)snprintf(text, bytes, "node %u (host %s, %s, %s)", node, about->host, endpoint,
		       ranks);
}

void group_node_ranks_text(const struct group *g, uint16_t node, char *text, size_t bytes)
{
	char ranks[64];

	node_ranks(g, node, ranks, sizeof(ranks));
	(void)snprintf(text, bytes, "%s on host %s", ranks, g->node_list[node].about.host);
}

void group_local_text(const struct group *g, const struct group_local *local, char *text,
		      size_t bytes)
{
	(void)snprintf(text, bytes, "rank %u (pid %u on host %s)", local->rank, local->pid,
		       g->node_list[g->node].about.host);
}

/* Of the other side of a wire only the ids are known. */
static const char *codec_text(uint16_t id)
{
	const struct codec *codec = id <= UINT8_MAX ? codec_by_id((uint8_t)id) : NULL;

	if (id == WIRE_CODEC_AUTO)
		return "auto";
	return codec ? codec->name : "unknown";
}

static void coding_text(const struct op_call *call, const struct op_call *other, struct words *w)
{
	const struct feedback *feedback = feedback_by_id((uint8_t)call->feedback);
	bool same = call->key == other->key && call->count == other->count &&
		    call->type == other->type && call->reduce == other->reduce &&
		    call->schedule == other->schedule;

	if (call->codec != other->codec)
		(void)words_add(w, " codec %s", codec_text(call->codec));
	else if (call->feedback == other->feedback && same && call != other)
		(void)words_add(w, " with other options of codec %s, feedback, scale or discard",
				codec_text(call->codec));
	if (call->feedback != other->feedback)
		(void)words_add(w, " feedback %s", feedback ? feedback->name : "unknown");
}

static void call_text(const struct op_call *call, const struct op_call *other, char *text,
		      size_t bytes)
{
	struct words w = {.text = text, .bytes = bytes};
	const struct sched *sched = sched_by_id(call->schedule);

	(void)words_add(&w, "allreduce %s x %llu %s", vec_type_name((enum vec_type)call->type),
			(unsigned long long)call->count,
			vec_reduce_name((enum vec_reduce)call->reduce));
	if (call->key != other->key)
		(void)words_add(&w, " key %016llx", (unsigned long long)call->key);
	if (call->schedule != other->schedule)
		(void)words_add(&w, " schedule %s", sched ? sched->name : "automatic");
	coding_text(call, other, &w);
}

void group_mismatch_text(const struct group *g, const struct exchange_mismatch *m, char *text,
			 size_t bytes)
{
	char ours[96], theirs[96], us[192], them[192];

	call_text(&m->ours, &m->theirs, ours, sizeof(ours));
	call_text(&m->theirs, &m->ours, theirs, sizeof(theirs));
	if (m->local) {
		group_local_text(g, &g->local[m->our_rank], us, sizeof(us));
		group_local_text(g, &g->local[m->their_rank], them, sizeof(them));
	} else {
		group_node_ranks_text(g, g->node, us, sizeof(us));
		group_node_ranks_text(g, m->their_node, them, sizeof(them));
	}
	(void)snprintf(text, bytes, "op %llu: %s called %s, %s called %s",
		       (unsigned long long)m->seq, them, theirs, us, ours);
}

static int too_big_text(const struct group *g, const struct exchange_trouble *t, char *text,
			size_t bytes)
{
	char call[96], who[160];

	call_text(&t->call, &t->call, call, sizeof(call));
	group_local_text(g, &g->local[t->local_rank], who, sizeof(who));
	(void)snprintf(text, bytes,
		       "op %llu: %s called %s, but %llu elements is the most that fits into %d "
		       "chunks of %u bytes, the largest of this group: call it for parts of the "
		       "tensor",
		       (unsigned long long)t->seq, who, call, (unsigned long long)t->count_max,
		       OP_CHUNKS_MAX, g->chunk_bytes_max);
	return GROUP_TOO_BIG;
}

static int busy_text(const struct group *g, const struct exchange_trouble *t, char *text,
		     size_t bytes)
{
	char call[96], who[160];

	call_text(&t->call, &t->call, call, sizeof(call));
	group_local_text(g, &g->local[t->local_rank], who, sizeof(who));
	(void)snprintf(
		text, bytes,
		"op %llu: %s called %s with key \"%s\" while an op with feedback on that key "
		"was in flight: wait for it first",
		(unsigned long long)t->seq, who, call, tensor_name(t->call.tensor));
	return GROUP_BUSY;
}

static int damaged_text(const struct group *g, const struct exchange_trouble *t, char *text,
			size_t bytes)
{
	char who[160], us[160];

	group_node_ranks_text(g, t->node, who, sizeof(who));
	group_node_ranks_text(g, g->node, us, sizeof(us));
	(void)snprintf(text, bytes,
		       "op %llu: the input of %s came to %s with a payload CRC that does not "
		       "match: it was changed during the op, or damaged on its way",
		       (unsigned long long)t->seq, who, us);
	return GROUP_DAMAGED;
}

int group_trouble_text(const struct group *g, const struct exchange_trouble *t, char *text,
		       size_t bytes)
{
	switch (t->kind) {
	case EXCHANGE_TOO_BIG: return too_big_text(g, t, text, bytes);
	case EXCHANGE_DAMAGED: return damaged_text(g, t, text, bytes);
	case EXCHANGE_BUSY: return busy_text(g, t, text, bytes);
	case EXCHANGE_NO_TROUBLE: break;
	}
	return -EPROTO;
}
