/* Making, clearing and freeing an instrument's state block. Floor 2; never on the hot path. */
#ifndef ALPHA_BLOCK_H
#define ALPHA_BLOCK_H

#include "alpha_kernels.h"
#include <stdlib.h>

static inline void alpha_block_free(const alpha_program *p, alpha_block *b)
{
    if (!b)
        return;
    for (uint32_t j = 0; j < p->n_all; j++) {
        if (p->all[j].op != ALPHA_OP_HISTORY)
            continue;
        alpha_history *h = (alpha_history *)((char *)b + p->all[j].state);
        if (h->owns) {
            free(h->x);
            free(h->t);
        }
    }
    free(b);
}

/* A block as it is before any event; NULL when memory is short. `lot`: the instrument's lot size. */
static inline alpha_block *alpha_block_new(const alpha_program *p, double lot)
{
    alpha_block *b = aligned_alloc(64, ((size_t)p->block_bytes + 63) / 64 * 64);
    if (!b)
        return NULL;
    memset(b, 0, p->block_bytes);
    b->last_ns = INT64_MIN;
    b->next_close = INT64_MAX;
    b->ref_px = NAN;
    for (uint32_t j = 0; j < p->n_slots; j++)
        b->val[j] = NAN;
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *i = &p->all[j];
        if (i->op == ALPHA_OP_CONST) {
            b->val[i->dst] = i->k;
            alpha_marks(p, b)[i->dst] = ALPHA_READY | UINT32_MAX;
        } else if (i->op == ALPHA_OP_HISTORY) {
            alpha_history *h = (alpha_history *)((char *)b + i->state);
            h->x = (double *)((char *)b + i->history);
            h->t = i->ddof ? (int64_t *)(h->x + i->mode) : NULL;
            h->mask = i->mode - 1;
            h->t_first = h->t_first_gap = INT64_MAX;
        }
    }
    for (uint32_t j = 0; j < p->n_bars; j++)
        ((alpha_bar *)((char *)b + p->bars[j].state))->lot = lot > 0.0 ? lot : 1e-8;
    return b;
}

#endif
