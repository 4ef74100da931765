/* Making, clearing and freeing an instrument's state block. Floor 2; never on the hot path. */
#ifndef ALPHA_BLOCK_H
#define ALPHA_BLOCK_H

#include "alpha_kernels.h"
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

/* Where the blocks of many instruments lie side by side, on large pages where the system has them: of pages of 4 KiB
 * a processor remembers too few places to find ten thousand blocks. at == NULL: each block has memory of its own. */
typedef struct alpha_home {
    char *at;
    size_t stride, bytes;
} alpha_home;

#define ALPHA_LARGE_PAGE ((size_t)2 << 20)

static inline void alpha_home_new(alpha_home *home, const alpha_program *p, size_t n)
{
    const size_t stride = ((size_t)p->block_bytes + 63) / 64 * 64 | 64; /* odd in lines: beginnings meet in no cache set */
    const size_t pages = n <= SIZE_MAX / 2 / stride ? n * stride / ALPHA_LARGE_PAGE : 0; /* few are found anyway */
    const size_t bytes = (pages + 1) * ALPHA_LARGE_PAGE;
    char *const at = pages ? aligned_alloc(ALPHA_LARGE_PAGE, bytes) : NULL;
    *home = (alpha_home){at, stride, at ? bytes : 0};
#ifdef MADV_HUGEPAGE
    if (at)
        madvise(at, bytes, MADV_HUGEPAGE); /* advice: whether it is taken changes no result */
#endif
}

static inline void alpha_block_free(const alpha_program *p, const alpha_home *home, alpha_block *b)
{
    if (!b)
        return;
    for (uint32_t j = 0; j < p->n_all; j++) {
        void *state = (char *)b + p->all[j].state;
        alpha_history *h = state;
        switch (p->all[j].op) {
        case ALPHA_OP_PAIRS:
            if (h->owns)
                free(((alpha_pairs *)state)->y);
            /* and the rest of its history */
            __attribute__((fallthrough));
        case ALPHA_OP_HISTORY:
            if (h->owns) {
                free(h->x);
                free(h->t);
            }
            break;
        case ALPHA_OP_MIN:
        case ALPHA_OP_MAX:
        case ALPHA_OP_ARGMIN:
        case ALPHA_OP_ARGMAX:
            if (((alpha_extreme *)state)->owns)
                free(((alpha_extreme *)state)->at);
            break;
        case ALPHA_OP_RANK:
        case ALPHA_OP_QUANTILE:
        case ALPHA_OP_MEDIAN:
            if (((alpha_sorted *)state)->owns)
                free(((alpha_sorted *)state)->x);
            break;
        default:
            break;
        }
    }
    if (!home || (uintptr_t)b - (uintptr_t)home->at >= home->bytes)
        free(b);
}

#define ALPHA_AHEAD 3 /* events from the one whose block is fetched to the one that is processed */

/* Fetch what an event some places ahead will need: of many instruments most lie outside the caches, and their lines
 * then come side by side instead of one after the other. Of a long block only the beginning. */
static inline void alpha_fetch(const void *what, size_t bytes)
{
    bytes = bytes < 4096 ? bytes : 4096;
    for (size_t at = 0; at < bytes; at += 64)
        __builtin_prefetch((const char *)what + at, 1, 3);
}

/* ddof: chunks; one chunk holds a whole window of n updates where that is less than ALPHA_CHUNK. */
static inline void alpha_sorted_new(alpha_sorted *s, const alpha_instr *i)
{
    s->x = (double *)(s + 1);
    s->chunks = i->ddof;
    s->size = ALPHA_CHUNK;
    while (!i->mode && i->ddof == 1 && s->size / 2 > (uint64_t)i->n)
        s->size /= 2;
    for (uint32_t k = 0; k < s->chunks; k++)
        ((uint32_t *)s->x)[k] = k;
}

/* Storage that lies behind a history's or an order's state in the block; `mode` elements, see layout.py. */
static inline void alpha_block_storage(alpha_block *b, const alpha_instr *i)
{
    void *state = (char *)b + i->state;
    char *storage = (char *)b + i->history;
    alpha_history *h = state;
    switch (i->op) {
    case ALPHA_OP_HISTORY:
    case ALPHA_OP_PAIRS:
        h->x = (double *)storage;
        storage += i->mode * sizeof(double);
        if (i->op == ALPHA_OP_PAIRS) {
            ((alpha_pairs *)state)->y = (double *)storage;
            storage += i->mode * sizeof(double);
        }
        h->t = i->ddof ? (int64_t *)storage : NULL;
        h->mask = i->mode - 1;
        h->t_first = h->t_first_gap = INT64_MAX;
        break;
    case ALPHA_OP_MIN:
    case ALPHA_OP_MAX:
    case ALPHA_OP_ARGMIN:
    case ALPHA_OP_ARGMAX:
        ((alpha_extreme *)state)->at = (uint64_t *)((alpha_extreme *)state + 1);
        ((alpha_extreme *)state)->mask = i->ddof - 1;
        break;
    case ALPHA_OP_RANK:
    case ALPHA_OP_QUANTILE:
    case ALPHA_OP_MEDIAN:
        alpha_sorted_new(state, i);
        break;
    case ALPHA_OP_TRADE_SIGN:
        *(alpha_sign *)state = (alpha_sign){NAN, NAN, 0.0};
        break;
    default:
        break;
    }
}

/* How many of something whole go into `size`, at least one; 0 if that is not known or does not fit. */
static inline int64_t alpha_whole(double size, double of)
{
    const double n = rint(size / of);
    return n < 0x1p62 ? n < 1.0 ? 1 : (int64_t)n : 0;
}

static inline void alpha_bar_new(alpha_bar *s, const alpha_bar_spec *spec, const alpha_surroundings *around)
{
    const double lot = around->lot, tick = around->tick;
    const int lot_known = lot > 0.0, both = lot_known && tick > 0.0;
    s->lot = lot_known ? lot : 1e-8;
    s->tick = both ? tick : NAN;
    s->end = INT64_MAX;
    if (spec->clock == ALPHA_CLOCK_TICK_BAR)
        s->size = (int64_t)spec->size;
    else if (spec->clock == ALPHA_CLOCK_VOLUME_BAR && lot_known)
        s->size = alpha_whole(spec->size, lot);
    else if (spec->clock == ALPHA_CLOCK_DOLLAR_BAR && both)
        s->size = alpha_whole(spec->size, tick * lot);
}

/* The block's view of what lies outside of it. */
static inline void alpha_block_bind(const alpha_program *p, alpha_block *b, const alpha_surroundings *around)
{
    if (!p->present)
        return;
    alpha_present *present = (alpha_present *)((char *)b + p->present);
    present->sessions = around->sessions;
    present->peers = around->peers;
}

/* The block of instrument number n of a home as it is before any event; NULL when memory is short. */
static inline alpha_block *alpha_block_new(const alpha_program *p, const alpha_surroundings *around,
                                           const alpha_home *home, size_t n)
{
    alpha_block *b = home->at ? (alpha_block *)(home->at + n * home->stride)
                              : aligned_alloc(64, ((size_t)p->block_bytes + 63) / 64 * 64);
    if (!b)
        return NULL;
    memset(b, 0, p->block_bytes);
    b->last_ns = INT64_MIN;
    b->next_close = INT64_MAX;
    b->next_break = p->resets ? INT64_MIN : INT64_MAX;
    b->ref_px = NAN;
    if (p->present) {
        alpha_block_bind(p, b, around);
        ((alpha_present *)((char *)b + p->present))->session = -1;
        ((alpha_present *)((char *)b + p->present))->until = INT64_MIN;
    }
    for (uint32_t j = 0; j < p->n_slots; j++)
        b->val[j] = NAN;
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *i = &p->all[j];
        if (i->op == ALPHA_OP_CONST) {
            b->val[i->dst] = i->k;
            alpha_marks(p, b)[i->dst] = ALPHA_STAYS;
        } else if (alpha_mark_stays(i->op)) {
            alpha_marks(p, b)[i->dst] = ALPHA_STAYS;
        } else {
            alpha_block_storage(b, i);
            if (i->op == ALPHA_OP_VPIN && around->lot > 0.0) {
                alpha_vpin *s = (alpha_vpin *)((char *)b + i->state);
                s->lot = around->lot;
                s->bucket = alpha_whole(i->k, around->lot);
            }
        }
    }
    for (uint32_t j = 0; j < p->n_bars; j++)
        alpha_bar_new((alpha_bar *)((char *)b + p->bars[j].state), &p->bars[j], around);
    return b;
}

#endif
