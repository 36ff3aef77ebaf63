/*
 * main_run.h - the daemon put together: open everything, serve, close everything.
 *
 *            epoll (loop.h)
 *      Unix socket | other daemons | lanes' facts | signals
 *             |            \            /             |
 *        clients.h          control.h            orderly end
 *             \______________/     \
 *                                  lanes (engine_thread.h)
 *
 * Everything is opened before the Unix socket appears and before systemd hears READY.
 * An orderly end: no new clients, control_stop(), a second at most to tell everybody, then
 * the lanes, then the memory that they used.
 */
#ifndef DAEMON_MAIN_RUN_H
#define DAEMON_MAIN_RUN_H

#include <stdint.h>

#include "daemon/config.h"
#include "daemon/err.h"
#include "daemon/log.h"

/*
 * main_run() - until SIGTERM or SIGINT.
 * @start_ns: when the process began, for the log
 * Return: 0, or negative errno and *err says what could not be opened.
 */
int main_run(const struct config *config, struct log *log, uint64_t start_ns, struct err *err);

#endif
