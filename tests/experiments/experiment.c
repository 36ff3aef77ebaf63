/* experiment.c - see experiment.h. */
#include "tests/experiments/experiment.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPERIMENT_ENTRY(name, letter, title) {letter, title, experiment_##name},
const struct experiment_entry experiment_table[] = {
	EXPERIMENTS(EXPERIMENT_ENTRY){NULL, NULL, NULL}};

void experiment_deinit(struct experiment *e)
{
	for (size_t p = 0; p < e->plots; p++) {
		for (size_t c = 0; c < e->plot[p].curves; c++) {
			free(e->plot[p].curve[c].x);
			free(e->plot[p].curve[c].y);
		}
	}
	*e = (struct experiment){0};
}

/* --- figures ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 0))) static struct experiment_row *
row_of(struct experiment *e, const char *what, va_list args)
{
	struct experiment_row *row = &e->row[e->rows];

	assert(e->rows < EXPERIMENT_ROWS);
	(void)vsnprintf(row->what, sizeof(row->what), what, args);
	e->rows++;
	return row;
}

void experiment_expect(struct experiment *e, double measured, double low, double high,
		       const char *what, ...)
{
	struct experiment_row *row;
	va_list args;

	va_start(args, what);
	row = row_of(e, what, args);
	va_end(args);
	row->measured = measured;
	row->low = low;
	row->high = high;
	row->expected = (double)NAN;
}

void experiment_near(struct experiment *e, double measured, double expected, double share,
		     const char *what, ...)
{
	struct experiment_row *row;
	va_list args;

	va_start(args, what);
	row = row_of(e, what, args);
	va_end(args);
	row->measured = measured;
	row->expected = expected;
	row->low = expected - share * fabs(expected);
	row->high = expected + share * fabs(expected);
}

bool experiment_row_holds(const struct experiment_row *row)
{
	return row->measured >= row->low && row->measured <= row->high;
}

size_t experiment_failed(const struct experiment *e)
{
	size_t failed = 0;

	for (size_t i = 0; i < e->rows; i++)
		failed += !experiment_row_holds(&e->row[i]);
	return failed;
}

/* --- curves ------------------------------------------------------------------------------- */

struct experiment_plot *experiment_plot(struct experiment *e, const char *title, const char *x,
					const char *y, enum experiment_axes axes)
{
	struct experiment_plot *p = &e->plot[e->plots];

	assert(e->plots < EXPERIMENT_PLOTS);
	(void)snprintf(p->title, sizeof(p->title), "%s", title);
	(void)snprintf(p->x, sizeof(p->x), "%s", x);
	(void)snprintf(p->y, sizeof(p->y), "%s", y);
	p->log_x = axes & EXPERIMENT_LOG_X;
	p->log_y = axes & EXPERIMENT_LOG_Y;
	e->plots++;
	return p;
}

struct experiment_curve *experiment_curve(struct experiment_plot *p, const char *name, ...)
{
	struct experiment_curve *c = &p->curve[p->curves];
	va_list args;

	assert(p->curves < EXPERIMENT_CURVES);
	va_start(args, name);
	(void)vsnprintf(c->name, sizeof(c->name), name, args);
	va_end(args);
	p->curves++;
	return c;
}

void experiment_point(struct experiment_curve *c, double x, double y)
{
	assert(!c->points || x >= c->x[c->points - 1]);
	if (c->points == c->room) {
		c->room = c->room ? 2 * c->room : 64;
		c->x = realloc(c->x, c->room * sizeof(*c->x));
		c->y = realloc(c->y, c->room * sizeof(*c->y));
		assert(c->x && c->y);
	}
	c->x[c->points] = x;
	c->y[c->points] = y;
	c->points++;
}

/* --- several cases at once ---------------------------------------------------------------- */

enum { THREADS = 64 };

struct cases {
	void (*run)(void *context, size_t i);
	void *context;
	size_t count;
	atomic_size_t next;
};

static void *work(void *argument)
{
	struct cases *c = argument;
	size_t i;

	while ((i = atomic_fetch_add(&c->next, 1)) < c->count)
		c->run(c->context, i);
	return NULL;
}

void experiment_each(const struct experiment *e, size_t count, void (*run)(void *context, size_t i),
		     void *context)
{
	struct cases c = {.run = run, .context = context, .count = count};
	size_t threads = e->threads < THREADS ? e->threads : THREADS, started = 0;
	pthread_t thread[THREADS];

	/* One that does not start leaves its share to the others; this thread works, too. */
	while (started + 1 < threads && started + 1 < count &&
	       !pthread_create(&thread[started], NULL, work, &c))
		started++;
	work(&c);
	while (started)
		pthread_join(thread[--started], NULL);
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

void experiment_op(struct cluster *c, struct experiment_inputs *x)
{
	if (cluster_op(c, x->in, x->result))
		return;
	for (size_t i = 0; i < c->count; i++)
		x->result[i] = NAN;
}
