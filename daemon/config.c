/*
 * config.c - see config.h.
 *
 * libinih splits the lines.  It does not say which line a value stood in, so the
 * reader it calls for each line counts them; the reader also refuses what inih would
 * pass over: sections that do not exist, lines longer than its buffer, control
 * characters.
 */
#include "daemon/config.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config_table.h"
#include "daemon/exchange.h"

/* --- lines ----------------------------------------------------------------------------------- */

struct config_reader {
	struct config *config;
	const char *text;
	size_t bytes, at;
	const char *name;
	uint32_t line; /* being read, from 1 */
	bool failed;
	struct err *err;
};

static bool config_known_section(const char *section, size_t length)
{
	for (const struct config_row *row = config_table; row->section; row++)
		if (strncmp(row->section, section, length) == 0 && !row->section[length])
			return true;
	return false;
}

static void config_fail(struct config_reader *r, const char *what, const char *value, size_t length)
{
	r->failed = true;
	(void)err_set(r->err, -EINVAL, "%s:%u: %s%s%.*s%s", r->name, r->line, what,
		      length ? " \"" : "", (int)(length < 60 ? length : 60), value,
		      length ? "\"" : "");
}

/* inih asks for the next line, of at most bytes - 1 characters.  Return: line, NULL at the end. */
static char *config_line(char *line, int bytes, void *stream)
{
	struct config_reader *r = stream;
	const char *from = r->text + r->at, *end;
	size_t length, left = r->bytes - r->at;

	if (r->failed || left == 0)
		return NULL;
	end = memchr(from, '\n', left);
	length = end ? (size_t)(end - from) : left;
	r->at += length + (end ? 1 : 0);
	r->line++;
	if (r->line == 1 && length >= 3 && memcmp(from, "\xef\xbb\xbf", 3) == 0)
		from += 3, length -= 3; /* a byte order mark */
	while (length && strchr(" \t\r", from[length - 1]) && from[length - 1])
		length--;
	/* Without this inih would take an indented line for the rest of the value above it. */
	while (length && (*from == ' ' || *from == '\t'))
		from++, length--;
	if (length && (*from == '#' || *from == ';'))
		length = 0;
	for (size_t i = 0; i < length && !r->failed; i++)
		if (((unsigned char)from[i] < 0x20 && from[i] != '\t') || from[i] == 0x7f)
			config_fail(r, "there is a control character in this line", "", 0);
	if (!r->failed && length > (size_t)bytes - 2)
		config_fail(r, "the line is too long; it begins with", from, 40);
	if (!r->failed && length && *from == '[') {
		const char *close = memchr(from, ']', length);
		size_t inner = close ? (size_t)(close - from) - 1 : 0;

		if (close && !config_known_section(from + 1, inner))
			config_fail(r, "there is no section", from, inner + 2);
	}
	if (r->failed)
		return NULL;
	for (size_t i = 0; i < length; i++)
		line[i] = from[i] == '\t' ? ' ' : from[i];
	line[length] = '\n';
	line[length + 1] = 0;
	return line;
}

/* inih's news of a value.  Return: 1, or 0 on failure, which inih calls an error and goes on. */
static int config_entry(void *user, const char *section, const char *key, const char *value)
{
	struct config_reader *r = user;
	struct err more = {.code = 0};
	char range[128];
	size_t row = 0;

	if (r->failed)
		return 0;
	while (config_table[row].section && (strcmp(config_table[row].section, section) != 0 ||
					     strcmp(config_table[row].key, key) != 0))
		row++;
	if (!config_table[row].section) {
		r->failed = true;
		(void)err_set(r->err, -EINVAL,
			      *section ? "%s:%u: there is no key \"%.40s\" in section [%s]"
				       : "%s:%u: \"%.40s\" stands outside of any section%s",
			      r->name, r->line, key, section);
		return 0;
	}
	if (r->config->line[row]) {
		r->failed = true;
		(void)err_set(r->err, -EINVAL, "%s:%u: [%s] %s was set in line %u already", r->name,
			      r->line, section, key, r->config->line[row]);
		return 0;
	}
	if (!config_row_set(r->config, &config_table[row], value, &more)) {
		config_row_range(&config_table[row], range, sizeof(range));
		r->failed = true;
		(void)err_set(r->err, -EINVAL, "%s:%u: [%s] %s = %.60s: %s%s", r->name, r->line,
			      section, key, value, more.code ? "" : "must be ",
			      more.code ? more.text : range);
		return 0;
	}
	r->config->line[row] = r->line;
	return 1;
}

/* --- the whole ------------------------------------------------------------------------------- */

static void config_defaults(struct config *out)
{
	struct err err;

	memset(out, 0, sizeof(*out));
	for (const struct config_row *row = config_table; row->section; row++) {
		bool ok = config_row_set(out, row, row->value, &err);

		assert(ok);
	}
}

/* "name:12: [section] key" of a number's row, as the start of a sentence about two keys. */
static void config_where(const struct config *c, const uint64_t *number, char *text, size_t bytes)
{
	size_t offset = (size_t)((const char *)number - (const char *)c), row = 0;

	while (config_table[row].offset != offset)
		row++;
	if (c->line[row])
		(void)snprintf(text, bytes, "%s:%u: [%s] %s", c->path, c->line[row],
			       config_table[row].section, config_table[row].key);
	else
		(void)snprintf(text, bytes, "[%s] %s (default)", config_table[row].section,
			       config_table[row].key);
}

/* A daemon that could not form any group is of no use: one node is the least that can be. */
static int config_check_inflight(const struct config *c, struct err *err)
{
	struct exchange_plan plan = {
		.nodes = 1, .lanes = (uint16_t)c->lanes, .local_ranks = EXCHANGE_LOCAL_MAX};
	char one[CONFIG_PATH_BYTES + 64];
	struct err more;

	if (!exchange_plan_size(&plan, c->inflight_bytes, &more))
		return 0;
	config_where(c, &c->inflight_bytes, one, sizeof(one));
	return err_set(err, -EINVAL,
		       "%.140s = %" PRIu64 ": a group on one node needs %" PRIu64
		       " with [engine] lanes = %" PRIu64,
		       one, c->inflight_bytes, exchange_memory(&plan) * c->lanes, c->lanes);
}

/* What no row can say alone. */
static int config_check(const struct config *c, struct err *err)
{
	char one[CONFIG_PATH_BYTES + 64], two[CONFIG_PATH_BYTES + 64];

	if (c->dead_ms < 4 * c->heartbeat_ms) {
		config_where(c, &c->dead_ms, one, sizeof(one));
		return err_set(err, -EINVAL,
			       "%s = %" PRIu64
			       ": must be at least four times heartbeat_ms = %" PRIu64,
			       one, c->dead_ms, c->heartbeat_ms);
	}
	if (c->arena_bytes_default > c->arena_bytes_max) {
		config_where(c, &c->arena_bytes_default, one, sizeof(one));
		config_where(c, &c->arena_bytes_max, two, sizeof(two));
		return err_set(err, -EINVAL, "%.170s: is more than %.170s", one, two);
	}
	if (c->sqpoll == CONFIG_SWITCH_ON && c->defer_taskrun == CONFIG_SWITCH_ON) {
		config_where(c, &c->sqpoll, one, sizeof(one));
		return err_set(err, -EINVAL, "%s: sqpoll and defer_taskrun exclude each other",
			       one);
	}
	return config_check_inflight(c, err);
}

int config_parse(struct config *out, const char *text, size_t bytes, const char *name,
		 struct err *err)
{
	struct config config;
	struct config_reader reader = {
		.config = &config, .text = text, .bytes = bytes, .name = name, .err = err};
	int error;

	config_defaults(&config);
	(void)snprintf(config.path, sizeof(config.path), "%s", name);
	error = ini_parse_stream(config_line, &reader, config_entry, &reader);
	if (reader.failed)
		return err->code;
	if (error > 0)
		return err_set(err, -EINVAL, "%s:%d: neither [section] nor key = value", name,
			       error);
	if (error)
		return err_set(err, -ENOMEM, "no memory to read %s", name);
	error = config_check(&config, err);
	if (error)
		return error;
	*out = config;
	return 0;
}

/* Return: the file's bytes, of malloc, or NULL and *err. */
static char *config_read(FILE *file, const char *path, size_t *bytes, struct err *err)
{
	char *buffer = malloc(CONFIG_FILE_BYTES_MAX + 1);

	if (!buffer) {
		(void)err_set(err, -ENOMEM, "no memory to read %s", path);
		return NULL;
	}
	errno = 0;
	*bytes = fread(buffer, 1, CONFIG_FILE_BYTES_MAX + 1, file);
	if (ferror(file)) {
		free(buffer);
		(void)err_set(err, -(errno ? errno : EIO), "read %s: %s", path,
			      strerror(errno ? errno : EIO));
		return NULL;
	}
	if (*bytes > CONFIG_FILE_BYTES_MAX) {
		free(buffer);
		(void)err_set(err, -EFBIG, "%s is larger than %d bytes", path,
			      CONFIG_FILE_BYTES_MAX);
		return NULL;
	}
	return buffer;
}

int config_load(struct config *out, const char *path, struct err *err)
{
	const char *name = path ? path : CONFIG_DEFAULT_PATH;
	FILE *file = fopen(name, "re");
	char *text;
	size_t bytes;
	int error;

	if (!file) {
		if (!path && errno == ENOENT)
			return config_parse(out, "", 0, "", err);
		return err_set(err, -errno, "open %s: %s", name, strerror(errno));
	}
	text = config_read(file, name, &bytes, err);
	(void)fclose(file);
	if (!text)
		return err->code;
	error = config_parse(out, text, bytes, name, err);
	free(text);
	return error;
}

/* --- showing --------------------------------------------------------------------------------- */

bool config_key(size_t row, struct config_key *out)
{
	const struct config_row *r = &config_table[row];

	if (!r->section)
		return false;
	out->section = r->section;
	out->key = r->key;
	out->value = r->value;
	out->help = r->help;
	config_row_range(r, out->range, sizeof(out->range));
	return true;
}

/* A comment, broken into lines. */
static void config_comment(FILE *to, const char *text)
{
	enum { WIDTH = 96 };

	while (*text) {
		size_t length = strlen(text);

		if (length > WIDTH) {
			length = WIDTH;
			while (length > 1 && text[length] != ' ')
				length--;
		}
		(void)fprintf(to, "# %.*s\n", (int)length, text);
		text += length;
		text += *text == ' ';
	}
}

void config_print(const struct config *c, FILE *to)
{
	struct config_key key;
	char value[CONFIG_TEXT_BYTES], line[512];
	const char *section = "";

	for (size_t row = 0; config_key(row, &key); row++) {
		if (strcmp(section, key.section) != 0) {
			(void)fprintf(to, "%s[%s]\n", row ? "\n" : "", key.section);
			section = key.section;
		}
		(void)fprintf(to, "\n");
		config_comment(to, key.help);
		(void)snprintf(line, sizeof(line), "Range: %s. Default: %s.", key.range,
			       *key.value ? key.value : "empty");
		config_comment(to, line);
		if (c->line[row])
			(void)fprintf(to, "# From %s:%u.\n", c->path, c->line[row]);
		else
			(void)fprintf(to, "# Not set.\n");
		(void)config_value(c, row, value, sizeof(value));
		(void)fprintf(to, "%s =%s%s\n", key.key, *value ? " " : "", value);
	}
}
