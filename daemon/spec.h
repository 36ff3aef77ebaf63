/*
 * spec.h - the grammar of what people write for codecs and feedback: "name:key=value,key=value".
 *
 * The last of each key counts; options that are not there have their defaults.  Numbers are as
 * strtod() takes them.  Errors are sentences that begin with `kind`, "codec" or "feedback".
 */
#ifndef DAEMON_SPEC_H
#define DAEMON_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "compress/setting.h"
#include "daemon/err.h"

/* spec_names() - does the spec begin with this name, whole? */
bool spec_names(const char *spec, const char *name);

/* spec_unknown() - no entry has that name.  Return: -EINVAL. */
int spec_unknown(const char *kind, const char *spec, struct err *err);

/* spec_options() - defaults and what the spec says of `name`'s options.  Return: 0 or -EINVAL. */
int spec_options(void *setting, const char *kind, const char *name,
		 const struct setting_option *options, const char *spec, struct err *err);

/* spec_format() - name and every option, in their order.  spec has room for `bytes`. */
void spec_format(char *spec, size_t bytes, const char *name, const struct setting_option *options,
		 const void *setting);

#endif
