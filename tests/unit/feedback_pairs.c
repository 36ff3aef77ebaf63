/* feedback_pairs.c - see feedback_pairs.h. */
#include "tests/unit/feedback_pairs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/codec_spec.h"
#include "daemon/feedback_spec.h"

static bool among(const char *const *list, const char *spec)
{
	for (; *list; list++)
		if (strcmp(*list, spec) == 0)
			return true;
	return false;
}

/* What these lose grows from op to op when it is fed back. */
static bool runs_away(const char *codec)
{
	static const char *const list[] = {"randk:density=0.25,scale=unbiased",
					   "qsgd:levels=7",
					   "qsgd:levels=1,block=64",
					   "terngrad",
					   "terngrad:clip=0",
					   "terngrad:block=64",
					   "terngrad:block=65536",
					   NULL};

	return among(list, codec);
}

/* econtrol's eta is 2 densities at most. */
static bool too_eager(const char *feedback, const char *codec)
{
	static const char *const percent[] = {"topk",
					      "topk:mode=block",
					      "topk:mode=threshold",
					      "topk:mode=threshold,scope=tensor,values=bf16",
					      "randk",
					      NULL};
	static const char *const any[] = {"econtrol", "econtrol:eta=0.01", "econtrol:eta=0.02",
					  NULL};

	if (strcmp(codec, "topk:density=0.001,indices=gaps") == 0)
		return among(any, feedback);
	return strcmp(feedback, "econtrol") == 0 && among(percent, codec);
}

bool pair_goes(const char *feedback, const char *codec, size_t count)
{
	const struct codec_setting exact = {.id = CODEC_NONE};
	bool goes =
		strcmp(feedback, "none") == 0 || (!runs_away(codec) && !too_eager(feedback, codec));
	struct feedback_setting s;
	struct codec_setting c;
	struct err err;
	const char *words;

	assert_int_equal(feedback_parse(&s, feedback, &err), 0);
	assert_int_equal(codec_parse(&c, codec, &err), 0);
	words = feedback_refuse(&s, &c, &exact, count);
	if (goes != !words)
		fail_msg("%s with %s, %zu elements: %s", feedback, codec, count,
			 words ? words : "is not refused");
	return goes;
}
