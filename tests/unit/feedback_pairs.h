/*
 * feedback_pairs.h - which codecs do not go with which feedback, as a list: so that what a test
 * leaves out is what is refused on purpose, and nothing else.
 */
#ifndef TESTS_UNIT_FEEDBACK_PAIRS_H
#define TESTS_UNIT_FEEDBACK_PAIRS_H

#include "compress/feedback.h"

/*
 * pair_goes() - may this feedback be used with this codec in chunks of `count`?  Fails the test
 * if feedback_refuse() and the list differ.
 */
bool pair_goes(const char *feedback, const char *codec, size_t count);

#endif
