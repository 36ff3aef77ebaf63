/*
 * config.h - what the operator decides: an INI file, read once at start.
 *
 * One table (config_table.c) has section, key, type, range, default and help of every
 * key; parsing, checking, --print-config and the manual page come from it.  To add a
 * key: a field here, a row there.  An unknown section or key, a value out of range, a
 * key given twice: each is an error that names file, line, section, key and value.
 *
 * Nothing changes after config_load().
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/err.h"

#define CONFIG_DEFAULT_PATH "/etc/carry/carryd.conf"

enum {
	CONFIG_TEXT_BYTES = 200, /* of any text, the final 0 included                  */
	CONFIG_PATH_BYTES = 256, /* of the file's name, for messages                   */
	CONFIG_KEYS_MAX = 64,
	CONFIG_CLIENTS_MAX = 1024,
	CONFIG_FILE_BYTES_MAX = 1 << 20,
};

/* auto, on, off: the numbers are those of enum transport_switch. */
enum config_switch { CONFIG_SWITCH_AUTO = 0, CONFIG_SWITCH_ON, CONFIG_SWITCH_OFF };

/* The table writes them: numbers are uint64_t, texts char[CONFIG_TEXT_BYTES]. */
struct config {
	/* [daemon] */
	char socket[CONFIG_TEXT_BYTES];
	uint64_t socket_mode;
	char socket_group[CONFIG_TEXT_BYTES]; /* "": leave it                              */
	uint64_t log_level;                   /* enum log_level                            */
	/* [network] */
	char listen[CONFIG_TEXT_BYTES];     /* numeric address, "": all                    */
	uint64_t port;                      /* 0: any free one                             */
	char interfaces[CONFIG_TEXT_BYTES]; /* netlist.h                                   */
	uint64_t paths;
	uint64_t heartbeat_ms;
	uint64_t dead_ms;
	char peers[CONFIG_TEXT_BYTES];      /* netlist.h; "": subnets of the interfaces    */
	char root_ports[CONFIG_TEXT_BYTES]; /* config_root_port(); "": our own         */
	/* [engine] */
	uint64_t lanes;
	char transport[CONFIG_TEXT_BYTES];
	uint64_t spin_us;
	char cpus[CONFIG_TEXT_BYTES]; /* config_cpu()                                */
	/* [schedule] */
	char force[CONFIG_TEXT_BYTES]; /* "auto" or a schedule's name                 */
	uint64_t flat_bytes_max;
	/* [limits] */
	uint64_t clients;
	uint64_t clients_per_uid;
	uint64_t arena_bytes; /* of all trainers together                    */
	uint64_t arena_bytes_per_uid;
	uint64_t arena_bytes_default; /* of a trainer that does not say              */
	uint64_t arena_bytes_max;     /* of one trainer                              */
	uint64_t groups;
	uint64_t inflight_bytes; /* of one group                                */
	uint64_t state_bytes;    /* of one group's error feedback               */
	/* [uring]: enum config_switch */
	uint64_t multishot, defer_taskrun, zerocopy, fixed_buffers, sqpoll;
	uint64_t zerocopy_bytes_min; /* 0: the measured default                     */
	/* [verbs] */
	char devices[CONFIG_TEXT_BYTES];
	uint64_t timeout, retries, service_level, traffic_class;
	/* [wire] */
	uint64_t payload_crc; /* 0 or 1                                      */
	/* [fault] */
	char inner[CONFIG_TEXT_BYTES];
	uint64_t seed, cut_every, delay_us_max, corrupt_every;

	char path[CONFIG_PATH_BYTES];   /* the file; "": none, all defaults            */
	uint32_t line[CONFIG_KEYS_MAX]; /* by row of the table: where it was set; 0: default */
};

/*
 * config_load() - read a file.
 * @path: NULL: CONFIG_DEFAULT_PATH, which need not exist.
 * Return: 0, or negative errno and *err says where and what.
 */
int config_load(struct config *out, const char *path, struct err *err);

/* config_parse() - the same from memory; any bytes.  `name` is for messages. */
int config_parse(struct config *out, const char *text, size_t bytes, const char *name,
		 struct err *err);

/* The table, for reports.  row: 0.. until config_key() is false. */
struct config_key {
	const char *section, *key;
	const char *value; /* the default                     */
	const char *help;  /* a sentence or two               */
	char range[128];   /* in words: "1 to 16"             */
};
bool config_key(size_t row, struct config_key *out);
/* config_value() - the value as it would be written.  Return: text. */
const char *config_value(const struct config *c, size_t row, char *text, size_t bytes);

/* config_print() - all of it as config_load() reads it, with help, default and origin. */
void config_print(const struct config *c, FILE *to);

/* config_cpu() - the processor of a lane: the lane'th of engine.cpus, round and round; -1: any. */
int config_cpu(const struct config *c, uint32_t lane);

/* config_root_port() - may the daemon of a root listen on `port`?  own: where we listen. */
bool config_root_port(const struct config *c, uint16_t own, uint16_t port);

#endif
