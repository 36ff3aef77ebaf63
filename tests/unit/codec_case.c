/* codec_case.c - see codec_case.h. */
#include "tests/unit/codec_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"

void case_encode(struct codec_case *c, const char *spec, const float *in, const float *residual,
		 size_t count, uint64_t first, uint64_t step)
{
	struct codec_input input = {
		.in = in,
		.residual = residual,
		.residual_scale = 1,
		.count = count,
		.first = first,
		.rank_key = random_key(1, step, 2, 3),
		.shared_key = random_key(1, step, 2, RANDOM_SHARED),
	};
	struct err err;
	unsigned char *room;

	*c = (struct codec_case){.count = count};
	assert_int_equal(codec_parse(&c->setting, spec, &err), 0);
	room = malloc(codec_bound(&c->setting, count));
	c->decoded = malloc(count * sizeof(float));
	c->residual = malloc(count * sizeof(float));
	input.residual_out = c->residual;
	input.work = aligned_alloc(64, codec_work_bytes(&c->setting, count) / 64 * 64 + 64);
	c->origin = (struct codec_origin){first, input.rank_key, input.shared_key, input.work};
	c->result = codec_encode(&c->setting, codec_kernels_of(vec_best()), &input, room);
	if (!c->result.nonfinite) {
		c->bytes = malloc(c->result.bytes);
		memcpy(c->bytes, room, c->result.bytes);
		assert_int_equal(case_decode(c, c->bytes, c->result.bytes), 0);
	}
	free(room);
}

int case_decode(struct codec_case *c, const void *bytes, size_t length)
{
	return codec_decode(&c->setting, codec_kernels_of(vec_best()), &c->origin, bytes, length,
			    c->decoded, c->count);
}

void case_drop(struct codec_case *c)
{
	free(c->origin.work);
	free(c->bytes);
	free(c->decoded);
	free(c->residual);
}

float *case_vector(enum case_shape shape, size_t count, uint64_t seed)
{
	struct random_key key = random_key(seed, 0, 0, 0);
	float *v = malloc(count * sizeof(*v));

	for (uint32_t i = 0; i < count; i++) {
		double u = (double)random_unit(key, 2 * i), w = (double)random_unit(key, 2 * i + 1);
		double e = -log(1 - u);

		v[i] = (float)(shape == CASE_GAUSS ? sqrt(2 * e) * cos(2 * M_PI * w)
						   : (w < 0.5 ? e : -e) * M_SQRT1_2);
	}
	return v;
}

double case_nmse(const char *spec, enum case_shape shape, size_t count)
{
	enum { CHUNK = 65536 };
	double lost = 0, all = 0;

	for (size_t first = 0; first < count; first += CHUNK) {
		float *in = case_vector(shape, CHUNK, first + 1);
		struct codec_case c;

		case_encode(&c, spec, in, NULL, CHUNK, first, 1);
		for (size_t i = 0; i < CHUNK; i++) {
			all += (double)in[i] * (double)in[i];
			lost += (double)c.residual[i] * (double)c.residual[i];
		}
		case_drop(&c);
		free(in);
	}
	return lost / all;
}
