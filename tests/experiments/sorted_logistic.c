/* sorted_logistic.c - see sorted_logistic.h. */
#include "tests/experiments/sorted_logistic.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { POWERS = 200 }; /* iterations for an eigenvalue: far more than it takes */

#define REGULARISER 0.1

static double dot(const struct sorted_row *row, const double *x)
{
	double sum = 0;

	for (size_t k = 0; k < row->features; k++)
		sum += x[row->feature[k]];
	return sum;
}

void sorted_logistic_init(struct sorted_logistic *l)
{
	struct sorted_row *rows = &l->row[0][0];
	size_t first = 0, end = SORTED_NODES * SORTED_ROWS;
	struct experiment_random random;
	double truth[SORTED_DIM];

	experiment_seed(&random, 1);
	for (size_t i = 0; i < SORTED_DIM; i++)
		truth[i] = experiment_normal(&random);
	while (first < end) {
		struct sorted_row row = {0};

		for (uint16_t i = 0; i < SORTED_DIM; i++) {
			if (experiment_uniform(&random) >= 2.6 / (i + 5))
				continue;
			assert(row.features < SORTED_FEATURES);
			row.feature[row.features++] = i;
		}
		row.label = copysign(1, dot(&row, truth) + experiment_normal(&random));
		rows[row.label > 0 ? first++ : --end] = row;
	}
}

void sorted_logistic_gradient(const struct sorted_logistic *l, size_t node, const double *x,
			      double *g)
{
	for (size_t i = 0; i < SORTED_DIM; i++)
		g[i] = REGULARISER * 2 * x[i] / ((1 + x[i] * x[i]) * (1 + x[i] * x[i]));
	for (size_t r = 0; r < SORTED_ROWS; r++) {
		const struct sorted_row *row = &l->row[node][r];
		double push = row->label / (1 + exp(row->label * dot(row, x))) / SORTED_ROWS;

		for (size_t k = 0; k < row->features; k++)
			g[row->feature[k]] -= push;
	}
}

/* The smoothness of the mean of f_i over nodes [first, end). */
static double smoothness(const struct sorted_logistic *l, size_t first, size_t end)
{
	double v[SORTED_DIM], next[SORTED_DIM], value = 0;

	for (size_t i = 0; i < SORTED_DIM; i++)
		v[i] = 1 / sqrt(SORTED_DIM);
	for (int power = 0; power < POWERS; power++) {
		double square = 0;

		for (size_t i = 0; i < SORTED_DIM; i++)
			next[i] = 0;
		for (size_t r = 0; r < (end - first) * SORTED_ROWS; r++) {
			const struct sorted_row *row = &l->row[first][0] + r;
			double along = dot(row, v);

			for (size_t k = 0; k < row->features; k++)
				next[row->feature[k]] += along;
		}
		for (size_t i = 0; i < SORTED_DIM; i++)
			square += next[i] * next[i];
		value = sqrt(square);
		for (size_t i = 0; i < SORTED_DIM; i++)
			v[i] = next[i] / value;
	}
	return value / (4 * SORTED_ROWS) / (double)(end - first) + 2 * REGULARISER;
}

double sorted_logistic_step(const struct sorted_logistic *l, double density)
{
	double squares = 0;

	for (size_t n = 0; n < SORTED_NODES; n++)
		squares += pow(smoothness(l, n, n + 1), 2);
	return 1 /
	       (smoothness(l, 0, SORTED_NODES) + sqrt(squares / SORTED_NODES) * (2 / density - 1));
}

uint64_t sorted_logistic_hash(const double *x)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < SORTED_DIM; i++) {
		uint64_t bits;

		memcpy(&bits, &x[i], sizeof(bits));
		hash = (hash ^ bits) * 1099511628211u;
	}
	return hash;
}
