/* Runs a plan. Floor 3. Compiled once per ISA with -DALPHA_ISA=<name>; see setup.py.
 * Nothing here allocates, and nothing depends on more than the arena, the weights and the row. */
#include "alpha_isa.h"
#include "alpha_plan.h"
#include "alpha_recurrent.h"
#include "alpha_rowwise.h"
#include "alpha_trees.h"

static void take_carry(const alpha_plan *p, const float *carry, float *arena)
{
    if (carry)
        memcpy(arena + p->carry_in, carry, p->n_carry * sizeof(float));
    else
        memset(arena + p->carry_in, 0, p->n_carry * sizeof(float));
}

/* An alpha_model_run; several rows of a model with state are consecutive triggers. */
static int run(const void *self, const float *x, const float *carry_in, float *carry_out, void *scratch, float *out,
               uint32_t rows)
{
    const alpha_plan *p = self;
    float *arena = scratch;
    if (p->n_carry)
        take_carry(p, carry_in, arena);
    for (uint32_t r = 0; r < rows; r++) {
        memcpy(arena + p->in, x, p->n_in * sizeof(float));
        for (const alpha_plan_step *s = p->steps, *end = s + p->n_steps; s < end; s++)
            s->fn(s, p->weights, arena);
        memcpy(out, arena + p->out, p->n_out * sizeof(float));
        if (p->n_carry)
            memmove(arena + p->carry_in, arena + p->carry_out, p->n_carry * sizeof(float));
        x += p->n_in;
        out += p->n_out;
    }
    if (p->n_carry && carry_out && rows)
        memcpy(carry_out, arena + p->carry_out, p->n_carry * sizeof(float));
    return 0;
}

static void prepare(const void *self, const float *carry_in, void *scratch)
{
    const alpha_plan *p = self;
    float *arena = scratch;
    if (!p->n_carry)
        return;
    take_carry(p, carry_in, arena);
    for (const alpha_plan_step *s = p->steps, *end = s + p->n_steps; s < end; s++)
        if (s->op == ALPHA_PLAN_LSTM || s->op == ALPHA_PLAN_GRU || s->op == ALPHA_PLAN_GRU_RESET)
            alpha_recurrent_prepare(s, p->weights, arena);
}

#define ALPHA_PLAN_ENTRY(name) plan_##name,
const alpha_plan_kernels ALPHA_OF_ISA(alpha_plan_kernels) = {
    ALPHA_ISA_NAME, VEC, {ALPHA_PLAN_OPS(ALPHA_PLAN_ENTRY)}, run, prepare};
