/* page.h - what experiments found, as an HTML page for people: words, tables, plots. */
#ifndef TESTS_EXPERIMENTS_PAGE_H
#define TESTS_EXPERIMENTS_PAGE_H

#include <stdio.h>

#include "tests/experiments/experiment.h"

void page_html(FILE *out, const struct experiment *e, size_t count);

#endif
