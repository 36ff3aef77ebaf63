/*
 * client_socket.c - the listening socket: systemd's or our own; see client.h.
 *
 * A daemon that was killed leaves its socket file behind.  Whether somebody listens on a
 * file is found out by connecting.  The folder is locked meanwhile, so that of two
 * daemons that start together one sees the other.
 */
#include "daemon/client_state.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

enum { SOCKET_BACKLOG = 256, LOCK_TRIES = 100, LOCK_WAIT_MS = 10 };

static struct sockaddr_un socket_address(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strnlen(path, sizeof(address.sun_path) - 1));
	return address;
}

/* systemd's sockets.  Return: 1 if there was one, 0 if there was none, or negative errno. */
static int socket_activated(struct clients *c, struct err *err)
{
	int count = sd_listen_fds(1), fd = SD_LISTEN_FDS_START, flags;

	if (count == 0)
		return 0;
	if (count < 0)
		return err_set(err, count, "take the sockets that systemd passed: %s",
			       strerror(-count));
	if (count > 1)
		return err_set(err, -EINVAL, "systemd passed %d sockets, and not one", count);
	if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
		return err_set(err, -EINVAL,
			       "systemd passed something that is not a listening Unix socket of "
			       "packets (ListenSequentialPacket=)");
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(err, -errno, "set up the socket that systemd passed: %s",
			       strerror(errno));
	c->listen_fd = fd;
	return 1;
}

/* Make the folder of a path, one level.  Return: a descriptor of it, or negative errno. */
static int socket_folder(const char *path, struct err *err)
{
	char folder[CONFIG_TEXT_BYTES];
	size_t length = (size_t)(strrchr(path, '/') - path);
	int fd;

	(void)snprintf(folder, sizeof(folder), "%.*s", length ? (int)length : 1, path);
	if (mkdir(folder, 0755) && errno != EEXIST && errno != EISDIR) {
		int code = -errno;

		/* It may be there, in a place where we may not make it. */
		if (access(folder, F_OK))
			return err_set(err, code, "make the folder %s for the socket: %s", folder,
				       strerror(-code));
	}
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "open the socket's folder %s: %s", folder,
			       strerror(errno));
	return fd;
}

/* Whoever may read the folder may lock it, so the wait has an end and then we go on. */
static void socket_lock(int folder)
{
	for (int i = 0; i < LOCK_TRIES && flock(folder, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
	     i++)
		(void)poll(NULL, 0, LOCK_WAIT_MS);
}

/* Remove a socket file that nobody listens on.  Return: 0, -EADDRINUSE, ... and *err. */
static int socket_remove_stale(const char *path, struct err *err)
{
	struct sockaddr_un address = socket_address(path);
	struct ucred peer = {.pid = 0};
	socklen_t bytes = sizeof(peer);
	struct stat about;
	int fd, code = 0;

	if (lstat(path, &about))
		return errno == ENOENT
			       ? 0
			       : err_set(err, -errno, "look at %s: %s", path, strerror(errno));
	if (!S_ISSOCK(about.st_mode))
		return err_set(err, -EEXIST, "%s exists and is not a socket", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "make a Unix socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes);
		code = err_set(err, -EADDRINUSE, "a daemon with pid %d listens on %s already",
			       (int)peer.pid, path);
	} else if (errno == ECONNREFUSED) {
		if (unlink(path) && errno != ENOENT)
			code = err_set(err, -errno, "remove %s, on which nobody listens: %s", path,
				       strerror(errno));
	} else if (errno != ENOENT) {
		code = err_set(err, errno == EAGAIN ? -EADDRINUSE : -errno,
			       "somebody listens on %s already (%s)", path, strerror(errno));
	}
	(void)close(fd);
	return code;
}

static int socket_group(const char *name, gid_t *gid, struct err *err)
{
	char buffer[4096];
	struct group group, *found = NULL;
	int error;

	*gid = (gid_t)-1;
	if (!*name)
		return 0;
	error = getgrnam_r(name, &group, buffer, sizeof(buffer), &found);
	if (error || !found)
		return err_set(err, error ? -error : -ENOENT,
			       "[daemon] socket_group = %s: there is no such group", name);
	*gid = group.gr_gid;
	return 0;
}

/* The file has its mode, and somebody who listens, as soon as it is there. */
static int socket_bind(int fd, const char *path, mode_t mode, struct err *err)
{
	struct sockaddr_un address = socket_address(path);
	mode_t mask = umask(~mode & 0777);
	int error = bind(fd, (const struct sockaddr *)&address, sizeof(address)) ? -errno : 0;

	(void)umask(mask);
	if (!error && listen(fd, SOCKET_BACKLOG)) {
		error = -errno;
		(void)unlink(path);
	}
	if (error)
		return err_set(err, error, "make the socket %s: %s", path, strerror(-error));
	return 0;
}

static int socket_finish(struct clients *c, gid_t gid, struct err *err)
{
	const char *path = c->config->socket;
	struct stat about;

	if (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid))
		return err_set(err, -errno, "give %s to group %s: %s", path,
			       c->config->socket_group, strerror(errno));
	if (chmod(path, (mode_t)c->config->socket_mode))
		return err_set(err, -errno, "set the mode of %s: %s", path, strerror(errno));
	if (lstat(path, &about))
		return err_set(err, -errno, "look at %s: %s", path, strerror(errno));
	(void)snprintf(c->path, sizeof(c->path), "%s", path);
	c->device = about.st_dev;
	c->inode = about.st_ino;
	return 0;
}

static int socket_make(struct clients *c, gid_t gid, struct err *err)
{
	const char *path = c->config->socket;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

	if (fd < 0)
		return err_set(err, -errno, "make a Unix socket: %s", strerror(errno));
	error = socket_bind(fd, path, (mode_t)c->config->socket_mode, err);
	if (!error) {
		error = socket_finish(c, gid, err);
		if (error)
			(void)unlink(path);
	}
	if (error) {
		(void)close(fd);
		return error;
	}
	c->listen_fd = fd;
	return 0;
}

int client_socket_open(struct clients *c, struct err *err)
{
	gid_t gid;
	int error = socket_activated(c, err), folder;

	if (error)
		return error < 0 ? error : 0;
	error = socket_group(c->config->socket_group, &gid, err);
	if (error)
		return error;
	folder = socket_folder(c->config->socket, err);
	if (folder < 0)
		return folder;
	socket_lock(folder);
	error = socket_remove_stale(c->config->socket, err);
	if (!error)
		error = socket_make(c, gid, err);
	(void)close(folder);
	return error;
}

void client_socket_close(struct clients *c)
{
	struct stat about;

	if (c->listen_fd < 0)
		return;
	loop_remove(c->loop, c->listen_fd);
	if (*c->path && lstat(c->path, &about) == 0 && about.st_dev == c->device &&
	    about.st_ino == c->inode)
		(void)unlink(c->path);
	(void)close(c->listen_fd);
	c->listen_fd = -1;
}
