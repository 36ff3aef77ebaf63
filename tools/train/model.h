/*
 * model.h - a multi-layer perceptron and its gradient, in plain loops.
 *
 *     x0 = pixels    x(l+1) = relu(x(l) W(l))    loss = cross-entropy(softmax(last), label)
 *
 * Layer l has one matrix float32[inputs + 1][outputs]; its last row is the bias, the
 * weight of an input that is always 1.  Gradients have the shape of the weights.
 * Sums over samples are in the order of the samples.
 *
 * Training is SGD with momentum and weight decay:
 *
 *     v = momentum v + gradient + decay W     W = W - rate v
 *
 * The backward pass is made layer by layer, the last first, so that a layer's gradient
 * can be on its way to the other ranks while the next one is computed.
 */
#ifndef TOOLS_TRAIN_MODEL_H
#define TOOLS_TRAIN_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define MODEL_LAYERS_MAX 5
#define MODEL_WIDTH_MAX 1024

struct model_shape {
	size_t layers;                       /* 1..MODEL_LAYERS_MAX                 */
	size_t widths[MODEL_LAYERS_MAX + 1]; /* of the input, then of each layer's output */
};

struct model {
	struct model_shape shape;
	float *weights[MODEL_LAYERS_MAX]; /* owned: one block with velocity */
	float *velocity[MODEL_LAYERS_MAX];
	float *memory;
};

/* What a forward pass leaves behind for the backward pass. */
struct model_pass {
	size_t samples_max;
	float *input;                     /* float32[samples][widths[0]], filled by the caller */
	float *outputs[MODEL_LAYERS_MAX]; /* float32[samples][widths[l + 1]]                   */
	float *deltas[MODEL_LAYERS_MAX];  /* d loss / d outputs before the relu                */
	float *memory;                    /* owned: one block                                  */
};

struct model_score {
	double loss;    /* sum over the samples  */
	size_t correct; /* samples               */
};

/* model_layer_count() - weights of a layer, bias included. */
size_t model_layer_count(const struct model_shape *shape, size_t layer);

/* model_init() - random weights (He et al., 2015), biases zero.  Return: 0 or -ENOMEM. */
int model_init(struct model *m, const struct model_shape *shape, uint64_t seed);
void model_deinit(struct model *m);

int model_pass_init(struct model_pass *p, const struct model_shape *shape, size_t samples_max);
void model_pass_deinit(struct model_pass *p);

/* model_forward() - outputs of p->input[samples], samples 0..samples_max. */
void model_forward(const struct model *m, struct model_pass *p, size_t samples);

/* model_judge() - loss and correct answers of the last forward pass.  labels[samples]. */
struct model_score model_judge(const struct model *m, const struct model_pass *p,
			       const uint8_t *labels, size_t samples);

/*
 * model_backward_start() - the last layer's deltas of scale * loss.
 * model_backward() - gradient[model_layer_count(layer)], overwritten, and the deltas of the layer
 * below.  Call for the last layer first, then down to layer 0.
 */
void model_backward_start(const struct model *m, struct model_pass *p, const uint8_t *labels,
			  size_t samples, float scale);
void model_backward(const struct model *m, struct model_pass *p, size_t layer, size_t samples,
		    float *gradient);

/* model_step() - move a layer's weights down its gradient. */
void model_step(struct model *m, size_t layer, const float *gradient, float rate, float momentum,
		float decay);

/* model_hash() - of all weights' bits: 64-bit FNV-1a. */
uint64_t model_hash(const struct model *m);

#endif
