/* codec_mx_scalar.c - the loops of codec_mx_loops.h for any CPU. */
#include "compress/codec_mx_kernels.h"

#include <stdbool.h>

#define LANES 1
#define MX_VARIANT mx_scalar
#include "compress/lanes.h"
#include "compress/codec_mx_loops.h"
#include "compress/lanes_end.h"
