/* codec_spec.c - see codec_spec.h. */
#include "daemon/codec_spec.h"

#include <errno.h>

#include "daemon/spec.h"

int codec_parse(struct codec_setting *out, const char *spec, struct err *err)
{
	const struct codec *const *at = codec_table;
	const struct codec *codec;
	const char *refused;
	int error;

	while (*at && !spec_names(spec, (*at)->name))
		at++;
	codec = *at;
	if (!codec)
		return spec_unknown("codec", spec, err);
	*out = (struct codec_setting){.id = (uint8_t)codec->id};
	error = spec_options(out, "codec", codec->name, codec->options, spec, err);
	if (error)
		return error;
	if (codec->derive)
		codec->derive(out);
	refused = codec->refuse ? codec->refuse(out) : NULL;
	return refused ? err_set(err, -EINVAL, "codec %s: %s", codec->name, refused) : 0;
}

void codec_format(const struct codec_setting *s, char spec[CODEC_SPEC_BYTES])
{
	const struct codec *codec = codec_by_id(s->id);

	spec_format(spec, CODEC_SPEC_BYTES, codec->name, codec->options, s);
}
