/*
 * least_squares.h - nodes whose minima are far apart: f_i = |A_i x - b_i|^2 / 2.
 *
 * Five nodes, 200 dimensions, A_i^2 = i^2 / 5, b_i normal with deviation spread / i, gradients with
 * noise of deviation `noise` over all dimensions, x0 = minimum + 1, step = rate / L, L = 2.2.
 * Source: Gao et al., "EControl", 2023, section 5.
 */
#ifndef TESTS_EXPERIMENTS_LEAST_SQUARES_H
#define TESTS_EXPERIMENTS_LEAST_SQUARES_H

#include "tests/experiments/team.h"

enum { SQUARES_NODES = 5, SQUARES_DIM = 200 };

#define SQUARES_SMOOTHNESS 2.2 /* L: mean of A_i^2 */

struct least_squares {
	struct team team;
	struct experiment_random random;
	double x[SQUARES_DIM], best[SQUARES_DIM], pull[SQUARES_NODES][SQUARES_DIM];
	double noise, step;
	size_t steps;                   /* done so far */
	struct experiment_curve *curve; /* of the error, or NULL */
};

void least_squares_init(struct least_squares *s, enum team_kind kind, const char *feedback,
			const char *codec, double spread, double noise, double rate);
void least_squares_deinit(struct least_squares *s);
void least_squares_run(struct least_squares *s, size_t steps);

/* |x - minimum|^2, the mean over `steps` more steps. */
double least_squares_error(struct least_squares *s, size_t steps);

#endif
