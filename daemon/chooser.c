/* chooser.c - see chooser.h. */
#include "daemon/chooser.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/shm.h"

enum {
	SAMPLES_MAX = 128,  /* of a period; a multiple of 2                            */
	SETTLED_FIRST = 32, /* periods until others are tried again                    */
	SETTLED_MOST = 1024,
	ALL_EVERY = 4,    /* of these sessions each so many-th tries all          */
	ROUNDS = 3,       /* at most, of a session: so many trials of each        */
	SMOOTH = 8,       /* periods that the mean time of what is settled is made of */
	LEASE_MOST = 400, /* ops: they cannot be taken back should ops become large */
};

static_assert(CHOICE_PENDING_MAX * CHOOSER_PERIOD >
		      (int)(SHM_RING_ENTRIES + SHM_OPS_MAX) + LEASE_MOST,
	      "no lane has more leases with changes to come");

#define HARDLY 1.03    /* times the least: not worth to lose more        */
#define CLOSE 2.0      /* times the least: worth another session        */
#define TOO_CLOSE 1.25 /* times the least: one trial cannot tell which is faster */
#define DRIFTED 1.25   /* times what it was when it was chosen, or its inverse */
/* A trial by ops of less may be of a bad moment as a whole, and be wrong by a factor. */
#define BRIEF_NS UINT64_C(500000000)

struct entry {
	uint32_t list;
	uint8_t size_class, alternatives, current;
	bool settled;
	bool brief;                                    /* a trial of this session was */
	bool all;                                      /* settled: the next session tries all    */
	uint8_t to_try;                                /* bits; while not settled                */
	uint8_t rounds;                                /* of this session                        */
	uint8_t tried[CHOICE_ALTERNATIVES_MAX];        /* times, in this session                 */
	double trial[CHOICE_ALTERNATIVES_MAX][ROUNDS]; /* ... and what was measured              */
	uint32_t sessions;                             /* finished                               */
	uint64_t from;                                 /* the first op of `current`              */
	uint64_t until, until_ns;                      /* settled: when to try again: both       */
	uint64_t periods;                              /* ... which was so long a time           */
	double chosen_cost;                            /* settled: when it was chosen            */
	double cost[CHOICE_ALTERNATIVES_MAX];          /* ns for a MiB; 0: not measured yet      */
	uint64_t judged_ns; /* when a choice was judged last, or the first began */
	uint64_t taken;     /* samples of it since then               */
	uint64_t taken_ns;  /* ... which took so long                 */
	uint64_t every;     /* ... of which each so many-th is kept   */
	uint32_t kept;
	uint64_t last_ns, last_bytes; /* of the last one                        */
	double samples[SAMPLES_MAX];
};

struct chooser {
	uint64_t through;
	uint64_t now_ns; /* when an op began last */
	struct lease {
		uint64_t seq, ns; /* where the group was when it was given */
		uint64_t ops;
	} last;
	uint32_t count, next; /* next: which entry may change first */
	bool full, said_full; /* a list and class had no room       */
	struct entry entries[CHOICE_LISTS_MAX];
};

int chooser_new(struct chooser **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void chooser_free(struct chooser *c)
{
	free(c);
}

/* --- measuring -------------------------------------------------------------------------------- */

static uint8_t all_of(const struct entry *e)
{
	return (uint8_t)((1u << e->alternatives) - 1);
}

static struct entry *entry_of(struct chooser *c, const struct choice_sample *s)
{
	struct entry *e = c->entries;

	for (; e < c->entries + c->count; e++)
		if (e->list == s->list && e->size_class == s->size_class)
			return e;
	if (c->count == CHOICE_LISTS_MAX) {
		c->full = true;
		return NULL;
	}
	*e = (struct entry){.list = s->list,
			    .size_class = s->size_class,
			    .alternatives = s->alternatives,
			    .judged_ns = c->now_ns,
			    .every = 1,
			    .periods = SETTLED_FIRST};
	e->to_try = (uint8_t)(all_of(e) & ~1u);
	c->count++;
	return e;
}

/* Of a period of however many ops, samples are kept that are as far apart all over it. */
static void keep(struct entry *e, double sample)
{
	if (e->kept == SAMPLES_MAX) {
		for (uint32_t i = 0; i < SAMPLES_MAX / 2; i++)
			e->samples[i] = e->samples[2 * i];
		e->kept = SAMPLES_MAX / 2;
		e->every *= 2;
	}
	e->samples[e->kept++] = sample;
}

static void forget(struct entry *e)
{
	e->taken = 0;
	e->taken_ns = 0;
	e->kept = 0;
	e->every = 1;
}

void chooser_note(struct chooser *c, const struct choice_sample *s)
{
	struct entry *e = entry_of(c, s);

	if (!e || s->alternative != e->current || s->seq < e->from || !s->bytes)
		return;
	/* Ops that end at once, as the caller sees it, share the time of the first of them. */
	if (!s->ns && !e->taken)
		return;
	e->last_bytes = s->ns ? s->bytes : e->last_bytes + s->bytes;
	e->last_ns = s->ns ? s->ns : e->last_ns;
	e->taken += s->ns != 0;
	e->taken_ns += s->ns;
	if ((e->taken - 1) % e->every)
		return;
	e->kept -= !s->ns; /* it is known better now */
	keep(e, (double)e->last_ns * (1 << 20) / (double)e->last_bytes);
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/*
 * Of the later half: at first a link that was used less before may have saved up some bytes, which
 * go faster than it can last (token buckets, buffers of switches).
 */
static double median(const struct entry *e)
{
	uint32_t half = (e->kept + 1) / 2;
	double late[SAMPLES_MAX] = {0};

	memcpy(late, e->samples + e->kept - half, half * sizeof(late[0]));
	qsort(late, half, sizeof(late[0]), compare);
	return late[half / 2];
}

/* --- deciding --------------------------------------------------------------------------------- */

static double least(const struct entry *e)
{
	double min = INFINITY;

	for (uint8_t a = 0; a < e->alternatives; a++)
		if (e->cost[a] > 0 && e->cost[a] < min)
			min = e->cost[a];
	return min;
}

static void settle(struct entry *e, uint64_t from, uint64_t now_ns)
{
	double min = least(e);
	uint8_t best = 0;

	while (!(e->cost[best] > 0 && e->cost[best] <= HARDLY * min))
		best++;
	assert(best < e->alternatives);
	e->current = best;
	e->settled = true;
	e->chosen_cost = e->cost[best];
	e->until = from + e->periods * CHOOSER_PERIOD;
	e->until_ns = now_ns + e->periods * CHOOSER_PAUSE_NS; /* as long as trials take, and more */
	e->sessions++;
	if (e->periods < SETTLED_MOST)
		e->periods *= 2;
}

static void begin_session(struct entry *e)
{
	memset(e->tried, 0, sizeof(e->tried));
	e->tried[e->current] = 1;
	e->trial[e->current][0] = e->cost[e->current];
	e->rounds = 0;
	e->brief = false;
}

static double best_trial(const struct entry *e, uint8_t a)
{
	double min = INFINITY;

	for (uint8_t t = 0; t < e->tried[a]; t++)
		min = fmin(min, e->trial[a][t]);
	return min;
}

/* Of those that were tried: which cannot be told apart by so few trials, as times vary? */
static uint8_t too_close(const struct entry *e)
{
	double most = (e->brief && e->rounds == 1 ? CLOSE : TOO_CLOSE) * least(e);
	uint8_t bits = 0;

	for (uint8_t a = 0; a < e->alternatives; a++)
		if (best_trial(e, a) <= most)
			bits |= (uint8_t)(1u << a);
	return bits & (bits - 1) ? bits : 0;
}

/* The next that is to be tried; if there is none, the best of them. */
static void go_on(struct entry *e, uint64_t from, uint64_t now_ns)
{
	if (!e->to_try && ++e->rounds < ROUNDS)
		e->to_try = too_close(e);
	if (!e->to_try) {
		settle(e, from, now_ns);
		return;
	}
	e->settled = false;
	e->current = (uint8_t)__builtin_ctz(e->to_try);
	e->to_try &= (uint8_t)(e->to_try - 1);
}

static uint8_t worth_trying(const struct entry *e)
{
	double min = least(e);
	uint8_t bits = 0;

	for (uint8_t a = 0; a < e->alternatives; a++)
		if (e->all || e->cost[a] <= CLOSE * min || e->sessions % ALL_EVERY == 0)
			bits |= (uint8_t)(1u << a);
	return bits & (uint8_t) ~(1u << e->current);
}

static uint8_t faster_than_now(const struct entry *e)
{
	uint8_t bits = 0;

	for (uint8_t a = 0; a < e->alternatives; a++)
		if (e->cost[a] < e->cost[e->current])
			bits |= (uint8_t)(1u << a);
	return bits;
}

/* What it was compared with is of other times. */
static void begin_anew(struct entry *e, uint64_t from, uint64_t now_ns)
{
	e->chosen_cost = e->cost[e->current];
	e->periods = SETTLED_FIRST;
	if (e->until > from + SETTLED_FIRST * CHOOSER_PERIOD)
		e->until = from + SETTLED_FIRST * CHOOSER_PERIOD;
	if (e->until_ns > now_ns + SETTLED_FIRST * CHOOSER_PAUSE_NS)
		e->until_ns = now_ns + SETTLED_FIRST * CHOOSER_PAUSE_NS;
	e->all = true;
}

static void look_again(struct entry *e, double cost, uint64_t from, uint64_t now_ns)
{
	double *mean = &e->cost[e->current];
	bool slower, faster;

	*mean += (cost - *mean) / SMOOTH;
	slower = *mean > DRIFTED * e->chosen_cost;
	faster = e->chosen_cost > DRIFTED * *mean;
	if (slower || faster) {
		*mean = cost;
		begin_anew(e, from, now_ns);
		/* Slower: what was faster than this is worth a trial now. */
		e->to_try = slower ? faster_than_now(e) : 0;
		if (e->to_try) {
			begin_session(e);
			go_on(e, from, now_ns);
		}
	} else if (from >= e->until && now_ns >= e->until_ns) {
		e->to_try = worth_trying(e);
		e->all = false;
		begin_session(e);
		go_on(e, from, now_ns);
	}
}

/* A session goes by the median of its trials, of two by their mean. */
static void tried(struct entry *e, double cost, uint64_t taken_ns)
{
	double *trial = e->trial[e->current];
	uint8_t times = e->tried[e->current]++;

	_Static_assert(ROUNDS == 3, "the median below is of three");
	assert(times < ROUNDS);
	trial[times] = cost;
	e->brief |= taken_ns < BRIEF_NS;
	if (times == 1)
		cost = (trial[0] + trial[1]) / 2;
	else if (times == 2)
		cost = fmax(fmin(trial[0], trial[1]), fmin(fmax(trial[0], trial[1]), trial[2]));
	e->cost[e->current] = cost;
}

static uint32_t saturated(double ns)
{
	return ns < (double)UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* Return: whether there is something to say of what holds from op `from` on. */
static bool judge(struct entry *e, uint64_t from, uint64_t now_ns, struct wire_choice *out)
{
	uint8_t before = e->current;
	bool was_settled = e->settled;
	uint64_t taken_ns = e->taken_ns;
	double cost;

	if (e->taken < CHOOSER_SAMPLES_MIN || e->alternatives < 2 ||
	    now_ns - e->judged_ns < CHOOSER_PAUSE_NS)
		return false;
	cost = median(e);
	e->judged_ns = now_ns;
	forget(e);
	if (e->settled) {
		look_again(e, cost, from, now_ns);
	} else {
		tried(e, cost, taken_ns);
		go_on(e, from, now_ns);
	}
	if (e->current != before)
		e->from = from;
	else if (e->settled == was_settled)
		return false;
	*out = (struct wire_choice){.list = e->list,
				    .size_class = e->size_class,
				    .alternative = e->current,
				    .alternatives = e->alternatives,
				    .settled = e->settled};
	for (uint8_t a = 0; a < e->alternatives; a++)
		out->cost[a] = saturated(e->cost[a]);
	return true;
}

/*
 * How long is the next lease?  Each wakes a thread on every node, which takes ops of some 50 us
 * half as long again where processors are few.  Nothing is judged before CHOOSER_PAUSE_NS are
 * over, so it may last a good part of that; but nobody knows how fast ops are by a new choice.
 */
static uint64_t lease_ops(const struct chooser *c, uint64_t seq, uint64_t now_ns, bool changed)
{
	double ops = (double)(seq - c->last.seq), ns = (double)(now_ns - c->last.ns);
	double wanted;

	assert(seq > c->last.seq || !c->last.seq);
	if (changed || ns <= 0)
		return CHOOSER_PERIOD;
	wanted = ops * (CHOOSER_PAUSE_NS / 2.0) / ns;
	wanted = fmin(wanted, fmin(4.0 * (double)c->last.ops, LEASE_MOST));
	return (uint64_t)fmax(wanted, CHOOSER_PERIOD);
}

bool chooser_lease(struct chooser *c, uint64_t seq, uint64_t now_ns, struct choice_decision *out)
{
	uint64_t from = c->through + 1, most = seq > from ? seq : from;
	uint32_t first = c->next;

	c->now_ns = now_ns;
	if (seq + CHOOSER_MARGIN <= c->through)
		return false;
	*out = (struct choice_decision){.from = from, .full = c->full && !c->said_full};
	c->said_full = c->full;
	for (uint32_t i = 0; i < c->count && out->count < WIRE_CHOICES_MAX; i++) {
		struct entry *e = &c->entries[(first + i) % c->count];

		if (judge(e, from, now_ns, &out->changes[out->count]))
			out->count++;
		c->next = (first + i + 1) % c->count;
	}
	c->last = (struct lease){
		.seq = seq, .ns = now_ns, .ops = lease_ops(c, seq, now_ns, out->count > 0)};
	out->through = most + c->last.ops - 1;
	c->through = out->through;
	return true;
}
