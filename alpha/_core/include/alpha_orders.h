/* Extremes, ranks and quantiles of a window (rules 21 to 23). Floor 2; part of kernels.c. */
#ifndef ALPHA_ORDERS_H
#define ALPHA_ORDERS_H

#include "alpha_history.h"

/* Room for one more in storage of `size` bytes an element; 0, or -1 when memory is short (the block has failed then). */
static __attribute__((noinline, cold)) int widen(alpha_block *b, void **data, uint64_t *owns, uint64_t capacity, size_t size)
{
    void *wider = calloc(2 * capacity, size);
    if (!wider) {
        b->failed = 1;
        return -1;
    }
    memcpy(wider, *data, capacity * size);
    if (*owns)
        free(*data);
    *data = wider;
    *owns = 1;
    b->growths++;
    return 0;
}

/* Is a better than or as good as b at being the extreme? Ties go to the oldest, so an equal newcomer waits behind. */
static inline int stays(double older, double newer, int largest)
{
    return largest ? older >= newer : older <= newer;
}

/* Values that can still become the extreme, in the order of age, each better than all younger ones (or as good). */
static inline __attribute__((always_inline)) void extreme(const alpha_pass *c, const alpha_instr *i, int largest, int place)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_extreme *s = STATE(alpha_extreme, i->state);
    if (unlikely(c->b->failed))
        return;
    const span w = window_of(c, i, h, s->tail);
    if (w.fresh) {
        while (s->end > s->first && !stays(h->x[s->at[(s->end - 1) & s->mask] & h->mask], h->newest, largest))
            s->end--;
        if (unlikely(s->end - s->first > s->mask)) {
            const uint64_t capacity = s->mask + 1; /* straight out the ring before its size changes */
            uint64_t *at = s->at;
            for (uint64_t turn = s->first & s->mask; turn; turn--) {
                uint64_t head = at[0];
                memmove(at, at + 1, s->mask * sizeof *at);
                at[s->mask] = head;
            }
            if (widen(c->b, (void **)&s->at, &s->owns, capacity, sizeof *at))
                return;
            s->end -= s->first;
            s->first = 0;
            s->mask = 2 * capacity - 1;
        }
        s->at[s->end++ & s->mask] = h->head - 1;
    }
    s->tail = w.tail;
    while (s->first < s->end && s->at[s->first & s->mask] < w.tail)
        s->first++;
    const uint64_t best = s->at[s->first & s->mask];
    if (w.warm && w.n)
        put_with(c, i, h, (place ? (double)(int64_t)(best - w.tail + 1) : h->x[best & h->mask]) + 0.0, w.ready);
    else
        put_none(c, i, 0);
}

OPERATION(MIN)
{
    extreme(c, i, 0, 0);
}

OPERATION(MAX)
{
    extreme(c, i, 1, 0);
}

OPERATION(ARGMIN)
{
    extreme(c, i, 0, 1);
}

OPERATION(ARGMAX)
{
    extreme(c, i, 1, 1);
}

/* How many of x[0..n) lie below v. */
static inline uint64_t below(const double *x, uint64_t n, double v)
{
    uint64_t at = 0;
    while (n) {
        const uint64_t half = n / 2;
        const int right = x[at + half] < v;
        at = right ? at + half + 1 : at;
        n = right ? n - half - 1 : half;
    }
    return at;
}

static inline void sorted_drop(alpha_sorted *s, double v)
{
    const uint64_t at = below(s->x, s->n, v);
    memmove(s->x + at, s->x + at + 1, (s->n - at - 1) * sizeof *s->x);
    s->n--;
}

static inline int sorted_take(alpha_block *b, alpha_sorted *s, double v)
{
    if (unlikely(s->n == s->capacity)) {
        if (widen(b, (void **)&s->x, &s->owns, s->capacity, sizeof *s->x))
            return -1;
        s->capacity *= 2;
    }
    const uint64_t at = below(s->x, s->n, v);
    memmove(s->x + at + 1, s->x + at, (s->n - at) * sizeof *s->x);
    s->x[at] = v;
    s->n++;
    return 0;
}

enum order { RANK, QUANTILE, MEDIAN };

static inline __attribute__((always_inline)) double order_value(enum order what, const alpha_sorted *s, double newest,
                                                                double q)
{
    const double *x = s->x;
    const uint64_t n = s->n;
    if (what == RANK) {
        uint64_t less = below(x, n, newest), equal = 0;
        while (less + equal < n && x[less + equal] == newest)
            equal++;
        return ((double)(int64_t)less + ((double)(int64_t)equal + 1.0) / 2.0) / (double)(int64_t)n;
    }
    if (what == MEDIAN)
        return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
    const double p = q * (double)(int64_t)(n - 1), whole = floor(p);
    const uint64_t at = (uint64_t)whole;
    const double a = x[at], b = x[at + 1 < n ? at + 1 : n - 1];
    return a + (b - a) * (p - whole);
}

static inline __attribute__((always_inline)) void order(const alpha_pass *c, const alpha_instr *i, enum order what)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_sorted *s = STATE(alpha_sorted, i->state);
    if (unlikely(c->b->failed))
        return;
    const span w = window_of(c, i, h, s->tail);
    const uint64_t known = h->head - w.fresh; /* what the sorted values can hold: all but the newcomer */
    for (uint64_t j = s->tail; j < w.tail && j < known; j++)
        sorted_drop(s, h->x[j & h->mask]);
    s->tail = w.tail;
    if (w.fresh && sorted_take(c->b, s, h->newest))
        return;
    if (w.warm && w.n)
        put_with(c, i, h, order_value(what, s, h->newest, i->k) + 0.0, w.ready);
    else
        put_none(c, i, 0);
}

OPERATION(RANK)
{
    order(c, i, RANK);
}

OPERATION(QUANTILE)
{
    order(c, i, QUANTILE);
}

OPERATION(MEDIAN)
{
    order(c, i, MEDIAN);
}

#endif
