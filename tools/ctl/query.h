/*
 * query.h - one question to the daemon, over its Unix socket.
 */
#ifndef TOOLS_CTL_QUERY_H
#define TOOLS_CTL_QUERY_H

#include <stddef.h>

enum { QUERY_SENTENCE_BYTES = 512, QUERY_BYTES_MAX = 64 << 20 };

/*
 * query_run() - ask for a report.
 * @what: "status", "groups"...
 * @sentence: QUERY_SENTENCE_BYTES: why it failed
 * Return: the answer, JSON text of malloc, or NULL.  It takes 10 s at most.
 */
char *query_run(const char *socket, const char *what, char *sentence);

#endif
