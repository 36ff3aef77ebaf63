/*
 * test_model.c - the perceptron of carry-train: gradient, parts of a batch, steps.
 *
 * The gradient is compared with central differences of a loss that is worked out here
 * in doubles, from the definition, sharing no code with the model.
 */
#include "tools/train/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/common/random.h"

#define SAMPLES 13

/* Odd widths, so that the loops' last elements are reached too. */
static const struct model_shape shape = {3, {11, 17, 9, 5}};

struct batch {
	float inputs[SAMPLES][11];
	uint8_t labels[SAMPLES];
};

static struct batch make_batch(uint64_t seed)
{
	struct batch b;

	for (size_t s = 0; s < SAMPLES; s++) {
		for (size_t i = 0; i < 11; i++)
			b.inputs[s][i] = i % 3 ? (float)random_unit(&seed) : 0;
		b.labels[s] = (uint8_t)(random_next(&seed) % 5);
	}
	return b;
}

/* Cross-entropy of one sample, weights float64[layer][inputs + 1][outputs] one after another. */
static double reference_loss(const double *weights, const float *input, uint8_t label)
{
	double x[32], y[32], sum = 0;

	for (size_t i = 0; i < shape.widths[0]; i++)
		x[i] = (double)input[i];
	for (size_t l = 0; l < shape.layers; l++) {
		size_t inputs = shape.widths[l], outputs = shape.widths[l + 1];

		for (size_t o = 0; o < outputs; o++) {
			y[o] = weights[inputs * outputs + o];
			for (size_t i = 0; i < inputs; i++)
				y[o] += x[i] * weights[i * outputs + o];
		}
		for (size_t o = 0; o < outputs; o++)
			x[o] = l + 1 < shape.layers && y[o] < 0 ? 0 : y[o];
		weights += (inputs + 1) * outputs;
	}
	for (size_t o = 0; o < shape.widths[shape.layers]; o++)
		sum += exp(x[o]);
	return log(sum) - x[label];
}

static double reference_batch_loss(const double *weights, const struct batch *b)
{
	double loss = 0;

	for (size_t s = 0; s < SAMPLES; s++)
		loss += reference_loss(weights, b->inputs[s], b->labels[s]);
	return loss / SAMPLES;
}

static size_t total_count(void)
{
	size_t count = 0;

	for (size_t l = 0; l < shape.layers; l++)
		count += model_layer_count(&shape, l);
	return count;
}

/* Gradient of samples first..first + n, scaled by 1 / SAMPLES, to out[total_count()]. */
static struct model_score gradient(const struct model *m, struct model_pass *p,
				   const struct batch *b, size_t first, size_t n, float *out)
{
	float *layer[MODEL_LAYERS_MAX];

	memcpy(p->input, b->inputs[first], n * sizeof(b->inputs[0]));
	model_forward(m, p, n);
	struct model_score score = model_judge(m, p, b->labels + first, n);
	model_backward_start(m, p, b->labels + first, n, 1.0f / SAMPLES);
	for (size_t l = 0; l < shape.layers; l++) {
		layer[l] = out;
		out += model_layer_count(&shape, l);
	}
	for (size_t l = shape.layers; l-- > 0;)
		model_backward(m, p, l, n, layer[l]);
	return score;
}

static void shapes(void **state)
{
	struct model m;

	(void)state;
	assert_int_equal(model_layer_count(&shape, 0), 12 * 17);
	assert_int_equal(model_layer_count(&shape, 2), 10 * 5);
	assert_int_equal(model_init(&m, &shape, 1), 0);
	for (size_t o = 0; o < 17; o++)
		assert_true(m.weights[0][11 * 17 + o] == 0); /* biases */
	for (size_t i = 0; i < 11 * 17; i++)
		assert_true(fabs((double)m.weights[0][i]) <= sqrt(6.0 / 11));
	uint64_t hash = model_hash(&m);
	m.weights[2][49] = 1e-30f;
	assert_true(model_hash(&m) != hash);
	m.weights[2][49] = 0;
	assert_true(model_hash(&m) == hash);
	model_deinit(&m);
	model_deinit(&m);

	assert_int_equal(model_init(&m, &shape, 2), 0);
	assert_true(model_hash(&m) != hash);
	model_deinit(&m);
}

static void gradient_matches_differences(void **state)
{
	struct batch b = make_batch(5);
	size_t count = total_count(), at_kinks = 0;
	float *got = calloc(count, sizeof(*got));
	double *weights = calloc(count, sizeof(*weights));
	struct model_pass p;
	struct model m;

	(void)state;
	assert_non_null(got);
	assert_non_null(weights);
	assert_int_equal(model_init(&m, &shape, 3), 0);
	assert_int_equal(model_pass_init(&p, &shape, SAMPLES), 0);
	for (size_t i = 0; i < count; i++)
		weights[i] = (double)m.memory[i];
	struct model_score score = gradient(&m, &p, &b, 0, SAMPLES, got);
	assert_true(fabs(score.loss / SAMPLES - reference_batch_loss(weights, &b)) < 1e-6);

	for (size_t i = 0; i < count; i++) {
		double step = 1e-6, middle = weights[i];

		weights[i] = middle + step;
		double above = reference_batch_loss(weights, &b);
		weights[i] = middle - step;
		double below = reference_batch_loss(weights, &b);
		weights[i] = middle;
		at_kinks += fabs((above - below) / (2 * step) - (double)got[i]) > 2e-6;
	}
	/* A difference over the kink of a relu means nothing, but with this seed there is none. */
	assert_int_equal(at_kinks, 0);
	model_pass_deinit(&p);
	model_deinit(&m);
	free(weights);
	free(got);
}

/* The promise of data-parallel training: the ranks' parts add up to the one-process gradient. */
static void parts_add_up(void **state)
{
	struct batch b = make_batch(9);
	size_t count = total_count();
	float *whole = calloc(count, sizeof(*whole)), *part = calloc(count, sizeof(*part));
	double *sum = calloc(count, sizeof(*sum));
	struct model_pass p;
	struct model m;

	(void)state;
	assert_non_null(whole);
	assert_non_null(part);
	assert_non_null(sum);
	assert_int_equal(model_init(&m, &shape, 4), 0);
	assert_int_equal(model_pass_init(&p, &shape, SAMPLES), 0);
	struct model_score all = gradient(&m, &p, &b, 0, SAMPLES, whole);

	/* 16 ranks and 13 samples: some ranks have nothing to do. */
	for (size_t ranks = 1; ranks <= 16; ranks++) {
		struct model_score scores = {0};

		memset(sum, 0, count * sizeof(*sum));
		for (size_t rank = 0; rank < ranks; rank++) {
			size_t first = SAMPLES * rank / ranks;
			size_t n = SAMPLES * (rank + 1) / ranks - first;
			struct model_score score = gradient(&m, &p, &b, first, n, part);

			scores.loss += score.loss;
			scores.correct += score.correct;
			for (size_t i = 0; i < count; i++)
				sum[i] += (double)part[i];
		}
		assert_int_equal(scores.correct, all.correct);
		assert_true(fabs(scores.loss - all.loss) < 1e-9);
		for (size_t i = 0; i < count; i++)
			assert_true(fabs(sum[i] - (double)whole[i]) < 1e-7);
	}
	model_pass_deinit(&p);
	model_deinit(&m);
	free(sum);
	free(part);
	free(whole);
}

static void step_moves_weights(void **state)
{
	static const struct model_shape tiny = {1, {1, 1}};
	struct model m;

	(void)state;
	assert_int_equal(model_init(&m, &tiny, 1), 0);
	m.weights[0][0] = 2;
	m.weights[0][1] = -1;
	model_step(&m, 0, (const float[]){0.5f, 0.25f}, 0.5f, 0.5f, 0.125f);
	/* v = 0.5 + 0.125 * 2 = 0.75; w = 2 - 0.5 * 0.75.  v = 0.25 - 0.125; w = -1 - 0.0625. */
	assert_true(m.weights[0][0] == 1.625f);
	assert_true(m.weights[0][1] == -1.0625f);
	model_step(&m, 0, (const float[]){0, 0}, 0.5f, 0.5f, 0);
	assert_true(m.weights[0][0] == 1.625f - 0.5f * 0.375f);
	assert_true(m.weights[0][1] == -1.0625f - 0.5f * 0.0625f);
	model_deinit(&m);
}

/* Scores so large that exp() of them overflows. */
static void large_scores(void **state)
{
	static const struct model_shape tiny = {1, {1, 2}};
	struct model_pass p;
	struct model m;
	uint8_t label = 1;

	(void)state;
	assert_int_equal(model_init(&m, &tiny, 1), 0);
	assert_int_equal(model_pass_init(&p, &tiny, 1), 0);
	m.weights[0][0] = 1000;
	m.weights[0][1] = 900;
	p.input[0] = 1;
	model_forward(&m, &p, 1);
	struct model_score score = model_judge(&m, &p, &label, 1);
	assert_true(score.loss == 100);
	assert_int_equal(score.correct, 0);
	model_backward_start(&m, &p, &label, 1, 0.5f);
	assert_true(p.deltas[0][0] == 0.5f);
	assert_true(p.deltas[0][1] == -0.5f);
	model_pass_deinit(&p);
	model_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes),       cmocka_unit_test(gradient_matches_differences),
		cmocka_unit_test(parts_add_up), cmocka_unit_test(step_moves_weights),
		cmocka_unit_test(large_scores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
