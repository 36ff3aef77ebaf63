/*
 * sim.h - a network in one process, with a clock of its own.
 *
 * Nodes are numbers.  A connection joins two of them and has two ends, which are small
 * integers and are given to attach() of the "sim" transport where TCP would have a
 * descriptor; any instance that was opened for the end's node can have it, so a node
 * may have as many lanes as it likes.
 *
 * A frame takes bytes / rate to leave (one after the other on each direction), then
 * the latency and a random delay to arrive; its payload arrives a random delay after
 * its header.  So frames of one connection stay in order and those of two do not.  At
 * most `window_bytes` of a direction are under way or unread: a receiver that does not
 * read stops its sender, as TCP would.  Payloads are copied when their frame leaves,
 * which is when SENT is reported, and not before.
 *
 * The clock moves only in sim_net_advance(), or in wait() of an instance, for all.
 * Everything follows from the seed and the order of the calls.  Not thread-safe.
 */
#ifndef DAEMON_TRANSPORT_SIM_H
#define DAEMON_TRANSPORT_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_net;

struct sim_shape {
	uint64_t latency_ns;
	uint64_t jitter_ns_max; /* random delay on top                        */
	uint64_t bytes_per_s;   /* of each direction; 0: as fast as one likes */
};

struct sim_net_options {
	uint32_t nodes;
	uint64_t seed;
	struct sim_shape shape; /* of every connection from the start */
	uint32_t window_bytes;  /* 0: 4 MiB                           */
};

/* Return: 0 or -ENOMEM.  Close the transports first. */
int sim_net_open(struct sim_net **out, const struct sim_net_options *options);
void sim_net_close(struct sim_net *net); /* NULL is allowed */

uint64_t sim_net_now(const struct sim_net *net);
uint64_t sim_net_next(const struct sim_net *net); /* when something happens; UINT64_MAX: never */

/* Move the clock to now_ns, doing all that is due until then, in order. */
void sim_net_advance(struct sim_net *net, uint64_t now_ns);

/* Something of the caller's is due at now_ns: sim_net_next() will say so once. */
void sim_net_wake_at(struct sim_net *net, uint64_t now_ns);

/*
 * sim_net_connect() - join two nodes (or one with itself).
 * Return: 0, and ends[0] is node_a's, ends[1] node_b's; or -ENOMEM.
 */
int sim_net_connect(struct sim_net *net, uint32_t node_a, uint32_t node_b, int ends[2]);

/* All of these do nothing to an end whose connection is over. */
void sim_net_shape(struct sim_net *net, int end, const struct sim_shape *shape); /* both ways */
void sim_net_cut(struct sim_net *net, int end);     /* both go DOWN; what is under way is lost */
void sim_net_corrupt(struct sim_net *net, int end); /* flip a bit of the next header sent by it */
void sim_net_drop(struct sim_net *net, int end);    /* instead of close(): it was never attached */

#endif
