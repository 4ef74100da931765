/* Skewness, pairs and regressions: sums of differences from an anchor inside the window (rules 12 to 15, 37, 43).
 * When the anchor leaves, everything is summed anew from the newest value: once per window length, so at O(1) an update.
 * The same when a sum of squares has shrunk by 2^20: what is left must not carry the rounding errors of what was large. Floor 2; part of kernels.c. */
#ifndef ALPHA_ANCHORED_H
#define ALPHA_ANCHORED_H

#include "alpha_windows.h"

static inline void add_to(alpha_dd *sum, alpha_dd x, double sign)
{
    *sum = alpha_dd_add(*sum, sign > 0.0 ? x : alpha_dd_neg(x));
}

/* x - at, exactly. */
static inline alpha_dd distance(double x, double at)
{
    return alpha_two_sum(x, -at);
}

static inline void cube(alpha_cubes *s, double x, double sign)
{
    const alpha_dd d = distance(x, s->at), d2 = alpha_dd_sqr(d);
    add_to(&s->s1, d, sign);
    add_to(&s->s2, d2, sign);
    add_to(&s->s3, alpha_dd_mul(d2, d), sign);
}

/* Population skewness g1 = m3 / m2^1.5 with n m2 = n s2 - s1^2 over n, n^2 m3 = n^2 s3 - 3 n s1 s2 + 2 s1^3. */
static inline double skewness(const alpha_cubes *s, double n)
{
    const alpha_dd s1_2 = alpha_dd_sqr(s->s1);
    const alpha_dd m2 = alpha_dd_add(alpha_dd_mul_d(s->s2, n), alpha_dd_neg(s1_2));
    const alpha_dd cross = alpha_dd_mul_d(alpha_dd_mul_d(alpha_dd_mul(s->s1, s->s2), n), -3.0);
    const alpha_dd m3 = alpha_dd_add(alpha_dd_add(alpha_dd_mul_d(alpha_dd_mul_d(s->s3, n), n), cross),
                                     alpha_dd_mul_d(alpha_dd_mul(s1_2, s->s1), 2.0));
    const double v = m2.hi / (n * n);
    return v > 0.0 ? m3.hi / (n * n * n) / (v * sqrt(v)) : 0.0;
}

/* A sum of squares that is still within 2^20 of the largest it has been; false for NaN. */
static inline int holds(double squares, double top)
{
    return squares * 0x1p20 >= top;
}

static __attribute__((noinline)) void cubes_anew(alpha_cubes *s, const alpha_history *h, uint64_t tail)
{
    *s = (alpha_cubes){.tail = tail, .anchor = h->head - 1, .at = h->newest};
    for (uint64_t j = tail; j < h->head; j++)
        cube(s, h->x[j & h->mask], 1.0);
    s->top = s->s2.hi;
}

OPERATION(SKEW)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    alpha_cubes *s = STATE(alpha_cubes, i->state);
    const span w = window_of(c, i, h, s->tail);
    if (w.n && (w.tail > s->anchor || h->head == 1)) {
        cubes_anew(s, h, w.tail);
    } else if (w.n) {
        if (w.fresh)
            cube(s, h->newest, 1.0);
        if (s->s2.hi > s->top)
            s->top = s->s2.hi;
        for (uint64_t j = s->tail; j < w.tail; j++)
            cube(s, h->x[j & h->mask], -1.0);
        if (unlikely(!holds(s->s2.hi, s->top)))
            cubes_anew(s, h, w.tail);
    }
    s->tail = w.tail;
    if (!(w.warm && w.n >= 3)) {
        put_none(c, i, 0);
        return;
    }
    const double g = h->run >= w.n ? 0.0 : skewness(s, (double)(int64_t)w.n);
    put_with(c, i, h, (fabs(g) < TINY ? 0.0 : g) + 0.0, w.ready);
}

static inline void joint(alpha_joint *s, alpha_dd x, alpha_dd y, double sign)
{
    add_to(&s->x, x, sign);
    add_to(&s->y, y, sign);
    add_to(&s->xx, alpha_dd_sqr(x), sign);
    add_to(&s->yy, alpha_dd_sqr(y), sign);
    add_to(&s->xy, alpha_dd_mul(x, y), sign);
}

enum abscissa { OTHER, PLACE };

/* Pair j less the anchor: the second operand over the first, or a value over its place (an index, or nanoseconds). */
static inline __attribute__((always_inline)) void joint_at(const alpha_pass *c, const alpha_instr *i, alpha_joint *s,
                                                           enum abscissa kind, uint64_t j, double sign)
{
    if (kind == OTHER) {
        const alpha_pairs *p = STATE(const alpha_pairs, i->history);
        joint(s, distance(p->h.x[j & p->h.mask], s->at_x), distance(p->y[j & p->h.mask], s->at_y), sign);
        return;
    }
    const alpha_history *h = STATE(const alpha_history, i->history);
    const int64_t from = i->mode ? h->t[j & h->mask] - h->t[s->anchor & h->mask] : (int64_t)(j - s->anchor);
    joint(s, (alpha_dd){(double)from, 0.0}, distance(h->x[j & h->mask], s->at_y), sign);
}

static __attribute__((noinline)) void joint_anew(const alpha_pass *c, const alpha_instr *i, alpha_joint *s,
                                                 enum abscissa kind, uint64_t tail)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    *s = (alpha_joint){.tail = tail, .anchor = h->head - 1, .at_x = h->newest, .at_y = h->newest};
    if (kind == OTHER)
        s->at_y = STATE(const alpha_pairs, i->history)->newest_y;
    for (uint64_t j = tail; j < h->head; j++)
        joint_at(c, i, s, kind, j, 1.0);
    s->top_x = s->xx.hi;
    s->top_y = s->yy.hi;
}

static inline __attribute__((always_inline)) void joint_window(const alpha_pass *c, const alpha_instr *i,
                                                               enum abscissa kind)
{
    const alpha_history *h = STATE(const alpha_history, i->history); /* pairs begin with their history */
    alpha_joint *s = STATE(alpha_joint, i->state);
    const span w = window_of(c, i, h, s->tail);
    if (w.n && (w.tail > s->anchor || h->head == 1)) {
        joint_anew(c, i, s, kind, w.tail);
    } else if (w.n) {
        if (w.fresh)
            joint_at(c, i, s, kind, h->head - 1, 1.0);
        if (s->xx.hi > s->top_x)
            s->top_x = s->xx.hi;
        if (s->yy.hi > s->top_y)
            s->top_y = s->yy.hi;
        for (uint64_t j = s->tail; j < w.tail; j++)
            joint_at(c, i, s, kind, j, -1.0);
        if (unlikely(!holds(s->xx.hi, s->top_x) || !holds(s->yy.hi, s->top_y)))
            joint_anew(c, i, s, kind, w.tail);
    }
    s->tail = w.tail;
    s->warm = (uint32_t)w.warm;
    s->ready = (uint32_t)w.ready;
}

OPERATION(JOINT)
{
    joint_window(c, i, OTHER);
}

OPERATION(LINE)
{
    joint_window(c, i, PLACE);
}

/* n sum(ab) - sum(a) sum(b) */
static inline alpha_dd co_sum(alpha_dd ab, alpha_dd a, alpha_dd b, double n)
{
    return alpha_dd_add(alpha_dd_mul_d(ab, n), alpha_dd_neg(alpha_dd_mul(a, b)));
}

static inline double sample_std(alpha_dd v, double n)
{
    return v.hi > 0.0 ? sqrt(v.hi / (n * (n - 1.0))) : 0.0;
}

enum joint_read { COV, CORR, BETA, QLIB_CORR, SLOPE, RSQUARE, RESID, QLIB_RSQUARE };

static inline double correlation(double co, double root_x, double root_y)
{
    const double r = co / root_x / root_y;
    return r > 1.0 ? 1.0 : r < -1.0 ? -1.0 : r;
}

/* Residual of the newest: ((n y - sum y) V - C (n x - sum x)) / (n V), all less the anchor. */
static inline double residual(const alpha_joint *s, alpha_dd x, alpha_dd y, alpha_dd co, alpha_dd vx, double n)
{
    const alpha_dd dy = alpha_dd_add(alpha_dd_mul_d(y, n), alpha_dd_neg(s->y));
    const alpha_dd dx = alpha_dd_add(alpha_dd_mul_d(x, n), alpha_dd_neg(s->x));
    const alpha_dd top = alpha_dd_add(alpha_dd_mul(dy, vx), alpha_dd_neg(alpha_dd_mul(co, dx)));
    return top.hi / vx.hi / n;
}

static inline __attribute__((always_inline)) double joint_value(const alpha_pass *c, const alpha_instr *i,
                                                                const alpha_joint *s, const alpha_history *h,
                                                                enum joint_read what)
{
    const uint64_t count = h->head - s->tail;
    const double n = (double)(int64_t)count;
    const int line = what >= SLOPE;
    const uint64_t run_y = line ? h->run : STATE(const alpha_pairs, i->history)->run_y;
    const alpha_dd vx = co_sum(s->xx, s->x, s->x, n), vy = co_sum(s->yy, s->y, s->y, n);
    if (what == QLIB_CORR && (sample_std(vx, n) < 2e-5 || sample_std(vy, n) < 2e-5))
        return NAN;
    if (what == QLIB_RSQUARE && sample_std(vy, n) < 2e-5)
        return NAN;
    if (run_y >= count || (!line && h->run >= count) || !(vx.hi > 0.0) || !(vy.hi > 0.0))
        return 0.0;
    const alpha_dd co = co_sum(s->xy, s->x, s->y, n);
    const double root_x = sqrt(vx.hi), root_y = sqrt(vy.hi);
    const int none = fabs(co.hi) < TINY * root_x * root_y;
    switch (what) {
    case COV:
        return none ? 0.0 : co.hi / (n * (n - (double)i->ddof));
    case CORR:
    case QLIB_CORR:
        return none ? 0.0 : correlation(co.hi, root_x, root_y);
    case BETA: /* the second operand is the regressor */
        return none ? 0.0 : co.hi / vy.hi;
    case RSQUARE:
    case QLIB_RSQUARE: {
        const double r = correlation(co.hi, root_x, root_y);
        return none ? 0.0 : r * r;
    }
    case SLOPE: {
        const double slope = i->mode ? co.hi / vx.hi * 1e9 : co.hi / vx.hi;
        return fabs(slope) * (i->mode ? i->k : n) / (root_y / n) < TINY ? 0.0 : slope;
    }
    default: {
        const uint64_t last = h->head - 1;
        const int64_t from = i->mode ? h->t[last & h->mask] - h->t[s->anchor & h->mask] : (int64_t)(last - s->anchor);
        const double e = residual(s, (alpha_dd){(double)from, 0.0}, distance(h->newest, s->at_y), co, vx, n);
        return fabs(e) / (root_y / n) < TINY ? 0.0 : e;
    }
    }
}

static inline __attribute__((always_inline)) void read_joint(const alpha_pass *c, const alpha_instr *i,
                                                             enum joint_read what)
{
    const alpha_history *h = STATE(const alpha_history, i->history);
    const alpha_joint *s = STATE(const alpha_joint, i->state);
    const uint64_t samples = what == COV ? (uint64_t)i->ddof + 1 : 2;
    if (s->warm && h->head - s->tail >= samples)
        put_with(c, i, h, joint_value(c, i, s, h, what) + 0.0, s->ready);
    else
        put_none(c, i, 0);
}

#define JOINT_READER(what)      \
    OPERATION(READ_##what)      \
    {                           \
        read_joint(c, i, what); \
    }
JOINT_READER(COV)
JOINT_READER(CORR)
JOINT_READER(BETA)
JOINT_READER(QLIB_CORR)
JOINT_READER(SLOPE)
JOINT_READER(RSQUARE)
JOINT_READER(RESID)
JOINT_READER(QLIB_RSQUARE)
#undef JOINT_READER

#endif
