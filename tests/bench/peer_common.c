/*
 * peer_common.c - see peer_common.h.
 *
 * Elements are small integers that depend on index, rank and salt, so a sum over up to 64
 * ranks is exact in f32 in any order and one bit off is an error.
 */
#include "tests/bench/peer_common.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	RANKS_MAX = 64,
	VALUES = 4093, /* prime, so that chunks do not repeat    */
	ALIGN_BYTES = 4096,
};

/* Times, median and so on in microseconds; over all ranks. */
struct side {
	double mean, median, p99, min;
	double cpu_s; /* of all ranks, user and system, in the timed loop */
	double wrong;
};

struct bench {
	const struct peer_system *s;
	const struct peer_options *o;
	float *in, *out;
	double *figures; /* iterations, then CPU seconds */
	size_t count;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static float element(size_t index, uint32_t rank, uint32_t salt)
{
	return (float)((index % VALUES) * 7 + rank * 131 + salt);
}

static void fill(struct bench *b, uint32_t salt)
{
	for (size_t i = 0; i < b->count; i++) {
		b->in[i] = element(i, b->s->rank, salt);
		b->out[i] = b->in[i];
	}
}

static size_t count_wrong(const struct bench *b, uint32_t salt)
{
	size_t wrong = 0;

	for (size_t i = 0; i < b->count; i++) {
		float expected = 0;

		for (uint32_t rank = 0; rank < b->s->ranks; rank++)
			expected += element(i, rank, salt);
		wrong += b->out[i] < expected || b->out[i] > expected || b->out[i] != b->out[i];
	}
	return wrong;
}

static int barrier(const struct bench *b)
{
	double nothing = 0;

	return b->s->combine(b->s->self, &nothing, 1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Warm up, then leave the iterations' times in b->figures, CPU seconds after them. */
static int run_batch(struct bench *b, bool in_place)
{
	uint32_t n = b->o->iterations;

	if (barrier(b))
		return -1;
	for (uint32_t i = 0; i < b->o->warmups; i++)
		if (b->s->sum(b->s->self, in_place))
			return -1;
	if (barrier(b))
		return -1;

	double cpu_s = cpu_seconds();
	uint64_t before_ns = now_ns();
	for (uint32_t i = 0; i < n; i++) {
		if (b->s->sum(b->s->self, in_place))
			return -1;
		uint64_t ns = now_ns();
		b->figures[i] = (double)(ns - before_ns) / 1e3;
		before_ns = ns;
	}
	b->figures[n] = cpu_seconds() - cpu_s;
	return 0;
}

static int check(struct bench *b, bool in_place, double *wrong)
{
	uint32_t salt = in_place ? 5 : 3;

	fill(b, salt);
	/* Out of place the result must replace this, in place it starts from it. */
	if (!in_place)
		memset(b->out, 0xff, b->count * sizeof(float));
	if (b->s->sum(b->s->self, in_place))
		return -1;
	*wrong = (double)count_wrong(b, salt);
	return b->s->combine(b->s->self, wrong, 1);
}

static int measure_side(struct bench *b, bool in_place, struct side *side)
{
	uint32_t n = b->o->iterations;
	double sum = 0;

	fill(b, 0);
	if (run_batch(b, in_place) || b->s->combine(b->s->self, b->figures, n + 1))
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		b->figures[i] /= b->s->ranks;
		sum += b->figures[i];
	}
	qsort(b->figures, n, sizeof(double), compare);
	*side = (struct side){
		.mean = sum / n,
		.median = (b->figures[(n - 1) / 2] + b->figures[n / 2]) / 2,
		.p99 = b->figures[(n * 99 + 99) / 100 - 1],
		.min = b->figures[0],
		.cpu_s = b->figures[n],
	};
	return check(b, in_place, &side->wrong);
}

static void print_side(FILE *file, const struct bench *b, const struct side *side)
{
	double bytes = (double)(b->count * sizeof(float));
	double n = b->s->ranks, algbw = bytes / side->mean / 1e3;

	fprintf(file,
		"\"time_us_mean\": %.3f, \"time_us_median\": %.3f, \"time_us_p99\": %.3f, "
		"\"time_us_min\": %.3f, \"algbw_gbs\": %.6f, \"busbw_gbs\": %.6f, \"wrong\": %.0f, "
		"\"trainer_cpu_s\": %.6f, \"trainer_cpu_s_per_gb\": %.6f",
		side->mean, side->median, side->p99, side->min, algbw, algbw * 2 * (n - 1) / n,
		side->wrong, side->cpu_s, side->cpu_s / (bytes * b->o->iterations / 1e9));
}

static int write_json(const struct bench *b, const struct side *out, const struct side *in_place)
{
	FILE *file = fopen(b->o->json, "we");

	if (!file) {
		fprintf(stderr, "%s: cannot write %s: %s\n", b->s->name, b->o->json,
			strerror(errno));
		return -1;
	}
	fprintf(file,
		"{\"results\": [{\"op\": \"allreduce\", \"system\": \"%s\", \"algorithm\": \"%s\", "
		"\"bytes\": %zu, \"ranks\": %u, ",
		b->s->name, b->o->algorithm ? b->o->algorithm : "default", b->count * sizeof(float),
		b->s->ranks);
	print_side(file, b, out);
	fputs(", \"in_place\": {", file);
	print_side(file, b, in_place);
	fputs("}}]}\n", file);
	if (fclose(file)) {
		fprintf(stderr, "%s: cannot write %s: %s\n", b->s->name, b->o->json,
			strerror(errno));
		return -1;
	}
	return 0;
}

static int measure(struct bench *b)
{
	struct side out, in_place;

	if (b->s->prepare(b->s->self, b->in, b->out, b->count) || measure_side(b, false, &out) ||
	    measure_side(b, true, &in_place))
		return 1;
	if (b->s->rank > 0)
		return out.wrong + in_place.wrong > 0;
	printf("%s %s: %zu bytes, %u ranks: out of place %.1f us, in place %.1f us (medians)\n",
	       b->s->name, b->o->algorithm ? b->o->algorithm : "default", b->count * sizeof(float),
	       b->s->ranks, out.median, in_place.median);
	if (b->o->json && write_json(b, &out, &in_place))
		return 1;
	if (out.wrong + in_place.wrong > 0) {
		fprintf(stderr, "%s: %.0f elements are wrong\n", b->s->name,
			out.wrong + in_place.wrong);
		return 1;
	}
	return 0;
}

int peer_run(const struct peer_system *s, const struct peer_options *o)
{
	struct bench b = {.s = s, .o = o, .count = o->bytes / sizeof(float)};
	size_t bytes = (o->bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
	int code = 1;

	if (s->ranks > RANKS_MAX) {
		fprintf(stderr, "%s: %u ranks, at most %d\n", s->name, s->ranks, RANKS_MAX);
		return 1;
	}
	b.in = aligned_alloc(ALIGN_BYTES, bytes);
	b.out = aligned_alloc(ALIGN_BYTES, bytes);
	b.figures = calloc(o->iterations + 1, sizeof(double));
	if (b.in && b.out && b.figures)
		code = measure(&b);
	else
		fprintf(stderr, "%s: no memory for %zu bytes\n", s->name, o->bytes);
	free(b.in);
	free(b.out);
	free(b.figures);
	return code;
}

static bool take_number(const char *text, unsigned long max, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(text, &end, 10);
	return !errno && end != text && !*end && *out <= max;
}

bool peer_options_parse(struct peer_options *o, int argc, char **argv)
{
	unsigned long value = 0;
	int option;

	*o = (struct peer_options){.bytes = 8, .iterations = 20, .warmups = 5};
	while ((option = getopt(argc, argv, "b:n:w:j:a:s:i:")) != -1) {
		bool good = true;

		switch (option) {
		case 'b': good = take_number(optarg, 1ul << 40, &value) && value >= 4; break;
		case 'n': good = take_number(optarg, 1000000, &value) && value >= 1; break;
		case 'w': good = take_number(optarg, 1000000, &value); break;
		case 'j': o->json = optarg; break;
		case 'a': o->algorithm = optarg; break;
		case 's': o->store = optarg; break;
		case 'i': o->interface = optarg; break;
		default: good = false; break;
		}
		if (!good) {
			fprintf(stderr,
				"usage: %s -b BYTES -n ITERATIONS -w WARMUPS [-j JSON] "
				"[-a ALGORITHM] [-s STORE] [-i INTERFACE]\n",
				argv[0]);
			return false;
		}
		if (option == 'b')
			o->bytes = value / sizeof(float) * sizeof(float);
		else if (option == 'n')
			o->iterations = (uint32_t)value;
		else if (option == 'w')
			o->warmups = (uint32_t)value;
	}
	return true;
}
