/* feedback_table.h - all kinds of error feedback, one line each, in the order of their ids. */
#ifndef COMPRESS_FEEDBACK_TABLE_H
#define COMPRESS_FEEDBACK_TABLE_H

#include "compress/feedback.h"

/* clang-format off */
#define FEEDBACK_TABLE(X) \
	X(none)           \
	X(ef14)           \
	X(twosided)       \
	X(ef21)           \
	X(ef21_w)         \
	X(ef21_sgdm)      \
	X(ef21_bc)        \
	X(econtrol)       \
	X(loco)
/* clang-format on */

#define FEEDBACK_EXTERN(name) extern const struct feedback feedback_##name;
FEEDBACK_TABLE(FEEDBACK_EXTERN)
#undef FEEDBACK_EXTERN

#endif
