/* Operations without memory: sources, arithmetic. Floor 2; part of kernels.c. */
#ifndef ALPHA_POINTWISE_H
#define ALPHA_POINTWISE_H

#include "alpha_pass.h"

OPERATION(END)
{
    (void)c, (void)i; /* run() returns there */
}

OPERATION(CONST)
{
    (void)c, (void)i;
}

OPERATION(CLOSE_LEAF)
{
    (void)c, (void)i;
}

OPERATION(FIELD)
{
    put(c, i, c->e->v[i->n]);
}

static inline int sized(const alpha_pass *c)
{
    return !(c->e->flags & ALPHA_NO_QTY);
}

OPERATION(FIELD_QTY)
{
    if (sized(c))
        put(c, i, c->e->v[i->n]);
}

OPERATION(LEVEL_PX)
{
    const double *v = c->e->v + i->n;
    put(c, i, sized(c) && v[2] == 0.0 ? NAN : v[0]);
}

OPERATION(MID)
{
    put(c, i, 0.5 * (c->e->v[0] + c->e->v[1]));
}

OPERATION(SPREAD)
{
    put(c, i, c->e->v[1] - c->e->v[0]);
}

static inline double quotient(double x, double y)
{
    return y == 0.0 ? NAN : x / y; /* rule 14 */
}

OPERATION(MICROPRICE)
{
    const double *v = c->e->v;
    if (sized(c))
        put(c, i, quotient(v[0] * v[3] + v[1] * v[2], v[2] + v[3]));
}

OPERATION(IMBALANCE)
{
    const double *v = c->e->v;
    if (sized(c))
        put(c, i, quotient(v[2] - v[3], v[2] + v[3]));
}

static inline __attribute__((always_inline)) void binary(const alpha_pass *c, const alpha_instr *i, double value)
{
    uint64_t x = c->mark[i->a], y = c->mark[i->b];
    c->val[i->dst] = value;
    if (likely((x & y) == c->fresh))
        c->mark[i->dst] = c->fresh;
    else
        put_as(c, i, value, (x & y) >> 32, moved(c, x) || moved(c, y));
}

static inline __attribute__((always_inline)) void unary(const alpha_pass *c, const alpha_instr *i, double value)
{
    uint64_t x = c->mark[i->a];
    c->val[i->dst] = value;
    if (likely(x == c->fresh))
        c->mark[i->dst] = c->fresh;
    else
        put_as(c, i, value, x >> 32, moved(c, x));
}

OPERATION(ADD)
{
    binary(c, i, c->val[i->a] + c->val[i->b]);
}

OPERATION(SUB)
{
    binary(c, i, c->val[i->a] - c->val[i->b]);
}

OPERATION(MUL)
{
    binary(c, i, c->val[i->a] * c->val[i->b]);
}

OPERATION(DIV)
{
    binary(c, i, quotient(c->val[i->a], c->val[i->b]));
}

OPERATION(NEG)
{
    unary(c, i, -c->val[i->a]);
}

OPERATION(ABS)
{
    unary(c, i, fabs(c->val[i->a]));
}

OPERATION(LOG)
{
    unary(c, i, alpha_log(c->val[i->a]));
}

OPERATION(EXP)
{
    unary(c, i, alpha_exp(c->val[i->a]));
}

OPERATION(SQRT)
{
    unary(c, i, sqrt(c->val[i->a]));
}

OPERATION(SIGN)
{
    const double x = c->val[i->a];
    unary(c, i, isnan(x) ? x : (double)((x > 0.0) - (x < 0.0)));
}

/* NaN if either operand is. */
static inline double of_two(double x, double y, double value)
{
    return isunordered(x, y) ? NAN : value;
}

#define OF_TWO(name, expr)                                  \
    OPERATION(name)                                         \
    {                                                       \
        const double x = c->val[i->a], y = c->val[i->b];    \
        binary(c, i, of_two(x, y, expr));                   \
    }
OF_TWO(LEAST, x < y ? x : y)
OF_TWO(GREATEST, x > y ? x : y)
OF_TWO(GT, (double)(x > y))
OF_TWO(GE, (double)(x >= y))
OF_TWO(LT, (double)(x < y))
OF_TWO(LE, (double)(x <= y))
OF_TWO(EQ, (double)(x == y))
OF_TWO(NE, (double)(x != y))
#undef OF_TWO

OPERATION(WHERE)
{
    const double cond = c->val[i->a];
    const uint64_t x = c->mark[i->a], y = c->mark[i->b], z = c->mark[i->mode];
    put_as(c, i, isnan(cond) ? NAN : cond != 0.0 ? c->val[i->b] : c->val[i->mode], (x & y & z) >> 32,
           moved(c, x) || moved(c, y) || moved(c, z));
}

OPERATION(CLIP)
{
    const double x = c->val[i->a];
    double hi;
    memcpy(&hi, &i->n, sizeof hi);
    unary(c, i, x < i->k ? i->k : x > hi ? hi : x);
}

/* Cont, Kukanov, Stoikov at the best level: what this quote added at the bid less what it added at the ask. */
OPERATION(OFI)
{
    if (!sized(c))
        return;
    alpha_ofi *s = STATE(alpha_ofi, i->state);
    const double qb = c->e->v[2], qa = c->e->v[3];
    const int level = c->e->kind == ALPHA_DEPTH; /* an empty side of a level has no price: no comparison holds */
    const double b = level && qb == 0.0 ? NAN : c->e->v[0], a = level && qa == 0.0 ? NAN : c->e->v[1];
    if (s->n >= 1) {
        double flow = b >= s->bid_px ? qb : 0.0;
        flow -= b <= s->bid_px ? s->bid_qty : 0.0;
        flow -= a <= s->ask_px ? qa : 0.0;
        flow += a >= s->ask_px ? s->ask_qty : 0.0;
        put_as(c, i, flow + 0.0, s->n_gap >= 1, 1);
    }
    *s = (alpha_ofi){b, qb, a, qa, 1, 1};
}

OPERATION(SIGN_QUOTE)
{
    STATE(alpha_sign, i->state)->mid = 0.5 * (c->e->v[0] + c->e->v[1]);
}

/* The feed's side; else the side of the prevailing mid; else the tick rule (rule 27). */
OPERATION(TRADE_SIGN)
{
    alpha_sign *s = STATE(alpha_sign, i->state);
    const double px = c->e->v[0], side = c->e->v[2];
    if (px > s->px)
        s->last = 1.0;
    else if (px < s->px)
        s->last = -1.0;
    s->px = px;
    put(c, i, side != 0.0 ? side : px > s->mid ? 1.0 : px < s->mid ? -1.0 : s->last);
}

#endif
