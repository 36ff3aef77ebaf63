/*
 * root.h - the address of rank 0's host.  Names are resolved here, in the trainer, because a
 * resolver may block and the daemon must not.
 */
#ifndef LIBCLIENT_ROOT_H
#define LIBCLIENT_ROOT_H

#include <stddef.h>

struct carry;

/*
 * root_resolve() - a numeric IPv4 or IPv6 address (with %scope where it needs one) of a host.
 * @address: char[bytes]
 *
 * The first that the system's resolver gives and that is not a loopback address; else the first:
 * many a host's own name is 127.0.1.1 in its own /etc/hosts.  Blocks as long as the resolver.
 * Return: 0; -EHOSTUNREACH (also if no name server answers), -ENOMEM with a sentence.
 */
int root_resolve(char *address, size_t bytes, const struct carry *c, const char *host);

#endif
