/*
 * experiment.h - small optimisation problems whose outcome is known, run with the project's own
 * codecs and feedback: does compression do what its theory says?
 *
 * An experiment measures numbers and says between which limits each must be.  Expected outcomes
 * are of float64 harnesses written from the papers; where float32 state ends an exponential
 * decrease, the limit says so.  `small` is for unit tests: fewer steps, nodes or cases.
 *
 * To add one: write experiment_NAME.c and name it in EXPERIMENTS.
 */
#ifndef TESTS_EXPERIMENTS_EXPERIMENT_H
#define TESTS_EXPERIMENTS_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/experiments/cluster.h"

enum { EXPERIMENT_ROWS = 32 };

struct experiment_row {
	char what[80];
	double measured, low, high;
};

struct experiment {
	const char *name, *title;
	bool small;
	size_t rows;
	struct experiment_row row[EXPERIMENT_ROWS];
};

/* experiment_expect() - one number, which must be from low to high. */
__attribute__((format(printf, 5, 6))) void experiment_expect(struct experiment *e, double measured,
							     double low, double high,
							     const char *what, ...);
bool experiment_row_holds(const struct experiment_row *row);

/* xoshiro256** seeded by splitmix64. */
struct experiment_random {
	uint64_t s[4];
};
void experiment_seed(struct experiment_random *r, uint64_t seed);
uint64_t experiment_u64(struct experiment_random *r);
double experiment_uniform(struct experiment_random *r); /* [0, 1) */
double experiment_normal(struct experiment_random *r);

/* Nodes' gradients as the cluster takes them: float32[nodes][count]. */
struct experiment_inputs {
	float *data;
	const float *in[CLUSTER_NODES];
	float *result;
};
void experiment_inputs_init(struct experiment_inputs *x, uint32_t nodes, size_t count);
void experiment_inputs_deinit(struct experiment_inputs *x);

/* Name of the function, title. */
/* clang-format off */
#define EXPERIMENTS(X)                                                     \
	X(a, "divergence without feedback")                                \
	X(b, "heterogeneous least squares")                                \
	X(d, "ef21 with noise needs momentum")                             \
	X(e, "a sign without feedback goes nowhere")                       \
	X(f, "l1 and l2 scales of a sign, one-hot input")                  \
	X(g, "1-bit Adam")                                                 \
	X(p, "drift of the aggregate in float32")                          \
	X(q, "loss of state")
/* clang-format on */

#define EXPERIMENT_DECLARE(name, title) void experiment_##name(struct experiment *e);
EXPERIMENTS(EXPERIMENT_DECLARE)
#undef EXPERIMENT_DECLARE

#endif
