/*
 * replay.c - the main() that gives a fuzzer's harness the files of its corpus.
 *
 *     replay_NAME FOLDER|FILE...
 *
 * Needs no libFuzzer, so every build with every compiler and sanitizer replays what
 * was once found.  Each input lies in a block of memory of exactly its size, so that
 * ASan sees a read past its end.  Each is also cut short at every length up to
 * CUT_MAX, which a truncated message would be.  A crash names its file: the name is
 * printed before the harness runs.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CUT_MAX 512
#define FILE_MAX (16L << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* One run of the harness over data[bytes], copied to where nothing lies behind it. */
static bool run(const uint8_t *data, size_t bytes)
{
	uint8_t *copy = malloc(bytes > 0 ? bytes : 1);

	if (!copy) {
		fprintf(stderr, "no memory for %zu bytes\n", bytes);
		return false;
	}
	if (bytes > 0)
		memcpy(copy, data, bytes);
	LLVMFuzzerTestOneInput(copy, bytes);
	free(copy);
	return true;
}

/* Reads a whole file.  Return: its bytes, or -1 and a sentence on stderr; *data is the caller's. */
static long read_file(const char *path, uint8_t **data)
{
	FILE *file = fopen(path, "rb");
	long bytes = -1;

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	if (fseek(file, 0, SEEK_END) == 0)
		bytes = ftell(file);
	rewind(file);
	*data = bytes >= 0 && bytes <= FILE_MAX ? malloc((size_t)bytes + 1) : NULL;
	if (!*data || fread(*data, 1, (size_t)bytes, file) != (size_t)bytes) {
		fprintf(stderr, "%s: cannot be read whole\n", path);
		free(*data);
		*data = NULL;
		bytes = -1;
	}
	fclose(file);
	return bytes;
}

static bool replay_file(const char *path)
{
	uint8_t *data;
	long bytes = read_file(path, &data);
	bool good = bytes >= 0;

	if (!good)
		return false;
	printf("%s\n", path);
	fflush(stdout);
	for (long cut = 0; good && cut < bytes && cut <= CUT_MAX; cut++)
		good = run(data, (size_t)cut);
	good = good && run(data, (size_t)bytes);
	free(data);
	return good;
}

/* Return: how many files were replayed, or -1. */
static long replay_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char name[4096];
	long files = 0;

	if (!folder) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	while (files >= 0 && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		files = replay_file(name) ? files + 1 : -1;
	}
	closedir(folder);
	return files;
}

int main(int argc, char **argv)
{
	long files = 0;

	for (int i = 1; i < argc; i++) {
		struct stat about;
		long more = -1;

		if (stat(argv[i], &about) != 0)
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
		else if (S_ISDIR(about.st_mode))
			more = replay_folder(argv[i]);
		else
			more = replay_file(argv[i]) ? 1 : -1;
		if (more < 0)
			return 1;
		files += more;
	}
	if (files == 0) {
		fprintf(stderr, "no files to replay\n");
		return 1;
	}
	printf("%ld inputs replayed\n", files);
	return 0;
}
