/* own.c - begins with another header, and then looks up at the engine. */
#include "proto/wire.h"
#include "daemon/sched/own.h"
#include "daemon/engine.h"
#include "own.h"
