/* codec_plain_avx2.c - the loops of codec_plain_loops.h for AVX2. */
#include "compress/codec_plain_kernels.h"

#ifdef __x86_64__

#define LANES 8
#define PLAIN_VARIANT plain_avx2
#include "compress/lanes.h"
#include "compress/codec_plain_loops.h"
#include "compress/lanes_end.h"

#else
typedef int codec_plain_avx2_is_for_x86; /* ISO C forbids an empty file */
#endif
