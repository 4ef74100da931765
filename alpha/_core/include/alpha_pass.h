/* What every operation of a feature program sees, and how it leaves its result. Floor 2.
 * Part of kernels.c, which is compiled once per ISA; the operations stand in the headers beside this one. */
#ifndef ALPHA_PASS_H
#define ALPHA_PASS_H

#include "alpha_kernels.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define STATE(type, offset) ((type *)((char *)c->b + (offset)))
/* An operation: always inlined into run(), where everything in `c` lives in registers. */
#define OPERATION(name) \
    static inline __attribute__((always_inline)) void op_##name(const alpha_pass *c, const alpha_instr *i)

static const double TINY = 0x1p-30; /* rule 15 */

typedef struct alpha_pass {
    const alpha_program *p;
    alpha_block *b;
    double *val;
    uint64_t *mark;
    const alpha_event *e;
    int64_t now;
    uint64_t fresh; /* the mark of a result that is ready and updated in this pass */
} alpha_pass;

static inline uint32_t number_of(const alpha_pass *c)
{
    return (uint32_t)c->fresh;
}

static inline int moved(const alpha_pass *c, uint64_t mark)
{
    return (uint32_t)mark == (uint32_t)c->fresh;
}

/* A ready result that passes an update on. */
static inline void put(const alpha_pass *c, const alpha_instr *i, double value)
{
    c->val[i->dst] = value;
    c->mark[i->dst] = c->fresh;
}

/* A result with its readiness; it passes an update on if `update`. */
static inline void put_as(const alpha_pass *c, const alpha_instr *i, double value, uint64_t ready, int update)
{
    uint32_t last = (uint32_t)c->mark[i->dst];
    c->val[i->dst] = value;
    c->mark[i->dst] = ready << 32 | (update ? number_of(c) : last);
}

/* No value yet, or none any more. */
static inline void put_none(const alpha_pass *c, const alpha_instr *i, uint64_t ready)
{
    put_as(c, i, NAN, ready, 0);
}

/* The operand passed a finite update on in this pass. */
static inline int finite_update(const alpha_pass *c, uint32_t slot)
{
    return moved(c, c->mark[slot]) && isfinite(c->val[slot]);
}

#endif
