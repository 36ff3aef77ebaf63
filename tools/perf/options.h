/*
 * options.h - the command line of carry-perf.
 */
#ifndef TOOLS_PERF_OPTIONS_H
#define TOOLS_PERF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/carry.h"

#define PERF_WHY_BYTES 256

struct perf_options {
	uint64_t min_bytes;
	uint64_t max_bytes;
	uint64_t step_bytes; /* between sizes; 0: a factor            */
	uint64_t factor;     /* 2.. */
	uint32_t iterations;
	uint32_t warmups;
	enum carry_type type;
	enum carry_reduce reduce;
	bool check;
	const char *json;     /* NULL: none; "-": standard output     */
	uint32_t rank;        /* if ranks > 0                         */
	uint32_t ranks;       /* 0: rank and ranks of the environment */
	const char *root;     /* NULL: of the environment             */
	const char *schedule; /* NULL: the group's own choice         */
	const char *codec;    /* as the user wrote it, or "none"      */
	const char *feedback; /* alike                                */
	uint32_t timeout_s;
	uint64_t arena_bytes; /* 0: as much as max_bytes needs        */
};

enum perf_action {
	PERF_RUN,
	PERF_HELP,
	PERF_VERSION,
	PERF_BAD, /* why has the sentence */
};

extern const char perf_usage[];

/* perf_options_parse() - @argv: as main()'s; texts are not copied. */
enum perf_action perf_options_parse(struct perf_options *o, int argc, char **argv, char *why,
				    size_t why_bytes);

/*
 * perf_next_bytes() - the size after `bytes`, that of one element after 0.
 * Return: false if `bytes` was the last.
 */
bool perf_next_bytes(const struct perf_options *o, uint64_t *bytes);

/* perf_size_count() - sizes from min_bytes to max_bytes. */
size_t perf_size_count(const struct perf_options *o);

/* Does a codec or feedback come in, so that results are near but not equal? */
bool perf_is_coded(const struct perf_options *o);

/* As on the command line: "f32", "sum". */
const char *perf_type_name(enum carry_type type);
const char *perf_reduce_name(enum carry_reduce reduce);

#endif
