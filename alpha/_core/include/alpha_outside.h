/* What comes from outside of an instrument's own market data: external series, other instruments, the time of day and
 * the market's sessions (rules 50 to 52). Floor 2; part of kernels.c. */
#ifndef ALPHA_OUTSIDE_H
#define ALPHA_OUTSIDE_H

#include "alpha_pass.h"

OPERATION(INPUT)
{
    if (c->e->v[0] != (double)i->n)
        return;
    STATE(alpha_input, i->state)->at = c->now;
    put(c, i, c->e->v[1]);
}

OPERATION(AGED)
{
    const uint64_t mark = c->mark[i->a];
    const int old = (mark & ALPHA_READY) && c->now - STATE(const alpha_input, i->state)->at > i->n;
    c->val[i->dst] = old ? NAN : c->val[i->a];
    c->mark[i->dst] = mark;
}

OPERATION(KEEP)
{
    const uint64_t mark = c->mark[i->a];
    if (!moved(c, mark))
        return;
    c->val[i->dst] = c->val[i->a];
    c->mark[i->dst] = mark;
}

/* A result that nothing updates: like a constant it never hides that the other operand moved. */
static inline void put_looked_at(const alpha_pass *c, const alpha_instr *i, double value, uint64_t ready)
{
    c->val[i->dst] = value;
    c->mark[i->dst] = ready | UINT32_MAX;
}

OPERATION(OF)
{
    const alpha_present *present = STATE(const alpha_present, c->p->present);
    alpha_block *peer = present->peers[i->n];
    put_looked_at(c, i, peer->val[i->a], alpha_marks(c->p, peer)[i->a] & ALPHA_READY);
}

/* First time that belongs to session k + 1. */
static inline int64_t session_end(const alpha_sessions *s, int64_t k, int by_close)
{
    return k + 1 < s->n ? s->opens[k + 1] + by_close : INT64_MAX;
}

/* The session that opened last at or before t (`by_close`: before t), -1 before the first; not before `k`. */
static __attribute__((noinline, cold)) int64_t session_of(const alpha_sessions *s, int64_t t, int64_t k, int by_close)
{
    int64_t low = k + 1, high = s->n; /* sessions that open too late lie from `low` on */
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (s->opens[middle] + by_close <= t)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

/* Where time stands; `now` is never earlier than in the call before. */
static inline int64_t session_now(const alpha_pass *c, const alpha_sessions **sessions)
{
    alpha_present *present = STATE(alpha_present, c->p->present);
    const int by_close = (int)c->p->by_close;
    *sessions = present->sessions;
    if (unlikely(c->now >= present->until)) {
        present->session = session_of(present->sessions, c->now, present->session, by_close);
        present->until = session_end(present->sessions, present->session, by_close);
    }
    return present->session;
}

OPERATION(SECONDS_SINCE_OPEN)
{
    const alpha_sessions *s;
    const int64_t k = session_now(c, &s);
    const int inside = k >= 0 && c->now <= s->closes[k];
    put_looked_at(c, i, inside ? (double)(c->now - s->opens[k]) / 1e9 : NAN, ALPHA_READY);
}

OPERATION(MINUTES_TO_CLOSE)
{
    const alpha_sessions *s;
    const int64_t k = session_now(c, &s);
    const int inside = k >= 0 && c->now <= s->closes[k];
    put_looked_at(c, i, inside ? (double)(s->closes[k] - c->now) / 6e10 : NAN, ALPHA_READY);
}

OPERATION(IS_RTH)
{
    const alpha_sessions *s;
    const int64_t k = session_now(c, &s), t = c->now - c->p->by_close; /* a close counts as the last ns before it */
    const int inside = k >= 0 && t < s->closes[k] && !(t >= s->break_starts[k] && t < s->break_ends[k]);
    put_looked_at(c, i, (double)inside, ALPHA_READY);
}

/* Sine and cosine of an eighth of a turn, u of D/8 parts: Taylor (rule 50); the cosine is off by up to 1e-15. */
static inline double eighth_sine(double x, double z)
{
    static const double S[7] = {-1.0 / 6.0,        1.0 / 120.0,        -1.0 / 5040.0,         1.0 / 362880.0,
                                -1.0 / 39916800.0, 1.0 / 6227020800.0, -1.0 / 1307674368000.0};
    double p = S[6];
    for (int k = 5; k >= 0; k--)
        p = S[k] + z * p;
    return x + (x * z) * p;
}

static inline double eighth_cosine(double z)
{
    static const double C[7] = {-1.0 / 2.0,       1.0 / 24.0,        -1.0 / 720.0,        1.0 / 40320.0,
                                -1.0 / 3628800.0, 1.0 / 479001600.0, -1.0 / 87178291200.0};
    double p = C[6];
    for (int k = 5; k >= 0; k--)
        p = C[k] + z * p;
    return 1.0 + z * p;
}

/* `ahead`: eighths of a turn to go on; the cosine is the sine a quarter of a turn ahead. */
static inline double of_day(int64_t t, int ahead)
{
    const int64_t day = 86400 * (int64_t)1000000000, rest = t % day, r = rest < 0 ? rest + day : rest;
    const int64_t q = 8 * r / day, part = 8 * r - q * day, u = q % 2 ? day - part : part;
    const double x = (double)u / (double)day * 0x1.921fb54442d18p-1, z = x * x;
    const int64_t at = (q + ahead) % 8;
    const double size = (at + 1) % 4 < 2 ? eighth_sine(x, z) : eighth_cosine(z);
    return (at < 4 ? size : -size) + 0.0;
}

OPERATION(SIN_DAY)
{
    put_looked_at(c, i, of_day(c->now, 0), ALPHA_READY);
}

OPERATION(COS_DAY)
{
    put_looked_at(c, i, of_day(c->now, 2), ALPHA_READY);
}

#endif
