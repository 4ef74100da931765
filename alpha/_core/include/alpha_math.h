/* Double-double sums, and the two transcendental functions that features may use.
 * Floor 0. Every operation order here is part of the numerics (rules 10-12, 18, 42):
 * compile with -ffp-contract=off and change nothing without a new operator version.
 * alpha/features/coefficients.py holds an independent copy of the coefficients; a test compares. */
#ifndef ALPHA_MATH_H
#define ALPHA_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* An unevaluated sum hi + lo with |lo| <= ulp(hi)/2: about 106 bits. */
typedef struct alpha_dd {
    double hi, lo;
} alpha_dd;

/* a + b exactly (Knuth; no assumption on magnitudes). */
static inline alpha_dd alpha_two_sum(double a, double b)
{
    double s = a + b;
    double bb = s - a;
    return (alpha_dd){s, (a - (s - bb)) + (b - bb)};
}

/* a + b exactly when |a| >= |b| or a == 0 (Dekker). */
static inline alpha_dd alpha_fast_two_sum(double a, double b)
{
    double s = a + b;
    return (alpha_dd){s, b - (s - a)};
}

/* a * b exactly, short of overflow and underflow. The FMA computes the same error term as
 * Dekker's split, so builds with and without it agree bit for bit. */
static inline alpha_dd alpha_two_prod(double a, double b)
{
    double p = a * b;
#ifdef __FMA__
    return (alpha_dd){p, __builtin_fma(a, b, -p)};
#else
    double ta = 134217729.0 * a, tb = 134217729.0 * b; /* 2^27 + 1 */
    double ah = ta - (ta - a), bh = tb - (tb - b);
    double al = a - ah, bl = b - bh;
    return (alpha_dd){p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
#endif
}

static inline alpha_dd alpha_dd_add_d(alpha_dd x, double y)
{
    alpha_dd s = alpha_two_sum(x.hi, y);
    return alpha_fast_two_sum(s.hi, s.lo + x.lo);
}

/* Sum with an error below 2^-104 of the larger operand: enough for running sums, which are rebuilt when they shrink. */
static inline alpha_dd alpha_dd_accumulate(alpha_dd x, alpha_dd y)
{
    alpha_dd s = alpha_two_sum(x.hi, y.hi);
    return alpha_fast_two_sum(s.hi, s.lo + (x.lo + y.lo));
}

/* Accurate sum: the error stays below 2^-104 of the result even under cancellation of the high parts. */
static inline alpha_dd alpha_dd_add(alpha_dd x, alpha_dd y)
{
    alpha_dd s = alpha_two_sum(x.hi, y.hi);
    alpha_dd t = alpha_two_sum(x.lo, y.lo);
    s = alpha_fast_two_sum(s.hi, s.lo + t.hi);
    return alpha_fast_two_sum(s.hi, s.lo + t.lo);
}

static inline alpha_dd alpha_dd_neg(alpha_dd x)
{
    return (alpha_dd){-x.hi, -x.lo};
}

static inline alpha_dd alpha_dd_mul_d(alpha_dd x, double y)
{
    alpha_dd p = alpha_two_prod(x.hi, y);
    return alpha_fast_two_sum(p.hi, p.lo + x.lo * y);
}

/* x * y to about 2^-104 of the product. */
static inline alpha_dd alpha_dd_mul(alpha_dd x, alpha_dd y)
{
    alpha_dd p = alpha_two_prod(x.hi, y.hi);
    return alpha_fast_two_sum(p.hi, p.lo + (x.hi * y.lo + x.lo * y.hi));
}

static inline alpha_dd alpha_dd_sqr(alpha_dd x)
{
    alpha_dd p = alpha_two_prod(x.hi, x.hi);
    return alpha_fast_two_sum(p.hi, p.lo + 2.0 * (x.hi * x.lo));
}

#define ALPHA_LN2_HI 0x1.62e42fee00000p-1
#define ALPHA_LN2_LO 0x1.a39ef35793c76p-33
#define ALPHA_SQRT_HALF 0x1.6a09e667f3bcdp-1

/* c_j = 2/(2j+1), j = 1..11: log((1+s)/(1-s)) = 2s + s*z*(c1 + z*(c2 + ...)), z = s*s. */
static const double ALPHA_LOG_C[11] = {
    0x1.5555555555555p-1, 0x1.999999999999ap-2, 0x1.2492492492492p-2, 0x1.c71c71c71c71cp-3,
    0x1.745d1745d1746p-3, 0x1.3b13b13b13b14p-3, 0x1.1111111111111p-3, 0x1.e1e1e1e1e1e1ep-4,
    0x1.af286bca1af28p-4, 0x1.8618618618618p-4, 0x1.642c8590b2164p-4};

/* Natural logarithm, < 1 ulp, the same bits on every machine; NaN for x <= 0 and NaN. */
static inline double alpha_log(double x)
{
    if (!(x > 0.0))
        return NAN;
    if (x > 0x1.fffffffffffffp1023)
        return INFINITY;
    int64_t k = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    uint64_t bits;
    memcpy(&bits, &x, 8);
    k += (int64_t)(bits >> 52) - 1022;
    bits = (bits & 0x000fffffffffffffULL) | 0x3fe0000000000000ULL;
    double m;
    memcpy(&m, &bits, 8); /* [0.5, 1) */
    if (m < ALPHA_SQRT_HALF) {
        m *= 2.0;
        k -= 1;
    }
    double f = m - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double r = ALPHA_LOG_C[10];
    for (int j = 9; j >= 0; j--)
        r = ALPHA_LOG_C[j] + z * r;
    r = z * r;
    double h = (0.5 * f) * f;
    double dk = (double)k;
    return dk * ALPHA_LN2_HI - ((h - (s * (h + r) + dk * ALPHA_LN2_LO)) - f);
}

/* c_k = round(ln2^k / k!) */
static const double ALPHA_EXP2_C[14] = {
    0x1.0000000000000p+0,  0x1.62e42fefa39efp-1,  0x1.ebfbdff82c58fp-3,  0x1.c6b08d704a0c0p-5,
    0x1.3b2ab6fba4e77p-7,  0x1.5d87fe78a6731p-10, 0x1.430912f86c787p-13, 0x1.ffcbfc588b0c7p-17,
    0x1.62c0223a5c824p-20, 0x1.b5253d395e7c4p-24, 0x1.e4cf5158b8ecap-28, 0x1.e8cac7351bb25p-32,
    0x1.c3bd650fc2986p-36, 0x1.816193166d0f9p-40};

/* p * 2^k rounded once, as ldexp does, which costs a call: a product with a power of two is exact unless it is subnormal. */
static inline double alpha_scaled(double p, int64_t k)
{
    if (k < -1000 || k > 1000)
        return ldexp(p, (int)k);
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return p * power;
}

/* 2^t for t <= 0 (rule 18). */
static inline double alpha_exp2n(double t)
{
    if (t < -1100.0)
        return 0.0;
    double k = rint(t);
    double f = t - k;
    double p = ALPHA_EXP2_C[13];
    for (int j = 12; j >= 0; j--)
        p = ALPHA_EXP2_C[j] + f * p;
    return alpha_scaled(p, (int64_t)k);
}

/* c_j = 1/j!, j = 0..13. */
static const double ALPHA_EXP_C[14] = {
    0x1.0000000000000p+0, 0x1.0000000000000p+0, 0x1.0000000000000p-1, 0x1.5555555555555p-3,
    0x1.5555555555555p-5, 0x1.1111111111111p-7, 0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-13,
    0x1.a01a01a01a01ap-16, 0x1.71de3a556c734p-19, 0x1.27e4fb7789f5cp-22, 0x1.ae64567f544e4p-26,
    0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33};

/* e^x, about 1 ulp, the same bits on every machine (rule 42). */
static inline double alpha_exp(double x)
{
    if (x > 709.79)
        return INFINITY;
    if (x < -745.2)
        return 0.0;
    if (isnan(x))
        return x;
    double k = rint(x * 0x1.71547652b82fep+0);
    double r = (x - k * ALPHA_LN2_HI) - k * ALPHA_LN2_LO;
    double p = ALPHA_EXP_C[13];
    for (int j = 12; j >= 0; j--)
        p = ALPHA_EXP_C[j] + r * p;
    return alpha_scaled(p, (int64_t)k);
}

#endif
