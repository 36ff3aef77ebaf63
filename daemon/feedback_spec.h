/*
 * feedback_spec.h - error feedback as people write it: "econtrol:eta=0.1".
 *
 * A name of the table (compress/feedback.h) and options of that algorithm; spec.h has the grammar.
 */
#ifndef DAEMON_FEEDBACK_SPEC_H
#define DAEMON_FEEDBACK_SPEC_H

#include "compress/feedback.h"
#include "daemon/err.h"

enum { FEEDBACK_SPEC_BYTES = 64 }; /* of a spec, with its end */

/* feedback_parse() - Return: 0; -EINVAL and *err says what is wrong with the spec. */
int feedback_parse(struct feedback_setting *out, const char *spec, struct err *err);

/* feedback_format() - every option in the table's order: the same text for equal settings. */
void feedback_format(const struct feedback_setting *s, char spec[FEEDBACK_SPEC_BYTES]);

#endif
