/* An instrument's state block as bytes and back. Floor 2; never on the hot path.
 * A block is one piece of memory, except for rings that have grown: those follow it, in the order of the instructions.
 * Pointers are written as zero, so equal states give equal bytes. */
#ifndef ALPHA_STATE_H
#define ALPHA_STATE_H

#include "alpha_block.h"

/* A piece of storage that a state points to. */
typedef struct alpha_piece {
    void **data;
    size_t inline_at; /* where in the block it lies unless it has grown */
    size_t bytes;     /* of its present capacity */
    int grown;
} alpha_piece;

/* Up to three pieces of instruction i; how many. */
static inline int alpha_pieces(alpha_block *b, const alpha_instr *i, alpha_piece out[3])
{
    void *state = (char *)b + i->state;
    const size_t inside = (size_t)i->mode * sizeof(double);
    alpha_history *h = state;
    alpha_extreme *e = state;
    alpha_sorted *s = state;
    int n = 0;
    switch (i->op) {
    case ALPHA_OP_HISTORY:
    case ALPHA_OP_PAIRS:
        out[n] = (alpha_piece){(void **)&h->x, i->history, (h->mask + 1) * sizeof(double), (int)h->owns};
        n++;
        if (i->op == ALPHA_OP_PAIRS) {
            out[n] = (alpha_piece){(void **)&((alpha_pairs *)state)->y, i->history + inside, out[0].bytes, (int)h->owns};
            n++;
        }
        if (i->ddof) {
            out[n] = (alpha_piece){(void **)&h->t, i->history + (size_t)n * inside, out[0].bytes, (int)h->owns};
            n++;
        }
        return n;
    case ALPHA_OP_MIN:
    case ALPHA_OP_MAX:
    case ALPHA_OP_ARGMIN:
    case ALPHA_OP_ARGMAX:
        out[0] = (alpha_piece){(void **)&e->at, i->state + sizeof *e, (e->mask + 1) * sizeof *e->at, (int)e->owns};
        return 1;
    case ALPHA_OP_RANK:
    case ALPHA_OP_QUANTILE:
    case ALPHA_OP_MEDIAN:
        out[0] = (alpha_piece){(void **)&s->x, i->state + sizeof *s,
                               alpha_sorted_words(s->chunks, s->size) * sizeof *s->x, (int)s->owns};
        return 1;
    default:
        return 0;
    }
}

static inline size_t alpha_block_saved_bytes(const alpha_program *p, alpha_block *b)
{
    size_t total = p->block_bytes;
    alpha_piece piece[3];
    for (uint32_t j = 0; j < p->n_all; j++)
        for (int k = alpha_pieces(b, &p->all[j], piece) - 1; k >= 0; k--)
            total += piece[k].grown ? piece[k].bytes : 0;
    return total;
}

/* Writes alpha_block_saved_bytes(p, b) bytes. */
static inline void alpha_block_save(const alpha_program *p, alpha_block *b, char *out)
{
    char *const start = out;
    memcpy(out, b, p->block_bytes);
    if (p->present) {
        ((alpha_present *)(start + p->present))->sessions = NULL;
        ((alpha_present *)(start + p->present))->peers = NULL;
    }
    out += p->block_bytes;
    alpha_piece piece[3];
    for (uint32_t j = 0; j < p->n_all; j++) {
        const int n = alpha_pieces(b, &p->all[j], piece);
        for (int k = 0; k < n; k++) {
            memset(start + ((char *)piece[k].data - (char *)b), 0, sizeof(void *));
            if (piece[k].grown) {
                memcpy(out, *piece[k].data, piece[k].bytes);
                out += piece[k].bytes;
            }
        }
    }
}

/* A block from saved bytes; NULL if they are not one of this program, or memory is short. *used: bytes read. */
static inline alpha_block *alpha_block_restore(const alpha_program *p, const alpha_surroundings *around, const char *in,
                                               size_t bytes, size_t *used)
{
    if (bytes < p->block_bytes)
        return NULL;
    alpha_block *b = aligned_alloc(64, ((size_t)p->block_bytes + 63) / 64 * 64);
    if (!b)
        return NULL;
    memcpy(b, in, p->block_bytes);
    alpha_block_bind(p, b, around);
    size_t at = p->block_bytes;
    int bad = 0;
    alpha_piece piece[3];
    for (uint32_t j = 0; j < p->n_all; j++) {
        const int n = alpha_pieces(b, &p->all[j], piece);
        for (int k = 0; k < n; k++) {
            if (!piece[k].grown) {
                *piece[k].data = (char *)b + piece[k].inline_at;
                continue;
            }
            void *own = !bad && piece[k].bytes && piece[k].bytes <= bytes - at ? malloc(piece[k].bytes) : NULL;
            *piece[k].data = own; /* freeing NULL is fine when the rest fails */
            if (!own) {
                bad = 1;
                continue;
            }
            memcpy(own, in + at, piece[k].bytes);
            at += piece[k].bytes;
        }
    }
    if (bad) {
        alpha_block_free(p, NULL, b);
        return NULL;
    }
    *used = at;
    return b;
}

#endif
