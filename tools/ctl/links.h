/*
 * links.h - data connections, and what the RDMA devices of this host have counted.
 */
#ifndef TOOLS_CTL_LINKS_H
#define TOOLS_CTL_LINKS_H

#include <jansson.h>
#include <stdio.h>

/* Where the kernel shows its RDMA devices. */
#define LINKS_DEVICES "/sys/class/infiniband"

/*
 * links_add_ports() - to the daemon's report {"paths", "lanes"}:
 *   "ports": [{"device", "port", "used", "counters": {...}}...]
 * every port of the devices in that folder; used: a path of the report runs over it; the counters
 * are those of the driver (hw_counters, such as Soft-RoCE's rcvd_rnr_err), since the device is
 * there.  None, if there is no such folder.
 */
void links_add_ports(json_t *report, const char *devices);

/* With LINKS_DEVICES. */
void links_complete(json_t *report);

/* For people.  Return: 0 or -ENOMEM. */
int links_show(const json_t *report, FILE *to);

#endif
