# shellcheck shell=bash
# fault.sh - faults.
cpu_clear() { :; }
cpu_remove() { :; }
