/* codec_plain_scalar.c - the loops of codec_plain_loops.h for any CPU. */
#include "compress/codec_plain_kernels.h"

#define LANES 1
#define PLAIN_VARIANT plain_scalar
#include "compress/lanes.h"
#include "compress/codec_plain_loops.h"
#include "compress/lanes_end.h"
