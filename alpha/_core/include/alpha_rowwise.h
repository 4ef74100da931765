/* Steps that work on rows of values as they lie: arithmetic, activations, softmax, norms, sums, copies. Floor 3.
 * Arithmetic is one IEEE operation a value, so it equals any other engine's bit for bit. */
#ifndef ALPHA_ROWWISE_H
#define ALPHA_ROWWISE_H

#include "alpha_activation.h"
#include "alpha_plan.h"

/* Rows in ascending order: what a row writes past its end the next one overwrites, and the last one's is padding. */
#define ALPHA_PLAN_BINARY(name, expression)                                                                     \
    static void plan_##name(const alpha_plan_step *s, const char *weights, float *arena)                        \
    {                                                                                                           \
        (void)weights;                                                                                          \
        const float *a = arena + s->a, *b = arena + s->b;                                                       \
        float *d = arena + s->d;                                                                                \
        const int one = s->q != 0.0f;                                                                           \
        for (uint32_t r = 0; r < s->rows; r++, a += s->lda, b += s->ldb, d += s->ldd) {                         \
            const vec same = vec_of(b[0]);                                                                      \
            for (uint32_t i = 0; i < s->n; i += VEC) {                                                          \
                const vec x = vec_load(a + i), y = one ? same : vec_load(b + i);                                \
                vec_store(d + i, (expression));                                                                 \
            }                                                                                                   \
        }                                                                                                       \
    }
ALPHA_PLAN_BINARY(ADD, x + y)
ALPHA_PLAN_BINARY(SUB, x - y)
ALPHA_PLAN_BINARY(MUL, x *y)
ALPHA_PLAN_BINARY(DIV, x / y)
ALPHA_PLAN_BINARY(MAX, vec_max(y, x))
ALPHA_PLAN_BINARY(MIN, vec_min(y, x))
#undef ALPHA_PLAN_BINARY

/* to the power p */
static void plan_POW(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    const float *a = arena + s->a;
    float *d = arena + s->d;
    if (s->p == 2.0f)
        for (uint32_t i = 0; i < s->n; i++)
            d[i] = a[i] * a[i];
    else
        for (uint32_t i = 0; i < s->n; i++)
            d[i] = powf(a[i], s->p);
}

static void plan_ACT(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    alpha_activate(s->act, s->p, s->q, arena + s->a, arena + s->d, s->n);
}

ALPHA_INLINE float alpha_row_max(const float *a, uint32_t n)
{
    float best = a[0];
    for (uint32_t i = 1; i < n; i++)
        best = a[i] > best || a[i] != a[i] ? a[i] : best;
    return best;
}

ALPHA_INLINE float alpha_row_sum(const float *a, uint32_t n)
{
    if (n < 2 * VEC) {
        float sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += a[i];
        return sum;
    }
    vec sums = vec_load(a);
    uint32_t i = VEC;
    for (; i + VEC <= n; i += VEC)
        sums += vec_load(a + i);
    float sum = vec_sum(sums);
    for (; i < n; i++)
        sum += a[i];
    return sum;
}

static void plan_SOFTMAX(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    const float *a = arena + s->a;
    float *d = arena + s->d;
    for (uint32_t r = 0; r < s->rows; r++, a += s->lda, d += s->ldd) {
        const vec top = vec_of(alpha_row_max(a, s->n));
        for (uint32_t i = 0; i < s->n; i += VEC)
            vec_store(d + i, vec_exp(vec_load(a + i) - top));
        const vec sum = vec_of(alpha_row_sum(d, s->n));
        for (uint32_t i = 0; i < s->n; i += VEC)
            vec_store(d + i, vec_load(d + i) / sum);
    }
}

static void plan_LOG_SOFTMAX(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    const float *a = arena + s->a;
    float *d = arena + s->d;
    for (uint32_t r = 0; r < s->rows; r++, a += s->lda, d += s->ldd) {
        const float top = alpha_row_max(a, s->n);
        for (uint32_t i = 0; i < s->n; i += VEC)
            vec_store(d + i, vec_exp(vec_load(a + i) - vec_of(top)));
        const float less = logf(alpha_row_sum(d, s->n));
        for (uint32_t i = 0; i < s->n; i += VEC)
            vec_store(d + i, vec_load(a + i) - vec_of(top) - vec_of(less));
    }
}

static void plan_LAYER_NORM(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    const float *a = arena + s->a, *gamma = arena + s->b, *beta = arena + s->c;
    float *d = arena + s->d;
    for (uint32_t r = 0; r < s->rows; r++, a += s->lda, d += s->ldd) {
        const float mean = alpha_row_sum(a, s->n) / (float)s->n;
        float squares = 0;
        for (uint32_t i = 0; i < s->n; i++) {
            const float off = a[i] - mean;
            squares += off * off;
        }
        const float scale = 1.0f / sqrtf(squares / (float)s->n + s->p);
        for (uint32_t i = 0; i < s->n; i += VEC)
            vec_store(d + i, vec_fma((vec_load(a + i) - vec_of(mean)) * vec_of(scale), vec_load(gamma + i),
                                     vec_load(beta + i)));
    }
}

#define ALPHA_PLAN_REDUCE(name, expression)                                                \
    static void plan_REDUCE_##name(const alpha_plan_step *s, const char *weights, float *arena) \
    {                                                                                      \
        (void)weights;                                                                     \
        const float *a = arena + s->a;                                                     \
        const uint32_t n = s->n;                                                           \
        float *d = arena + s->d;                                                           \
        for (uint32_t r = 0; r < s->rows; r++, a += s->lda)                                \
            d[r] = (expression);                                                           \
    }

ALPHA_INLINE float alpha_row_min(const float *a, uint32_t n)
{
    float best = a[0];
    for (uint32_t i = 1; i < n; i++)
        best = a[i] < best || a[i] != a[i] ? a[i] : best;
    return best;
}

ALPHA_INLINE float alpha_row_l1(const float *a, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += fabsf(a[i]);
    return sum;
}

ALPHA_INLINE float alpha_row_squares(const float *a, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * a[i];
    return sum;
}

ALPHA_PLAN_REDUCE(SUM, alpha_row_sum(a, n))
ALPHA_PLAN_REDUCE(MEAN, alpha_row_sum(a, n) / (float)n)
ALPHA_PLAN_REDUCE(MAX, alpha_row_max(a, n))
ALPHA_PLAN_REDUCE(MIN, alpha_row_min(a, n))
ALPHA_PLAN_REDUCE(L1, alpha_row_l1(a, n))
ALPHA_PLAN_REDUCE(L2, sqrtf(alpha_row_squares(a, n)))
#undef ALPHA_PLAN_REDUCE

static void plan_NORMALIZE(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    const float *a = arena + s->a;
    float *d = arena + s->d;
    const uint32_t n = s->n;
    for (uint32_t r = 0; r < s->rows; r++, a += s->lda, d += s->ldd) {
        const float by = s->flags == 0 ? alpha_row_max(a, n) : s->flags == 1 ? alpha_row_l1(a, n) : alpha_row_squares(a, n);
        if (by == 0.0f)
            for (uint32_t i = 0; i < n; i++)
                d[i] = a[i];
        else if (s->flags < 2)
            for (uint32_t i = 0; i < n; i++)
                d[i] = a[i] / by;
        else
            for (uint32_t i = 0; i < n; i++)
                d[i] = copysignf(sqrtf(a[i] * a[i] / by), a[i]);
    }
}

static void plan_GATHER(const alpha_plan_step *s, const char *weights, float *arena)
{
    const int32_t *index = (const int32_t *)(const void *)(weights + s->w);
    const float *a = arena + s->a;
    float *d = arena + s->d;
    if (s->flags) { /* some places are outside: padding */
        for (uint32_t i = 0; i < s->n; i++)
            d[i] = index[i] < 0 ? s->p : a[index[i]];
        return;
    }
    for (uint32_t i = 0; i < s->n; i++)
        d[i] = a[index[i]];
}

static void plan_COPY(const alpha_plan_step *s, const char *weights, float *arena)
{
    (void)weights;
    memmove(arena + s->d, arena + s->a, (size_t)s->n * sizeof(float));
}

#endif
