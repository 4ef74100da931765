/* exp, tanh, the logistic function and erf on vectors of float32, and the activations made of them. Floor 1.
 * Measured against float64 over the whole range (tests/unit/test_activations.py): exp 1.5 ulp, tanh 3.6e-7,
 * logistic 2e-7, erf 4.2e-7. The coefficients are minimax fits of the relative error (Lawson's weights).
 * tanh and erf end at exactly -1 and 1: a last bit beyond would be multiplied by x where x (1 + erf x) is 0. */
#ifndef ALPHA_ACTIVATION_H
#define ALPHA_ACTIVATION_H

#include "alpha_vec.h"
#include <math.h>

/* Append-only: the numbers stand in plans. p, q: the parameters */
enum alpha_activation {
    ALPHA_ACT_NONE,
    ALPHA_ACT_RELU,
    ALPHA_ACT_LEAKY,    /* p x for x < 0 */
    ALPHA_ACT_ELU,      /* p (e^x - 1) for x < 0 */
    ALPHA_ACT_TANH,
    ALPHA_ACT_SIGMOID,
    ALPHA_ACT_GELU,     /* x (1 + erf(x / sqrt 2)) / 2 */
    ALPHA_ACT_GELU_TANH,
    ALPHA_ACT_CLIP,     /* to [p, q] */
    ALPHA_ACT_EXP,
    ALPHA_ACT_ERF,
    ALPHA_ACT_SQRT,
    ALPHA_ACT_LOG,
    ALPHA_ACT_ABS,
    ALPHA_ACT_NEG,
    ALPHA_ACT_RECIPROCAL,
    ALPHA_ACT_SOFTPLUS, /* log(1 + e^x) */
    ALPHA_ACT_SILU,     /* x / (1 + e^-x) */
    ALPHA_ACT_PROBIT,   /* the normal quantile of x, approximately */
    ALPHA_ACTS
};

/* e^x; 0 below -86.5, infinite above 88.72. n ln2 is taken off in two parts, the first of which is exact. */
ALPHA_INLINE vec vec_exp(vec x)
{
    const vec y = vec_min(vec_of(89.0f), vec_max(vec_of(-86.5f), x));
    const vec n = vec_round(y * vec_of(0x1.715476p+0f));
    vec r = vec_fma(n, vec_of(-0x1.63p-1f), y);
    r = vec_fma(n, vec_of(0x1.bd0106p-13f), r);
    vec p = vec_of(0x1.a01a02p-13f); /* 1/7! and down to 1/0! */
    p = vec_fma(p, r, vec_of(0x1.6c16c2p-10f));
    p = vec_fma(p, r, vec_of(0x1.111112p-7f));
    p = vec_fma(p, r, vec_of(0x1.555556p-5f));
    p = vec_fma(p, r, vec_of(0x1.555556p-3f));
    p = vec_fma(p, r, vec_of(0.5f));
    p = vec_fma(p, r, vec_of(1.0f));
    p = vec_fma(p, r, vec_of(1.0f));
    /* 2^n as 2 * 2^(n-1): n reaches 128, one more than an exponent can say */
    const vec scale = (vec)((vec_to_int(n) + 126) << 23);
    p = p * scale * vec_of(2.0f);
    p = vec_select(x > vec_of(0x1.62e42ep+6f), vec_of(INFINITY), p);
    return vec_select(x < vec_of(-86.5f), vec_of(0.0f), p);
}

/* Nothing outside of [-1, 1] */
ALPHA_INLINE vec vec_unit(vec x)
{
    return vec_min(vec_of(1.0f), vec_max(vec_of(-1.0f), x));
}

/* x P(x^2) / Q(x^2), x^2 held at 9.1^2: from 9.09 on every float gives 1 or more, with a fused multiply-add and
 * without, so the ends are exactly 1. In float32 tanh is 1 from 9.02 on. */
ALPHA_INLINE vec vec_tanh(vec x)
{
    const vec z = vec_min(vec_of(9.1f * 9.1f), x * x);
    vec p = vec_of(0x1.e3e54ep-27f);
    p = vec_fma(p, z, vec_of(0x1.626264p-16f));
    p = vec_fma(p, z, vec_of(0x1.ce379cp-9f));
    p = vec_fma(p, z, vec_of(0x1.1292ccp-3f));
    p = vec_fma(p, z, vec_of(1.0f));
    vec q = vec_of(0x1.b14e54p-21f);
    q = vec_fma(q, z, vec_of(0x1.5dd6e2p-12f));
    q = vec_fma(q, z, vec_of(0x1.a9e2e6p-6f));
    q = vec_fma(q, z, vec_of(0x1.de9eb4p-2f));
    q = vec_fma(q, z, vec_of(1.0f));
    return vec_unit(x * p / q);
}

ALPHA_INLINE vec vec_sigmoid(vec x)
{
    /* in [0, 1] because tanh is in [-1, 1] */
    return vec_fma(vec_tanh(x * vec_of(0.5f)), vec_of(0.5f), vec_of(0.5f));
}

/* x P(x^2) / Q(x^2), x^2 held at 4.05^2: from 4.03 on every float gives 1 or more, so the ends are exactly 1. In float32
 * erf is 1 from 3.84 on. */
ALPHA_INLINE vec vec_erf(vec x)
{
    const vec z = vec_min(vec_of(4.05f * 4.05f), x * x);
    vec p = vec_of(0x1.0fe9bep-19f);
    p = vec_fma(p, z, vec_of(0x1.2a8118p-12f));
    p = vec_fma(p, z, vec_of(0x1.f31922p-9f));
    p = vec_fma(p, z, vec_of(0x1.b12592p-5f));
    p = vec_fma(p, z, vec_of(0x1.8847a0p-3f));
    p = vec_fma(p, z, vec_of(0x1.20dd74p+0f));
    vec q = vec_of(0x1.3d59e4p-15f);
    q = vec_fma(q, z, vec_of(0x1.32dff6p-10f));
    q = vec_fma(q, z, vec_of(0x1.ed4d74p-7f));
    q = vec_fma(q, z, vec_of(0x1.d53926p-4f));
    q = vec_fma(q, z, vec_of(0x1.01941cp-1f));
    q = vec_fma(q, z, vec_of(1.0f));
    return vec_unit(x * p / q);
}

/* The normal quantile by Winitzki's approximation of the inverse error function (a = 0.147), which is what ONNX Runtime
 * means by PROBIT; NaN outside of [0, 1]. */
ALPHA_INLINE float alpha_probit(float p)
{
    const float x = 2.0f * p - 1.0f, log_of = logf((1.0f - x) * (1.0f + x));
    const float v = 2.0f / (3.14159265f * 0.147f) + 0.5f * log_of, v2 = 1.0f / 0.147f * log_of;
    const float size = sqrtf(-v + sqrtf(v * v - v2));
    return 1.41421356f * (x < 0.0f ? -size : size);
}

#define ALPHA_ACT_LOOP(expression)                     \
    for (uint32_t i = 0; i < n; i += VEC) {            \
        const vec x = vec_load(from + i);              \
        vec_store(to + i, (expression));               \
    }                                                  \
    break

/* to[i] = f(from[i]) over whole vectors: n is rounded up, the padding behind it is written too. In place is fine. */
static __attribute__((unused)) void alpha_activate(uint32_t act, float p, float q, const float *from, float *to,
                                                   uint32_t n)
{
    const vec zero = vec_of(0.0f), one = vec_of(1.0f), half = vec_of(0.5f);
    switch (act) {
    case ALPHA_ACT_RELU:
        ALPHA_ACT_LOOP(vec_max(zero, x));
    case ALPHA_ACT_LEAKY:
        ALPHA_ACT_LOOP(vec_select(x < zero, x * vec_of(p), x));
    case ALPHA_ACT_ELU:
        ALPHA_ACT_LOOP(vec_select(x < zero, vec_of(p) * (vec_exp(x) - one), x));
    case ALPHA_ACT_TANH:
        ALPHA_ACT_LOOP(vec_tanh(x));
    case ALPHA_ACT_SIGMOID:
        ALPHA_ACT_LOOP(vec_sigmoid(x));
    case ALPHA_ACT_GELU:
        ALPHA_ACT_LOOP(vec_fma(half * x, vec_erf(x * vec_of(0x1.6a09e6p-1f)), half * x));
    case ALPHA_ACT_GELU_TANH:
        ALPHA_ACT_LOOP(vec_fma(
            half * x, vec_tanh(vec_of(0x1.988454p-1f) * vec_fma(vec_of(0.044715f) * x, x * x, x)), half * x));
    case ALPHA_ACT_CLIP:
        ALPHA_ACT_LOOP(vec_min(vec_of(q), vec_max(vec_of(p), x)));
    case ALPHA_ACT_EXP:
        ALPHA_ACT_LOOP(vec_exp(x));
    case ALPHA_ACT_ERF:
        ALPHA_ACT_LOOP(vec_erf(x));
    case ALPHA_ACT_ABS:
        ALPHA_ACT_LOOP((vec)((vec_int)x & 0x7fffffff));
    case ALPHA_ACT_NEG:
        ALPHA_ACT_LOOP(-x);
    case ALPHA_ACT_RECIPROCAL:
        ALPHA_ACT_LOOP(one / x);
    case ALPHA_ACT_SILU:
        ALPHA_ACT_LOOP(x / (one + vec_exp(-x))); /* x times the error of vec_sigmoid would show */
    case ALPHA_ACT_SQRT:
        for (uint32_t i = 0; i < n; i++)
            to[i] = sqrtf(from[i]);
        break;
    case ALPHA_ACT_LOG:
        for (uint32_t i = 0; i < n; i++)
            to[i] = logf(from[i]);
        break;
    case ALPHA_ACT_SOFTPLUS:
        for (uint32_t i = 0; i < n; i++)
            to[i] = from[i] > 0 ? from[i] + log1pf(expf(-from[i])) : log1pf(expf(from[i]));
        break;
    case ALPHA_ACT_PROBIT:
        for (uint32_t i = 0; i < n; i++)
            to[i] = alpha_probit(from[i]);
        break;
    default:
        ALPHA_ACT_LOOP(x);
    }
}
#undef ALPHA_ACT_LOOP

#endif
