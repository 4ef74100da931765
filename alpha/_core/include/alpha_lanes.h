/* Arithmetic that only a row asks for, four results at a time. Floor 2; part of kernels.c.
 * Nothing that remembers looks at these results, so nobody needs to know whether they moved: they are values without
 * marks. Their readiness follows from the marks below n_watched; only while one of those is not ready is it worked
 * out feature by feature (alpha_ready_each). features/lanes.py chooses and orders them. */
#ifndef ALPHA_LANES_H
#define ALPHA_LANES_H

#include "alpha_pass.h"

#pragma GCC diagnostic ignored "-Wpsabi" /* nothing here crosses a call */

typedef double alpha_v4 __attribute__((vector_size(32)));
typedef int64_t alpha_m4 __attribute__((vector_size(32)));
typedef uint64_t alpha_u4 __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) alpha_v4 gathered(const double *val, const uint16_t slot[4])
{
    return (alpha_v4){val[slot[0]], val[slot[1]], val[slot[2]], val[slot[3]]};
}

static inline __attribute__((always_inline)) void scattered(double *val, const uint16_t slot[4], alpha_v4 x)
{
    for (int l = 0; l < 4; l++)
        val[slot[l]] = x[l];
}

static inline __attribute__((always_inline)) alpha_v4 chosen(alpha_m4 mask, alpha_v4 yes, alpha_v4 no)
{
    return (alpha_v4)((mask & (alpha_m4)yes) | (~mask & (alpha_m4)no));
}

static inline __attribute__((always_inline)) alpha_v4 all_of(double x)
{
    return (alpha_v4){x, x, x, x};
}

/* alpha_log of four numbers at once, bit for bit; the rare ones by themselves. */
static inline __attribute__((always_inline)) alpha_v4 log_of_four(alpha_v4 x)
{
    const alpha_m4 usual = (x >= all_of(0x1p-1022)) & (x <= all_of(0x1.fffffffffffffp1023));
    if (unlikely((usual[0] & usual[1] & usual[2] & usual[3]) == 0)) {
        for (int l = 0; l < 4; l++)
            x[l] = alpha_log(x[l]);
        return x;
    }
    const alpha_m4 bits = (alpha_m4)x;
    alpha_m4 k = (alpha_m4)((alpha_u4)bits >> 52) - 1022; /* the sign bit is 0 */
    alpha_v4 m = (alpha_v4)((bits & 0x000fffffffffffffLL) | 0x3fe0000000000000LL);
    const alpha_m4 low = m < all_of(ALPHA_SQRT_HALF);
    m = chosen(low, m * 2.0, m);
    k += low; /* -1 where true */
    const alpha_v4 f = m - 1.0, s = f / (2.0 + f), z = s * s;
    alpha_v4 r = all_of(ALPHA_LOG_C[10]);
    for (int j = 9; j >= 0; j--)
        r = ALPHA_LOG_C[j] + z * r;
    r = z * r;
    const alpha_v4 h = (0.5 * f) * f;
    const alpha_v4 dk = (alpha_v4)(k + 0x4338000000000000LL) - 0x1.8p52; /* int64 to double, |k| < 2^51 */
    return dk * ALPHA_LN2_HI - ((h - (s * (h + r) + dk * ALPHA_LN2_LO)) - f);
}

/* A step over i->n quads of operand and result slots, starting with quad i->history of the program. */
#define LANES(name, ...)                                                                     \
    OPERATION(LANES_##name)                                                                  \
    {                                                                                        \
        const alpha_quad *q = c->p->quads + i->history, *const end = q + i->n;               \
        double *const val = c->val;                                                          \
        do {                                                                                 \
            const alpha_v4 x = gathered(val, q->a), y = gathered(val, q->b);                 \
            (void)y;                                                                         \
            scattered(val, q->dst, (__VA_ARGS__));                                           \
        } while (++q < end);                                                                 \
    }
LANES(ADD, x + y)
LANES(SUB, x - y)
LANES(MUL, x *y)
LANES(DIV, chosen(y == all_of(0.0), all_of(NAN), x / y))
LANES(NEG, -x)
LANES(LOG, log_of_four(x))
#undef LANES

/* The same by one lane after the other: what is rare, or has no vector form. */
#define ONE_BY_ONE(name, ...)                                                                \
    OPERATION(LANES_##name)                                                                  \
    {                                                                                        \
        const alpha_quad *q = c->p->quads + i->history, *const end = q + i->n;               \
        double *const val = c->val;                                                          \
        do                                                                                   \
            for (int l = 0; l < 4; l++) {                                                    \
                const double x = val[q->a[l]], y = val[q->b[l]], z = val[q->c[l]];           \
                (void)y, (void)z;                                                            \
                val[q->dst[l]] = (__VA_ARGS__);                                              \
            }                                                                                \
        while (++q < end);                                                                   \
    }
ONE_BY_ONE(ABS, fabs(x))
ONE_BY_ONE(SQRT, sqrt(x))
ONE_BY_ONE(EXP, alpha_exp(x))
ONE_BY_ONE(SIGN, isnan(x) ? x : (double)((x > 0.0) - (x < 0.0)))
ONE_BY_ONE(LEAST, isunordered(x, y) ? NAN : x < y ? x : y)
ONE_BY_ONE(GREATEST, isunordered(x, y) ? NAN : x > y ? x : y)
ONE_BY_ONE(GT, isunordered(x, y) ? NAN : (double)(x > y))
ONE_BY_ONE(GE, isunordered(x, y) ? NAN : (double)(x >= y))
ONE_BY_ONE(LT, isunordered(x, y) ? NAN : (double)(x < y))
ONE_BY_ONE(LE, isunordered(x, y) ? NAN : (double)(x <= y))
ONE_BY_ONE(EQ, isunordered(x, y) ? NAN : (double)(x == y))
ONE_BY_ONE(NE, isunordered(x, y) ? NAN : (double)(x != y))
ONE_BY_ONE(WHERE, isnan(x) ? NAN : x != 0.0 ? y : z)
#undef ONE_BY_ONE

#endif
