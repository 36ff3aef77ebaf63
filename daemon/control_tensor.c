/*
 * control_tensor.c - CTL_TENSOR: what a trainer says of how its tensors go over the wire, and what
 * there is of that to be looked at; see control.h and tensor.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/control_state.h"
#include "daemon/report.h"

/* Norms read whole vectors: so many bytes of them at most for one report, about 20 ms. */
enum { NORM_BYTES_MAX = 128 << 20 };

static struct control_group *group_of_handle(struct control *c, uint32_t client, uint32_t handle)
{
	for (struct control_group *g = c->groups; g; g = g->next)
		for (uint32_t i = 0; i < g->group->local_ranks; i++) {
			const struct group_local *local = &g->group->local[i];

			if (local->client == client && local->handle == handle &&
			    local->state == GROUP_RANK_HERE)
				return g;
		}
	return NULL;
}

void tensor_request(struct control *c, const struct client_request *request)
{
	const struct ctl_tensor *wanted = &request->tensor;
	const struct tensor_use use = {
		.name = wanted->key_name,
		.key = wanted->key,
		.count = wanted->count,
		.type = wanted->type,
		.codec = wanted->codec,
		.feedback = wanted->feedback,
	};
	struct ctl_number answer = {0};
	struct control_group *g = NULL;
	struct err err;
	bool plain;
	int ret;

	if (wanted->handle != CTL_NO_GROUP) {
		g = group_of_handle(c, request->client, wanted->handle);
		if (!g) {
			client_answer_error(c->clients, request->client, request->id, GROUP_LEFT,
					    "this rank has left the group");
			return;
		}
	}
	ret = tensors_judge(use.codec, use.feedback, &plain, &err);
	answer.plain = plain;
	if (!ret && g && !plain)
		ret = tensors_add(g->tensors, &use, &err);
	if (ret < 0) {
		client_answer_error(c->clients, request->client, request->id, ret, err.text);
		return;
	}
	answer.number = (uint32_t)ret;
	client_answer_number(c->clients, request->client, request->id, &answer);
}

/* --- to be looked at -------------------------------------------------------------------------- */

static json_t *keys_json(const struct tensors *t, uint64_t *budget)
{
	json_t *keys = json_array();
	struct tensor_report r;

	for (uint32_t i = 0; tensors_report(t, i, budget, &r); i++)
		(void)json_array_append_new(
			keys,
			json_pack("{s:o, s:I, s:s, s:s, s:I, s:I, s:o}", "key", report_text(r.name),
				  "count", (json_int_t)r.count, "type",
				  vec_type_name((enum vec_type)r.type), "feedback", r.feedback,
				  "bytes", (json_int_t)r.bytes, "steps", (json_int_t)r.steps,
				  "norm", r.has_norm ? json_real(r.norm) : json_null()));
	return keys;
}

json_t *control_state_json(const struct control *c)
{
	uint64_t budget = NORM_BYTES_MAX;
	json_t *groups = json_array();

	for (const struct control_group *g = c->groups; g; g = g->next) {
		char id[24];

		(void)snprintf(id, sizeof(id), "%016" PRIx64, g->group->id);
		(void)json_array_append_new(
			groups,
			json_pack("{s:s, s:o, s:o, s:I, s:I, s:o}", "id", id, "name",
				  report_text(g->group->name), "run", report_text(g->group->run),
				  "state_bytes", (json_int_t)tensors_bytes(g->tensors),
				  "state_bytes_max", (json_int_t)c->config->state_bytes, "keys",
				  keys_json(g->tensors, &budget)));
	}
	return groups;
}
