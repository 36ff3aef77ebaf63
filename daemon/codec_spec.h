/*
 * codec_spec.h - codecs as people write them: "int8:block=256,rounding=stochastic".
 *
 * A name of the table (compress/codec.h) and options of that codec; spec.h has the grammar.
 */
#ifndef DAEMON_CODEC_SPEC_H
#define DAEMON_CODEC_SPEC_H

#include "compress/codec.h"
#include "daemon/err.h"

enum { CODEC_SPEC_BYTES = 128 }; /* of a spec, with its end */

/* codec_parse() - Return: 0; -EINVAL and *err says what is wrong with the spec. */
int codec_parse(struct codec_setting *out, const char *spec, struct err *err);

/* codec_format() - every option in the table's order: the same text for equal settings. */
void codec_format(const struct codec_setting *s, char spec[CODEC_SPEC_BYTES]);

#endif
