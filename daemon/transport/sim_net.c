/*
 * sim_net.c - the simulated network: clock, calendar, connections, frames under way.
 *
 * See sim.h for what it models, sim_net.h for how.
 */
#include "daemon/transport/sim_net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/transport/chance.h"

/* --- chance --------------------------------------------------------------------------------- */

static uint64_t draw_delay(struct sim_net *net, const struct sim_end *end)
{
	return end->shape.jitter_ns_max ? chance_below(&net->random, end->shape.jitter_ns_max + 1)
					: 0;
}

/* --- calendar ------------------------------------------------------------------------------- */

static bool before(const struct sim_entry *a, const struct sim_entry *b)
{
	return a->ns != b->ns ? a->ns < b->ns : a->sequence < b->sequence;
}

static void swap(struct sim_entry *a, struct sim_entry *b)
{
	struct sim_entry was = *a;

	*a = *b;
	*b = was;
}

static void put_entry(struct sim_net *net, uint64_t ns, enum sim_entry_kind kind, int end)
{
	size_t i = net->entries++;

	assert(net->entries <= net->entries_max);
	net->calendar[i] =
		(struct sim_entry){.ns = ns, .sequence = net->sequence++, .kind = kind, .end = end};
	for (; i && before(&net->calendar[i], &net->calendar[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&net->calendar[i], &net->calendar[(i - 1) / 2]);
}

static struct sim_entry take_entry(struct sim_net *net)
{
	struct sim_entry *heap = net->calendar;
	struct sim_entry taken = heap[0];
	size_t i = 0;

	heap[0] = heap[--net->entries];
	for (;;) {
		size_t least = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
			if (child < net->entries && before(&heap[child], &heap[least]))
				least = child;
		if (least == i)
			return taken;
		swap(&heap[i], &heap[least]);
		i = least;
	}
}

/* --- ends ----------------------------------------------------------------------------------- */

struct sim_end *sim_find_end(struct sim_net *net, int number)
{
	size_t link = (size_t)number / 2;

	assert(number >= 0 && link < net->links_count);
	return net->links[link] ? &net->links[link]->ends[number % 2] : NULL;
}

void sim_want_report(struct sim_end *end)
{
	struct transport *t = end->owner;

	if (!t || end->in_ready)
		return;
	end->in_ready = true;
	t->ready[(t->ready_first + t->ready_count++) % SIM_SLOTS] = end;
}

static void free_frames(struct sim_frame *frame)
{
	while (frame) {
		struct sim_frame *next = frame->next;

		free(frame);
		frame = next;
	}
}

/* Forget the frames that are not wholly here; with `all`, those that are, too. */
static void lose_frames(struct sim_end *end, bool all)
{
	struct sim_frame **at = &end->first;

	end->last = NULL;
	end->arriving = NULL;
	while (*at && (*at)->whole_here && !all) {
		end->last = *at;
		at = &(*at)->next;
	}
	free_frames(*at);
	*at = NULL;
}

void sim_break_end(struct sim_end *end, int error, enum wire_verdict verdict, bool at_once)
{
	if (end->over)
		return;
	if (!end->error) {
		end->error = error;
		end->verdict = verdict;
		lose_frames(end, false);
	}
	if (at_once) {
		end->at_once = true;
		lose_frames(end, true);
	}
	end->leaving = false;
	sim_want_report(end);
}

void sim_tell_other(struct sim_net *net, struct sim_end *end)
{
	uint64_t ns = net->now_ns + end->shape.latency_ns;

	if (end->closed_sent)
		return;
	end->closed_sent = true;
	if (ns <= end->arrival_ns)
		ns = end->arrival_ns + 1;
	put_entry(net, ns, SIM_CLOSED, end->other->number);
}

void sim_finish_end(struct sim_net *net, struct sim_end *end)
{
	size_t link = (size_t)end->number / 2;

	lose_frames(end, true);
	end->over = true;
	end->owner = NULL;
	if (!end->other->over)
		return;
	free(net->links[link]);
	net->links[link] = NULL;
	net->links_living--;
}

/* --- frames --------------------------------------------------------------------------------- */

void sim_begin(struct sim_net *net, struct sim_end *end)
{
	const struct wire_frame *header = &end->out[end->sent % SIM_OUT_FRAMES].header;
	uint64_t bytes, ns = 0;

	if (end->leaving || end->error || end->sent == end->tail)
		return;
	bytes = WIRE_HEADER_BYTES + (uint64_t)header->payload_bytes;
	if (end->under_way && end->under_way + bytes > net->options.window_bytes)
		return;
	end->under_way += bytes;
	end->leaving = true;
	if (end->shape.bytes_per_s)
		ns = bytes * CLOCK_NS_PER_S / end->shape.bytes_per_s;
	put_entry(net, net->now_ns + ns, SIM_LEFT, end->number);
}

static void schedule_arrival(struct sim_net *net, struct sim_end *end)
{
	const struct sim_frame *f = end->arriving;

	if (f)
		put_entry(net, f->header_here ? f->whole_ns : f->header_ns, SIM_ARRIVED,
			  end->number);
}

static void append_frame(struct sim_net *net, struct sim_end *end, struct sim_frame *frame)
{
	if (end->last && end->first)
		end->last->next = frame;
	else
		end->first = frame;
	end->last = frame;
	if (end->arriving)
		return;
	end->arriving = frame;
	schedule_arrival(net, end);
}

static struct sim_frame *copy_frame(struct sim_net *net, struct sim_end *end,
				    const struct sim_out *out)
{
	struct sim_frame *frame = calloc(1, sizeof(*frame) + out->header.payload_bytes);
	uint64_t ns = net->now_ns + end->shape.latency_ns + draw_delay(net, end);

	if (!frame)
		return NULL;
	frame->header = out->header;
	if (out->header.payload_bytes)
		memcpy(frame->payload, out->payload, out->header.payload_bytes);
	if (end->corrupt) {
		uint64_t bit = chance_below(&net->random, 8 * WIRE_HEADER_BYTES);

		((unsigned char *)&frame->header)[bit / 8] ^= (unsigned char)(1u << (bit % 8));
		end->corrupt = false;
	}
	frame->header_ns = ns > end->arrival_ns ? ns : end->arrival_ns;
	frame->whole_ns = frame->header_ns;
	if (out->header.payload_bytes)
		frame->whole_ns += draw_delay(net, end);
	end->arrival_ns = frame->whole_ns;
	return frame;
}

static void frame_left(struct sim_net *net, struct sim_end *end)
{
	const struct sim_out *out = &end->out[end->sent % SIM_OUT_FRAMES];
	struct sim_frame *frame;

	if (!end->leaving)
		return; /* was cut meanwhile */
	end->leaving = false;
	frame = copy_frame(net, end, out);
	if (!frame) {
		sim_break_end(end, -ENOMEM, WIRE_OK, false);
		sim_tell_other(net, end);
		return;
	}
	end->sent++;
	end->owner->stats.frames_sent++;
	end->owner->stats.bytes_sent += WIRE_HEADER_BYTES + out->header.payload_bytes;
	if (end->other->error || end->other->over)
		free(frame); /* into the void */
	else
		append_frame(net, end->other, frame);
	sim_want_report(end);
	sim_begin(net, end);
}

/* The peer broke a rule: both ends go. */
static void refuse(struct sim_net *net, struct sim_end *end, enum wire_verdict verdict)
{
	if (end->owner)
		end->owner->stats.bad_frames++;
	sim_break_end(end, -EBADMSG, verdict, false);
	sim_tell_other(net, end);
}

static void frame_arrived(struct sim_net *net, struct sim_end *end)
{
	struct sim_frame *f = end->arriving;

	if (!f)
		return;
	if (f->header_here) {
		f->whole_here = true;
		end->arriving = f->next;
	} else {
		enum wire_verdict verdict = wire_check(&f->header);

		if (verdict != WIRE_OK) {
			refuse(net, end, verdict);
			return;
		}
		f->header_here = true;
	}
	schedule_arrival(net, end);
	sim_want_report(end);
}

static void happen(struct sim_net *net, const struct sim_entry *entry)
{
	struct sim_end *end = sim_find_end(net, entry->end);

	if (!end || end->over)
		return;
	switch (entry->kind) {
	case SIM_LEFT: frame_left(net, end); break;
	case SIM_ARRIVED: frame_arrived(net, end); break;
	case SIM_CLOSED:
		sim_break_end(end, end->arriving ? -ECONNRESET : -EPIPE, WIRE_OK, false);
		break;
	}
}

/* --- the network ---------------------------------------------------------------------------- */

int sim_net_open(struct sim_net **out, const struct sim_net_options *options)
{
	struct sim_net *net = calloc(1, sizeof(*net));

	if (!net)
		return -ENOMEM;
	net->options = *options;
	if (!net->options.window_bytes)
		net->options.window_bytes = SIM_WINDOW_BYTES;
	net->wake_ns = UINT64_MAX;
	net->random = options->seed;
	*out = net;
	return 0;
}

void sim_net_close(struct sim_net *net)
{
	if (!net)
		return;
	for (size_t i = 0; i < net->links_count; i++) {
		struct sim_link *link = net->links[i];

		for (int side = 0; link && side < 2; side++) {
			assert(!link->ends[side].owner);
			lose_frames(&link->ends[side], true);
		}
		free(link);
	}
	free(net->links);
	free(net->calendar);
	free(net);
}

uint64_t sim_net_now(const struct sim_net *net)
{
	return net->now_ns;
}

uint64_t sim_net_next(const struct sim_net *net)
{
	uint64_t ns = net->entries ? net->calendar[0].ns : UINT64_MAX;

	return ns < net->wake_ns ? ns : net->wake_ns;
}

void sim_net_advance(struct sim_net *net, uint64_t now_ns)
{
	assert(now_ns >= net->now_ns);
	while (net->entries && net->calendar[0].ns <= now_ns) {
		struct sim_entry entry = take_entry(net);

		net->now_ns = entry.ns;
		happen(net, &entry);
	}
	net->now_ns = now_ns;
	if (net->wake_ns <= now_ns)
		net->wake_ns = UINT64_MAX;
}

void sim_net_wake_at(struct sim_net *net, uint64_t now_ns)
{
	if (now_ns < net->wake_ns)
		net->wake_ns = now_ns;
}

/* Room for one more link, and for all entries that it can make. */
static int grow(struct sim_net *net)
{
	size_t entries = net->entries + 2 * SIM_ENTRIES_PER_END * (net->links_living + 1);
	size_t links = net->links_count + 1;

	if (entries > net->entries_max) {
		void *more = realloc(net->calendar, 2 * entries * sizeof(*net->calendar));

		if (!more)
			return -ENOMEM;
		net->calendar = more;
		net->entries_max = 2 * entries;
	}
	if (links > net->links_max) {
		void *more = realloc(net->links, 2 * links * sizeof(struct sim_link *));

		if (!more)
			return -ENOMEM;
		net->links = more;
		net->links_max = 2 * links;
	}
	return 0;
}

int sim_net_connect(struct sim_net *net, uint32_t node_a, uint32_t node_b, int ends[2])
{
	struct sim_link *link;

	assert(node_a < net->options.nodes && node_b < net->options.nodes);
	if (grow(net) < 0)
		return -ENOMEM;
	link = calloc(1, sizeof(*link));
	if (!link)
		return -ENOMEM;
	for (int side = 0; side < 2; side++) {
		ends[side] = (int)(2 * net->links_count) + side;
		link->ends[side].number = ends[side];
		link->ends[side].node = side ? node_b : node_a;
		link->ends[side].other = &link->ends[1 - side];
		link->ends[side].shape = net->options.shape;
	}
	net->links[net->links_count++] = link;
	net->links_living++;
	return 0;
}

void sim_net_shape(struct sim_net *net, int number, const struct sim_shape *shape)
{
	struct sim_end *end = sim_find_end(net, number);

	if (!end)
		return;
	end->shape = *shape;
	end->other->shape = *shape;
}

void sim_net_cut(struct sim_net *net, int number)
{
	struct sim_end *end = sim_find_end(net, number);

	if (!end)
		return;
	sim_break_end(end, -ECONNRESET, WIRE_OK, false);
	sim_break_end(end->other, -ECONNRESET, WIRE_OK, false);
}

void sim_net_corrupt(struct sim_net *net, int number)
{
	struct sim_end *end = sim_find_end(net, number);

	if (end)
		end->corrupt = true;
}

void sim_net_drop(struct sim_net *net, int number)
{
	struct sim_end *end = sim_find_end(net, number);

	if (!end || end->over)
		return;
	assert(!end->owner);
	sim_tell_other(net, end);
	sim_finish_end(net, end);
}
