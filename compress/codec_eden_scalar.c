/* codec_eden_scalar.c - the loops of codec_eden_loops.h for any CPU. */
#include "compress/codec_eden_kernels.h"

#include <assert.h>
#include <float.h>
#include <stdbool.h>

#define LANES 1
#define EDEN_VARIANT eden_scalar
#include "compress/lanes.h"
#include "compress/codec_eden_loops.h"
#include "compress/lanes_end.h"
