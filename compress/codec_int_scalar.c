/* codec_int_scalar.c - the loops of int8, int4 and int2 in plain C, for any CPU. */
#include "compress/codec_int_kernels.h"

#define VARIANT scalar

#include "compress/lanes_scalar.h"

#include "compress/codec_int_loops.h"
