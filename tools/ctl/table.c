/* table.c - see table.h. */
#include "tools/ctl/table.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void table_add(struct table *t, char *cell)
{
	if (cell && t->used == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		char **cells = realloc(t->cells, room * sizeof(*cells));

		if (cells) {
			t->cells = cells;
			t->room = room;
		}
	}
	if (!cell || t->used == t->room) {
		free(cell);
		t->failed = true;
		return;
	}
	t->cells[t->used++] = cell;
}

void table_init(struct table *t, const char *head)
{
	*t = (struct table){.columns = 0};
	for (const char *title = head;; title++) {
		size_t length = strcspn(title, "|");

		assert(t->columns < TABLE_COLUMNS_MAX);
		t->right[t->columns] = *title == '>';
		title += t->right[t->columns];
		length -= t->right[t->columns];
		t->columns++;
		table_add(t, strndup(title, length));
		title += length;
		if (!*title)
			return;
	}
}

void table_cell(struct table *t, const char *format, ...)
{
	char *cell;
	va_list args;

	va_start(args, format);
	if (vasprintf(&cell, format, args) < 0)
		cell = NULL;
	va_end(args);
	table_add(t, cell);
}

/* Columns on the screen: bytes that do not continue a UTF-8 character. */
static size_t table_width(const char *cell)
{
	size_t width = 0;

	for (; *cell; cell++)
		width += (*cell & 0xc0) != 0x80;
	return width;
}

/* Blanks are printed only in front of something, so none end a line. */
static void table_row(const struct table *t, size_t row, const size_t *widths, FILE *to)
{
	int blanks = 0;

	for (size_t c = 0; c < t->columns; c++) {
		const char *cell = t->cells[row * t->columns + c];
		int fill = (int)(widths[c] - table_width(cell));

		blanks += (c ? 2 : 0) + (t->right[c] ? fill : 0);
		if (*cell) {
			(void)fprintf(to, "%*s%s", blanks, "", cell);
			blanks = 0;
		}
		blanks += t->right[c] ? 0 : fill;
	}
	(void)fputc('\n', to);
}

int table_end(struct table *t, FILE *to)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0}, rows = t->used / t->columns;
	bool failed = t->failed;

	for (size_t i = 0; i < rows * t->columns; i++) {
		size_t width = table_width(t->cells[i]);

		if (width > widths[i % t->columns])
			widths[i % t->columns] = width;
	}
	for (size_t row = 0; row < rows && !failed; row++)
		table_row(t, row, widths, to);
	for (size_t i = 0; i < t->used; i++)
		free(t->cells[i]);
	free(t->cells);
	*t = (struct table){.columns = 0};
	return failed ? -ENOMEM : 0;
}

const char *table_size(uint64_t bytes, char *text, size_t text_bytes)
{
	static const char units[] = "BKMGTPE";
	double size = (double)bytes;
	size_t unit = 0;

	while (size >= 999.5 && units[unit + 1]) {
		size /= 1024;
		unit++;
	}
	(void)snprintf(text, text_bytes, unit && size < 9.95 ? "%.1f%c" : "%.0f%c", size,
		       units[unit]);
	return text;
}
