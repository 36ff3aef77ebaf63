/* test_verbs_words.c - every rule of the two messages of a verbs meeting, broken one at a time. */
#include "daemon/transport/verbs_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/common/samples.h"

#define REFUSED(change, why)                                         \
	do {                                                         \
		struct verbs_greeting g = sample_greeting();         \
		change;                                              \
		assert_string_equal(verbs_greeting_refuse(&g), why); \
	} while (0)
#define TAKEN(change)                                        \
	do {                                                 \
		struct verbs_greeting g = sample_greeting(); \
		change;                                      \
		assert_null(verbs_greeting_refuse(&g));      \
	} while (0)
#define REFUSED_WORD(change, why)                                \
	do {                                                     \
		struct verbs_word w = sample_word();             \
		change;                                          \
		assert_string_equal(verbs_word_refuse(&w), why); \
	} while (0)

/* Into a why_not, of either message. */
static void say(char *why_not, const char *text)
{
	memcpy(why_not, text, strlen(text) + 1);
}

static void who_speaks(void **state)
{
	(void)state;
	TAKEN((void)0);
	REFUSED(g.magic++, "it does not begin as a meeting of verbs");
	REFUSED(g.version++, "its meeting of verbs is of another version");
	REFUSED(g.usable = 2, "its greeting has a flag that is neither 0 nor 1");
	REFUSED(g.tcp_too = 255, "its greeting has a flag that is neither 0 nor 1");
	REFUSED(g.reserved = 1, "its greeting has reserved bits set");
	REFUSED(g.reserved = 1u << 31, "its greeting has reserved bits set");
	TAKEN(g.tcp_too = 0);
}

static void texts(void **state)
{
	static const char *const bad = "its greeting has a bad text";

	(void)state;
	REFUSED(memset(g.why_not, 'x', sizeof(g.why_not)), bad);
	REFUSED(say(g.why_not, "a\033[2J"), bad);
	REFUSED(say(g.why_not, "two\nlines"), bad);
	REFUSED(say(g.why_not, "\x7f"), bad);
	REFUSED(say(g.why_not, "no"), "its greeting says that it can, and why not");
	REFUSED(g.usable = 0, "its greeting does not say why it cannot");
}

/* One that cannot says nothing of a queue pair. */
static void one_that_cannot(void **state)
{
	static const char *const bad = "its greeting has values that mean nothing";
	const struct verbs_greeting cannot = sample_greeting_cannot();

	(void)state;
	assert_null(verbs_greeting_refuse(&cannot));
	REFUSED((g = cannot, g.qpn = 1), bad);
	REFUSED((g = cannot, g.psn = 1), bad);
	REFUSED((g = cannot, g.rkey = 1), bad);
	REFUSED((g = cannot, g.ring_bytes = 1), bad);
	REFUSED((g = cannot, g.ring = 1ull << 63), bad);
	REFUSED((g = cannot, g.gid[15] = 1), bad);
	REFUSED((g = cannot, g.lid = 1), bad);
	REFUSED((g = cannot, g.link = 1), bad);
	REFUSED((g = cannot, g.mtu = 1), bad);
}

static void the_queue_pair(void **state)
{
	static const char *const number =
		"its greeting has a queue pair or packet number out of range";
	static const char *const mtu = "its greeting has an MTU that there is not";
	static const char *const lid = "its greeting has a LID out of range";

	(void)state;
	REFUSED(g.qpn = 0, number);
	REFUSED(g.qpn = 1 << 24, number);
	REFUSED(g.psn = 1 << 24, number);
	TAKEN(g.qpn = (1 << 24) - 1);
	TAKEN(g.psn = 0);
	REFUSED(g.mtu = 0, mtu);
	REFUSED(g.mtu = 6, mtu);
	TAKEN(g.mtu = 1);
	REFUSED(g.link = VERBS_LINKS, "its greeting has a kind of link that there is not");
	REFUSED(memset(g.gid, 0, sizeof(g.gid)), "its greeting has no GID");
	REFUSED((g.link = VERBS_INFINIBAND), lid);
	REFUSED((g.link = VERBS_INFINIBAND, g.lid = 0xc000), lid);
	TAKEN((g.link = VERBS_INFINIBAND, g.lid = 0xbfff, memset(g.gid, 0, sizeof(g.gid))));
	TAKEN(g.link = VERBS_ROCE_V1);
}

static void the_ring(void **state)
{
	static const char *const size = "its greeting has a ring of a size out of range";
	static const char *const at = "its greeting has a ring at an impossible address";

	(void)state;
	REFUSED(g.ring_bytes = 0, size);
	REFUSED(g.ring_bytes = VERBS_RING_BYTES_MIN - VERBS_UNIT_BYTES, size);
	REFUSED(g.ring_bytes = VERBS_RING_BYTES_MAX + VERBS_UNIT_BYTES, size);
	REFUSED(g.ring_bytes = UINT32_MAX, size);
	REFUSED(g.ring_bytes++, size);
	TAKEN(g.ring_bytes = VERBS_RING_BYTES_MIN);
	TAKEN(g.ring_bytes = VERBS_RING_BYTES_MAX);
	REFUSED(g.ring = 0, at);
	REFUSED(g.ring++, at);
	REFUSED(g.ring = UINT64_MAX - 63, at);
}

static void words(void **state)
{
	struct verbs_word ok = sample_word();

	(void)state;
	assert_null(verbs_word_refuse(&ok));
	ok.state = VERBS_JUDGE;
	assert_null(verbs_word_refuse(&ok));
	ok.good = 0;
	say(ok.why_not, "Connection timed out");
	assert_null(verbs_word_refuse(&ok));
	REFUSED_WORD(w.magic--, "its word is not one of verbs");
	for (int step = 0; step < 256; step++)
		if (step != VERBS_CONNECT && step != VERBS_JUDGE)
			REFUSED_WORD(w.state = (uint8_t)step,
				     "its word is about a step that there is not");
	REFUSED_WORD(w.good = 2, "its word has a flag that is neither 0 nor 1");
	REFUSED_WORD(w.reserved = 0x100, "its word has reserved bits set");
	REFUSED_WORD(memset(w.why_not, 'x', sizeof(w.why_not)), "its word has a bad text");
	REFUSED_WORD(say(w.why_not, "\r"), "its word has a bad text");
	REFUSED_WORD(say(w.why_not, "no"), "its word is good, and says why not");
	REFUSED_WORD(w.good = 0, "its word does not say why not");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_speaks),      cmocka_unit_test(texts),
		cmocka_unit_test(one_that_cannot), cmocka_unit_test(the_queue_pair),
		cmocka_unit_test(the_ring),        cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
