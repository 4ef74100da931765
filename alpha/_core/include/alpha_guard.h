/* The guard: first gate for every event, before any feature sees it. Floor 1.
 * A rejected event leaves all state as it was: a stream with rejected events
 * equals the clean stream bit for bit. Owned by the thread that owns the pipeline. */
#ifndef ALPHA_GUARD_H
#define ALPHA_GUARD_H

#include "alpha_types.h"
#include <math.h>

#define ALPHA_NO_TIME INT64_MIN
#define ALPHA_TIME_LIMIT ((int64_t)1 << 62) /* keeps every t - w inside int64 */
#define ALPHA_ANCHOR_AFTER 5 /* prices that agree with each other are believed, however far they are from the last one */
#define ALPHA_JUMP_NS (30 * 86400 * (int64_t)1000000000) /* a leap that one event alone is not believed */

typedef struct alpha_guard_config {
    int64_t future_tolerance_ns;
    uint8_t use_recv;         /* clock: receipt time where present, else exchange time */
    uint8_t flag_crossed;     /* accept bid > ask, flagged, instead of rejecting */
    uint8_t keep_duplicates;
    double outlier; /* a price more than so many times, or less than that part of, the last one is not believed; 0 = any is */
} alpha_guard_config;

typedef struct alpha_guard_state { /* one per instrument */
    int64_t last_ns;               /* stream time of the last accepted event, or ALPHA_NO_TIME */
    int64_t ahead_ns;              /* where an event leapt to that was not believed, or ALPHA_NO_TIME */
    int64_t clock_offset_ns;       /* exchange clock minus local clock */
    double last_seq[ALPHA_KINDS];  /* last venue sequence number per kind, 0 = none */
    double anchor_px;              /* last price that was believed, 0 = none */
    double away_px;                /* last one that was not */
    int64_t away;                  /* how many in a row agree with it */
} alpha_guard_state;

static inline int64_t alpha_stream_time(const alpha_event *e, int use_recv)
{
    return use_recv && e->ts_recv_ns != 0 ? e->ts_recv_ns : e->ts_event_ns;
}

static inline void alpha_guard_reset(alpha_guard_state *s)
{
    s->last_ns = s->ahead_ns = ALPHA_NO_TIME;
    for (int k = 0; k < ALPHA_KINDS; k++)
        s->last_seq[k] = 0.0;
    s->anchor_px = s->away_px = 0.0;
    s->away = 0;
}

/* Finite and above zero. */
static inline int alpha_is_price(double x)
{
    return x > 0.0 && x <= 0x1.fffffffffffffp1023;
}

/* A quantity: 0 to the largest double; a reason otherwise. */
static inline int alpha_check_qty(double q)
{
    if (!isfinite(q))
        return ALPHA_NON_FINITE;
    return q < 0.0 ? ALPHA_PRICE : 0;
}

static inline int alpha_check_px(double x)
{
    if (!isfinite(x))
        return ALPHA_NON_FINITE;
    return x <= 0.0 ? ALPHA_PRICE : 0;
}

/* What the event says must be possible at all; independent of state. 0 or a reason. */
static inline int alpha_guard_content(const alpha_event *e)
{
    int reason;
    const double *v = e->v;
    switch (e->kind) {
    case ALPHA_QUOTE:
        if ((reason = alpha_check_px(v[0])) || (reason = alpha_check_px(v[1])))
            return reason;
        if (e->flags & ALPHA_NO_QTY)
            return 0;
        if ((reason = alpha_check_qty(v[2])))
            return reason;
        return alpha_check_qty(v[3]);
    case ALPHA_TRADE:
        if ((reason = alpha_check_px(v[0])))
            return reason;
        if (!(v[2] == 0.0 || v[2] == 1.0 || v[2] == -1.0))
            return isfinite(v[2]) ? ALPHA_PRICE : ALPHA_NON_FINITE;
        return e->flags & ALPHA_NO_QTY ? 0 : alpha_check_qty(v[1]);
    case ALPHA_BAR:
        for (int i = 0; i < 4; i++)
            if ((reason = alpha_check_px(v[i])))
                return reason;
        if (v[1] < v[0] || v[1] < v[3] || v[2] > v[0] || v[2] > v[3])
            return ALPHA_PRICE; /* high below or low above the open or the close */
        return e->flags & ALPHA_NO_QTY ? 0 : alpha_check_qty(v[4]);
    case ALPHA_DEPTH:
        if (e->level == 0)
            return ALPHA_BAD_KIND; /* the best level is a QUOTE */
        for (int i = 0; i < 2; i++) {
            if (!(e->flags & ALPHA_NO_QTY) && (reason = alpha_check_qty(v[2 + i])))
                return reason;
            if (v[2 + i] != 0.0 && (reason = alpha_check_px(v[i])))
                return reason; /* an empty side (quantity 0) has no price */
        }
        return 0;
    case ALPHA_STATUS:
        return v[0] >= ALPHA_STATUS_OPEN && v[0] <= ALPHA_STATUS_LOST ? 0 : ALPHA_BAD_KIND;
    case ALPHA_TIMER:
        return 0;
    case ALPHA_INPUT:
        return isfinite(v[0]) && isfinite(v[1]) ? 0 : ALPHA_NON_FINITE;
    default:
        return ALPHA_BAD_KIND;
    }
}

/* Stream time never goes back. A leap of more than 30 days is rejected once: one wrong timestamp would otherwise
 * make everything after it look late. The next event at or beyond it confirms that time has really passed. */
static inline int alpha_guard_time(alpha_guard_state *s, int64_t t)
{
    if (t <= -ALPHA_TIME_LIMIT || t < s->last_ns)
        return ALPHA_BACKWARDS;
    if (t >= ALPHA_TIME_LIMIT)
        return ALPHA_FUTURE;
    if (__builtin_expect(s->last_ns != ALPHA_NO_TIME && t - s->last_ns > ALPHA_JUMP_NS, 0)) {
        if (s->ahead_ns == ALPHA_NO_TIME || t < s->ahead_ns) {
            s->ahead_ns = t;
            return ALPHA_FUTURE;
        }
    }
    return 0;
}

/* What an event says a price is; 0: it says none. */
static inline double alpha_price_of(const alpha_event *e)
{
    switch (e->kind) {
    case ALPHA_QUOTE:
        return 0.5 * e->v[0] + 0.5 * e->v[1];
    case ALPHA_TRADE:
        return e->v[0];
    case ALPHA_BAR:
        return e->v[3];
    default:
        return 0.0;
    }
}

static inline int alpha_is_near(double a, double b, double times)
{
    return a <= b * times && b <= a * times;
}

/* A price far from the last one is quarantined; when ALPHA_ANCHOR_AFTER in a row agree, the market has really moved. */
static inline int alpha_guard_outlier(alpha_guard_state *s, double px, double times)
{
    if (s->anchor_px == 0.0 || alpha_is_near(px, s->anchor_px, times)) {
        s->anchor_px = px;
        s->away = 0;
        return 0;
    }
    s->away = s->away && alpha_is_near(px, s->away_px, times) ? s->away + 1 : 1;
    s->away_px = px;
    if (s->away < ALPHA_ANCHOR_AFTER)
        return ALPHA_OUTLIER;
    s->anchor_px = px;
    s->away = 0;
    return 0;
}

/* 0 = accepted (state advanced, *t = stream time, *flags = the event's flags plus CROSSED/LOCKED),
 * else the reason of the rejection. CONTROL is not market data and never comes here. */
static inline int alpha_guard_check(const alpha_guard_config *c, alpha_guard_state *s, const alpha_event *e,
                                    int64_t *t_out, uint32_t *flags_out)
{
    int reason = alpha_guard_content(e);
    if (reason)
        return reason;
    int64_t t = alpha_stream_time(e, c->use_recv);
    uint32_t flags = e->flags;
    double seq = 0.0;
    if (e->kind == ALPHA_QUOTE || e->kind == ALPHA_TRADE) {
        seq = e->v[4];
        if (seq != 0.0 && seq == s->last_seq[e->kind] && !c->keep_duplicates)
            return ALPHA_DUPLICATE;
    }
    if ((reason = alpha_guard_time(s, t)))
        return reason;
    if (e->ts_recv_ns != 0 && !(flags & ALPHA_NO_TS_EVENT)) {
        if (e->ts_event_ns >= ALPHA_TIME_LIMIT || e->ts_event_ns <= -ALPHA_TIME_LIMIT ||
            e->ts_recv_ns >= ALPHA_TIME_LIMIT || e->ts_recv_ns <= -ALPHA_TIME_LIMIT ||
            e->ts_event_ns - s->clock_offset_ns > e->ts_recv_ns + c->future_tolerance_ns)
            return ALPHA_FUTURE;
    }
    if (e->kind == ALPHA_QUOTE && e->v[0] >= e->v[1]) {
        if (e->v[0] == e->v[1]) {
            flags |= ALPHA_LOCKED;
        } else {
            if (!c->flag_crossed && !(flags & ALPHA_AUCTION))
                return ALPHA_CROSSED_BOOK;
            flags |= ALPHA_CROSSED;
        }
    }
    if (c->outlier > 0.0) { /* last: what was refused for another reason says nothing about prices */
        const double px = alpha_price_of(e);
        if (px > 0.0 && (reason = alpha_guard_outlier(s, px, c->outlier)))
            return reason;
    }
    if (seq != 0.0 && isfinite(seq))
        s->last_seq[e->kind] = seq;
    s->last_ns = t;
    s->ahead_ns = ALPHA_NO_TIME;
    *t_out = t;
    *flags_out = flags;
    return 0;
}

/* An event that addresses every instrument, as one instrument sees it: time is its own and never goes back.
 * 0: it says nothing to this instrument (a TIMER from its past). A STATUS or an INPUT from its past happens now. */
static inline int alpha_own_event(const alpha_event *e, uint32_t id, int use_recv, int64_t last_ns, alpha_event *own)
{
    *own = *e;
    own->instrument_id = id;
    if (alpha_stream_time(e, use_recv) >= last_ns)
        return 1;
    own->ts_event_ns = own->ts_recv_ns = last_ns;
    return e->kind != ALPHA_TIMER;
}

/* Events that address every instrument. */
static inline int alpha_is_for_all(const alpha_event *e)
{
    return e->instrument_id == ALPHA_ALL_INSTRUMENTS &&
           (e->kind == ALPHA_TIMER || e->kind == ALPHA_STATUS || e->kind == ALPHA_INPUT);
}

#endif
