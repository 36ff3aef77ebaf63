/* wire.h - the floor: includes nothing of the other layers. */
#include "proto/text.h"
#include <stdint.h>
