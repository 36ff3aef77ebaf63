/* logistic.c - see logistic.h. */
#include "tests/experiments/logistic.h"

#include <math.h>

enum { POWERS = 2000 }; /* iterations for an eigenvalue: far more than it takes */

#define REGULARISER 0.1

static double dot(const double *a, const double *b)
{
	double sum[4] = {0};
	size_t i = 0;

	for (; i + 4 <= LOGISTIC_DIM; i += 4)
		for (size_t k = 0; k < 4; k++)
			sum[k] += a[i + k] * b[i + k];
	for (; i < LOGISTIC_DIM; i++)
		sum[0] += a[i] * b[i];
	return sum[0] + sum[1] + (sum[2] + sum[3]);
}

/* The greatest eigenvalue of the mean of A' A / (4 rows) over nodes [first, end). */
static double curvature(const struct logistic *l, size_t first, size_t end)
{
	double v[LOGISTIC_DIM], next[LOGISTIC_DIM], value = 0;

	for (size_t i = 0; i < LOGISTIC_DIM; i++)
		v[i] = 1 / sqrt(LOGISTIC_DIM);
	for (int power = 0; power < POWERS / (int)(end - first); power++) {
		for (size_t i = 0; i < LOGISTIC_DIM; i++)
			next[i] = 0;
		for (size_t n = first; n < end; n++) {
			for (size_t r = 0; r < LOGISTIC_ROWS; r++) {
				double along = dot(l->row[n][r], v);

				for (size_t i = 0; i < LOGISTIC_DIM; i++)
					next[i] += along * l->row[n][r][i];
			}
		}
		value = sqrt(dot(next, next));
		for (size_t i = 0; i < LOGISTIC_DIM; i++)
			v[i] = next[i] / value;
	}
	return value / (4 * LOGISTIC_ROWS) / (double)(end - first);
}

static void scale_data(struct logistic *l, size_t node, double factor)
{
	for (size_t r = 0; r < LOGISTIC_ROWS; r++)
		for (size_t i = 0; i < LOGISTIC_DIM; i++)
			l->row[node][r][i] *= factor;
}

void logistic_init(struct logistic *l, double hardness)
{
	struct experiment_random random;
	double truth[LOGISTIC_DIM];

	experiment_seed(&random, 1);
	for (size_t i = 0; i < LOGISTIC_DIM; i++)
		truth[i] = experiment_normal(&random);
	for (size_t n = 0; n < LOGISTIC_NODES; n++) {
		for (size_t r = 0; r < LOGISTIC_ROWS; r++) {
			double *row = l->row[n][r], label;

			for (size_t i = 0; i < LOGISTIC_DIM; i++)
				row[i] = experiment_normal(&random);
			label = copysign(1, dot(row, truth) + 4 * experiment_normal(&random));
			for (size_t i = 0; i < LOGISTIC_DIM; i++)
				row[i] *= label;
		}
	}
	scale_data(l, 0, sqrt(hardness));
	for (size_t n = 0; n < LOGISTIC_NODES; n++)
		l->smoothness[n] = curvature(l, n, n + 1) + 2 * REGULARISER;
	l->smoothness_of_mean = curvature(l, 0, LOGISTIC_NODES) + 2 * REGULARISER;
}

void logistic_gradient(const struct logistic *l, size_t node, const double *x, double *restrict g)
{
	for (size_t i = 0; i < LOGISTIC_DIM; i++)
		g[i] = REGULARISER * 2 * x[i] / pow(1 + x[i] * x[i], 2);
	for (size_t r = 0; r < LOGISTIC_ROWS; r++) {
		const double *row = l->row[node][r];
		double push = 1 / (1 + exp(dot(row, x))) / LOGISTIC_ROWS;

		for (size_t i = 0; i < LOGISTIC_DIM; i++)
			g[i] -= push * row[i];
	}
}
