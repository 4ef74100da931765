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

/* The same with the values equal to v. */
static inline uint64_t not_above(const double *x, uint64_t n, double v)
{
    uint64_t at = 0;
    while (n) {
        const uint64_t half = n / 2;
        const int right = x[at + half] <= v;
        at = right ? at + half + 1 : at;
        n = right ? n - half - 1 : half;
    }
    return at;
}

/* The parts of the storage. `order` is a permutation of all chunks: the used ones by value, then the free ones.
 * Neighbours that together fill less than half a chunk are merged, so there are never more than 4 n / size + 2. */
typedef struct chunked {
    uint32_t *order, *count; /* both by place, not by chunk */
    double *low, *values;
} chunked;

static inline chunked parts_of(const alpha_sorted *s)
{
    uint32_t *const words = (uint32_t *)s->x;
    return (chunked){words, words + s->chunks, s->x + s->chunks, s->x + 2 * (uint64_t)s->chunks};
}

static inline double *chunk_at(const alpha_sorted *s, const chunked *d, uint64_t place)
{
    return d->values + (uint64_t)d->order[place] * s->size;
}

/* The last used chunk that begins at or below v (`strictly`: below); 0 if none does. */
static inline uint64_t place_of(const alpha_sorted *s, const chunked *d, double v, int strictly)
{
    const uint64_t before = strictly ? below(d->low, s->used, v) : not_above(d->low, s->used, v);
    return before ? before - 1 : 0;
}

static __attribute__((noinline, cold)) int more_chunks(alpha_block *b, alpha_sorted *s)
{
    const uint64_t chunks = 2 * (uint64_t)s->chunks;
    double *wider = calloc(alpha_sorted_words(chunks, s->size), sizeof *wider);
    if (!wider) {
        b->failed = 1;
        return -1;
    }
    const chunked old = parts_of(s);
    double *const before = s->x;
    const uint32_t n = s->chunks, owned = s->owns;
    s->x = wider;
    s->chunks = (uint32_t)chunks;
    s->owns = 1;
    const chunked d = parts_of(s);
    memcpy(d.order, old.order, n * sizeof *d.order);
    for (uint32_t k = n; k < s->chunks; k++)
        d.order[k] = k;
    memcpy(d.count, old.count, n * sizeof *d.count);
    memcpy(d.low, old.low, n * sizeof *d.low);
    memcpy(d.values, old.values, (uint64_t)n * s->size * sizeof *d.values);
    if (owned)
        free(before);
    b->growths++;
    return 0;
}

/* Makes room behind `place` for the upper half of its chunk. */
static __attribute__((noinline)) int split(alpha_block *b, alpha_sorted *s, uint64_t place)
{
    if (s->used == s->chunks && more_chunks(b, s))
        return -1;
    const chunked d = parts_of(s);
    const uint64_t after = s->used - place - 1, half = d.count[place] / 2;
    const uint32_t fresh = d.order[s->used];
    memmove(d.order + place + 2, d.order + place + 1, after * sizeof *d.order);
    memmove(d.count + place + 2, d.count + place + 1, after * sizeof *d.count);
    memmove(d.low + place + 2, d.low + place + 1, after * sizeof *d.low);
    d.order[place + 1] = fresh;
    d.count[place + 1] = (uint32_t)(d.count[place] - half);
    d.count[place] = (uint32_t)half;
    memcpy(chunk_at(s, &d, place + 1), chunk_at(s, &d, place) + half, d.count[place + 1] * sizeof(double));
    d.low[place + 1] = *chunk_at(s, &d, place + 1);
    s->used++;
    return 0;
}

/* Puts the chunk behind `place` into it, or drops it when it is empty. */
static __attribute__((noinline)) void merge(alpha_sorted *s, uint64_t place)
{
    const chunked d = parts_of(s);
    memcpy(chunk_at(s, &d, place) + d.count[place], chunk_at(s, &d, place + 1), d.count[place + 1] * sizeof(double));
    if (!d.count[place])
        d.low[place] = d.low[place + 1];
    d.count[place] += d.count[place + 1];
    const uint32_t gone = d.order[place + 1];
    const uint64_t after = s->used - place - 2;
    memmove(d.order + place + 1, d.order + place + 2, after * sizeof *d.order);
    memmove(d.count + place + 1, d.count + place + 2, after * sizeof *d.count);
    memmove(d.low + place + 1, d.low + place + 2, after * sizeof *d.low);
    d.order[--s->used] = gone;
}

static inline int sorted_take(alpha_block *b, alpha_sorted *s, double v)
{
    chunked d = parts_of(s);
    if (unlikely(!s->used)) {
        s->used = 1;
        d.count[0] = 0;
    }
    uint64_t place = place_of(s, &d, v, 0);
    if (unlikely(d.count[place] == s->size)) {
        if (split(b, s, place))
            return -1;
        d = parts_of(s);
        place += d.low[place + 1] <= v;
    }
    double *const x = chunk_at(s, &d, place);
    const uint64_t at = below(x, d.count[place], v);
    memmove(x + at + 1, x + at, (d.count[place] - at) * sizeof *x);
    x[at] = v;
    d.count[place]++;
    d.low[place] = x[0];
    s->n++;
    return 0;
}

static inline void sorted_drop(alpha_sorted *s, double v)
{
    const chunked d = parts_of(s);
    const uint64_t place = place_of(s, &d, v, 0);
    double *const x = chunk_at(s, &d, place);
    const uint64_t at = below(x, d.count[place], v);
    memmove(x + at, x + at + 1, (d.count[place] - at - 1) * sizeof *x);
    d.count[place]--;
    d.low[place] = x[0];
    s->n--;
    if (s->used > 1) {
        if (place + 1 < s->used && d.count[place] + d.count[place + 1] <= s->size / 2)
            merge(s, place);
        else if (place && d.count[place - 1] + d.count[place] <= s->size / 2)
            merge(s, place - 1);
    }
}

static inline uint64_t count_before(const chunked *d, uint64_t place)
{
    uint64_t sum = 0;
    for (uint64_t k = 0; k < place; k++)
        sum += d->count[k];
    return sum;
}

/* The value with `k` values before it. */
static inline double sorted_at(const alpha_sorted *s, const chunked *d, uint64_t k)
{
    uint64_t place = 0;
    while (k >= d->count[place])
        k -= d->count[place++];
    return chunk_at(s, d, place)[k];
}

enum order { RANK, QUANTILE, MEDIAN };

static inline __attribute__((always_inline)) double order_value(enum order what, const alpha_sorted *s, double newest,
                                                                double q)
{
    const chunked d = parts_of(s);
    const uint64_t n = s->n;
    if (what == RANK) {
        const uint64_t first = place_of(s, &d, newest, 1), last = place_of(s, &d, newest, 0);
        const uint64_t less = count_before(&d, first) + below(chunk_at(s, &d, first), d.count[first], newest);
        const uint64_t most = count_before(&d, last) + not_above(chunk_at(s, &d, last), d.count[last], newest);
        return ((double)(int64_t)less + ((double)(int64_t)(most - less) + 1.0) / 2.0) / (double)(int64_t)n;
    }
    if (what == MEDIAN)
        return n % 2 ? sorted_at(s, &d, n / 2) : 0.5 * (sorted_at(s, &d, n / 2 - 1) + sorted_at(s, &d, n / 2));
    const double p = q * (double)(int64_t)(n - 1), whole = floor(p);
    const uint64_t at = (uint64_t)whole;
    const double a = sorted_at(s, &d, at), b = sorted_at(s, &d, at + 1 < n ? at + 1 : n - 1);
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
