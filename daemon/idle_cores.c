/* idle_cores.c - see idle_cores.h. */
#include "daemon/idle_cores.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/clock.h"

int idle_cores_parse(const char *text, uint64_t *idle_ns)
{
	uint64_t seconds;
	unsigned int hundredths;

	if (sscanf(text, "%*u.%*u %" SCNu64 ".%2u", &seconds, &hundredths) != 2)
		return -EBADMSG;
	*idle_ns = seconds * CLOCK_NS_PER_S + hundredths * (CLOCK_NS_PER_S / 100);
	return 0;
}

void idle_cores_open(struct idle_cores *c, uint32_t wanted)
{
	*c = (struct idle_cores){
		.fd = open("/proc/uptime", O_RDONLY | O_CLOEXEC),
		.wanted = wanted,
		.few = true,
	};
}

void idle_cores_close(struct idle_cores *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
}

void idle_cores_count(struct idle_cores *c, uint64_t now_ns, uint64_t free_ns)
{
	uint64_t enough = c->wanted * (now_ns - c->at_ns);

	/* The sum goes back when a core is taken away. */
	if (c->begun)
		c->few = free_ns < c->free_ns || free_ns - c->free_ns < enough - enough / 50;
	c->begun = true;
	c->at_ns = now_ns;
	c->free_ns = free_ns;
}

bool idle_cores_few(struct idle_cores *c, uint64_t now_ns)
{
	char text[64];
	uint64_t idle_ns;
	ssize_t n;

	if (c->fd < 0 || (c->begun && now_ns - c->at_ns < CLOCK_NS_PER_S))
		return c->few;
	n = pread(c->fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = 0;
	if (n <= 0 || idle_cores_parse(text, &idle_ns)) {
		idle_cores_close(c);
		c->few = true;
	} else {
		idle_cores_count(c, now_ns, idle_ns + clock_ours_ns());
	}
	return c->few;
}
