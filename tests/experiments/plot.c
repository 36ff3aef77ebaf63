/* plot.c - see plot.h.  Lengths are pixels of an 800 x 380 picture. */
#include "tests/experiments/plot.h"

#include <math.h>

enum { WIDTH = 800, HEIGHT = 380, LEFT = 84, RIGHT = 530, TOP = 40, BOTTOM = 322 };
enum { LEGEND = 552, LEGEND_LINE = 22, MARKED = 16 }; /* curves of few points get marks */

/* Told apart by people who do not see all colours; dashes, because curves may coincide. */
static const struct {
	const char *colour, *dash;
} styles[EXPERIMENT_CURVES] = {
	{"#0072b2", "none"}, {"#d55e00", "9 5"},     {"#009e73", "3 4"},  {"#b0578d", "12 4 3 4"},
	{"#8a6d00", "none"}, {"#3d3d3d", "6 3 2 3"}, {"#56b4e9", "15 6"}, {"#999999", "2 3"},
};

struct axis {
	double low, high; /* of the numbers, or of their log10 */
	bool log;
	double from, to; /* pixels */
};

void plot_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<': (void)fputs("&lt;", out); break;
		case '>': (void)fputs("&gt;", out); break;
		case '&': (void)fputs("&amp;", out); break;
		case '"': (void)fputs("&quot;", out); break;
		default: (void)fputc(*text, out);
		}
	}
}

static double on_scale(const struct axis *a, double value)
{
	return a->log ? log10(value) : value; /* NaN or infinite: it has no place */
}

static double pixel(const struct axis *a, double scaled)
{
	return a->from + (scaled - a->low) / (a->high - a->low) * (a->to - a->from);
}

/* The least of 1, 2, 5, 10, 20, ... that cuts `range` into at most `parts`. */
static double tick_step(double range, double parts)
{
	double decade = pow(10, floor(log10(range / parts)));

	for (double factor = 1; factor < 10; factor = factor == 2 ? 5 : 2 * factor)
		if (range / (factor * decade) <= parts)
			return factor * decade;
	return 10 * decade;
}

static void stretch(struct axis *a, const double *values, const double *others,
		    const struct axis *other, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		double v = on_scale(a, values[i]);

		if (!isfinite(v) || (other && !isfinite(on_scale(other, others[i]))))
			continue;
		a->low = fmin(a->low, v);
		a->high = fmax(a->high, v);
	}
}

/* To whole decades or ticks, so that no curve ends on the frame. */
static void round_out(struct axis *a, double parts)
{
	double step;

	if (a->low > a->high)
		a->low = a->high = 0;
	if (a->high - a->low < 1e-9 * (1 + fabs(a->high)))
		a->high = a->low + 1;
	step = a->log ? 1 : tick_step(a->high - a->low, parts);
	a->low = floor(a->low / step + 1e-9) * step;
	a->high = ceil(a->high / step - 1e-9) * step;
}

static void axes_of(const struct experiment_plot *p, struct axis *x, struct axis *y)
{
	*x = (struct axis){INFINITY, -INFINITY, p->log_x, LEFT, RIGHT};
	*y = (struct axis){INFINITY, -INFINITY, p->log_y, BOTTOM, TOP};
	for (size_t i = 0; i < p->curves; i++) {
		const struct experiment_curve *c = &p->curve[i];

		stretch(x, c->x, c->y, y, c->points);
		stretch(y, c->y, c->x, x, c->points);
	}
	round_out(x, 6);
	round_out(y, 6);
}

/* --- axes --------------------------------------------------------------------------------- */

static void grid_line(FILE *out, bool across, double at, const char *colour)
{
	(void)fprintf(out,
		      "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
		      across ? LEFT : at, across ? at : TOP, across ? RIGHT : at,
		      across ? at : BOTTOM, colour);
}

/* The number at a tick; across: of a line from left to right, so beside it. */
static void tick_label(FILE *out, const struct axis *a, bool across, double at, double scaled)
{
	(void)fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
		      across ? LEFT - 8 : at, across ? at + 4.5 : BOTTOM + 19,
		      across ? "end" : "middle");
	if (!a->log)
		(void)fprintf(out, "%.6g", fabs(scaled) < 1e-12 * (a->high - a->low) ? 0 : scaled);
	else if (scaled >= 0 && scaled <= 3)
		(void)fprintf(out, "%.6g", pow(10, scaled));
	else
		(void)fprintf(out, "10<tspan dy=\"-5\" font-size=\"10\">%s%.0f</tspan>",
			      scaled < 0 ? "\xe2\x88\x92" : "", fabs(scaled));
	(void)fputs("</text>\n", out);
}

static void ticks(FILE *out, const struct axis *a, bool across)
{
	double range = a->high - a->low, step = tick_step(range, a->log ? 8 : 6);

	if (a->log && step < 1)
		step = 1;
	if (a->log && range <= 3) /* 2, 3, .. 9 between the decades */
		for (double decade = a->low; decade < a->high; decade++)
			for (int i = 2; i <= 9; i++)
				grid_line(out, across, pixel(a, decade + log10(i)), "#f0f0f0");
	for (double v = ceil(a->low / step - 1e-9) * step; v <= a->high + 1e-9 * range; v += step) {
		grid_line(out, across, pixel(a, v), "#dddddd");
		tick_label(out, a, across, pixel(a, v), v);
	}
}

static void frame(FILE *out, const struct experiment_plot *p)
{
	const int middle_x = (LEFT + RIGHT) / 2, middle_y = (TOP + BOTTOM) / 2;

	(void)fprintf(out,
		      "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" "
		      "stroke=\"#777777\"/>\n",
		      LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP);
	(void)fprintf(out, "<text x=\"%d\" y=\"22\" font-size=\"15\" font-weight=\"bold\">", LEFT);
	plot_text(out, p->title);
	(void)fprintf(out, "</text>\n<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", middle_x,
		      BOTTOM + 44);
	plot_text(out, p->x);
	(void)fprintf(out,
		      "</text>\n<text x=\"22\" y=\"%d\" text-anchor=\"middle\" "
		      "transform=\"rotate(-90 22 %d)\">",
		      middle_y, middle_y);
	plot_text(out, p->y);
	(void)fputs("</text>\n", out);
}

/* --- curves ------------------------------------------------------------------------------- */

static void curve(FILE *out, const struct experiment_curve *c, size_t style, const struct axis *x,
		  const struct axis *y)
{
	const char *colour = styles[style].colour;
	bool drawing = false;

	(void)fprintf(out,
		      "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" "
		      "stroke-linejoin=\"round\" stroke-dasharray=\"%s\" d=\"",
		      colour, styles[style].dash);
	for (size_t i = 0; i < c->points; i++) {
		double at_x = on_scale(x, c->x[i]), at_y = on_scale(y, c->y[i]);
		bool has_place = isfinite(at_x) && isfinite(at_y);

		if (has_place)
			(void)fprintf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', pixel(x, at_x),
				      pixel(y, at_y));
		drawing = has_place;
	}
	(void)fputs("\"/>\n", out);
	for (size_t i = 0; i < c->points && c->points <= MARKED; i++) {
		double at_x = on_scale(x, c->x[i]), at_y = on_scale(y, c->y[i]);

		if (isfinite(at_x) && isfinite(at_y))
			(void)fprintf(out,
				      "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
				      pixel(x, at_x), pixel(y, at_y), colour);
	}
}

static void legend(FILE *out, const char *name, size_t style)
{
	double y = TOP + 12 + LEGEND_LINE * (double)style;

	(void)fprintf(out,
		      "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"%s\" "
		      "stroke-width=\"2\" stroke-dasharray=\"%s\"/>\n<text x=\"%d\" y=\"%.1f\">",
		      LEGEND, y, LEGEND + 34, y, styles[style].colour, styles[style].dash,
		      LEGEND + 42, y + 4.5);
	plot_text(out, name);
	(void)fputs("</text>\n", out);
}

void plot_svg(FILE *out, const struct experiment_plot *p)
{
	struct axis x, y;

	axes_of(p, &x, &y);
	(void)fprintf(out,
		      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
		      "role=\"img\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">\n"
		      "<title>",
		      WIDTH, HEIGHT);
	plot_text(out, p->title);
	(void)fputs("</title>\n", out);
	ticks(out, &x, false);
	ticks(out, &y, true);
	frame(out, p);
	for (size_t i = 0; i < p->curves; i++) {
		curve(out, &p->curve[i], i, &x, &y);
		legend(out, p->curve[i].name, i);
	}
	(void)fputs("</svg>\n", out);
}
