/*
 * text.h - what a text from another process must be before it is shown to anybody.
 *
 * Names and sentences come in fields of fixed size from peers and trainers, and end
 * in logs and on terminals.  So they must be terminated within their field, and a
 * control character in them (a line break, an escape) is refused: nobody writes lines
 * of the log but the daemon itself.  Bytes from 0x80 on pass: UTF-8 is welcome.
 */
#ifndef PROTO_TEXT_H
#define PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* text_ok() - is text[bytes] terminated and free of control characters?  It may be empty. */
bool text_ok(const char *text, size_t bytes);

/* text_named() - the same, and not empty. */
bool text_named(const char *text, size_t bytes);

/* text_address_ok() - a numeric IPv4 or IPv6 address, the latter perhaps with a %scope? */
bool text_address_ok(const char *text, size_t bytes);

#endif
