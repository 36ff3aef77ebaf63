/* codec_eden_avx512.c - the loops of codec_eden_loops.h for AVX-512. */
#include "compress/codec_eden_kernels.h"

#ifdef __x86_64__

#include <assert.h>
#include <float.h>
#include <stdbool.h>

#define LANES 16
#define EDEN_VARIANT eden_avx512
#include "compress/lanes.h"
#include "compress/codec_eden_loops.h"
#include "compress/lanes_end.h"

#else
typedef int codec_eden_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
