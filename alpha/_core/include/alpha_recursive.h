/* Exponential and Wilder averages (rules 16 to 20, 40). Floor 2; part of kernels.c.
 * Counts stop once they are large enough: a warm operator only does its arithmetic. */
#ifndef ALPHA_RECURSIVE_H
#define ALPHA_RECURSIVE_H

#include "alpha_pass.h"

OPERATION(EMA_SPAN)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state);
    const double x = c->val[i->a];
    const uint64_t span = (uint64_t)i->n, ready = c->mark[i->a] >> 32;
    if (likely(s->n_gap >= span && ready)) {
        s->y = s->y + i->k * (x - s->y);
        put(c, i, s->y);
        return;
    }
    s->y = s->n++ == 0 ? x : s->y + i->k * (x - s->y);
    s->n_gap += ready;
    if (s->n >= span)
        put_as(c, i, s->y, s->n_gap >= span, 1);
    else
        put_none(c, i, 0);
}

OPERATION(EMA_HALF_LIFE)
{
    alpha_ema *s = STATE(alpha_ema, i->state);
    const int updated = finite_update(c, i->a);
    if (updated) {
        const double x = c->val[i->a];
        if (s->n++ == 0) {
            s->y = x;
            s->d = 1.0;
            s->t_first = c->now;
        } else {
            double w = alpha_exp2n(-(double)(c->now - s->t_prev) / i->k);
            s->d = 1.0 + w * s->d;
            s->y = s->y + (x - s->y) / s->d;
        }
        s->t_prev = c->now;
        if ((c->mark[i->a] & ALPHA_READY) && s->n_gap++ == 0)
            s->t_first_gap = c->now;
    }
    const uint64_t ready = s->n_gap && c->now - s->t_first_gap >= i->n;
    if (likely(s->n && c->now - s->t_first >= i->n))
        put_as(c, i, s->y, ready, updated);
    else
        put_none(c, i, ready);
}

static inline double rsi_value(const alpha_rsi *s)
{
    return s->l == 0.0 ? 100.0 : (100.0 * s->g) / (s->g + s->l);
}

OPERATION(RSI)
{
    if (!finite_update(c, i->a))
        return;
    alpha_rsi *s = STATE(alpha_rsi, i->state);
    const double x = c->val[i->a], n = (double)i->n;
    const uint64_t window = (uint64_t)i->n, ready = c->mark[i->a] >> 32;
    const double d = x - s->prev;
    const double gain = d > 0.0 ? d : 0.0, loss = d < 0.0 ? -d : 0.0;
    s->prev = x;
    if (likely(s->n_gap > window && ready)) {
        s->g = (s->g * (n - 1.0) + gain) / n;
        s->l = (s->l * (n - 1.0) + loss) / n;
        put(c, i, rsi_value(s));
        return;
    }
    const uint64_t changes = s->n++;
    s->n_gap += ready;
    if (changes > window) {
        s->g = (s->g * (n - 1.0) + gain) / n;
        s->l = (s->l * (n - 1.0) + loss) / n;
    } else if (changes) { /* the seed is a plain mean of the first n changes */
        s->g += gain;
        s->l += loss;
        if (changes == window) {
            s->g /= n;
            s->l /= n;
        }
    }
    if (changes >= window)
        put_as(c, i, rsi_value(s), s->n_gap > window, 1);
    else
        put_none(c, i, 0);
}

#endif
