/* report.h - what experiments found, as lines and as JSON. */
#ifndef TESTS_EXPERIMENTS_REPORT_H
#define TESTS_EXPERIMENTS_REPORT_H

#include <stdio.h>

#include "tests/experiments/experiment.h"

enum { REPORT_CELL_BYTES = 40 };

/* What a figure must be: "0.042", "+- 2 %"; or what it may be: "", "at most 5e-06". */
void report_expected(const struct experiment_row *row, char text[REPORT_CELL_BYTES]);
void report_tolerance(const struct experiment_row *row, char text[REPORT_CELL_BYTES]);

/* One line a figure. */
void report_lines(FILE *out, const struct experiment *e);

/*
 * report_json() - {"experiments": [{"letter", "title", "figures": [{"what", "measured", "expected",
 * "low", "high", "ok"}]}], "passed", "failed"}; null: none, infinite or not a number.
 * Return: text to free(), or NULL: no memory.
 */
char *report_json(const struct experiment *e, size_t count);

#endif
