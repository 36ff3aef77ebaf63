/* report.c - see report.h. */
#include "tests/experiments/report.h"

#include <jansson.h>
#include <math.h>

void report_expected(const struct experiment_row *row, char text[REPORT_CELL_BYTES])
{
	text[0] = '\0';
	if (!isnan(row->expected))
		(void)snprintf(text, REPORT_CELL_BYTES, "%.6g", row->expected);
}

void report_tolerance(const struct experiment_row *row, char text[REPORT_CELL_BYTES])
{
	if (!isnan(row->expected) && row->high == row->low)
		(void)snprintf(text, REPORT_CELL_BYTES, "exactly");
	else if (!isnan(row->expected))
		(void)snprintf(text, REPORT_CELL_BYTES, "+- %.3g %%",
			       100 * (row->high - row->expected) / fabs(row->expected));
	else if (isinf(row->high))
		(void)snprintf(text, REPORT_CELL_BYTES, "at least %.5g", row->low);
	else if (row->low == 0)
		(void)snprintf(text, REPORT_CELL_BYTES, "at most %.5g", row->high);
	else
		(void)snprintf(text, REPORT_CELL_BYTES, "%.7g to %.7g", row->low, row->high);
}

void report_lines(FILE *out, const struct experiment *e)
{
	for (size_t i = 0; i < e->rows; i++) {
		const struct experiment_row *row = &e->row[i];
		char expected[REPORT_CELL_BYTES], tolerance[REPORT_CELL_BYTES];

		report_expected(row, expected);
		report_tolerance(row, tolerance);
		(void)fprintf(out, "%s  %-60s %12.6g %12s  %-20s  %s\n", e->letter, row->what,
			      row->measured, expected, tolerance,
			      experiment_row_holds(row) ? "ok" : "DIFFERS");
	}
}

static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *figures(const struct experiment *e)
{
	json_t *list = json_array();

	for (size_t i = 0; i < e->rows; i++) {
		const struct experiment_row *row = &e->row[i];

		json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o, s:o, s:b}", "what",
						      row->what, "measured", number(row->measured),
						      "expected", number(row->expected), "low",
						      number(row->low), "high", number(row->high),
						      "ok", experiment_row_holds(row)));
	}
	return list;
}

char *report_json(const struct experiment *e, size_t count)
{
	json_t *list = json_array(), *document;
	size_t failed = 0, rows = 0;
	char *text;

	for (size_t i = 0; i < count; i++) {
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:o}", "letter", e[i].letter, "title",
						e[i].title, "figures", figures(&e[i])));
		failed += experiment_failed(&e[i]);
		rows += e[i].rows;
	}
	document = json_pack("{s:o, s:I, s:I}", "experiments", list, "passed",
			     (json_int_t)(rows - failed), "failed", (json_int_t)failed);
	text = document ? json_dumps(document, JSON_INDENT(1)) : NULL;
	json_decref(document);
	return text;
}
