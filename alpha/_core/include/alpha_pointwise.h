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

#endif
