/*
 * carry-perf - how fast collective operations are, and whether they are right.
 *
 * One process per rank, all with the same options.  Columns, formulas and letters are those of
 * nccl-tests, so that figures can be laid side by side; --json has medians, tails, CPU time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/perf/bench.h"
#include "tools/perf/options.h"
#include "tools/perf/report.h"

/* Return: 0, or -1 with the sentence in why. */
static int write_text(const char *path, const char *text, char *why, size_t why_bytes)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "we") : stdout;
	int r = -1;

	if (file)
		r = fprintf(file, "%s\n", text) < 0 ? -1 : 0;
	if (file && (file == stdout ? fflush(file) : fclose(file)))
		r = -1;
	if (r)
		snprintf(why, why_bytes, "cannot write %s: %s", path, strerror(errno));
	return r;
}

static int write_json(const struct bench *b, const struct perf_result *results, size_t count,
		      char *why, size_t why_bytes)
{
	char *text = perf_json(b->options, &b->facts, results, count);
	int r = -1;

	if (text)
		r = write_text(b->options->json, text, why, why_bytes);
	else
		snprintf(why, why_bytes, "no memory for the JSON");
	free(text);
	return r;
}

/* All sizes.  Return: 0, 1 if something failed or was wrong. */
static int measure(struct bench *b, struct perf_result *results, size_t count)
{
	const struct perf_options *o = b->options;
	/* With the JSON on standard output the table makes room. */
	FILE *table = o->json && !strcmp(o->json, "-") ? stderr : stdout;
	uint64_t bytes = o->min_bytes, wrong = 0;
	char why[BENCH_WHY_BYTES];

	if (b->rank == 0)
		perf_print_header(table, o, &b->facts);
	for (size_t i = 0; i < count; i++) {
		if (bench_measure(b, bytes, &results[i])) {
			fprintf(stderr, "carry-perf: rank %u: %s\n", b->rank, b->why);
			return 1;
		}
		if (b->rank == 0)
			perf_print_result(table, o, &b->facts, &results[i]);
		wrong += results[i].out_of_place.wrong + results[i].in_place.wrong;
		perf_next_bytes(o, &bytes);
	}
	if (b->rank == 0) {
		perf_print_trailer(table, o, &b->facts, results, count);
		if (o->json && write_json(b, results, count, why, sizeof(why))) {
			fprintf(stderr, "carry-perf: %s\n", why);
			return 1;
		}
	}
	return wrong ? 1 : 0;
}

static int run(const struct perf_options *o)
{
	struct bench b;
	size_t count = perf_size_count(o);
	struct perf_result *results = calloc(count, sizeof(*results));
	int code = 1;

	if (!results) {
		fprintf(stderr, "carry-perf: no memory for %zu sizes\n", count);
		return 1;
	}
	if (bench_open(&b, o))
		fprintf(stderr, "carry-perf: %s\n", b.why);
	else
		code = measure(&b, results, count);
	bench_close(&b);
	free(results);
	return code;
}

int main(int argc, char **argv)
{
	struct perf_options o;
	char why[PERF_WHY_BYTES];

	switch (perf_options_parse(&o, argc, argv, why, sizeof(why))) {
	case PERF_HELP: fputs(perf_usage, stdout); return 0;
	case PERF_VERSION: puts("carry-perf " CARRY_RELEASE); return 0;
	case PERF_BAD: fprintf(stderr, "carry-perf: %s; see carry-perf --help\n", why); return 2;
	case PERF_RUN: break;
	}
	int code = run(&o);
	if (fflush(stdout) || ferror(stdout)) {
		fputs("carry-perf: cannot write the output\n", stderr);
		return 1;
	}
	return code;
}
