/* main_run.c - see main_run.h. */
#include "daemon/main_run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "daemon/client.h"
#include "daemon/clock.h"
#include "daemon/control.h"
#include "daemon/loop.h"
#include "daemon/main_lanes.h"
#include "daemon/report.h"

enum { RUN_EVENTS = 64 };

/* What main_run.h promises to an orderly end. */
#define RUN_STOP_NS CLOCK_NS_PER_S

struct daemon {
	const struct config *config;
	struct log *log;
	struct loop *loop;
	struct clients *clients;
	struct control *control;
	struct main_lanes lanes;
	int signal_fd, facts_fd;
	uint64_t start_ns;
	uint64_t watchdog_ns; /* how often systemd wants to hear of us; 0: never         */
	uint64_t watchdog_at_ns;
	bool status_changed;   /* systemd has not been told yet                           */
	uint64_t status_at_ns; /* not before                                              */
	uint64_t stop_at_ns;   /* 0: nobody asked us to end                               */
};

/* --- open and close -------------------------------------------------------------------------- */

/* A trainer costs four descriptors and one a lane, a peer one a lane and path. */
static void run_raise_limit(struct log *log)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_put(log, LOG_LEVEL_WARNING, LOG_LIMIT,
			"the limit of open files cannot be raised: %s", strerror(errno));
}

/* Before the lanes start: they inherit the mask. */
static int run_open_signals(struct daemon *d, struct err *err)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t signals;
	int error;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	d->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (d->signal_fd < 0)
		return err_set(err, -errno, "make a signalfd: %s", strerror(errno));
	error = loop_add(d->loop, d->signal_fd, EPOLLIN, LOOP_SIGNAL, 0);
	return error ? err_set(err, error, "watch the signals: %s", strerror(-error)) : 0;
}

static int run_open_facts(struct daemon *d, struct err *err)
{
	int error;

	d->facts_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (d->facts_fd < 0)
		return err_set(err, -errno, "make the lanes' eventfd: %s", strerror(errno));
	error = loop_add(d->loop, d->facts_fd, EPOLLIN, LOOP_FACTS, 0);
	return error ? err_set(err, error, "watch the lanes' eventfd: %s", strerror(-error)) : 0;
}

static int run_open_rest(struct daemon *d, struct err *err)
{
	struct clients_options options = {.config = d->config,
					  .loop = d->loop,
					  .lane_fds = d->lanes.lane_fds,
					  .version = CARRY_RELEASE};
	int error = clients_open(&d->clients, &options, err);

	if (!error)
		error = control_open(&d->control, d->config, d->loop, d->log, d->clients,
				     d->lanes.threads, d->lanes.count, err);
	if (!error)
		error = clients_listen(d->clients, err);
	return error;
}

static int run_open(struct daemon *d, struct err *err)
{
	int error;

	run_raise_limit(d->log);
	error = loop_open(&d->loop, err);
	if (!error)
		error = run_open_signals(d, err);
	if (!error)
		error = run_open_facts(d, err);
	if (!error)
		error = main_lanes_start(&d->lanes, d->config, d->facts_fd, err);
	return error ? error : run_open_rest(d, err);
}

static void run_close(struct daemon *d)
{
	main_lanes_stop(&d->lanes);
	control_close(d->control);
	clients_close(d->clients);
	if (d->facts_fd >= 0)
		(void)close(d->facts_fd);
	if (d->signal_fd >= 0)
		(void)close(d->signal_fd);
	loop_close(d->loop);
}

/* --- events ---------------------------------------------------------------------------------- */

static void run_query(struct daemon *d, const struct client_request *request, uint64_t now_ns)
{
	struct report_lane lanes[SHM_LANES_MAX];
	struct report report = {.version = CARRY_RELEASE,
				.pid = getpid(),
				.uptime_ns = now_ns - d->start_ns,
				.config = d->config,
				.clients = d->clients,
				.lanes = lanes,
				.lane_count = d->lanes.count,
				.groups = control_groups_json(d->control),
				.paths = control_paths_json(d->control),
				.peers = control_peers_json(d->control)};
	bool state = strcmp(request->query.what, "state") == 0;
	struct err err;
	char *text;

	main_lanes_report(&d->lanes, lanes);
	report.state = state ? control_state_json(d->control) : NULL;
	text = report_answer(&report, request->query.what, &err);
	json_decref(report.state);
	json_decref(report.groups);
	json_decref(report.paths);
	json_decref(report.peers);
	if (text)
		client_answer_text(d->clients, request->client, request->id, text, strlen(text));
	else
		client_answer_error(d->clients, request->client, request->id, err.code, err.text);
}

static void run_request(struct daemon *d, const struct client_request *request, uint64_t now_ns)
{
	switch (request->kind) {
	case CLIENT_ATTACHED:
		log_put(d->log, LOG_LEVEL_INFO, LOG_CLIENT_ATTACHED,
			"trainer %u attached client=%u pid=%d uid=%u arena_bytes=%" PRIu64
			" name=%s",
			request->client, request->client,
			(int)client_pid(d->clients, request->client),
			(unsigned int)client_uid(d->clients, request->client),
			client_layout(d->clients, request->client)->arena_bytes,
			client_name(d->clients, request->client));
		control_request(d->control, request, now_ns);
		d->status_changed = true;
		break;
	case CLIENT_GONE:
		log_put(d->log, LOG_LEVEL_INFO, LOG_CLIENT_GONE,
			"trainer %u is gone: %s client=%u pid=%d name=%s", request->client,
			request->why, request->client, (int)client_pid(d->clients, request->client),
			client_name(d->clients, request->client));
		control_request(d->control, request, now_ns);
		d->status_changed = true;
		break;
	case CLIENT_CREATE:
	case CLIENT_DESTROY:
	case CLIENT_TENSOR: control_request(d->control, request, now_ns); break;
	case CLIENT_QUERY: run_query(d, request, now_ns); break;
	}
}

static void run_accept(struct daemon *d, uint64_t now_ns)
{
	struct err err;

	if (clients_accept(d->clients, now_ns, &err))
		log_put(d->log, LOG_LEVEL_WARNING, LOG_CLIENT_REFUSED, "%s", err.text);
}

static void run_signal(struct daemon *d, uint64_t now_ns)
{
	struct signalfd_siginfo signal;

	if (read(d->signal_fd, &signal, sizeof(signal)) != (ssize_t)sizeof(signal))
		return;
	if (d->stop_at_ns) {
		d->stop_at_ns = now_ns; /* asked twice: at once */
		return;
	}
	log_put(d->log, LOG_LEVEL_NOTICE, LOG_STOPPING, "carryd ends on %s signal=%u sender=%u",
		signal.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT", signal.ssi_signo,
		signal.ssi_pid);
	(void)sd_notify(0, "STOPPING=1");
	clients_unlisten(d->clients);
	control_stop(d->control, now_ns);
	d->stop_at_ns = now_ns + RUN_STOP_NS;
}

static void run_event(struct daemon *d, const struct loop_event *event, uint64_t now_ns)
{
	struct client_request request;
	uint64_t count;

	switch (event->tag) {
	case LOOP_LISTEN_UNIX: run_accept(d, now_ns); break;
	case LOOP_CLIENT:
		if (clients_ready(d->clients, event->index, event->events, &request))
			run_request(d, &request, now_ns);
		break;
	case LOOP_CLIENT_PID: clients_pid_ready(d->clients, event->index); break;
	case LOOP_SIGNAL: run_signal(d, now_ns); break;
	case LOOP_FACTS:
		(void)!read(d->facts_fd, &count, sizeof(count));
		control_facts(d->control, now_ns);
		break;
	case LOOP_PEERS: control_peer_ready(d->control, event->index, event->events, now_ns); break;
	}
}

/* --- time ------------------------------------------------------------------------------------ */

static void run_watchdog(struct daemon *d, uint64_t now_ns)
{
	if (!d->watchdog_ns || now_ns < d->watchdog_at_ns)
		return;
	d->watchdog_at_ns = now_ns + d->watchdog_ns;
	if (main_lanes_alive(&d->lanes, d->log))
		(void)sd_notify(0, "WATCHDOG=1");
}

/* Now and then: sd_notify() blocks while systemd has ten messages to read. */
static void run_status(struct daemon *d, uint64_t now_ns)
{
	struct clients_account account;

	if (!d->status_changed || now_ns < d->status_at_ns)
		return;
	clients_account(d->clients, &account);
	(void)sd_notifyf(0, "STATUS=%u trainers", account.attached);
	d->status_changed = false;
	d->status_at_ns = now_ns + CLOCK_NS_PER_S;
}

static uint64_t run_deadline_ns(const struct daemon *d)
{
	const uint64_t deadlines[] = {
		control_deadline_ns(d->control),
		clients_deadline_ns(d->clients),
		log_deadline_ns(d->log),
		d->watchdog_ns ? d->watchdog_at_ns : UINT64_MAX,
		d->status_changed ? d->status_at_ns : UINT64_MAX,
		d->stop_at_ns ? d->stop_at_ns : UINT64_MAX,
	};
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++)
		if (deadlines[i] < first)
			first = deadlines[i];
	return first;
}

static void run_round(struct daemon *d)
{
	struct loop_event events[RUN_EVENTS];
	struct client_request request;
	uint64_t deadline_ns = run_deadline_ns(d), now_ns = clock_now_ns(), wait_ns = UINT64_MAX;
	size_t count;

	if (deadline_ns != UINT64_MAX)
		wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	count = loop_wait(d->loop, events, RUN_EVENTS, wait_ns);
	now_ns = clock_now_ns();
	log_time(d->log, now_ns);
	for (size_t i = 0; i < count; i++)
		run_event(d, &events[i], now_ns);
	if (now_ns >= control_deadline_ns(d->control))
		control_tick(d->control, now_ns);
	while (clients_gone(d->clients, &request))
		run_request(d, &request, now_ns);
	clients_tick(d->clients, now_ns);
	run_watchdog(d, now_ns);
	run_status(d, now_ns);
}

static void run_ready(struct daemon *d)
{
	uint64_t watchdog_us = 0, now_ns = clock_now_ns();
	uint64_t start_us = (now_ns - d->start_ns) / CLOCK_NS_PER_US;

	log_time(d->log, now_ns);
	for (uint32_t lane = 0; lane < d->lanes.count; lane++)
		log_put(d->log, LOG_LEVEL_INFO, LOG_LANE, "lane %u: %s lane=%u", lane,
			d->lanes.transports[lane], lane);
	log_put(d->log, LOG_LEVEL_NOTICE, LOG_READY,
		"carryd %s is ready on %s, for daemons on %s port %u start_us=%" PRIu64,
		CARRY_RELEASE, d->config->socket, control_address(d->control),
		(unsigned int)control_port(d->control), start_us);
	/* Four times as often as it must be: a lane that is late once is not stuck. */
	if (sd_watchdog_enabled(0, &watchdog_us) > 0) {
		d->watchdog_ns = watchdog_us * CLOCK_NS_PER_US / 4;
		d->watchdog_at_ns = now_ns + d->watchdog_ns;
	}
	(void)sd_notify(0, "READY=1\nSTATUS=0 trainers");
}

int main_run(const struct config *config, struct log *log, uint64_t start_ns, struct err *err)
{
	struct daemon d = {.config = config,
			   .log = log,
			   .signal_fd = -1,
			   .facts_fd = -1,
			   .start_ns = start_ns};
	int error = run_open(&d, err);

	if (!error) {
		run_ready(&d);
		while (!d.stop_at_ns ||
		       (!control_stopped(d.control) && clock_now_ns() < d.stop_at_ns))
			run_round(&d);
	}
	run_close(&d);
	return error;
}
