/*
 * control_links.c - data connections as JSON: what each runs over, what it carried, and for each
 * node of a group what was chosen and why not RDMA.  See control.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/control_state.h"
#include "daemon/report.h"

/* Why a path over TCP is none over RDMA. */
static const char *why_not_rdma(const struct control *c, const struct peer_path_about *about)
{
	if (strcmp(about->over, "TCP") != 0)
		return "";
	if (about->about[0])
		return about->about;
	return strcmp(c->config->transport, "auto") == 0
		       ? "here: carryd found no RDMA device when it started"
		       : "here: configured for TCP";
}

static const char *device_of(const struct peer_path_about *about)
{
	return strcmp(about->over, "RDMA") == 0 ? about->about : "";
}

static json_int_t figure(const _Atomic uint64_t *of)
{
	return (json_int_t)atomic_load_explicit(of, memory_order_relaxed);
}

static json_t *path_json(const struct control *c, uint16_t peer, uint16_t lane, uint16_t path)
{
	const struct engine_path_stats *stats =
		engine_path_stats(engine_thread_engine(c->lanes[lane]), peer, path);
	struct peer_path_about about;
	struct peer_about other;
	char address[64];

	peers_path_about(c->peers, peer, lane, path, &about);
	if (about.state == PEER_PATH_UNWANTED)
		return NULL;
	peers_about(c->peers, peer, &other);
	group_endpoint_text(other.node.address, other.node.port, address, sizeof(address));
	return json_pack("{s:o, s:s, s:i, s:i, s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "host",
			 report_text(other.node.host), "address", address, "lane", (int)lane,
			 "path", (int)path, "up", about.state == PEER_PATH_UP && *about.over,
			 "over", about.over, "device", device_of(&about), "why_not_rdma",
			 why_not_rdma(c, &about), "frames_sent", figure(&stats->frames_sent),
			 "frames_received", figure(&stats->frames_received), "payload_sent",
			 figure(&stats->payload_sent), "payload_received",
			 figure(&stats->payload_received));
}

json_t *control_paths_json(const struct control *c)
{
	json_t *paths = json_array();

	for (uint16_t peer = 0; peer < peers_end(c->peers); peer++) {
		struct peer_about about;

		peers_about(c->peers, peer, &about);
		for (uint16_t lane = 0; about.state == PEER_STATE_KNOWN && lane < c->n; lane++)
			for (uint16_t path = 0; path < c->config->paths; path++) {
				json_t *one = path_json(c, peer, lane, path);

				if (one)
					(void)json_array_append_new(paths, one);
			}
	}
	return paths;
}

void links_add_node(json_t *node, const struct control *c, const struct control_group *g,
		    uint16_t n)
{
	uint32_t rdma = 0, tcp = 0;
	const char *why = "";
	struct peer_path_about about;

	for (uint16_t lane = 0; lane < g->group->lanes && n != g->group->node; lane++)
		for (uint16_t path = 0; path < g->group->paths; path++) {
			peers_path_about(c->peers, g->peers[n], lane, path, &about);
			rdma += strcmp(about.over, "RDMA") == 0;
			tcp += strcmp(about.over, "TCP") == 0;
			if (*why_not_rdma(c, &about))
				why = why_not_rdma(c, &about);
		}
	(void)json_object_set_new(node, "over",
				  json_string(rdma && tcp ? "both"
					      : rdma      ? "RDMA"
					      : tcp       ? "TCP"
							  : ""));
	(void)json_object_set_new(node, "paths_rdma", json_integer(rdma));
	(void)json_object_set_new(node, "paths_tcp", json_integer(tcp));
	(void)json_object_set_new(node, "why_not_rdma", report_text(why));
}
