/* carry-x.c - a tool that reaches into the library and into io_uring. */
#include "libclient/carry.h"
#include "libclient/internal.h"

#include <liburing.h>
