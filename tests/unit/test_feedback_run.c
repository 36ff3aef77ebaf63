/*
 * test_feedback_run.c - error feedback over many ops on several nodes (tests/experiments/cluster):
 * nothing is lost, the aggregate is the sum of the estimates, an aborted op leaves no trace, and
 * neither chunks nor nodes make a difference.
 */
#include "tests/experiments/cluster.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "tests/common/draw.h"
#include "tests/unit/feedback_pairs.h"

enum { NODES = 4, CHUNK = 512, MOST = 65536 + 76 };

/* Chunks of 512, or of a block that is larger: two and a bit, of the largest one and a bit. */
static size_t chunk_of(const char *spec)
{
	struct codec_setting s;
	struct err err;

	assert_int_equal(codec_parse(&s, spec, &err), 0);
	return s.block > CHUNK ? s.block : CHUNK;
}

static size_t count_of(size_t chunk)
{
	return (chunk > 4096 ? chunk : 2 * chunk) + 76;
}

enum { BRIEF = 20 };

/* The first example of each codec makes the long run, large chunks a brief one. */
static size_t steps(const char *spec)
{
	return chunk_of(spec) > 1024 ? BRIEF : strchr(spec, ':') ? 60 : 1000;
}

/* ... of tests that compare two runs. */
static size_t few(const char *spec)
{
	return chunk_of(spec) > 4096 ? 2 : 6;
}

/* --- a run -------------------------------------------------------------------------------- */

struct run {
	struct cluster c;
	float in[NODES][MOST], result[MOST];
	const float *each[NODES];
	double put[MOST], got[MOST]; /* sums over all ops, in the last op's unit */
	double may[MOST];            /* by how much they may differ from what is held */
	double held[MOST], size[MOST], drift[MOST]; /* see conserving_op() */
	uint64_t seed;
};

/* `chunks`: how often larger than usual. */
static struct run *run_new(const char *feedback, const char *up, const char *down, size_t chunks)
{
	size_t chunk = chunk_of(up), count = count_of(chunk);
	struct run *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	assert_in_range(count, 1, MOST);
	cluster_init(&r->c, feedback, up, down, NODES, count, chunks * chunk);
	for (size_t n = 0; n < NODES; n++)
		r->each[n] = r->in[n];
	return r;
}

static void run_free(struct run *r)
{
	cluster_deinit(&r->c);
	free(r);
}

/* Inputs of the nodes have little in common, some elements are never anything but zero. */
static void run_draw(struct run *r)
{
	for (size_t n = 0; n < NODES; n++) {
		draw_about_gauss(r->in[n], r->c.count, &r->seed);
		for (size_t i = 0; i < r->c.count; i++)
			r->in[n][i] = i % 97 ? r->in[n][i] + (float)n : 0;
	}
}

static void run_op(struct run *r)
{
	run_draw(r);
	assert_true(cluster_op(&r->c, r->each, r->result));
	for (size_t i = 0; i < r->c.count; i++) {
		double put = 0, scale = (double)r->c.scale;

		for (size_t n = 0; n < NODES; n++)
			put += (double)r->in[n][i];
		r->put[i] = scale * r->put[i] + put;
		r->got[i] = scale * r->got[i] + (double)r->result[i];
	}
}

/* The kinds of ops, in turn; a run of 20 steps has all too. */
static void run_kind(struct run *r, size_t t, bool brief)
{
	r->c.dense = brief ? t == 12 : t % 41 == 40;
	r->c.scale = t % 50 == (brief ? 15 : 49) ? 0.5f : t % 50 == (brief ? 8 : 24) ? 2 : 1;
}

/* In the sum's unit: residuals of the workers and of the chunk's owner. */
static double held(struct run *r, size_t i)
{
	double sum = 0;

	for (uint32_t n = 0; n < NODES; n++)
		sum += (double)((const float *)r->c.node[n].now[FEEDBACK_RESIDUAL])[i];
	if (r->c.feedback.id == FEEDBACK_TWOSIDED)
		sum += (double)cluster_vector(&r->c, (uint32_t)(i / r->c.chunk % NODES),
					      FEEDBACK_OWNER_RESIDUAL)[i];
	return sum;
}

/* Each codec that goes with it. */
static void each_codec(const char *feedback, void (*f)(const char *feedback, const char *spec))
{
	for (const struct codec *const *b = codec_table; *b; b++)
		for (const char *const *spec = (*b)->examples; *spec; spec++)
			if (pair_goes(feedback, *spec, chunk_of(*spec)))
				f(feedback, *spec);
}

static const char *down_of(const char *feedback, const char *up)
{
	return strcmp(feedback, "twosided") == 0 || strcmp(feedback, "ef21-bc") == 0 ? up : "none";
}

/* --- nothing is lost ---------------------------------------------------------------------- */

/* size[i] += magnitudes of the state, of all nodes; h of econtrol. */
static void add_sizes(struct run *r, double scale)
{
	static const enum feedback_vector vectors[] = {FEEDBACK_RESIDUAL, FEEDBACK_OWNER_RESIDUAL,
						       FEEDBACK_ESTIMATE};

	for (size_t k = 0; k < 3; k++) {
		if (!feedback_vector_bytes(&r->c.feedback, vectors[k], 1))
			continue;
		for (uint32_t n = 0; n < NODES; n++) {
			const float *x = cluster_vector(&r->c, n, vectors[k]);

			for (size_t i = 0; i < r->c.count; i++)
				r->size[i] += scale * fabs((double)x[i]);
		}
	}
}

static double norm(const float *x, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

/*
 * One op: new residual + result = input + old residual, elementwise, but for rounding.
 *
 * With u = 2^-24 (scales are powers of two), for each node: p = in + e is rounded once, the
 * residual p - c once, the sum of the contributions, each |c| <= |in| + |e| + |e'|, NODES - 1
 * times, the owner's q and E once each; econtrol: in - h, + e, - d, and h + d.  So no magnitude
 * counts more than NODES + 4 times.  econtrol's result is G, which is rounded beside the h it is
 * the sum of: it drifts from them until an op is absolute.  A contribution that is left out is
 * added to p - c again; an element of that is taken to be at most twice the norm of p.
 */
static void conserving_op(struct run *r)
{
	bool drifts = r->c.feedback.id == FEEDBACK_ECONTROL;
	double scale = (double)r->c.scale, left_out = 0;

	for (size_t i = 0; i < r->c.count; i++) {
		r->held[i] = scale * held(r, i);
		r->size[i] = 0;
	}
	add_sizes(r, scale);
	run_op(r);
	add_sizes(r, 1);
	for (uint32_t n = 0; n < NODES; n++)
		if (r->c.left_out >> n & 1)
			left_out = 2 * 0x1p-24 *
				   norm(cluster_vector(&r->c, n, FEEDBACK_RESIDUAL), r->c.count);
	for (size_t i = 0; i < r->c.count; i++) {
		double put = 0, off, most, size = r->size[i];

		for (size_t n = 0; n < NODES; n++) {
			put += (double)r->in[n][i];
			size += fabs((double)r->in[n][i]);
		}
		most = (NODES + 4) * 0x1p-24 * size + left_out;
		r->drift[i] = drifts ? most + (r->c.dense ? 0 : scale * r->drift[i]) : 0;
		most += r->drift[i];
		off = (double)r->result[i] + held(r, i) - put - r->held[i];
		if (!(fabs(off) <= most))
			fail_msg("element %zu: %g too much, at most %g", i, off, most);
		r->may[i] = scale * r->may[i] + most;
	}
}

/* Every kind of op; of econtrol, what is left out is not put in. */
static void conserves(const char *feedback, const char *spec)
{
	struct run *r = run_new(feedback, spec, down_of(feedback, spec), 1);
	bool econtrol = r->c.feedback.id == FEEDBACK_ECONTROL;

	for (size_t t = 0; t < steps(spec); t++) {
		run_kind(r, t, steps(spec) == BRIEF);
		r->c.left_out = !econtrol && t % 13 == 5 ? 1u << t % NODES : 0;
		conserving_op(r);
	}
	for (size_t i = 0; i < r->c.count; i++)
		if (!(fabs(r->got[i] + held(r, i) - r->put[i]) <= r->may[i]))
			fail_msg("%s, %s: element %zu: %g went in, %g came out, %g is held",
				 feedback, spec, i, r->put[i], r->got[i], held(r, i));
	run_free(r);
}

static void nothing_is_lost(void **state)
{
	(void)state;
	each_codec("ef14", conserves);
	each_codec("twosided", conserves);
	each_codec("econtrol:eta=0.02", conserves);
}

/* With beta = 0, but for what rounding to 8 bits loses in each op. */
static void loco_loses_what_it_rounds(const char *feedback, const char *spec)
{
	struct run *r = run_new(feedback, spec, "none", 1);
	size_t ops = steps(spec) == BRIEF ? BRIEF : 200;
	double *lost = calloc(r->c.count, sizeof(*lost));

	for (size_t t = 0; t < ops; t++) {
		run_op(r);
		for (size_t i = 0; i < r->c.count; i++)
			for (size_t n = 0; n < NODES; n++) {
				const char *blocks = r->c.node[n].now[FEEDBACK_RESIDUAL];
				float scale;

				memcpy(&scale, blocks + i / 256 * 260, sizeof(scale));
				lost[i] +=
					(double)scale * 0.5001 +
					0x1p-24 * (NODES + 4) *
						(fabs((double)r->in[n][i]) + 128 * (double)scale);
				if (t == ops - 1)
					r->got[i] +=
						(double)scale *
						(signed char)blocks[i / 256 * 260 + 4 + i % 256];
			}
	}
	for (size_t i = 0; i < r->c.count; i++)
		if (!(fabs(r->got[i] - r->put[i]) <= lost[i]))
			fail_msg("%s, %s: element %zu: %g went in, %g came out, at most %g is lost",
				 feedback, spec, i, r->put[i], r->got[i], lost[i]);
	free(lost);
	run_free(r);
}

static void loco_without_memory(void **state)
{
	(void)state;
	each_codec("loco:beta=0,reset=0", loco_loses_what_it_rounds);
}

/* --- the aggregate ------------------------------------------------------------------------ */

static void check_aggregate(struct run *r, const char *feedback, const char *spec)
{
	const float *shared = cluster_vector(&r->c, 0, FEEDBACK_SUM);

	for (size_t i = 0; i < r->c.count; i++) {
		uint32_t owner = (uint32_t)(i / r->c.chunk % NODES);
		double sum = 0, size = 1, all;

		for (uint32_t n = 0; n < NODES; n++) {
			double g = (double)cluster_vector(&r->c, n, FEEDBACK_ESTIMATE)[i];

			g *= r->c.feedback.id == FEEDBACK_EF21_W ? (double)r->c.node[n].weight : 1;
			sum += g;
			size += fabs(g);
		}
		all = r->c.feedback.id == FEEDBACK_EF21_BC
			      ? (double)cluster_vector(&r->c, owner, FEEDBACK_OWNER_SUM)[i]
			      : (double)shared[i];
		if (!(fabs(all - sum) <= 1e-5 * size))
			fail_msg("%s, %s: element %zu: G is %.9g, the sum is %.9g", feedback, spec,
				 i, all, sum);
	}
	for (uint32_t n = 1; n < NODES; n++)
		assert_memory_equal(shared, cluster_vector(&r->c, n, FEEDBACK_SUM),
				    r->c.count * sizeof(float));
}

static void aggregates(const char *feedback, const char *spec)
{
	struct run *r = run_new(feedback, spec, down_of(feedback, spec), 1);

	for (size_t t = 0; t < steps(spec); t++) {
		run_kind(r, t, steps(spec) == BRIEF);
		r->c.left_out = t % 13 == 5 || t % 82 == 81 ? 1u << t % NODES : 0;
		if (r->c.feedback.id == FEEDBACK_EF21_W && t % 10 == 0)
			r->c.node[t / 10 % NODES].weight = 0.5f + (float)(t % 7);
		run_op(r);
		if (t % 100 < 3)
			check_aggregate(r, feedback, spec);
	}
	check_aggregate(r, feedback, spec);
	run_free(r);
}

static void the_aggregate_is_the_sum(void **state)
{
	(void)state;
	each_codec("ef21", aggregates);
	each_codec("ef21-w", aggregates);
	each_codec("ef21-sgdm:eta=0.3", aggregates);
	each_codec("ef21-bc", aggregates);
	each_codec("econtrol:eta=0.02", aggregates);
}

/* The same input again and again: what everybody has becomes the sum, by any codec. */
static void converges(const char *feedback, const char *spec)
{
	struct run *r = run_new(feedback, spec, down_of(feedback, spec), 1);
	double far = 0;

	run_draw(r);
	for (size_t t = 0; t < 1000; t++)
		assert_true(cluster_op(&r->c, r->each, r->result));
	for (size_t i = 0; i < r->c.count; i++) {
		double sum = 0;

		for (size_t n = 0; n < NODES; n++)
			sum += (double)r->in[n][i];
		far = fmax(far, fabs((double)r->result[i] - sum));
	}
	if (!(far < 1e-4))
		fail_msg("%s, %s: off by %g", feedback, spec, far);
	run_free(r);
}

static void estimates_arrive(void **state)
{
	static const char *const specs[] = {"bf16", "mxfp8", "topk:density=0.3"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		converges("ef21", specs[i]);
		converges("ef21-w", specs[i]);
		converges("ef21-sgdm", specs[i]);
		converges("ef21-bc", specs[i]);
	}
}

/* An absolute op: whatever was in g, h, B and G, the result is the sum of the inputs. */
static void absolute(const char *feedback, const char *spec)
{
	struct run *r = run_new(feedback, spec, down_of(feedback, spec), 1);

	for (uint32_t n = 0; n < NODES; n++)
		for (size_t i = 0; i < r->c.count; i++)
			cluster_vector(&r->c, n, FEEDBACK_ESTIMATE)[i] = (float)n * 100;
	r->c.dense = true;
	run_op(r);
	for (size_t i = 0; i < r->c.count; i++)
		assert_true(fabs(r->got[i] - r->put[i]) <= 1e-5);
	check_aggregate(r, feedback, spec);
	run_free(r);
}

static void absolute_ops_start_anew(void **state)
{
	(void)state;
	absolute("ef21", "bf16");
	absolute("ef21-w", "bf16");
	absolute("ef21-sgdm", "bf16");
	absolute("ef21-bc", "bf16");
	absolute("econtrol", "bf16");
}

/* --- transactions, chunks ----------------------------------------------------------------- */

/* cmocka compares slowly, but says where. */
static void same_bytes(const void *a, const void *b, size_t bytes)
{
	if (memcmp(a, b, bytes) != 0)
		assert_memory_equal(a, b, bytes);
}

static void same_state(const struct run *a, const struct run *b)
{
	same_bytes(a->result, b->result, a->c.count * sizeof(*a->result));
	for (size_t n = 0; n < NODES; n++)
		for (enum feedback_vector v = 0; v < FEEDBACK_VECTORS; v++) {
			size_t bytes = feedback_vector_bytes(&a->c.feedback, v, a->c.count);

			if (!bytes || ((v == FEEDBACK_OWNER_RESIDUAL || v == FEEDBACK_OWNER_SUM) &&
				       a->c.chunk != b->c.chunk))
				continue;
			same_bytes(a->c.node[n].now[v], b->c.node[n].now[v], bytes);
		}
}

/* One run has ops that are aborted, and ops with a NaN; the other has not. */
static void aborts(const char *feedback, const char *spec)
{
	struct run *a = run_new(feedback, spec, down_of(feedback, spec), 1);
	struct run *b = run_new(feedback, spec, down_of(feedback, spec), 1);

	for (size_t t = 0; t < few(spec); t++) {
		run_draw(a);
		a->c.abort = true;
		assert_true(cluster_op(&a->c, a->each, a->result));
		a->c.abort = false;
		a->in[t % NODES][a->c.count / 6 * t] = t % 2 ? NAN : INFINITY;
		assert_false(cluster_op(&a->c, a->each, a->result));
		a->seed = b->seed;
		run_op(a);
		run_op(b);
		same_state(a, b);
	}
	run_free(a);
	run_free(b);
}

/* Where the codec's block divides both chunks, they are no part of the arithmetic. */
static void cuts(const char *feedback, const char *spec)
{
	struct run *a = run_new(feedback, spec, down_of(feedback, spec), 1);
	struct run *b = run_new(feedback, spec, down_of(feedback, spec), 2);

	for (size_t t = 0; t < few(spec) && a->c.up.block; t++) {
		run_op(a);
		run_op(b);
		same_state(a, b);
	}
	run_free(a);
	run_free(b);
}

static void each_feedback(void (*f)(const char *feedback, const char *spec))
{
	for (const struct feedback *const *a = feedback_table; *a; a++)
		for (const char *const *spec = (*a)->examples; *spec; spec++)
			each_codec(*spec, f);
}

static void aborted_ops_leave_no_trace(void **state)
{
	(void)state;
	each_feedback(aborts);
}

static void chunks_make_no_difference(void **state)
{
	(void)state;
	each_feedback(cuts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(loco_without_memory),
		cmocka_unit_test(the_aggregate_is_the_sum),
		cmocka_unit_test(estimates_arrive),
		cmocka_unit_test(absolute_ops_start_anew),
		cmocka_unit_test(aborted_ops_leave_no_trace),
		cmocka_unit_test(chunks_make_no_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
