/* feedback_spec.c - see feedback_spec.h. */
#include "daemon/feedback_spec.h"

#include "daemon/spec.h"

int feedback_parse(struct feedback_setting *out, const char *spec, struct err *err)
{
	const struct feedback *const *f = feedback_table;

	while (*f && !spec_names(spec, (*f)->name))
		f++;
	if (!*f)
		return spec_unknown("feedback", spec, err);
	*out = (struct feedback_setting){.id = (uint8_t)(*f)->id};
	return spec_options(out, "feedback", (*f)->name, (*f)->options, spec, err);
}

void feedback_format(const struct feedback_setting *s, char spec[FEEDBACK_SPEC_BYTES])
{
	const struct feedback *feedback = feedback_by_id(s->id);

	spec_format(spec, FEEDBACK_SPEC_BYTES, feedback->name, feedback->options, s);
}
