/*
 * codec_kernels.h - one CPU variant of the codecs' inner loops: a struct for each family of codecs.
 *
 * Variants are those of vector.h, which says what this CPU supports; codec_variants.c puts them
 * together.
 */
#ifndef COMPRESS_CODEC_KERNELS_H
#define COMPRESS_CODEC_KERNELS_H

#include "compress/codec.h"
#include "compress/codec_int_kernels.h"
#include "compress/codec_sparse_kernels.h"

struct codec_kernels {
	const struct vec *vec; /* of the same variant: conversions of f16 and bf16 */
	const struct plain_kernels *plain;
	const struct int_kernels *integer;
	const struct mx_kernels *mx;
	const struct eden_kernels *eden;
	const struct sparse_kernels *sparse; /* topk, randk */
	const struct sign_kernels *sign;
	const struct dither_kernels *dither;
};

#endif
