/*
 * experiment.h - small optimisation problems whose outcome is known, run with the project's own
 * codecs and feedback: does compression do what its theory says?  In one process (cluster.h), and
 * T on real daemons (daemons.h).
 *
 * An experiment measures numbers, says what each must be and why, and draws curves for people to
 * look at.  Expected outcomes are published figures, arithmetic, or float64 runs of the same rules;
 * where float32 state ends an exponential decrease, the limit says so.
 *
 * To add one: write experiment_NAME.c and name it in EXPERIMENTS.
 */
#ifndef TESTS_EXPERIMENTS_EXPERIMENT_H
#define TESTS_EXPERIMENTS_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/experiments/cluster.h"

enum { EXPERIMENT_ROWS = 192, EXPERIMENT_PLOTS = 4, EXPERIMENT_CURVES = 8 };

/* A figure.  It holds if low <= measured <= high; a NaN never does. */
struct experiment_row {
	char what[80];
	double measured, low, high;
	double expected; /* NAN: there are only limits */
};

struct experiment_curve {
	char name[48];
	size_t points, room;
	double *x, *y;
};

struct experiment_plot {
	char title[96], x[48], y[48]; /* of the axes */
	bool log_x, log_y;
	size_t curves;
	struct experiment_curve curve[EXPERIMENT_CURVES];
};

struct experiment {
	const char *letter, *title;
	const char *words; /* what it shows, in plain words; set by the experiment */
	unsigned threads;  /* that it may use, from 1 */
	size_t rows, plots;
	struct experiment_row row[EXPERIMENT_ROWS];
	struct experiment_plot plot[EXPERIMENT_PLOTS];
};

void experiment_deinit(struct experiment *e);

/* experiment_expect() - one number, which must be from low to high. */
__attribute__((format(printf, 5, 6))) void experiment_expect(struct experiment *e, double measured,
							     double low, double high,
							     const char *what, ...);
/* experiment_near() - ... which must be `expected` up to a share of it. */
__attribute__((format(printf, 5, 6))) void experiment_near(struct experiment *e, double measured,
							   double expected, double share,
							   const char *what, ...);
bool experiment_row_holds(const struct experiment_row *row);
size_t experiment_failed(const struct experiment *e);

/* --- curves ------------------------------------------------------------------------------- */

enum experiment_axes {
	EXPERIMENT_LINEAR = 0,
	EXPERIMENT_LOG_X = 1,
	EXPERIMENT_LOG_Y = 2,
	EXPERIMENT_LOG_BOTH = 3
};

/* Stays where it is until experiment_deinit(). */
struct experiment_plot *experiment_plot(struct experiment *e, const char *title, const char *x,
					const char *y, enum experiment_axes axes);
__attribute__((format(printf, 2, 3))) struct experiment_curve *
experiment_curve(struct experiment_plot *p, const char *name, ...);
/* experiment_point() - points come in the order of their x. */
void experiment_point(struct experiment_curve *c, double x, double y);

/* --- several cases at once ---------------------------------------------------------------- */

/* experiment_each() - run(context, i) for all i < count, on the experiment's threads. */
void experiment_each(const struct experiment *e, size_t count, void (*run)(void *context, size_t i),
		     void *context);

/* --- random numbers and inputs ------------------------------------------------------------ */

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

/* experiment_op() - reduce them.  Not committed: result is NaN, and so all that comes from it. */
void experiment_op(struct cluster *c, struct experiment_inputs *x);

/* --- all of them -------------------------------------------------------------------------- */

/* Name of the function, letter, title. */
/* clang-format off */
#define EXPERIMENTS(X)                                                     \
	X(a, "A", "divergence without feedback")                           \
	X(b, "B", "heterogeneous least squares")                           \
	X(c, "C", "ef21 with weights")                                     \
	X(d, "D", "ef21 with noise needs momentum")                        \
	X(e, "E", "a sign without feedback goes nowhere")                  \
	X(f, "F", "l1 and l2 scales of a sign, one-hot input")             \
	X(g, "G", "1-bit Adam")                                            \
	X(p, "P", "drift of the aggregate in float32")                     \
	X(q, "Q", "loss of state")                                         \
	X(r, "R", "what codecs lose")                                      \
	X(t, "T", "training on real daemons")
/* clang-format on */

#define EXPERIMENT_DECLARE(name, letter, title) void experiment_##name(struct experiment *e);
EXPERIMENTS(EXPERIMENT_DECLARE)
#undef EXPERIMENT_DECLARE

struct experiment_entry {
	const char *letter, *title;
	void (*run)(struct experiment *e);
};
extern const struct experiment_entry experiment_table[]; /* ended by a letter of NULL */

#endif
