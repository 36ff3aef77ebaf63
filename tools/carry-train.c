/*
 * carry-train - the demo trainer: a classifier of handwritten digits, trained by data-parallel SGD.
 *
 *     every rank:  part of the batch -> forward -> backward, the last layer first
 *                  each layer's gradient: posted as soon as it is there, summed by the daemons
 *                  while the next is computed; then waited for, and the layer moves
 *
 * All ranks draw the same batches, and a rank's part is scaled by the whole batch, so the sum of
 * the ranks' gradients is the gradient of one process up to rounding, for any number of ranks.
 * At the end the ranks compare their weights bit by bit, by a hash.
 *
 * With --codec the gradients of layers of 16 KiB or more are encoded, under the key "layerN".
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/carry.h"
#include "tools/common/clock.h"
#include "tools/common/random.h"
#include "tools/train/digits.h"
#include "tools/train/model.h"
#include "tools/train/options.h"
#include "tools/train/reducer.h"

#define DECAY 1e-3f
#define PI 3.14159265358979f

/* Streams of the seed: the split has 0, the weights have 1, epoch e has EPOCH_STREAM + e. */
#define EPOCH_STREAM 16

struct outcome {
	double loss;          /* mean over the last epoch's images, as they came */
	double held_out_loss; /* mean                                            */
	uint32_t correct;     /* of the images held out                          */
	uint64_t steps;
	uint64_t training_ns; /* without the looks at the held-out images        */
	uint64_t wire_bytes;  /* of this node, for gradients                     */
	uint64_t hash;
	bool same;
};

struct training {
	struct train_options options;
	struct digits digits;
	uint32_t *order; /* uint32[digits.count]: images for training, then those held out */
	uint32_t train;  /* images for training                                            */
	uint8_t *labels; /* of the rank's part of a batch                                  */
	struct model model;
	struct model_pass pass;
	struct reducer reducer;
	struct outcome outcome;
};

struct part {
	uint32_t first;
	uint32_t count;
};

/* This rank's part of n things; sizes differ by at most one. */
static struct part part_of(const struct training *t, uint32_t n)
{
	uint64_t rank = t->reducer.rank, ranks = t->reducer.ranks;
	uint32_t first = (uint32_t)(n * rank / ranks);

	return (struct part){first, (uint32_t)(n * (rank + 1) / ranks) - first};
}

static void load(struct training *t, const uint32_t *images, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		memcpy(t->pass.input + (size_t)i * DIGITS_PIXELS,
		       t->digits.pixels + (size_t)images[i] * DIGITS_PIXELS,
		       DIGITS_PIXELS * sizeof(float));
		t->labels[i] = t->digits.labels[images[i]];
	}
}

/* One step on images[n], the batch of all ranks.  Adds this rank's part to the epoch's loss. */
static int train_step(struct training *t, const uint32_t *images, uint32_t n, float rate,
		      double *loss)
{
	struct reducer *r = &t->reducer;
	struct part part = part_of(t, n);
	size_t layers = t->model.shape.layers;

	load(t, images + part.first, part.count);
	model_forward(&t->model, &t->pass, part.count);
	struct model_score score = model_judge(&t->model, &t->pass, t->labels, part.count);
	model_backward_start(&t->model, &t->pass, t->labels, part.count, 1.0f / (float)n);
	for (size_t l = layers; l-- > 0;) {
		model_backward(&t->model, &t->pass, l, part.count, r->bucket[l]);
		int code = reducer_post(r, l);
		if (code)
			return code;
	}
	for (size_t l = layers; l-- > 0;) {
		int code = reducer_wait(r, l);
		if (code)
			return code;
		model_step(&t->model, l, r->bucket[l], rate, t->options.momentum, DECAY);
	}
	*loss += score.loss;
	return 0;
}

static int train_epoch(struct training *t, uint32_t epoch)
{
	const struct train_options *o = &t->options;
	uint64_t state = random_seed(o->seed, EPOCH_STREAM + epoch);
	uint32_t steps = (t->train + o->batch - 1) / o->batch;
	uint64_t start_ns = clock_now_ns();
	double loss = 0;

	random_shuffle(&state, t->order, t->train);
	for (uint32_t s = 0; s < steps; s++) {
		uint32_t first = s * o->batch, left = t->train - first;
		float done = ((float)epoch + (float)s / (float)steps) / (float)o->epochs;
		float rate = o->rate * 0.5f * (1 + cosf(PI * done));
		int code = train_step(t, t->order + first, left < o->batch ? left : o->batch, rate,
				      &loss);

		if (code)
			return code;
	}
	t->outcome.steps += steps;
	t->outcome.training_ns += clock_now_ns() - start_ns;
	int code = reducer_sum(&t->reducer, &loss, 1);
	t->outcome.loss = loss / t->train;
	return code;
}

/* Each rank looks at its part of the images held out. */
static int evaluate(struct training *t)
{
	uint32_t held_out = t->digits.count - t->train;
	struct part part = part_of(t, held_out);
	double sums[2] = {0};

	while (part.count) {
		uint32_t n = part.count < t->pass.samples_max ? part.count
							      : (uint32_t)t->pass.samples_max;

		load(t, t->order + t->train + part.first, n);
		model_forward(&t->model, &t->pass, n);
		struct model_score score = model_judge(&t->model, &t->pass, t->labels, n);
		sums[0] += score.loss;
		sums[1] += (double)score.correct;
		part.first += n;
		part.count -= n;
	}
	int code = reducer_sum(&t->reducer, sums, 2);
	if (code)
		return code;
	t->outcome.held_out_loss = sums[0] / held_out;
	t->outcome.correct = (uint32_t)sums[1];
	return 0;
}

static double percent(const struct training *t)
{
	return 100.0 * t->outcome.correct / (t->digits.count - t->train);
}

static double steps_per_s(const struct outcome *o)
{
	return (double)o->steps * (double)CLOCK_NS_PER_S / (double)(o->training_ns + 1);
}

static int train(struct training *t)
{
	const struct train_options *o = &t->options;
	bool speaks = t->reducer.rank == 0 && !o->quiet;

	for (uint32_t epoch = 0; epoch < o->epochs; epoch++) {
		int code = train_epoch(t, epoch);
		if (!code)
			code = evaluate(t);
		if (code)
			return code;
		if (!speaks)
			continue;
		printf("epoch %*u/%u  loss %.4f  held-out %6.2f %%  %6.0f steps/s\n",
		       snprintf(NULL, 0, "%u", o->epochs), epoch + 1, o->epochs, t->outcome.loss,
		       percent(t), steps_per_s(&t->outcome));
		fflush(stdout);
	}
	t->outcome.wire_bytes = t->reducer.wire_bytes;
	t->outcome.hash = model_hash(&t->model);
	return reducer_same(&t->reducer, t->outcome.hash, &t->outcome.same);
}

static void print_outcome(const struct training *t)
{
	const struct outcome *o = &t->outcome;
	const struct reducer *r = &t->reducer;

	printf("held-out accuracy %.2f %% (%u of %u), loss %.4f, held-out loss %.4f\n", percent(t),
	       o->correct, t->digits.count - t->train, o->loss, o->held_out_loss);
	printf("%llu steps in %.2f s: %.0f steps/s, %.0f bytes on the wire per step and node\n",
	       (unsigned long long)o->steps, (double)o->training_ns / (double)CLOCK_NS_PER_S,
	       steps_per_s(o), (double)o->wire_bytes / (double)o->steps);
	if (o->same && r->ranks > 1)
		printf("all %u ranks ended with the same weights (hash %016llx)\n", r->ranks,
		       (unsigned long long)o->hash);
	else if (o->same)
		printf("weights: hash %016llx\n", (unsigned long long)o->hash);
}

static json_t *outcome_json(const struct training *t)
{
	const struct train_options *o = &t->options;
	const struct outcome *out = &t->outcome;
	char hash[17];

	snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)out->hash);
	return json_pack("{s:s, s:{s:I, s:i, s:i, s:f, s:f, s:b, s:i, s:i, s:s, s:s},"
			 " s:{s:f, s:i, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:s, s:b}}",
			 "version", CARRY_RELEASE, "config", "seed", (json_int_t)o->seed, "epochs",
			 (int)o->epochs, "batch", (int)o->batch, "lr", (double)o->rate, "momentum",
			 (double)o->momentum, "local", o->local, "ranks", (int)t->reducer.ranks,
			 "nodes", (int)t->reducer.nodes, "codec", o->codec, "feedback", o->feedback,
			 "result", "accuracy", percent(t), "correct", (int)out->correct, "held_out",
			 (int)(t->digits.count - t->train), "loss", out->loss, "held_out_loss",
			 out->held_out_loss, "steps", (json_int_t)out->steps, "seconds",
			 (double)out->training_ns / (double)CLOCK_NS_PER_S, "steps_per_s",
			 steps_per_s(out), "wire_bytes_per_step",
			 (double)out->wire_bytes / (double)out->steps, "hash", hash, "same_weights",
			 out->same);
}

/* Return: 0 or -1, with the sentence in why. */
static int write_json(const struct training *t, const char *path, char *why, size_t why_bytes)
{
	json_t *json = outcome_json(t);
	FILE *file = strcmp(path, "-") ? fopen(path, "we") : stdout;
	int r = -1;

	errno = 0;
	if (file && json) {
		r = json_dumpf(json, file, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
		r |= fputc('\n', file) == EOF;
	}
	if (file && (file == stdout ? fflush(file) : fclose(file)))
		r = -1;
	json_decref(json);
	if (r)
		snprintf(why, why_bytes, "cannot write %s: %s", path,
			 errno ? strerror(errno) : "no memory");
	return r ? -1 : 0;
}

/* Beside the source tree's build/bin, or where make install puts it. */
static const char *find_data(char *path, size_t path_bytes)
{
	static const char *const places[] = {"../../tests/data/digits.csv.gz",
					     "../share/carry/digits.csv.gz"};
	char program[PATH_MAX];
	ssize_t bytes = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (bytes <= 0)
		return NULL;
	program[bytes] = '\0';
	*strrchr(program, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int length = snprintf(path, path_bytes, "%s/%s", program, places[i]);

		if (length > 0 && (size_t)length < path_bytes && !access(path, R_OK))
			return path;
	}
	return NULL;
}

static void say(const struct training *t, const char *text)
{
	fflush(stdout);
	if (t->options.local || t->reducer.ranks == 0)
		fprintf(stderr, "carry-train: %s\n", text);
	else
		fprintf(stderr, "carry-train: rank %u: %s\n", t->reducer.rank, text);
}

/* Data, model and connection.  Return: 0, or -1 with the sentence in why. */
static int set_up(struct training *t, char *why, size_t why_bytes)
{
	const struct train_options *o = &t->options;
	size_t counts[MODEL_LAYERS_MAX];
	char path[PATH_MAX + 64];
	const char *data = o->data ? o->data : find_data(path, sizeof(path));

	if (!data) {
		snprintf(why, why_bytes,
			 "digits.csv.gz is neither in the source tree nor in "
			 "../share/carry: give its place with --data");
		return -1;
	}
	if (digits_read(&t->digits, data, why, why_bytes))
		return -1;
	for (size_t l = 0; l < o->shape.layers; l++)
		counts[l] = model_layer_count(&o->shape, l);
	const struct reducer_options reduce = {
		.local = o->local,
		.codec = o->codec,
		.feedback = o->feedback,
		.timeout_ns = o->timeout_s * CLOCK_NS_PER_S,
	};
	if (reducer_open(&t->reducer, &reduce, counts, o->shape.layers)) {
		snprintf(why, why_bytes, "%s", t->reducer.why);
		return -1;
	}
	uint32_t images = o->batch / t->reducer.ranks + 1;
	t->labels = calloc(images, 1);
	t->order = calloc(t->digits.count, sizeof(*t->order));
	if (!t->labels || !t->order || model_init(&t->model, &o->shape, o->seed) ||
	    model_pass_init(&t->pass, &o->shape, images)) {
		snprintf(why, why_bytes, "no memory for the model");
		return -1;
	}
	t->train = digits_split(t->digits.count, o->seed, t->order);
	return 0;
}

static void tear_down(struct training *t)
{
	reducer_close(&t->reducer);
	model_pass_deinit(&t->pass);
	model_deinit(&t->model);
	free(t->order);
	free(t->labels);
	digits_free(&t->digits);
}

/* Return: exit code. */
static int run(struct training *t)
{
	char why[REDUCER_WHY_BYTES];

	if (set_up(t, why, sizeof(why))) {
		say(t, why);
		return 1;
	}
	if (t->reducer.rank == 0 && !t->options.quiet && !t->options.local)
		printf("%u ranks on %u nodes, %u images, batches of %u\n", t->reducer.ranks,
		       t->reducer.nodes, t->train, t->options.batch);
	if (train(t)) {
		say(t, t->reducer.why);
		return 1;
	}
	if (t->reducer.rank == 0) {
		print_outcome(t);
		if (t->options.json && write_json(t, t->options.json, why, sizeof(why))) {
			say(t, why);
			return 1;
		}
	}
	if (!t->outcome.same) {
		snprintf(why, sizeof(why),
			 "the ranks ended with different weights; mine have hash "
			 "%016llx",
			 (unsigned long long)t->outcome.hash);
		say(t, why);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct training t = {0};
	char why[TRAIN_WHY_BYTES];

	switch (train_options_parse(&t.options, argc, argv, why, sizeof(why))) {
	case TRAIN_HELP: fputs(train_usage, stdout); return 0;
	case TRAIN_VERSION: puts("carry-train " CARRY_RELEASE); return 0;
	case TRAIN_BAD: fprintf(stderr, "carry-train: %s\n%s", why, train_usage); return 2;
	case TRAIN_RUN: break;
	}
	int code = run(&t);
	tear_down(&t);
	if (fflush(stdout) || ferror(stdout)) {
		fputs("carry-train: cannot write the output\n", stderr);
		return 1;
	}
	return code;
}
