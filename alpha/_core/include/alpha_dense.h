/* Matrix times vector, and times a few vectors, with weights packed for the registers. Floor 3.
 *
 * Packing: the m outputs are cut into blocks of 8 vectors, the rest into one block of 1 to 7 vectors (zeros fill the
 * last vector). A block holds its weights input by input: [n][vectors of the block][VEC]. So one pass over the inputs
 * broadcasts each once, reads the weights in order, and keeps all sums of the block in registers. Narrow blocks take
 * several inputs at a time into sums of their own: the adder needs eight sums under way to be busy. */
#ifndef ALPHA_DENSE_H
#define ALPHA_DENSE_H

#include "alpha_activation.h"
#include "alpha_plan.h"

#define ALPHA_BLOCK 8

/* The vector at w, from bfloat16 or float32. */
ALPHA_INLINE vec alpha_weight(const char *w, int half)
{
    return half ? vec_widen((const uint16_t *)(const void *)w) : vec_load((const float *)(const void *)w);
}

#define ALPHA_WEIGHT_BYTES(half) ((half) ? 2 * VEC : 4 * VEC) /* of a vector */

/* acc[0..R) += sum over k < n of x[k] * w[k][0..R); U inputs at a time. Places are steps from moving pointers: with
 * indices gcc spends two instructions on each address. */
ALPHA_INLINE void alpha_dense_sum(const float *restrict x, uint32_t n, const char *restrict w, int half, vec *acc,
                                  const int R, const int U)
{
    const int one = ALPHA_WEIGHT_BYTES(half);
    vec sum[8];
    for (int u = 1; u < U; u++)
        for (int r = 0; r < R; r++)
            sum[u * R + r] = vec_of(0.0f);
    for (int r = 0; r < R; r++)
        sum[r] = acc[r];
    const float *end = x + n, *whole = x + n / (uint32_t)U * (uint32_t)U;
    for (; x < whole; x += U, w += U * R * one) {
#pragma GCC unroll 8
        for (int u = 0; u < U; u++) {
            const vec at = vec_of(x[u]);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
                sum[u * R + r] = vec_fma(at, alpha_weight(w + (u * R + r) * one, half), sum[u * R + r]);
        }
    }
    if (U > 1)
        for (; x < end; x++, w += R * one) {
            const vec at = vec_of(*x);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
                sum[r] = vec_fma(at, alpha_weight(w + r * one, half), sum[r]);
        }
    for (int u = 1; u < U; u++)
        for (int r = 0; r < R; r++)
            sum[r] += sum[u * R + r];
    for (int r = 0; r < R; r++)
        acc[r] = sum[r];
}

/* One block of one row: y = bias [+ more] + W x */
ALPHA_INLINE void alpha_dense_block(const float *restrict x, uint32_t n, const char *restrict w, int half,
                                    const float *bias, const float *more, float *y, const int R, const int U)
{
    vec acc[8];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        acc[r] = vec_load(bias + r * VEC);
        if (more)
            acc[r] += vec_load(more + r * VEC);
    }
    alpha_dense_sum(x, n, w, half, acc, R, U);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
        vec_store(y + r * VEC, acc[r]);
}

/* V vectors of a block of R for four rows at once: the weights are read once for the four. */
ALPHA_INLINE void alpha_dense_four(const float *restrict x, uint32_t lda, uint32_t n, const char *restrict w, int half,
                                   const float *bias, float *y, uint32_t ldd, const uint32_t R, const int V)
{
    const int one = ALPHA_WEIGHT_BYTES(half);
    const size_t step = (size_t)R * (size_t)one;
    const float *x1 = x + lda, *x2 = x1 + lda, *x3 = x2 + lda;
    vec acc[4][2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            acc[i][v] = vec_load(bias + v * VEC);
    for (size_t k = 0; k < n; k++, w += step) {
        const vec at[4] = {vec_of(x[k]), vec_of(x1[k]), vec_of(x2[k]), vec_of(x3[k])};
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) {
            const vec weight = alpha_weight(w + v * one, half);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                acc[i][v] = vec_fma(at[i], weight, acc[i][v]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            vec_store(y + (size_t)i * ldd + v * VEC, acc[i][v]);
}

ALPHA_INLINE void alpha_dense_row(const float *x, uint32_t n, const char *w, int half, const float *bias,
                                  const float *more, float *y, uint32_t vectors)
{
    const size_t block_bytes = (size_t)n * ALPHA_BLOCK * (size_t)ALPHA_WEIGHT_BYTES(half);
    for (; vectors >= ALPHA_BLOCK; vectors -= ALPHA_BLOCK) {
        alpha_dense_block(x, n, w, half, bias, more, y, 8, 1);
        w += block_bytes;
        bias += ALPHA_BLOCK * VEC;
        more = more ? more + ALPHA_BLOCK * VEC : more;
        y += ALPHA_BLOCK * VEC;
    }
#define ALPHA_DENSE_REST(R, U) case R: alpha_dense_block(x, n, w, half, bias, more, y, R, U); break;
    switch (vectors) {
        ALPHA_DENSE_REST(1, 8)
        ALPHA_DENSE_REST(2, 4)
        ALPHA_DENSE_REST(3, 2)
        ALPHA_DENSE_REST(4, 2)
        ALPHA_DENSE_REST(5, 1)
        ALPHA_DENSE_REST(6, 1)
        ALPHA_DENSE_REST(7, 1)
    default:
        break;
    }
#undef ALPHA_DENSE_REST
}

ALPHA_INLINE void alpha_dense_rows(const float *x, uint32_t lda, uint32_t n, const char *w, int half,
                                   const float *bias, float *y, uint32_t ldd, uint32_t vectors, uint32_t rows)
{
    uint32_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        const float *x4 = x + (size_t)row * lda;
        float *y4 = y + (size_t)row * ldd;
        const char *block = w;
        for (uint32_t v = 0; v < vectors;) {
            const uint32_t R = vectors - v < ALPHA_BLOCK ? vectors - v : ALPHA_BLOCK;
            uint32_t r = 0;
            for (; r + 2 <= R; r += 2)
                alpha_dense_four(x4, lda, n, block + (size_t)r * (size_t)ALPHA_WEIGHT_BYTES(half), half, bias + (v + r) * VEC,
                                 y4 + (v + r) * VEC, ldd, R, 2);
            if (r < R)
                alpha_dense_four(x4, lda, n, block + (size_t)r * (size_t)ALPHA_WEIGHT_BYTES(half), half, bias + (v + r) * VEC,
                                 y4 + (v + r) * VEC, ldd, R, 1);
            block += (size_t)n * R * (size_t)ALPHA_WEIGHT_BYTES(half);
            v += R;
        }
    }
    for (; row < rows; row++)
        alpha_dense_row(x + (size_t)row * lda, n, w, half, bias, NULL, y + (size_t)row * ldd, vectors);
}

/* w: weights, w2: bias (whole vectors) */
static void plan_DENSE(const alpha_plan_step *s, const char *weights, float *arena)
{
    const uint32_t vectors = (s->m + VEC - 1) / VEC;
    const float *x = arena + s->a, *bias = (const float *)(const void *)(weights + s->w2);
    const char *w = weights + s->w;
    float *y = arena + s->d;
    if (s->rows == 1) {
        const float *more = s->b == ALPHA_NONE ? NULL : arena + s->b;
        if (s->half)
            alpha_dense_row(x, s->n, w, 1, bias, more, y, vectors);
        else
            alpha_dense_row(x, s->n, w, 0, bias, more, y, vectors);
    } else if (s->half) {
        alpha_dense_rows(x, s->lda, s->n, w, 1, bias, y, s->ldd, vectors, s->rows);
    } else {
        alpha_dense_rows(x, s->lda, s->n, w, 0, bias, y, s->ldd, vectors, s->rows);
    }
    if (s->act != ALPHA_ACT_NONE)
        alpha_activate(s->act, s->p, s->q, y, y, (s->rows - 1) * s->ldd + vectors * VEC);
}

#endif
