/* THE pipeline: one event in, at most one Signal per instrument out. Floor 4.
 * Inline call, run() and the pinned worker all execute alpha_process(). It allocates nothing, takes no
 * lock, makes no system call unless latency is measured, and never reads a clock to decide. */
#ifndef ALPHA_PIPELINE_H
#define ALPHA_PIPELINE_H

#include "alpha_block.h"
#include "alpha_breaker.h"
#include "alpha_checks.h"
#include "alpha_gate.h"
#include "alpha_guard.h"
#include "alpha_kernels.h"
#include "alpha_latency.h"
#include "alpha_log.h"
#include "alpha_model.h"
#include "alpha_sequence.h"

#define ALPHA_LATCHES 3 /* all, this model, this instrument */

typedef struct alpha_instrument { /* everything one instrument owns */
    alpha_block *block;
    float *x;            /* [n_features] raw features of the last row */
    uint32_t own_row;    /* the last row came from the caller: warm by definition */
    uint64_t latest[16];           /* last Signal, word by word; any thread may read it, see alpha_read_latest */
    uint32_t latest_version;       /* odd while it is being written */
    const alpha_signal *latest_at; /* newer one in the caller's buffer, NULL = none */
    alpha_guard_state guard;
    alpha_gate_state gate;
    uint32_t halted;     /* STATUS HALT or CONTROL HALT until RESUME or OPEN */
    uint32_t killed;     /* the kill bytes as the present event found them */
    uint32_t ready;      /* the last row was warm; of a lead of several models: a bit for each */
    uint64_t rows;
    int64_t row_ts_ns;   /* decision time of the last row */
    alpha_sequence sequence; /* what the model remembers of it */
    alpha_watch watch;   /* what the checks remember of it */
} alpha_instrument;

typedef struct alpha_counters {
    uint64_t events, decisions, rejected, rows;
    uint64_t by_reason[ALPHA_REASONS];  /* of decisions, rejected events included */
    uint64_t by_action[3];              /* SELL HOLD BUY */
    uint64_t rejected_by[ALPHA_REASONS];/* events the guard refused, whether or not they could have decided */
    uint64_t unlike[3];                 /* rows beyond their range, distance, PSI limit, whether or not that held them */
} alpha_counters;

#define ALPHA_AFTER_SWAP 100
typedef struct alpha_after { /* the first events under another Bundle */
    uint32_t left, made;     /* still to measure; of those measured, how many made a Signal */
    int64_t took_ns[ALPHA_AFTER_SWAP];
} alpha_after;

typedef struct alpha_pipeline {
    const alpha_program *program;
    const alpha_kernels *kernels;
    alpha_model model;   /* run == NULL: none */
    uint32_t no_model;   /* the reason then: NO_MODEL or NO_ORT */
    alpha_sequence_shape shape; /* of what the model remembers */
    uint32_t n_instruments;
    alpha_instrument *instruments;
    alpha_home home; /* of their blocks; one that came out of a saved state lies outside */
    const alpha_surroundings *around; /* [n_instruments] */
    alpha_block **peers;              /* [n_peers] blocks that other instruments look at, of the instruments peer_ids */
    const uint32_t *peer_ids;
    uint32_t n_peers;
    alpha_guard_config guard;
    alpha_gate_config gate;
    alpha_checks checks;
    alpha_breaker breaker;
    float override;      /* threshold that is in force instead of the declared one; NaN = none */
    uint32_t may_lower;  /* a backtest: it may be lower */
    const double *mean, *std;
    float clip_lo, clip_hi;
    float *z;
    float *out;
    uint32_t killed;     /* the kill byte: any thread may set it; CONTROL events do so in stream order */
    const uint8_t **latches; /* ALPHA_LATCHES kill bytes per instrument, of a latch others may set; NULL = none */
    alpha_audit *log;          /* NULL: no audit log */
    uint64_t event_index;
    alpha_event last;    /* the last event that was processed: where a resumed stream goes on */
    alpha_signal blank;  /* hashes and revision, the rest zero: every Signal starts as a copy */
    alpha_counters counters;
    alpha_latency *latency; /* NULL: not measured */
    struct alpha_pipeline *incoming; /* what runs silently until it is warm, see alpha_swap.h; NULL = nothing */
    alpha_signal *silent;    /* room for what it decides */
    uint64_t swaps;
    uint8_t description[32]; /* sha256 of what it is, for the log */
    uint32_t only_seats;       /* while it comes in: the program is the same, its models alone take over, at once */
    uint32_t withdrawn;        /* what is coming in is not wanted any more; any thread may say so */
    uint32_t killed_seats;     /* a kill byte, here a bit, for each of several models; any thread may set it */
    struct alpha_group *group; /* several models behind this program, see alpha_seats.h; NULL = its own one */
    uint32_t prepares;         /* between two triggers the model computes what follows from its state alone */
    alpha_instrument *due;     /* whose next step may be prepared; NULL = nobody's */
    uint64_t prepared;         /* how often that was done */
    struct alpha_look *look;   /* what another thread asks to see, see alpha_look.h; NULL = nothing */
    alpha_after after;         /* last: the fields above stay on few cache lines */
} alpha_pipeline;

/* Whenever blocks were made or replaced: where each instrument finds the others. */
static inline void alpha_bind_peers(alpha_pipeline *p)
{
    for (uint32_t k = 0; k < p->n_peers; k++)
        p->peers[k] = p->instruments[p->peer_ids[k]].block;
}
static void alpha_take_over(struct alpha_pipeline *p, struct alpha_pipeline *next);
static void alpha_reload(struct alpha_pipeline *p, struct alpha_pipeline *next, const alpha_event *e); /* alpha_swap.h */
static inline void alpha_sample_seats(alpha_pipeline *p, uint32_t id); /* alpha_seats.h */
static inline uint32_t alpha_read_kill_of(const alpha_pipeline *p, uint32_t slot, uint32_t id);
static inline uint8_t *alpha_ready_each_of(const alpha_pipeline *p);
static inline int alpha_control_seats(alpha_pipeline *p, const alpha_event *e);
static inline void alpha_seats_lost(alpha_pipeline *p, uint32_t id);
static inline void alpha_seats_watch(alpha_pipeline *p, const alpha_event *e, uint32_t id, int64_t t);
static uint32_t alpha_group_decide(alpha_pipeline *p, const alpha_event *e, uint32_t id, uint32_t flags, int refused,
                                   const alpha_row *row, alpha_signal *out);

/* From any thread, also while another owns the pipeline. */
static inline void alpha_set_killed(alpha_pipeline *p, int killed)
{
    __atomic_store_n(&p->killed, killed ? 1u : 0u, __ATOMIC_RELEASE);
}

/* From any thread: before its next event the owner listens to the model again. */
static inline void alpha_ask_reset(alpha_pipeline *p)
{
    __atomic_store_n(&p->breaker.due, 1 + ALPHA_BREAKER_RESET, __ATOMIC_RELEASE);
}

/* The kill bytes of an instrument now. */
static inline uint32_t alpha_read_kill(const alpha_pipeline *p, uint32_t id)
{
    uint32_t killed = __atomic_load_n(&p->killed, __ATOMIC_ACQUIRE);
    if (p->latches)
        for (const uint8_t **byte = p->latches + id * ALPHA_LATCHES; byte < p->latches + (id + 1) * ALPHA_LATCHES; byte++)
            killed |= __atomic_load_n(*byte, __ATOMIC_ACQUIRE);
    return killed;
}

/* Kill bytes are read once per event and instrument: what changes meanwhile counts from the next event, and the log
 * knows between which two events that was. */
static inline void alpha_sample_kill(alpha_pipeline *p, uint32_t id)
{
    const uint32_t killed = alpha_read_kill(p, id);
    if (__builtin_expect(killed != p->instruments[id].killed, 0)) {
        p->instruments[id].killed = killed;
        if (p->log)
            alpha_log_control(p->log, p->event_index, id, killed);
    }
}

/* Before an event is looked at. `group`: whether p has one; a constant where this is inlined. */
static inline void alpha_before(alpha_pipeline *p, const alpha_event *e, const int group)
{
    if (__builtin_expect(e->instrument_id < p->n_instruments, 1))
        alpha_sample_kill(p, e->instrument_id);
    else
        for (uint32_t id = 0; id < p->n_instruments; id++)
            alpha_sample_kill(p, id);
    if (group)
        alpha_sample_seats(p, e->instrument_id);
    if (p->log)
        alpha_log_event(p->log, e);
}

static inline void alpha_emit(alpha_pipeline *p, alpha_instrument *in, alpha_signal *s)
{
    if (p->log) /* what the guard rejected has no row */
        alpha_log_decision(p->log, s, in->x, s->reason < ALPHA_NON_FINITE ? p->program->n_features : 0, p->out,
                           s->n_scores, p->latency != (alpha_latency *)0);
    p->counters.decisions++;
    p->counters.by_reason[s->reason]++;
    p->counters.by_action[s->action + 1]++;
    in->latest_at = s;
}

#include "alpha_latest.h"

static inline void alpha_blank(const alpha_pipeline *p, const alpha_event *e, uint32_t id, uint32_t flags,
                               alpha_signal *s)
{
    *s = p->blank;
    s->event_index = p->event_index;
    s->ts_event_ns = e->ts_event_ns;
    s->ts_recv_ns = e->ts_recv_ns;
    s->instrument_id = id;
    s->ref_px = p->instruments[id].block->ref_px;
    s->flags = flags;
}

/* Could this event have produced a row? Then its rejection must be seen as a HOLD, not as silence. */
static inline int alpha_would_decide(const alpha_program *g, const alpha_event *e)
{
    switch (g->trigger) {
    case ALPHA_TRIGGER_QUOTE:
        return e->kind == ALPHA_QUOTE;
    case ALPHA_TRIGGER_TRADE:
        return e->kind == ALPHA_TRADE;
    case ALPHA_TRIGGER_BAR_FEED:
        return e->kind == ALPHA_BAR;
    case ALPHA_TRIGGER_LAST:
        return (e->flags & ALPHA_LAST) != 0 && e->kind != ALPHA_INPUT;
    default:
        return 0;
    }
}

#include "alpha_demands.h"

/* The row is made: run the model. 0 with its outputs in p->out, or the reason why there are none. */
static inline int alpha_run_model(alpha_pipeline *p, alpha_instrument *in, const alpha_row *row)
{
    const int remembers = alpha_remembers(&p->shape);
    if (!row->ready) {
        if (remembers)
            alpha_sequence_restart(&in->sequence);
        return ALPHA_NOT_WARM;
    }
    if (!p->kernels->normalise(row->x, p->mean, p->std, p->clip_lo, p->clip_hi, p->z, p->program->n_features)) {
        if (remembers)
            alpha_sequence_restart(&in->sequence);
        return ALPHA_NON_FINITE_FEATURE;
    }
    const int unlike = alpha_is_unlike(p, in, row);
    if (unlike && !remembers)
        return unlike;
    if (p->checks.inactive)
        return ALPHA_MODEL_INACTIVE;
    if (row->ts_ns > p->gate.valid_until_ns)
        return ALPHA_MODEL_EXPIRED;
    if (!p->model.run)
        return (int)p->no_model;
    if (!remembers)
        return p->model.run(p->model.self, p->z, (const float *)0, (float *)0, p->model.scratch, p->out, 1);
    const float *x = alpha_sequence_take(&p->shape, &in->sequence, p->z);
    if (!x)
        return ALPHA_NOT_WARM;
    int failed = p->model.run(p->model.self, x, alpha_carry_in(&p->shape, &in->sequence),
                              alpha_carry_out(&p->shape, &in->sequence), p->model.scratch, p->out, 1);
    if (!failed && p->shape.n_carry && !alpha_carry_commit(&p->shape, &in->sequence))
        failed = ALPHA_NON_FINITE_OUTPUT;
    return unlike ? unlike : failed;
}

/* The row is made: decide. */
static inline void alpha_decide(alpha_pipeline *p, alpha_instrument *in, const alpha_row *row, alpha_signal *s)
{
    in->rows++;
    in->ready = (uint32_t)row->ready;
    in->row_ts_ns = row->ts_ns;
    p->counters.rows++;
    int hold = 0;
    if (in->killed)
        hold = ALPHA_KILLED;
    else if (in->halted)
        hold = ALPHA_HALTED;
    else
        hold = alpha_is_untimely(p, in, row);
    const int64_t begin = p->breaker.limits.latency_ns ? alpha_now_ns() : 0;
    /* what remembers goes on while it is held back; anything else is spared the work */
    if (!hold || alpha_remembers(&p->shape)) {
        int failed = alpha_run_model(p, in, row);
        if (__builtin_expect(in->watch.gap, 0)) {
            if (failed == ALPHA_NOT_WARM)
                failed = ALPHA_STALE;
            else
                in->watch.gap = 0;
        }
        if (p->prepares)
            p->due = in;
        if (!hold)
            hold = failed;
    }
    if (p->shape.window > 1)
        in->ready = in->sequence.n == p->shape.window; /* a window that is not full is no more warm than a feature */
    if (hold) {
        s->reason = (uint8_t)hold;
    } else {
        memcpy(s->scores, p->out, p->gate.n_scores * sizeof(float));
        alpha_gate_decide(&p->gate, &in->gate, row->ts_ns, s);
    }
    if (!hold || hold == ALPHA_MODEL_ERROR || hold == ALPHA_NON_FINITE_OUTPUT) /* it ran */
        alpha_breaker_note(&p->breaker, s->reason == ALPHA_MODEL_ERROR || s->reason == ALPHA_NON_FINITE_OUTPUT,
                           p->breaker.limits.latency_ns ? alpha_now_ns() - begin : 0);
}

/* An event of one instrument. How many new Signals *s and what follows it hold: at most 1 without a group. */
static inline uint32_t alpha_process_one(alpha_pipeline *p, const alpha_event *e, uint32_t id, alpha_signal *s,
                                         const int group)
{
    alpha_instrument *in = &p->instruments[id];
    int64_t t;
    uint32_t flags;
    int reason = alpha_guard_check(&p->guard, &in->guard, e, &t, &flags);
    if (__builtin_expect(reason, 0)) {
        p->counters.rejected++;
        p->counters.rejected_by[reason]++;
        if (!alpha_would_decide(p->program, e))
            return 0;
        if (group)
            return alpha_group_decide(p, e, id, e->flags, reason, (const alpha_row *)0, s);
        alpha_blank(p, e, id, e->flags, s);
        s->reason = (uint8_t)reason;
        alpha_emit(p, in, s);
        return 1;
    }
    in->own_row = 0;
    if (__builtin_expect(e->kind == ALPHA_STATUS, 0)) {
        if (e->v[0] == ALPHA_STATUS_HALT)
            in->halted = 1;
        else if (e->v[0] == ALPHA_STATUS_RESUME || e->v[0] == ALPHA_STATUS_OPEN)
            in->halted = 0;
    }
    const int lost = alpha_lost_before(e);
    if (__builtin_expect(lost, 0))
        in->watch.gap = 1;
    if (group && __builtin_expect(lost, 0))
        alpha_seats_lost(p, id);
    alpha_row row = {in->x, group ? alpha_ready_each_of(p) : (uint8_t *)0, 0, 0};
    uint32_t made = (uint32_t)p->kernels->step(p->program, in->block, e, t, &row);
    if (made && group) {
        made = alpha_group_decide(p, e, id, flags, 0, &row, s);
    } else if (made) {
        alpha_blank(p, e, id, flags, s);
        alpha_decide(p, in, &row, s);
        alpha_emit(p, in, s);
    }
    alpha_watch_event(&p->checks, &in->watch, e, t);
    if (group)
        alpha_seats_watch(p, e, id, t);
    return made;
}

/* Of the state as it is now, whatever happened since the row; what was prepared for another state is not used. */
static inline void alpha_prepare_one(alpha_pipeline *p)
{
    const alpha_instrument *in = p->due;
    if (in) {
        p->due = (alpha_instrument *)0;
        p->model.prepare(p->model.self, alpha_carry_in(&p->shape, &in->sequence), p->model.scratch);
        p->prepared++;
    }
}

static inline void alpha_prepare_seats(alpha_pipeline *p); /* alpha_seats.h */

/* Where nobody waits: the Signals of the last event are handed on, the next trigger is still to come. Whether and when
 * this is called changes no bit of any decision. */
static inline void alpha_prepare(alpha_pipeline *p)
{
    if (p->group)
        alpha_prepare_seats(p);
    else
        alpha_prepare_one(p);
}

#include "alpha_control.h"

static __attribute__((noinline, cold, unused)) uint32_t alpha_process_odd(alpha_pipeline *p, const alpha_event *e,
                                                                          alpha_signal *out)
{
    uint32_t made = 0;
    if (e->kind == ALPHA_CONTROL) {
        if (!alpha_control(p, e)) {
            p->counters.rejected++;
            p->counters.rejected_by[ALPHA_BAD_KIND]++;
        }
    } else if (alpha_is_for_all(e)) {
        for (uint32_t id = 0; id < p->n_instruments; id++) {
            alpha_event own;
            if (alpha_own_event(e, id, p->guard.use_recv, p->instruments[id].guard.last_ns, &own))
                made += p->group ? alpha_process_one(p, &own, id, out + made, 1)
                                 : alpha_process_one(p, &own, id, out + made, 0);
        }
    } else {
        p->counters.rejected++;
        p->counters.rejected_by[ALPHA_INSTRUMENT]++;
    }
    return made;
}

static void alpha_break(alpha_pipeline *p);

/* The caller's own feature values through the same clock, model, gate and counters; no feature program. How many Signals:
 * 1 without a group. */
static __attribute__((unused)) uint32_t alpha_process_features(alpha_pipeline *p, uint32_t id, int64_t ts_ns,
                                                               const float *x, alpha_signal *s)
{
    uint32_t made = 1;
    alpha_instrument *in = &p->instruments[id];
    alpha_event e = {.ts_event_ns = ts_ns};
    if (__builtin_expect(__atomic_load_n(&p->breaker.due, __ATOMIC_ACQUIRE), 0))
        alpha_break(p);
    alpha_pipeline *next = __atomic_load_n(&p->incoming, __ATOMIC_ACQUIRE);
    if (__builtin_expect(next && next->event_index == 0, 0))
        alpha_take_over(p, next); /* the caller's features are warm by definition */
    alpha_sample_kill(p, id);
    if (p->group)
        alpha_sample_seats(p, id);
    if (p->log)
        alpha_log_features(p->log, id, ts_ns, x, p->program->n_features);
    alpha_blank(p, &e, id, 0, s);
    int reason = alpha_guard_time(&in->guard, ts_ns);
    if (reason) {
        p->counters.rejected++;
        p->counters.rejected_by[reason]++;
        s->reason = (uint8_t)reason;
    } else {
        in->guard.last_ns = ts_ns;
        in->guard.ahead_ns = ALPHA_NO_TIME;
        memcpy(in->x, x, p->program->n_features * sizeof(float));
        in->own_row = 1;
    }
    alpha_row row = {in->x, (uint8_t *)0, ts_ns, 1};
    if (p->group) {
        made = alpha_group_decide(p, &e, id, 0, reason, &row, s);
    } else {
        if (!reason)
            alpha_decide(p, in, &row, s);
        alpha_emit(p, in, s);
    }
    p->event_index++;
    p->counters.events++;
    return made;
}

static inline uint32_t alpha_process_as(alpha_pipeline *p, const alpha_event *e, alpha_signal *out, const int group)
{
    if (__builtin_expect(__atomic_load_n(&p->breaker.due, __ATOMIC_ACQUIRE), 0))
        alpha_break(p);
    alpha_pipeline *next = __atomic_load_n(&p->incoming, __ATOMIC_ACQUIRE);
    int64_t begin = p->latency || p->after.left || next ? alpha_now_ns() : 0;
    uint32_t made;
    if (p->log)
        p->log->began_ns = begin;
    if (__builtin_expect(next != (alpha_pipeline *)0, 0))
        alpha_reload(p, next, e);
    alpha_before(p, e, group);
    if (__builtin_expect(e->instrument_id >= p->n_instruments || e->kind == ALPHA_CONTROL, 0))
        made = alpha_process_odd(p, e, out);
    else
        made = alpha_process_one(p, e, e->instrument_id, out, group);
    p->last = *e;
    p->event_index++;
    p->counters.events++;
    if (p->latency && made)
        alpha_latency_add(p->latency, alpha_now_ns() - begin);
    if (__builtin_expect(p->after.left, 0)) {
        p->after.took_ns[ALPHA_AFTER_SWAP - p->after.left] = alpha_now_ns() - begin;
        p->after.made += made;
        p->after.left--;
    }
    return made;
}

static __attribute__((noinline, unused)) uint32_t alpha_process_group(alpha_pipeline *p, const alpha_event *e,
                                                                      alpha_signal *out)
{
    return alpha_process_as(p, e, out, 1);
}

/* One event. Writes 0 or 1 Signal per instrument that it addresses (of a group: up to `most`); returns how many. */
static inline uint32_t alpha_process(alpha_pipeline *p, const alpha_event *e, alpha_signal *out)
{
    if (__builtin_expect(p->group != (struct alpha_group *)0, 0))
        return alpha_process_group(p, e, out);
    return alpha_process_as(p, e, out, 0);
}

/* What the breaker found goes into the stream, as an event like any other: logged, counted, and replayed from the log. */
static __attribute__((noinline, cold, unused)) void alpha_break(alpha_pipeline *p)
{
    const uint32_t due = __atomic_exchange_n(&p->breaker.due, 0, __ATOMIC_ACQ_REL);
    alpha_event e = {.ts_event_ns = p->last.ts_event_ns, .ts_recv_ns = p->last.ts_recv_ns};
    alpha_signal none;
    e.instrument_id = ALPHA_ALL_INSTRUMENTS;
    e.kind = ALPHA_CONTROL;
    e.v[0] = ALPHA_CONTROL_BREAKER;
    e.v[1] = (double)(due & ((1u << ALPHA_BREAKER_SEAT_SHIFT) - 1)) - 1.0;
    e.v[2] = (double)(due >> ALPHA_BREAKER_SEAT_SHIFT);
    if (due)
        alpha_process(p, &e, &none); /* a CONTROL event makes no Signal */
}

#include "alpha_seats.h"
#include "alpha_swap.h"

#endif
