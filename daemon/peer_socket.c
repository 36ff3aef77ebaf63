/* peer_socket.c - connections: sockets, accepting, connecting, HELLO; see peer_state.h. */
#include "daemon/peer_state.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static_assert((int)CONNS_MAX < (int)CONN_NONE, "places have numbers");

enum { ACCEPT_A_TURN = 32, BACKLOG = 512 };

/* --- the table -------------------------------------------------------------------------------- */

void conn_endpoint(const struct conn *c, char text[ENDPOINT_BYTES])
{
	const struct sockaddr *remote = (const struct sockaddr *)&c->remote;
	char address[INTERFACE_ADDRESS_BYTES];

	interface_text(remote, address);
	(void)snprintf(text, ENDPOINT_BYTES, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address,
		       interface_port(remote));
}

static uint32_t *conn_counter(struct peers *p, enum conn_kind kind)
{
	if (kind == CONN_STRANGER)
		return &p->strangers;
	return kind == CONN_HELD ? &p->held : NULL;
}

/* Takes over fd, closes it on failure.  Return: place, or negative errno. */
static int conn_add(struct peers *p, enum conn_kind kind, int fd, uint32_t events, uint64_t now_ns)
{
	uint32_t i = 0;
	struct conn *c;
	int ret;

	while (i < CONNS_MAX && p->conns[i].kind != CONN_FREE)
		i++;
	ret = i < CONNS_MAX ? loop_add(p->loop, fd, events, LOOP_PEERS, i) : -EMFILE;
	if (ret) {
		(void)close(fd);
		return ret;
	}
	c = &p->conns[i];
	memset(c, 0, sizeof(*c));
	c->kind = kind;
	c->fd = fd;
	c->events = events;
	c->peer = PEER_NONE;
	c->since_ns = now_ns;
	c->deadline_ns = UINT64_MAX;
	if (conn_counter(p, kind))
		++*conn_counter(p, kind);
	if (i >= p->conns_end)
		p->conns_end = i + 1;
	return (int)i;
}

int conn_take_fd(struct peers *p, uint16_t conn)
{
	struct conn *c = &p->conns[conn];
	int fd = c->fd;

	loop_remove(p->loop, fd);
	if (conn_counter(p, c->kind))
		--*conn_counter(p, c->kind);
	free(c->in);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	while (p->conns_end && p->conns[p->conns_end - 1].kind == CONN_FREE)
		p->conns_end--;
	return fd;
}

void conn_close(struct peers *p, uint16_t conn)
{
	if (p->conns[conn].kind != CONN_FREE)
		(void)close(conn_take_fd(p, conn));
}

void conn_become(struct peers *p, uint16_t conn, enum conn_kind kind)
{
	struct conn *c = &p->conns[conn];

	if (conn_counter(p, c->kind))
		--*conn_counter(p, c->kind);
	if (conn_counter(p, kind))
		++*conn_counter(p, kind);
	c->kind = kind;
}

void conn_watch(struct peers *p, uint16_t conn, uint32_t events)
{
	struct conn *c = &p->conns[conn];

	if (c->events != events && loop_change(p->loop, c->fd, events, LOOP_PEERS, conn) == 0)
		c->events = events;
}

static void set_option(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* What every connection has; a kernel that refuses one of these only makes it slower. */
static void set_options(const struct peers *p, int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)p->config->dead_ms);
}

/* --- listening -------------------------------------------------------------------------------- */

/* Return: descriptor or negative errno; *bound: what it is bound to. */
static int listen_at(const struct sockaddr_storage *address, bool both,
		     struct sockaddr_storage *bound)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;
	socklen_t bytes = sizeof(*bound);

	if (fd < 0)
		return -errno;
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (address->ss_family == AF_INET6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both);
	if (bind(fd, (const struct sockaddr *)address, interface_bytes(address)) ||
	    listen(fd, BACKLOG) || getsockname(fd, (struct sockaddr *)bound, &bytes)) {
		error = -errno;
		(void)close(fd);
		return error;
	}
	return fd;
}

int socket_listen(struct peers *p, struct err *err)
{
	/* A port that the kernel chose is kept: others know it. */
	uint16_t port = p->port ? p->port : (uint16_t)p->config->port;
	const char *where = p->config->listen;
	struct sockaddr_storage address, bound;
	int fd, ret;

	if (interface_parse(*where ? where : "::", port, &address))
		return err_set(err, -EINVAL, "listen on %s: not a numeric address of this host",
			       where);
	p->bound = *where && !interface_any((const struct sockaddr *)&address);
	fd = listen_at(&address, !p->bound, &bound);
	if (fd < 0 && !*where) { /* a host without IPv6 */
		(void)interface_parse("0.0.0.0", port, &address);
		fd = listen_at(&address, false, &bound);
	}
	if (fd < 0)
		return err_set(err, fd, "listen on %s%sport %u: %s", where, *where ? " " : "", port,
			       strerror(-fd));
	ret = conn_add(p, CONN_LISTEN, fd, EPOLLIN, 0);
	if (ret < 0)
		return err_set(err, ret, "watch port %u: %s", port, strerror(-ret));
	p->port = interface_port((const struct sockaddr *)&bound);
	p->listen = address;
	return 0;
}

void socket_unlisten(struct peers *p)
{
	for (uint32_t i = 0; i < p->conns_end; i++)
		if (p->conns[i].kind == CONN_LISTEN)
			conn_close(p, (uint16_t)i);
}

static void pause_accepting(struct peers *p, uint64_t now_ns)
{
	p->paused = true;
	peers_due(p, now_ns + PEER_PAUSE_NS);
}

/* Somebody shut the listening socket down (`ss -K`): it is of no more use. */
static void listen_again(struct peers *p, uint64_t now_ns)
{
	struct err err;

	socket_unlisten(p);
	if (socket_listen(p, &err) == 0)
		return;
	log_put(p->log, LOG_LEVEL_WARNING, LOG_LIMIT, "listen again: %s", err.text);
	pause_accepting(p, now_ns);
}

void socket_resume(struct peers *p, uint64_t now_ns)
{
	bool listening = false;

	p->paused = false;
	for (uint32_t i = 0; i < p->conns_end; i++) {
		if (p->conns[i].kind != CONN_LISTEN)
			continue;
		conn_watch(p, (uint16_t)i, EPOLLIN);
		listening = true;
	}
	if (!listening && !p->leaving)
		listen_again(p, now_ns);
}

/* Too many strangers: the one that has waited longest goes. */
static void evict_stranger(struct peers *p)
{
	int oldest = -1;

	for (uint32_t i = 0; i < p->conns_end; i++) {
		const struct conn *c = &p->conns[i];

		if ((c->kind == CONN_STRANGER || (c->kind == CONN_HELD && c->peer == PEER_NONE)) &&
		    (oldest < 0 || c->since_ns < p->conns[oldest].since_ns))
			oldest = (int)i;
	}
	if (oldest >= 0)
		peer_refuse(p, (uint16_t)oldest, "too many connections wait for a HELLO");
}

static void accept_one(struct peers *p, int fd, const struct sockaddr_storage *remote,
		       uint64_t now_ns)
{
	int conn = conn_add(p, CONN_STRANGER, fd, EPOLLIN, now_ns);
	char address[INTERFACE_ADDRESS_BYTES];
	struct err err;

	if (conn < 0) {
		log_put(p->log, LOG_LEVEL_WARNING, LOG_PEER_REFUSED,
			"refused a connection: all %d connections are in use", CONNS_MAX);
		return;
	}
	p->conns[conn].remote = *remote;
	p->conns[conn].deadline_ns = now_ns + PEER_HELLO_NS;
	peers_due(p, now_ns + PEER_HELLO_NS);
	interface_text((const struct sockaddr *)remote, address);
	if (peers_check_network(p, address, &err)) {
		peer_refuse(p, (uint16_t)conn, err.text);
		return;
	}
	set_options(p, fd);
	if (p->strangers + p->held > PEER_HALF_OPEN_MAX)
		evict_stranger(p);
}

void socket_accept(struct peers *p, uint16_t listener, uint64_t now_ns)
{
	for (int i = 0; i < ACCEPT_A_TURN && p->conns[listener].kind == CONN_LISTEN; i++) {
		struct sockaddr_storage remote;
		socklen_t bytes = sizeof(remote);
		int fd = accept4(p->conns[listener].fd, (struct sockaddr *)&remote, &bytes,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		int error;

		if (fd >= 0) {
			accept_one(p, fd, &remote, now_ns);
			continue;
		}
		error = errno;
		if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
			log_put(p->log, LOG_LEVEL_WARNING, LOG_LIMIT,
				"accept a peer's connection: %s", strerror(error));
			conn_watch(p, listener, 0);
			pause_accepting(p, now_ns);
		}
		if (error == EINVAL) {
			log_put(p->log, LOG_LEVEL_WARNING, LOG_LIMIT,
				"the listening socket was shut down from outside");
			listen_again(p, now_ns);
			return;
		}
		if (error != ECONNABORTED && error != EINTR)
			return;
	}
}

/* --- connecting ------------------------------------------------------------------------------- */

/* From the address that we listen on, so that the peer sees who we say we are. */
static int bind_source(const struct peers *p, int fd, int family)
{
	struct sockaddr_storage from;

	if (!p->bound || p->listen.ss_family != family)
		return 0;
	if (interface_parse(p->config->listen, 0, &from))
		return -EADDRNOTAVAIL;
	set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return bind(fd, (const struct sockaddr *)&from, interface_bytes(&from)) ? -errno : 0;
}

int conn_connect(struct peers *p, enum conn_kind kind, const char *address, uint16_t port,
		 uint64_t now_ns)
{
	struct sockaddr_storage to;
	int fd, ret;

	if (interface_parse(address, port, &to))
		return -EINVAL;
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	set_options(p, fd);
	ret = bind_source(p, fd, to.ss_family);
	if (!ret && connect(fd, (const struct sockaddr *)&to, interface_bytes(&to)) &&
	    errno != EINPROGRESS)
		ret = -errno;
	if (ret) {
		(void)close(fd);
		return ret;
	}
	ret = conn_add(p, kind, fd, EPOLLOUT, now_ns);
	if (ret < 0)
		return ret;
	p->conns[ret].remote = to;
	p->conns[ret].deadline_ns = now_ns + PEER_CONNECT_NS;
	peers_due(p, p->conns[ret].deadline_ns);
	return ret;
}

/* --- HELLO ------------------------------------------------------------------------------------ */

/* Where we tell the other end of this connection that we are. */
static void own_address(const struct peers *p, const struct conn *c, char out[48])
{
	struct sockaddr_storage local;
	socklen_t bytes = sizeof(local);
	const struct interface *interface;

	memcpy(out, p->address, 48);
	if (p->bound || getsockname(c->fd, (struct sockaddr *)&local, &bytes))
		return;
	interface = interface_find(p->interfaces, p->interface_count, (struct sockaddr *)&local);
	if (interface_is_own(p->interfaces, p->interface_count, (struct sockaddr *)&c->remote) ||
	    (interface && (!*p->config->interfaces ||
			   netlist_interface_matches(p->config->interfaces, interface->name))))
		interface_text((struct sockaddr *)&local, out);
}

int conn_say_hello(struct peers *p, uint16_t conn, uint64_t peer_instance, uint32_t received)
{
	struct conn *c = &p->conns[conn];
	bool data = c->kind == CONN_DATA_OUT || c->kind == CONN_HELD;
	struct wire_hello hello = {
		.instance = p->instance,
		.peer_instance = peer_instance,
		.purpose = data ? WIRE_DATA : WIRE_CONTROL,
		.lane = data ? c->lane : 0,
		.path = data ? c->path : 0,
		.port = p->port,
		.received = received,
		.offers = data ? p->offers : 0,
	};
	struct wire_frame frame = {.kind = WIRE_HELLO, .payload_bytes = sizeof(hello)};
	unsigned char bytes[HELLO_BYTES];
	ssize_t sent;

	own_address(p, c, hello.address);
	memcpy(hello.host, p->host, sizeof(hello.host));
	wire_seal(&frame, &hello);
	memcpy(bytes, &frame, sizeof(frame));
	memcpy(bytes + sizeof(frame), &hello, sizeof(hello));
	sent = send(c->fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return -errno;
	/* The first bytes on a socket always find room. */
	return sent == sizeof(bytes) ? 0 : -ENOBUFS;
}

const struct wire_hello *conn_hello(const struct conn *c)
{
	return (const struct wire_hello *)(const void *)(c->hello + WIRE_HEADER_BYTES);
}

/*
 * What can be said of the bytes that are there.
 * Return: 0; -EBADMSG: damaged on its way; -EPROTO: of no carryd that we can talk to; and *err.
 */
static int check_hello(const struct conn *c, struct err *err)
{
	const struct wire_frame *frame = (const struct wire_frame *)(const void *)c->hello;
	enum wire_verdict verdict;
	bool garbled = false; /* what else is wrong with it, its sender meant */

	if (c->hello_have < sizeof(frame->magic))
		return 0;
	if (frame->magic != WIRE_MAGIC)
		return err_set(err, -EPROTO, "is not a carryd: bad magic");
	if (c->hello_have < offsetof(struct wire_frame, kind))
		return 0;
	if (frame->version != WIRE_VERSION)
		return err_set(err, -EPROTO, "speaks version %u of the protocol, not %d",
			       frame->version, WIRE_VERSION);
	if (c->hello_have < WIRE_HEADER_BYTES)
		return 0;
	verdict = wire_check(frame);
	if (verdict == WIRE_OK && frame->kind != WIRE_HELLO)
		return err_set(err, -EPROTO, "began with %s instead of HELLO",
			       wire_kind_name(frame->kind));
	if (verdict == WIRE_OK && c->hello_have == HELLO_BYTES) {
		const void *payload = c->hello + WIRE_HEADER_BYTES;

		garbled = wire_check_payload(frame, payload) != WIRE_OK;
		verdict = garbled ? WIRE_BAD_PAYLOAD
				  : wire_hello_check(conn_hello(c), frame->payload_bytes);
	}
	if (verdict == WIRE_OK)
		return 0;
	garbled = garbled || verdict == WIRE_BAD_CRC;
	return err_set(err, garbled ? -EBADMSG : -EPROTO, "sent a bad HELLO: %s",
		       wire_verdict_name(verdict));
}

int conn_read_hello(struct conn *c, struct err *err)
{
	ssize_t n =
		recv(c->fd, c->hello + c->hello_have, HELLO_BYTES - c->hello_have, MSG_DONTWAIT);
	int ret;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_set(err, -errno, "%s", strerror(errno));
	if (n == 0)
		return err_set(err, -ECONNRESET, "closed the connection %s its HELLO",
			       c->hello_have ? "in the middle of" : "before");
	c->hello_have += (uint32_t)n;
	ret = check_hello(c, err);
	if (ret)
		return ret;
	return c->hello_have == HELLO_BYTES;
}

int conn_greet(struct peers *p, uint16_t conn, uint64_t peer_instance, uint32_t received,
	       uint64_t now_ns, struct err *err)
{
	struct conn *c = &p->conns[conn];
	int error = 0;
	socklen_t bytes = sizeof(error);
	struct sockaddr_storage remote;
	socklen_t remote_bytes = sizeof(remote);

	if (c->stage == CONN_GREETING)
		return conn_read_hello(c, err);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &bytes))
		error = errno;
	if (error)
		return err_set(err, -error, "%s", strerror(error));
	if (getpeername(c->fd, (struct sockaddr *)&remote, &remote_bytes))
		return 0; /* the event was of an earlier connection */
	error = conn_say_hello(p, conn, peer_instance, received);
	if (error)
		return err_set(err, error, "%s", strerror(-error));
	c->stage = CONN_GREETING;
	c->deadline_ns = now_ns + (c->kind == CONN_DATA_OUT ? PEER_ANSWER_NS : PEER_HELLO_NS);
	peers_due(p, c->deadline_ns);
	conn_watch(p, conn, EPOLLIN);
	return 0;
}

int conn_late(const struct conn *c, struct err *err)
{
	if (c->stage == CONN_CONNECTING)
		return err_set(err, -ETIMEDOUT, "does not answer (no connection within %d s)",
			       (int)(PEER_CONNECT_NS / CLOCK_NS_PER_S));
	return err_set(err, -ETIMEDOUT, "takes the connection and says nothing");
}

int conn_send_small(struct conn *c)
{
	ssize_t n = send(c->fd, c->small + c->small_sent, c->small_have - c->small_sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->small_sent += (uint32_t)n;
	if (c->small_sent < c->small_have)
		return 0;
	c->small_have = c->small_sent = 0;
	return 1;
}
