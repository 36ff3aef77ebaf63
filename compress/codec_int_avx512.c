/*
 * codec_int_avx512.c - the loops of int8, int4 and int2 in 512-bit registers.
 *
 * Only code after the pragma is compiled for these CPUs.
 */
#include "compress/codec_int_kernels.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#define VARIANT avx512

#ifdef __clang__
#pragma clang attribute push(                                                    \
	__attribute__((target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
	apply_to = function)
#else
#pragma GCC target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#endif

#include "compress/lanes_avx512.h"

#include "compress/codec_int_loops.h"

#ifdef __clang__
#pragma clang attribute pop
#endif

#else
typedef int codec_int_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
