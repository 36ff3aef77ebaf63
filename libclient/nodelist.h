/*
 * nodelist.h - the first host of a Slurm host list.
 *
 *	list: host {"," host}    host: characters and "[" range {"," range} "]", any number of each
 *	range: number ["-" number]
 *
 * "rack[0-1]node[07,09-12],login" begins with "rack0node07": the first of every range.
 */
#ifndef LIBCLIENT_NODELIST_H
#define LIBCLIENT_NODELIST_H

#include <stddef.h>

/* nodelist_first() - Return: 0 and the name in first[bytes]; -EINVAL: no list, or too long. */
int nodelist_first(char *first, size_t bytes, const char *list);

#endif
