/* Rolling sums in double-double and what is read from them (rules 4 to 12, 14, 15, 41). Floor 2; part of kernels.c. */
#ifndef ALPHA_WINDOWS_H
#define ALPHA_WINDOWS_H

#include "alpha_history.h"

/* Sums again from the window's contents: after overflow, or when the values that are left are
 * so much smaller than what passed through that rounding errors of the past would show. */
static __attribute__((noinline, cold)) void rebuild(alpha_window *w, const alpha_history *h)
{
    w->s = w->q = (alpha_dd){0.0, 0.0};
    for (uint64_t j = w->tail; j < h->head; j++) {
        double x = h->x[j & h->mask];
        w->s = alpha_dd_add_d(w->s, x);
        w->q = alpha_dd_add(w->q, alpha_two_prod(x, x));
    }
    w->q_max = w->q.hi;
}

static inline void take(alpha_window *w, double x, int squares)
{
    w->s = alpha_dd_add_d(w->s, x);
    if (squares)
        w->q = alpha_dd_accumulate(w->q, alpha_two_prod(x, x));
    else
        w->q.hi += x * x; /* only a magnitude, for the rebuild test */
    if (w->q.hi > w->q_max)
        w->q_max = w->q.hi;
}

static inline void drop(alpha_window *w, double x, int squares)
{
    w->s = alpha_dd_add_d(w->s, -x);
    if (squares)
        w->q = alpha_dd_accumulate(w->q, alpha_dd_neg(alpha_two_prod(x, x)));
    else
        w->q.hi -= x * x;
}

/* take and drop at once: the high parts form the only long chain, one renormalisation closes both steps. */
static inline void swap(alpha_window *w, double x, double old, int squares)
{
    alpha_dd a = alpha_two_sum(w->s.hi, x);
    alpha_dd b = alpha_two_sum(a.hi, -old);
    w->s = alpha_fast_two_sum(b.hi, w->s.lo + (a.lo + b.lo));
    if (squares) {
        alpha_dd in = alpha_two_prod(x, x), out = alpha_two_prod(old, old);
        a = alpha_two_sum(w->q.hi, in.hi);
        b = alpha_two_sum(a.hi, -out.hi);
        w->q = alpha_fast_two_sum(b.hi, (w->q.lo + (in.lo - out.lo)) + (a.lo + b.lo));
    } else {
        w->q.hi += x * x - old * old;
    }
    if (w->q.hi > w->q_max)
        w->q_max = w->q.hi;
}

static inline void settle(alpha_window *w, const alpha_history *h)
{
    w->n = h->head - w->tail;
    /* false for NaN as well; 2^20: errors of the past stay 2^-86 below what is left */
    if (unlikely(!(w->q.hi * 0x1p20 >= w->q_max)))
        rebuild(w, h);
}

static inline __attribute__((always_inline)) void window_count(const alpha_pass *c, const alpha_instr *i, int squares)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_window *w = STATE(alpha_window, i->state);
    if (h->upd != number_of(c))
        return;
    const uint64_t n = (uint64_t)i->n;
    if (likely(h->head > n)) {
        swap(w, h->newest, h->x[(h->head - 1 - n) & h->mask], squares);
        w->tail = h->head - n;
    } else {
        take(w, h->newest, squares);
    }
    w->warm = h->head >= n;
    w->ready = h->n_gap >= n;
    settle(w, h);
}

static inline __attribute__((always_inline)) void window_time(const alpha_pass *c, const alpha_instr *i, int squares)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_window *w = STATE(alpha_window, i->state);
    if (h->upd == number_of(c))
        take(w, h->newest, squares);
    const int64_t edge = c->now - i->n;
    if (w->tail < h->head && h->t[w->tail & h->mask] <= edge) {
        do {
            drop(w, h->x[w->tail & h->mask], squares);
            w->tail++;
        } while (w->tail < h->head && h->t[w->tail & h->mask] <= edge);
        if (w->tail == h->head) {
            w->s = w->q = (alpha_dd){0.0, 0.0};
            w->q_max = 0.0;
        }
    }
    settle(w, h);
    w->warm = h->head && edge >= h->t_first;
    w->ready = h->n_gap && edge >= h->t_first_gap;
}

OPERATION(SUM_COUNT)
{
    window_count(c, i, 0);
}

OPERATION(SUM_TIME)
{
    window_time(c, i, 0);
}

OPERATION(MOMENT_COUNT)
{
    window_count(c, i, 1);
}

OPERATION(MOMENT_TIME)
{
    window_time(c, i, 1);
}

static inline double window_mean(const alpha_window *w, const alpha_history *h)
{
    if (h->run >= w->n)
        return h->newest + 0.0; /* rule 11 */
    return w->s.hi / (double)(int64_t)w->n + 0.0;
}

/* Numerator of the variance when it is so small beside the sums that their 106 bits do not hold it: all values
 * are then within a few ulp of one another, and their differences from the newest are exact. */
static __attribute__((noinline, cold)) double close_numerator(const alpha_window *w, const alpha_history *h)
{
    alpha_dd s = {0.0, 0.0}, q = {0.0, 0.0};
    for (uint64_t j = w->tail; j < h->head; j++) {
        double d = h->x[j & h->mask] - h->newest;
        s = alpha_dd_add_d(s, d);
        q = alpha_dd_add(q, alpha_two_prod(d, d));
    }
    return alpha_dd_add(alpha_dd_mul_d(q, (double)w->n), alpha_dd_neg(alpha_dd_sqr(s))).hi;
}

static inline double window_var(const alpha_window *w, const alpha_history *h, uint32_t ddof)
{
    if (h->run >= w->n)
        return 0.0;
    double n = (double)(int64_t)w->n;
    alpha_dd nq = alpha_two_prod(w->q.hi, n), ss = alpha_two_prod(w->s.hi, w->s.hi);
    alpha_dd top = alpha_two_sum(nq.hi, -ss.hi);
    double num = top.hi + (top.lo + ((nq.lo + w->q.lo * n) - (ss.lo + 2.0 * (w->s.hi * w->s.lo))));
    /* long windows pay for a second look only where float32 results could feel it */
    if (unlikely(num < nq.hi * (w->n <= 64 ? 0x1p-44 : 0x1p-60)))
        num = close_numerator(w, h);
    double var = num / (n * (n - (double)ddof));
    return var < 0.0 ? 0.0 : var;
}

enum statistic { COUNT, SUM, MEAN, VAR, STD, ZSCORE };

static inline __attribute__((always_inline)) double statistic(enum statistic what, const alpha_window *w,
                                                              const alpha_history *h, const alpha_instr *i)
{
    switch (what) {
    case COUNT:
        return (double)w->n;
    case SUM:
        return w->s.hi + 0.0;
    case MEAN:
        return window_mean(w, h);
    case VAR:
        return window_var(w, h, i->ddof);
    case STD:
        return sqrt(window_var(w, h, i->ddof));
    default: {
        double sd = sqrt(window_var(w, h, i->ddof));
        double z = sd == 0.0 ? 0.0 : (h->newest - window_mean(w, h)) / sd;
        return (fabs(z) < TINY ? 0.0 : z) + 0.0;
    }
    }
}

/* Needs samples inside (rule 9); empty windows are NaN except count and sum. */
static inline __attribute__((always_inline)) void read_window(const alpha_pass *c, const alpha_instr *i,
                                                              enum statistic what)
{
    const alpha_window *w = STATE(const alpha_window, i->state);
    const alpha_history *h = STATE(const alpha_history, i->history);
    const uint64_t samples = what <= SUM ? 0 : what == MEAN ? 1 : (uint64_t)i->ddof + 1;
    if (likely(w->ready && w->n >= samples))
        put_with(c, i, h, statistic(what, w, h, i), 1);
    else if (w->warm && w->n >= samples)
        put_with(c, i, h, statistic(what, w, h, i), 0);
    else
        put_none(c, i, 0);
}

#define READER(what)             \
    OPERATION(READ_##what)       \
    {                            \
        read_window(c, i, what); \
    }
READER(COUNT)
READER(SUM)
READER(MEAN)
READER(VAR)
READER(STD)
READER(ZSCORE)
#undef READER

#endif
