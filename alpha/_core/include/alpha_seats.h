/* Several models behind one feature program. Floor 4; the tail of alpha_pipeline.h, behind one branch of alpha_process().
 *
 * The lead pipeline guards the events and steps a program whose row holds the features of all models. It has no model of
 * its own. Each seat is a pipeline without blocks: its model, gate and per-instrument state. Its row is picked from the
 * lead's, its readiness is that of its own columns; it decides by the same alpha_decide() as a pipeline that serves alone. */
#ifndef ALPHA_SEATS_H
#define ALPHA_SEATS_H

#include "alpha_ensemble.h"

#define ALPHA_SEATS 32 /* at most: one bit each in alpha_instrument.ready */

enum alpha_seat_mode {
    ALPHA_SEAT_LIVE = 0,
    ALPHA_SEAT_SHADOW = 1, /* decides and is logged, never emitted */
    ALPHA_SEAT_ARM = 2     /* emitted where its split says so */
};

typedef struct alpha_split {  /* which of several seats is emitted */
    const uint64_t *symbols;  /* [n_instruments] a hash of salt and symbol, or of the salt alone */
    int64_t bucket_ns;        /* length of a piece of stream time, 0: time does not count */
} alpha_split;

typedef struct alpha_seat {
    alpha_pipeline *p;        /* no blocks of its own; its program is a view of the lead's */
    const uint32_t *columns;  /* [n_features] of the lead's row; unused by an ensemble */
    float *x;                 /* [n_features] the row that is being decided */
    uint8_t *killed;          /* [n_instruments] its own kill bytes as they were last seen */
    int32_t mode;
    uint32_t split;           /* of an arm */
    uint64_t from, upto;      /* an arm's share of the hashes, both inclusive */
    const alpha_ensemble *ensemble; /* NULL: a model */
    const uint32_t *members;  /* [ensemble->n] seats before this one */
    int32_t skips;            /* an ensemble goes on without a member that has no answer */
    const uint32_t *series;   /* [p->checks.n_inputs] numbers of its external series in the lead's stream */
    const alpha_signal *made; /* what it said to the present event */
    alpha_signal hidden;      /* room for that where it is not emitted */
    uint64_t emitted;         /* decisions that were */
} alpha_seat;

typedef struct alpha_group {
    uint32_t n, n_splits;
    uint32_t most;            /* Signals that one row can emit */
    uint8_t *ready_each;      /* [n_features of the lead] */
    alpha_split *splits;
    alpha_seat seats[ALPHA_SEATS];
} alpha_group;

/* The finaliser of splitmix64: every bit of the result hangs on every bit of x. */
static inline uint64_t alpha_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Where in 0 to 2^64 - 1 a row falls; `now`: stream time of the decision. */
static inline uint64_t alpha_split_at(const alpha_split *c, uint32_t id, int64_t now)
{
    uint64_t at = c->symbols[id];
    if (c->bucket_ns) {
        const int64_t piece = now / c->bucket_ns - (now % c->bucket_ns < 0);
        at = alpha_mix(at ^ alpha_mix((uint64_t)piece + 0x9e3779b97f4a7c15u));
    }
    return at;
}

static inline int alpha_seat_emits(const alpha_group *g, const alpha_seat *seat, uint32_t id, int64_t now)
{
    if (__builtin_expect(seat->mode == ALPHA_SEAT_ARM, 0)) {
        const uint64_t at = alpha_split_at(&g->splits[seat->split], id, now);
        return at >= seat->from && at <= seat->upto;
    }
    return seat->mode == ALPHA_SEAT_LIVE;
}

/* What kills one of the models, the lead's kill bytes apart. */
static inline uint32_t alpha_read_kill_of(const alpha_pipeline *p, uint32_t slot, uint32_t id)
{
    return alpha_read_kill(p->group->seats[slot].p, id) |
           (__atomic_load_n(&p->killed_seats, __ATOMIC_ACQUIRE) >> slot & 1);
}

/* From any thread. The bit is the service's, so that a swap at this moment cannot lose it. */
static inline void alpha_kill_seat(alpha_pipeline *p, uint32_t slot, int killed)
{
    if (killed)
        __atomic_fetch_or(&p->killed_seats, (uint32_t)1 << slot, __ATOMIC_ACQ_REL);
    else
        __atomic_fetch_and(&p->killed_seats, ~((uint32_t)1 << slot), __ATOMIC_ACQ_REL);
}

/* As alpha_sample_kill(), for the seats: what is killed is the lead's or the seat's own; the log knows which seat.
 * `instrument_id`: as in an event, one or all. */
static inline void alpha_sample_seats(alpha_pipeline *p, uint32_t instrument_id)
{
    alpha_group *g = p->group;
    const int one = instrument_id < p->n_instruments;
    for (uint32_t id = one ? instrument_id : 0; id < (one ? instrument_id + 1 : p->n_instruments); id++)
        for (uint32_t k = 0; k < g->n; k++) {
            alpha_seat *seat = &g->seats[k];
            const uint32_t own = alpha_read_kill_of(p, k, id);
            if (__builtin_expect(own != seat->killed[id], 0)) {
                seat->killed[id] = (uint8_t)own;
                if (p->log)
                    alpha_log_control(p->log, p->event_index, id, own | (k + 1) << ALPHA_KILL_SEAT_SHIFT);
            }
            seat->p->instruments[id].killed = own | p->instruments[id].killed;
        }
}

/* P(SELL), P(HOLD), P(BUY) of what a member said. 0, or the reason why it has none. */
static inline int alpha_member_row(const alpha_seat *member, float *p)
{
    const alpha_signal *s = member->made;
    p[0] = p[1] = p[2] = 0.0f;
    if (s->reason != ALPHA_MODEL && s->reason != ALPHA_BELOW_THRESHOLD && s->reason != ALPHA_COOLDOWN &&
        s->reason != ALPHA_DUPLICATE_BAR)
        return s->reason;
    for (uint32_t j = 0; j < s->n_scores; j++) {
        const float v = s->scores[j];
        p[member->p->gate.actions[j] + 1] += v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
    }
    return 0;
}

/* The members' answers become the ensemble's row. 0, or the reason of the first member that keeps it from deciding. */
static inline int alpha_ensemble_row(const alpha_group *g, alpha_seat *seat)
{
    int fault = 0, present = 0;
    for (uint32_t m = 0; m < seat->ensemble->n; m++) {
        const int none = alpha_member_row(&g->seats[seat->members[m]], seat->x + 3 * m);
        fault = fault ? fault : none;
        present |= !none && !seat->ensemble->may_veto[m];
    }
    return seat->skips && present ? 0 : fault;
}

/* BREAKER and THRESHOLD to one of several models, or to all of them. */
static inline int alpha_control_seats(alpha_pipeline *p, const alpha_event *e)
{
    int heard = 0;
    for (uint32_t k = 0; k < p->group->n; k++)
        if (e->v[2] == 0.0 || e->v[2] == (double)k + 1.0)
            heard |= alpha_control_gate_of(p->group->seats[k].p, e);
    return heard;
}

/* Events were lost before this one. */
static inline void alpha_seats_lost(alpha_pipeline *p, uint32_t id)
{
    for (uint32_t k = 0; k < p->group->n; k++)
        p->group->seats[k].p->instruments[id].watch.gap = 1;
}

/* As alpha_watch_event(), for the seats; each counts external series in its own order. */
static inline void alpha_seats_watch(alpha_pipeline *p, const alpha_event *e, uint32_t id, int64_t t)
{
    for (uint32_t k = 0; k < p->group->n; k++) {
        const alpha_seat *seat = &p->group->seats[k];
        alpha_watch *w = &seat->p->instruments[id].watch;
        if (__builtin_expect(e->kind <= ALPHA_DEPTH, 1))
            w->data_ns = t;
        else if (e->kind == ALPHA_INPUT)
            for (uint32_t j = 0; j < seat->p->checks.n_inputs; j++)
                if (e->v[0] == (double)seat->series[j])
                    alpha_input_times(w)[j] = t;
    }
}

/* What a seat's breaker found goes into the stream through the lead, one seat before each event. */
static inline void alpha_seat_breaks(alpha_pipeline *p, alpha_pipeline *q, uint32_t slot)
{
    if (p->breaker.follows)
        q->breaker.due = 0;
    else if (!__atomic_load_n(&p->breaker.due, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&p->breaker.due, q->breaker.due | (slot + 1) << ALPHA_BREAKER_SEAT_SHIFT, __ATOMIC_RELEASE);
        q->breaker.due = 0;
    }
}

static inline uint32_t alpha_members_ready(const alpha_group *g, const alpha_seat *seat, uint32_t id)
{
    uint32_t ready = 1;
    for (uint32_t m = 0; m < seat->ensemble->n; m++)
        ready &= g->seats[seat->members[m]].p->instruments[id].ready;
    return ready;
}

static inline uint8_t *alpha_ready_each_of(const alpha_pipeline *p)
{
    return p->group->ready_each;
}

/* Its columns of the lead's row. */
static inline void alpha_seat_row(const alpha_group *g, const alpha_seat *seat, const alpha_block *b,
                                  const alpha_row *row, alpha_row *own)
{
    const uint32_t n = seat->p->program->n_features;
    uint32_t ready = row->ready;
    for (uint32_t j = 0; j < n; j++)
        seat->x[j] = row->x[seat->columns[j]];
    if (__builtin_expect(!ready, 0)) {
        ready = !b->failed;
        for (uint32_t j = 0; j < n; j++)
            ready &= g->ready_each[seat->columns[j]];
    }
    *own = (alpha_row){seat->x, (uint8_t *)0, row->ts_ns, ready};
}

/* The guard refused the event (`refused` says why), or a row is made: every seat decides, in order. How many Signals were
 * emitted, from out[0] on. */
static __attribute__((noinline, unused)) uint32_t alpha_group_decide(alpha_pipeline *p, const alpha_event *e, uint32_t id,
                                                                     uint32_t flags, int refused, const alpha_row *row,
                                                                     alpha_signal *out)
{
    alpha_group *g = p->group;
    alpha_instrument *in = &p->instruments[id];
    const int64_t now = refused ? in->guard.last_ns : row->ts_ns;
    uint32_t made = 0, ready = 0;
    for (uint32_t k = 0; k < g->n; k++) {
        alpha_seat *seat = &g->seats[k];
        alpha_pipeline *q = seat->p;
        alpha_instrument *own = &q->instruments[id];
        const int emits = alpha_seat_emits(g, seat, id, now);
        alpha_signal *s = emits ? out + made : &seat->hidden;
        own->block = in->block; /* which may have been made anew */
        own->halted = in->halted;
        own->own_row = in->own_row;
        q->event_index = p->event_index;
        alpha_blank(q, e, id, emits ? flags : flags | ALPHA_SHADOW, s);
        if (refused) {
            s->reason = (uint8_t)refused;
        } else {
            alpha_row picked = {seat->x, (uint8_t *)0, row->ts_ns, 1};
            int fault = 0;
            if (seat->ensemble)
                fault = alpha_ensemble_row(g, seat);
            else
                alpha_seat_row(g, seat, in->block, row, &picked);
            if (fault && !own->killed && !own->halted) {
                own->rows++;
                own->row_ts_ns = row->ts_ns;
                q->counters.rows++;
                s->reason = (uint8_t)fault;
            } else {
                alpha_decide(q, own, &picked, s);
            }
            if (seat->ensemble) /* not by what they said: a killed member may be warm, and a kill must not move a swap */
                own->ready = alpha_members_ready(g, seat, id);
            ready |= (uint32_t)(own->ready != 0) << k;
        }
        alpha_emit(q, own, s);
        if (__builtin_expect(q->breaker.due, 0))
            alpha_seat_breaks(p, q, k);
        seat->made = s;
        if (emits) {
            if (!made)
                in->latest_at = s; /* the lead's latest is what a call returns: the first */
            p->counters.decisions++;
            p->counters.by_reason[s->reason]++;
            p->counters.by_action[s->action + 1]++;
            seat->emitted++;
            made++;
        } else {
            alpha_store_latest(own, s);
            own->latest_at = (const alpha_signal *)0;
        }
    }
    if (!refused) {
        in->rows++;
        in->ready = ready;
        in->row_ts_ns = row->ts_ns;
        p->counters.rows++;
    }
    return made;
}

static inline void alpha_prepare_seats(alpha_pipeline *p)
{
    for (uint32_t k = 0; k < p->group->n; k++)
        alpha_prepare_one(p->group->seats[k].p);
}

/* As alpha_keep_latest(), of every seat. */
static inline void alpha_keep_seats(alpha_pipeline *p)
{
    for (uint32_t k = 0; k < p->group->n; k++)
        alpha_keep_latest(p->group->seats[k].p);
}

/* As alpha_keep_made(): backwards, so that the lead keeps the first of an instrument. */
static __attribute__((unused)) void alpha_keep_made_seats(alpha_pipeline *p, const alpha_signal *made, uint32_t n)
{
    while (n-- > 0) {
        alpha_keep_made(p->group->seats[made[n].model_slot].p, made + n, 1);
        alpha_keep_made(p, made + n, 1);
    }
}

/* Where all that was made is kept: the caller's buffer goes away. */
static inline void alpha_keep_all(alpha_pipeline *p)
{
    if (__builtin_expect(p->group != (alpha_group *)0, 0))
        alpha_keep_seats(p);
    alpha_keep_latest(p);
}

static inline void alpha_keep(alpha_pipeline *p, const alpha_signal *made, uint32_t n)
{
    if (__builtin_expect(p->group != (alpha_group *)0, 0))
        alpha_keep_made_seats(p, made, n);
    else
        alpha_keep_made(p, made, n);
}

/* Log and latency histogram are the lead's; `told`: the log is a new one and must hear again what is killed. */
static __attribute__((cold, unused)) void alpha_share(alpha_pipeline *p, int told)
{
    for (uint32_t k = 0; p->group && k < p->group->n; k++) {
        alpha_seat *seat = &p->group->seats[k];
        seat->p->log = p->log;
        seat->p->latency = p->latency;
        if (told)
            memset(seat->killed, 0, p->n_instruments);
    }
}

/* Whether two seats hold the same model under the same terms, so that what the one remembers the other may go on with. */
static inline int alpha_is_same_model(const alpha_seat *a, const alpha_seat *b)
{
    const alpha_pipeline *p = a->p, *q = b->p;
    const uint32_t n = p->program->n_features;
    return n == q->program->n_features && memcmp(&p->shape, &q->shape, sizeof p->shape) == 0 &&
           memcmp(p->blank.model_hash, q->blank.model_hash, sizeof p->blank.model_hash) == 0 &&
           memcmp(p->blank.definition_hash, q->blank.definition_hash, sizeof p->blank.definition_hash) == 0 &&
           (n == 0 || (memcmp(p->mean, q->mean, n * sizeof *p->mean) == 0 &&
                       memcmp(p->std, q->std, n * sizeof *p->std) == 0)) &&
           p->clip_lo == q->clip_lo && p->clip_hi == q->clip_hi;
}

/* At a swap: what belongs to the service goes from each seat to the one that takes its place. */
static __attribute__((cold, unused)) void alpha_hand_over(const alpha_pipeline *p, alpha_pipeline *next)
{
    for (uint32_t k = 0; k < p->group->n && k < next->group->n; k++) {
        alpha_seat *from = &p->group->seats[k], *to = &next->group->seats[k];
        for (uint32_t id = 0; id < p->n_instruments; id++) {
            const alpha_instrument *a = &from->p->instruments[id];
            alpha_instrument *b = &to->p->instruments[id];
            b->killed = a->killed;
            b->gate = a->gate;
            b->latest_at = a->latest_at;
            memcpy(b->latest, a->latest, sizeof b->latest);
            b->latest_version = a->latest_version;
            if (b->watch.data_ns < a->watch.data_ns)
                b->watch.data_ns = a->watch.data_ns;
            to->killed[id] = from->killed[id];
        }
        if (!to->p->latches) { /* it brings its own where it may be another model */
            to->p->latches = from->p->latches;
            from->p->latches = (const uint8_t **)0;
        }
        to->p->counters = from->p->counters;
        to->emitted = from->emitted;
        to->p->override = from->p->override;
        to->p->may_lower = from->p->may_lower;
        to->p->breaker.trips = from->p->breaker.trips;
        alpha_breaker_forget(&to->p->breaker);
        if (alpha_is_same_model(from, to)) { /* another one has done nothing wrong yet */
            to->p->breaker.history = from->p->breaker.history;
            to->p->gate.tripped = from->p->gate.tripped;
        }
        alpha_set_threshold(to->p);
        to->p->log = p->log;
        to->p->latency = p->latency;
        from->p->log = (alpha_audit *)0;
        from->p->latency = (alpha_latency *)0;
    }
}

/* When the models alone are exchanged: the same model goes on where it stood, another begins. */
static __attribute__((cold, unused)) void alpha_go_on(const alpha_pipeline *p, alpha_group *next)
{
    const alpha_group *old = p->group;
    for (uint32_t k = 0; k < old->n && k < next->n; k++) {
        const alpha_seat *from = &old->seats[k];
        alpha_seat *to = &next->seats[k];
        const int same = alpha_is_same_model(from, to);
        const uint64_t watched = alpha_checks_bytes(&to->p->checks);
        for (uint32_t id = 0; id < p->n_instruments; id++) {
            const alpha_instrument *a = &from->p->instruments[id];
            alpha_instrument *b = &to->p->instruments[id];
            b->rows = a->rows;
            b->row_ts_ns = a->row_ts_ns;
            b->ready = a->ready;
            b->watch.gap = a->watch.gap;
            for (uint32_t j = 0; j < to->p->checks.n_inputs; j++) /* what nobody has watched counts as never seen */
                for (uint32_t i = 0; i < from->p->checks.n_inputs; i++)
                    if (to->series[j] == from->series[i])
                        alpha_input_times(&b->watch)[j] = alpha_input_times(&a->watch)[i];
            if (same && watched == alpha_checks_bytes(&from->p->checks)) {
                b->watch.drift = a->watch.drift;
                if (watched)
                    memcpy(b->watch.memory, a->watch.memory, watched);
            }
            if (!same)
                continue;
            float *const values = b->sequence.values;
            b->sequence = a->sequence;
            b->sequence.values = values;
            if (values)
                memcpy(values, a->sequence.values, alpha_sequence_bytes(&to->p->shape));
        }
    }
}

#endif
