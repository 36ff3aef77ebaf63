/*
 * report.c - see report.h.
 */
#include "tools/perf/report.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void perf_times(struct perf_side *side, double *us, size_t count)
{
	double sum = 0;

	assert(count > 0);
	qsort(us, count, sizeof(*us), compare);
	for (size_t i = 0; i < count; i++)
		sum += us[i];
	side->mean_us = sum / (double)count;
	side->median_us = (us[(count - 1) / 2] + us[count / 2]) / 2;
	side->p99_us = us[(count * 99 + 99) / 100 - 1];
	side->min_us = us[0];
}

double perf_algbw_gbs(uint64_t bytes, double us)
{
	return us > 0 ? (double)bytes / us / 1e3 : 0;
}

double perf_busbw_gbs(uint64_t bytes, double us, uint32_t ranks)
{
	return perf_algbw_gbs(bytes, us) * 2 * (ranks - 1) / ranks;
}

double perf_ratio(uint64_t bytes, uint32_t nodes, double wire_bytes)
{
	return wire_bytes > 0 ? (double)bytes * 2 * (nodes - 1) / nodes / wire_bytes : 0;
}

void perf_print_header(FILE *file, const struct perf_options *o, const struct perf_group *g)
{
	bool coded = perf_is_coded(o);

	fprintf(file, "# carry-perf %s: allreduce, %u ranks on %u nodes, schedule %s",
		CARRY_RELEASE, g->ranks, g->nodes,
		coded         ? "direct"
		: o->schedule ? o->schedule
			      : "auto");
	fprintf(file, coded ? ", codec %s, feedback %s\n" : "\n", o->codec, o->feedback);
	fprintf(file,
		"# minBytes %llu maxBytes %llu step: %llu(%s) warmup iters: %u iters: %u "
		"validation: %d\n#\n",
		(unsigned long long)o->min_bytes, (unsigned long long)o->max_bytes,
		(unsigned long long)(o->step_bytes ? o->step_bytes : o->factor),
		o->step_bytes ? "bytes" : "factor", o->warmups, o->iterations, o->check);
	fprintf(file, "#%80s %34s\n", "out-of-place", "in-place");
	fprintf(file, "#%11s %13s %9s %7s %6s %10s %7s %7s %6s %10s %7s %7s %6s %7s %12s%s\n",
		"size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong",
		"time", "algbw", "busbw", "#wrong", "ratio", "wire bytes",
		coded ? "  rel error  max error" : "");
	fprintf(file, "#%11s %13s %9s %7s %6s %10s %7s %7s %6s %10s %7s %7s %6s %7s %12s%s\n",
		"(B)", "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)",
		"(GB/s)", "", "", "(B/op/node)", coded ? "       (l2)  (element)" : "");
	fflush(file);
}

static void print_side(FILE *file, const struct perf_options *o, const struct perf_group *g,
		       uint64_t bytes, const struct perf_side *side)
{
	int digits = side->mean_us >= 10000 ? 0 : side->mean_us >= 100 ? 1 : 2;

	fprintf(file, " %10.*f %7.2f %7.2f", digits, side->mean_us,
		perf_algbw_gbs(bytes, side->mean_us),
		perf_busbw_gbs(bytes, side->mean_us, g->ranks));
	if (o->check)
		fprintf(file, " %6llu", (unsigned long long)side->wrong);
	else
		fprintf(file, " %6s", "N/A");
}

void perf_print_result(FILE *file, const struct perf_options *o, const struct perf_group *g,
		       const struct perf_result *r)
{
	double wire = r->out_of_place.wire_bytes;

	fprintf(file, "%12llu %13llu %9s %7s %6d", (unsigned long long)r->bytes,
		(unsigned long long)r->count, perf_type_name(o->type), perf_reduce_name(o->reduce),
		-1);
	print_side(file, o, g, r->bytes, &r->out_of_place);
	print_side(file, o, g, r->bytes, &r->in_place);
	if (wire > 0)
		fprintf(file, " %7.2f %12.0f", perf_ratio(r->bytes, g->nodes, wire), wire);
	else
		fprintf(file, " %7s %12.0f", "-", wire);
	if (perf_is_coded(o))
		fprintf(file, " %10.3g %10.3g", r->out_of_place.error, r->out_of_place.error_max);
	fprintf(file, "\n");
	fflush(file);
}

void perf_print_trailer(FILE *file, const struct perf_options *o, const struct perf_group *g,
			const struct perf_result *results, size_t count)
{
	uint64_t wrong = 0;
	double sum = 0;

	for (size_t i = 0; i < count; i++) {
		const struct perf_result *r = &results[i];

		wrong += r->out_of_place.wrong + r->in_place.wrong;
		sum += perf_busbw_gbs(r->bytes, r->out_of_place.mean_us, g->ranks);
		sum += perf_busbw_gbs(r->bytes, r->in_place.mean_us, g->ranks);
	}
	if (o->check)
		fprintf(file, "# Out of bounds values : %llu %s\n", (unsigned long long)wrong,
			wrong ? "FAILED" : "OK");
	else
		fprintf(file, "# Out of bounds values : not checked\n");
	fprintf(file, "# Avg bus bandwidth    : %g\n#\n", count ? sum / (double)(2 * count) : 0);
	fflush(file);
}

static json_t *side_json(const struct perf_options *o, const struct perf_group *g, uint64_t bytes,
			 const struct perf_side *side)
{
	double gb = (double)bytes * o->iterations / 1e9;

	return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:f, s:f, s:f, s:f, s:o, s:o}",
			 "time_us_mean", side->mean_us, "time_us_median", side->median_us,
			 "time_us_p99", side->p99_us, "time_us_min", side->min_us, "time_us_max",
			 side->max_us, "algbw_gbs", perf_algbw_gbs(bytes, side->mean_us),
			 "busbw_gbs", perf_busbw_gbs(bytes, side->mean_us, g->ranks), "wrong",
			 o->check ? json_integer((json_int_t)side->wrong) : json_null(),
			 "wire_bytes", side->wire_bytes, "ratio",
			 perf_ratio(bytes, g->nodes, side->wire_bytes), "trainer_cpu_s",
			 side->cpu_s, "trainer_cpu_s_per_gb", gb > 0 ? side->cpu_s / gb : 0.0,
			 "error_l2", perf_is_coded(o) ? json_real(side->error) : json_null(),
			 "error_max", perf_is_coded(o) ? json_real(side->error_max) : json_null());
}

static json_t *result_json(const struct perf_options *o, const struct perf_group *g,
			   const struct perf_result *r)
{
	json_t *json = json_pack("{s:s, s:I, s:I, s:s, s:s, s:i, s:i}", "op", "allreduce", "bytes",
				 (json_int_t)r->bytes, "count", (json_int_t)r->count, "type",
				 perf_type_name(o->type), "redop", perf_reduce_name(o->reduce),
				 "nodes", (int)g->nodes, "ranks", (int)g->ranks);
	json_t *side = side_json(o, g, r->bytes, &r->out_of_place);

	if (!json || !side || json_object_update(json, side) ||
	    json_object_set_new(json, "in_place", side_json(o, g, r->bytes, &r->in_place))) {
		json_decref(json);
		json = NULL;
	}
	json_decref(side);
	return json;
}

char *perf_json(const struct perf_options *o, const struct perf_group *g,
		const struct perf_result *results, size_t count)
{
	json_t *list = json_array();
	char *text = NULL;

	for (size_t i = 0; i < count; i++) {
		if (json_array_append_new(list, result_json(o, g, &results[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	json_t *json = json_pack(
		"{s:s, s:{s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:s, s:s, s:b, s:s, s:s, s:s}, s:o}",
		"version", CARRY_RELEASE, "config", "op", "allreduce", "min_bytes",
		(json_int_t)o->min_bytes, "max_bytes", (json_int_t)o->max_bytes, "step_bytes",
		(json_int_t)o->step_bytes, "factor", (json_int_t)o->factor, "iterations",
		(int)o->iterations, "warmups", (int)o->warmups, "type", perf_type_name(o->type),
		"redop", perf_reduce_name(o->reduce), "check", o->check, "schedule",
		o->schedule ? o->schedule : "auto", "codec", o->codec, "feedback", o->feedback,
		"results", list);
	if (json)
		text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(json);
	return text;
}
