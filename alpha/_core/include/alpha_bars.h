/* Bars built from quotes or trades (rules 24, 25, 46). Floor 2; part of kernels.c. */
#ifndef ALPHA_BARS_H
#define ALPHA_BARS_H

#include "alpha_pass.h"

static inline int64_t floor_div(int64_t t, int64_t w)
{
    int64_t q = t / w;
    return q - (t % w < 0);
}

OPERATION(BAR_TAKE)
{
    const alpha_bar_spec *spec = &c->p->bars[i->n];
    const alpha_event *e = c->e;
    alpha_bar *s = STATE(alpha_bar, spec->state);
    double x = spec->from_mid ? 0.5 * (e->v[0] + e->v[1]) : e->v[0];
    if (!s->active) {
        s->active = 1;
        s->end = (floor_div(c->now, spec->interval_ns) + 1) * spec->interval_ns;
        if (s->end < c->b->next_close)
            c->b->next_close = s->end;
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
        const double field[5] = {s->open, s->high, s->low, s->close, (double)s->lots * s->lot};
        for (int k = 0; k < 5; k++) {
            if (spec->slot[k] == UINT16_MAX || (k == 4 && s->no_qty))
                continue;
            b->val[spec->slot[k]] = field[k];
            alpha_marks(p, b)[spec->slot[k]] = ALPHA_READY | pass;
        }
        s->active = 0;
        closed |= 1u << (j & 31);
    }
    return closed;
}

#endif
