/*
 * main_lanes.h - the lanes as the configuration wants them: start, stop, look at them.
 */
#ifndef DAEMON_MAIN_LANES_H
#define DAEMON_MAIN_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/engine_thread.h"
#include "daemon/err.h"
#include "daemon/log.h"
#include "daemon/report.h"

struct main_lanes {
	struct engine_thread *threads[SHM_LANES_MAX];
	int lane_fds[SHM_LANES_MAX];                       /* of the threads */
	char transports[SHM_LANES_MAX][ENGINE_TEXT_BYTES]; /* as main_lanes_report() saw them */
	uint32_t count;
	uint32_t stuck; /* how many times in a row one was found not to move */
};

/* facts_fd: eventfd that lanes write after facts.  Return: 0 or negative errno and *err. */
int main_lanes_start(struct main_lanes *lanes, const struct config *config, int facts_fd,
		     struct err *err);
void main_lanes_stop(struct main_lanes *lanes); /* the zeroed struct is allowed */

/*
 * main_lanes_alive() - for the watchdog: does every lane work or sleep?
 * On a loaded machine a lane may be late once; the log hears of the second time in a row.
 */
bool main_lanes_alive(struct main_lanes *lanes, struct log *log);

/* out: [lanes->count]; its texts are valid until the next call */
void main_lanes_report(struct main_lanes *lanes, struct report_lane *out);

#endif
