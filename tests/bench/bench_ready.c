/*
 * bench_ready.c - how long carryd takes from exec to ready.
 *
 * Ready is what systemd is told: READY=1 on NOTIFY_SOCKET.  The daemon's own socket must then
 * take a connection.  Each run is a new process on 127.0.0.1 and any free port, ended by SIGTERM.
 * Prints one time a line, in milliseconds.
 *
 * usage: bench_ready RUNS CARRYD
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/clock.h"

extern char **environ;

enum {
	RUNS_MAX = 1000,
	LIMIT_MS = 5000, /* for ready, and for the end */
	PATH_BYTES = 100,
	TEXT_BYTES = 4096,
};

struct place {
	char dir[PATH_BYTES - 20];
	char config[PATH_BYTES], socket[PATH_BYTES], notify[PATH_BYTES], log[PATH_BYTES];
};

static int failed(const char *doing)
{
	fprintf(stderr, "bench_ready: %s: %s\n", doing, strerror(errno));
	return -1;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return a;
}

static int make_place(struct place *p)
{
	snprintf(p->dir, sizeof(p->dir), "/tmp/carry-ready-XXXXXX");
	if (!mkdtemp(p->dir))
		return failed("cannot make a folder in /tmp");
	snprintf(p->config, sizeof(p->config), "%s/conf", p->dir);
	snprintf(p->socket, sizeof(p->socket), "%s/sock", p->dir);
	snprintf(p->notify, sizeof(p->notify), "%s/notify", p->dir);
	snprintf(p->log, sizeof(p->log), "%s/log", p->dir);
	FILE *file = fopen(p->config, "we");
	if (!file)
		return failed(p->config);
	fprintf(file,
		"[daemon]\nsocket = %s\n[network]\nlisten = 127.0.0.1\nport = 0\n"
		"interfaces = lo\n",
		p->socket);
	return fclose(file) ? failed(p->config) : 0;
}

static void remove_place(const struct place *p)
{
	unlink(p->config);
	unlink(p->socket);
	unlink(p->notify);
	unlink(p->log);
	rmdir(p->dir);
}

static void show_log(const struct place *p)
{
	char text[TEXT_BYTES];
	int fd = open(p->log, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : 0;

	if (n > 0)
		fprintf(stderr, "%.*s", (int)n, text);
	if (fd >= 0)
		close(fd);
}

/* Wait for READY=1 among what the daemon tells.  Return: 0 or -1. */
static int await_ready(int notify, uint64_t limit_ns)
{
	struct pollfd p = {.fd = notify, .events = POLLIN};
	char text[TEXT_BYTES];

	for (;;) {
		uint64_t now_ns = clock_now_ns();
		int wait_ms = now_ns < limit_ns ? (int)((limit_ns - now_ns) / 1000000 + 1) : 0;

		if (poll(&p, 1, wait_ms) <= 0) {
			fprintf(stderr, "bench_ready: not ready after %d ms\n", LIMIT_MS);
			return -1;
		}
		ssize_t n = recv(notify, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		if (!strncmp(text, "READY=1", 7) || strstr(text, "\nREADY=1"))
			return 0;
	}
}

static int try_connect(const struct place *p)
{
	struct sockaddr_un a = address_of(p->socket);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	r = connect(fd, (struct sockaddr *)&a, sizeof(a));
	if (r)
		failed("it says it is ready, but its socket cannot be connected to");
	close(fd);
	return r;
}

/* SIGTERM, then SIGKILL.  Return: 0 if it ended by itself with status 0. */
static int end_daemon(pid_t pid)
{
	struct pollfd p = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	int status;

	kill(pid, SIGTERM);
	if (poll(&p, 1, LIMIT_MS) <= 0)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(p.fd);
	if (status)
		fprintf(stderr, "bench_ready: carryd ended with wait status %d\n", status);
	return status ? -1 : 0;
}

static int start(pid_t *pid, const struct place *p, const char *carryd)
{
	char *argv[] = {(char *)carryd, "-c", (char *)p->config, NULL};
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, p->log,
					 O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	r = posix_spawn(pid, carryd, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	errno = r;
	return r ? failed(carryd) : 0;
}

static int one_run(const struct place *p, const char *carryd)
{
	struct sockaddr_un a = address_of(p->notify);
	int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t start_ns, ready_ns;
	pid_t pid;

	unlink(p->notify);
	if (notify < 0 || bind(notify, (struct sockaddr *)&a, sizeof(a)))
		return failed(p->notify);
	setenv("NOTIFY_SOCKET", p->notify, 1);
	start_ns = clock_now_ns();
	if (start(&pid, p, carryd)) {
		close(notify);
		return -1;
	}
	int r = await_ready(notify, start_ns + LIMIT_MS * UINT64_C(1000000));
	ready_ns = clock_now_ns();
	if (!r)
		r = try_connect(p);
	if (end_daemon(pid))
		r = -1;
	close(notify);
	if (!r)
		printf("%.3f\n", (double)(ready_ns - start_ns) / 1e6);
	return r;
}

int main(int argc, char **argv)
{
	char *end = NULL;
	long runs = argc == 3 ? strtol(argv[1], &end, 10) : 0;
	struct place p;
	int r;

	if (!end || *end || runs < 1 || runs > RUNS_MAX) {
		fprintf(stderr, "usage: bench_ready RUNS CARRYD\n");
		return 2;
	}
	r = make_place(&p);
	if (r)
		return 1;
	for (long i = 0; i < runs && !r; i++)
		r = one_run(&p, argv[2]);
	if (r)
		show_log(&p);
	remove_place(&p);
	return r ? 1 : 0;
}
