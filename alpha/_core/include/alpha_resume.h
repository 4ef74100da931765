/* Everything a pipeline knows about its stream, as bytes and back. Floor 4; never on the hot path.
 * Whoever stores the bytes binds them to definition, model, instruments and layout, and checks their sum: alpha/state.py. */
#ifndef ALPHA_RESUME_H
#define ALPHA_RESUME_H

#include "alpha_pipeline.h"
#include "alpha_state.h"

typedef struct alpha_saved { /* what is not an instrument's */
    uint64_t event_index;
    alpha_event last;
    alpha_counters counters;
} alpha_saved;

static inline size_t alpha_row_bytes(const alpha_pipeline *p)
{
    return p->program->n_features * sizeof(float);
}

/* Of one instrument, beside its block. */
static inline size_t alpha_fixed_bytes(const alpha_pipeline *p)
{
    return sizeof(alpha_instrument) + alpha_row_bytes(p) + alpha_sequence_bytes(&p->shape);
}

static inline size_t alpha_pipeline_saved_bytes(const alpha_pipeline *p)
{
    size_t total = sizeof(alpha_saved) + p->n_instruments * alpha_fixed_bytes(p);
    for (uint32_t id = 0; id < p->n_instruments; id++)
        total += alpha_block_saved_bytes(p->program, p->instruments[id].block);
    return total;
}

static inline void alpha_pipeline_save(const alpha_pipeline *p, char *out)
{
    const alpha_saved head = {p->event_index, p->last, p->counters};
    memcpy(out, &head, sizeof head);
    out += sizeof head;
    for (uint32_t id = 0; id < p->n_instruments; id++) {
        const alpha_instrument *in = &p->instruments[id];
        alpha_instrument copy;
        memcpy(&copy, in, sizeof copy); /* padding too: equal states give equal bytes */
        copy.block = NULL;
        copy.x = NULL;
        copy.latest_at = NULL;
        copy.sequence.values = NULL;
        copy.killed = 0; /* no part of the stream either: read anew before the next event */
        copy.latest_version = in->latest_version ? 2 : 0; /* how often it was written is no part of the stream */
        memcpy(out, &copy, sizeof copy);
        out += sizeof copy;
        memcpy(out, in->x, alpha_row_bytes(p));
        out += alpha_row_bytes(p);
        if (in->sequence.values)
            memcpy(out, in->sequence.values, alpha_sequence_bytes(&p->shape));
        out += alpha_sequence_bytes(&p->shape);
        alpha_block_save(p->program, in->block, out);
        out += alpha_block_saved_bytes(p->program, in->block);
    }
}

/* 0, or -1 with the pipeline as it was: the bytes are not a state of it, or memory is short. */
static inline int alpha_pipeline_restore(alpha_pipeline *p, const char *in, size_t bytes)
{
    const size_t fixed = alpha_fixed_bytes(p);
    alpha_saved head;
    alpha_block **blocks = calloc(p->n_instruments, sizeof *blocks);
    const char **at = calloc(p->n_instruments, sizeof *at);
    int bad = !blocks || !at || bytes < sizeof head;
    size_t used = sizeof head;
    for (uint32_t id = 0; id < p->n_instruments && !bad; id++) {
        size_t own = 0;
        if ((bad = bytes - used < fixed))
            break;
        at[id] = in + used;
        blocks[id] = alpha_block_restore(p->program, &p->around[id], in + used + fixed, bytes - used - fixed, &own);
        bad = !blocks[id];
        used += fixed + own;
    }
    bad = bad || used != bytes;
    for (uint32_t id = 0; id < p->n_instruments && !bad; id++) {
        alpha_instrument *to = &p->instruments[id];
        float *const x = to->x, *const remembered = to->sequence.values;
        alpha_block_free(p->program, &p->home, to->block);
        memcpy(to, at[id], sizeof *to);
        to->block = blocks[id];
        to->x = x;
        memcpy(x, at[id] + sizeof *to, alpha_row_bytes(p));
        to->sequence.values = remembered;
        if (remembered)
            memcpy(remembered, at[id] + sizeof *to + alpha_row_bytes(p), alpha_sequence_bytes(&p->shape));
        blocks[id] = NULL;
    }
    if (!bad) {
        memcpy(&head, in, sizeof head);
        p->event_index = head.event_index;
        p->last = head.last;
        p->counters = head.counters;
        alpha_bind_peers(p);
    }
    for (uint32_t id = 0; blocks && id < p->n_instruments; id++)
        if (blocks[id])
            alpha_block_free(p->program, NULL, blocks[id]);
    free(blocks);
    free(at);
    return bad ? -1 : 0;
}

#endif
