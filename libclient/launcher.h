/*
 * launcher.h - who am I in the group: options first, then what the launcher put into the
 * environment.  The variables and their order are in carry.h, at carry_group_options.
 */
#ifndef LIBCLIENT_LAUNCHER_H
#define LIBCLIENT_LAUNCHER_H

#include <stdint.h>

#include "libclient/carry.h"

#define LAUNCHER_PORT 7117

struct launcher {
	uint32_t rank;
	uint32_t ranks;
	uint16_t root_port;
	char root[256]; /* name or address */
	char run[256];  /* not empty; up to 63 bytes unless the caller gave more */
};

/*
 * launcher_read() - Return: 0; -EINVAL with a sentence that names the option or variable.
 * Reads the environment: like getenv(), not while another thread changes it.
 */
int launcher_read(struct launcher *l, const struct carry *c, const struct carry_group_options *o);

/*
 * launcher_size() - "64M" -> 67108864.  K, M, G: powers of 1024; nothing else may follow.
 * Return: 0, or -EINVAL.
 */
int launcher_size(uint64_t *bytes, const char *text);

/* launcher_number() - a decimal number from 0 to max and nothing else.  Return: 0, or -EINVAL. */
int launcher_number(uint64_t *value, const char *text, uint64_t max);

#endif
