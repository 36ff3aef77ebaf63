/*
 * bench_codec.c - how fast each codec encodes and decodes, by CPU variant.
 *
 * Prints two tables, of one core: GB (10^9 bytes) of float32 input per second
 *   - within 256 KiB that stay in the cache, where the arithmetic is the limit;
 *   - from memory to memory, 64 MiB in chunks of 256 KiB, past the caches where a codec can; beside
 *     it the ratio to c = a + b with streaming stores, which moves what an encoder with a residual
 *     moves: two vectors in, one out.  memcpy() stands above, counted alike: by the bytes of c.
 * encode adds the residual to the input and writes the new one to another place.  A codec that
 * reuses thresholds gets each chunk's of the pass before, as in training; a pass without is never
 * the best one.  All loops of a size take turns in short slices, so that a busy neighbour slows
 * them alike; the best one counts.
 *
 * usage: bench_codec [SPEC...]   (default: every example of every codec)
 */
#include "compress/codec.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "daemon/codec_spec.h"

enum {
	CHUNK = 65536, /* elements */
	CHUNKS = 256,
	SLICE_NS = 8000000,
	SLICES = 7,
	SPECS_MAX = 128,
	VARIANTS_MAX = 4,
};

enum what { ENCODE, DECODE, DECODE_ADD, WHATS };

struct buffers {
	float *a, *b, *c;     /* float32[count]                                     */
	unsigned char *bytes; /* [chunks][stride]: encoded                          */
	size_t *lengths;      /* [chunks]                                           */
	size_t count, stride;
	void *work;
};

struct coder {
	struct codec_setting setting;
	char spec[CODEC_SPEC_BYTES];
	float thresholds[CHUNKS];             /* of the last pass; 0: none          */
	double ratio;                         /* bytes of input / bytes of output   */
	double best[VARIANTS_MAX][WHATS];     /* GB/s                               */
	double relative[VARIANTS_MAX][WHATS]; /* to c = a + b                       */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add_away(const struct buffers *b)
{
	size_t i = 0;

#ifdef __x86_64__
	for (; i + 4 <= b->count; i += 4)
		_mm_stream_ps(b->c + i, _mm_add_ps(_mm_loadu_ps(b->a + i), _mm_loadu_ps(b->b + i)));
	_mm_sfence();
#endif
	for (; i < b->count; i++)
		b->c[i] = b->a[i] + b->b[i];
}

static void pass(struct coder *c, const struct codec_kernels *k, enum what what,
		 const struct buffers *b)
{
	struct random_key key = {1, 2};

	for (size_t first = 0, chunk = 0; first < b->count; first += CHUNK, chunk++) {
		size_t count = b->count - first < CHUNK ? b->count - first : CHUNK;
		unsigned char *bytes = b->bytes + chunk * b->stride;
		struct codec_input input = {
			.in = b->a + first,
			.residual = b->b + first,
			.residual_scale = 1,
			.residual_out = b->c + first,
			.count = count,
			.first = first,
			.rank_key = key,
			.shared_key = key,
			.threshold = c->thresholds[chunk],
			.away = b->count > CHUNK,
			.work = b->work,
		};
		struct codec_origin origin = {
			.first = first, .rank_key = key, .shared_key = key, .work = b->work};
		struct codec_result encoded;
		int error = 0;

		switch (what) {
		case ENCODE:
			encoded = codec_encode(&c->setting, k, &input, bytes);
			b->lengths[chunk] = encoded.bytes;
			c->thresholds[chunk] = encoded.threshold;
			break;
		case DECODE:
			error = codec_decode(&c->setting, k, &origin, bytes, b->lengths[chunk],
					     b->c + first, count);
			break;
		case DECODE_ADD:
			error = codec_decode_add(&c->setting, k, &origin, bytes, b->lengths[chunk],
						 1, b->c + first, count);
			break;
		case WHATS: break;
		}
		if (error) {
			fprintf(stderr, "bench_codec: %s does not decode\n", c->spec);
			exit(1);
		}
	}
}

/* Passes until the slice is over, one at least.  Return: GB of float32[count] a second. */
static double slice(struct coder *c, const struct codec_kernels *k, enum what what,
		    const struct buffers *b)
{
	uint64_t start = now_ns(), spent;
	size_t passes = 0;

	do {
		if (c)
			pass(c, k, what, b);
		else if (what == ENCODE)
			add_away(b);
		else
			memcpy(b->c, b->a, b->count * sizeof(*b->a));
		passes++;
		spent = now_ns() - start;
	} while (spent < SLICE_NS);
	return (double)(b->count * sizeof(float) * passes) / (double)spent;
}

static void take_turn(struct coder *c, const struct vec *const *variants, const struct buffers *b)
{
	for (size_t v = 0; variants[v]; v++) {
		const struct codec_kernels *k = codec_kernels_of(variants[v]);

		for (enum what w = ENCODE; w < WHATS; w++) {
			double speed = slice(c, k, w, b);

			c->best[v][w] = speed > c->best[v][w] ? speed : c->best[v][w];
		}
	}
	c->ratio = (double)((b->count < CHUNK ? b->count : CHUNK) * sizeof(float)) /
		   (double)b->lengths[0];
}

static void measure(struct coder *coders, size_t count, const struct vec *const *variants,
		    const struct buffers *b)
{
	double add = 0, copy = 0;

	for (size_t i = 0; i < count; i++) {
		memset(coders[i].best, 0, sizeof(coders[i].best));
		memset(coders[i].thresholds, 0, sizeof(coders[i].thresholds));
	}
	for (size_t s = 0; s < SLICES; s++) {
		for (size_t i = 0; i < count; i++) {
			double speed = slice(NULL, NULL, ENCODE, b);

			add = speed > add ? speed : add;
			speed = slice(NULL, NULL, DECODE, b);
			copy = speed > copy ? speed : copy;
			take_turn(&coders[i], variants, b);
		}
	}
	for (size_t i = 0; i < count; i++)
		for (size_t v = 0; variants[v]; v++)
			for (enum what w = ENCODE; w < WHATS; w++)
				coders[i].relative[v][w] = coders[i].best[v][w] / add;
	printf("\n%zu KiB, GB/s of float32: c = a + b %.1f, memcpy %.1f\n", b->count / 256, add,
	       copy);
}

static void print(const struct coder *coders, size_t count, const struct vec *const *variants,
		  bool relative)
{
	printf("%-44s %7s", "", "ratio");
	for (size_t v = 0; variants[v]; v++)
		printf("  %-22s", variants[v]->name);
	printf("\n%-44s %7s", "", "");
	for (size_t v = 0; variants[v]; v++)
		printf("  %6s %7s %7s", "encode", "decode", "add");
	for (size_t i = 0; i < count; i++) {
		printf("\n%-44s %7.2f", coders[i].spec, coders[i].ratio);
		for (size_t v = 0; variants[v]; v++)
			printf("  %6.1f %7.1f %7.1f", coders[i].best[v][ENCODE],
			       coders[i].best[v][DECODE], coders[i].best[v][DECODE_ADD]);
		if (!relative)
			continue;
		printf("\n%-44s %7s", "  of c = a + b", "");
		for (size_t v = 0; variants[v]; v++)
			printf("  %6.2f %7.2f %7.2f", coders[i].relative[v][ENCODE],
			       coders[i].relative[v][DECODE], coders[i].relative[v][DECODE_ADD]);
	}
	printf("\n");
}

static float gauss(uint64_t *state)
{
	double sum = -6; /* of twelve uniform numbers: near enough to time a codec */

	for (int i = 0; i < 12; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		sum += (double)(*state >> 11) * 0x1p-53;
	}
	return (float)sum;
}

static void *room(size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!memory) {
		fprintf(stderr, "bench_codec: no memory for %zu bytes\n", bytes);
		exit(1);
	}
	return memset(memory, 0, bytes);
}

static void bench(struct coder *coders, size_t coder_count, const struct vec *const *variants,
		  size_t count)
{
	size_t chunks = (count + CHUNK - 1) / CHUNK, work = 64;
	struct buffers b = {.count = count};
	uint64_t state = 1;

	for (size_t i = 0; i < coder_count; i++) {
		size_t bound = codec_bound(&coders[i].setting, CHUNK);
		size_t needed = codec_work_bytes(&coders[i].setting, CHUNK);

		b.stride = bound > b.stride ? bound : b.stride;
		work = needed > work ? needed : work;
	}
	b.stride = (b.stride + 63) / 64 * 64;
	b.a = room(count * sizeof(float));
	b.b = room(count * sizeof(float));
	b.c = room(count * sizeof(float));
	b.bytes = room(chunks * b.stride);
	b.lengths = room(chunks * sizeof(*b.lengths));
	b.work = room(work);
	for (size_t i = 0; i < count; i++) {
		b.a[i] = gauss(&state);
		b.b[i] = gauss(&state) / 8;
	}
	measure(coders, coder_count, variants, &b);
	print(coders, coder_count, variants, count > CHUNK);
	free(b.a);
	free(b.b);
	free(b.c);
	free(b.bytes);
	free(b.lengths);
	free(b.work);
}

static void take(struct coder *coders, size_t *count, const char *spec)
{
	struct err err;

	if (*count == SPECS_MAX) {
		fprintf(stderr, "bench_codec: more than %d specs\n", SPECS_MAX);
		exit(2);
	}
	if (codec_parse(&coders[*count].setting, spec, &err)) {
		fprintf(stderr, "bench_codec: %s\n", err.text);
		exit(2);
	}
	(void)snprintf(coders[*count].spec, CODEC_SPEC_BYTES, "%s", spec);
	++*count;
}

int main(int argc, char **argv)
{
	static struct coder coders[SPECS_MAX];
	const struct vec *variants[VARIANTS_MAX] = {NULL};
	size_t count = 0, variant_count = 0;

	for (int i = 1; i < argc; i++)
		take(coders, &count, argv[i]);
	for (const struct codec *const *c = codec_table; argc == 1 && *c; c++)
		for (const char *const *spec = (*c)->examples; *spec; spec++)
			take(coders, &count, *spec);
	for (const struct vec *const *v = vec_variants; *v && variant_count < VARIANTS_MAX - 1; v++)
		if (vec_supported(*v))
			variants[variant_count++] = *v;
	bench(coders, count, variants, CHUNK);
	bench(coders, count, variants, (size_t)CHUNKS * CHUNK);
	return 0;
}
