/* Tree ensembles, bit for bit as ONNX Runtime sums them: float32, tree after tree, then base value and transform.
 * Floor 3.
 *
 * Every comparison is x <= threshold; compile.py turns the others into it. Two layouts:
 * padded: all trees complete to one depth, eight trees side by side: node l (from 1) of tree g stands at [l * 8 + g],
 *   its children are 2l and 2l + 1. No branch depends on the row, so nothing can be mispredicted, and eight
 *   independent chains hide the latency of a step.
 * walked: nodes with explicit children; leaves lie behind the inner nodes and lead to themselves, so eight trees of
 *   any shape go down together until all have arrived. */
#ifndef ALPHA_TREES_H
#define ALPHA_TREES_H

#include "alpha_activation.h"
#include "alpha_plan.h"

#define ALPHA_GROUP 8

typedef struct alpha_split {
    float threshold;
    uint32_t feature;
} alpha_split;

typedef struct alpha_node {
    float threshold;
    uint32_t feature;
    uint32_t next[2]; /* x <= threshold; otherwise */
} alpha_node;

enum { ALPHA_TREES_SUM, ALPHA_TREES_AVERAGE, ALPHA_TREES_MIN, ALPHA_TREES_MAX };
enum { ALPHA_TREES_NONE, ALPHA_TREES_LOGISTIC, ALPHA_TREES_SOFTMAX, ALPHA_TREES_SOFTMAX_ZERO, ALPHA_TREES_PROBIT };
/* What becomes of the sums: RAW as they are; the others make two scores of one sum s. */
enum {
    ALPHA_TREES_RAW,
    ALPHA_TREES_SHARE,  /* 1 - s, s */
    ALPHA_TREES_SIGNED, /* -s, s, or the logistic of both */
    ALPHA_TREES_MIRROR  /* the second is base + the first sum, the first its negative */
};

typedef struct alpha_forest {
    uint32_t n_trees, n_features, n_sums, n_out;
    uint32_t depth;             /* of the padded layout; 0: walked */
    uint32_t n_inner, n_leaves; /* walked */
    uint32_t leaf_width;        /* 1: a leaf holds one value for its tree's sum; else n_sums values */
    uint32_t aggregate, transform, pair, has_base;
    uint64_t nodes, leaves;     /* bytes of the weights */
    uint64_t missing;           /* a byte per node, in the nodes' order: 1 if NaN counts as x <= threshold */
    uint64_t roots, sum_of;     /* walked: where a tree starts; leaf_width 1: which sum a tree belongs to */
    uint64_t base;              /* n_sums values */
} alpha_forest;

ALPHA_INLINE int alpha_any_nan(const float *x, uint32_t n)
{
    int bad = 0;
    for (uint32_t i = 0; i < n; i++)
        bad |= x[i] != x[i];
    return bad;
}

/* Where eight padded trees lead: leaf numbers. A place is counted in bytes: with node numbers each address would cost
 * two more instructions. `base` is hidden from the compiler once a level, which otherwise keeps eight sums of it in
 * memory instead of one in a register. */
ALPHA_INLINE void alpha_descend(const alpha_split *nodes, const uint8_t *missing, const int nan, const float *x,
                                uint32_t depth, size_t leaf[ALPHA_GROUP])
{
    const size_t line = ALPHA_GROUP * sizeof(alpha_split);
    const char *base = (const char *)nodes;
    size_t at[ALPHA_GROUP];
#pragma GCC unroll 8
    for (int g = 0; g < ALPHA_GROUP; g++)
        at[g] = line;
    for (uint32_t level = 0; level < depth; level++) {
        __asm__("" : "+r"(base));
#pragma GCC unroll 8
        for (int g = 0; g < ALPHA_GROUP; g++) {
            const alpha_split *node = (const alpha_split *)(const void *)(base + at[g]) + g;
            const float value = x[node->feature];
            size_t right = !(value <= node->threshold);
            if (nan)
                right &= !(value != value && missing[at[g] / sizeof(alpha_split) + (size_t)g]);
            at[g] = 2 * at[g] + right * line;
        }
    }
#pragma GCC unroll 8
    for (int g = 0; g < ALPHA_GROUP; g++)
        leaf[g] = (at[g] - (line << depth)) / sizeof(alpha_split) + (size_t)g;
}

/* Where up to eight trees of any shape lead. */
ALPHA_INLINE void alpha_walk(const alpha_node *nodes, const uint8_t *missing, const int nan, const float *x,
                             uint32_t n_inner, const uint32_t *roots, size_t leaf[ALPHA_GROUP])
{
    uint32_t at[ALPHA_GROUP];
#pragma GCC unroll 8
    for (int g = 0; g < ALPHA_GROUP; g++)
        at[g] = roots[g];
    uint32_t lowest = 0;
    while (lowest < n_inner) {
        lowest = UINT32_MAX;
#pragma GCC unroll 2
        for (int twice = 0; twice < 2; twice++) {
#pragma GCC unroll 8
            for (int g = 0; g < ALPHA_GROUP; g++) {
                const alpha_node *node = &nodes[at[g]];
                const float value = x[node->feature];
                size_t right = !(value <= node->threshold);
                if (nan)
                    right &= !(value != value && missing[at[g]]);
                at[g] = node->next[right];
            }
        }
        for (int g = 0; g < ALPHA_GROUP; g++)
            lowest = at[g] < lowest ? at[g] : lowest;
    }
#pragma GCC unroll 8
    for (int g = 0; g < ALPHA_GROUP; g++)
        leaf[g] = at[g] - n_inner;
}

ALPHA_INLINE void alpha_trees_take(float *sum, float value, uint32_t aggregate, int first)
{
    if (aggregate <= ALPHA_TREES_AVERAGE)
        *sum += value;
    else if (first || (aggregate == ALPHA_TREES_MIN ? value < *sum : value > *sum))
        *sum = value;
}

/* The sums of all trees. `simple`: one sum and one value a leaf, added up. A function of its own for each kind: in
 * one, the compiler would share registers between the fast path and the others. */
ALPHA_INLINE void alpha_trees_sum(const alpha_forest *f, const char *weights, const float *x, float *sums, const int nan,
                                  const int simple, const int padded)
{
    const float *leaves = (const float *)(const void *)(weights + f->leaves);
    const uint32_t *roots = (const uint32_t *)(const void *)(weights + f->roots);
    const uint32_t *sum_of = (const uint32_t *)(const void *)(weights + f->sum_of);
    const uint8_t *missing = (const uint8_t *)weights + f->missing;
    const size_t per_group = (size_t)ALPHA_GROUP << f->depth; /* nodes, the unused number 0 included; and leaves */
    const uint32_t width = simple ? 1 : f->leaf_width, n_trees = f->n_trees, depth = f->depth;
    float total = 0;
    for (uint32_t tree = 0; tree < n_trees; tree += ALPHA_GROUP) {
        size_t leaf[ALPHA_GROUP];
        const size_t before = tree / ALPHA_GROUP * per_group;
        if (padded) {
            const alpha_split *nodes = (const alpha_split *)(const void *)(weights + f->nodes) + before;
            alpha_descend(nodes, missing + before, nan, x, depth, leaf);
#pragma GCC unroll 8
            for (int g = 0; g < ALPHA_GROUP; g++)
                leaf[g] += before;
        } else {
            const alpha_node *nodes = (const alpha_node *)(const void *)(weights + f->nodes);
            alpha_walk(nodes, missing, nan, x, f->n_inner, roots + tree, leaf);
        }
        const uint32_t here = n_trees - tree < ALPHA_GROUP ? n_trees - tree : ALPHA_GROUP;
        if (simple) {
#pragma GCC unroll 8
            for (int g = 0; g < ALPHA_GROUP; g++)
                total += (uint32_t)g < here ? leaves[leaf[g]] : 0.0f;
            continue;
        }
        for (uint32_t g = 0; g < here; g++) {
            if (width == 1)
                alpha_trees_take(&sums[sum_of[tree + g]], leaves[leaf[g]], f->aggregate, tree + g == 0);
            else
                for (uint32_t k = 0; k < width; k++)
                    alpha_trees_take(&sums[k], leaves[leaf[g] * width + k], f->aggregate, tree + g == 0);
        }
    }
    if (simple)
        sums[0] = total;
}

#define ALPHA_TREES_KIND(name, nan, simple, padded)                                                              \
    static __attribute__((noinline)) void name(const alpha_forest *f, const char *weights, const float *x, float *sums) \
    {                                                                                                            \
        alpha_trees_sum(f, weights, x, sums, nan, simple, padded);                                               \
    }
ALPHA_TREES_KIND(alpha_trees_padded_one, 0, 1, 1)
ALPHA_TREES_KIND(alpha_trees_walked_one, 0, 1, 0)
ALPHA_TREES_KIND(alpha_trees_padded, 0, 0, 1)
ALPHA_TREES_KIND(alpha_trees_walked, 0, 0, 0)
ALPHA_TREES_KIND(alpha_trees_padded_nan, 1, 0, 1)
ALPHA_TREES_KIND(alpha_trees_walked_nan, 1, 0, 0)
#undef ALPHA_TREES_KIND

ALPHA_INLINE float alpha_trees_logistic(float x)
{
    const float v = 1.0f / (1.0f + expf(-fabsf(x)));
    return x < 0 ? 1.0f - v : v;
}

static __attribute__((unused)) void alpha_trees_transform(float *s, uint32_t n, uint32_t transform)
{
    if (transform == ALPHA_TREES_LOGISTIC) {
        for (uint32_t k = 0; k < n; k++)
            s[k] = alpha_trees_logistic(s[k]);
        return;
    }
    if (transform == ALPHA_TREES_PROBIT) {
        for (uint32_t k = 0; k < n; k++)
            s[k] = alpha_probit(s[k]);
        return;
    }
    if (transform == ALPHA_TREES_NONE)
        return;
    float top = s[0], sum = 0;
    for (uint32_t k = 1; k < n; k++)
        top = s[k] > top ? s[k] : top;
    const float of_zero = expf(-top);
    for (uint32_t k = 0; k < n; k++) {
        if (transform == ALPHA_TREES_SOFTMAX || s[k] > 0.0000001f || s[k] < -0.0000001f) {
            s[k] = expf(s[k] - top);
            sum += s[k];
        } else {
            s[k] *= of_zero;
        }
    }
    for (uint32_t k = 0; k < n; k++)
        s[k] /= sum;
}

/* w: the alpha_forest */
static void plan_TREES(const alpha_plan_step *s, const char *weights, float *arena)
{
    const alpha_forest *f = (const alpha_forest *)(const void *)(weights + s->w);
    const float *base = (const float *)(const void *)(weights + f->base);
    const float *x = arena + s->a;
    float *out = arena + s->d;
    for (uint32_t k = 0; k < f->n_sums; k++)
        out[k] = 0.0f;
    if (alpha_any_nan(x, f->n_features))
        (f->depth ? alpha_trees_padded_nan : alpha_trees_walked_nan)(f, weights, x, out);
    else if (f->n_sums == 1 && f->leaf_width == 1 && f->aggregate <= ALPHA_TREES_AVERAGE)
        (f->depth ? alpha_trees_padded_one : alpha_trees_walked_one)(f, weights, x, out);
    else
        (f->depth ? alpha_trees_padded : alpha_trees_walked)(f, weights, x, out);
    if (f->aggregate == ALPHA_TREES_AVERAGE)
        for (uint32_t k = 0; k < f->n_sums; k++)
            out[k] /= (float)f->n_trees;
    if (f->pair == ALPHA_TREES_MIRROR) {
        out[1] = base[1] + out[0];
        out[0] = -out[1];
    } else if (f->has_base) {
        for (uint32_t k = 0; k < f->n_sums; k++)
            out[k] += base[k];
    }
    const float one = out[0];
    if (f->pair == ALPHA_TREES_SHARE) {
        out[0] = 1.0f - one;
        out[1] = one;
    } else if (f->pair == ALPHA_TREES_SIGNED) {
        const int logistic = f->transform == ALPHA_TREES_LOGISTIC;
        out[0] = logistic ? alpha_trees_logistic(-one) : -one;
        out[1] = logistic ? alpha_trees_logistic(one) : one;
    } else {
        alpha_trees_transform(out, f->n_out, f->transform);
    }
}

#endif
