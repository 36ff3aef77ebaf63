/* lanes_end.h - the end of what lanes.h began: code after it is for any CPU again. */
#ifndef COMPRESS_LANES_END_H
#define COMPRESS_LANES_END_H

#if LANES > 1 && defined __clang__
#pragma clang attribute pop
#endif

#endif
