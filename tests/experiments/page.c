/* page.c - see page.h. */
#include "tests/experiments/page.h"

#include <string.h>

#include "tests/experiments/plot.h"
#include "tests/experiments/report.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<title>Carry: experiments</title>\n<style>\n"
	"body { font: 16px/1.5 sans-serif; color: #222; background: #fff; max-width: 860px;"
	" margin: 2em auto; padding: 0 1em; }\n"
	"h1, h2 { line-height: 1.2; }\nh2 { margin-top: 2.5em; border-top: 1px solid #ccc;"
	" padding-top: 1em; }\n"
	"table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 1em 0; }\n"
	"th, td { padding: 3px 10px 3px 0; border-bottom: 1px solid #e4e4e4; text-align: left;"
	" vertical-align: top; }\n"
	".n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }\n"
	".ok { color: #00694d; }\n.differs { color: #fff; background: #b00020; padding: 0 6px; }\n"
	"svg { width: 100%; height: auto; margin: 1em 0; }\n</style>\n</head>\n<body>\n"
	"<h1>Experiments whose outcome is known</h1>\n"
	"<p>Gradients that are compressed lose something; <em>error feedback</em> gives it back"
	" later. Whether that works depends on every detail of the rules, so each experiment here"
	" is a small problem whose outcome is known beforehand: from the papers, from arithmetic,"
	" or from the same rules computed in float64 in the same run. What is measured is this"
	" project's own code: codecs and feedback as the daemons run them, in float32, without a"
	" network between them, but for the last one, which is on real daemons. What is expected is"
	" published where the line says so, otherwise arithmetic or the float64 run.</p>\n"
	"<p>Names: <em>none</em> compresses and forgets what is lost. <em>ef14</em> adds what was"
	" lost to the next gradient. <em>ef21</em> keeps an estimate of each node's gradient and"
	" sends compressed differences to it; <em>ef21-sgdm</em> does so with gradients that are"
	" averaged over time (momentum). <em>econtrol</em> does both. <em>twosided</em> compresses"
	" the result, too, with a residual at its owner. <em>exact</em> compresses nothing.</p>\n";

static void contents(FILE *out, const struct experiment *e, size_t count)
{
	(void)fputs("<table>\n<tr><th></th><th>experiment</th><th class=\"n\">figures</th>"
		    "<th>outcome</th></tr>\n",
		    out);
	for (size_t i = 0; i < count; i++) {
		size_t failed = experiment_failed(&e[i]);

		(void)fprintf(out, "<tr><td><a href=\"#%s\">%s</a></td><td>", e[i].letter,
			      e[i].letter);
		plot_text(out, e[i].title);
		(void)fprintf(out, "</td><td class=\"n\">%zu</td><td>", e[i].rows);
		if (failed)
			(void)fprintf(out, "<span class=\"differs\">%zu DIFFER</span>", failed);
		else
			(void)fputs("<span class=\"ok\">as expected</span>", out);
		(void)fputs("</td></tr>\n", out);
	}
	(void)fputs("</table>\n", out);
}

static void figure(FILE *out, const struct experiment_row *row)
{
	char expected[REPORT_CELL_BYTES], tolerance[REPORT_CELL_BYTES];
	bool holds = experiment_row_holds(row), is_share;

	report_expected(row, expected);
	report_tolerance(row, tolerance);
	is_share = !strncmp(tolerance, "+-", 2);
	(void)fputs("<tr><td>", out);
	plot_text(out, row->what);
	(void)fprintf(out,
		      "</td><td class=\"n\">%.6g</td><td class=\"n\">%s</td><td>%s%s</td>"
		      "<td><span class=\"%s\">%s</span></td></tr>\n",
		      row->measured, expected, is_share ? "\xc2\xb1" : "",
		      tolerance + (is_share ? 2 : 0), holds ? "ok" : "differs",
		      holds ? "ok" : "DIFFERS");
}

static void section(FILE *out, const struct experiment *e)
{
	(void)fprintf(out, "<h2 id=\"%s\">%s: ", e->letter, e->letter);
	plot_text(out, e->title);
	(void)fputs("</h2>\n<p>", out);
	plot_text(out, e->words ? e->words : "");
	(void)fputs("</p>\n", out);
	for (size_t i = 0; i < e->plots; i++)
		plot_svg(out, &e->plot[i]);
	(void)fputs("<table>\n<tr><th>what</th><th class=\"n\">measured</th>"
		    "<th class=\"n\">expected</th><th>tolerance</th><th></th></tr>\n",
		    out);
	for (size_t i = 0; i < e->rows; i++)
		figure(out, &e->row[i]);
	(void)fputs("</table>\n", out);
}

void page_html(FILE *out, const struct experiment *e, size_t count)
{
	(void)fputs(head, out);
	contents(out, e, count);
	for (size_t i = 0; i < count; i++)
		section(out, &e[i]);
	(void)fputs("</body>\n</html>\n", out);
}
