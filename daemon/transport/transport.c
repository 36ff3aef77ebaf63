/*
 * transport.c - the table of transports.
 */
#include "daemon/transport/transport.h"

#include <string.h>

#define X(name) &transport_##name,
const struct transport_ops *const transport_table[] = {TRANSPORTS(X) NULL};
#undef X

const struct transport_ops *transport_by_name(const char *name)
{
	for (const struct transport_ops *const *it = transport_table; *it; it++)
		if (!strcmp((*it)->name, name))
			return *it;
	return NULL;
}
