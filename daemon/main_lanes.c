/* main_lanes.c - see main_lanes.h. */
#include "daemon/main_lanes.h"

#include <numa.h>
#include <string.h>

#include "daemon/clock.h"

enum { LANES_QUEUE_FRAMES = 64 };

/* Lanes without a processor of their own are spread over the NUMA nodes that we may use. */
static int lanes_numa_node(uint32_t lane)
{
	struct bitmask *allowed;
	unsigned int count;
	int node = -1;

	if (numa_available() < 0)
		return -1;
	allowed = numa_get_run_node_mask();
	if (!allowed)
		return -1;
	count = numa_bitmask_weight(allowed);
	for (unsigned int n = 0, seen = 0; count > 1 && node < 0; n++) {
		if (!numa_bitmask_isbitset(allowed, n))
			continue;
		if (seen++ == lane % count)
			node = (int)n;
	}
	numa_bitmask_free(allowed);
	return node;
}

static struct transport_options lanes_transport(const struct config *c)
{
	return (struct transport_options){
		.lane_fd = -1,
		.queue_frames = LANES_QUEUE_FRAMES,
		.payload_crc = c->payload_crc,
		.multishot = (enum transport_switch)c->multishot,
		.defer_taskrun = (enum transport_switch)c->defer_taskrun,
		.zerocopy = (enum transport_switch)c->zerocopy,
		.fixed_buffers = (enum transport_switch)c->fixed_buffers,
		.sqpoll = (enum transport_switch)c->sqpoll,
		.zerocopy_bytes_min = (uint32_t)c->zerocopy_bytes_min,
		.verbs_devices = c->devices,
		.verbs_timeout = (uint32_t)c->timeout,
		.verbs_retries = (uint32_t)c->retries,
		.verbs_service_level = (uint32_t)c->service_level,
		.verbs_traffic_class = (uint32_t)c->traffic_class,
		.tcp_too = strcmp(c->transport, "auto") == 0,
		.inner = c->inner,
		.fault_seed = c->seed,
		.cut_every = (uint32_t)c->cut_every,
		.delay_us_max = (uint32_t)c->delay_us_max,
		.corrupt_every = (uint32_t)c->corrupt_every,
	};
}

/* On which NUMA node each lane will run. */
static void lanes_where(const struct config *config, struct transport_options *options)
{
	options->lanes = (uint32_t)config->lanes;
	for (uint32_t lane = 0; lane < options->lanes; lane++) {
		int cpu = config_cpu(config, lane);

		options->lanes_numa[lane] = lanes_numa_node(lane);
		if (cpu >= 0)
			options->lanes_numa[lane] =
				numa_available() < 0 ? -1 : numa_node_of_cpu(cpu);
	}
}

int main_lanes_start(struct main_lanes *lanes, const struct config *config, int facts_fd,
		     struct err *err)
{
	struct engine_thread_options options = {
		.engine = {.transport = strcmp(config->transport, "auto") == 0 ? transport_auto()
									       : config->transport,
			   .transport_options = lanes_transport(config),
			   .main_eventfd = facts_fd,
			   .paths = (uint32_t)config->paths},
		.spin_ns = config->spin_us * CLOCK_NS_PER_US,
	};

	lanes_where(config, &options.engine.transport_options);
	for (uint32_t lane = 0; lane < config->lanes; lane++) {
		int error;

		options.engine.lane = lane;
		options.engine.transport_options.lane = lane;
		options.cpu = config_cpu(config, lane);
		options.numa_node = options.cpu < 0 ? lanes_numa_node(lane) : -1;
		error = engine_thread_start(&lanes->threads[lane], &options, err);
		if (error)
			return error;
		lanes->lane_fds[lane] = engine_thread_lane_fd(lanes->threads[lane]);
		(void)engine_describe(engine_thread_engine(lanes->threads[lane]),
				      lanes->transports[lane]);
		lanes->count++;
	}
	return 0;
}

void main_lanes_stop(struct main_lanes *lanes)
{
	for (uint32_t lane = 0; lane < lanes->count; lane++)
		engine_thread_stop(lanes->threads[lane]);
	lanes->count = 0;
}

bool main_lanes_alive(struct main_lanes *lanes, struct log *log)
{
	bool all = true;

	for (uint32_t lane = 0; lane < lanes->count; lane++) {
		if (engine_thread_alive(lanes->threads[lane]))
			continue;
		all = false;
		if (lanes->stuck == 1)
			log_put(log, LOG_LEVEL_ERROR, LOG_LANE_STUCK,
				"lane %u does not move, so systemd's watchdog is not fed lane=%u",
				lane, lane);
	}
	if (all && lanes->stuck > 1)
		log_put(log, LOG_LEVEL_NOTICE, LOG_LANE, "all lanes move again");
	lanes->stuck = all ? 0 : lanes->stuck + 1;
	return all;
}

void main_lanes_report(struct main_lanes *lanes, struct report_lane *out)
{
	for (uint32_t lane = 0; lane < lanes->count; lane++) {
		const struct engine *engine = engine_thread_engine(lanes->threads[lane]);
		const struct engine_stats *stats = engine_stats(engine);

		(void)engine_describe(engine, lanes->transports[lane]); /* or as it was */
		out[lane].transport = lanes->transports[lane];
#define X(counter) out[lane].counter = atomic_load_explicit(&stats->counter, memory_order_relaxed);
		REPORT_COUNTERS(X)
#undef X
	}
}
