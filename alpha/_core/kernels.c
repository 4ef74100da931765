/* Runs a feature program. Floor 2. Compiled once per ISA with -DALPHA_ISA=<name>; see setup.py.
 * The meaning of each case is fixed by docs/numerics.md; alpha/features/batch.py is its independent twin.
 * Nothing here allocates except grow(), which is counted. */
#include "alpha_kernels.h"
#include <stdlib.h>

#ifndef ALPHA_ISA
#define ALPHA_ISA portable
#endif
#define ALPHA_CAT2(a, b) a##b
#define ALPHA_CAT(a, b) ALPHA_CAT2(a, b)
#define ALPHA_STR2(a) #a
#define ALPHA_STR(a) ALPHA_STR2(a)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define AT(type, offset) ((type *)((char *)b + (offset)))

/* lag, diff, ret, logret and velocity stand together in enum alpha_op */
static inline int alpha_op_lags_time(uint16_t op)
{
    return op >= ALPHA_OP_LAG_TIME && op <= ALPHA_OP_VELOCITY_TIME;
}

static const double TINY = 0x1p-30; /* rule 15 */

/* The ring is full of values that a time window still needs: double it. */
static __attribute__((noinline, cold)) int grow(alpha_block *b, const alpha_program *p, alpha_history *h,
                                                uint32_t offset, uint64_t keep)
{
    uint64_t floor = h->head > keep ? h->head - keep : 0;
    for (uint32_t i = 0; i < p->n_all; i++) {
        const alpha_instr *c = &p->all[i];
        int windowed = c->op == ALPHA_OP_SUM_TIME || c->op == ALPHA_OP_MOMENT_TIME || alpha_op_lags_time(c->op);
        if (windowed && c->history == offset && AT(alpha_window, c->state)->tail < floor)
            floor = AT(alpha_window, c->state)->tail;
    }
    h->floor = floor;
    if (h->head - floor <= h->mask / 4 * 3)
        return 0; /* room again, and not soon back here */
    uint64_t capacity = 2 * (h->mask + 1);
    double *x = malloc(capacity * sizeof *x);
    int64_t *t = malloc(capacity * sizeof *t);
    if (!x || !t) {
        free(x);
        free(t);
        b->failed = 1;
        return -1;
    }
    for (uint64_t j = floor; j < h->head; j++) {
        x[j & (capacity - 1)] = h->x[j & h->mask];
        t[j & (capacity - 1)] = h->t[j & h->mask];
    }
    if (h->owns) {
        free(h->x);
        free(h->t);
    }
    h->x = x;
    h->t = t;
    h->mask = capacity - 1;
    h->owns = 1;
    b->growths++;
    return 0;
}

static inline void append(alpha_block *b, const alpha_program *p, const alpha_instr *i, double x, uint32_t ready,
                          int64_t now, uint32_t pass)
{
    alpha_history *h = AT(alpha_history, i->state);
    uint64_t keep = (uint64_t)i->n; /* what count windows need */
    if (h->t) {
        if (unlikely(h->head - h->floor > h->mask) && grow(b, p, h, i->state, keep))
            return;
        h->t[h->head & h->mask] = now;
    }
    h->x[h->head & h->mask] = x;
    if (h->head == 0)
        h->t_first = now;
    if (ready && h->n_gap++ == 0)
        h->t_first_gap = now;
    h->run = (h->run & -(uint64_t)(x == h->newest)) + 1; /* no branch: a price moves half the time; run is 0 at first */
    h->newest = x;
    h->head++;
    h->upd = pass;
}

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

static inline void window_count(alpha_block *b, const alpha_instr *i, uint32_t pass, int squares)
{
    alpha_history *h = AT(alpha_history, i->history);
    alpha_window *w = AT(alpha_window, i->state);
    if (h->upd != pass)
        return;
    uint64_t n = (uint64_t)i->n;
    alpha_window v = *w; /* in registers */
    if (likely(h->head > n)) {
        swap(&v, h->newest, h->x[(h->head - 1 - n) & h->mask], squares);
        v.tail = h->head - n;
    } else {
        take(&v, h->newest, squares);
    }
    v.warm = h->head >= n;
    v.ready = h->n_gap >= n;
    *w = v;
    settle(w, h);
}

static inline void window_time(alpha_block *b, const alpha_instr *i, int64_t now, uint32_t pass, int squares)
{
    alpha_history *h = AT(alpha_history, i->history);
    alpha_window *w = AT(alpha_window, i->state);
    if (h->upd == pass)
        take(w, h->newest, squares);
    int64_t edge = now - i->n;
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

static inline double window_mean(const alpha_window *w, const alpha_history *h)
{
    if (h->run >= w->n)
        return h->newest + 0.0; /* rule 11 */
    return w->s.hi / (double)w->n + 0.0;
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
    double n = (double)w->n;
    alpha_dd nq = alpha_two_prod(w->q.hi, n), ss = alpha_two_prod(w->s.hi, w->s.hi);
    alpha_dd top = alpha_two_sum(nq.hi, -ss.hi);
    double num = top.hi + (top.lo + ((nq.lo + w->q.lo * n) - (ss.lo + 2.0 * (w->s.hi * w->s.lo))));
    /* long windows pay for a second look only where float32 results could feel it */
    if (unlikely(num < nq.hi * (w->n <= 64 ? 0x1p-44 : 0x1p-60)))
        num = close_numerator(w, h);
    double var = num / (n * (n - (double)ddof));
    return var < 0.0 ? 0.0 : var;
}

/* Reader of a window: needs `samples` updates inside; empty windows are NaN except count and sum. */
static inline __attribute__((always_inline)) void read_window(alpha_block *b, const alpha_instr *i, uint32_t pass,
                                                              enum alpha_op op)
{
    const alpha_window *w = AT(const alpha_window, i->state);
    const alpha_history *h = AT(const alpha_history, i->history);
    alpha_slot *d = &b->slots[i->dst];
    uint64_t samples = op == ALPHA_OP_READ_COUNT || op == ALPHA_OP_READ_SUM ? 0
                       : op == ALPHA_OP_READ_MEAN                              ? 1
                                                                                  : i->ddof + 1;
    uint32_t enough = w->n >= samples;
    d->ready = w->ready & enough;
    if (unlikely(!(w->warm & enough))) {
        d->val = NAN;
        return;
    }
    double v;
    switch (op) {
    case ALPHA_OP_READ_COUNT:
        v = (double)w->n;
        break;
    case ALPHA_OP_READ_SUM:
        v = w->s.hi + 0.0;
        break;
    case ALPHA_OP_READ_MEAN:
        v = window_mean(w, h);
        break;
    case ALPHA_OP_READ_VAR:
        v = window_var(w, h, i->ddof);
        break;
    case ALPHA_OP_READ_STD:
        v = sqrt(window_var(w, h, i->ddof));
        break;
    default: { /* zscore */
        double sd = sqrt(window_var(w, h, i->ddof));
        v = sd == 0.0 ? 0.0 : (h->newest - window_mean(w, h)) / sd;
        if (fabs(v) < TINY)
            v = 0.0;
        v += 0.0;
        break;
    }
    }
    d->val = v;
    if (h->upd == pass)
        d->upd = pass;
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

static inline __attribute__((always_inline)) void lag_count(alpha_block *b, const alpha_instr *i, uint32_t pass,
                                                            enum lag_mode mode)
{
    const alpha_history *h = AT(const alpha_history, i->history);
    if (h->upd != pass)
        return;
    alpha_slot *d = &b->slots[i->dst];
    uint64_t n = (uint64_t)i->n;
    d->ready = h->n_gap > n;
    if (unlikely(h->head <= n))
        return; /* the slot is still NaN */
    d->val = lagged(mode, i, h->newest, h->x[(h->head - 1 - n) & h->mask]);
    d->upd = pass;
}

static inline __attribute__((always_inline)) void lag_time(alpha_block *b, const alpha_instr *i, int64_t now,
                                                           uint32_t pass, enum lag_mode mode)
{
    const alpha_history *h = AT(const alpha_history, i->history);
    alpha_window *w = AT(alpha_window, i->state); /* tail: the newest update at or before the edge */
    alpha_slot *d = &b->slots[i->dst];
    int64_t edge = now - i->n;
    d->ready = h->n_gap && edge >= h->t_first_gap;
    if (unlikely(!(h->head && edge >= h->t_first))) {
        d->val = NAN;
        return;
    }
    while (w->tail + 1 < h->head && h->t[(w->tail + 1) & h->mask] <= edge)
        w->tail++;
    d->val = lagged(mode, i, h->newest, h->x[w->tail & h->mask]);
    if (h->upd == pass)
        d->upd = pass;
}

static inline void ema_span(alpha_block *b, const alpha_instr *i, uint32_t pass)
{
    const alpha_slot *a = &b->slots[i->a];
    if (a->upd != pass || !isfinite(a->val))
        return;
    alpha_ema *s = AT(alpha_ema, i->state);
    alpha_slot *d = &b->slots[i->dst];
    s->y = s->n++ == 0 ? a->val : s->y + i->k * (a->val - s->y);
    s->n_gap += a->ready;
    d->ready = s->n_gap >= (uint64_t)i->n;
    if (unlikely(s->n < (uint64_t)i->n))
        return;
    d->val = s->y;
    d->upd = pass;
}

static inline void ema_half_life(alpha_block *b, const alpha_instr *i, int64_t now, uint32_t pass)
{
    const alpha_slot *a = &b->slots[i->a];
    alpha_ema *s = AT(alpha_ema, i->state);
    alpha_slot *d = &b->slots[i->dst];
    int updated = a->upd == pass && isfinite(a->val);
    if (updated) {
        if (s->n++ == 0) {
            s->y = a->val;
            s->d = 1.0;
            s->t_first = now;
        } else {
            double w = alpha_exp2n(-(double)(now - s->t_prev) / i->k);
            s->d = 1.0 + w * s->d;
            s->y = s->y + (a->val - s->y) / s->d;
        }
        s->t_prev = now;
        if (a->ready && s->n_gap++ == 0)
            s->t_first_gap = now;
    }
    d->ready = s->n_gap && now - s->t_first_gap >= i->n;
    if (unlikely(!(s->n && now - s->t_first >= i->n))) {
        d->val = NAN;
        return;
    }
    d->val = s->y;
    if (updated)
        d->upd = pass;
}

static inline void rsi(alpha_block *b, const alpha_instr *i, uint32_t pass)
{
    const alpha_slot *a = &b->slots[i->a];
    if (a->upd != pass || !isfinite(a->val))
        return;
    alpha_rsi *s = AT(alpha_rsi, i->state);
    alpha_slot *d = &b->slots[i->dst];
    double n = (double)i->n;
    uint64_t changes = s->n++; /* changes so far, this one included */
    s->n_gap += a->ready;
    if (changes) {
        double c = a->val - s->prev;
        double gain = c > 0.0 ? c : 0.0, loss = c < 0.0 ? -c : 0.0;
        if (changes <= (uint64_t)i->n) {
            s->g += gain; /* the seed is a plain mean of the first n changes */
            s->l += loss;
            if (changes == (uint64_t)i->n) {
                s->g /= n;
                s->l /= n;
            }
        } else {
            s->g = (s->g * (n - 1.0) + gain) / n;
            s->l = (s->l * (n - 1.0) + loss) / n;
        }
    }
    s->prev = a->val;
    d->ready = s->n_gap > (uint64_t)i->n;
    if (unlikely(changes < (uint64_t)i->n))
        return;
    d->val = s->l == 0.0 ? 100.0 : (100.0 * s->g) / (s->g + s->l);
    d->upd = pass;
}

static inline int64_t floor_div(int64_t t, int64_t w)
{
    int64_t q = t / w;
    return q - (t % w < 0);
}

static inline void bar_take(alpha_block *b, const alpha_program *p, const alpha_instr *i, const alpha_event *e,
                            int64_t now)
{
    const alpha_bar_spec *spec = &p->bars[i->n];
    alpha_bar *s = AT(alpha_bar, spec->state);
    double x = spec->from_mid ? 0.5 * (e->v[0] + e->v[1]) : e->v[0];
    if (!s->active) {
        s->active = 1;
        s->end = (floor_div(now, spec->interval_ns) + 1) * spec->interval_ns;
        if (s->end < b->next_close)
            b->next_close = s->end;
        s->open = s->high = s->low = x;
        s->lots = 0;
        s->no_qty = spec->from_mid;
    }
    if (x > s->high)
        s->high = x;
    if (x < s->low)
        s->low = x;
    s->close = x;
    if (!spec->from_mid) {
        double lots = rint(e->v[1] / s->lot);
        if ((e->flags & ALPHA_NO_QTY) || !(lots < 0x1p62))
            s->no_qty = 1;
        else
            s->lots += (int64_t)lots;
    }
}

/* One pass: operands come before the instructions that use them. */
static __attribute__((noinline)) void run(const alpha_program *p, alpha_block *b, const alpha_instr *code, uint32_t n,
                       const alpha_event *e, int64_t now, uint32_t pass)
{
    /* Each operation jumps straight to the next one: the branch predictor sees every place apart. */
    static const void *const place[ALPHA_OPS] = {
        [ALPHA_OP_CONST] = &&DONE,
        [ALPHA_OP_CLOSE_LEAF] = &&DONE,
        [ALPHA_OP_FIELD] = &&OP_FIELD,
        [ALPHA_OP_FIELD_QTY] = &&OP_FIELD_QTY,
        [ALPHA_OP_MID] = &&OP_MID,
        [ALPHA_OP_SPREAD] = &&OP_SPREAD,
        [ALPHA_OP_MICROPRICE] = &&OP_MICROPRICE,
        [ALPHA_OP_IMBALANCE] = &&OP_IMBALANCE,
        [ALPHA_OP_BAR_TAKE] = &&OP_BAR_TAKE,
        [ALPHA_OP_ADD] = &&OP_ADD,
        [ALPHA_OP_SUB] = &&OP_SUB,
        [ALPHA_OP_MUL] = &&OP_MUL,
        [ALPHA_OP_DIV] = &&OP_DIV,
        [ALPHA_OP_NEG] = &&OP_NEG,
        [ALPHA_OP_ABS] = &&OP_ABS,
        [ALPHA_OP_LOG] = &&OP_LOG,
        [ALPHA_OP_HISTORY] = &&OP_HISTORY,
        [ALPHA_OP_SUM_COUNT] = &&OP_SUM_COUNT,
        [ALPHA_OP_SUM_TIME] = &&OP_SUM_TIME,
        [ALPHA_OP_MOMENT_COUNT] = &&OP_MOMENT_COUNT,
        [ALPHA_OP_MOMENT_TIME] = &&OP_MOMENT_TIME,
        [ALPHA_OP_READ_COUNT] = &&OP_READ_COUNT,
        [ALPHA_OP_READ_SUM] = &&OP_READ_SUM,
        [ALPHA_OP_READ_MEAN] = &&OP_READ_MEAN,
        [ALPHA_OP_READ_VAR] = &&OP_READ_VAR,
        [ALPHA_OP_READ_STD] = &&OP_READ_STD,
        [ALPHA_OP_READ_ZSCORE] = &&OP_READ_ZSCORE,
        [ALPHA_OP_LAG_COUNT] = &&OP_LAG_COUNT,
        [ALPHA_OP_DIFF_COUNT] = &&OP_DIFF_COUNT,
        [ALPHA_OP_RET_COUNT] = &&OP_RET_COUNT,
        [ALPHA_OP_LOGRET_COUNT] = &&OP_LOGRET_COUNT,
        [ALPHA_OP_LAG_TIME] = &&OP_LAG_TIME,
        [ALPHA_OP_DIFF_TIME] = &&OP_DIFF_TIME,
        [ALPHA_OP_RET_TIME] = &&OP_RET_TIME,
        [ALPHA_OP_LOGRET_TIME] = &&OP_LOGRET_TIME,
        [ALPHA_OP_VELOCITY_TIME] = &&OP_VELOCITY_TIME,
        [ALPHA_OP_EMA_SPAN] = &&OP_EMA_SPAN,
        [ALPHA_OP_EMA_HALF_LIFE] = &&OP_EMA_HALF_LIFE,
        [ALPHA_OP_RSI] = &&OP_RSI,
    };
#define NEXT                                                              \
    {                                                                     \
        if (++i == end)                                                   \
            return;                                                       \
        goto *place[i->op];                                               \
    }
#define SET(value)                                                        \
    {                                                                     \
        s[i->dst].val = (value);                                          \
        s[i->dst].mark = fresh;                                           \
        NEXT                                                              \
    }
    alpha_slot *const s = b->slots;
    const uint64_t fresh = (uint64_t)1 << 32 | pass; /* ready, updated in this pass */
    const alpha_instr *i = code, *const end = code + n;
    if (i == end)
        return;
    goto *place[i->op];
    OP_FIELD:
            SET(e->v[i->n]);
    OP_FIELD_QTY:
            if (e->flags & ALPHA_NO_QTY)
                NEXT;
            SET(e->v[i->n]);
    OP_MID:
            SET(0.5 * (e->v[0] + e->v[1]));
    OP_SPREAD:
            SET(e->v[1] - e->v[0]);
    OP_MICROPRICE: {
            if (e->flags & ALPHA_NO_QTY)
                NEXT;
            double den = e->v[2] + e->v[3];
            SET(den == 0.0 ? NAN : (e->v[0] * e->v[3] + e->v[1] * e->v[2]) / den);
        }
    OP_IMBALANCE: {
            if (e->flags & ALPHA_NO_QTY)
                NEXT;
            double den = e->v[2] + e->v[3];
            SET(den == 0.0 ? NAN : (e->v[2] - e->v[3]) / den);
        }
    OP_BAR_TAKE:
            bar_take(b, p, i, e, now);
            NEXT;
#define BINARY(expr)                                                      \
    {                                                                     \
        const double x = s[i->a].val, y = s[i->b].val;                    \
        s[i->dst].val = (expr);                                           \
        s[i->dst].ready = s[i->a].ready & s[i->b].ready;                  \
        if (s[i->a].upd == pass || s[i->b].upd == pass)                   \
            s[i->dst].upd = pass;                                         \
        NEXT                                                              \
    }
    OP_ADD:
            BINARY(x + y)
    OP_SUB:
            BINARY(x - y)
    OP_MUL:
            BINARY(x * y)
    OP_DIV:
            BINARY(y == 0.0 ? NAN : x / y)
#define UNARY(expr)                                                       \
    {                                                                     \
        const double x = s[i->a].val;                                     \
        s[i->dst].val = (expr);                                           \
        s[i->dst].ready = s[i->a].ready;                                  \
        if (s[i->a].upd == pass)                                          \
            s[i->dst].upd = pass;                                         \
        NEXT                                                              \
    }
    OP_NEG:
            UNARY(-x)
    OP_ABS:
            UNARY(fabs(x))
    OP_LOG:
            UNARY(alpha_log(x))
    OP_HISTORY:
            if (s[i->a].upd == pass && isfinite(s[i->a].val))
                append(b, p, i, s[i->a].val, s[i->a].ready, now, pass);
            NEXT;
    OP_SUM_COUNT:
            window_count(b, i, pass, 0);
            NEXT;
    OP_SUM_TIME:
            window_time(b, i, now, pass, 0);
            NEXT;
    OP_MOMENT_COUNT:
            window_count(b, i, pass, 1);
            NEXT;
    OP_MOMENT_TIME:
            window_time(b, i, now, pass, 1);
            NEXT;
    OP_READ_COUNT:
            read_window(b, i, pass, ALPHA_OP_READ_COUNT);
            NEXT;
    OP_READ_SUM:
            read_window(b, i, pass, ALPHA_OP_READ_SUM);
            NEXT;
    OP_READ_MEAN:
            read_window(b, i, pass, ALPHA_OP_READ_MEAN);
            NEXT;
    OP_READ_VAR:
            read_window(b, i, pass, ALPHA_OP_READ_VAR);
            NEXT;
    OP_READ_STD:
            read_window(b, i, pass, ALPHA_OP_READ_STD);
            NEXT;
    OP_READ_ZSCORE:
            read_window(b, i, pass, ALPHA_OP_READ_ZSCORE);
            NEXT;
    OP_LAG_COUNT:
            lag_count(b, i, pass, LAG);
            NEXT;
    OP_DIFF_COUNT:
            lag_count(b, i, pass, DIFF);
            NEXT;
    OP_RET_COUNT:
            lag_count(b, i, pass, RET);
            NEXT;
    OP_LOGRET_COUNT:
            lag_count(b, i, pass, LOGRET);
            NEXT;
    OP_LAG_TIME:
            lag_time(b, i, now, pass, LAG);
            NEXT;
    OP_DIFF_TIME:
            lag_time(b, i, now, pass, DIFF);
            NEXT;
    OP_RET_TIME:
            lag_time(b, i, now, pass, RET);
            NEXT;
    OP_LOGRET_TIME:
            lag_time(b, i, now, pass, LOGRET);
            NEXT;
    OP_VELOCITY_TIME:
            lag_time(b, i, now, pass, VELOCITY);
            NEXT;
    OP_EMA_SPAN:
            ema_span(b, i, pass);
            NEXT;
    OP_EMA_HALF_LIFE:
            ema_half_life(b, i, now, pass);
            NEXT;
    OP_RSI:
            rsi(b, i, pass);
            NEXT;
    DONE:
        NEXT;
#undef NEXT
#undef SET
#undef BINARY
#undef UNARY
}

/* Bars whose interval ended at or before t: their leaves update together, in one pass. */
static __attribute__((noinline)) uint32_t close_bars(const alpha_program *p, alpha_block *b, int64_t t,
                                                     uint32_t pass)
{
    uint32_t closed = 0;
    b->next_close = INT64_MAX;
    for (uint32_t j = 0; j < p->n_bars; j++) {
        const alpha_bar_spec *spec = &p->bars[j];
        alpha_bar *s = AT(alpha_bar, spec->state);
        if (!s->active)
            continue;
        if (t < s->end) {
            if (s->end < b->next_close)
                b->next_close = s->end;
            continue;
        }
        const double field[5] = {s->open, s->high, s->low, s->close, (double)s->lots * s->lot};
        for (int k = 0; k < 5; k++) {
            if (spec->slot[k] == UINT16_MAX || (k == 4 && s->no_qty))
                continue;
            b->slots[spec->slot[k]].val = field[k];
            b->slots[spec->slot[k]].mark = (uint64_t)1 << 32 | pass;
        }
        s->active = 0;
        closed |= 1u << (j & 31);
    }
    return closed;
}

/* Events were lost: readiness starts again, values and windows stay (rule 34). */
static __attribute__((noinline, cold)) void gap(const alpha_program *p, alpha_block *b)
{
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *i = &p->all[j];
        switch (i->op) {
        case ALPHA_OP_HISTORY:
            AT(alpha_history, i->state)->n_gap = 0;
            break;
        case ALPHA_OP_SUM_COUNT:
        case ALPHA_OP_SUM_TIME:
        case ALPHA_OP_MOMENT_COUNT:
        case ALPHA_OP_MOMENT_TIME:
            AT(alpha_window, i->state)->ready = 0;
            break;
        case ALPHA_OP_EMA_SPAN:
        case ALPHA_OP_EMA_HALF_LIFE:
            AT(alpha_ema, i->state)->n_gap = 0;
            break;
        case ALPHA_OP_RSI:
            AT(alpha_rsi, i->state)->n_gap = 0;
            break;
        default:
            break;
        }
        if (i->op != ALPHA_OP_CONST && i->dst != UINT16_MAX)
            b->slots[i->dst].ready = 0;
    }
}

static inline void write_row(const alpha_program *p, alpha_block *b, int list, const alpha_event *e, int64_t now,
                             uint32_t pass, alpha_row *row)
{
    if (p->n_refresh[list])
        run(p, b, p->refresh[list], p->n_refresh[list], e, now, pass);
    uint32_t ready = !b->failed;
    const uint32_t n = p->n_features;
    if (likely(p->in_order)) {
        const alpha_slot *restrict s = b->slots;
        float *restrict x = row->x;
        uint64_t all = UINT64_MAX;
        for (uint32_t j = 0; j < n; j++) {
            x[j] = (float)s[j].val;
            all &= s[j].mark;
        }
        ready &= (uint32_t)(all >> 32); /* the upper half of a mark is `ready` */
    } else {
        for (uint32_t j = 0; j < n; j++) {
            const alpha_slot *s = &b->slots[p->features[j]];
            row->x[j] = (float)s->val;
            ready &= s->ready;
        }
    }
    if (row->ready_each)
        for (uint32_t j = 0; j < n; j++)
            row->ready_each[j] = (uint8_t)b->slots[p->features[j]].ready;
    row->ready = ready;
    row->ts_ns = now;
}

static inline uint32_t next_pass(const alpha_program *p, alpha_block *b)
{
    if (unlikely(++b->pass == 0)) { /* after 2^32 passes: forget old marks */
        for (uint32_t j = 0; j < p->n_slots; j++)
            b->slots[j].upd = 0;
        for (uint32_t j = 0; j < p->n_all; j++)
            if (p->all[j].op == ALPHA_OP_HISTORY)
                AT(alpha_history, p->all[j].state)->upd = 0;
        b->pass = 1;
    }
    return b->pass;
}

static int step(const alpha_program *p, alpha_block *b, const alpha_event *e, int64_t t, alpha_row *row)
{
    int made = 0;
    if (unlikely((e->flags & ALPHA_GAP) || (e->kind == ALPHA_STATUS && e->v[0] == ALPHA_STATUS_LOST)))
        gap(p, b);
    if (p->trigger == ALPHA_TRIGGER_EVERY && b->seen) {
        int64_t boundary = (floor_div(b->last_ns, p->every_ns) + 1) * p->every_ns;
        if (t >= boundary) {
            write_row(p, b, ALPHA_LIST_NONE, e, boundary, next_pass(p, b), row);
            made = 1;
        }
    }
    b->last_ns = t;
    b->seen++;
    if (unlikely(t >= b->next_close)) {
        uint32_t pass = next_pass(p, b);
        uint32_t closed = close_bars(p, b, t, pass);
        run(p, b, p->run[ALPHA_LIST_CLOSE], p->n_run[ALPHA_LIST_CLOSE], e, t, pass);
        if (p->trigger == ALPHA_TRIGGER_BAR_CLOSE && (closed >> p->trigger_bar & 1)) {
            write_row(p, b, ALPHA_LIST_CLOSE, e, t, pass, row);
            made = 1;
        }
    }
    int list, fires;
    switch (e->kind) {
    case ALPHA_QUOTE:
        list = ALPHA_LIST_QUOTE;
        fires = p->trigger == ALPHA_TRIGGER_QUOTE;
        b->ref_px = 0.5 * (e->v[0] + e->v[1]);
        b->quoted = 1;
        break;
    case ALPHA_TRADE:
        list = ALPHA_LIST_TRADE;
        fires = p->trigger == ALPHA_TRIGGER_TRADE;
        if (!b->quoted)
            b->ref_px = e->v[0];
        break;
    case ALPHA_BAR:
        list = ALPHA_LIST_BAR;
        fires = p->trigger == ALPHA_TRIGGER_BAR_FEED;
        b->ref_px = e->v[3];
        break;
    case ALPHA_DEPTH:
        list = ALPHA_LIST_NONE;
        fires = 0;
        break;
    default:
        return made;
    }
    if (p->trigger == ALPHA_TRIGGER_LAST)
        fires = (e->flags & ALPHA_LAST) != 0;
    uint32_t pass = next_pass(p, b);
    if (p->n_run[list])
        run(p, b, p->run[list], p->n_run[list], e, t, pass);
    if (fires) {
        write_row(p, b, list, e, t, pass, row);
        made = 1;
    }
    return made;
}

static int normalise(const float *restrict x, const double *restrict mean, const double *restrict std, float lo,
                     float hi, float *restrict z, uint32_t n)
{
    uint32_t bad = 0;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &x[j], 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
        double d = (double)x[j] - mean[j];
        float f = (float)(std[j] > 0.0 ? d / std[j] : d);
        f = f < lo ? lo : f;
        z[j] = f > hi ? hi : f;
    }
    return !bad;
}

const alpha_kernels ALPHA_CAT(alpha_kernels_, ALPHA_ISA) = {ALPHA_STR(ALPHA_ISA), step, normalise};
