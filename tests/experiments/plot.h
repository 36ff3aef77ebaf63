/*
 * plot.h - curves as an SVG element: axes, grid, legend; nothing from elsewhere, no scripts.
 *
 * Points that have no place on a logarithmic axis (0, negative) or are not finite are left out.
 */
#ifndef TESTS_EXPERIMENTS_PLOT_H
#define TESTS_EXPERIMENTS_PLOT_H

#include <stdio.h>

#include "tests/experiments/experiment.h"

void plot_svg(FILE *out, const struct experiment_plot *p);

/* plot_text() - text with what XML reserves written otherwise. */
void plot_text(FILE *out, const char *text);

#endif
