/* Another thread wants to see a row. Floor 4; behind alpha_pipeline.h.
 *
 * A row changes under a foreign reader, and asking which features are ready writes into the block. So whoever owns the
 * pipeline copies it out, where nobody waits for a Signal: a worker that finds no event, run() at its end. The asker
 * leaves a note (one pointer); the owner takes it, fills it and says so; what nobody took can be taken back. An event
 * costs nothing by it. */
#ifndef ALPHA_LOOK_H
#define ALPHA_LOOK_H

#include "alpha_pipeline.h"

typedef struct alpha_look {
    uint32_t id;        /* which instrument */
    uint32_t room;      /* floats and flags that x and ready hold */
    float *x;           /* raw features of its last row */
    uint8_t *ready;     /* which of them were warm */
    uint32_t n;         /* features of a row; above room: nothing was copied, ask again with more */
    uint32_t halted, killed, gap;
    uint64_t rows;      /* 0: there is no row yet */
    uint64_t swaps;     /* takeovers so far: whose row it is */
    int64_t row_ts_ns;
    uint32_t n_seats;   /* several models: seen[1 + slot] is each one's */
    alpha_drift_seen seen[1 + ALPHA_SEATS];
    int done;           /* the owner has filled it */
} alpha_look;

/* By the owner of the pipeline, or by anybody while nobody is inside. */
static __attribute__((noinline, cold, unused)) void alpha_fill_look(const alpha_pipeline *p, alpha_look *l)
{
    const alpha_instrument *in = &p->instruments[l->id];
    l->n = p->program->n_features;
    l->halted = in->halted;
    l->killed = in->killed;
    l->gap = in->watch.gap;
    l->rows = in->rows;
    l->swaps = p->swaps;
    l->row_ts_ns = in->row_ts_ns;
    l->seen[0] = in->watch.drift;
    l->n_seats = p->group ? p->group->n : 0;
    for (uint32_t k = 0; k < l->n_seats; k++)
        l->seen[1 + k] = p->group->seats[k].p->instruments[l->id].watch.drift;
    if (in->rows && l->n <= l->room) {
        memcpy(l->x, in->x, l->n * sizeof(float));
        if (in->own_row)
            memset(l->ready, 1, l->n);
        else
            alpha_ready_each(p->program, in->block, l->ready);
    }
    __atomic_store_n(&l->done, 1, __ATOMIC_RELEASE);
}

/* By the owner, where nobody waits. */
static inline void alpha_answer_look(alpha_pipeline *p)
{
    if (__builtin_expect(__atomic_load_n(&p->look, __ATOMIC_RELAXED) != (struct alpha_look *)0, 0)) {
        alpha_look *l = __atomic_exchange_n(&p->look, (struct alpha_look *)0, __ATOMIC_ACQ_REL);
        if (l) /* it may have been taken back */
            alpha_fill_look(p, l);
    }
}

/* From any thread: 0 if somebody else's note lies there. */
static inline int alpha_ask_look(alpha_pipeline *p, alpha_look *l)
{
    alpha_look *none = (alpha_look *)0;
    l->done = 0;
    return __atomic_compare_exchange_n(&p->look, &none, l, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline int alpha_look_done(const alpha_look *l)
{
    return __atomic_load_n(&l->done, __ATOMIC_ACQUIRE);
}

/* Take the note back. 0 if the owner has it already: then wait until it is done, a copy of one row. */
static inline int alpha_unask_look(alpha_pipeline *p, alpha_look *l)
{
    return __atomic_compare_exchange_n(&p->look, &l, (alpha_look *)0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* The asker's sleep between two glances. */
static inline void alpha_look_nap(int64_t ns)
{
    struct timespec t = {0, ns};
    nanosleep(&t, (struct timespec *)0);
}

#endif
