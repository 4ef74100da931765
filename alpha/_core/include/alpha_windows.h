/* Rolling sums in double-double and what is read from them (rules 4 to 12, 14, 15, 41). Floor 2; part of kernels.c. */
#ifndef ALPHA_WINDOWS_H
#define ALPHA_WINDOWS_H

#include "alpha_history.h"

/* x and x*x side by side, each as an unevaluated sum: what one value adds to a window's two sums. */
typedef struct alpha_dd2 {
    alpha_v2 hi, lo;
} alpha_dd2;

static inline alpha_dd2 value_and_square(double x)
{
    alpha_dd p = alpha_two_prod(x, x);
    return (alpha_dd2){{x, p.hi}, {0.0, p.lo}};
}

static inline alpha_dd2 two_sum2(alpha_v2 a, alpha_v2 b)
{
    alpha_v2 s = a + b;
    alpha_v2 bb = s - a;
    return (alpha_dd2){s, (a - (s - bb)) + (b - bb)};
}

static inline void store_sums(alpha_window *w, alpha_v2 hi, alpha_v2 lo)
{
    alpha_v2 s = hi + lo;
    w->hi = s;
    w->lo = lo - (s - hi);
}

/* Sums again from the window's contents: after overflow, or when the values that are left are
 * so much smaller than what passed through that rounding errors of the past would show. */
static __attribute__((noinline, cold)) void rebuild(alpha_window *w, const alpha_history *h)
{
    alpha_dd s = {0.0, 0.0}, q = {0.0, 0.0};
    for (uint64_t j = w->tail; j < h->head; j++) {
        double x = h->x[j & h->mask];
        s = alpha_dd_add_d(s, x);
        q = alpha_dd_add(q, alpha_two_prod(x, x));
    }
    w->hi = (alpha_v2){s.hi, q.hi};
    w->lo = (alpha_v2){s.lo, q.lo};
    w->q_max = q.hi;
}

static inline void take(alpha_window *w, double x)
{
    alpha_dd2 in = value_and_square(x), a = two_sum2(w->hi, in.hi);
    store_sums(w, a.hi, a.lo + (w->lo + in.lo));
    if (w->hi[1] > w->q_max)
        w->q_max = w->hi[1];
}

static inline void drop(alpha_window *w, double x)
{
    alpha_dd2 out = value_and_square(x), a = two_sum2(w->hi, -out.hi);
    store_sums(w, a.hi, a.lo + (w->lo - out.lo));
}

/* take and drop at once: the high parts form the only long chain, one renormalisation closes both steps. */
static inline void swap(alpha_window *w, double x, double old)
{
    alpha_dd2 in = value_and_square(x), out = value_and_square(old);
    alpha_dd2 a = two_sum2(w->hi, in.hi), b = two_sum2(a.hi, -out.hi);
    store_sums(w, b.hi, (w->lo + (in.lo - out.lo)) + (a.lo + b.lo));
    if (w->hi[1] > w->q_max)
        w->q_max = w->hi[1];
}

static inline void settle(alpha_window *w, const alpha_history *h)
{
    w->n = h->head - w->tail;
    /* false for NaN as well; 2^20: errors of the past stay 2^-86 below what is left */
    if (unlikely(!(w->hi[1] * 0x1p20 >= w->q_max)))
        rebuild(w, h);
}

OPERATION(WINDOW_COUNT)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_window *w = STATE(alpha_window, i->state);
    if (h->upd != number_of(c))
        return;
    const uint64_t n = (uint64_t)i->n;
    if (likely(h->head > n)) {
        swap(w, h->newest, h->x[(h->head - 1 - n) & h->mask]);
        w->tail = h->head - n;
    } else {
        take(w, h->newest);
    }
    w->ready = h->n_gap >= n;
    w->warm = h->head >= n;
    settle(w, h);
}

OPERATION(WINDOW_TIME)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_window *w = STATE(alpha_window, i->state);
    const int64_t edge = c->now - i->n, *const t = h->t;
    const uint64_t head = h->head, mask = h->mask;
    uint64_t tail = w->tail;
    if (h->upd == number_of(c))
        take(w, h->newest);
    if (tail < head && t[tail & mask] <= edge) {
        do
            drop(w, h->x[tail++ & mask]);
        while (tail < head && t[tail & mask] <= edge);
        w->tail = tail;
        if (tail == head) {
            w->hi = w->lo = (alpha_v2){0.0, 0.0};
            w->q_max = 0.0;
        }
    }
    w->ready = edge >= h->t_first_gap;
    w->warm = edge >= h->t_first;
    settle(w, h);
}

static inline double window_mean(const alpha_window *w, const alpha_history *h)
{
    if (h->run >= w->n)
        return h->newest + 0.0; /* rule 11 */
    return w->hi[0] / (double)(int64_t)w->n + 0.0;
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
    alpha_dd nq = alpha_two_prod(w->hi[1], n), ss = alpha_two_prod(w->hi[0], w->hi[0]);
    alpha_dd top = alpha_two_sum(nq.hi, -ss.hi);
    double num = top.hi + (top.lo + ((nq.lo + w->lo[1] * n) - (ss.lo + 2.0 * (w->hi[0] * w->lo[0]))));
    /* long windows pay for a second look only where float32 results could feel it */
    if (unlikely(num < nq.hi * (w->n <= 64 ? 0x1p-44 : 0x1p-60)))
        num = close_numerator(w, h);
    double var = num / (n * (n - (double)ddof));
    return var < 0.0 ? 0.0 : var;
}

/* Mean absolute deviation from the rounded mean: the one reader that looks at every value of its window. */
static inline double window_mad(const alpha_window *w, const alpha_history *h)
{
    if (h->run >= w->n)
        return 0.0;
    const double m = window_mean(w, h);
    alpha_dd sum = {0.0, 0.0};
    for (uint64_t j = w->tail; j < h->head; j++)
        sum = alpha_dd_add_d(sum, fabs(h->x[j & h->mask] - m));
    return sum.hi / (double)(int64_t)w->n;
}

enum statistic { COUNT, SUM, MEAN, MAD, VAR, STD, ZSCORE };

static inline __attribute__((always_inline)) double statistic(enum statistic what, const alpha_window *w,
                                                              const alpha_history *h, const alpha_instr *i)
{
    switch (what) {
    case COUNT:
        return (double)w->n;
    case SUM:
        return w->hi[0] + 0.0;
    case MEAN:
        return window_mean(w, h);
    case MAD:
        return window_mad(w, h);
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
    const uint64_t samples = what <= SUM ? 0 : what <= MAD ? 1 : (uint64_t)i->ddof + 1;
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
READER(MAD)
READER(VAR)
READER(STD)
READER(ZSCORE)
#undef READER

#endif
