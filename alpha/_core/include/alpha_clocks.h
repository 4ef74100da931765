/* What trades themselves close: bars by trades, volume or value, and VPIN's buckets (rules 53, 54). Floor 2; part of kernels.c. */
#ifndef ALPHA_CLOCKS_H
#define ALPHA_CLOCKS_H

#include "alpha_bars.h"

/* The trade goes into the bar whole; it closes it where the cumulative count passes a multiple of the size. */
OPERATION(CLOCK_TAKE)
{
    const alpha_bar_spec *spec = &c->p->bars[i->n];
    alpha_bar *s = STATE(alpha_bar, spec->state);
    if (unlikely(s->size == 0))
        return;
    const double x = c->e->v[0];
    if (!s->active)
        bar_open(s, x, 0);
    bar_price(s, x);
    const traded in = traded_of(c->e, s);
    bar_volume(s, in);
    if (spec->clock == ALPHA_CLOCK_TICK_BAR)
        s->done++;
    else if (in.lots > 0)
        s->done += spec->clock == ALPHA_CLOCK_VOLUME_BAR ? in.lots : in.ticks;
    if (s->done < s->size)
        return;
    s->done %= s->size;
    s->closed = number_of(c);
    bar_close(c->p, c->b, spec, s, number_of(c));
}

/* Whether trades closed the bar that triggers in this pass. */
static inline int clock_closed(const alpha_program *p, const alpha_block *b, uint32_t pass)
{
    return ((const alpha_bar *)((const char *)b + p->bars[p->trigger_bar].state))->closed == pass;
}

__extension__ typedef unsigned __int128 whole;

static inline whole sum_of(const alpha_vpin *s)
{
    return (whole)s->sum[1] << 64 | s->sum[0];
}

/* `times` full buckets of the same net follow one another in a ring of n. */
static inline void buckets(alpha_vpin *s, int64_t *ring, uint64_t n, int64_t net, uint64_t times)
{
    const int64_t size = net < 0 ? -net : net;
    whole sum = sum_of(s);
    for (uint64_t k = times < n ? times : n; k; k--) {
        sum += (whole)(uint64_t)size - (whole)(uint64_t)ring[s->at];
        ring[s->at] = size;
        if (++s->at == n)
            s->at = 0;
    }
    s->sum[0] = (uint64_t)sum;
    s->sum[1] = (uint64_t)(sum >> 64);
    s->full = s->full + times < n ? s->full + times : n;
    s->full_gap = s->full_gap + times < n ? s->full_gap + times : n;
}

OPERATION(VPIN)
{
    alpha_vpin *s = STATE(alpha_vpin, i->state);
    if (s->bucket == 0 || (c->e->flags & ALPHA_NO_QTY))
        return;
    const double sign = c->val[i->a], size = rint(c->e->v[1] / s->lot);
    if (!(size < 0x1p62))
        return;
    int64_t lots = (int64_t)size;
    const int64_t side = (sign > 0.0) - (sign < 0.0), room = s->bucket - s->filled;
    if (lots < room) {
        s->filled += lots;
        s->net += side * lots;
        return;
    }
    int64_t *ring = (int64_t *)(s + 1);
    const uint64_t n = (uint64_t)i->n;
    lots -= room;
    buckets(s, ring, n, s->net + side * room, 1);
    if (lots >= s->bucket)
        buckets(s, ring, n, side * s->bucket, (uint64_t)(lots / s->bucket));
    s->filled = lots % s->bucket;
    s->net = side * s->filled;
    if (s->full >= n)
        put_as(c, i, (double)sum_of(s) / (double)((whole)n * (whole)s->bucket), s->full_gap >= n, 1);
}

#endif
