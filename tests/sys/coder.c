/*
 * coder.c - a rank whose ops go with codec and feedback, for test_codec and test_auto.
 *
 *	coder CASE
 *
 * CODEC in the environment: of the group, in the cases whose names begin with auto.
 *
 * What a case does is beside it below.  Prints one line a fact; ends with 1 if a call failed that
 * should not have.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/codec.h"
#include "compress/feedback.h"
#include "daemon/coding.h"
#include "libclient/carry.h"

enum { COUNT = 100000 };

struct scene {
	struct carry *c;
	struct carry_group *g;
	uint32_t rank, ranks;
	float *in, *out; /* float[COUNT] in the arena */
};

static void need(int code, const char *what)
{
	if (!code)
		return;
	printf("%s: %s: %s\n", what, carry_error_name(code), carry_last_error(NULL));
	exit(1);
}

static void fill(struct scene *s, uint32_t step)
{
	for (uint32_t i = 0; i < COUNT; i++)
		s->in[i] = sinf((float)(i * (s->rank + 1) + 17 * step));
}

static struct scene scene_open(const char *codec, const char *feedback, const char *rules)
{
	struct carry_group_options o = {
		.size = sizeof(o), .codec = codec, .feedback = feedback, .key_codecs = rules};
	struct scene s;

	need(carry_open(&s.c, NULL), "open");
	need(carry_group_create(&s.g, s.c, &o), "create");
	s.rank = carry_group_rank(s.g);
	s.ranks = carry_group_ranks(s.g);
	s.in = carry_alloc(s.c, COUNT * sizeof(float));
	s.out = carry_alloc(s.c, COUNT * sizeof(float));
	if (!s.in || !s.out)
		need(-ENOMEM, "alloc");
	fill(&s, 0);
	return s;
}

static void scene_close(struct scene *s)
{
	need(carry_group_destroy(s->g), "destroy");
	carry_close(s->c);
}

static uint64_t hash_of(const float *values, size_t count)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < count; i++) {
		uint32_t bits;

		memcpy(&bits, &values[i], sizeof(bits));
		hash = (hash ^ bits) * 1099511628211u;
	}
	return hash;
}

static int reduce(struct scene *s, size_t count, const char *key, struct carry_op_options *options,
		  struct carry_op_result *result)
{
	struct carry_op_options o = {.size = sizeof(o)};

	if (options)
		o = *options;
	*result = (struct carry_op_result){.size = sizeof(*result)};
	o.key = key;
	o.result = result;
	return carry_allreduce(s->g, s->in, s->out, count, CARRY_F32, CARRY_SUM, &o, NULL);
}

static void told(const char *what, int code)
{
	printf("%s: %s%s%s\n", what, carry_error_name(code), code ? ": " : "",
	       code ? carry_last_error(NULL) : "");
}

/* Which ops are encoded: by the group's words, size, type, reduction, key, and their own words. */
static void case_defaults(void)
{
	struct scene s = scene_open("int8", NULL, "*.bias=none;head.*=topk:density=0.01");
	struct carry_op_options none = {.size = sizeof(none), .codec = "none"};
	struct carry_op_options own = {.size = sizeof(own), .codec = "bf16"};
	struct carry_op_result r;

	need(reduce(&s, COUNT, "w", NULL, &r), "w");
	printf("default %" PRIu64 "\n", r.wire_bytes);
	need(reduce(&s, 4000, "w2", NULL, &r), "small");
	printf("small %" PRIu64 "\n", r.wire_bytes);
	need(reduce(&s, COUNT, "layer.bias", NULL, &r), "bias");
	printf("bias %" PRIu64 "\n", r.wire_bytes);
	need(reduce(&s, COUNT, "head.w", NULL, &r), "head");
	printf("head %" PRIu64 "\n", r.wire_bytes);
	need(reduce(&s, COUNT, "w", &none, &r), "none");
	printf("none %" PRIu64 "\n", r.wire_bytes);
	need(reduce(&s, COUNT, NULL, &own, &r), "own");
	printf("own %" PRIu64 "\n", r.wire_bytes);
	r = (struct carry_op_result){.size = sizeof(r)};
	need(carry_allreduce(s.g, s.in, s.out, COUNT, CARRY_F32, CARRY_MAX,
			     &(struct carry_op_options){.size = sizeof(none), .result = &r}, NULL),
	     "max");
	printf("max %" PRIu64 "\n", r.wire_bytes);
	scene_close(&s);
}

/* What is refused, before anything is posted: the group goes on. */
static void case_refusals(void)
{
	struct scene s = scene_open(NULL, NULL, NULL);
	struct carry_op_options bad = {.size = sizeof(bad), .codec = "int9"};
	struct carry_op_options ef = {.size = sizeof(ef), .codec = "int4", .feedback = "ef14"};
	struct carry_op_options ring = {.size = sizeof(ring), .codec = "int4", .schedule = "ring"};
	struct carry_op_options weight = {.size = sizeof(weight), .weight = -1};
	struct carry_op_options take_back = {.size = sizeof(take_back), .flags = CARRY_DISCARD};
	struct carry_work *work;
	struct carry_op_result r;

	told("codec", reduce(&s, COUNT, "w", &bad, &r));
	told("no key", reduce(&s, COUNT, NULL, &ef, &r));
	told("first", reduce(&s, COUNT, "w", &ef, &r));
	told("count", reduce(&s, COUNT - 1, "w", &ef, &r));
	told("type", carry_allreduce(s.g, s.in, s.out, 100, CARRY_I32, CARRY_SUM, &bad, NULL));
	ef.key = "w";
	told("half", carry_allreduce(s.g, s.in, s.out, COUNT, CARRY_F16, CARRY_SUM, &ef, NULL));
	told("ring", reduce(&s, COUNT, "w", &ring, &r));
	told("weight", reduce(&s, COUNT, "w", &weight, &r));
	told("discard", reduce(&s, COUNT, "w", &take_back, &r));
	need(carry_allreduce(s.g, s.in, s.out, COUNT, CARRY_F32, CARRY_SUM, &ef, &work), "begin");
	told("busy", reduce(&s, COUNT, "w", &ef, &r));
	need(carry_wait(work, 60000000000, NULL), "wait");
	told("after", reduce(&s, COUNT, "w", &ef, &r));
	told("nothing", reduce(&s, 0, "empty", &ef, &r));
	bad.codec = "int8\n";
	told("newline", reduce(&s, COUNT, "w", &bad, &r));
	told("tab", reduce(&s, COUNT, "a\tkey", &ef, &r));
	ef.codec = "int8";
	told("other codec", reduce(&s, COUNT, "w", &ef, &r));
	scene_close(&s);
}

/* In a group with feedback, what says none is dense: any type, no key. */
static void case_dense(void)
{
	struct scene s = scene_open("int4", "ef14", NULL);
	struct carry_op_options none = {.size = sizeof(none), .codec = "none"};
	struct carry_op_result r;

	told("none", reduce(&s, COUNT, NULL, &none, &r));
	printf("none %" PRIu64 "\n", r.wire_bytes);
	told("i32", carry_allreduce(s.g, s.in, s.out, COUNT, CARRY_I32, CARRY_MAX, &none, NULL));
	scene_close(&s);
}

/* A NaN of the last rank; what comes after is what would have come without. */
static void case_nonfinite(void)
{
	struct scene s = scene_open("int4", "ef14", NULL);
	struct carry_op_result r;
	uint32_t nans = 0;

	for (uint32_t step = 0; step < 3; step++) {
		fill(&s, step);
		need(reduce(&s, COUNT, "w", NULL, &r), "op");
		if (step != 1)
			continue;
		s.in[COUNT - 1] = s.rank + 1 == s.ranks ? NAN : 1;
		need(reduce(&s, COUNT, "w", NULL, &r), "nan");
		for (uint32_t i = 0; i < COUNT; i++)
			nans += isnan(s.out[i]) != 0;
		printf("nonfinite %u culprit %d nans %u %s\n", r.flags & CARRY_NONFINITE, r.culprit,
		       nans, isnan(s.out[COUNT - 1]) ? "last" : "elsewhere");
	}
	printf("flags %u culprit %d\n", r.flags, r.culprit);
	printf("result %016" PRIx64 "\n", hash_of(s.out, COUNT));
	scene_close(&s);
}

/* The same without the NaN, and once with an op that is taken back. */
static void case_control(void)
{
	struct scene s = scene_open("int4", "ef14", NULL);
	struct carry_op_options take_back = {.size = sizeof(take_back), .flags = CARRY_DISCARD};
	struct carry_op_result r;

	for (uint32_t step = 0; step < 3; step++) {
		fill(&s, step);
		need(reduce(&s, COUNT, "w", NULL, &r), "op");
	}
	printf("result %016" PRIx64 "\n", hash_of(s.out, COUNT));
	need(reduce(&s, COUNT, "v", NULL, &r), "op");
	for (uint32_t step = 0; step < 3; step++) {
		fill(&s, step);
		need(reduce(&s, COUNT, "u", NULL, &r), "op");
		if (step != 1)
			continue;
		fill(&s, 99);
		need(reduce(&s, COUNT, "u", NULL, &r), "op");
		fill(&s, 2);
		need(reduce(&s, COUNT, "u", &take_back, &r), "discard");
		printf("discard %016" PRIx64 "\n", hash_of(s.out, COUNT));
	}
	scene_close(&s);
}

/* Ranks whose words differ. */
static void case_mismatch(void)
{
	struct scene s = scene_open(NULL, NULL, NULL);
	struct carry_op_options o = {.size = sizeof(o), .codec = s.rank ? "int8" : "int4"};
	struct carry_op_result r;

	told("codecs", reduce(&s, COUNT, "w", &o, &r));
	o.codec = s.rank ? "int8:block=64" : "int8";
	told("options", reduce(&s, COUNT, "w", &o, &r));
	o.codec = "int8";
	told("same", reduce(&s, COUNT, "w", &o, &r));
	scene_close(&s);
}

/* State beyond [limits] state_bytes. */
static void case_memory(void)
{
	struct scene s = scene_open("int4", "ef21", NULL);
	struct carry_op_result r;

	told("a", reduce(&s, COUNT, "a", NULL, &r));
	told("b", reduce(&s, COUNT, "b", NULL, &r));
	told("a", reduce(&s, COUNT, "a", NULL, &r));
	scene_close(&s);
}

/* Three steps of each of these words, on tensors of a few sizes: their last results. */
static void case_sums(void)
{
	static const char *const words[][2] = {
		{"int4:rounding=stochastic", "ef14"},
		{"sign", "twosided"},
		{"topk:density=0.02", "ef21-sgdm"},
		{"randk:density=0.1", "ef21"},
		{"eden:bits=2", "none"},
		{"int8", "loco"},
	};
	static const size_t counts[] = {1, 5000, COUNT};
	struct scene s = scene_open(NULL, NULL, NULL);
	struct carry_op_result r;

	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
			struct carry_op_options o = {
				.size = sizeof(o), .codec = words[w][0], .feedback = words[w][1]};
			char key[64];

			(void)snprintf(key, sizeof(key), "%s.%zu", words[w][0], counts[c]);
			for (uint32_t step = 0; step < 3; step++) {
				fill(&s, step);
				need(reduce(&s, counts[c], key, &o, &r), "sum");
			}
			printf("%s %s %zu: ok %016" PRIx64 "\n", words[w][0], words[w][1],
			       counts[c], hash_of(s.out, counts[c]));
		}
	scene_close(&s);
}

/* Two ops of each size with these words; their last results.  Return: whether they go together. */
static bool table_row(struct scene *s, const char *codec, const char *feedback)
{
	static const size_t counts[] = {700, 9000};
	struct carry_op_options o = {.size = sizeof(o), .codec = codec, .feedback = feedback};
	struct carry_op_result r;
	struct coding coding;
	struct err err;

	if (coding_parse(&coding, codec, feedback, 0, &err))
		return false;
	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		char key[200];

		(void)snprintf(key, sizeof(key), "%s.%s.%zu", codec, feedback, counts[c]);
		for (uint32_t step = 0; step < 2; step++) {
			fill(s, step);
			need(reduce(s, counts[c], key, &o, &r), key);
		}
		printf("%s %s %zu: ok %016" PRIx64 "\n", codec, feedback, counts[c],
		       hash_of(s->out, counts[c]));
	}
	return true;
}

/* All codecs of the table, and every feedback with the first codec that it goes with. */
static void case_table(void)
{
	struct scene s = scene_open(NULL, NULL, NULL);
	uint32_t rows = 0, of = 0;

	for (const struct codec *const *c = codec_table; *c; c++, of++)
		rows += table_row(&s, (*c)->examples[0], "none");
	for (const struct feedback *const *f = feedback_table; *f; f++)
		for (const char *const *e = (*f)->examples; *e; e++, of++) {
			const struct codec *const *c = codec_table + 1;

			while (*c && !table_row(&s, (*c)->examples[0], *e))
				c++;
			rows += *c != NULL;
		}
	printf("rows %u of %u\n", rows, of);
	scene_close(&s);
}

/* Every example of every codec with every feedback that it goes with. */
static void case_tables(void)
{
	struct scene s = scene_open(NULL, NULL, NULL);
	uint32_t rows = 0, refused = 0;

	for (const struct codec *const *c = codec_table; *c; c++)
		for (const char *const *e = (*c)->examples; *e; e++)
			for (const struct feedback *const *f = feedback_table; *f; f++)
				if (table_row(&s, *e, (*f)->examples[0]))
					rows++;
				else
					refused++;
	printf("rows %u, refused %u\n", rows, refused);
	scene_close(&s);
}

/* Ops for ever, until somebody dies. */
static void endless(const char *codec)
{
	struct scene s = scene_open(codec, "ef14", NULL);
	struct carry_op_result r;
	int code;

	do
		code = reduce(&s, COUNT, "w", NULL, &r);
	while (!code);
	told("ended", code);
	exit(0);
}

static void case_endless(void)
{
	endless("int4");
}

static const char *codec_wanted(void)
{
	const char *codec = getenv("CODEC");

	return codec ? codec : "auto:int8/int4";
}

static void case_auto_endless(void)
{
	endless(codec_wanted());
}

/*
 * Two tensors of other sizes in turn; what all results were, and what the last op sent.  As many
 * ops as three rounds of three trials take, and some more.
 */
static void case_auto(void)
{
	struct scene s = scene_open(codec_wanted(), "ef14", NULL);
	uint64_t hash = 0;
	struct carry_op_result r;

	for (uint32_t step = 0; step < 760; step++) {
		fill(&s, step);
		need(reduce(&s, 8192, "small", NULL, &r), "small");
		hash = hash * 31 + hash_of(s.out, 8192);
		need(reduce(&s, COUNT, "large", NULL, &r), "large");
		hash = hash * 31 + hash_of(s.out, COUNT);
	}
	printf("hash %016" PRIx64 "\nwire %" PRIu64 "\n", hash, r.wire_bytes);
	scene_close(&s);
}

/* Codecs are first wanted after many plain ops, by some ranks a second before the others. */
static void case_auto_late(void)
{
	struct scene s = scene_open(codec_wanted(), "ef14", NULL);
	struct carry_op_options plain = {.size = sizeof(plain), .codec = "none"};
	struct carry_op_result r;

	for (uint32_t step = 0; step < 300; step++)
		need(reduce(&s, 1000, "plain", &plain, &r), "plain");
	if (s.rank == 0)
		(void)sleep(1);
	need(reduce(&s, COUNT, "w", NULL, &r), "w");
	printf("late %" PRIu64 " %016" PRIx64 "\n", r.seq, hash_of(s.out, COUNT));
	scene_close(&s);
}

/* A rank gives up while its op waits for another rank's: it must get out. */
static void case_auto_abort(void)
{
	struct scene s = scene_open(codec_wanted(), "ef14", NULL);
	struct carry_work *w;
	struct carry_op_options o = {.size = sizeof(o), .key = "w"};

	if (s.rank) {
		need(carry_allreduce(s.g, s.in, s.out, COUNT, CARRY_F32, CARRY_SUM, &o, &w), "op");
		need(carry_group_abort(s.g), "abort");
		told("aborted", carry_wait(w, -1, NULL));
	} else {
		(void)sleep(2);
	}
	exit(0);
}

static void case_auto_mismatch(void)
{
	struct scene s = scene_open(NULL, "ef14", NULL);
	struct carry_op_options o = {.size = sizeof(o), .codec = s.rank ? "int4" : "auto"};
	struct carry_op_result r;

	told("auto", reduce(&s, COUNT, "w", &o, &r));
	o.codec = s.rank ? "auto:int8" : "auto:int8/int4";
	told("lists", reduce(&s, COUNT, "w", &o, &r));
	o.codec = "replay:/x";
	told("replay", reduce(&s, COUNT, "w", &o, &r));
	o.codec = "auto:int8/none";
	told("none", reduce(&s, COUNT, "w", &o, &r));
	scene_close(&s);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"defaults", case_defaults},
		{"refusals", case_refusals},
		{"nonfinite", case_nonfinite},
		{"control", case_control},
		{"mismatch", case_mismatch},
		{"memory", case_memory},
		{"sums", case_sums},
		{"table", case_table},
		{"tables", case_tables},
		{"dense", case_dense},
		{"endless", case_endless},
		{"auto", case_auto},
		{"auto-late", case_auto_late},
		{"auto-abort", case_auto_abort},
		{"auto-endless", case_auto_endless},
		{"auto-mismatch", case_auto_mismatch},
	};

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(cases[i].name, argv[1]) == 0) {
			cases[i].run();
			return 0;
		}
	return 2;
}
