/*
 * verbs_status.c - what a verbs device reports, in words and as an errno.
 */
#include "daemon/transport/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* clang-format off: a table */
static const struct {
	enum ibv_wc_status status;
	int error;
	const char *text;
} statuses[] = {
	{IBV_WC_LOC_LEN_ERR, -EMSGSIZE, "a write was longer than a queue pair can send"},
	{IBV_WC_LOC_QP_OP_ERR, -EIO, "the device found an inconsistent queue pair"},
	{IBV_WC_LOC_PROT_ERR, -EFAULT, "the device was to send memory that is not registered"},
	{IBV_WC_WR_FLUSH_ERR, -ECONNRESET, "the queue pair had failed before"},
	{IBV_WC_BAD_RESP_ERR, -EPROTO, "the peer's device answered with nonsense"},
	{IBV_WC_LOC_ACCESS_ERR, -EACCES, "the peer wrote where it was not allowed to"},
	{IBV_WC_REM_INV_REQ_ERR, -EREMOTEIO, "the peer's device does not know the request"},
	{IBV_WC_REM_ACCESS_ERR, -EACCES, "the peer's device does not let us write there"},
	{IBV_WC_REM_OP_ERR, -EREMOTEIO, "the peer's device could not complete a write"},
	{IBV_WC_RETRY_EXC_ERR, -ETIMEDOUT, "the peer's device does not answer (retries used up)"},
	{IBV_WC_RNR_RETRY_EXC_ERR, -EBUSY, "the peer posts no receives (RNR retries used up)"},
	{IBV_WC_REM_ABORT_ERR, -ECONNABORTED, "the peer's device gave the request up"},
	{IBV_WC_FATAL_ERR, -EIO, "the device has failed"},
	{IBV_WC_RESP_TIMEOUT_ERR, -ETIMEDOUT, "the peer's device was too slow to answer"},
	{IBV_WC_GENERAL_ERR, -EIO, "the device reports an error without a name"},
};

static const struct {
	enum ibv_event_type type;
	const char *text;
} events[] = {
	{IBV_EVENT_PORT_ERR, "its port went down"},
	{IBV_EVENT_DEVICE_FATAL, "the device has failed or was removed"},
	{IBV_EVENT_CQ_ERR, "its completion queue has overflowed"},
	{IBV_EVENT_SRQ_ERR, "its shared receive queue has failed"},
	{IBV_EVENT_QP_FATAL, "its queue pair has failed"},
	{IBV_EVENT_QP_REQ_ERR, "the peer's device asked its queue pair for what it cannot do"},
	{IBV_EVENT_QP_ACCESS_ERR, "the peer wrote where it was not allowed to"},
	{IBV_EVENT_GID_CHANGE, "its GIDs have changed"},
	{IBV_EVENT_LID_CHANGE, "its LID has changed"},
	{IBV_EVENT_PKEY_CHANGE, "its partition keys have changed"},
};
/* clang-format on */

const char *verbs_status_text(enum ibv_wc_status status)
{
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].status == status)
			return statuses[i].text;
	return ibv_wc_status_str(status);
}

int verbs_status_errno(enum ibv_wc_status status)
{
	if (status == IBV_WC_SUCCESS)
		return 0;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (statuses[i].status == status)
			return statuses[i].error;
	return -EIO;
}

void verbs_status_count(struct transport_stats *stats, enum ibv_wc_status status)
{
	if (status == IBV_WC_RETRY_EXC_ERR)
		stats->retries_exceeded++;
	else if (status == IBV_WC_RNR_RETRY_EXC_ERR)
		stats->rnr_exceeded++;
	else if (status != IBV_WC_WR_FLUSH_ERR)
		stats->requests_failed++;
}

const char *verbs_event_text(enum ibv_event_type type)
{
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i].type == type)
			return events[i].text;
	return NULL;
}

void verbs_status_tcp(struct transport *t, uint16_t slot, const char *who, const char *why)
{
	(void)snprintf(t->why_tcp, sizeof(t->why_tcp), "%s: %s", who, why);
	memcpy(t->why_not[slot], t->why_tcp, sizeof(t->why_tcp));
}

const char *verbs_status_over(struct transport *t, uint16_t peer, uint16_t path, char *about)
{
	uint32_t slot = (uint32_t)peer * TRANSPORT_PATHS_MAX + path;
	const struct verbs_path *p = t->paths[slot];

	if (t->over_tcp[slot]) {
		memcpy(about, t->why_not[slot], TRANSPORT_ABOUT_BYTES);
		return "TCP";
	}
	if (!p || p->state != VERBS_UP)
		return NULL;
	(void)snprintf(about, TRANSPORT_ABOUT_BYTES, "%s:%u", t->device.name,
		       (unsigned)t->device.port);
	return "RDMA";
}

__attribute__((format(printf, 2, 3))) static void append(struct transport *t, const char *format,
							 ...)
{
	size_t n = strlen(t->text);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(t->text + n, sizeof(t->text) - n, format, arguments);
	va_end(arguments);
}

const char *verbs_status_describe(struct transport *t)
{
	static const char *const links[] = {[VERBS_INFINIBAND] = "InfiniBand",
					    [VERBS_ROCE_V1] = "RoCE v1",
					    [VERBS_ROCE_V2] = "RoCE v2"};
	const struct verbs_device *d = &t->device;
	int link = d->ethernet ? d->version2 ? VERBS_ROCE_V2 : VERBS_ROCE_V1 : VERBS_INFINIBAND;
	char gid[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET6, d->gid.raw, gid, sizeof(gid));
	if (d->context)
		(void)snprintf(t->text, sizeof(t->text), "verbs on %s:%u (%s%s%s%s), %u paths",
			       d->name, (unsigned)d->port, links[link], d->ethernet ? ", " : "",
			       d->ethernet ? gid : "", verbs_device_usable(d) ? "" : ", down",
			       t->active_count);
	else
		(void)snprintf(t->text, sizeof(t->text), "no verbs: %s", verbs_device_refuses(d));
	if (d->no_memory)
		append(t, "; no more of them: %s", verbs_device_refuses(d));
	else if (d->context && d->memlock_bytes != UINT64_MAX)
		append(t, "; only %" PRIu64 " MiB can be registered: raise LimitMEMLOCK=",
		       d->memlock_bytes >> 20);
	if (t->tcp_paths)
		append(t, "; %u over TCP (%.100s): %.100s", t->tcp_paths, t->why_tcp,
		       transport_uring.describe(t->tcp));
	if (d->context && link == VERBS_ROCE_V2)
		append(t, "; UDP ports %s", d->udp.how);
	return t->text;
}
