/* Bars built from quotes or trades, closed by time (rules 24, 46, 53). Floor 2; part of kernels.c. */
#ifndef ALPHA_BARS_H
#define ALPHA_BARS_H

#include "alpha_pass.h"

static inline int64_t floor_div(int64_t t, int64_t w)
{
    int64_t q = t / w;
    return q - (t % w < 0);
}

/* What a trade adds to a bar; -1 in both where it counts for neither volume nor average price (rule 53). */
typedef struct traded {
    int64_t lots, ticks;
} traded;

static inline traded traded_of(const alpha_event *e, const alpha_bar *s)
{
    const double lots = rint(e->v[1] / s->lot);
    if ((e->flags & ALPHA_NO_QTY) || !(lots < 0x1p62))
        return (traded){-1, -1};
    if (isnan(s->tick) || lots == 0.0)
        return (traded){(int64_t)lots, 0};
    const double px = rint(e->v[0] / s->tick);
    int64_t ticks;
    if (!(px < 0x1p62) || __builtin_mul_overflow((int64_t)lots, (int64_t)px, &ticks) || ticks >= (int64_t)1 << 62)
        return (traded){-1, -1};
    return (traded){(int64_t)lots, ticks};
}

static inline void bar_open(alpha_bar *s, double x, int from_mid)
{
    s->active = 1;
    s->open = s->high = s->low = x;
    s->lots = s->ticks = s->count = 0;
    s->no_volume = (uint32_t)from_mid;
    s->no_vwap = from_mid || isnan(s->tick);
}

static inline void bar_price(alpha_bar *s, double x)
{
    if (x > s->high)
        s->high = x;
    if (x < s->low)
        s->low = x;
    s->close = x;
    s->count++;
}

static inline void bar_volume(alpha_bar *s, traded in)
{
    const int64_t limit = (int64_t)1 << 62;
    if (in.lots < 0 || s->no_volume || s->lots + in.lots >= limit) {
        s->no_volume = s->no_vwap = 1;
        return;
    }
    s->lots += in.lots;
    if (s->ticks + in.ticks >= limit)
        s->no_vwap = 1;
    else
        s->ticks += in.ticks;
}

/* Leaves of a closed bar take its fields, all in one pass; the bar is none any more. */
static inline void bar_close(const alpha_program *p, alpha_block *b, const alpha_bar_spec *spec, alpha_bar *s,
                             uint32_t pass)
{
    const double vwap = s->lots ? (double)s->ticks / (double)s->lots * s->tick : NAN;
    const double field[ALPHA_BAR_FIELDS] = {
        s->open, s->high, s->low, s->close, (double)s->lots * s->lot, vwap, (double)s->count};
    for (int k = 0; k < ALPHA_BAR_FIELDS; k++) {
        const int missing = (k == ALPHA_BAR_VOLUME && s->no_volume) || (k == ALPHA_BAR_VWAP && s->no_vwap);
        if (spec->slot[k] == UINT16_MAX || missing)
            continue;
        b->val[spec->slot[k]] = field[k];
        alpha_marks(p, b)[spec->slot[k]] = ALPHA_READY | pass;
    }
    s->active = 0;
}

OPERATION(BAR_TAKE)
{
    const alpha_bar_spec *spec = &c->p->bars[i->n];
    const alpha_event *e = c->e;
    alpha_bar *s = STATE(alpha_bar, spec->state);
    const double x = spec->from_mid ? 0.5 * (e->v[0] + e->v[1]) : e->v[0];
    if (!s->active) {
        bar_open(s, x, spec->from_mid);
        s->end = (floor_div(c->now, spec->interval_ns) + 1) * spec->interval_ns;
        if (s->end < c->b->next_close)
            c->b->next_close = s->end;
    }
    bar_price(s, x);
    if (!spec->from_mid)
        bar_volume(s, traded_of(e, s));
}

/* Bars whose interval ended at or before t: their leaves update together, in one pass. */
static __attribute__((noinline)) uint32_t close_bars(const alpha_program *p, alpha_block *b, int64_t t, uint32_t pass)
{
    uint32_t closed = 0;
    b->next_close = INT64_MAX;
    for (uint32_t j = 0; j < p->n_bars; j++) {
        const alpha_bar_spec *spec = &p->bars[j];
        alpha_bar *s = (alpha_bar *)((char *)b + spec->state);
        if (!s->active)
            continue;
        if (t < s->end) {
            if (s->end < b->next_close)
                b->next_close = s->end;
            continue;
        }
        bar_close(p, b, spec, s, pass);
        closed |= 1u << (j & 31);
    }
    return closed;
}

#endif
