/*
 * options.c - see options.h.
 */
#include "tools/train/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/number.h"
#include "tools/common/option.h"
#include "tools/train/digits.h"

#define EPOCHS_MAX 100000
#define TIMEOUT_MAX_S 86400
#define RATE_MAX 100
#define MOMENTUM_MAX 0.999

const char train_usage[] =
	"usage: carry-train [options]\n"
	"Trains a classifier of handwritten digits, data-parallel over libcarry: every rank takes\n"
	"its part of each batch, and the gradients are summed.  Rank, size and root come from the\n"
	"environment (RANK, WORLD_SIZE, MASTER_ADDR, CARRY_SOCKET; torchrun, Open MPI, Slurm).\n"
	"  --local         train in one process, without libcarry\n"
	"  --data FILE     the images (default: digits.csv.gz beside the program, or installed)\n"
	"  --seed N        of split, first weights and order (default 1)\n"
	"  --epochs N      times through the data (default 40)\n"
	"  --batch N       images of a step, over all ranks (default 64)\n"
	"  --hidden A,B..  neurons of the hidden layers (default 256,64)\n"
	"  --lr X          learning rate of the first step (default 0.1)\n"
	"  --momentum X    of the steps; 0 where the feedback has one (default 0.9)\n"
	"  --codec SPEC    of the gradients: int4, sign, topk:density=0.01, ... (default none)\n"
	"  --feedback SPEC of the codec's error: ef14, ef21-sgdm, ... (default none)\n"
	"  --timeout S     for ranks to come, and for every sum (default 60)\n"
	"  --quiet         no progress\n"
	"  --json FILE     write the outcome there (rank 0); - is standard output\n"
	"  --help, --version\n"
	"Exit codes: 0 done, 1 failed or ranks' weights differ, 2 bad usage.\n";

enum {
	OPT_LOCAL = 256,
	OPT_DATA,
	OPT_SEED,
	OPT_EPOCHS,
	OPT_BATCH,
	OPT_HIDDEN,
	OPT_LR,
	OPT_MOMENTUM,
	OPT_CODEC,
	OPT_FEEDBACK,
	OPT_TIMEOUT,
	OPT_QUIET,
	OPT_JSON,
	OPT_HELP,
	OPT_VERSION
};

static const struct option table[] = {
	{"local", no_argument, NULL, OPT_LOCAL},
	{"data", required_argument, NULL, OPT_DATA},
	{"seed", required_argument, NULL, OPT_SEED},
	{"epochs", required_argument, NULL, OPT_EPOCHS},
	{"batch", required_argument, NULL, OPT_BATCH},
	{"hidden", required_argument, NULL, OPT_HIDDEN},
	{"lr", required_argument, NULL, OPT_LR},
	{"momentum", required_argument, NULL, OPT_MOMENTUM},
	{"codec", required_argument, NULL, OPT_CODEC},
	{"feedback", required_argument, NULL, OPT_FEEDBACK},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"json", required_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int small_count(const char *text, uint64_t max, uint32_t *out)
{
	uint64_t value;
	int r = number_count(text, 1, max, &value);

	if (!r)
		*out = (uint32_t)value;
	return r;
}

/* "256,64" between the pixels and the classes. */
static int hidden(const char *text, struct model_shape *out)
{
	struct model_shape shape = {.layers = 1, .widths = {DIGITS_PIXELS}};

	for (;;) {
		size_t length = strcspn(text, ",");
		char number[16];
		uint64_t width;

		if (length >= sizeof(number) || shape.layers == MODEL_LAYERS_MAX)
			return -ERANGE;
		memcpy(number, text, length);
		number[length] = '\0';
		int r = number_count(number, 1, MODEL_WIDTH_MAX, &width);
		if (r)
			return r;
		shape.widths[shape.layers++] = (size_t)width;
		if (text[length] == '\0')
			break;
		text += length + 1;
	}
	shape.widths[shape.layers] = DIGITS_CLASSES;
	*out = shape;
	return 0;
}

static int real(const char *text, double most, float *out)
{
	double value;
	int r = number_real(text, 0, most, &value);

	if (!r)
		*out = (float)value;
	return r;
}

/* Return: 0, or the number's error. */
static int take(struct train_options *o, int option)
{
	switch (option) {
	case OPT_LOCAL: o->local = true; return 0;
	case OPT_QUIET: o->quiet = true; return 0;
	case OPT_DATA: o->data = optarg; return 0;
	case OPT_JSON: o->json = optarg; return 0;
	case OPT_SEED: return number_count(optarg, 0, INT64_MAX, &o->seed);
	case OPT_EPOCHS: return small_count(optarg, EPOCHS_MAX, &o->epochs);
	case OPT_BATCH: return small_count(optarg, DIGITS_IMAGES_MAX, &o->batch);
	case OPT_HIDDEN: return hidden(optarg, &o->shape);
	case OPT_LR: return real(optarg, RATE_MAX, &o->rate);
	case OPT_MOMENTUM: return real(optarg, MOMENTUM_MAX, &o->momentum);
	case OPT_CODEC: o->codec = optarg; return 0;
	case OPT_FEEDBACK: o->feedback = optarg; return 0;
	case OPT_TIMEOUT: return small_count(optarg, TIMEOUT_MAX_S, &o->timeout_s);
	}
	return -EINVAL;
}

enum train_action train_options_parse(struct train_options *o, int argc, char **argv, char *why,
				      size_t why_bytes)
{
	int option, index;

	*o = (struct train_options){
		.seed = 1,
		.epochs = 40,
		.batch = 64,
		.momentum = 0.9f,
		.codec = "none",
		.feedback = "none",
		.shape = {3, {DIGITS_PIXELS, 256, 64, DIGITS_CLASSES}},
		.rate = 0.1f,
		.timeout_s = 60,
	};
	optind = 0; /* begin anew, also after another command line */
	while ((option = getopt_long(argc, argv, "+:h", table, &index)) != -1) {
		if (option == 'h' || option == OPT_HELP)
			return TRAIN_HELP;
		if (option == OPT_VERSION)
			return TRAIN_VERSION;
		if (option == '?' || option == ':') {
			option_refused(option, argv, why, why_bytes);
			return TRAIN_BAD;
		}
		int r = take(o, option);
		if (r) {
			snprintf(why, why_bytes, "--%s: \"%s\" is %s", table[index].name, optarg,
				 r == -ERANGE ? "out of range" : "not a number");
			return TRAIN_BAD;
		}
	}
	if (optind < argc) {
		snprintf(why, why_bytes, "\"%s\" is no option", argv[optind]);
		return TRAIN_BAD;
	}
	return TRAIN_RUN;
}
