/* codec_dither_scalar.c - the loops of codec_dither_loops.h for any CPU. */
#include "compress/codec_dither_kernels.h"

#include <string.h>

#define VARIANT scalar
#define WIDTH 4

#include "compress/codec_dither_loops.h"
