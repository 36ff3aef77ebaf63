#!/bin/sh
# quotes.sh - reads a variable that nobody has set, and compares badly.
if [ "$1" == 1 ]; then
	echo one
fi
