/* daemons.c - see daemons.h. */
#include "tests/experiments/daemons.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nobody may stay for ever: carry-lab ends trainers after so many seconds. */
#define SECONDS "100"

struct places {
	char lab[PATH_MAX], trainer[PATH_MAX];
};

/* This program is BUILD/tests/experiments/run. */
static int find(struct places *p)
{
	char path[PATH_MAX - 32];
	ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *end;

	if (bytes < 0)
		return -errno;
	path[bytes] = '\0';
	end = strrchr(path, '/');
	if (!end)
		return -ENOENT;
	*end = '\0';
	(void)snprintf(p->lab, sizeof(p->lab), "%s/../../bin/carry-lab", path);
	(void)snprintf(p->trainer, sizeof(p->trainer), "%s/trainer", path);
	return 0;
}

/* Starts carry-lab with its standard output at `to`. */
static int spawn(pid_t *pid, const char *program, const char *const *words, int to)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	int error = posix_spawn_file_actions_init(&actions);

	if (error)
		return -error;
	error = posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
	if (!error)
		error = posix_spawn(pid, program, &actions, NULL, (char *const *)(uintptr_t)words,
				    environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -error;
}

int daemons_start(struct daemons *d, uint32_t nodes, const char *const *words)
{
	char count[16], name[32];
	struct places places;
	int ends[2], error = find(&places);
	const char *line[DAEMONS_WORDS + 16] = {
		places.lab, "run", "-n", count, "--name", name, "--timeout", SECONDS,
		/* They share few processors: one lane each, and none that spins. */
		"--set", "engine.lanes=1", "--set", "engine.spin_us=0", places.trainer};
	size_t used = 0;

	if (error)
		return error;
	(void)snprintf(count, sizeof(count), "%u", nodes);
	(void)snprintf(name, sizeof(name), "experiments%ld", (long)getpid());
	while (line[used])
		used++;
	for (size_t i = 0; words[i]; i++) {
		assert(i < DAEMONS_WORDS);
		line[used++] = words[i];
	}
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	error = spawn(&d->pid, places.lab, line, ends[1]);
	(void)close(ends[1]);
	d->lines = error ? NULL : fdopen(ends[0], "r");
	if (!d->lines)
		(void)close(ends[0]);
	return error;
}

int daemons_line(struct daemons *d, uint32_t *rank, char line[DAEMONS_LINE_BYTES])
{
	char text[DAEMONS_LINE_BYTES];
	int from = 0;

	while (d->lines && fgets(text, sizeof(text), d->lines)) {
		text[strcspn(text, "\n")] = '\0';
		if (sscanf(text, "[%" SCNu32 "] %n", rank, &from) != 1 || !from)
			continue; /* carry-lab's own */
		memcpy(line, text + from, strlen(text + from) + 1);
		return 1;
	}
	return 0;
}

int daemons_end(struct daemons *d)
{
	int status = -1;

	if (d->lines)
		(void)fclose(d->lines);
	while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}
