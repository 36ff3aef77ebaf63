# report.jq - from samples to the rows of the table.
#
# Input: all samples (an array).  $about: date, machine, commit.  Output: the whole document,
# {date, machine, ..., rows: [...], notes: [sentences], samples: [...]}.  A row:
#   figure                 what is told
#   value, unit            of carry: {median, min, max} over the rounds
#   beside, beside_value   what it is held against, in the same unit
#   ratio                  pairwise, round by round: {median, min, max}; more than 1: carry is better
#   target, verdict        "met", "missed by ..." or "" where there is no target
# A target is judged by the median.

def median:
	sort | length as $n |
	if $n == 0 then null
	elif $n % 2 == 1 then .[($n - 1) / 2]
	else (.[$n / 2 - 1] + .[$n / 2]) / 2 end;

def spread: if length == 0 then null else {median: median, min: min, max: max} end;

# Of two lists of samples, f of each pair of the same round: [a, b] | f.
def pairs($a; $b; f):
	[$a[] as $x | $b[] | select(.round == $x.round) | [$x, .] | f];

def of($section; $nodes; $mtu; $bytes; $system):
	map(select(.round > 0 and .section == $section and .nodes == $nodes and .mtu == $mtu and
		($bytes == null or .bytes == $bytes) and .system == $system));

# The list whose figures' median is least, without the empty ones.
def least(f): map(select(length > 0)) | if length == 0 then [] else min_by(map(f) | median) end;

def size: if . >= 1048576 then "\(. / 1048576) MiB" elif . >= 1024 then "\(. / 1024) KiB"
	else "\(.) B" end;

def name: if length == 0 then "" else .[0] | "\({carry: "carry", openmpi: "Open MPI",
	gloo: "Gloo", iperf3: "iperf3"}[.system]) \(.variant)" end;

def percent: . * 1000 | round / 10;

# Each target is at least so much, of the value or of the ratio.
def judge($x; $target; $goal):
	if $x == null then "not measured"
	elif $x < $target then "missed by \(1 - $x / $target | percent) %"
	elif $goal != null and $x < $goal then "met; goal \($goal) missed by \(
		1 - $x / $goal | percent) %"
	else "met" end;

def at_most($x; $target):
	if $x == null then "not measured"
	elif $x > $target then "missed by \($x / $target - 1 | percent) %"
	else "met" end;

# wire GB/s of all nodes together
def wire_gbs: .nodes * .wire_bytes / .time_us / 1e3;

def bus_gbs: .bytes * 2 * (.nodes - 1) / .nodes / .time_us / 1e3;

def shaped_rows:
	. as $all | (2, 4) as $nodes |
	($all | of("shaped"; $nodes; 9000; null; "carry")) as $carry |
	($all | of("shaped"; $nodes; 9000; null; "iperf3")) as $iperf |
	select($carry | length > 0) |
	pairs($carry; $iperf; (.[0] | bus_gbs) / (.[1].goodput_gbs / $nodes)) as $ratios |
	{figure: "\($nodes) nodes, 1 Gbit/s, 64 MiB: bus bandwidth", unit: "GB/s",
		value: ($carry | map(bus_gbs) | spread), beside: "iperf3 all-to-all, a node",
		beside_value: ($iperf | map(.goodput_gbs / $nodes) | spread),
		ratio: ($ratios | spread), target: ">= 0.97",
		verdict: judge($ratios | median; 0.97; null)};

def wire_row($where; $bytes; $carry; $iperf):
	pairs($carry; $iperf; (.[0] | wire_gbs) / .[1].goodput_gbs) as $ratios |
	{figure: "\($where): wire bytes a second", unit: "GB/s",
		value: ($carry | map(wire_gbs) | spread), beside: "iperf3 all-to-all",
		beside_value: ($iperf | map(.goodput_gbs) | spread), ratio: ($ratios | spread)} +
	if $bytes < 16777216 then {target: "", verdict: ""}
	else {target: ">= 0.8", verdict: judge($ratios | median; 0.8; null)} end;

# The time that TCP alone would take, on all cores, at iperf3's cost.
def floor_row($where; $cores; $carry; $iperf):
	def floor_ms: .[0].nodes * .[0].wire_bytes / 1e9 * .[1].core_s_per_gb / $cores * 1e3;
	{figure: "\($where): time", unit: "ms", value: ($carry | map(.time_us / 1e3) | spread),
		beside: "TCP floor", beside_value: (pairs($carry; $iperf; floor_ms) | spread),
		ratio: (pairs($carry; $iperf; floor_ms / (.[0].time_us / 1e3)) | spread),
		target: "", verdict: ""};

def peer_row($where; $bytes; $carry; $peers):
	($peers | least(.time_us)) as $peer |
	pairs($carry; $peer; .[1].time_us / .[0].time_us) as $ratios |
	{figure: "\($where): time", unit: "ms", value: ($carry | map(.time_us / 1e3) | spread),
		beside: ($peer | name), beside_value: ($peer | map(.time_us / 1e3) | spread),
		ratio: ($ratios | spread), target: ">= 1",
		verdict: judge($ratios | median; 1;
			if $bytes < 16777216 then null else 1.15 end)};

def cpu_row($where; $carry; $peers):
	($peers | least(.cpu_s_per_gb)) as $peer |
	pairs($carry; $peer; .[1].cpu_s_per_gb / .[0].cpu_s_per_gb) as $ratios |
	{figure: "\($where): CPU per GB", unit: "s", value: ($carry | map(.cpu_s_per_gb) | spread),
		beside: ($peer | name), beside_value: ($peer | map(.cpu_s_per_gb) | spread),
		ratio: ($ratios | spread), target: ">= 1",
		verdict: judge($ratios | median; 1; null)};

def unshaped_rows($cores):
	. as $all | (9000, 1500) as $mtu | (2, 4) as $nodes |
	(1048576, 16777216, 67108864) as $bytes |
	($all | of("unshaped"; $nodes; $mtu; $bytes; "carry")) as $carry |
	($all | of("unshaped"; $nodes; $mtu; $bytes; "iperf3")) as $iperf |
	[($all | of("unshaped"; $nodes; $mtu; $bytes; "openmpi", "gloo"))] as $peers |
	"\($nodes) nodes, mtu \($mtu), \($bytes | size)" as $where |
	select($carry | length > 0) |
	wire_row($where; $bytes; $carry; $iperf),
	floor_row($where; $cores; $carry; $iperf),
	peer_row($where; $bytes; $carry; $peers),
	(select($bytes >= 16777216) | cpu_row($where; $carry; $peers));

# The daemon's own choice against the better of always and never: information.
def zerocopy_rows:
	. as $all | (9000, 1500) as $mtu | ("on", "off") as $setting |
	($all | of("zerocopy"; 2; $mtu; null; "carry")) as $carry |
	($carry | map(select(.variant == "auto"))) as $auto |
	($carry | map(select(.variant == $setting))) as $other |
	select($carry | length > 0) |
	{figure: "2 nodes, mtu \($mtu), 64 MiB: zero-copy auto", unit: "ms",
		value: ($auto | map(.time_us / 1e3) | spread), beside: "zero-copy \($setting)",
		beside_value: ($other | map(.time_us / 1e3) | spread),
		ratio: (pairs($auto; $other; .[1].time_us / .[0].time_us) | spread),
		target: "", verdict: ""},
	{figure: "2 nodes, mtu \($mtu), 64 MiB: zero-copy auto", unit: "CPU s/GB",
		value: ($auto | map(.cpu_s_per_gb) | spread), beside: "zero-copy \($setting)",
		beside_value: ($other | map(.cpu_s_per_gb) | spread),
		ratio: (pairs($auto; $other; .[1].cpu_s_per_gb / .[0].cpu_s_per_gb) | spread),
		target: "", verdict: ""};

# What the daemons said in the end.
def zerocopy_notes:
	.[] | select(.system == "status") | "zero-copy = \(.variant), mtu \(.mtu): \(.says); " +
		"of \(.frames) frames \(.value) were sent so, \(.copied) of which the kernel copied";

def small_rows:
	. as $all | of("small"; 2; 9000; 8; "carry") as $carry |
	[($all | of("small"; 2; 9000; 8; "openmpi", "gloo"))] as $peers |
	($peers | least(.time_us)) as $peer |
	select($carry | length > 0) |
	{figure: "2 nodes, 8 B: median", unit: "us", value: ($carry | map(.time_us) | spread),
		beside: ($peer | name), beside_value: ($peer | map(.time_us) | spread),
		ratio: (pairs($carry; $peer; .[1].time_us / .[0].time_us) | spread),
		target: "<= 60 us", verdict: at_most($carry | map(.time_us) | median; 60)};

def local_rows:
	of("local"; 1; 9000; 67108864; "carry") as $carry |
	of("local"; 1; 9000; 67108864; "openmpi") as $peer |
	pairs($carry; $peer; .[1].time_us / .[0].time_us) as $ratios |
	select($carry | length > 0) |
	{figure: "1 node, 2 trainers, 64 MiB: time", unit: "ms",
		value: ($carry | map(.time_us / 1e3) | spread), beside: ($peer | name),
		beside_value: ($peer | map(.time_us / 1e3) | spread), ratio: ($ratios | spread),
		target: ">= 3", verdict: judge($ratios | median; 3; null)};

# How many times faster than dense an op with a codec must be: 2 and 4 nodes.
def coded_targets: [
	{bytes: 67108864, rate: "1 Gbit/s", size: "64 MiB", least: {int8: [3.6, 3.6],
		int4: [7, 6], sign: [12, 9], top1: [13, 9]}},
	{bytes: 16777216, rate: "100 Mbit/s", size: "16 MiB", least: {int8: [3.85, 3.85],
		int4: [7.3, 7.3], sign: [26, 26], top1: [40, 28]}}];

# Against our own dense time, against Gloo's, and against what wire and cores allow.
def coded_rows($cores):
	. as $all | coded_targets[] as $t | (2, 4) as $nodes |
	($all | of("coded"; $nodes; 9000; $t.bytes; "carry")) as $carry |
	($all | of("coded"; $nodes; 9000; $t.bytes; "gloo")) as $gloo |
	($all | of("coded"; $nodes; 9000; $t.bytes; "iperf3")) as $iperf |
	($carry | map(select(.variant == "dense"))) as $dense |
	($t.least | keys_unsorted[]) as $codec | $t.least[$codec][$nodes / 2 - 1] as $least |
	($carry | map(select(.variant == $codec))) as $coded |
	select($coded | length > 0) |
	def beside($other; $name):
		pairs($coded; $other; .[1].time_us / .[0].time_us) as $ratios |
		{figure: "\($nodes) nodes, \($t.rate), \($t.size): \($codec)", unit: "ms",
			value: ($coded | map(.time_us / 1e3) | spread), beside: $name,
			beside_value: ($other | map(.time_us / 1e3) | spread),
			ratio: ($ratios | spread), target: ">= \($least)",
			verdict: judge($ratios | median; $least; null)};
	def wire_us: .[0].wire_bytes / (.[1].goodput_gbs / $nodes * 1e9) * 1e6;
	def core_us: .[0].cpu_s_per_gb * .[0].bytes / 1e9 / $cores * 1e6;
	def bound_us: [wire_us, core_us] | max;
	beside($dense; "our own dense"),
	beside($gloo; "Gloo ring, dense"),
	(pairs($coded; $iperf; bound_us / .[0].amid_us) as $ratios |
		{figure: "\($nodes) nodes, \($t.rate), \($t.size): \($codec)", unit: "ms",
			value: ($coded | map(.amid_us / 1e3) | spread),
			beside: (if (pairs($coded; $iperf; wire_us) | median) >=
				(pairs($coded; $iperf; core_us) | median)
				then "bound: the wire" else "bound: the cores" end),
			beside_value: (pairs($coded; $iperf; bound_us / 1e3) | spread),
			ratio: ($ratios | spread), target: ">= 0.8",
			verdict: judge($ratios | median; 0.8; null)});

# What the group chooses, beside each fixed choice; the best of them is what counts.
def auto_rows:
	. as $all | ("100mbit", "1gbit", "unshaped") as $rate |
	(4096, 65536, 1048576, 16777216) as $bytes |
	($all | of("auto"; 2; 9000; $bytes; "carry")) as $carry |
	def fixed($codec): $carry | map(select(.variant == "\($rate)-\($codec)"));
	fixed("auto") as $auto |
	select($auto | length > 0) |
	([("none", "int8", "int4") as $codec | fixed($codec)] |
		least(.time_us)) as $best |
	pairs($auto; $best; .[1].time_us / .[0].time_us) as $ratios |
	{figure: "2 nodes, \($rate), \($bytes | size): auto", unit: "ms",
		value: ($auto | map(.time_us / 1e3) | spread),
		beside: "the best: \($best[0].variant | ltrimstr($rate + "-"))",
		beside_value: ($best | map(.time_us / 1e3) | spread),
		ratio: ($ratios | spread), target: ">= 0.95",
		verdict: judge($ratios | median; 0.95; null)};

def alone_row($section; $nodes; $mtu; $figure; $target; $most):
	of($section; $nodes; $mtu; null; "carry") as $carry | select($carry | length > 0) |
	{figure: $figure, unit: $carry[0].unit, value: ($carry | map(.value) | spread),
		beside: "", beside_value: null, ratio: null, target: $target,
		verdict: at_most($carry | map(.value) | median; $most)};

[shaped_rows, unshaped_rows($about.machine.cores), zerocopy_rows, small_rows, local_rows,
	coded_rows($about.machine.cores),
	auto_rows,
	alone_row("idle"; 2; 9000; "idle daemon, 2 trainers"; "< 0.5 %"; 0.5),
	alone_row("ready"; 1; 0; "start to ready"; "< 100 ms"; 100)] as $rows |
$about + {met: ($rows | map(select(.verdict | startswith("met"))) | length),
	missed: ($rows | map(select(.verdict | startswith("missed"))) | length),
	$rows, notes: [zerocopy_notes], samples: .}
