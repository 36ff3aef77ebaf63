/*
 * team.h - nodes that reduce one tensor, by the project's own code or by the same rules in float64.
 *
 * An experiment is written once, in float64, and run with either: what it measures of the one, and
 * how far the other is from it, is what float32 and the project's code make of the rules.
 */
#ifndef TESTS_EXPERIMENTS_TEAM_H
#define TESTS_EXPERIMENTS_TEAM_H

#include "tests/experiments/experiment.h"
#include "tests/experiments/rules.h"

enum team_kind { TEAM_OWN, TEAM_FLOAT64 };

struct team {
	enum team_kind kind;
	uint32_t nodes;
	size_t count;
	double *in;  /* float64[nodes][count]: to be filled in before an op */
	double *out; /* float64[count] */
	bool average, dense;
	double scale;

	struct cluster c; /* TEAM_OWN, as one chunk */
	struct experiment_inputs inputs;
	struct rules r; /* TEAM_FLOAT64 */
};

void team_init(struct team *t, enum team_kind kind, const char *feedback, const char *up,
	       const char *down, uint32_t nodes, size_t count);
void team_deinit(struct team *t);

/* team_op() - in -> out; NaN if the op was not committed. */
void team_op(struct team *t);

/* Whether the rules have such a vector; an element of a node's one, to read or to harm. */
bool team_has(const struct team *t, enum feedback_vector vector);
double team_get(struct team *t, uint32_t node, enum feedback_vector vector, size_t i);
void team_set(struct team *t, uint32_t node, enum feedback_vector vector, size_t i, double value);
/* Of ef21-w: a node's weight. */
void team_weigh(struct team *t, uint32_t node, double weight);

#endif
