/*
 * options.c - see options.h.  The letters are those of nccl-tests.
 */
#include "tools/perf/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/common/number.h"
#include "tools/common/option.h"
#include "tools/perf/pattern.h"

#define BYTES_MAX (1ull << 40)
#define ITERATIONS_MAX 1000000
#define SIZES_MAX 100000u
#define RANKS_MAX 65536
#define TIMEOUT_MAX_S 86400

const char perf_usage[] =
	"usage: carry-perf [options]\n"
	"Measures collective operations; prints the columns of nccl-tests, then what crossed the\n"
	"wire.  One process per rank, all with the same options; rank 0 prints.\n"
	"  -o allreduce        the operation\n"
	"  -b BYTES, -e BYTES  smallest and largest size (default 8, 64M; K M G)\n"
	"  -f N                factor between sizes (default 2)\n"
	"  -i BYTES            step between sizes, instead of a factor\n"
	"  -n N, -w N          iterations and warm-up iterations of a size (default 20, 5)\n"
	"  -t TYPE             f32 f64 f16 bf16 i8 u8 i32 i64 (default f32)\n"
	"  -r REDUCTION        sum avg min max prod (default sum)\n"
	"  --check             compare every element with the exact result\n"
	"  --json FILE         write the results there too (rank 0); - is standard output\n"
	"  --rank R --ranks N  of this process (default: from the environment)\n"
	"  --root HOST         of rank 0 (default: from the environment)\n"
	"  --schedule S        auto, direct, flat or ring\n"
	"  --codec SPEC        int8, int4, sign, topk:density=0.01, ... (default none)\n"
	"  --feedback SPEC     of the codec's error: ef14, ef21, ... (default none)\n"
	"  --timeout S         for ranks to come, and for every operation (default 60)\n"
	"  --arena BYTES       of memory shared with the daemon (default: what -e needs)\n"
	"  --help, --version\n"
	"algbw = size / time, busbw = algbw * 2(n-1)/n for n ranks, GB = 10^9 bytes; wire bytes:\n"
	"sent by a node for one operation; ratio: 2(N-1)/N * size on N nodes / wire bytes.\n"
	"With a codec, of the last operation: rel error, the l2 norm of the error divided by that\n"
	"of the exact result; max error, the greatest of an element.  --check then compares the\n"
	"ranks' results with each other, bit by bit.\n"
	"Exit codes: 0 done, 1 failed or wrong results, 2 bad usage.\n";

enum {
	OPT_CHECK = 256,
	OPT_JSON,
	OPT_RANK,
	OPT_RANKS,
	OPT_ROOT,
	OPT_SCHEDULE,
	OPT_CODEC,
	OPT_FEEDBACK,
	OPT_TIMEOUT,
	OPT_ARENA,
	OPT_HELP,
	OPT_VERSION
};

static const char letters[] = "+:o:b:e:f:i:n:w:t:r:h";

static const struct option table[] = {
	{"check", no_argument, NULL, OPT_CHECK},
	{"json", required_argument, NULL, OPT_JSON},
	{"rank", required_argument, NULL, OPT_RANK},
	{"ranks", required_argument, NULL, OPT_RANKS},
	{"root", required_argument, NULL, OPT_ROOT},
	{"schedule", required_argument, NULL, OPT_SCHEDULE},
	{"codec", required_argument, NULL, OPT_CODEC},
	{"feedback", required_argument, NULL, OPT_FEEDBACK},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"arena", required_argument, NULL, OPT_ARENA},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const struct {
	const char *name;
	enum carry_type type;
} types[] = {
	{"f32", CARRY_F32}, {"f64", CARRY_F64}, {"f16", CARRY_F16}, {"bf16", CARRY_BF16},
	{"i8", CARRY_I8},   {"u8", CARRY_U8},   {"i32", CARRY_I32}, {"i64", CARRY_I64},
};

static const struct {
	const char *name;
	enum carry_reduce reduce;
} reduces[] = {
	{"sum", CARRY_SUM}, {"avg", CARRY_AVG},   {"min", CARRY_MIN},
	{"max", CARRY_MAX}, {"prod", CARRY_PROD},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

bool perf_is_coded(const struct perf_options *o)
{
	return strcmp(o->codec, "none") != 0 || strcmp(o->feedback, "none") != 0;
}

const char *perf_type_name(enum carry_type type)
{
	for (size_t i = 0; i < COUNT(types); i++)
		if (types[i].type == type)
			return types[i].name;
	return "?";
}

const char *perf_reduce_name(enum carry_reduce reduce)
{
	for (size_t i = 0; i < COUNT(reduces); i++)
		if (reduces[i].reduce == reduce)
			return reduces[i].name;
	return "?";
}

static int take_type(const char *text, enum carry_type *out)
{
	for (size_t i = 0; i < COUNT(types); i++) {
		if (!strcmp(types[i].name, text)) {
			*out = types[i].type;
			return 0;
		}
	}
	return -ENOENT;
}

static int take_reduce(const char *text, enum carry_reduce *out)
{
	for (size_t i = 0; i < COUNT(reduces); i++) {
		if (!strcmp(reduces[i].name, text)) {
			*out = reduces[i].reduce;
			return 0;
		}
	}
	return -ENOENT;
}

static int take_schedule(const char *text, const char **out)
{
	static const char *const names[] = {"auto", "direct", "flat", "ring"};

	for (size_t i = 0; i < COUNT(names); i++) {
		if (!strcmp(names[i], text)) {
			*out = names[i];
			return 0;
		}
	}
	return -ENOENT;
}

static int count32(const char *text, uint64_t min, uint64_t max, uint32_t *out)
{
	uint64_t value;
	int r = number_count(text, min, max, &value);

	if (!r)
		*out = (uint32_t)value;
	return r;
}

/* Return: 0, -EINVAL not a number, -ERANGE, or -ENOENT: no such name. */
static int take(struct perf_options *o, int option)
{
	switch (option) {
	case 'o': return strcmp(optarg, "allreduce") ? -ENOENT : 0;
	case 'b': return number_bytes(optarg, 0, BYTES_MAX, &o->min_bytes);
	case 'e': return number_bytes(optarg, 0, BYTES_MAX, &o->max_bytes);
	case 'f': return number_count(optarg, 2, BYTES_MAX, &o->factor);
	case 'i': return number_bytes(optarg, 1, BYTES_MAX, &o->step_bytes);
	case 'n': return count32(optarg, 1, ITERATIONS_MAX, &o->iterations);
	case 'w': return count32(optarg, 0, ITERATIONS_MAX, &o->warmups);
	case 't': return take_type(optarg, &o->type);
	case 'r': return take_reduce(optarg, &o->reduce);
	case OPT_CHECK: o->check = true; return 0;
	case OPT_JSON: o->json = optarg; return 0;
	case OPT_RANK: return count32(optarg, 0, RANKS_MAX - 1, &o->rank);
	case OPT_RANKS: return count32(optarg, 1, RANKS_MAX, &o->ranks);
	case OPT_ROOT: o->root = optarg; return 0;
	case OPT_SCHEDULE: return take_schedule(optarg, &o->schedule);
	case OPT_CODEC: o->codec = optarg; return 0;
	case OPT_FEEDBACK: o->feedback = optarg; return 0;
	case OPT_TIMEOUT: return count32(optarg, 1, TIMEOUT_MAX_S, &o->timeout_s);
	case OPT_ARENA: return number_bytes(optarg, 0, BYTES_MAX, &o->arena_bytes);
	}
	return -EINVAL;
}

static const char *names_for(int option)
{
	switch (option) {
	case 'o': return "allreduce";
	case 't': return "f32 f64 f16 bf16 i8 u8 i32 i64";
	case 'r': return "sum avg min max prod";
	}
	return "auto direct flat ring";
}

static void refuse_value(int option, int error, const char *name, char *why, size_t why_bytes)
{
	char letter[3] = {'-', (char)option, '\0'};
	const char *dashes = option < 256 ? "" : "--";

	if (option < 256)
		name = letter;
	if (error == -ENOENT)
		snprintf(why, why_bytes, "%s%s: \"%s\" is unknown; there is %s", dashes, name,
			 optarg, names_for(option));
	else
		snprintf(why, why_bytes, "%s%s: \"%s\" is %s", dashes, name, optarg,
			 error == -ERANGE ? "out of range" : "not a number");
}

bool perf_next_bytes(const struct perf_options *o, uint64_t *bytes)
{
	uint64_t next = *bytes ? *bytes * o->factor : pattern_type_bytes(o->type);

	/* Sizes and factors are at most 2^40: a product may wrap, a quotient does not. */
	if (o->step_bytes)
		next = *bytes + o->step_bytes;
	else if (*bytes > o->max_bytes / o->factor)
		return false;
	if (next > o->max_bytes)
		return false;
	*bytes = next;
	return true;
}

size_t perf_size_count(const struct perf_options *o)
{
	uint64_t bytes = o->min_bytes;
	size_t count = 1;

	while (count <= SIZES_MAX && perf_next_bytes(o, &bytes))
		count++;
	return count;
}

/* Codec and feedback are something for this type and reduction?  The daemon knows their words. */
static bool coding_ok(const struct perf_options *o, char *why, size_t why_bytes)
{
	bool floats = o->type == CARRY_F32 || o->type == CARRY_F16 || o->type == CARRY_BF16;
	bool sums = o->reduce == CARRY_SUM || o->reduce == CARRY_AVG;

	if (!perf_is_coded(o) || (floats && sums))
		return true;
	snprintf(why, why_bytes,
		 "codec and feedback are for sums and averages of f32, f16 and bf16, not for %s "
		 "of %s",
		 perf_reduce_name(o->reduce), perf_type_name(o->type));
	return false;
}

/* What two options say together.  Return: false with the sentence in why. */
static bool agree(const struct perf_options *o, bool rank_given, char *why, size_t why_bytes)
{
	if (o->min_bytes > o->max_bytes)
		snprintf(why, why_bytes, "-b %llu is more than -e %llu",
			 (unsigned long long)o->min_bytes, (unsigned long long)o->max_bytes);
	else if (rank_given != (o->ranks > 0))
		snprintf(why, why_bytes, "--rank and --ranks go together");
	else if (rank_given && o->rank >= o->ranks)
		snprintf(why, why_bytes, "--rank %u is not below --ranks %u", o->rank, o->ranks);
	else if (perf_is_coded(o) && o->schedule && strcmp(o->schedule, "auto") != 0 &&
		 strcmp(o->schedule, "direct") != 0)
		snprintf(why, why_bytes,
			 "--schedule %s does not go with a codec or feedback: these go direct",
			 o->schedule);
	else if (perf_size_count(o) > SIZES_MAX)
		snprintf(why, why_bytes, "-b, -e and -i make more than %u sizes", SIZES_MAX);
	else
		return coding_ok(o, why, why_bytes);
	return false;
}

enum perf_action perf_options_parse(struct perf_options *o, int argc, char **argv, char *why,
				    size_t why_bytes)
{
	bool rank_given = false;
	int option, index = 0;

	*o = (struct perf_options){
		.min_bytes = 8,
		.max_bytes = 64 << 20,
		.factor = 2,
		.iterations = 20,
		.warmups = 5,
		.type = CARRY_F32,
		.reduce = CARRY_SUM,
		.timeout_s = 60,
		.codec = "none",
		.feedback = "none",
	};
	optind = 0; /* begin anew, also after another command line */
	while ((option = getopt_long(argc, argv, letters, table, &index)) != -1) {
		if (option == 'h' || option == OPT_HELP)
			return PERF_HELP;
		if (option == OPT_VERSION)
			return PERF_VERSION;
		if (option == '?' || option == ':') {
			option_refused(option, argv, why, why_bytes);
			return PERF_BAD;
		}
		int r = take(o, option);
		if (r) {
			refuse_value(option, r, table[index].name, why, why_bytes);
			return PERF_BAD;
		}
		rank_given |= option == OPT_RANK;
	}
	if (optind < argc) {
		snprintf(why, why_bytes, "\"%s\" is no option", argv[optind]);
		return PERF_BAD;
	}
	return agree(o, rank_given, why, why_bytes) ? PERF_RUN : PERF_BAD;
}
