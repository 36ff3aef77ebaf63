/* process.c - see process.h. */
#include "tools/ctl/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/capability.h>

/* What follows that word at the beginning of a line.  Return: whether there is such a line. */
static bool find_line(int pid, const char *name, const char *word, char *rest, size_t bytes)
{
	char path[64], line[256];
	bool found = false;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		const char *value = line + strlen(word);

		if (strncmp(line, word, strlen(word)) != 0)
			continue;
		value += strspn(value, " \t");
		(void)snprintf(rest, bytes, "%s", value);
		found = true;
	}
	if (file)
		(void)fclose(file);
	return found;
}

void process_rights(int pid, struct process_rights *out)
{
	char uids[128], effective[64], limit[128];
	char *end;

	*out = (struct process_rights){0};
	/* "Uid: real effective saved file-system" */
	if (find_line(pid, "status", "Uid:", uids, sizeof(uids)) &&
	    find_line(pid, "status", "CapEff:", effective, sizeof(effective))) {
		(void)strtoul(uids, &end, 10);
		out->uid = (uint32_t)strtoul(end, NULL, 10);
		out->may_lock = strtoull(effective, NULL, 16) >> CAP_IPC_LOCK & 1;
		out->known = true;
	}
	if (!find_line(pid, "limits", "Max locked memory", limit, sizeof(limit)))
		return;
	out->memlock_bytes =
		strncmp(limit, "unlimited", 9) != 0 ? strtoull(limit, NULL, 10) : UINT64_MAX;
	out->memlock_known = true;
}
