/* One layer of an LSTM or GRU over time steps, each a pass over packed weights. Floor 3.
 *
 * Packing: units are cut into blocks of two vectors (one for what is left), and a block holds its units' gates side
 * by side: LSTM i i o o f f c c, GRU z z r r h h. So all gates of a block stay in registers from the first product
 * to the new state. The order of the sums is: bias and the part of the state first, then the inputs, so that
 * the part of the state can be made before the inputs are known (alpha_model_prepare) with the same bits. */
#ifndef ALPHA_RECURRENT_H
#define ALPHA_RECURRENT_H

#include "alpha_dense.h"

/* acc[r] of one block: from bias + U h, or from what was prepared */
#define ALPHA_GATES 4

ALPHA_INLINE void alpha_lstm_cell(vec *acc, const float *c_in, float *c_out, float *h_out, const int V)
{
    for (int v = 0; v < V; v++) {
        const vec in = vec_sigmoid(acc[v]), out = vec_sigmoid(acc[V + v]), keep = vec_sigmoid(acc[2 * V + v]);
        const vec cell = vec_fma(keep, vec_load(c_in + v * VEC), in * vec_tanh(acc[3 * V + v]));
        vec_store(c_out + v * VEC, cell);
        vec_store(h_out + v * VEC, out * vec_tanh(cell));
    }
}

ALPHA_INLINE void alpha_lstm_block(const float *x, uint32_t n, const char *w, const float *h, uint32_t m, const char *u,
                                   int half, const float *start, int prepared, const float *c_in, float *c_out,
                                   float *h_out, const int V)
{
    vec acc[8];
#pragma GCC unroll 8
    for (int r = 0; r < 4 * V; r++)
        acc[r] = vec_load(start + r * VEC);
    if (!prepared)
        alpha_dense_sum(h, m, u, half, acc, 4 * V, 2 / V);
    alpha_dense_sum(x, n, w, half, acc, 4 * V, 2 / V);
    alpha_lstm_cell(acc, c_in, c_out, h_out, V);
}

/* start: bias, or bias + U h, per block of gates */
ALPHA_INLINE void alpha_lstm_step(const alpha_plan_step *s, const char *weights, const float *x, const float *h,
                                  const float *start, int prepared, const float *c_in, float *c_out, float *h_out,
                                  int half)
{
    const char *w = weights + s->w, *u = weights + s->w2;
    const size_t one = 4 * VEC * (size_t)(half ? 2 : 4); /* bytes of the gates of one vector of units, one input */
    uint32_t vectors = (s->m + VEC - 1) / VEC;
    for (; vectors >= 2; vectors -= 2) {
        alpha_lstm_block(x, s->n, w, h, s->m, u, half, start, prepared, c_in, c_out, h_out, 2);
        w += 2 * one * s->n;
        u += 2 * one * s->m;
        start += 8 * VEC;
        c_in += 2 * VEC;
        c_out += 2 * VEC;
        h_out += 2 * VEC;
    }
    if (vectors)
        alpha_lstm_block(x, s->n, w, h, s->m, u, half, start, prepared, c_in, c_out, h_out, 1);
}

/* start + U h of a layer, block by block of R and R / 2 vectors, K and 2 K inputs at a time: as the step itself sums */
ALPHA_INLINE void alpha_recurrent_start(const float *h, uint32_t m, const char *u, int half, const float *bias,
                                        float *start, const int R, const int K)
{
    const size_t one = (size_t)R / 2 * VEC * (half ? 2 : 4);
    uint32_t vectors = (m + VEC - 1) / VEC;
    for (; vectors >= 2; vectors -= 2) {
        alpha_dense_block(h, m, u, half, bias, NULL, start, R, K);
        u += 2 * one * m;
        bias += R * VEC;
        start += R * VEC;
    }
    if (vectors)
        alpha_dense_block(h, m, u, half, bias, NULL, start, R / 2, 2 * K);
}

/* Is what stands at `pre` made of this state? Compared by value: a state that changed since is not mistaken. */
ALPHA_INLINE int alpha_prepared(const alpha_plan_step *s, const float *arena, const float *h)
{
    return s->pre != ALPHA_NONE && arena[s->pre_key + s->m] == 1.0f &&
           memcmp(arena + s->pre_key, h, s->m * sizeof(float)) == 0;
}

/* a: inputs, rows of n at lda; d: the state h after each row, at ldd; w: W, w2: U, w3: bias.
 * h, cell -> h_out, cell_out: the layer's state before the first and after the last row. */
static void plan_LSTM(const alpha_plan_step *s, const char *weights, float *arena)
{
    const float *bias = (const float *)(const void *)(weights + s->w3);
    const float *x = arena + s->a, *h = arena + s->h, *c = arena + s->cell;
    float *y = arena + s->d;
    for (uint32_t t = 0; t < s->rows; t++) {
        const int ready = t == 0 && alpha_prepared(s, arena, h);
        const float *start = ready ? arena + s->pre : bias;
        if (s->half)
            alpha_lstm_step(s, weights, x, h, start, ready, c, arena + s->cell_out, y, 1);
        else
            alpha_lstm_step(s, weights, x, h, start, ready, c, arena + s->cell_out, y, 0);
        h = y;
        c = arena + s->cell_out;
        x += s->lda;
        y += s->ldd;
    }
    memmove(arena + s->h_out, h, s->m * sizeof(float));
}

/* GRU with the reset gate behind the product (linear_before_reset) */
ALPHA_INLINE void alpha_gru_block(const float *x, uint32_t n, const char *w, const float *h, uint32_t m, const char *u,
                                  int half, const float *bias, const float *start, int prepared, const float *h_in,
                                  float *h_out, const int V)
{
    vec inner[8], acc[8]; /* inner: bias + U h; acc: bias + W x */
#pragma GCC unroll 6
    for (int r = 0; r < 3 * V; r++) {
        inner[r] = vec_load(start + r * VEC);
        acc[r] = vec_load(bias + r * VEC);
    }
    if (!prepared)
        alpha_dense_sum(h, m, u, half, inner, 3 * V, V == 1 ? 2 : 1);
    alpha_dense_sum(x, n, w, half, acc, 3 * V, V == 1 ? 2 : 1);
    for (int v = 0; v < V; v++) {
        const vec z = vec_sigmoid(acc[v] + inner[v]), r = vec_sigmoid(acc[V + v] + inner[V + v]);
        const vec fresh = vec_tanh(vec_fma(r, inner[2 * V + v], acc[2 * V + v]));
        vec_store(h_out + v * VEC, vec_fma(z, vec_load(h_in + v * VEC) - fresh, fresh));
    }
}

/* w3: the bias of W, then the bias of U, each in the order of the packed gates */
ALPHA_INLINE void alpha_gru_step(const alpha_plan_step *s, const char *weights, const float *x, const float *h,
                                 const float *start, int prepared, float *h_out, int half)
{
    const char *w = weights + s->w, *u = weights + s->w2;
    const size_t one = 3 * VEC * (size_t)(half ? 2 : 4);
    const float *bias = (const float *)(const void *)(weights + s->w3), *h_in = h;
    uint32_t vectors = (s->m + VEC - 1) / VEC;
    for (; vectors >= 2; vectors -= 2) {
        alpha_gru_block(x, s->n, w, h, s->m, u, half, bias, start, prepared, h_in, h_out, 2);
        w += 2 * one * s->n;
        u += 2 * one * s->m;
        bias += 6 * VEC;
        start += 6 * VEC;
        h_in += 2 * VEC;
        h_out += 2 * VEC;
    }
    if (vectors)
        alpha_gru_block(x, s->n, w, h, s->m, u, half, bias, start, prepared, h_in, h_out, 1);
}

static void plan_GRU(const alpha_plan_step *s, const char *weights, float *arena)
{
    const uint32_t vectors = (s->m + VEC - 1) / VEC;
    const float *inner_bias = (const float *)(const void *)(weights + s->w3) + 3 * VEC * vectors;
    const float *x = arena + s->a, *h = arena + s->h;
    float *y = arena + s->d;
    for (uint32_t t = 0; t < s->rows; t++) {
        const int ready = t == 0 && alpha_prepared(s, arena, h);
        const float *start = ready ? arena + s->pre : inner_bias;
        if (s->half)
            alpha_gru_step(s, weights, x, h, start, ready, y, 1);
        else
            alpha_gru_step(s, weights, x, h, start, ready, y, 0);
        h = y;
        x += s->lda;
        y += s->ldd;
    }
    memmove(arena + s->h_out, h, s->m * sizeof(float));
}

/* z and r * h of one block of a GRU whose reset gate stands before the product */
ALPHA_INLINE void alpha_reset_block(const float *x, uint32_t n, const char *w, const float *h, uint32_t m, const char *u,
                                    int half, const float *start, int prepared, const float *h_in, float *z, float *rh,
                                    const int V)
{
    vec acc[4];
#pragma GCC unroll 4
    for (int r = 0; r < 2 * V; r++)
        acc[r] = vec_load(start + r * VEC);
    if (!prepared)
        alpha_dense_sum(h, m, u, half, acc, 2 * V, 4 / V);
    alpha_dense_sum(x, n, w, half, acc, 2 * V, 4 / V);
    for (int v = 0; v < V; v++) {
        vec_store(z + v * VEC, vec_sigmoid(acc[v]));
        vec_store(rh + v * VEC, vec_sigmoid(acc[V + v]) * vec_load(h_in + v * VEC));
    }
}

/* w, w2: W and U of z and r in blocks of gates, then those of the new state as DENSE has them; w3: their biases.
 * The new state needs r * h of all units, so it is a second pass. z, rh: room for a row each */
ALPHA_INLINE void alpha_reset_step(const alpha_plan_step *s, const char *weights, const float *x, const float *h,
                                   const float *start, int prepared, float *z, float *rh, float *y, int half)
{
    const char *w = weights + s->w, *u = weights + s->w2;
    const uint32_t vectors = (s->m + VEC - 1) / VEC;
    const size_t one = 2 * VEC * (size_t)(half ? 2 : 4); /* bytes of both gates of one vector of units, one input */
    const float *bias = (const float *)(const void *)(weights + s->w3) + 2 * VEC * vectors;
    uint32_t v = 0;
    for (; v + 2 <= vectors; v += 2)
        alpha_reset_block(x, s->n, w + v * one * s->n, h, s->m, u + v * one * s->m, half, start + 2 * v * VEC, prepared,
                          h + v * VEC, z + v * VEC, rh + v * VEC, 2);
    if (v < vectors)
        alpha_reset_block(x, s->n, w + v * one * s->n, h, s->m, u + v * one * s->m, half, start + 2 * v * VEC, prepared,
                          h + v * VEC, z + v * VEC, rh + v * VEC, 1);
    alpha_dense_row(x, s->n, w + vectors * one * s->n, half, bias, NULL, y, vectors);
    alpha_dense_row(rh, s->m, u + vectors * one * s->m, half, y, NULL, y, vectors);
    for (v = 0; v < vectors; v++) {
        const vec fresh = vec_tanh(vec_load(y + v * VEC));
        vec_store(y + v * VEC, vec_fma(vec_load(z + v * VEC), vec_load(h + v * VEC) - fresh, fresh));
    }
}

/* cell: room for z, cell_out: room for r * h */
static void plan_GRU_RESET(const alpha_plan_step *s, const char *weights, float *arena)
{
    const float *bias = (const float *)(const void *)(weights + s->w3);
    const float *x = arena + s->a, *h = arena + s->h;
    float *y = arena + s->d, *z = arena + s->cell, *rh = arena + s->cell_out;
    for (uint32_t t = 0; t < s->rows; t++) {
        const int ready = t == 0 && alpha_prepared(s, arena, h);
        const float *start = ready ? arena + s->pre : bias;
        if (s->half)
            alpha_reset_step(s, weights, x, h, start, ready, z, rh, y, 1);
        else
            alpha_reset_step(s, weights, x, h, start, ready, z, rh, y, 0);
        h = y;
        x += s->lda;
        y += s->ldd;
    }
    memmove(arena + s->h_out, h, s->m * sizeof(float));
}

/* What of this step depends on the state alone, into the arena; h: the state it will meet */
ALPHA_INLINE void alpha_recurrent_prepare(const alpha_plan_step *s, const char *weights, float *arena)
{
    if (s->pre == ALPHA_NONE)
        return;
    const float *h = arena + s->h, *bias = (const float *)(const void *)(weights + s->w3);
    const char *u = weights + s->w2;
    float *start = arena + s->pre;
    if (s->op == ALPHA_PLAN_LSTM) {
        if (s->half)
            alpha_recurrent_start(h, s->m, u, 1, bias, start, 8, 1);
        else
            alpha_recurrent_start(h, s->m, u, 0, bias, start, 8, 1);
    } else if (s->op == ALPHA_PLAN_GRU_RESET) {
        if (s->half)
            alpha_recurrent_start(h, s->m, u, 1, bias, start, 4, 2);
        else
            alpha_recurrent_start(h, s->m, u, 0, bias, start, 4, 2);
    } else {
        bias += 3 * VEC * ((s->m + VEC - 1) / VEC);
        if (s->half)
            alpha_recurrent_start(h, s->m, u, 1, bias, start, 6, 1);
        else
            alpha_recurrent_start(h, s->m, u, 0, bias, start, 6, 1);
    }
    memmove(arena + s->pre_key, h, s->m * sizeof(float));
    arena[s->pre_key + s->m] = 1.0f;
}

#endif
