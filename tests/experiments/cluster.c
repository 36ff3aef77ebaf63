/* cluster.c - see cluster.h. */
#include "tests/experiments/cluster.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"

static void must(int error, const struct err *err)
{
	if (!error)
		return;
	fprintf(stderr, "%s\n", err->text);
	abort();
}

static void *room(size_t bytes)
{
	void *p = aligned_alloc(64, bytes / 64 * 64 + 64);

	assert(p);
	memset(p, 0, bytes);
	return p;
}

static size_t vector_bytes(const struct cluster *c, enum feedback_vector v, size_t count)
{
	return feedback_vector_bytes(&c->feedback, v, count);
}

static size_t most(size_t a, size_t b)
{
	return a > b ? a : b;
}

void cluster_specs(struct feedback_setting *feedback, const char *feedback_spec,
		   struct codec_setting *up, const char *up_spec, struct codec_setting *down,
		   const char *down_spec)
{
	struct err err;

	must(feedback_parse(feedback, feedback_spec, &err), &err);
	must(codec_parse(up, up_spec, &err), &err);
	must(codec_parse(down, down_spec, &err), &err);
}

void cluster_init(struct cluster *c, const char *feedback, const char *up, const char *down,
		  uint32_t nodes, size_t count, size_t chunk)
{
	const char *refused;

	assert(nodes >= 1 && nodes <= CLUSTER_NODES);
	*c = (struct cluster){.nodes = nodes, .count = count, .seed = 1, .scale = 1};
	c->chunk = chunk < count ? chunk : count;
	c->kernels = codec_kernels_of(vec_best()); /* asking the processor takes long */
	cluster_specs(&c->feedback, feedback, &c->up, up, &c->down, down);
	refused = feedback_refuse(&c->feedback, &c->up, &c->down, c->chunk);
	if (refused) {
		fprintf(stderr, "%s of %s and %s: %s\n", feedback, up, down, refused);
		abort();
	}
	c->room = most(codec_bound(&c->up, c->chunk), codec_bound(&c->down, c->chunk));
	c->room = most(c->room, c->chunk * sizeof(float));
	c->sum = room(c->chunk * sizeof(float));
	c->final = room(c->room);
	c->work = room(feedback_work_bytes(&c->feedback, &c->up, &c->down, c->chunk));
	for (uint32_t n = 0; n < nodes; n++) {
		struct cluster_node *node = &c->node[n];

		node->weight = node->last_weight = 1;
		node->contribution = room(c->room);
		node->result = room(count * sizeof(float));
		for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
			if (!vector_bytes(c, v, 1))
				continue;
			node->now[v] = room(vector_bytes(c, v, count));
			node->next[v] = room(vector_bytes(c, v, count));
		}
	}
}

void cluster_deinit(struct cluster *c)
{
	for (uint32_t n = 0; n < c->nodes; n++) {
		free(c->node[n].contribution);
		free(c->node[n].result);
		for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
			free(c->node[n].now[v]);
			free(c->node[n].next[v]);
		}
	}
	free(c->sum);
	free(c->final);
	free(c->work);
	*c = (struct cluster){0};
}

float *cluster_vector(struct cluster *c, uint32_t node, enum feedback_vector vector)
{
	assert(c->feedback.id != FEEDBACK_LOCO && c->node[node].now[vector]);
	return c->node[node].now[vector];
}

static bool takes(const struct cluster *c, uint32_t node)
{
	return !(c->left_out >> node & 1);
}

static uint64_t divisor(const struct cluster *c)
{
	uint64_t ranks = 0;

	if (!c->average)
		return 1;
	/* G has the estimates of all. */
	if (vector_bytes(c, FEEDBACK_SUM, 1) && !c->dense)
		return c->nodes;
	for (uint32_t n = 0; n < c->nodes; n++)
		ranks += takes(c, n);
	return ranks;
}

static struct feedback_state state_of(const struct cluster *c, uint32_t node, size_t first)
{
	struct feedback_state state = {0};

	for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
		size_t at;

		if (!c->node[node].now[v])
			continue;
		at = first ? vector_bytes(c, v, first) : 0;
		state.now[v] = (const char *)c->node[node].now[v] + at;
		state.next[v] = (char *)c->node[node].next[v] + at;
	}
	return state;
}

/* Draws of a node's contribution; and of a final, whoever makes it. */
static struct random_key key_of(const struct cluster *c, uint32_t node)
{
	return random_key(c->seed, c->step, 1, node);
}

static struct random_key final_key(const struct cluster *c)
{
	return random_key(c->seed, c->step, 1, RANDOM_SHARED - 1);
}

static bool contribute(struct cluster *c, const struct feedback_op *op, uint32_t node,
		       const float *in)
{
	struct feedback_state state = state_of(c, node, op->first);
	struct cluster_node *of = &c->node[node];
	struct feedback_input input = {
		.in = in + op->first,
		.weight = of->weight,
		.last_weight = of->last_weight,
		.key = key_of(c, node),
	};
	struct codec_result r = feedback_contribution(op, &state, &input, of->contribution);

	if (r.nonfinite)
		return false;
	of->bytes = r.bytes;
	if (takes(c, node))
		return !feedback_add(op, input.key, of->weight, of->contribution, of->bytes,
				     c->sum);
	return !feedback_left_out(op, &state, &input, of->contribution, of->bytes);
}

/* One chunk from inputs to results. */
static bool reduce(struct cluster *c, const struct feedback_op *op, const float *const *in)
{
	uint32_t owner = (uint32_t)(op->first / c->chunk % c->nodes);
	struct feedback_state state = state_of(c, owner, op->first);
	struct codec_result final;
	bool nonfinite = false;

	memset(c->sum, 0, op->count * sizeof(*c->sum));
	for (uint32_t n = 0; n < c->nodes; n++)
		if (!contribute(c, op, n, in[n]))
			return false;
	final = feedback_final(op, &state, c->sum, final_key(c), 0, c->final);
	if (final.nonfinite)
		return false;
	for (uint32_t n = 0; n < c->nodes; n++) {
		float *result = c->node[n].result + op->first;
		int error;

		state = state_of(c, n, op->first);
		error = feedback_result(op, &state, final_key(c), c->final, final.bytes, result,
					&nonfinite);
		assert(!error);
		assert(memcmp(result, c->node[0].result + op->first, op->count * sizeof(*result)) ==
		       0);
	}
	return !nonfinite;
}

static void commit(struct cluster *c)
{
	for (uint32_t n = 0; n < c->nodes; n++) {
		struct cluster_node *node = &c->node[n];

		node->last_weight = node->weight;
		for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
			void *now = node->now[v];

			node->now[v] = node->next[v];
			node->next[v] = now;
		}
	}
	c->step++;
}

/* Of an owner's vectors only the owner's chunks are written; the others stay as they are. */
static void keep_unowned(struct cluster *c)
{
	const enum feedback_vector owned[] = {FEEDBACK_OWNER_RESIDUAL, FEEDBACK_OWNER_SUM};

	for (uint32_t n = 0; n < c->nodes; n++)
		for (size_t i = 0; i < 2; i++)
			if (c->node[n].now[owned[i]])
				memcpy(c->node[n].next[owned[i]], c->node[n].now[owned[i]],
				       vector_bytes(c, owned[i], c->count));
}

bool cluster_op(struct cluster *c, const float *const *in, float *result)
{
	bool finite = true;

	keep_unowned(c);
	for (size_t first = 0; first < c->count; first += c->chunk) {
		struct feedback_op op = {
			.setting = &c->feedback,
			.up = &c->up,
			.down = &c->down,
			.kernels = c->kernels,
			.count = c->count - first < c->chunk ? c->count - first : c->chunk,
			.first = first,
			.step = c->step,
			.divisor = divisor(c),
			.scale = c->scale,
			.dense = c->dense,
			.shared_key = random_key(c->seed, c->step, 1, RANDOM_SHARED),
			.work = c->work,
		};

		finite = reduce(c, &op, in) && finite;
	}
	memcpy(result, c->node[0].result, c->count * sizeof(*result));
	if (finite && !c->abort)
		commit(c);
	return finite;
}
