/* guard.c - see guard.h. */
#include "libclient/guard.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t guard_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int guard_open(struct guard *g)
{
	void *page = mmap(NULL, guard_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, guard_bytes(), MADV_WIPEONFORK) < 0) {
		int error = errno;

		munmap(page, guard_bytes());
		return -error;
	}
	g->page = page;
	atomic_store(g->page, 1);
	return 0;
}

void guard_close(struct guard *g)
{
	if (g->page)
		munmap((void *)g->page, guard_bytes());
	g->page = NULL;
}

bool guard_forked(const struct guard *g)
{
	return atomic_load_explicit(g->page, memory_order_relaxed) == 0;
}
