/* Everything a pipeline knows about its stream, as bytes and back. Floor 4; never on the hot path.
 * Whoever stores the bytes binds them to definition, model, instruments and layout, and checks their sum: alpha/state.py. */
#ifndef ALPHA_RESUME_H
#define ALPHA_RESUME_H

#include "alpha_pipeline.h"
#include "alpha_seats_state.h"
#include "alpha_state.h"

typedef struct alpha_saved { /* what is not an instrument's */
    uint64_t event_index;
    alpha_event last;
    alpha_counters counters;
    float override;
    uint32_t may_lower, tripped;
    uint32_t unused;
    uint64_t history, trips; /* of the breaker; how slow it was does not repeat */
} alpha_saved;

static inline size_t alpha_row_bytes(const alpha_pipeline *p)
{
    return p->program->n_features * sizeof(float);
}

/* Of one instrument, beside its block. */
static inline size_t alpha_fixed_bytes(const alpha_pipeline *p)
{
    return sizeof(alpha_instrument) + alpha_row_bytes(p) + alpha_sequence_bytes(&p->shape) + alpha_checks_bytes(&p->checks);
}

static inline size_t alpha_pipeline_saved_bytes(const alpha_pipeline *p)
{
    size_t total = sizeof(alpha_saved) + p->n_instruments * alpha_fixed_bytes(p);
    for (uint32_t id = 0; id < p->n_instruments; id++)
        total += alpha_block_saved_bytes(p->program, p->instruments[id].block);
    return total + alpha_group_saved_bytes(p);
}

static inline void alpha_pipeline_save(const alpha_pipeline *p, char *out)
{
    const alpha_saved head = {p->event_index, p->last, p->counters, p->override, p->may_lower, p->gate.tripped, 0,
                              p->breaker.history, p->breaker.trips};
    memcpy(out, &head, sizeof head);
    out += sizeof head;
    for (uint32_t id = 0; id < p->n_instruments; id++) {
        const alpha_instrument *in = &p->instruments[id];
        alpha_instrument copy;
        alpha_instrument_to_save(&copy, in);
        memcpy(out, &copy, sizeof copy);
        out += sizeof copy;
        memcpy(out, in->x, alpha_row_bytes(p));
        out += alpha_row_bytes(p);
        if (in->sequence.values)
            memcpy(out, in->sequence.values, alpha_sequence_bytes(&p->shape));
        out += alpha_sequence_bytes(&p->shape);
        if (in->watch.memory)
            memcpy(out, in->watch.memory, alpha_checks_bytes(&p->checks));
        out += alpha_checks_bytes(&p->checks);
        alpha_block_save(p->program, in->block, out);
        out += alpha_block_saved_bytes(p->program, in->block);
    }
    alpha_group_save(p, out);
}

/* 0, or -1 with the pipeline as it was: the bytes are not a state of it, or memory is short. */
static inline int alpha_pipeline_restore(alpha_pipeline *p, const char *in, size_t bytes)
{
    const size_t fixed = alpha_fixed_bytes(p);
    alpha_saved head;
    alpha_watch seen;
    alpha_block **blocks = calloc(p->n_instruments, sizeof *blocks);
    const char **at = calloc(p->n_instruments, sizeof *at);
    int bad = !blocks || !at || bytes < sizeof head;
    size_t used = sizeof head;
    for (uint32_t id = 0; id < p->n_instruments && !bad; id++) {
        size_t own = 0;
        if ((bad = bytes - used < fixed))
            break;
        at[id] = in + used;
        memcpy(&seen, at[id] + offsetof(alpha_instrument, watch), sizeof seen);
        if ((bad = seen.drift.step >= ALPHA_DRIFT_STEPS || seen.drift.full > ALPHA_DRIFT_STEPS || seen.session != -1))
            break;
        blocks[id] = alpha_block_restore(p->program, &p->around[id], in + used + fixed, bytes - used - fixed, &own);
        bad = !blocks[id];
        used += fixed + own;
    }
    const size_t seats = alpha_group_saved_bytes(p);
    bad = bad || bytes - used != seats || !alpha_group_saved_fits(p, in + used);
    for (uint32_t id = 0; id < p->n_instruments && !bad; id++) {
        alpha_instrument *to = &p->instruments[id];
        float *const x = to->x, *const remembered = to->sequence.values;
        char *const watched = to->watch.memory;
        alpha_block_free(p->program, &p->home, to->block);
        memcpy(to, at[id], sizeof *to);
        to->block = blocks[id];
        to->x = x;
        memcpy(x, at[id] + sizeof *to, alpha_row_bytes(p));
        to->sequence.values = remembered;
        if (remembered)
            memcpy(remembered, at[id] + sizeof *to + alpha_row_bytes(p), alpha_sequence_bytes(&p->shape));
        to->watch.memory = watched;
        if (watched)
            memcpy(watched, at[id] + fixed - alpha_checks_bytes(&p->checks), alpha_checks_bytes(&p->checks));
        blocks[id] = NULL;
    }
    if (!bad) {
        memcpy(&head, in, sizeof head);
        p->event_index = head.event_index;
        p->last = head.last;
        p->counters = head.counters;
        p->override = head.override;
        p->may_lower = head.may_lower;
        p->gate.tripped = head.tripped;
        p->breaker.history = head.history;
        p->breaker.trips = head.trips;
        alpha_set_threshold(p);
        alpha_bind_peers(p);
        alpha_group_restore(p, in + used);
    }
    for (uint32_t id = 0; blocks && id < p->n_instruments; id++)
        if (blocks[id])
            alpha_block_free(p->program, NULL, blocks[id]);
    free(blocks);
    free(at);
    return bad ? -1 : 0;
}

#endif
