/*
 * carry.h - the interface of libcarry: collective operations for training clusters.
 *
 * A process attaches to the carryd of its node (carry_open), joins a group of ranks
 * (carry_group_create) and sums tensors with it (carry_allreduce).  The daemons own the
 * network; between this process and its daemon there is shared memory, the *arena*.
 *
 *	struct carry *c;
 *	struct carry_group *g;
 *	if (carry_open(&c, NULL) || carry_group_create(&g, c, NULL))
 *		errx(1, "%s", carry_last_error(NULL));
 *	float *x = (float *)carry_alloc(c, n * sizeof(*x));
 *	...
 *	carry_allreduce(g, x, x, n, CARRY_F32, CARRY_AVG, NULL, NULL);
 *	carry_group_destroy(g);
 *	carry_close(c);
 *
 * Errors: functions that return int return 0 or a negative errno value, those that return a
 * pointer return NULL; carry_last_error() then has one sentence.  Outputs are set on success
 * only.  No function writes to a terminal or a log, raises SIGPIPE, installs a signal handler,
 * or starts a thread.  Signals interrupt no call.
 *
 *	-EINVAL        an argument is wrong
 *	-ENAMETOOLONG  a name, run id or socket path is too long
 *	-ENOMEM        the arena, this process or a carryd has not enough memory
 *	-ENOENT, -ECONNREFUSED, -EACCES, -EPROTOTYPE   carry_open: no carryd at the socket, no
 *	               permission, or another program's socket
 *	-EPROTO        a carryd speaks another version, or said something that makes no sense
 *	-ECONNRESET    the carryd of this node has ended; the handle is of no more use
 *	-ETIMEDOUT     carry_wait: not complete yet, the op goes on; carry_group_create: ranks that
 *	               did not come (the sentence names them); carry_group_destroy: ops still run
 *	-EAGAIN        as many ops are in flight as one handle may have, none of this group;
 *	               carry_group_abort: the carryd takes nothing from its ring: is it stopped?
 *	-EBUSY         the memory, the group, or a tensor key's state is in use by another op or
 *	               thread
 *	-EOWNERDEAD    the handle was made before fork(), by the parent
 *	-ECANCELED     the op was ended by carry_group_abort(), here or on another rank
 *	-EHOSTDOWN     a rank of the group died, or its host or daemon; the sentence says who
 *	-EBADMSG       the ranks called different ops; the sentence has both calls
 *	-EIO           with [wire] payload_crc = on: a rank's input was written into during the op,
 *	               or damaged on its way; the sentence says whose; carry_group_destroy: the
 *	               carryd does not answer
 *	-ENOTCONN      a rank destroyed the group before it called this op
 *	-EFBIG         the tensor has more than 65,536 chunks (of at most 1 MiB, counted as f32 or
 *	               wider): the sentence has the most that fits; call it for parts of it
 *	-E2BIG         carry_group_create: more ranks than a group, or one node of it, may have
 *	-EEXIST        a rank is given twice
 *	-EHOSTUNREACH  the root, or a rank's host, cannot be reached, or has no address
 *	-EPERM         the configuration of a carryd does not allow the root, or a host
 *	-EUSERS        a limit of a carryd: connections, groups, ranks or roots that wait
 *	-ENOSPC        as many groups as a handle may have; what the kernel has no room for
 *	-ESHUTDOWN     a carryd is being stopped
 *	-ESRCH         carry_open: the carryd sees this process as ended
 *	-EMFILE, -ENFILE, -ETOOMANYREFS   no file descriptor left, here or in the carryd
 * What else the kernel may say comes with its sentence.
 *
 * Threads: any thread may use a handle, several at once, also while others wait.  Ops of one
 * group take place in the order of the calls, which must be the same on all ranks, so one group
 * is for one thread at a time: with CARRY_DEBUG=1 in the environment, or a library built with
 * DEBUG=1, a carry_allreduce() during another thread's on the same group returns -EBUSY.
 *
 * fork(): a child has no part in the handles of its parent.  Every call on them fails with
 * -EOWNERDEAD and cannot disturb the parent; the arena is not mapped in the child.  The child
 * may carry_close() them (which frees the child's copies only), and open handles of its own.
 *
 * ABI: structures begin with their size, set by the caller; all other fields may be zero.
 * They grow at the end only.
 */
#ifndef CARRY_H
#define CARRY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct carry;       /* this process's connection to its carryd */
struct carry_group; /* an ordered set of ranks                 */
struct carry_work;  /* one op in flight                        */

/* Element types.  f16 is IEEE binary16, bf16 the upper half of an f32. */
enum carry_type {
	CARRY_F32 = 1,
	CARRY_F64,
	CARRY_F16,
	CARRY_BF16,
	CARRY_I8,
	CARRY_U8,
	CARRY_I32,
	CARRY_I64
};

/*
 * Reductions.  Ranks are combined in a fixed order, so the same inputs give the same bits on
 * every rank, run after run.  f32, f16 and bf16 are computed in f32 (f16 and bf16 are rounded
 * once, at the end), f64 in f64, integers in their own type: sums and products wrap, averages
 * truncate toward zero.  A NaN wins in MIN and MAX.
 */
enum carry_reduce { CARRY_SUM = 1, CARRY_AVG, CARRY_MIN, CARRY_MAX, CARRY_PROD };

/* --- errors and facts ------------------------------------------------------------------------ */

/*
 * carry_last_error() - the sentence of this thread's last call that failed.
 * @c: the handle of that call; NULL: whatever the handle was, also for calls that had none yet
 *     (carry_open) and after carry_close
 *
 * Like errno it belongs to the thread and is kept until the thread's next failure: no other
 * thread's failure replaces it.  An op's failure is told to the thread that waits for it.
 * Return: one line without newline and without a period, never NULL; "" if there was no failure
 * on c, or the last one was on another handle.  Valid until this thread's next libcarry call.
 */
const char *carry_last_error(const struct carry *c);

/*
 * carry_error_name() - the name of an error: "ETIMEDOUT" for -ETIMEDOUT or ETIMEDOUT, "OK" for 0,
 * "unknown error" for what has no name.  Never NULL.
 */
const char *carry_error_name(int error);

/* carry_version() - of the library, as in "0.1.0". */
const char *carry_version(void);

/* carry_type_bytes() - bytes of one element; 0 for what is not a type. */
size_t carry_type_bytes(enum carry_type type);

/* --- the connection to the daemon ------------------------------------------------------------ */

struct carry_open_options {
	size_t size;          /* sizeof(struct carry_open_options)                              */
	const char *socket;   /* NULL: $CARRY_SOCKET, or /run/carry/carryd.sock                 */
	uint64_t arena_bytes; /* 0: $CARRY_ARENA_BYTES ("64M"; K M G are powers of 1024), or the
				* daemon's default.  At least 1 MiB; the daemon has a limit      */
	uint64_t timeout_ns;  /* for all of open; 0: 30 s                                       */
};

/*
 * carry_open() - attach to the carryd of this node.
 * @out: set to the handle on success
 * @socket: path of its Unix socket; NULL: $CARRY_SOCKET, or /run/carry/carryd.sock
 *
 * Blocks until the daemon has made the arena, at most 30 s.  A process may have several handles.
 * carry_open_with(): the same with options (NULL: all defaults).
 * Return: 0; -EINVAL, -ENAMETOOLONG, -ENOENT, -ECONNREFUSED, -EACCES, -EPROTOTYPE, -ETIMEDOUT,
 * -ECONNRESET, -EPROTO, -ENOMEM, -EMFILE, -ENFILE, -ETOOMANYREFS, -ENOSPC, -EUSERS, -ESRCH,
 * -ESHUTDOWN.  The sentence names the socket and what to do.
 */
int carry_open(struct carry **out, const char *socket);
int carry_open_with(struct carry **out, const struct carry_open_options *options);

/*
 * carry_close() - detach, and free everything that came from c: groups, works, the arena.
 * @c: a handle that no thread is using; NULL does nothing
 *
 * Does not wait.  Groups that were not destroyed end as if this process had: ops in flight fail
 * on the other ranks.  All pointers that came from c become invalid.  In a child of fork() it
 * frees the child's memory and descriptors and leaves the parent alone.
 */
void carry_close(struct carry *c);

/* carry_daemon_version() - version of the carryd that c is attached to, as in "0.1.0". */
const char *carry_daemon_version(const struct carry *c);

/* --- memory ---------------------------------------------------------------------------------- */

/*
 * carry_alloc() - memory in the arena, which carryd reads and writes without a copy.
 * @bytes: any, also 0
 *
 * Aligned to 4096 from 2049 bytes on, to 64 below.  Contents are undefined.  Not needed: tensors
 * may be anywhere, but others are copied through arena memory of their size, in and out.
 * Return: memory until carry_free() or carry_close(); NULL with a sentence that says how much was
 * wanted, is free, is free in one piece, and there is in all; or in a child of fork().
 */
void *carry_alloc(struct carry *c, size_t bytes);

/*
 * carry_free() - give memory of carry_alloc() back.  NULL does nothing.
 * Return: 0; -EINVAL if memory is nothing that carry_alloc() gave and that is still allocated;
 * -EBUSY if an op in flight uses it (also one whose carry_wait() timed out): it stays allocated;
 * -EOWNERDEAD.
 */
int carry_free(struct carry *c, void *memory);

struct carry_arena {
	size_t size; /* sizeof(struct carry_arena), set by the caller       */
	uint64_t total_bytes;
	uint64_t free_bytes;
	uint64_t largest_bytes; /* that carry_alloc() could give now                        */
};

/* carry_arena_info() - how full the arena is.  Return: 0, -EINVAL, -EOWNERDEAD. */
int carry_arena_info(struct carry *c, struct carry_arena *info);

/* --- groups ---------------------------------------------------------------------------------- */

/*
 * What is left zero comes from the environment.  Rank and size come from the first of these
 * launchers that is there:
 *
 *	torchrun   RANK, WORLD_SIZE
 *	Open MPI   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE
 *	PMI        PMI_RANK, PMI_SIZE                     (MPICH, Intel MPI)
 *	Slurm      SLURM_PROCID, SLURM_STEP_NUM_TASKS or SLURM_NTASKS
 *
 * Root: $CARRY_ROOT, $MASTER_ADDR, the first host of $SLURM_STEP_NODELIST, SLURM_JOB_NODELIST or
 * SLURM_NODELIST, else this host if all ranks are on it (one rank; OMPI_COMM_WORLD_LOCAL_SIZE,
 * MPI_LOCALNRANKS).  Port: $CARRY_PORT, or 7117; never MASTER_PORT, which belongs to the
 * launcher's own store.  Run id: $CARRY_RUN_ID, $TORCHELASTIC_RUN_ID (but for "none"),
 * $PMIX_NAMESPACE, $OMPI_MCA_ess_base_jobid, $SLURM_JOB_ID.$SLURM_STEP_ID, $PBS_JOBID, $LSB_JOBID,
 * "port-$MASTER_PORT", else "default".
 */
struct carry_group_options {
	size_t size;          /* sizeof(struct carry_group_options)                              */
	const char *name;     /* NULL: "world".  1..63 bytes; tells groups of one run apart      */
	const char *run;      /* NULL: environment.  1..63 bytes; tells runs of one user apart   */
	const char *root;     /* NULL: environment.  Name or address of rank 0's host            */
	const char *schedule; /* NULL or "auto": by size and type; "direct", "flat", "ring"      */
	uint32_t rank;        /* with ranks > 0: this rank, 0..ranks-1; else not looked at       */
	uint32_t ranks;       /* of the group; 0: rank and ranks from the environment            */
	uint16_t root_port;   /* where carryd listens there; 0: $CARRY_PORT, or 7117             */
	uint16_t reserved0;   /* zero                                                            */
	uint32_t reserved1;   /* zero                                                            */
	uint64_t timeout_ns;  /* for all ranks to come, and for destroy; 0: 300 s                */
	/* What ops go with that say nothing themselves; the same on all ranks. */
	const char *codec;    /* NULL: none; "int4", "topk:density=0.01", "auto:int8/int4", ...  */
	const char *feedback; /* NULL: none; "ef14", "ef21", ...: every such op needs a key      */
	/* "PATTERN=CODEC;..." for keys, as of fnmatch(3), the first that fits: "*.bias=none" */
	const char *key_codecs;
	uint64_t codec_bytes_min; /* smaller tensors are sent dense; 0: 16 KiB                   */
};

/*
 * carry_group_create() - join a group; returns when all its ranks have come.
 * @out: set to the group on success
 * @options: NULL: all from the environment
 *
 * All ranks must give the same name, run, ranks and schedule.  Blocks at most timeout_ns and
 * 5 s for the daemon's answer (and, before, as long as the system's resolver takes for the name
 * of the root).  Other threads may use c meanwhile, also to create other groups.  At most 64
 * groups a handle.
 * Return: 0; -EINVAL, -ENAMETOOLONG (the sentence names the option or variable), -ETIMEDOUT,
 * -EEXIST, -EHOSTUNREACH, -EHOSTDOWN (a rank that waited, or the root, died), -EPERM, -EUSERS,
 * -ENOSPC, -ENOMEM, -ESHUTDOWN, -EPROTO, -ECONNRESET, -EOWNERDEAD, with a sentence that names the
 * culprit.
 */
int carry_group_create(struct carry_group **out, struct carry *c,
		       const struct carry_group_options *options);

/*
 * carry_group_destroy() - leave a group and free it with all its works.  NULL does nothing.
 *
 * First waits for the group's ops in flight.  They end by themselves: an op ends when all ranks
 * have called it, and it ends with an error within seconds when one of them dies.  Ops that other
 * ranks never call are why there is a limit: after the group's timeout_ns it returns -ETIMEDOUT
 * and nothing was destroyed; carry_group_abort() and destroy it again.  Works that nobody waited
 * for are released; whether their results arrived in memory outside the arena is undefined.
 * If a thread waits for one of the ops, its carry_wait() returns first.
 * Return: 0; -ETIMEDOUT, -EOWNERDEAD: nothing was destroyed.  With all others g is gone as well:
 * -ECONNRESET, -ESHUTDOWN (the daemon has ended, or is about to), -EPROTO, -EIO (it does not
 * answer).
 */
int carry_group_destroy(struct carry_group *g);

/*
 * carry_group_abort() - end all ops of the group, on all ranks, now.
 *
 * For another thread (a watchdog) than the one that waits.  Returns at once; the ops in flight
 * then complete with -ECANCELED (those that were just done, with their result).  The group is
 * over: every later op on it fails with -ECANCELED, only carry_group_destroy() remains.  Aborting
 * twice does nothing more.
 * Return: 0; -EINVAL (NULL), -EOWNERDEAD, -EAGAIN (nothing was done), -ECONNRESET, -EPROTO.
 */
int carry_group_abort(struct carry_group *g);

/* Facts of a group: this rank (0-based), the ranks, the nodes they are on, this node (0-based). */
uint32_t carry_group_rank(const struct carry_group *g);
uint32_t carry_group_ranks(const struct carry_group *g);
uint32_t carry_group_nodes(const struct carry_group *g);
uint32_t carry_group_node(const struct carry_group *g);

/* --- ops ------------------------------------------------------------------------------------- */

struct carry_op_result;

struct carry_op_options {
	size_t size;          /* sizeof(struct carry_op_options)                                 */
	const char *key;      /* NULL, or a stable name of the tensor, the same on all ranks     */
	const char *schedule; /* NULL or "auto": the group's; else as in carry_group_options     */
	/* With a codec or feedback the schedule is direct, whatever the group's is.             */
	const char *codec;    /* NULL: the group's; "none": dense, unless feedback is given      */
	const char *feedback; /* NULL: the group's; "none"                                       */
	float weight;         /* of this rank in ef21-w, usually 1 on average; 0: 1              */
	float scale;          /* unit of the input, new / old; 0: 1.  The same on all ranks      */
	uint32_t flags;       /* CARRY_DISCARD                                                   */
	uint32_t reserved;    /* zero                                                            */
	struct carry_op_result *result; /* of a blocking call: filled in; or NULL                */
};

/*
 * Error feedback.  A codec loses something; feedback keeps it, on the node, under the tensor's key,
 * and adds it to the next op on that key.  State changes only when an op ends well: after a failed
 * op, and after one with CARRY_NONFINITE, it is bit by bit what it was before.
 *
 * A key belongs to a tensor: another count or type is -EINVAL.  One op with feedback at a time is
 * in flight on a key: a second one before carry_wait() has returned the first is -EBUSY.  Another
 * codec on the same key goes on with the state.  Another feedback has a state of its own, zero at
 * first; that of the former is kept, and used again if the op goes back to it.
 *
 * Ranks whose states are not of the same ops get -EBADMSG.  Where all ranks of a group are on one
 * node nothing is sent, and so nothing is encoded or fed back.
 */

/*
 * "auto:CODEC/CODEC...", alone "auto:int8/int4": the group chooses, for each class of sizes, by how
 * long ops take: one of these codecs, or none, and of those as fast the first: write the one that
 * loses least first.  It tries each for at least 100 ops, stays with the
 * fastest, and tries again when something changes; all ranks change at the same op.  With feedback
 * nothing is lost by a change: the first dense op sends what was carried.  Ops that go dense are
 * not looked at for CARRY_NONFINITE.  As a group's codec "replay:FILE" makes the choices again that
 * carryd of the group's first node has logged into FILE.
 */

/*
 * Before this op take back what the last one on the key left as state, as if it had not been.  That
 * stands also if the op itself then fails.
 */
#define CARRY_DISCARD 0x1u

/*
 * In carry_op_result.flags: a rank's input (culprit: the lowest such rank) had a NaN or an
 * infinity, or a sum became too large.  The op is done, the result is NaN where an input was no
 * number, on all ranks alike, and no state was changed.  Ops without codec and feedback don't look,
 * nor do ops with feedback and codec "none", or "auto" that chose none, once nothing is carried.
 */
#define CARRY_NONFINITE 0x1u

struct carry_op_result {
	size_t size;         /* sizeof(struct carry_op_result), set by the caller                */
	int32_t status;      /* as returned: 0, or negative errno                                */
	uint32_t flags;      /* CARRY_NONFINITE                                                  */
	uint64_t seq;        /* number of the op in its group, from 1                            */
	uint64_t wire_bytes; /* payload that this node sent to others for the op, all its ranks' */
	int32_t culprit;     /* NONFINITE: the rank whose input it was; -1: nobody's: the sum    */
	uint32_t reserved;   /* zero                                                             */
};

/*
 * carry_allreduce() - combine count elements of every rank; every rank gets the result.
 * @in:  element[count] of this rank.  Any alignment, in the arena or not
 * @out: element[count], the result.  May be @in (in place), may overlap it (then @in is
 *       overwritten where they do)
 * @count: the same on all ranks; 0 is an op like any other, @in and @out are not looked at then
 * @options: NULL: none
 * @work: NULL: blocks until the op is complete.  Else set to the op in flight: @in and @out
 *        belong to it until carry_wait() has returned something other than -ETIMEDOUT
 *
 * In the arena and aligned to the element nothing is copied.  Otherwise the call copies in, and
 * the carry_test() or carry_wait() that sees the completion copies out, through arena memory.
 * At most 64 ops of a group are in flight; beyond that, or when the arena has no room for a copy,
 * the call waits for the group's oldest.  A blocking call ends when the op does; to limit the
 * wait, give @work.  When it returns an error the contents of @out are undefined.
 * Return: 0; -EINVAL, -EOWNERDEAD, -ENOMEM, -EAGAIN, -EBUSY, -ENAMETOOLONG, -ENOSPC, -EIO (nothing
 * was posted); -ECANCELED, -ECONNRESET, -EPROTO (the group was aborted, the handle ended; nothing
 * was posted, or the op failed); -EHOSTDOWN, -ENOTCONN, -EBADMSG, -EFBIG, -EIO, -EBUSY (the op
 * failed).  With @work it is
 * carry_wait() that says how the op failed.
 */
int carry_allreduce(struct carry_group *g, const void *in, void *out, size_t count,
		    enum carry_type type, enum carry_reduce reduce,
		    const struct carry_op_options *options, struct carry_work **work);

/*
 * carry_wait() - wait for an op, and release it.
 * @work: one thread at a time
 * @timeout_ns: negative: until it is complete; 0: only look
 * @result: NULL, or filled in when the op is complete, failed or not
 *
 * Return: -ETIMEDOUT: not complete within timeout_ns; the op goes on, its memory still belongs
 * to it, wait again.  Anything else is the op's own outcome (which is never -ETIMEDOUT): 0, or
 * why it failed (as of carry_allreduce()); work is then invalid.  -EINVAL, -EOWNERDEAD: nothing
 * was done.
 */
int carry_wait(struct carry_work *work, int64_t timeout_ns, struct carry_op_result *result);

/*
 * carry_test() - is an op complete?  Does not block, does not release it.
 * Return: 1: carry_wait() will return its outcome at once, the result is in place; 0: not yet;
 * -EINVAL, -EOWNERDEAD.
 */
int carry_test(struct carry_work *work);

/*
 * carry_event_fd() - a descriptor for poll(), select() and epoll, for use with carry_test().
 *
 * It is readable (POLLIN) as long as there is an op with a carry_work that is complete and for
 * which carry_wait() was not called yet, and when the daemon has ended.  It may also be readable
 * for a moment without reason.  No wake-up is lost: an op that completes after its carry_test()
 * returned 0 makes it readable, whichever thread notices first.  So a loop is
 *
 *	int fd = carry_event_fd(c);
 *	while (carry_test(work) == 0)
 *		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
 *	carry_wait(work, 0, NULL);
 *
 * Only poll it: don't read, write or close it.  The same descriptor every time; it lives as long
 * as c.  From the first call on every completion costs the daemon a system call, so don't ask
 * for it without need.
 * Return: descriptor; -EINVAL, -EOWNERDEAD, -EMFILE, -ENFILE, -ENOMEM, -ENOSPC.
 */
int carry_event_fd(struct carry *c);

#ifdef __cplusplus
}
#endif

#endif
