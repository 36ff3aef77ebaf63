/*
 * sim_exchange.c - groups of 1 to 9 nodes reduce in one process, frame by frame.
 *
 * Goal: whatever the order of events, every rank ends every op with the right sum and
 * the same bits, and nothing locks up, with one slot a class too.  Method: the real
 * exchange and link; the network is a FIFO a path; a seeded dice picks what happens next:
 * a rank posts, a node computes, sends, receives half a frame, a path is cut and made
 * again.  Values are small integers, so every order of adding gives the exact sum.  In some
 * worlds trainers write into the inputs of some ops: if one is in flight then, all must agree
 * on some sum; else on the right one.
 *
 * Usage: sim_exchange [--seeds N] [--first SEED]   a failing seed is printed
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/exchange.h"
#include "daemon/link.h"

enum { NODES_MAX = 9, LOCAL_MAX = 3, PATHS = 2, OPS = 8, FIFO = 256, COUNT_MAX = 12000 };

struct dice {
	uint64_t state;
};

static uint32_t roll(struct dice *d, uint32_t sides)
{
	d->state = d->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(d->state >> 33) % sides;
}

struct packet {
	struct wire_frame frame;
	unsigned char *payload;
};

/* One direction of one path. */
struct pipe {
	struct packet fifo[FIFO];
	uint32_t head, tail;
	void *placed; /* the head's payload is half way */
	bool stays;   /* ... or stays where it is        */
};

struct rank {
	uint64_t posted, completed;
	unsigned char *in[OPS + 1], *out[OPS + 1];
	bool over[OPS + 1];
	int error[OPS + 1];
};

struct node {
	struct exchange *x;
	struct link links[NODES_MAX];
	struct rank ranks[LOCAL_MAX];
	uint32_t local;
};

struct world {
	const struct vec *vec;
	uint64_t seed;
	struct dice dice;
	uint16_t nodes;
	uint32_t ranks;
	uint32_t ranks_of_node[NODES_MAX];
	bool cuts;
	bool scribbles[OPS + 1]; /* trainers write into inputs of that op  */
	bool touched[OPS + 1];   /* one did while it was in flight         */
	struct op_call calls[OPS + 1];
	struct owner_table owners;
	struct node node[NODES_MAX];
	struct pipe pipes[NODES_MAX][NODES_MAX][PATHS]; /* [from][to] */
	uint64_t events;
};

__attribute__((format(printf, 2, 3))) static void fail(const struct world *w, const char *format,
						       ...)
{
	va_list args;

	fprintf(stderr, "seed %llu (%u nodes, %u ranks): ", (unsigned long long)w->seed, w->nodes,
		w->ranks);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

static void store(const struct vec *vec, unsigned char *at, enum vec_type type, uint64_t i,
		  int value)
{
	float f = (float)value;
	struct vec_input input = {&f, VEC_F32};

	switch (type) {
	case VEC_F16:
	case VEC_BF16: vec_combine(vec, type, VEC_SUM, &input, 1, 0, at + i * 2, type, 1); return;
	case VEC_F32: memcpy(at + i * 4, &f, 4); return;
	case VEC_F64: memcpy(at + i * 8, &(double){value}, 8); return;
	case VEC_I8:
	case VEC_U8: at[i] = (unsigned char)value; return;
	case VEC_I32: memcpy(at + i * 4, &(int32_t){value}, 4); return;
	case VEC_I64: memcpy(at + i * 8, &(int64_t){value}, 8); return;
	}
}

/* What rank r puts at element i of op s: 0..3, 1..2 for products. */
static int value_of(const struct op_call *call, uint32_t r, uint64_t s, uint64_t i)
{
	uint32_t v = (uint32_t)((r * 7 + s * 13 + i * 3 + i / 97) % 4);

	return call->reduce == VEC_PROD ? (v == 1 && r < 5 ? 2 : 1) : (int)v;
}

static int expected(const struct world *w, uint64_t s, uint64_t i)
{
	const struct op_call *call = &w->calls[s];
	int result = value_of(call, 0, s, i);

	for (uint32_t r = 1; r < w->ranks; r++) {
		int v = value_of(call, r, s, i);

		switch ((enum vec_reduce)call->reduce) {
		case VEC_SUM:
		case VEC_AVG: result += v; break;
		case VEC_MIN: result = v < result ? v : result; break;
		case VEC_MAX: result = v > result ? v : result; break;
		case VEC_PROD: result *= v; break;
		}
	}
	return result;
}

static void check_op(const struct world *w, uint64_t s)
{
	const struct op_call *call = &w->calls[s];
	enum vec_type type = (enum vec_type)call->type;
	size_t size = vec_type_bytes(type);
	const struct rank *first = &w->node[0].ranks[0];

	for (uint16_t n = 0; n < w->nodes; n++)
		for (uint32_t r = 0; r < w->node[n].local; r++)
			if (w->node[n].ranks[r].error[s])
				fail(w, "op %llu ended with %d", (unsigned long long)s,
				     w->node[n].ranks[r].error[s]);
			else if (memcmp(w->node[n].ranks[r].out[s], first->out[s],
					call->count * size))
				fail(w, "op %llu: rank %u of node %u has other bits than rank 0",
				     (unsigned long long)s, r, n);
	for (uint64_t i = 0; !w->touched[s] && i < call->count; i++) {
		unsigned char want[8];

		/* An average of floats is checked where it is exact; integers truncate. */
		if (call->reduce == VEC_AVG) {
			int sum = expected(w, s, i);

			if (type < VEC_I8 && sum % (int)w->ranks)
				continue;
			store(w->vec, want, type, 0, sum / (int)w->ranks);
		} else {
			store(w->vec, want, type, 0, expected(w, s, i));
		}
		if (memcmp(first->out[s] + i * size, want, size))
			fail(w, "op %llu (type %s, %s, count %llu, schedule %u): element %llu",
			     (unsigned long long)s, vec_type_name(type),
			     vec_reduce_name((enum vec_reduce)call->reduce),
			     (unsigned long long)call->count, call->schedule,
			     (unsigned long long)i);
	}
}

static void make_rank(struct world *w, struct rank *rank, uint32_t number)
{
	for (uint64_t s = 1; s <= OPS; s++) {
		const struct op_call *call = &w->calls[s];
		size_t size = vec_type_bytes((enum vec_type)call->type);

		rank->in[s] = malloc(call->count * size + 1);
		rank->out[s] = (s + number) % 3 ? malloc(call->count * size + 1) : rank->in[s];
		for (uint64_t i = 0; i < call->count; i++)
			store(w->vec, rank->in[s], (enum vec_type)call->type, i,
			      value_of(call, number, s, i));
	}
}

static void make_node(struct world *w, uint16_t n, uint32_t first_rank, bool one_slot)
{
	struct node *node = &w->node[n];
	struct err err;
	struct exchange_plan plan = {
		.group = 77,
		.epoch = 1,
		.nodes = w->nodes,
		.node = n,
		.lanes = 1,
		.ranks = w->ranks,
		.ranks_of_node = w->ranks_of_node,
		.local_ranks = w->ranks_of_node[n],
		.owners = &w->owners,
		.flat_bytes_max = 4096,
		.vec = w->vec,
		.chunk_bytes_max = 65536,
		.chunk_bytes_usual = OP_CHUNK_BYTES_TCP,
		.gathers = true,
	};

	if (exchange_plan_size(&plan, 256u << 20, &err))
		fail(w, "%s", err.text);
	if (one_slot) {
		plan.slots = 1;
		plan.slots_more = 0;
		plan.buffers = 2;
	}
	if (exchange_new(&node->x, &plan, &err))
		fail(w, "%s", err.text);
	node->local = plan.local_ranks;
	for (uint32_t r = 0; r < node->local; r++)
		make_rank(w, &node->ranks[r], first_rank + r);
	for (uint16_t p = 0; p < w->nodes; p++) {
		if (link_init(&node->links[p], PATHS))
			fail(w, "no memory");
		for (uint16_t path = 0; path < PATHS; path++)
			(void)link_up(&node->links[p], path, 0);
		if ((n + p) % 2)
			exchange_widen(node->x, p);
	}
}

static void make_world(struct world *w, const struct vec *vec, uint64_t seed)
{
	uint32_t first = 0;
	bool one_slot, scribbles;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->vec = vec;
	w->dice.state = seed * 2654435761u + 12345;
	w->nodes = (uint16_t)(1 + roll(&w->dice, NODES_MAX));
	one_slot = roll(&w->dice, 2);
	w->cuts = roll(&w->dice, 2);
	scribbles = roll(&w->dice, 4) == 0;
	for (uint16_t n = 0; n < w->nodes; n++)
		w->ranks += w->ranks_of_node[n] = 1 + roll(&w->dice, LOCAL_MAX);
	for (uint64_t s = 1; s <= OPS; s++)
		w->calls[s] = (struct op_call){
			.key = roll(&w->dice, 3),
			.count = roll(&w->dice, 4) ? roll(&w->dice, COUNT_MAX) : roll(&w->dice, 3),
			.op = WIRE_OP_ALLREDUCE,
			.type = (uint8_t)(1 + roll(&w->dice, 8)),
			.reduce = (uint8_t)(1 + roll(&w->dice, 5)),
			.schedule = (uint16_t)roll(&w->dice, 4),
		};
	for (uint64_t s = 1; scribbles && s <= OPS; s++)
		w->scribbles[s] = roll(&w->dice, 2);
	owner_found(&w->owners, w->nodes);
	for (uint16_t n = 0; n < w->nodes; n++) {
		make_node(w, n, first, one_slot);
		first += w->ranks_of_node[n];
	}
}

static bool post_something(struct world *w, struct node *node)
{
	uint32_t r = roll(&w->dice, node->local);
	struct rank *rank = &node->ranks[r];
	uint64_t s = rank->posted + 1;

	if (s > OPS)
		return false;
	rank->posted = s;
	if (exchange_post(node->x, r, s, &w->calls[s],
			  &(struct exchange_rank){rank->in[s], rank->out[s], s, 0}) !=
	    EXCHANGE_POSTED)
		fail(w, "op %llu was not taken", (unsigned long long)s);
	return true;
}

static void release(struct link *link, uint16_t path)
{
	struct link_entry *entry;

	while ((entry = link_released(link, path)))
		exchange_released(entry->exchange, entry->buffer);
}

static void transmit(struct world *w, uint16_t from, uint16_t to, uint16_t path,
		     struct link_entry *entry)
{
	struct pipe *pipe = &w->pipes[from][to][path];
	struct packet *packet = &pipe->fifo[pipe->tail++ % FIFO];

	packet->frame = entry->frame;
	link_announce(&w->node[from].links[to], path, &packet->frame);
	packet->payload = malloc(entry->frame.payload_bytes + 1);
	if (entry->payload)
		memcpy(packet->payload, entry->payload, entry->frame.payload_bytes);
	if (entry->frame.path_seq)
		link_flushed(&w->node[from].links[to], path, entry->frame.path_seq);
}

static bool pipe_full(const struct pipe *pipe)
{
	return pipe->tail - pipe->head == FIFO;
}

static bool send_something(struct world *w, uint16_t from)
{
	uint16_t to = (uint16_t)roll(&w->dice, w->nodes);
	uint16_t path = (uint16_t)roll(&w->dice, PATHS);
	struct node *node = &w->node[from];
	struct link *link = &node->links[to];
	struct exchange_send send;

	if (to == from || !link_room(link, path) || pipe_full(&w->pipes[from][to][path]) ||
	    !exchange_next(node->x, to, &send))
		return false;
	transmit(w, from, to, path,
		 link_push(link, path, &send.frame, send.payload, node->x, send.buffer));
	return true;
}

static bool send_credit(struct world *w, uint16_t from)
{
	uint16_t to = (uint16_t)roll(&w->dice, w->nodes);
	uint16_t path = (uint16_t)roll(&w->dice, PATHS);
	struct link_entry entry = {.frame = {.kind = WIRE_CREDIT, .group = 77, .node = from}};
	struct link *link = &w->node[from].links[to];

	if (to == from || !link->path[path].up || pipe_full(&w->pipes[from][to][path]) ||
	    (!exchange_owes(w->node[from].x, to) && !link_owes_ack(link, path)))
		return false;
	exchange_announce(w->node[from].x, to, &entry.frame);
	transmit(w, from, to, path, &entry);
	return true;
}

static void whole(struct world *w, uint16_t to, uint16_t from, uint16_t path, struct packet *p,
		  void *placed, bool stays)
{
	struct node *node = &w->node[to];
	struct link *link = &node->links[from];

	if (p->frame.path_seq)
		link_arrived(link, path, &p->frame);
	if (!link_ack(link, path, p->frame.path_ack))
		fail(w, "acknowledged what was not sent");
	release(link, path);
	exchange_credit(node->x, from, p->frame.credit_contribution, p->frame.credit_final);
	if (placed) {
		if (!stays)
			memcpy(placed, p->payload, p->frame.payload_bytes);
		exchange_arrived(node->x, from, &p->frame, placed, stays ? p->payload : placed);
	}
	free(p->payload);
	p->payload = NULL;
}

static bool receive_something(struct world *w, uint16_t to)
{
	uint16_t from = (uint16_t)roll(&w->dice, w->nodes);
	uint16_t path = (uint16_t)roll(&w->dice, PATHS);
	struct pipe *pipe = &w->pipes[from][to][path];
	struct packet *packet = &pipe->fifo[pipe->head % FIFO];
	struct link *link = &w->node[to].links[from];

	if (pipe->head == pipe->tail)
		return false;
	if (!pipe->placed) {
		if (link_arriving(link, path, &packet->frame) == LINK_WRONG_NUMBER)
			fail(w, "a frame came out of order");
		if (packet->frame.kind != WIRE_CREDIT) {
			pipe->placed = exchange_place(w->node[to].x, from, &packet->frame);
			if (!pipe->placed)
				fail(w, "no slot for a frame");
			pipe->stays = roll(&w->dice, 2) &&
				      exchange_may_stay(w->node[to].x, from, pipe->placed);
			return true;
		}
	}
	whole(w, to, from, path, packet, pipe->placed, pipe->stays);
	pipe->placed = NULL;
	pipe->head++;
	return true;
}

/* Both directions of a path break; what was under way is lost; then it is made again. */
static void cut(struct world *w)
{
	uint16_t ends[2] = {(uint16_t)roll(&w->dice, w->nodes), (uint16_t)roll(&w->dice, w->nodes)};
	uint16_t path = (uint16_t)roll(&w->dice, PATHS);

	if (ends[0] == ends[1])
		return;
	for (int i = 0; i < 2; i++) {
		uint16_t from = ends[i], to = ends[1 - i];
		struct pipe *pipe = &w->pipes[from][to][path];

		if (pipe->placed)
			exchange_unplace(w->node[to].x, from, pipe->placed);
		pipe->placed = NULL;
		for (; pipe->head != pipe->tail; pipe->head++)
			free(pipe->fifo[pipe->head % FIFO].payload);
		link_down(&w->node[from].links[to], path);
		exchange_path_lost(w->node[from].x, to);
	}
	for (int i = 0; i < 2; i++) {
		struct link *link = &w->node[ends[i]].links[ends[1 - i]];
		uint32_t received = w->node[ends[1 - i]].links[ends[i]].path[path].received;
		struct link_entry *entry;

		if (!link_up(link, path, received))
			fail(w, "impossible numbers after a cut");
		release(link, path);
		while ((entry = link_resend(link, path))) {
			transmit(w, ends[i], ends[1 - i], path, entry);
			link_resent(link, path);
		}
	}
}

static bool complete_something(struct world *w, struct node *node)
{
	struct exchange_completion c;
	bool any = false;

	while (exchange_completion(node->x, &c)) {
		struct rank *rank = &node->ranks[c.local_rank];

		if (c.work != c.seq || c.seq > OPS)
			fail(w, "completion of an op that does not exist");
		rank->over[c.seq] = true;
		rank->error[c.seq] = c.error;
		rank->completed++;
		any = true;
	}
	return any;
}

static bool all_done(const struct world *w)
{
	for (uint16_t n = 0; n < w->nodes; n++) {
		for (uint32_t r = 0; r < w->node[n].local; r++)
			if (w->node[n].ranks[r].completed < OPS)
				return false;
		if (!exchange_idle(w->node[n].x))
			return false;
	}
	return true;
}

/* A trainer writes into its input, once it has posted it; when the op is over, it may. */
static void scribble(struct world *w, struct node *node)
{
	struct rank *rank = &node->ranks[roll(&w->dice, node->local)];
	uint64_t s = 1 + roll(&w->dice, OPS);
	const struct op_call *call = &w->calls[s];

	if (!w->scribbles[s] || s > rank->posted || rank->in[s] == rank->out[s])
		return;
	if (!rank->over[s])
		w->touched[s] = true;
	for (uint64_t i = 0; i < call->count; i++)
		store(w->vec, rank->in[s], (enum vec_type)call->type, i,
		      1 + (int)roll(&w->dice, 2));
}

static bool step(struct world *w, uint16_t n)
{
	struct node *node = &w->node[n];
	uint16_t bad_node;
	uint64_t bad_seq;

	if (exchange_take_bad(node->x, &bad_node, &bad_seq))
		fail(w, "node %u: frame of node %u contradicts op %llu", n, bad_node,
		     (unsigned long long)bad_seq);
	if (roll(&w->dice, 200) == 0)
		scribble(w, node);
	switch (roll(&w->dice, 8)) {
	case 0: return post_something(w, node);
	case 1: return exchange_progress(node->x);
	case 2: return complete_something(w, node);
	case 3:
	case 4: return send_something(w, n);
	case 5: return send_credit(w, n);
	default: return receive_something(w, n);
	}
}

static void free_world(struct world *w)
{
	for (uint16_t n = 0; n < w->nodes; n++) {
		struct node *node = &w->node[n];

		for (uint32_t r = 0; r < node->local; r++)
			for (uint64_t s = 1; s <= OPS; s++) {
				if (node->ranks[r].out[s] != node->ranks[r].in[s])
					free(node->ranks[r].out[s]);
				free(node->ranks[r].in[s]);
			}
		for (uint16_t p = 0; p < w->nodes; p++)
			link_deinit(&node->links[p]);
		for (uint16_t p = 0; p < w->nodes; p++)
			for (uint16_t path = 0; path < PATHS; path++) {
				struct pipe *pipe = &w->pipes[n][p][path];

				for (; pipe->head != pipe->tail; pipe->head++)
					free(pipe->fifo[pipe->head % FIFO].payload);
			}
		exchange_free(node->x);
	}
}

static void run(struct world *w, const struct vec *vec, uint64_t seed)
{
	uint64_t idle = 0;

	make_world(w, vec, seed);
	while (!all_done(w)) {
		w->events++;
		if (w->cuts && roll(&w->dice, 3000) == 0)
			cut(w);
		idle = step(w, (uint16_t)roll(&w->dice, w->nodes)) ? 0 : idle + 1;
		if (idle > 200000)
			fail(w, "locked up");
	}
	for (uint64_t s = 1; s <= OPS; s++)
		check_op(w, s);
	free_world(w);
}

int main(int argc, char **argv)
{
	static struct world w;
	const struct vec *vec = vec_best(); /* asked once: slow under a hypervisor */
	uint64_t seeds = 300, first = 1;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seeds") == 0)
			seeds = strtoull(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--first") == 0)
			first = strtoull(argv[i + 1], NULL, 10);
		else
			return 2;
	}
	for (uint64_t s = first; s < first + seeds; s++)
		run(&w, vec, s);
	printf("%llu seeds, every rank the right sum and the same bits\n",
	       (unsigned long long)seeds);
	return 0;
}
