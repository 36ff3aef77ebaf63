/*
 * peer_state.h - what peers are made of; for peer*.c alone.
 *
 *   peer.c          life, the table of peers, death, events out, time
 *   peer_socket.c   connections: sockets, accepting, connecting, HELLO
 *   peer_stream.c  control streams: numbered frames, acknowledgements, heartbeats
 *   peer_path.c     data connections, until a lane has them
 *   peer_dial.c     endpoints whose daemon is not known yet
 *
 * A connection is named by its place in the table, which is the index of its events too.
 * Nothing is queued for peers_next(): what is to be told is a state that it finds, and
 * `news` says that it is worth looking.
 */
#ifndef DAEMON_PEER_STATE_H
#define DAEMON_PEER_STATE_H

#include "daemon/clock.h"
#include "daemon/interface.h"
#include "daemon/peer.h"

enum {
	CONNS_MAX = 2048,
	CONN_NONE = UINT16_MAX,
	PEER_NONE = UINT16_MAX,
	LISTENERS = 2,
	HELLO_BYTES = WIRE_HEADER_BYTES + sizeof(struct wire_hello),
	BEAT_BYTES = WIRE_HEADER_BYTES + sizeof(struct wire_beat),
	CONTROL_IN_BYTES = WIRE_HEADER_BYTES + WIRE_MESSAGE_BYTES_MAX,
	ENDPOINT_BYTES = INTERFACE_ADDRESS_BYTES + 16,
};

#define PEER_HELLO_NS (2 * CLOCK_NS_PER_S)    /* for a HELLO to come             */
#define PEER_HELD_NS (8 * CLOCK_NS_PER_S)     /* for a data connection to be wanted */
#define PEER_ANSWER_NS (10 * CLOCK_NS_PER_S)  /* for its answer at the other end */
#define PEER_CONNECT_NS (5 * CLOCK_NS_PER_S)  /* for one attempt to connect      */
#define PEER_PATIENCE_NS (2 * CLOCK_NS_PER_S) /* with an endpoint that refuses   */
#define PEER_IDLE_NS (60 * CLOCK_NS_PER_S)    /* until an unused peer is let go    */
#define PEER_BACKOFF_MIN_NS (10 * CLOCK_NS_PER_MS)
#define PEER_BACKOFF_MAX_NS CLOCK_NS_PER_S
#define PEER_REFUSED_NS (10 * CLOCK_NS_PER_S) /* between two that are in a row   */
#define PEER_PAUSE_NS (100 * CLOCK_NS_PER_MS) /* of accepting without descriptors */

enum conn_kind {
	CONN_FREE = 0,
	CONN_LISTEN,
	CONN_STRANGER,    /* accepted, its HELLO has not come          */
	CONN_HELD,        /* accepted data connection; not answered yet */
	CONN_CONTROL_IN,  /* accepted control connection               */
	CONN_DIAL,        /* ours, to an endpoint                      */
	CONN_CONTROL_OUT, /* ours, to a peer                           */
	CONN_DATA_OUT,    /* ours, of a path                           */
};

/* Of the connections that we make. */
enum conn_stage { CONN_CONNECTING = 0, CONN_GREETING, CONN_UP };

struct conn {
	enum conn_kind kind;
	enum conn_stage stage;
	int fd;
	uint32_t events; /* that the loop watches                           */
	uint16_t peer;   /* PEER_NONE while unknown                         */
	uint16_t lane, path;
	uint32_t dial;
	uint64_t since_ns, deadline_ns; /* deadline: UINT64_MAX: none        */
	struct sockaddr_storage remote;
	_Alignas(8) unsigned char hello[HELLO_BYTES]; /* theirs              */
	uint32_t hello_have;
	/* a frame of ours without number: BEAT or ACK */
	_Alignas(8) unsigned char small[BEAT_BYTES];
	uint32_t small_have, small_sent;
	/* control connections that are up */
	unsigned char *in; /* [CONTROL_IN_BYTES] */
	uint32_t in_have;
	bool ended; /* no more will come; what is in `in` is still good  */
	bool known; /* DATA_OUT: the peer knew us when this was begun: its HELLO has to name us */
	bool owes_ack;
};

/* A numbered frame that is not acknowledged. */
struct out_frame {
	struct out_frame *next;
	uint32_t seq, bytes;
	_Alignas(8) unsigned char data[]; /* header and payload, sealed */
};

/* What was refused on a stream, one after the other; whoever takes something good zeroes it. */
struct refused {
	uint32_t count;
	uint64_t last_ns;
};

enum path_state {
	PATH_UNWANTED = 0,
	PATH_WANTED,     /* ours to make or to wait for              */
	PATH_CONNECTING, /* `conn` is on its way                     */
	PATH_READY,      /* `fd` waits to be told                    */
	PATH_UP,         /* a lane has it                            */
	PATH_CUTTING,    /* a lane has it, and a newer one is held   */
};

struct path {
	enum path_state state;
	bool cut_told;
	uint16_t conn;
	int fd;
	uint32_t received; /* by us, as the lane said last */
	bool was_up;       /* a lane had it once: only then can anything have been received */
	struct refused refused;
	uint64_t taken;          /* frames of any kind, when the lane last refused one */
	uint32_t their_received; /* READY */
	uint32_t offers;         /* READY: the peer's, VERBS only if it is ours, too */
	const char *over;        /* UP: as the lane said: "RDMA", "TCP"; NULL: nothing yet */
	char about[PEER_ABOUT_BYTES];
	uint64_t retry_at_ns, backoff_ns;
};

struct peer {
	enum peer_state state;
	struct wire_node node;
	uint32_t references;
	uint16_t in, out; /* connections, CONN_NONE */
	/* Our control connection to it was up once: it is made again without being asked for. */
	bool met;
	/*
	 * It took a control frame of ours, or named us in the HELLO of a control connection: if it
	 * does not now, it forgot us.  Data connections only ask for this: one may come of an old
	 * acquaintance that we have forgotten, or it has.
	 */
	bool knew_us;
	/* We took a control frame of it: until then we need not know it.  Named in HELLOs then. */
	bool proven;
	uint64_t heard_ns, beat_at_ns, retry_at_ns, backoff_ns;
	uint64_t used_ns; /* when we or it last had a use for the other */
	uint64_t echo_ns; /* the last sent_ns of its heartbeats */
	/* our stream */
	uint32_t sent, acked;
	struct out_frame *first, *last, *unsent;
	uint32_t offset; /* of `unsent` on its connection */
	uint32_t queued;
	uint32_t received;                      /* of its stream */
	struct refused in_refused, out_refused; /* frames; acknowledgements of ours */
	struct path *paths;                     /* [lanes * paths of the configuration] */
	bool death_told;
	bool unlike; /* its data HELLO, `offers`, and ours do not fit: this cannot get better */
	uint32_t offers;
	int error; /* DEAD: why */
	char trouble[WIRE_TEXT_BYTES];
};

enum dial_state { DIAL_FREE = 0, DIAL_TRYING, DIAL_MET, DIAL_SELF, DIAL_FAILED };

struct dial {
	enum dial_state state;
	char address[INTERFACE_ADDRESS_BYTES];
	uint16_t port, peer, conn;
	uint64_t began_ns, deadline_ns, retry_at_ns, backoff_ns;
	int error;
	char trouble[WIRE_TEXT_BYTES];
};

struct peers {
	const struct config *config;
	struct loop *loop;
	struct log *log;
	uint64_t instance;
	uint32_t offers; /* of HELLOs */
	char host[WIRE_NAME_BYTES];
	char address[INTERFACE_ADDRESS_BYTES]; /* advertised */
	uint16_t port;
	bool bound; /* to one address, `listen` */
	struct sockaddr_storage listen;
	struct interface *interfaces; /* [INTERFACE_LIST_MAX] */
	size_t interface_count;
	struct netlist_network networks[NETLIST_NETWORKS_MAX];
	size_t network_count;
	struct conn *conns; /* [CONNS_MAX] */
	uint32_t conns_end; /* all in use are below */
	uint32_t strangers, held;
	bool paused;
	struct peer peers[PEERS_MAX];
	uint16_t peers_end;
	struct dial dials[PEER_DIALS_MAX];
	uint64_t next_ns; /* nothing is due before */
	uint64_t progress[WIRE_LANES_MAX];
	bool news, leaving;
	_Alignas(8) unsigned char payload[WIRE_MESSAGE_BYTES_MAX]; /* of the frame told last */
};

/* Something is due at that time. */
static inline void peers_due(struct peers *p, uint64_t at_ns)
{
	if (at_ns < p->next_ns)
		p->next_ns = at_ns;
}

static inline uint64_t peer_backoff(uint64_t *backoff_ns)
{
	uint64_t now = *backoff_ns < PEER_BACKOFF_MIN_NS ? PEER_BACKOFF_MIN_NS : *backoff_ns;

	*backoff_ns = now * 2 < PEER_BACKOFF_MAX_NS ? now * 2 : PEER_BACKOFF_MAX_NS;
	return now;
}

static inline struct conn *peers_conn(struct peers *p, uint16_t conn)
{
	return &p->conns[conn];
}

/* --- peer_socket.c ---------------------------------------------------------------------------- */

int socket_listen(struct peers *p, struct err *err);
void socket_unlisten(struct peers *p);
void socket_accept(struct peers *p, uint16_t listener, uint64_t now_ns);
void socket_resume(struct peers *p, uint64_t now_ns); /* accepting, after a pause */

/* conn_connect() - begin a connection of ours.  Return: its place, or negative errno. */
int conn_connect(struct peers *p, enum conn_kind kind, const char *address, uint16_t port,
		 uint64_t now_ns);
void conn_close(struct peers *p, uint16_t conn);
int conn_take_fd(struct peers *p, uint16_t conn); /* closes all but the descriptor */
void conn_become(struct peers *p, uint16_t conn, enum conn_kind kind);
void conn_watch(struct peers *p, uint16_t conn, uint32_t events);
void conn_endpoint(const struct conn *c, char text[ENDPOINT_BYTES]); /* of its other end */

/* conn_say_hello() - Return: 0 or negative errno. */
int conn_say_hello(struct peers *p, uint16_t conn, uint64_t peer_instance, uint32_t received);

/*
 * conn_greet() - of a connection of ours: an event came; connected?  HELLO answered?
 * Return: 1: conn_hello() is there; 0: not yet; negative errno and *err.
 */
int conn_greet(struct peers *p, uint16_t conn, uint64_t peer_instance, uint32_t received,
	       uint64_t now_ns, struct err *err);
/* conn_read_hello() - Return: 1: it is there; 0: not yet; negative errno and *err. */
int conn_read_hello(struct conn *c, struct err *err);
const struct wire_hello *conn_hello(const struct conn *c);
/* A connection of ours took too long; *err says for what. */
int conn_late(const struct conn *c, struct err *err);
/* Send `small` on, which has something.  Return: 1: all; 0: later; negative errno. */
int conn_send_small(struct conn *c);

/* --- peer.c ----------------------------------------------------------------------------------- */

/* The peer of that instance, made if need be.  Return: its number, -ENOSPC. */
int peer_take(struct peers *p, const struct wire_node *node, uint64_t now_ns);
void peer_die(struct peers *p, uint16_t peer, int error, const char *text);
/* One more was refused.  Return: whether that is enough: it is to be taken for dead. */
bool refused_again(struct refused *refused, uint64_t now_ns);
void peer_forgot_us(struct peers *p, uint16_t peer);
void peer_node_of_hello(const struct conn *c, struct wire_node *out);
void peer_stranger(struct peers *p, uint16_t conn, uint64_t now_ns); /* its HELLO is there */
void peer_refuse(struct peers *p, uint16_t conn, const char *why);   /* log, close */

/* --- peer_stream.c --------------------------------------------------------------------------- */

void stream_out_start(struct peers *p, uint16_t peer, uint64_t now_ns);
void stream_out_ready(struct peers *p, uint16_t conn, uint32_t events, uint64_t now_ns);
/* `conn` is the answered control connection to the peer: go on from what it has received. */
void stream_out_up(struct peers *p, uint16_t peer, uint16_t conn, uint64_t now_ns);
/* Does its answer show that it does not know us any more? */
bool stream_forgotten(const struct peer *peer, const struct conn *c);
/* Return: whether the peer is dead now. */
bool stream_out_lost(struct peers *p, uint16_t peer, const struct err *err, uint64_t now_ns);
void stream_out_push(struct peers *p, uint16_t peer, uint64_t now_ns);
void stream_beat(struct peers *p, uint16_t peer, uint64_t now_ns);
void stream_in_accept(struct peers *p, uint16_t conn, uint16_t peer, uint64_t now_ns);
void stream_in_ready(struct peers *p, uint16_t conn, uint64_t now_ns);
/* The next frame of its stream that is there.  Return: whether *out has it. */
bool stream_in_next(struct peers *p, uint16_t peer, struct peer_event *out, uint64_t now_ns);
void stream_free(struct peer *peer);

/* --- peer_path.c ------------------------------------------------------------------------------ */

struct path *path_of(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path);
void path_connect(struct peers *p, uint16_t peer, uint16_t lane, uint16_t path, uint64_t now_ns);
void path_out_ready(struct peers *p, uint16_t conn, uint64_t now_ns);
void path_out_lost(struct peers *p, uint16_t conn, const struct err *err, uint64_t now_ns);
void path_accept(struct peers *p, uint16_t conn, uint64_t now_ns);
void path_tick(struct peers *p, uint16_t peer, uint64_t now_ns);
bool path_next(struct peers *p, uint16_t peer, struct peer_event *out);
void path_close_all(struct peers *p, uint16_t peer);

/* --- peer_dial.c ------------------------------------------------------------------------------ */

void dial_ready(struct peers *p, uint16_t conn, uint64_t now_ns);
void dial_lost(struct peers *p, uint32_t dial, const struct err *err, uint64_t now_ns);
void dial_tick(struct peers *p, uint32_t dial, uint64_t now_ns);
bool dial_next(struct peers *p, struct peer_event *out);

#endif
