/* codec_plain_avx512.c - the loops of codec_plain_loops.h for AVX-512. */
#include "compress/codec_plain_kernels.h"

#ifdef __x86_64__

#define LANES 16
#define PLAIN_VARIANT plain_avx512
#include "compress/lanes.h"
#include "compress/codec_plain_loops.h"
#include "compress/lanes_end.h"

#else
typedef int codec_plain_avx512_is_for_x86; /* ISO C forbids an empty file */
#endif
