/* codec_dither_avx2.c - the loops of codec_dither_loops.h in 256-bit registers. */
#include "compress/codec_dither_kernels.h"

#ifdef __x86_64__

#include <string.h>

#define VARIANT avx2
#define WIDTH 8

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c")
#pragma GCC optimize("O3", "no-trapping-math") /* gcc 12 leaves loops as they are at -O2 */
#endif

#include "compress/codec_dither_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int codec_dither_avx2_is_for_x86; /* ISO C forbids an empty file */
#endif
