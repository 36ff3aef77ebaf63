/*
 * option.h - sentences about options that getopt_long() refuses.
 */
#ifndef TOOLS_COMMON_OPTION_H
#define TOOLS_COMMON_OPTION_H

#include <stddef.h>

/*
 * option_refused() - say what is wrong.  Short and long options only ("+:..."), long ones with
 * values above the range of a char.
 * @got: what getopt_long() returned: '?' or ':'
 */
void option_refused(int got, char *const *argv, char *why, size_t why_bytes);

#endif
