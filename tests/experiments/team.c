/* team.c - see team.h. */
#include "tests/experiments/team.h"

#include <assert.h>
#include <stdlib.h>

void team_init(struct team *t, enum team_kind kind, const char *feedback, const char *up,
	       const char *down, uint32_t nodes, size_t count)
{
	*t = (struct team){.kind = kind, .nodes = nodes, .count = count, .scale = 1};
	t->in = calloc((size_t)nodes * count, sizeof(*t->in));
	t->out = calloc(count, sizeof(*t->out));
	assert(t->in && t->out);
	if (kind == TEAM_FLOAT64) {
		rules_init(&t->r, feedback, up, down, nodes, count);
		return;
	}
	cluster_init(&t->c, feedback, up, down, nodes, count, count);
	experiment_inputs_init(&t->inputs, nodes, count);
}

void team_deinit(struct team *t)
{
	if (t->kind == TEAM_FLOAT64) {
		rules_deinit(&t->r);
	} else {
		cluster_deinit(&t->c);
		experiment_inputs_deinit(&t->inputs);
	}
	free(t->in);
	free(t->out);
	*t = (struct team){0};
}

void team_op(struct team *t)
{
	if (t->kind == TEAM_FLOAT64) {
		t->r.average = t->average;
		t->r.dense = t->dense;
		t->r.scale = t->scale;
		rules_op(&t->r, t->in, t->out);
		return;
	}
	t->c.average = t->average;
	t->c.dense = t->dense;
	t->c.scale = (float)t->scale;
	for (size_t i = 0; i < t->nodes * t->count; i++)
		t->inputs.data[i] = (float)t->in[i];
	experiment_op(&t->c, &t->inputs);
	for (size_t i = 0; i < t->count; i++)
		t->out[i] = (double)t->inputs.result[i];
}

/* In float64 there is one copy of what is the same everywhere. */
static uint32_t holder(enum feedback_vector vector, uint32_t node)
{
	return vector == FEEDBACK_SUM || vector == FEEDBACK_OWNER_RESIDUAL ? 0 : node;
}

bool team_has(const struct team *t, enum feedback_vector vector)
{
	return t->kind == TEAM_FLOAT64 || t->c.node[0].now[vector];
}

double team_get(struct team *t, uint32_t node, enum feedback_vector vector, size_t i)
{
	if (t->kind == TEAM_FLOAT64)
		return t->r.state[holder(vector, node)][vector][i];
	return (double)cluster_vector(&t->c, node, vector)[i];
}

void team_set(struct team *t, uint32_t node, enum feedback_vector vector, size_t i, double value)
{
	if (t->kind == TEAM_FLOAT64)
		t->r.state[holder(vector, node)][vector][i] = value;
	else
		cluster_vector(&t->c, node, vector)[i] = (float)value;
}

void team_weigh(struct team *t, uint32_t node, double weight)
{
	if (t->kind == TEAM_FLOAT64)
		t->r.weight[node] = weight;
	else
		t->c.node[node].weight = (float)weight;
}
