/*
 * topk_rig.h - what tests of topk need: one message with what became of it.
 */
#ifndef TESTS_UNIT_TOPK_RIG_H
#define TESTS_UNIT_TOPK_RIG_H

#include "compress/codec.h"
#include "tests/common/draw.h"

/* Buffers are heap blocks of exactly their size; topk_drop() frees them. */
struct topk_message {
	struct codec_setting setting;
	const struct codec_kernels *kernels;
	struct codec_result result;
	size_t count;
	unsigned char *bytes;
	float *residual, *decoded;
	void *work;
};

/* topk_encode_on() - encodes and decodes; asserts that the residual is what is lost. */
void topk_encode_on(struct topk_message *m, const struct vec *v, const char *spec, const float *in,
		    size_t count, float threshold);
void topk_encode(struct topk_message *m, const char *spec, const float *in, size_t count,
		 float threshold); /* on the best variant */
int topk_decode(struct topk_message *m, const void *bytes, size_t length);
void topk_drop(struct topk_message *m);

/* topk_kept() - what the header says; not of mode=block. */
size_t topk_kept(const struct topk_message *m);

#endif
