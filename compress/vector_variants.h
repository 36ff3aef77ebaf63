/*
 * vector_variants.h - the CPU variants, for vector.c and codec_variants.c alone.
 *
 * To add one: write vector_NAME.c (registers and primitives, then vector_loops.h), name it here
 * and in vec_variants and vec_supported().  tests/unit/test_vector.c loops over the table.
 */
#ifndef COMPRESS_VECTOR_VARIANTS_H
#define COMPRESS_VECTOR_VARIANTS_H

#include "compress/vector.h"

extern const struct vec vec_scalar; /* runs everywhere */

#ifdef __x86_64__
extern const struct vec vec_avx2; /* AVX2 and F16C */
bool vec_avx2_supported(void);

extern const struct vec vec_avx512; /* AVX-512 F, BW, DQ, VL */
bool vec_avx512_supported(void);
#endif

#endif
