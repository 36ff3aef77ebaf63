/*
 * verbs_there.h - is there an RDMA device at all?  Apart from verbs.h, which needs its headers.
 */
#ifndef DAEMON_TRANSPORT_VERBS_THERE_H
#define DAEMON_TRANSPORT_VERBS_THERE_H

#include <stdbool.h>

bool verbs_device_there(void);

#endif
