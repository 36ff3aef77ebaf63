/*
 * table.h - aligned columns on a terminal.
 */
#ifndef TOOLS_CTL_TABLE_H
#define TOOLS_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 12 };

struct table {
	size_t columns;
	size_t used; /* cells, the head included                         */
	size_t room;
	char **cells; /* [used], row by row; of malloc                    */
	bool right[TABLE_COLUMNS_MAX];
	bool failed; /* no memory                                        */
};

/* head: titles separated by '|'; a '>' in front: to the right, as numbers are. */
void table_init(struct table *t, const char *head);
__attribute__((format(printf, 2, 3))) void table_cell(struct table *t, const char *format, ...);
/* Prints and frees.  Return: 0 or -ENOMEM. */
int table_end(struct table *t, FILE *to);

/* 1536 as "1.5K"; 16 bytes of text are enough.  Return: text. */
const char *table_size(uint64_t bytes, char *text, size_t text_bytes);

#endif
