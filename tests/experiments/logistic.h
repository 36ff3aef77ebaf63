/*
 * logistic.h - logistic regression with a regulariser that is not convex, on nodes of which one has
 * harder data than the others.
 *
 * f_i = mean over 50 rows of log(1 + exp(-b <a, x>)) + 0.1 * sum of x^2 / (1 + x^2), 20 nodes, 50
 * dimensions, a normal, b = sign(<a, truth> + noise).  Smoothness of f_i: L_i = the greatest
 * eigenvalue of A_i' A_i / (4 * 50), plus 0.2; node 0's data is scaled so that the first part of
 * its L is `hardness` times as large.
 */
#ifndef TESTS_EXPERIMENTS_LOGISTIC_H
#define TESTS_EXPERIMENTS_LOGISTIC_H

#include "tests/experiments/experiment.h"

enum { LOGISTIC_NODES = 20, LOGISTIC_ROWS = 50, LOGISTIC_DIM = 50 };

struct logistic {
	double row[LOGISTIC_NODES][LOGISTIC_ROWS][LOGISTIC_DIM]; /* b a */
	double smoothness[LOGISTIC_NODES], smoothness_of_mean;
};

void logistic_init(struct logistic *l, double hardness);

/* logistic_gradient() - of node's f_i: g float64[LOGISTIC_DIM]. */
void logistic_gradient(const struct logistic *l, size_t node, const double *x, double *restrict g);

#endif
