/* root.c - see root.h. */
#include "libclient/root.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "libclient/sentence.h"

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)a;

		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	}
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int resolve_error(const struct carry *c, const char *host, int error)
{
	int code = error == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH;

	return sentence_set(c, code, "the root's host \"%s\" has no address: %s", host,
			    error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
}

int root_resolve(char *address, size_t bytes, const struct carry *c, const char *host)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	const struct addrinfo *best = NULL;
	struct addrinfo *all;
	int r = getaddrinfo(host, NULL, &hints, &all);

	if (r)
		return resolve_error(c, host, r);
	for (const struct addrinfo *a = all; a; a = a->ai_next) {
		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		if (!best || (is_loopback(best->ai_addr) && !is_loopback(a->ai_addr)))
			best = a;
	}
	r = best ? getnameinfo(best->ai_addr, best->ai_addrlen, address, (socklen_t)bytes, NULL, 0,
			       NI_NUMERICHOST)
		 : EAI_NONAME;
	freeaddrinfo(all);
	return r ? resolve_error(c, host, r) : 0;
}
