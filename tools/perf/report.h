/*
 * report.h - what carry-perf prints and writes: nccl-tests' table, and JSON.
 *
 * GB are decimal.  The times of one iteration are a mean over the ranks.
 */
#ifndef TOOLS_PERF_REPORT_H
#define TOOLS_PERF_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "tools/perf/options.h"

/* One size, in place or out of place. */
struct perf_side {
	double mean_us; /* of the iterations */
	double median_us;
	double p99_us;
	double min_us;
	double max_us;     /* of the slowest rank                                       */
	double wire_bytes; /* that a node sent for one op, mean over the ranks          */
	double cpu_s;      /* of all trainers, user and system, for all ops             */
	uint64_t wrong;    /* elements, over all ranks; if checked                      */
	double error;      /* with a codec: relative, of the last op's result           */
	double error_max;  /* with a codec: of an element                               */
};

struct perf_result {
	uint64_t bytes;
	uint64_t count;
	struct perf_side out_of_place;
	struct perf_side in_place;
};

struct perf_group {
	uint32_t ranks;
	uint32_t nodes;
};

/* perf_times() - mean, median, p99 (nearest rank) and min of us[count]; sorts it. */
void perf_times(struct perf_side *side, double *us, size_t count);

double perf_algbw_gbs(uint64_t bytes, double us);
double perf_busbw_gbs(uint64_t bytes, double us, uint32_t ranks);

/* perf_ratio() - of a dense allreduce's bytes to those that were sent.  0 if none were. */
double perf_ratio(uint64_t bytes, uint32_t nodes, double wire_bytes);

void perf_print_header(FILE *file, const struct perf_options *o, const struct perf_group *g);
void perf_print_result(FILE *file, const struct perf_options *o, const struct perf_group *g,
		       const struct perf_result *r);
void perf_print_trailer(FILE *file, const struct perf_options *o, const struct perf_group *g,
			const struct perf_result *results, size_t count);

/* perf_json() - the whole document as text, to be freed; NULL if there is no memory. */
char *perf_json(const struct perf_options *o, const struct perf_group *g,
		const struct perf_result *results, size_t count);

#endif
