/* codec_table.h - all codecs: one file and one line each, in the order of enum codec_id. */
#ifndef COMPRESS_CODEC_TABLE_H
#define COMPRESS_CODEC_TABLE_H

#include "compress/codec.h"

/* clang-format off */
#define CODEC_TABLE(X) \
	X(none)        \
	X(bf16)        \
	X(fp16)        \
	X(int8)        \
	X(int4)        \
	X(int2)        \
	X(sign)        \
	X(topk)        \
	X(randk)       \
	X(qsgd)        \
	X(natural)     \
	X(terngrad)    \
	X(mxfp8)       \
	X(mxfp4)       \
	X(eden)
/* clang-format on */

#define CODEC_EXTERN(name) extern const struct codec codec_##name;
CODEC_TABLE(CODEC_EXTERN)
#undef CODEC_EXTERN

#endif
