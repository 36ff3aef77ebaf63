# table.awk - lines of fields, separated by tabs, as a table: the first column to the left, the
# others as their first line begins: "<" left, ">" right.

{
	for (i = 1; i <= NF; i++) {
		cell[NR, i] = $i
		if (NR > 1 && length($i) > width[i])
			width[i] = length($i)
	}
	columns = NF > columns ? NF : columns
}

END {
	for (line = 2; line <= NR; line++) {
		text = ""
		for (i = 1; i <= columns; i++)
			text = text (i > 1 ? "  " : "") \
				sprintf("%" (cell[1, i] == ">" ? "" : "-") width[i] "s", cell[line, i])
		sub(/ +$/, "", text)
		print text
	}
}
