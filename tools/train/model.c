/*
 * model.c - see model.h.
 *
 * Inner loops go over outputs, in blocks of a fixed size that the compiler makes
 * vector code of; inputs that are zero (white pixels, sleeping neurons: about half)
 * are skipped.
 */
#include "tools/train/model.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/random.h"

#define BLOCK 8

/* y[n] += a * x[n] */
static void add_scaled(float *restrict y, const float *restrict x, float a, size_t n)
{
	size_t i = 0;

	for (; i + BLOCK <= n; i += BLOCK)
		for (size_t k = 0; k < BLOCK; k++)
			y[i + k] += a * x[i + k];
	for (; i < n; i++)
		y[i] += a * x[i];
}

static float dot(const float *restrict x, const float *restrict y, size_t n)
{
	float sums[BLOCK] = {0}, sum = 0;
	size_t i = 0;

	for (; i + BLOCK <= n; i += BLOCK)
		for (size_t k = 0; k < BLOCK; k++)
			sums[k] += x[i + k] * y[i + k];
	for (; i < n; i++)
		sum += x[i] * y[i];
	for (size_t k = 0; k < BLOCK; k++)
		sum += sums[k];
	return sum;
}

/* log(sum(exp(x))), without overflow. */
static float log_sum_exp(const float *x, size_t n)
{
	float top = x[0], sum = 0;

	for (size_t i = 1; i < n; i++)
		top = fmaxf(top, x[i]);
	for (size_t i = 0; i < n; i++)
		sum += expf(x[i] - top);
	/* cppcheck-suppress invalidFunctionArg */
	return top + logf(sum);
}

static const float *layer_input(const struct model_pass *p, size_t layer)
{
	return layer ? p->outputs[layer - 1] : p->input;
}

size_t model_layer_count(const struct model_shape *shape, size_t layer)
{
	return (shape->widths[layer] + 1) * shape->widths[layer + 1];
}

int model_init(struct model *m, const struct model_shape *shape, uint64_t seed)
{
	uint64_t state = random_seed(seed, 1);
	size_t count = 0;

	assert(shape->layers >= 1 && shape->layers <= MODEL_LAYERS_MAX);
	*m = (struct model){.shape = *shape};
	for (size_t l = 0; l < shape->layers; l++)
		count += model_layer_count(shape, l);
	m->memory = calloc(2 * count, sizeof(float));
	if (!m->memory)
		return -ENOMEM;

	float *next = m->memory;
	for (size_t l = 0; l < shape->layers; l++) {
		size_t inputs = shape->widths[l], weights = inputs * shape->widths[l + 1];
		double range = sqrt(6.0 / (double)inputs);

		m->weights[l] = next;
		m->velocity[l] = next + count;
		for (size_t i = 0; i < weights; i++)
			m->weights[l][i] = (float)(range * (2 * random_unit(&state) - 1));
		next += model_layer_count(shape, l);
	}
	return 0;
}

void model_deinit(struct model *m)
{
	free(m->memory);
	*m = (struct model){0};
}

int model_pass_init(struct model_pass *p, const struct model_shape *shape, size_t samples_max)
{
	size_t width = shape->widths[0];

	*p = (struct model_pass){.samples_max = samples_max};
	for (size_t l = 0; l < shape->layers; l++)
		width += 2 * shape->widths[l + 1];
	p->memory = calloc(samples_max ? samples_max * width : 1, sizeof(float));
	if (!p->memory)
		return -ENOMEM;

	p->input = p->memory;
	float *next = p->input + samples_max * shape->widths[0];
	for (size_t l = 0; l < shape->layers; l++) {
		p->outputs[l] = next;
		next += samples_max * shape->widths[l + 1];
		p->deltas[l] = next;
		next += samples_max * shape->widths[l + 1];
	}
	return 0;
}

void model_pass_deinit(struct model_pass *p)
{
	free(p->memory);
	*p = (struct model_pass){0};
}

static void forward_layer(const struct model *m, struct model_pass *p, size_t layer, size_t samples)
{
	size_t inputs = m->shape.widths[layer], outputs = m->shape.widths[layer + 1];
	const float *weights = m->weights[layer];

	for (size_t s = 0; s < samples; s++) {
		const float *x = layer_input(p, layer) + s * inputs;
		float *y = p->outputs[layer] + s * outputs;

		memcpy(y, weights + inputs * outputs, outputs * sizeof(*y));
		for (size_t i = 0; i < inputs; i++)
			if (x[i] != 0)
				add_scaled(y, weights + i * outputs, x[i], outputs);
		if (layer + 1 == m->shape.layers)
			continue;
		for (size_t i = 0; i < outputs; i++)
			y[i] = y[i] > 0 ? y[i] : 0;
	}
}

void model_forward(const struct model *m, struct model_pass *p, size_t samples)
{
	assert(samples <= p->samples_max);
	for (size_t l = 0; l < m->shape.layers; l++)
		forward_layer(m, p, l, samples);
}

struct model_score model_judge(const struct model *m, const struct model_pass *p,
			       const uint8_t *labels, size_t samples)
{
	size_t classes = m->shape.widths[m->shape.layers];
	struct model_score score = {0};

	for (size_t s = 0; s < samples; s++) {
		const float *y = p->outputs[m->shape.layers - 1] + s * classes;
		size_t best = 0;

		for (size_t i = 1; i < classes; i++)
			best = y[i] > y[best] ? i : best;
		score.correct += best == labels[s];
		score.loss += (double)(log_sum_exp(y, classes) - y[labels[s]]);
	}
	return score;
}

void model_backward_start(const struct model *m, struct model_pass *p, const uint8_t *labels,
			  size_t samples, float scale)
{
	size_t last = m->shape.layers - 1, classes = m->shape.widths[last + 1];

	for (size_t s = 0; s < samples; s++) {
		const float *y = p->outputs[last] + s * classes;
		float *delta = p->deltas[last] + s * classes;
		float log_sum = log_sum_exp(y, classes);

		for (size_t i = 0; i < classes; i++)
			delta[i] = scale * (expf(y[i] - log_sum) - (i == labels[s] ? 1.0f : 0.0f));
	}
}

void model_backward(const struct model *m, struct model_pass *p, size_t layer, size_t samples,
		    float *gradient)
{
	size_t inputs = m->shape.widths[layer], outputs = m->shape.widths[layer + 1];

	memset(gradient, 0, model_layer_count(&m->shape, layer) * sizeof(*gradient));
	for (size_t s = 0; s < samples; s++) {
		const float *x = layer_input(p, layer) + s * inputs;
		const float *delta = p->deltas[layer] + s * outputs;

		for (size_t i = 0; i < inputs; i++)
			if (x[i] != 0)
				add_scaled(gradient + i * outputs, delta, x[i], outputs);
		add_scaled(gradient + inputs * outputs, delta, 1, outputs);
		if (layer == 0)
			continue;
		float *below = p->deltas[layer - 1] + s * inputs;
		for (size_t i = 0; i < inputs; i++)
			below[i] =
				x[i] > 0 ? dot(m->weights[layer] + i * outputs, delta, outputs) : 0;
	}
}

void model_step(struct model *m, size_t layer, const float *gradient, float rate, float momentum,
		float decay)
{
	size_t count = model_layer_count(&m->shape, layer);
	float *weights = m->weights[layer], *velocity = m->velocity[layer];

	for (size_t i = 0; i < count; i++) {
		velocity[i] = momentum * velocity[i] + gradient[i] + decay * weights[i];
		weights[i] -= rate * velocity[i];
	}
}

uint64_t model_hash(const struct model *m)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t l = 0; l < m->shape.layers; l++) {
		const unsigned char *bytes = (const unsigned char *)m->weights[l];
		size_t size = model_layer_count(&m->shape, l) * sizeof(float);

		for (size_t i = 0; i < size; i++)
			hash = (hash ^ bytes[i]) * 0x100000001b3u;
	}
	return hash;
}
