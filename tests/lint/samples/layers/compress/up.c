/* up.c - mathematics that wants to print and to send. */
#include "proto/wire.h"

#include <stdio.h>
