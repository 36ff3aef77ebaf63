/*
 * doctor.h - what RDMA needs on this host, what is missing, and what to do about it.
 *
 * Looks by itself, so that it also works where no daemon starts; of a daemon that runs it looks at
 * the limits, the user, and which ports it wants.  Nothing is changed.
 */
#ifndef TOOLS_CTL_DOCTOR_H
#define TOOLS_CTL_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * doctor_look() - the report:
 *   {"ports": [{"device", "port", "state", "wanted", "link", "gbit_per_s", "mtu",
 *               "gids": [{"index", "gid", "type", "chosen"}...]}...],
 *    "memlock": {"bytes" (null: no limit), "whose", "capable" (of CAP_IPC_LOCK)},
 *    "uid": who looked,
 *    "findings": [{"level": "ok"|"advice"|"fault", "about", "text", "do"}...]}
 * A fault keeps something that is wanted from being used; no device at all is none.
 * @socket: of the daemon; it need not answer
 * Return: to be freed by json_decref(), or NULL: no memory.
 */
json_t *doctor_look(const char *socket);

/* For people.  Return: 0 or -ENOMEM. */
int doctor_show(const json_t *report, FILE *to);

/* Is there a fault?  Then carryctl's exit code is 1, with --json as without. */
bool doctor_is_bad(const json_t *report);

#endif
