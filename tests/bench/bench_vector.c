/*
 * bench_vector.c - how fast each CPU variant reduces, beside memcpy().
 *
 * Prints a table: GB (10^9 bytes) per second that the loop reads and writes, so inputs + 1 vectors
 * a pass, and 2 for memcpy().  256 KiB and 64 MiB are the bytes of one vector.  All loops of a size
 * take turns in short slices, so that a busy neighbour slows them alike; the best slice counts.
 *
 * usage: bench_vector
 */
#include "compress/vector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INPUTS_MAX 4
#define VARIANT_MAX 8
#define SLICE_NS 10000000u
#define SLICES 15

struct work {
	const char *name;
	enum vec_type type;
	enum vec_reduce reduce;
	size_t inputs;
	uint64_t divisor;
};

static const struct work works[] = {
	{"f32 sum of 2", VEC_F32, VEC_SUM, 2, 0},
	{"f32 sum of 3", VEC_F32, VEC_SUM, 3, 0},
	{"f32 sum of 4", VEC_F32, VEC_SUM, 4, 0},
	{"f32 avg of 4, / 4", VEC_F32, VEC_AVG, 4, 4},
	{"f32 avg of 3, / 3", VEC_F32, VEC_AVG, 3, 3},
	{"f32 max of 2", VEC_F32, VEC_MAX, 2, 0},
	{"f16 sum of 2", VEC_F16, VEC_SUM, 2, 0},
	{"f16 sum of 4", VEC_F16, VEC_SUM, 4, 0},
	{"bf16 sum of 2", VEC_BF16, VEC_SUM, 2, 0},
	{"i32 sum of 2", VEC_I32, VEC_SUM, 2, 0},
};

#define WORKS (sizeof(works) / sizeof(*works))

struct buffers { /* bytes each */
	unsigned char *in[INPUTS_MAX], *out;
	size_t bytes;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pass(const struct vec *v, const struct work *w, const struct buffers *b)
{
	struct vec_input in[INPUTS_MAX];

	if (!v) {
		memcpy(b->out, b->in[0], b->bytes);
		return;
	}
	for (size_t k = 0; k < w->inputs; k++)
		in[k] = (struct vec_input){b->in[k], w->type};
	vec_combine(v, w->type, w->reduce, in, w->inputs, w->divisor, b->out, w->type,
		    b->bytes / vec_type_bytes(w->type));
}

/* Passes until the slice is over, one at least.  Return: bytes read and written per nanosecond. */
static double slice(const struct vec *v, const struct work *w, const struct buffers *b)
{
	uint64_t start = now_ns(), spent;
	size_t passes = 0;

	do {
		pass(v, w, b);
		passes++;
		spent = now_ns() - start;
	} while (spent < SLICE_NS);
	return (double)((v ? w->inputs + 1 : 2) * b->bytes * passes) / (double)spent;
}

static void bench(const struct vec *const *variants, size_t count, const struct buffers *b)
{
	double best[WORKS][VARIANT_MAX] = {0}, copy = 0;

	for (size_t i = 0; i < SLICES; i++) {
		double speed = slice(NULL, NULL, b);

		copy = speed > copy ? speed : copy;
		for (size_t w = 0; w < WORKS; w++) {
			for (size_t v = 0; v < count; v++) {
				speed = slice(variants[v], &works[w], b);
				best[w][v] = speed > best[w][v] ? speed : best[w][v];
			}
		}
	}
	printf("\n%zu KiB, GB/s:%*s", b->bytes >> 10, b->bytes >> 10 > 9999 ? 6 : 8, "");
	for (size_t v = 0; v < count; v++)
		printf("%8s", variants[v]->name);
	printf("\n%-24s%8.1f\n", "memcpy", copy);
	for (size_t w = 0; w < WORKS; w++) {
		printf("%-24s", works[w].name);
		for (size_t v = 0; v < count; v++)
			printf("%8.1f", best[w][v]);
		printf("\n");
	}
}

int main(void)
{
	static const size_t sizes[] = {256 << 10, 64 << 20};
	const struct vec *variants[VARIANT_MAX];
	size_t count = 0;

	for (const struct vec *const *v = vec_variants; *v && count < VARIANT_MAX; v++)
		if (vec_supported(*v))
			variants[count++] = *v;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
		struct buffers b = {.bytes = sizes[s]};
		unsigned char *all = malloc((INPUTS_MAX + 1) * sizes[s]);

		if (!all) {
			fprintf(stderr, "bench_vector: no memory for vectors of %zu bytes\n",
				sizes[s]);
			return 1;
		}
		/* As f16, bf16 and f32 alike: small normal numbers. */
		memset(all, 0x3c, (INPUTS_MAX + 1) * sizes[s]);
		for (size_t k = 0; k < INPUTS_MAX; k++)
			b.in[k] = all + k * sizes[s];
		b.out = all + INPUTS_MAX * sizes[s];
		bench(variants, count, &b);
		free(all);
	}
	return 0;
}
