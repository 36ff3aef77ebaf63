# shellcheck shell=bash
# report.sh - samples to JSON, JSON to the table.

# report_write FILE MODE: the whole document
report_write() {
	jq -s --argjson about "$ABOUT" -f tests/bench/report.jq "$SAMPLES" >"$1.new" &&
		mv "$1.new" "$1" || broken "cannot write $1"
}

# report_table FILE: what a reader sees
report_table() {
	jq -r '"date     \(.date)\nmachine  \(.machine.cores) x \(.machine.cpu), " +
		"\(.machine.memory_gib) GiB, Linux \(.machine.kernel)\ncommit   \(.commit)\n" +
		"rounds   \(.rounds) (\(.mode))\nothers   used \(.machine.busy_percent_before) % " +
		"of the machine before, \(.machine.busy_percent_after) % after; the host took " +
		"\(.machine.stolen_percent) % meanwhile" +
		if [.machine.busy_percent_before, .machine.busy_percent_after] | max > 5
		then "\n         so it was not idle, and the figures are rough" else "" end +
		"\n"' "$1"
	jq -r 'def three: if . == null then "-" else
			if . >= 100 then round elif . >= 10 then . * 10 | round / 10
			elif . >= 1 then . * 100 | round / 100
			else . * 1000 | round / 1000 end | tostring end;
		def range: if . == null then "" else "\(.min | three)..\(.max | three)" end;
		["<", ">", ">", "<", "<", ">", ">", ">", "<", "<"],
		["figure", "carry", "min..max", "", "beside it", "", "ratio", "min..max", "target",
			""],
		(.rows[] | [.figure, (.value.median | three), (.value | range), .unit, .beside,
			(if .beside_value then .beside_value.median | three else "" end),
			(if .ratio then .ratio.median | three else "" end), (.ratio | range),
			.target, .verdict]) | @tsv' "$1" | awk -F '\t' -f tests/bench/table.awk
	jq -r 'if .notes == [] then empty else "", .notes[] end' "$1"
	jq -r '"\n\(.met) met, \(.missed) missed"' "$1"
	cat <<END

Values are medians over the rounds, ratios medians of the ratios within each round; more than 1
says that carry is better.  All nodes share this machine's $CORES cores: daemons, trainers and the
kernel's TCP of 2 or 4 nodes fight for them, as do those of the others.  So an unshaped figure says
how little of the cores each system needs, not what a network of real machines would carry; the TCP
floor is the time that the bytes alone take on all cores at iperf3's cost.
END
}
