/* config_table.c - every key of the configuration; see config_table.h. */
#include "daemon/config_table.h"

#include "daemon/config.h"
#include "daemon/log.h"
#include "proto/wire.h"

#define AT(field) offsetof(struct config, field)
#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

#define NUMBER(section, key, min, max, value, help)                                \
	{                                                                          \
		section, #key, CONFIG_NUMBER, AT(key), min, max, NULL, value, help \
	}
#define SIZE(section, key, min, max, value, help)                                \
	{                                                                        \
		section, #key, CONFIG_SIZE, AT(key), min, max, NULL, value, help \
	}
#define CHOICE(section, key, first, words, value, help)                             \
	{                                                                           \
		section, #key, CONFIG_CHOICE, AT(key), first, 0, words, value, help \
	}
#define WORD(section, key, words, value, help)                                              \
	{                                                                                   \
		section, #key, CONFIG_WORD, AT(key), 0, CONFIG_TEXT_MAX, words, value, help \
	}
#define TEXT(section, key, type, value, help)                                       \
	{                                                                           \
		section, #key, type, AT(key), 0, CONFIG_TEXT_MAX, NULL, value, help \
	}

/* A line of the file holds 197 bytes: key, " = " and the value. */
enum { CONFIG_TEXT_MAX = 160, CONFIG_SOCKET_MAX = 107 /* sun_path */ };

const struct config_row config_table[] = {
	{"daemon", "socket", CONFIG_SOCKET, AT(socket), 1, CONFIG_SOCKET_MAX, NULL,
	 "/run/carry/carryd.sock",
	 "The Unix socket that trainers and carryctl connect to. Its folder is made if it is "
	 "missing. A socket passed by systemd takes its place."},
	{"daemon", "socket_mode", CONFIG_MODE, AT(socket_mode), 0, 0777, NULL, "0660",
	 "Who may connect: the permissions of the socket file."},
	TEXT("daemon", socket_group, CONFIG_NAME, "",
	     "The Unix group that the socket file is given to; empty: the daemon's own."),
	CHOICE("daemon", log_level, LOG_LEVEL_ERROR, "error|warning|notice|info|debug", "info",
	       "The least urgent messages that are logged."),

	TEXT("network", listen, CONFIG_ADDRESS, "",
	     "The numeric address that other daemons connect to; empty: all, IPv4 and IPv6."),
	NUMBER("network", port, 0, 65535, "7117",
	       "The TCP port of the daemons, the same on all nodes; 0 takes any free port."),
	TEXT("network", interfaces, CONFIG_INTERFACES, "",
	     "The network interfaces to use: eth,ib by beginning of name, =eth0 by whole name, "
	     "^docker all but these. Empty: any, but loopback and those of containers only "
	     "without others."),
	NUMBER("network", paths, 1, WIRE_PATHS_MAX, "2",
	       "Connections that join a lane to each peer. A group uses as many as its node with "
	       "the fewest has."),
	NUMBER("network", heartbeat_ms, 50, 10000, "250", "How often peers hear from this daemon."),
	NUMBER("network", dead_ms, 200, 60000, "4000",
	       "A peer that was silent for so long is dead. At least four heartbeats."),
	TEXT("network", peers, CONFIG_NETWORKS, "",
	     "The networks that peers and roots may be in, such as 10.0.0.0/8,fd00::/8. Empty: "
	     "the subnets of the chosen interfaces."),
	TEXT("network", root_ports, CONFIG_PORTS, "",
	     "The ports on which trainers may seek the daemon of a group's root, such as "
	     "7117,7200-7299. Empty: the port of this daemon."),

	NUMBER("engine", lanes, 1, WIRE_LANES_MAX, "2",
	       "Engine threads. A group uses as many as its node with the fewest has."),
	WORD("engine", transport, "auto|verbs|uring|fault", "auto",
	     "What moves the data: verbs is RDMA, uring is TCP over io_uring, fault disturbs "
	     "another one for tests. auto: verbs where both ends of a connection have a working "
	     "port on the same fabric, else uring."),
	NUMBER("engine", spin_us, 0, 1000, "50",
	       "How long a lane looks for work before it sleeps, in microseconds, at most: less "
	       "where that was in vain lately, and with verbs 20 while fewer cores are idle than "
	       "there are lanes. It yields meanwhile, but with verbs not while there are enough."),
	TEXT("engine", cpus, CONFIG_CPUS, "",
	     "The processors that lanes are bound to, in order, such as 2,4-7. Empty: lanes spread "
	     "over the NUMA nodes."),

	WORD("schedule", force, "auto|direct|flat|ring", "auto",
	     "One schedule for every operation; auto: flat for small tensors, direct for the "
	     "others."),
	SIZE("schedule", flat_bytes_max, 0, WIRE_FLAT_BYTES_MAX, "64K",
	     "Up to this size, divided by the number of peers, every node sends its tensor to "
	     "all. A group goes by the least of its nodes."),

	NUMBER("limits", clients, 1, CONFIG_CLIENTS_MAX, "256", "Connections to the Unix socket."),
	NUMBER("limits", clients_per_uid, 1, CONFIG_CLIENTS_MAX, "256", "The same, of one user."),
	SIZE("limits", arena_bytes, MIB, 64 * TIB, "64G",
	     "Memory shared with all trainers together. It takes real memory only as it is used."),
	SIZE("limits", arena_bytes_per_uid, MIB, 64 * TIB, "64G", "The same, of one user."),
	SIZE("limits", arena_bytes_default, MIB, TIB, "1G",
	     "The arena of a trainer that does not ask for a size."),
	SIZE("limits", arena_bytes_max, MIB, TIB, "16G",
	     "The largest arena that a trainer may have."),
	NUMBER("limits", groups, 1, 256, "64", "Groups at the same time."),
	SIZE("limits", inflight_bytes, 32 * MIB, 64 * GIB, "256M",
	     "Memory for what is on its way in one group, over all lanes. Lanes and nodes add to "
	     "what a group needs; one that needs more than this is refused, with the number."),
	SIZE("limits", state_bytes, 0, 4096 * GIB, "8G",
	     "Memory for the state of error feedback of one group on this node: 2 to 6 times the "
	     "tensors' float32 bytes. A key that needs more than is left is refused, with the "
	     "number."),

	CHOICE("uring", multishot, 0, "auto|on|off", "auto",
	       "One receive request serves many packets. auto: off, for receiving in place is "
	       "faster."),
	CHOICE("uring", defer_taskrun, 0, "auto|on|off", "auto",
	       "Completions are worked off by the lane alone. auto: if the kernel can, and "
	       "without sqpoll."),
	CHOICE("uring", zerocopy, 0, "auto|on|off", "auto",
	       "Send without copying; not with sqpoll. auto: if the kernel says whether it copied, "
	       "and on a connection until it mostly has."),
	CHOICE("uring", fixed_buffers, 0, "auto|on|off", "auto",
	       "Register memory that is sent from; only with zerocopy. auto: off, for it is not "
	       "faster."),
	CHOICE("uring", sqpoll, 0, "auto|on|off", "auto",
	       "A kernel thread takes the requests; excludes defer_taskrun and zerocopy. auto: "
	       "off."),
	SIZE("uring", zerocopy_bytes_min, 0, GIB, "0",
	     "The smallest payload that is sent without copying; 0: 32K."),

	TEXT("verbs", devices, CONFIG_DEVICES, "",
	     "The ports that lanes use, in order, such as mlx5_0:1,mlx5_1, or ^mlx5_2 for all but "
	     "that. Empty: all that are up."),
	NUMBER("verbs", timeout, 8, 20, "14",
	       "A packet without an answer is sent again after 4.096 microseconds times 2 to this "
	       "power: 14 is 67 ms."),
	NUMBER("verbs", retries, 1, 6, "6",
	       "So many times, then the connection has failed. Not 7, which some devices take for "
	       "ever."),
	NUMBER("verbs", service_level, 0, 15, "0", "Of InfiniBand; on RoCE the VLAN's priority."),
	NUMBER("verbs", traffic_class, 0, 255, "0",
	       "Of RoCE packets: the DSCP times 4, 104 for DSCP 26."),

	CHOICE("wire", payload_crc, 0, "off|on", "off",
	       "Guard payloads by a CRC-32C, as headers always are."),

	WORD("fault", inner, "uring|verbs", "uring", "What the transport fault disturbs."),
	NUMBER("fault", seed, 0, UINT64_MAX - 1, "1", "The same seed gives the same faults."),
	NUMBER("fault", cut_every, 0, UINT32_MAX, "0",
	       "Cut a connection about every so many frames; 0: never."),
	NUMBER("fault", delay_us_max, 0, 10000000, "0",
	       "Hold back what arrives for up to so many microseconds."),
	NUMBER("fault", corrupt_every, 0, UINT32_MAX, "0",
	       "Flip a bit of a header about every so many frames; 0: never."),
	{.section = NULL},
};
