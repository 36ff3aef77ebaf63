/* own.h - the header that own.c should begin with. */
