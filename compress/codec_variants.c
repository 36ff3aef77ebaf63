/* codec_variants.c - the CPU variants of the codecs' inner loops, put together; codec_kernels.h. */
#include <assert.h>

#include "compress/codec_eden_kernels.h"
#include "compress/codec_kernels.h"
#include "compress/codec_dither_kernels.h"
#include "compress/codec_mx_kernels.h"
#include "compress/codec_plain_kernels.h"
#include "compress/codec_sign_kernels.h"
#include "compress/vector_variants.h"

static const struct codec_kernels kernels[] = {
	{.vec = &vec_scalar,
	 .plain = &plain_scalar,
	 .integer = &int_scalar,
	 .mx = &mx_scalar,
	 .eden = &eden_scalar,
	 .sparse = &sparse_scalar,
	 .sign = &sign_scalar,
	 .dither = &dither_scalar},
#ifdef __x86_64__
	{.vec = &vec_avx2,
	 .plain = &plain_avx2,
	 .integer = &int_avx2,
	 .mx = &mx_avx2,
	 .eden = &eden_avx2,
	 .sparse = &sparse_avx2,
	 .sign = &sign_avx2,
	 .dither = &dither_avx2},
	{.vec = &vec_avx512,
	 .plain = &plain_avx512,
	 .integer = &int_avx512,
	 .mx = &mx_avx512,
	 .eden = &eden_avx512,
	 .sparse = &sparse_avx512,
	 .sign = &sign_avx512,
	 .dither = &dither_avx512},
#endif
};

const struct codec_kernels *codec_kernels_of(const struct vec *v)
{
	size_t i = 0;

	while (kernels[i].vec != v) {
		i++;
		assert(i < sizeof(kernels) / sizeof(*kernels));
	}
	return &kernels[i];
}
