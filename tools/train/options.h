/*
 * options.h - the command line of carry-train.
 */
#ifndef TOOLS_TRAIN_OPTIONS_H
#define TOOLS_TRAIN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/train/model.h"

#define TRAIN_WHY_BYTES 256

struct train_options {
	const char *data; /* NULL: look beside the program            */
	const char *json; /* NULL: write none; "-": standard output   */
	uint64_t seed;
	uint32_t epochs;
	uint32_t batch; /* images of a step, over all ranks           */
	struct model_shape shape;
	float rate;     /* at the first step; falls to 0 along a cosine   */
	float momentum; /* of the trainer's own steps                 */
	uint32_t timeout_s;
	const char *codec, *feedback; /* as the user wrote them, or "none"    */
	bool local;
	bool quiet;
};

enum train_action {
	TRAIN_RUN,
	TRAIN_HELP,
	TRAIN_VERSION,
	TRAIN_BAD, /* why has the sentence */
};

extern const char train_usage[];

/* train_options_parse() - @argv: as main()'s; texts are not copied. */
enum train_action train_options_parse(struct train_options *o, int argc, char **argv, char *why,
				      size_t why_bytes);

#endif
