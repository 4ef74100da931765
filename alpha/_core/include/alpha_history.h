/* The finite updates of an operand, and lags over them. Floor 2; part of kernels.c. */
#ifndef ALPHA_HISTORY_H
#define ALPHA_HISTORY_H

#include "alpha_pass.h"
#include <stdlib.h>

/* Does this instruction keep a position in a history until time has passed it? */
static inline int holds_tail(uint16_t op)
{
    switch (op) {
    case ALPHA_OP_WINDOW_TIME:
    case ALPHA_OP_SKEW:
    case ALPHA_OP_MIN:
    case ALPHA_OP_MAX:
    case ALPHA_OP_ARGMIN:
    case ALPHA_OP_ARGMAX:
    case ALPHA_OP_RANK:
    case ALPHA_OP_QUANTILE:
    case ALPHA_OP_MEDIAN:
    case ALPHA_OP_JOINT:
    case ALPHA_OP_LINE:
    case ALPHA_OP_LAG_TIME:
    case ALPHA_OP_DIFF_TIME:
    case ALPHA_OP_RET_TIME:
    case ALPHA_OP_LOGRET_TIME:
    case ALPHA_OP_VELOCITY_TIME:
        return 1;
    default:
        return 0;
    }
}

/* y: the second values of pairs, or NULL. The ring is full of values that a time window still needs: double it. The only allocation on the way of an event. */
static __attribute__((noinline, cold)) int grow(const alpha_program *p, alpha_block *b, alpha_history *h, double **y,
                                                uint32_t offset, uint64_t keep)
{
    uint64_t floor = h->head > keep ? h->head - keep : 0;
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *reader = &p->all[j];
        const uint64_t *tail = (const uint64_t *)((char *)b + reader->state);
        if (holds_tail(reader->op) && reader->history == offset && *tail < floor)
            floor = *tail;
    }
    h->floor = floor;
    if (h->head - floor <= h->mask / 4 * 3)
        return 0; /* room again, and not soon back here */
    uint64_t capacity = 2 * (h->mask + 1);
    double *x = calloc(capacity, sizeof *x), *second = y ? calloc(capacity, sizeof *second) : NULL;
    int64_t *t = calloc(capacity, sizeof *t);
    if (!x || !t || (y && !second)) {
        free(x);
        free(t);
        free(second);
        b->failed = 1;
        return -1;
    }
    for (uint64_t j = floor; j < h->head; j++) {
        x[j & (capacity - 1)] = h->x[j & h->mask];
        t[j & (capacity - 1)] = h->t[j & h->mask];
        if (y)
            second[j & (capacity - 1)] = (*y)[j & h->mask];
    }
    if (h->owns) {
        free(h->x);
        free(h->t);
        if (y)
            free(*y);
    }
    if (y)
        *y = second;
    h->x = x;
    h->t = t;
    h->mask = capacity - 1;
    h->owns = 1;
    b->growths++;
    return 0;
}

static inline __attribute__((always_inline)) void append(const alpha_pass *c, const alpha_instr *i, alpha_history *h,
                                                         double **y, double x, uint64_t ready)
{
    if (h->t) {
        if (unlikely(h->head - h->floor > h->mask) && grow(c->p, c->b, h, y, i->state, (uint64_t)i->n))
            return;
        h->t[h->head & h->mask] = c->now;
    }
    h->x[h->head & h->mask] = x;
    if (unlikely(h->head == 0))
        h->t_first = c->now;
    if (ready && h->n_gap++ == 0)
        h->t_first_gap = c->now;
    h->run = (h->run & -(uint64_t)(x == h->newest)) + 1; /* no branch: a price moves half the time; run is 0 at first */
    h->newest = x;
    h->head++;
    h->upd = number_of(c);
}

OPERATION(HISTORY)
{
    if (!finite_update(c, i->a))
        return;
    append(c, i, STATE(alpha_history, i->state), NULL, c->val[i->a], c->mark[i->a] & ALPHA_READY);
}

/* A sample when either operand passes an update on and both present values are finite (rule 37). */
OPERATION(PAIRS)
{
    const uint64_t a = c->mark[i->a], b = c->mark[i->b];
    const double x = c->val[i->a], y = c->val[i->b];
    if (!(moved(c, a) || moved(c, b)) || !isfinite(x) || !isfinite(y))
        return;
    alpha_pairs *p = STATE(alpha_pairs, i->state);
    const uint64_t at = p->h.head;
    append(c, i, &p->h, &p->y, x, a & b & ALPHA_READY);
    if (unlikely(p->h.head == at))
        return;
    p->y[at & p->h.mask] = y;
    p->run_y = (p->run_y & -(uint64_t)(y == p->newest_y)) + 1;
    p->newest_y = y;
}

/* What a reader of a history shows: the update passes on whenever the history's operand did. */
static inline __attribute__((always_inline)) void put_with(const alpha_pass *c, const alpha_instr *i,
                                                           const alpha_history *h, double value, uint64_t ready)
{
    c->val[i->dst] = value;
    c->mark[i->dst] = ready << 32 | h->upd;
}

/* Where a window stands in this pass. */
typedef struct span {
    uint64_t tail; /* oldest index inside */
    uint64_t n;    /* updates inside */
    uint64_t warm, ready;
    uint64_t fresh; /* 1: the newest update came in this pass */
} span;

/* The window of an operation with mode = 1 for a time, 0 for a count; `tail`: where it began before. */
static inline span window_of(const alpha_pass *c, const alpha_instr *i, const alpha_history *h, uint64_t tail)
{
    const uint64_t head = h->head;
    span w = {.fresh = h->upd == number_of(c)};
    if (i->mode) {
        const int64_t edge = c->now - i->n;
        while (tail < head && h->t[tail & h->mask] <= edge)
            tail++;
        w.warm = edge >= h->t_first;
        w.ready = edge >= h->t_first_gap;
    } else {
        const uint64_t n = (uint64_t)i->n;
        tail = head > n ? head - n : 0;
        w.warm = head >= n;
        w.ready = h->n_gap >= n;
    }
    w.tail = tail;
    w.n = head - tail;
    return w;
}

enum lag_mode { LAG, DIFF, RET, LOGRET, VELOCITY };

static inline __attribute__((always_inline)) double lagged(enum lag_mode mode, const alpha_instr *i, double x, double y)
{
    switch (mode) {
    case LAG:
        return y;
    case DIFF:
        return (x - y) + 0.0;
    case RET:
        return y == 0.0 ? NAN : (x / y - 1.0) + 0.0;
    case LOGRET:
        return y == 0.0 ? NAN : alpha_log(x / y) + 0.0;
    default: /* k is the nominal window in seconds */
        return (x - y) / i->k + 0.0;
    }
}

static inline __attribute__((always_inline)) void lag_count(const alpha_pass *c, const alpha_instr *i,
                                                            enum lag_mode mode)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    const uint64_t n = (uint64_t)i->n;
    if (likely(h->n_gap > n)) /* never more than head */
        put_with(c, i, h, lagged(mode, i, h->newest, h->x[(h->head - 1 - n) & h->mask]), 1);
    else if (h->head > n)
        put_with(c, i, h, lagged(mode, i, h->newest, h->x[(h->head - 1 - n) & h->mask]), 0);
    else
        put_none(c, i, 0);
}

static inline __attribute__((always_inline)) void lag_time(const alpha_pass *c, const alpha_instr *i, enum lag_mode mode)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_window *w = STATE(alpha_window, i->state); /* tail: the newest update at or before the edge */
    const int64_t edge = c->now - i->n;
    const uint64_t ready = edge >= h->t_first_gap;
    if (unlikely(edge < h->t_first)) {
        put_none(c, i, ready);
        return;
    }
    const int64_t *const t = h->t;
    const uint64_t last = h->head - 1, mask = h->mask;
    uint64_t tail = w->tail;
    while (tail < last && t[(tail + 1) & mask] <= edge)
        tail++;
    w->tail = tail;
    put_with(c, i, h, lagged(mode, i, h->newest, h->x[tail & mask]), ready);
}

#define LAGS(mode)             \
    OPERATION(mode##_COUNT)    \
    {                          \
        lag_count(c, i, mode); \
    }                          \
    OPERATION(mode##_TIME)     \
    {                          \
        lag_time(c, i, mode);  \
    }
LAGS(LAG)
LAGS(DIFF)
LAGS(RET)
LAGS(LOGRET)
#undef LAGS

OPERATION(VELOCITY_TIME)
{
    lag_time(c, i, VELOCITY);
}

#endif
