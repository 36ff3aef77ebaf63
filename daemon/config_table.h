/*
 * config_table.h - what a row of the configuration's table is; config.c's own.
 *
 * A row says where the value lives in struct config and which texts are values.  The
 * default is written as an operator would write it and goes through the same parser.
 */
#ifndef DAEMON_CONFIG_TABLE_H
#define DAEMON_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/err.h"

enum config_type {
	/* uint64_t */
	CONFIG_NUMBER, /* min to max                                           */
	CONFIG_SIZE,   /* bytes, with K, M, G or T                             */
	CONFIG_MODE,   /* octal                                                */
	CONFIG_CHOICE, /* one of `words`: min + its index                      */
	/* char[CONFIG_TEXT_BYTES], at most max bytes long */
	CONFIG_WORD,       /* one of `words`                                        */
	CONFIG_NAME,       /* of a Unix group, or empty                             */
	CONFIG_SOCKET,     /* absolute path                                         */
	CONFIG_ADDRESS,    /* numeric, or empty                                     */
	CONFIG_INTERFACES, /* netlist.h                                             */
	CONFIG_NETWORKS,   /* netlist.h                                             */
	CONFIG_CPUS,       /* 0,2-5, or empty                                       */
	CONFIG_PORTS,      /* 7117,7200-7299, or empty                              */
	CONFIG_DEVICES,    /* mlx5_0:1,mlx5_1 or ^mlx5_2, or empty                  */
};

struct config_row {
	const char *section, *key;
	enum config_type type;
	size_t offset; /* in struct config                                      */
	uint64_t min, max;
	const char *words; /* "a|b|c"                                               */
	const char *value; /* default                                               */
	const char *help;
};

extern const struct config_row config_table[]; /* ordered by section, ended by section NULL */

/*
 * config_row_set() - put a value where the row says.
 * Return: whether the text is one; if not, *err is set only where there is more to say
 * than that it must be the row's range.
 */
bool config_row_set(struct config *c, const struct config_row *row, const char *value,
		    struct err *err);
void config_row_range(const struct config_row *row, char *text, size_t bytes); /* in words */

#endif
