# bench.awk - the table of tests/vm/bench.  Its input has a name and a figure a line, of all rounds
# and turns.

# Return: the part q of a sorted list, between its members if need be.
function quantile(list, n, q,   at, i)
{
	at = 1 + (n - 1) * q
	i = int(at)
	return list[i] + (i < n ? (at - i) * (list[i + 1] - list[i]) : 0)
}

function sort(list, n,   i, j, x)
{
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j - 1] + 0 > list[j] + 0; j--) {
			x = list[j]
			list[j] = list[j - 1]
			list[j - 1] = x
		}
}

function quantile_of(name, q,   list, n)
{
	n = split(all[name], list, " ")
	sort(list, n)
	return quantile(list, n, q)
}

function median(name)
{
	return quantile_of(name, 0.5)
}

# Adds what follows from the windows of a contestant: MB a second, processor seconds a GB.
function derive(name,   bytes, us, jiffies, n, i)
{
	name = "window/" name
	n = split(all[name "/bytes"], bytes, " ")
	split(all[name "/us"], us, " ")
	split(all[name "/jiffies"], jiffies, " ")
	for (i = 1; i <= n; i++) {
		all[name "/mbs"] = all[name "/mbs"] " " bytes[i] / us[i]
		all[name "/cpu"] = all[name "/cpu"] " " jiffies[i] / 100 / (bytes[i] / 1e9)
		sum[name "/bytes"] += bytes[i]
		sum[name "/us"] += us[i]
		sum[name "/jiffies"] += jiffies[i]
	}
	sum[name "/mbs"] = sum[name "/bytes"] / sum[name "/us"]
	sum[name "/cpu"] = sum[name "/jiffies"] / 100 / (sum[name "/bytes"] / 1e9)
	return n
}

# Adds the ratios of two contestants within each turn.
function relate(name, other, figure,   a, b, n, i)
{
	n = split(all["window/" name "/" figure], a, " ")
	split(all["window/" other "/" figure], b, " ")
	for (i = 1; i <= n; i++)
		all["ratio/" name "/" figure] = all["ratio/" name "/" figure] " " a[i] / b[i]
}

# Return: median and quarters.
function spread(name, digits)
{
	return sprintf("%.*f (%.*f to %.*f)", digits, median(name), digits,
		       quantile_of(name, 0.25), digits, quantile_of(name, 0.75))
}

function compare(name, best, figure, target)
{
	relate(name, best, figure)
	printf "  %s: %s in a turn, of all together %.2f (%s)\n",
		figure == "mbs" ? "bytes a second, of its" : "processor time a byte, times its",
		spread("ratio/" name "/" figure, 2),
		sum["window/" name "/" figure] / sum["window/" best "/" figure], target
}

# 64 MiB beside perftest's best size.
function large(   name, n, i, turns, best)
{
	n = split("65536 262144 1048576 f32 i32", name, " ")
	for (i = 1; i <= n; i++)
		turns = derive(name[i])
	printf "\n64 MiB over RDMA beside ib_write_bw -b, %d windows of each; median (quarters):\n", turns
	printf "%-22s %-24s %s\n", "", "MB/s, both ways", "processor s per GB"
	for (i = 1; i <= n; i++) {
		printf "%-22s %-24s %s\n", (i <= 3 ? "ib_write_bw " : "allreduce ") name[i],
			spread("window/" name[i] "/mbs", 1), spread("window/" name[i] "/cpu", 1)
		if (i <= 3 && (!best || median("window/" name[i] "/mbs") > \
				median("window/" best "/mbs")))
			best = name[i]
	}
	for (i = 4; i <= n; i++) {
		printf "%s beside ib_write_bw of %d bytes, its best:\n", name[i], best
		compare(name[i], best, "mbs", "0.85")
		compare(name[i], best, "cpu", "1.3")
	}
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

	if ("window/f32/bytes" in all)
		large()
	ours = median("verbs/8/us")
	lat = median("raw/lat")
	hand = median("hand/over")
	most = 3 * lat + 2 * hand
	printf "8 B: %.0f us; 3 times ib_write_lat (%.0f us) and twice the hand-over (%.0f us) ", ours, lat, hand
	printf "are %.0f us: %.2f times (1)\n", most, ours / most
}
