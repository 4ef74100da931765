/* A session break: what resets is again as it was before the first event (rule 49). Floor 2; part of kernels.c. */
#ifndef ALPHA_RESTART_H
#define ALPHA_RESTART_H

#include "alpha_outside.h"

/* A state as alpha_block_new() leaves it, but for storage that has grown: that stays, emptied. */
static void start_again(alpha_block *b, const alpha_instr *i)
{
#define BYTES(name, state) [ALPHA_OP_##name] = sizeof(state),
    static const uint16_t bytes[ALPHA_OPS] = {ALPHA_OP_LIST(BYTES)};
#undef BYTES
    void *state = (char *)b + i->state;
    switch (i->op) {
    case ALPHA_OP_PAIRS:
    case ALPHA_OP_HISTORY: {
        alpha_history *h = state;
        *h = (alpha_history){.x = h->x, .t = h->t, .mask = h->mask, .owns = h->owns, .t_first = INT64_MAX,
                             .t_first_gap = INT64_MAX};
        if (i->op == ALPHA_OP_PAIRS)
            *(alpha_pairs *)state = (alpha_pairs){.h = *h, .y = ((alpha_pairs *)state)->y};
        break;
    }
    case ALPHA_OP_MIN:
    case ALPHA_OP_MAX:
    case ALPHA_OP_ARGMIN:
    case ALPHA_OP_ARGMAX: {
        alpha_extreme *s = state;
        *s = (alpha_extreme){.at = s->at, .mask = s->mask, .owns = s->owns};
        break;
    }
    case ALPHA_OP_RANK:
    case ALPHA_OP_QUANTILE:
    case ALPHA_OP_MEDIAN: {
        alpha_sorted *s = state;
        *s = (alpha_sorted){.x = s->x, .size = s->size, .chunks = s->chunks, .owns = s->owns};
        break;
    }
    case ALPHA_OP_TRADE_SIGN:
        *(alpha_sign *)state = (alpha_sign){NAN, NAN, 0.0};
        break;
    case ALPHA_OP_SIGN_QUOTE: /* its state is the TRADE_SIGN's */
        break;
    case ALPHA_OP_VPIN: {
        alpha_vpin *s = state;
        memset(s + 1, 0, (size_t)i->n * sizeof(int64_t));
        *s = (alpha_vpin){.lot = s->lot, .bucket = s->bucket};
        break;
    }
    default:
        memset(state, 0, bytes[i->op]); /* 0 bytes where an instruction only reads another's state */
        break;
    }
}

/* Starts what resets again if time t, or a STATUS that opens, breaks the session. Returns whether it did. */
static __attribute__((noinline, cold)) int session_break(const alpha_program *p, alpha_block *b, const alpha_event *e,
                                                         int64_t t)
{
    const alpha_present *present = (const alpha_present *)((const char *)b + p->present);
    const int opens = e->kind == ALPHA_STATUS && (e->v[0] == ALPHA_STATUS_OPEN || e->v[0] == ALPHA_STATUS_RESUME);
    const int later = t >= b->next_break, first = b->next_break == INT64_MIN;
    if (later) {
        const alpha_sessions *s = present->sessions;
        b->next_break = session_end(s, session_of(s, t, -1, (int)p->by_close), (int)p->by_close);
    }
    if (!opens && (!later || first))
        return 0;
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *i = &p->all[j];
        if (!p->resets[j])
            continue;
        start_again(b, i);
        if (i->dst != UINT16_MAX) {
            b->val[i->dst] = NAN;
            alpha_marks(p, b)[i->dst] = 0;
        }
    }
    return 1;
}

#endif
