/* topk_rig.c - see topk_rig.h. */
#include "tests/unit/topk_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"

int topk_decode(struct topk_message *m, const void *bytes, size_t length)
{
	struct codec_origin origin = {.work = m->work};

	return codec_decode(&m->setting, m->kernels, &origin, bytes, length, m->decoded, m->count);
}

/* Where nobody wants what is lost, it may be found in another way; the bytes are the same. */
static void encode_without_residual(const struct topk_message *m, struct codec_input input)
{
	unsigned char *bytes = malloc(codec_bound(&m->setting, m->count));
	struct codec_result result;

	input.residual_out = NULL;
	memset(m->work, 0xff, codec_work_bytes(&m->setting, m->count));
	result = codec_encode(&m->setting, m->kernels, &input, bytes);
	assert_int_equal(result.bytes, m->result.bytes);
	assert_memory_equal(bytes, m->bytes, result.bytes);
	assert_memory_equal(&result.threshold, &m->result.threshold, sizeof(result.threshold));
	free(bytes);
}

void topk_encode_on(struct topk_message *m, const struct vec *v, const char *spec, const float *in,
		    size_t count, float threshold)
{
	struct err err;
	struct codec_input input = {.in = in, .count = count, .threshold = threshold};

	*m = (struct topk_message){.count = count, .kernels = codec_kernels_of(v)};
	assert_int_equal(codec_parse(&m->setting, spec, &err), 0);
	m->work = aligned_alloc(64, codec_work_bytes(&m->setting, count) / 64 * 64 + 64);
	m->bytes = malloc(codec_bound(&m->setting, count));
	m->residual = malloc(count * sizeof(float));
	m->decoded = malloc(count * sizeof(float));
	input.work = m->work;
	input.residual_out = m->residual;
	m->result = codec_encode(&m->setting, m->kernels, &input, m->bytes);
	assert_false(m->result.nonfinite);
	assert_in_range(m->result.bytes, 1, codec_bound(&m->setting, count));
	encode_without_residual(m, input);
	assert_int_equal(topk_decode(m, m->bytes, m->result.bytes), 0);
	for (size_t i = 0; i < count; i++)
		assert_true(m->residual[i] == in[i] - m->decoded[i]);
}

void topk_encode(struct topk_message *m, const char *spec, const float *in, size_t count,
		 float threshold)
{
	topk_encode_on(m, vec_best(), spec, in, count, threshold);
}

void topk_drop(struct topk_message *m)
{
	free(m->bytes);
	free(m->residual);
	free(m->decoded);
	free(m->work);
}

size_t topk_kept(const struct topk_message *m)
{
	uint32_t header;

	memcpy(&header, m->bytes, sizeof(header));
	return header >> 8;
}
