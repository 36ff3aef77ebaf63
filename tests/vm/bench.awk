# bench.awk - the table of tests/vm/bench.  Its input has a name and a figure a line, of all rounds.

# Return: of an alternative's figures.
function median(name,   list, n, i, j, x)
{
	n = split(all[name], list, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] + 0 > list[j] + 0; j--) {
			x = list[j]
			list[j] = list[j - 1]
			list[j - 1] = x
		}
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# Bytes a second of 64 MiB both ways, in MB
function rate(name)
{
	return 2 * 64 * 1.048576 / (median(name) / 1e6)
}

# 64 MiB beside perftest's best size.
function large(   best, raw, ours)
{
	best = median("raw/65536/mbs") >= median("raw/1048576/mbs") ? 65536 : 1048576
	raw = median("raw/" best "/mbs")
	ours = rate("verbs/64M/us")
	printf "\n64 MiB: %.0f MB/s, both ways together; ", ours
	printf "ib_write_bw -b with %d bytes %.0f MB/s: %.2f of it (0.85)\n", best, raw, ours / raw
	ours = rate("verbs-i32/64M/us")
	printf "of i32, whose sums QEMU does not make in software: %.0f MB/s, %.2f of it\n", ours, ours / raw

	ours = median("verbs/64M/cpu")
	raw = median("raw/" best "/cpu")
	printf "processor seconds per GB, trainers included, without their start: %.1f; ib_write_bw %.1f: ", ours, raw
	printf "%.2f times (1.3)\n", ours / raw
}

{ all[$1] = all[$1] " " $2 }

END {
	printf "\n%-8s %12s %12s %8s\n", "bytes", "RDMA us", "TCP us", "ratio"
	n = split(sizes, size, " ")
	for (i = 1; i <= n; i++) {
		rdma = median("verbs/" size[i] "/us")
		tcp = median("uring/" size[i] "/us")
		printf "%-8s %12.0f %12.0f %8.2f\n", size[i], rdma, tcp, tcp / rdma
	}

	if (("verbs/64M/cpu") in all)
		large()
	ours = median("verbs/8/us")
	lat = median("raw/lat")
	hand = median("hand/over")
	most = 3 * lat + 2 * hand
	printf "8 B: %.0f us; 3 times ib_write_lat (%.0f us) and twice the hand-over (%.0f us) ", ours, lat, hand
	printf "are %.0f us: %.2f times (1)\n", most, ours / most
}
