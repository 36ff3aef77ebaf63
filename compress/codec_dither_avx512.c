/* codec_dither_avx512.c - the loops of codec_dither_loops.h in 512-bit registers. */
#include "compress/codec_dither_kernels.h"

#ifdef __x86_64__

#include <string.h>

#define VARIANT avx512
#define WIDTH 16

#ifdef __clang__
#pragma clang attribute push(                                                    \
	__attribute__((target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
	apply_to = function)
#else
#pragma GCC target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#pragma GCC optimize("O3", "no-trapping-math") /* gcc 12 leaves loops as they are at -O2 */
#endif

#include "compress/codec_dither_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int codec_dither_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
