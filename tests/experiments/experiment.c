/* experiment.c - see experiment.h. */
#include "tests/experiments/experiment.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void experiment_expect(struct experiment *e, double measured, double low, double high,
		       const char *what, ...)
{
	struct experiment_row *row = &e->row[e->rows];
	va_list args;

	assert(e->rows < EXPERIMENT_ROWS);
	va_start(args, what);
	(void)vsnprintf(row->what, sizeof(row->what), what, args);
	va_end(args);
	row->measured = measured;
	row->low = low;
	row->high = high;
	e->rows++;
}

bool experiment_row_holds(const struct experiment_row *row)
{
	return row->measured >= row->low && row->measured <= row->high;
}

/* --- random numbers ----------------------------------------------------------------------- */

void experiment_seed(struct experiment_random *r, uint64_t seed)
{
	for (size_t i = 0; i < 4; i++) {
		uint64_t x = seed += 0x9e3779b97f4a7c15;

		x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
		x = (x ^ x >> 27) * 0x94d049bb133111eb;
		r->s[i] = x ^ x >> 31;
	}
}

static uint64_t rotated(uint64_t x, unsigned left)
{
	return x << left | x >> (64 - left);
}

uint64_t experiment_u64(struct experiment_random *r)
{
	uint64_t *s = r->s, drawn = rotated(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotated(s[3], 45);
	return drawn;
}

double experiment_uniform(struct experiment_random *r)
{
	return (double)(experiment_u64(r) >> 11) * 0x1p-53;
}

double experiment_normal(struct experiment_random *r)
{
	double u = 1 - experiment_uniform(r), v = experiment_uniform(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* --- inputs ------------------------------------------------------------------------------- */

void experiment_inputs_init(struct experiment_inputs *x, uint32_t nodes, size_t count)
{
	x->data = calloc((size_t)nodes * count, sizeof(float));
	x->result = calloc(count, sizeof(float));
	assert(x->data && x->result);
	for (uint32_t n = 0; n < nodes; n++)
		x->in[n] = x->data + n * count;
}

void experiment_inputs_deinit(struct experiment_inputs *x)
{
	free(x->data);
	free(x->result);
}
