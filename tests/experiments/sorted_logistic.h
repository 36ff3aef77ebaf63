/*
 * sorted_logistic.h - logistic regression with a regulariser that is not convex, on sparse 0/1 data
 * sorted by label over eight nodes, so that what one node wants another one does not.
 *
 * f_i = mean over 200 rows of log(1 + exp(-b <a, x>)) + 0.1 * sum of x^2 / (1 + x^2), 300
 * dimensions.  The data is like LIBSVM's w8a: a row has feature j with probability 2.6 / (j + 5),
 * so 10.7 of them on average; b is the sign of <a, truth> + noise.  Rows with b = 1 are on the
 * first nodes, the others on the last.
 *
 * Smoothness of f_i: L_i = the greatest eigenvalue of A_i' A_i / (4 * 200), plus 0.2.
 */
#ifndef TESTS_EXPERIMENTS_SORTED_LOGISTIC_H
#define TESTS_EXPERIMENTS_SORTED_LOGISTIC_H

#include "tests/experiments/experiment.h"

enum {
	SORTED_NODES = 8,
	SORTED_ROWS = 200, /* of a node */
	SORTED_DIM = 300,
	SORTED_FEATURES = 40 /* room for those of a row */
};

struct sorted_row {
	double label;
	size_t features;
	uint16_t feature[SORTED_FEATURES]; /* ascending */
};

struct sorted_logistic {
	struct sorted_row row[SORTED_NODES][SORTED_ROWS];
};

void sorted_logistic_init(struct sorted_logistic *l);

/* sorted_logistic_gradient() - of node's f_i: g float64[SORTED_DIM]. */
void sorted_logistic_gradient(const struct sorted_logistic *l, size_t node, const double *x,
			      double *g);

/*
 * sorted_logistic_step() - what theory allows ef21 with a codec that keeps `density` of the
 * elements: 1 / (L + sqrt(mean of L_i^2) * (2 / density - 1)).
 */
double sorted_logistic_step(const struct sorted_logistic *l, double density);

/* sorted_logistic_hash() - of the bits of x float64[SORTED_DIM]. */
uint64_t sorted_logistic_hash(const double *x);

#endif
