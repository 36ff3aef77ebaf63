/*
 * loop.h - epoll of the main thread, without callbacks.
 *
 * Whoever owns a descriptor adds it with a tag (which module) and an index (which of
 * its things).  loop_wait() returns tags and indices; main.c switches over the tag and
 * calls the module.  Level-triggered.
 *
 * An event is a hint: the handling of an earlier event of the same batch may have closed
 * the descriptor, or given its index to something new.  So a handler never believes
 * the event alone: it reads a non-blocking descriptor, or polls a pidfd again.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "daemon/err.h"

enum loop_tag {
	LOOP_LISTEN_UNIX = 1, /* client.c: a connection waits                          */
	LOOP_CLIENT,          /* client.c: index: the client; a packet waits, or room  */
	LOOP_CLIENT_PID,      /* client.c: index: the client; its process has ended    */
	LOOP_SIGNAL,          /* main.c: SIGTERM, SIGINT                               */
	LOOP_FACTS,           /* main.c: a lane has put facts                          */
	LOOP_PEERS,           /* control.c: index is its own                           */
};

struct loop_event {
	enum loop_tag tag;
	uint32_t index;
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
};

struct loop;

int loop_open(struct loop **out, struct err *err);
void loop_close(struct loop *loop); /* NULL is allowed */

/* Return: 0 or negative errno (-ENOSPC: fs.epoll.max_user_watches, -ENOMEM). */
int loop_add(struct loop *loop, int fd, uint32_t events, enum loop_tag tag, uint32_t index);
int loop_change(struct loop *loop, int fd, uint32_t events, enum loop_tag tag, uint32_t index);

/* Before fd is closed: a copy in another process would keep it in the epoll set.  -1 is allowed. */
void loop_remove(struct loop *loop, int fd);

/*
 * loop_wait() - sleep until something happens, timeout_ns pass (UINT64_MAX: no limit)
 * or a signal comes.  Return: how many events, at most `max` (1..).
 */
size_t loop_wait(struct loop *loop, struct loop_event *events, size_t max, uint64_t timeout_ns);

#endif
