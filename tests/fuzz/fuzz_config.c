/*
 * fuzz_config.c - the configuration file.
 *
 * Input: the file.  Properties: what is refused gets a sentence that begins with the
 * file's name and leaves the output alone; what is taken can be printed, read again, and
 * is the same; its numbers keep the ranges of the table.
 */
#include "tests/fuzz/property.h"

#include "daemon/config.h"
#include "daemon/config_table.h"

static void ranges_hold(const struct config *c)
{
	for (const struct config_row *row = config_table; row->section; row++) {
		const char *at = (const char *)c + row->offset;
		uint64_t number;

		if (row->type >= CONFIG_WORD) {
			PROPERTY(terminated(at, CONFIG_TEXT_BYTES));
			PROPERTY(strlen(at) <= row->max);
			continue;
		}
		memcpy(&number, at, sizeof(number));
		if (row->type == CONFIG_CHOICE)
			PROPERTY(number >= row->min && number < row->min + 8);
		else
			PROPERTY(number >= row->min && number <= row->max);
	}
	PROPERTY(config_cpu(c, 0) >= -1 && config_cpu(c, 15) <= 4095);
}

static void reads_back(const struct config *c)
{
	char one[CONFIG_TEXT_BYTES], two[CONFIG_TEXT_BYTES], *text;
	struct config again;
	struct err err;
	size_t bytes;
	FILE *file = open_memstream(&text, &bytes);

	PROPERTY(file);
	config_print(c, file);
	fclose(file);
	PROPERTY(config_parse(&again, text, bytes, "printed", &err) == 0);
	for (size_t row = 0; config_table[row].section; row++)
		PROPERTY(strcmp(config_value(c, row, one, sizeof(one)),
				config_value(&again, row, two, sizeof(two))) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct config c, untouched;
	struct err err = {.code = 0};
	int error;

	memset(&c, 0xa5, sizeof(c));
	untouched = c;
	error = config_parse(&c, (const char *)data, bytes, "file", &err);
	if (error) {
		PROPERTY(error < 0 && err.code == error);
		PROPERTY(memcmp(&c, &untouched, sizeof(c)) == 0);
		PROPERTY(strstr(err.text, "file:") || strstr(err.text, "(default)"));
		PROPERTY(strlen(err.text) > 12 && !strchr(err.text, '\n'));
		return 0;
	}
	ranges_hold(&c);
	reads_back(&c);
	return 0;
}
