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

/* An update of a recursive operator: its number since the start, from 1; counts towards readiness too. */
static inline uint64_t counted(alpha_ema *s, uint64_t ready)
{
    s->n_gap += ready;
    return ++s->n;
}

static inline void put_counted(const alpha_pass *c, const alpha_instr *i, const alpha_ema *s, double value,
                               uint64_t needed)
{
    if (s->n >= needed)
        put_as(c, i, value, s->n_gap >= needed, 1);
    else
        put_none(c, i, 0);
}

OPERATION(EMA_SMA)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state);
    const double x = c->val[i->a];
    const uint64_t skip = i->ddof, last = skip + (uint64_t)i->n;
    const uint64_t k = counted(s, c->mark[i->a] >> 32);
    if (k > last) {
        s->y = s->y + i->k * (x - s->y);
    } else if (k > skip) { /* mode 1: seeded by the mean of the first n; else by the first */
        if (i->mode)
            s->y = k < last ? s->y + x : (s->y + x) / (double)i->n;
        else
            s->y = k == skip + 1 ? x : s->y + i->k * (x - s->y);
    }
    put_counted(c, i, s, s->y, last);
}

OPERATION(EWM_STD)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state); /* y: mean, d: variance */
    const double x = c->val[i->a];
    if (counted(s, c->mark[i->a] >> 32) == 1) {
        s->y = x;
        s->d = 0.0;
    } else {
        const double delta = x - s->y, step = i->k * delta;
        s->y = s->y + step;
        s->d = (1.0 - i->k) * (s->d + step * delta);
    }
    put_counted(c, i, s, sqrt(s->d), (uint64_t)i->n);
}

OPERATION(WILDER)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state);
    const double x = c->val[i->a], n = (double)i->n;
    const uint64_t k = counted(s, c->mark[i->a] >> 32), seed = (uint64_t)i->n;
    if (k > seed)
        s->y = (s->y * (n - 1.0) + x) / n;
    else
        s->y = k < seed ? s->y + x : (s->y + x) / n;
    put_counted(c, i, s, s->y, seed);
}

OPERATION(WILDER_SUM)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state);
    const double x = c->val[i->a], n = (double)i->n;
    const uint64_t k = counted(s, c->mark[i->a] >> 32);
    s->y = k < (uint64_t)i->n ? s->y + x : (s->y - s->y / n) + x;
    put_counted(c, i, s, s->y, (uint64_t)i->n);
}

OPERATION(CUMSUM)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state); /* y, d: high and low part */
    alpha_dd sum = alpha_dd_add_d((alpha_dd){s->y, s->d}, c->val[i->a]);
    s->y = sum.hi;
    s->d = sum.lo;
    counted(s, c->mark[i->a] >> 32);
    put_counted(c, i, s, s->y + 0.0, 1);
}

OPERATION(FIRST)
{
    if (!finite_update(c, i->a))
        return;
    alpha_ema *s = STATE(alpha_ema, i->state);
    if (counted(s, c->mark[i->a] >> 32) == 1)
        s->y = c->val[i->a];
    put_counted(c, i, s, s->y, 1);
}

/* `flat`: what it is where there was neither gain nor loss. */
static inline double rsi_value(const alpha_rsi *s, double flat)
{
    if (s->l == 0.0)
        return s->g == 0.0 ? flat : 100.0;
    return (100.0 * s->g) / (s->g + s->l);
}

static inline __attribute__((always_inline)) void rsi(const alpha_pass *c, const alpha_instr *i, double flat)
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
        put(c, i, rsi_value(s, flat));
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
        put_as(c, i, rsi_value(s, flat), s->n_gap > window, 1);
    else
        put_none(c, i, 0);
}

OPERATION(RSI)
{
    rsi(c, i, 100.0);
}

OPERATION(TALIB_RSI)
{
    rsi(c, i, 0.0);
}

#endif
