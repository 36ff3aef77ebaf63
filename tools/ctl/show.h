/*
 * show.h - the daemon's reports for people: what carryctl prints without --json.
 *
 * One function a report: the JSON comes in, tables go out.  A key that is missing shows
 * as nothing, so that an older carryctl can read a newer daemon.
 * Return: 0, or -ENOMEM.
 */
#ifndef TOOLS_CTL_SHOW_H
#define TOOLS_CTL_SHOW_H

#include <jansson.h>
#include <stdio.h>

int show_status(const json_t *status, FILE *to);
int show_groups(const json_t *groups, FILE *to);
int show_state(const json_t *groups, FILE *to);
int show_config(const json_t *config, FILE *to);

#endif
