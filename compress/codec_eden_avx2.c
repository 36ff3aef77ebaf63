/* codec_eden_avx2.c - the loops of codec_eden_loops.h for AVX2. */
#include "compress/codec_eden_kernels.h"

#ifdef __x86_64__

#include <assert.h>
#include <float.h>
#include <stdbool.h>

#define LANES 8
#define EDEN_VARIANT eden_avx2
#include "compress/lanes.h"
#include "compress/codec_eden_loops.h"
#include "compress/lanes_end.h"

#else
typedef int codec_eden_avx2_is_for_x86; /* ISO C forbids an empty file */
#endif
