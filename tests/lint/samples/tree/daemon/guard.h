/* guard.h - has the wrong guard. */
#ifndef GUARD_H
#define GUARD_H
#endif
