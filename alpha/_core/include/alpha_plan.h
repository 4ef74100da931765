/* A model as a list of fused steps over one arena of float32. Floor 3.
 *
 * A plan is immutable and shared; an arena belongs to one pipeline. Offsets count floats of the arena, `w` counts
 * bytes of the weights. Every buffer starts at a multiple of 64 bytes and is padded to a multiple of ALPHA_PAD
 * floats, so that a kernel may read and write whole vectors past its end; the padding holds nothing that counts.
 * alpha/_core/plan.pyx checks once that no step can leave the arena or the weights. */
#ifndef ALPHA_PLAN_H
#define ALPHA_PLAN_H

#include "alpha_model.h"
#include <stddef.h>
#include <stdint.h>

#define ALPHA_PAD 16        /* the widest vector */
#define ALPHA_NONE UINT32_MAX

/* X(name): the kinds of steps; opcodes, table of functions and the names compile.py uses come from this list.
 * DENSE      d[r] = act(W a[r] + bias [+ b[r]]), for `rows` rows of n inputs and m outputs
 * ADD..MIN   d = a op b, `rows` rows of n; ldb 0: the same b for each row; `q` 1: one value of b per row
 * ACT        d = act(a)
 * SOFTMAX, LOG_SOFTMAX, LAYER_NORM (gamma at b, beta at c, epsilon p): per row of n
 * NORMALIZE  d = a over its row's max (flags 0), L1 (1) or L2 (2) norm; a row of zeros stays
 * REDUCE_*   d[r] = the sum (mean, ...) of row r
 * GATHER     d[i] = a[index[i]], i < n; index < 0: p
 * COPY       d[i] = a[i], i < n, and nothing beyond
 * TREES      scores of a tree ensemble, padded or walked
 * LSTM, GRU, GRU_RESET (the reset gate before the product)  `rows` time steps of one layer in one direction */
#define ALPHA_PLAN_OPS(X)                                                                                      \
    X(DENSE) X(ADD) X(SUB) X(MUL) X(DIV) X(MAX) X(MIN) X(POW) X(ACT) X(SOFTMAX) X(LOG_SOFTMAX) X(LAYER_NORM) X(NORMALIZE) \
    X(REDUCE_SUM) X(REDUCE_MEAN) X(REDUCE_MAX) X(REDUCE_MIN) X(REDUCE_L1) X(REDUCE_L2) X(GATHER) X(COPY)       \
    X(TREES) X(LSTM) X(GRU) X(GRU_RESET)

enum alpha_plan_op {
#define ALPHA_PLAN_OPCODE(name) ALPHA_PLAN_##name,
    ALPHA_PLAN_OPS(ALPHA_PLAN_OPCODE)
#undef ALPHA_PLAN_OPCODE
        ALPHA_PLAN_N_OPS
};

typedef struct alpha_plan_step alpha_plan_step;
typedef void (*alpha_plan_fn)(const alpha_plan_step *s, const char *weights, float *arena);

struct alpha_plan_step {
    alpha_plan_fn fn;
    uint32_t op, act;
    uint32_t a, b, c, d;         /* operands and result */
    uint32_t n, m, rows;         /* values in, values out, rows */
    uint32_t lda, ldb, ldd;      /* from one row to the next */
    float p, q;                  /* parameters of the step or of its activation */
    uint32_t half, flags;        /* half: weights are bfloat16 */
    uint64_t w, w2, w3;          /* what the step keeps among the weights */
    uint32_t h, h_out;           /* recurrent: the state that comes in and the one that leaves */
    uint32_t cell, cell_out;
    uint32_t pre, pre_key;       /* recurrent: U h + bias made before the trigger, and the h it was made of */
};

typedef struct alpha_plan {
    const alpha_plan_step *steps;
    const char *weights;
    const float *constants;      /* the arena as it starts: operands that never change */
    uint32_t n_steps, n_constants, arena; /* arena: floats in all */
    uint32_t n_in, in;           /* where the input goes */
    uint32_t n_out, out;         /* where the output is found */
    uint32_t n_carry, carry_in, carry_out; /* recurrent state, contiguous, as the metadata orders it */
} alpha_plan;

/* What one ISA offers. */
typedef struct alpha_plan_kernels {
    const char *isa;
    uint32_t width; /* floats in a vector: weights are packed for it */
    alpha_plan_fn fn[ALPHA_PLAN_N_OPS];
    alpha_model_run run;
    alpha_model_prepare prepare;
} alpha_plan_kernels;

extern const alpha_plan_kernels alpha_plan_kernels_portable;
extern const alpha_plan_kernels alpha_plan_kernels_v3;
extern const alpha_plan_kernels alpha_plan_kernels_v4;

#endif
