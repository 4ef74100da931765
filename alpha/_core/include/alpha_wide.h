/* Windows and their readers several at a time: one instruction does its own record and those right behind it.
 * Floor 2; part of kernels.c. The same arithmetic as alpha_windows.h in other lanes, bit for bit; where one of them is
 * not in its usual case each goes by itself. */
#ifndef ALPHA_WIDE_H
#define ALPHA_WIDE_H

#include "alpha_lanes.h"
#include "alpha_windows.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

static inline __attribute__((always_inline)) alpha_v4 product_rest(alpha_v4 a, alpha_v4 b, alpha_v4 p)
{
#if defined(__AVX2__) && defined(__FMA__)
    return (alpha_v4)_mm256_fmsub_pd((__m256d)a, (__m256d)b, (__m256d)p);
#else
    for (int l = 0; l < 4; l++)
        p[l] = alpha_two_prod(a[l], b[l]).lo;
    return p;
#endif
}

static inline __attribute__((always_inline)) alpha_v4 root_of_four(alpha_v4 x)
{
#if defined(__AVX2__) && defined(__FMA__)
    return (alpha_v4)_mm256_sqrt_pd((__m256d)x);
#else
    for (int l = 0; l < 4; l++)
        x[l] = sqrt(x[l]);
    return x;
#endif
}

static inline __attribute__((always_inline)) int all_four(alpha_m4 mask)
{
#if defined(__AVX2__) && defined(__FMA__)
    return _mm256_movemask_pd((__m256d)mask) == 15;
#else
    return (mask[0] & mask[1] & mask[2] & mask[3]) != 0;
#endif
}

/* Each of four readers in its usual case: ready, enough samples, not all values equal. */
static inline __attribute__((always_inline)) int usual(const alpha_pass *c, const alpha_instr *i,
                                                       const alpha_window *w[4], const alpha_history *h[4])
{
    uint64_t good = 1;
    for (int l = 0; l < 4; l++) {
        w[l] = STATE(const alpha_window, i[l].state);
        h[l] = STATE(const alpha_history, i[l].history);
        good &= w[l]->ready & (w[l]->n > i[l].ddof) & (h[l]->run < w[l]->n);
    }
    return good != 0;
}

static inline __attribute__((always_inline)) void put_four(const alpha_pass *c, const alpha_instr *i,
                                                           const alpha_history *h[4], alpha_v4 value)
{
    for (int l = 0; l < 4; l++) {
        c->val[i[l].dst] = value[l];
        c->mark[i[l].dst] = ALPHA_READY | h[l]->upd;
    }
}

#define OF_FOUR(expr) ((alpha_v4){expr(0), expr(1), expr(2), expr(3)})
#define SAMPLES(l) (double)(int64_t)w[l]->n
#define SUM_HI(l) w[l]->hi[0]
#define SUM_LO(l) w[l]->lo[0]
#define SQUARES_HI(l) w[l]->hi[1]
#define SQUARES_LO(l) w[l]->lo[1]
#define DDOF(l) (double)i[l].ddof

OPERATION(READ_MEAN_BY_4)
{
    const alpha_window *w[4];
    const alpha_history *h[4];
    if (likely(usual(c, i, w, h))) {
        put_four(c, i, h, OF_FOUR(SUM_HI) / OF_FOUR(SAMPLES) + 0.0);
        return;
    }
    for (int l = 0; l < 4; l++)
        read_window(c, i + l, MEAN);
}

OPERATION(READ_STD_BY_4)
{
    const alpha_window *w[4];
    const alpha_history *h[4];
    if (likely(usual(c, i, w, h))) {
        const alpha_v4 n = OF_FOUR(SAMPLES), s = OF_FOUR(SUM_HI), q = OF_FOUR(SQUARES_HI);
        const alpha_v4 nq = q * n, nq_lo = product_rest(q, n, nq), ss = s * s, ss_lo = product_rest(s, s, ss);
        const alpha_v4 top = nq - ss, bb = top - nq, top_lo = (nq - (top - bb)) + (-ss - bb);
        const alpha_v4 num = top + (top_lo + ((nq_lo + OF_FOUR(SQUARES_LO) * n) - (ss_lo + 2.0 * (s * OF_FOUR(SUM_LO)))));
        const alpha_v4 least = nq * chosen(n <= all_of(64.0), all_of(0x1p-44), all_of(0x1p-60));
        if (likely(all_four(num >= least))) {
            const alpha_v4 var = num / (n * (n - OF_FOUR(DDOF)));
            put_four(c, i, h, root_of_four(chosen(var < all_of(0.0), all_of(0.0), var)));
            return;
        }
    }
    for (int l = 0; l < 4; l++)
        read_window(c, i + l, STD);
}

#undef OF_FOUR
#undef SAMPLES
#undef SUM_HI
#undef SUM_LO
#undef SQUARES_HI
#undef SQUARES_LO
#undef DDOF

/* x and x*x of two values: high and low parts as {x, x*x, y, y*y}. */
static inline __attribute__((always_inline)) void two_and_squares(double x, double y, alpha_v4 *hi, alpha_v4 *lo)
{
    const alpha_v4 v = {x, x, y, y}, p = v * v, e = product_rest(v, v, p);
    *hi = __builtin_shufflevector(v, p, 0, 5, 2, 7);
    *lo = __builtin_shufflevector(all_of(0.0), e, 0, 5, 2, 7);
}

static inline __attribute__((always_inline)) void moved_on(alpha_window *w, const alpha_history *h, uint64_t n)
{
    w->tail = h->head - n;
    w->ready = h->n_gap >= n;
    w->warm = 1;
    w->n = n;
    if (w->hi[1] > w->q_max)
        w->q_max = w->hi[1];
    if (unlikely(!(w->hi[1] * 0x1p20 >= w->q_max)))
        rebuild(w, h);
}

OPERATION(WINDOW_COUNT_BY_2)
{
    const alpha_history *g = STATE(const alpha_history, i[0].history), *h = STATE(const alpha_history, i[1].history);
    alpha_window *v = STATE(alpha_window, i[0].state), *w = STATE(alpha_window, i[1].state);
    const uint64_t n = (uint64_t)i[0].n, m = (uint64_t)i[1].n;
    const uint32_t now = number_of(c);
    if (unlikely(!((g->upd == now) & (h->upd == now) & (g->head > n) & (h->head > m)))) {
        op_WINDOW_COUNT(c, i);
        op_WINDOW_COUNT(c, i + 1);
        return;
    }
    alpha_v4 in, in_lo, out, out_lo;
    two_and_squares(g->newest, h->newest, &in, &in_lo);
    two_and_squares(g->x[(g->head - 1 - n) & g->mask], h->x[(h->head - 1 - m) & h->mask], &out, &out_lo);
    const alpha_v4 old = __builtin_shufflevector(v->hi, w->hi, 0, 1, 2, 3);
    const alpha_v4 old_lo = __builtin_shufflevector(v->lo, w->lo, 0, 1, 2, 3);
    const alpha_v4 a = old + in, ab = a - old, a_lo = (old - (a - ab)) + (in - ab);
    const alpha_v4 b = a - out, bb = b - a, b_lo = (a - (b - bb)) + (-out - bb);
    const alpha_v4 lo = (old_lo + (in_lo - out_lo)) + (a_lo + b_lo), s = b + lo, rest = lo - (s - b);
    v->hi = __builtin_shufflevector(s, s, 0, 1);
    w->hi = __builtin_shufflevector(s, s, 2, 3);
    v->lo = __builtin_shufflevector(rest, rest, 0, 1);
    w->lo = __builtin_shufflevector(rest, rest, 2, 3);
    moved_on(v, g, n);
    moved_on(w, h, m);
}

#endif
