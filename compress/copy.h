/*
 * copy.h - copying to memory that this CPU will not read soon.
 *
 * An ordinary store first brings the line that it overwrites into the cache, so a copy
 * costs a read of its destination besides, and pushes out what is still needed.  Results
 * of large ops go to the trainer, which reads them when the op is over: they are streamed.
 */
#ifndef COMPRESS_COPY_H
#define COMPRESS_COPY_H

#include <stddef.h>

/*
 * copy_away() - memcpy() around the cache.  Any alignment; in and out don't overlap.
 * Everything is visible to other CPUs when it returns and the caller releases a flag.
 */
void copy_away(void *out, const void *in, size_t bytes);

#endif
