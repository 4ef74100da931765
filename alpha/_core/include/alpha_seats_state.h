/* What the seats of a group know about their stream, as bytes and back. Floor 4; part of alpha_resume.h. */
#ifndef ALPHA_SEATS_STATE_H
#define ALPHA_SEATS_STATE_H

#include "alpha_pipeline.h"

typedef struct alpha_saved_seat { /* what is not an instrument's */
    alpha_counters counters;
    uint64_t emitted, history, trips;
    float override;
    uint32_t may_lower, tripped, unused;
} alpha_saved_seat;

/* An instrument without what is no part of the stream: addresses, kill bytes, how often its latest was written. Padding
 * is copied too: equal states give equal bytes. */
static inline void alpha_instrument_to_save(alpha_instrument *copy, const alpha_instrument *in)
{
    memcpy(copy, in, sizeof *copy);
    copy->block = NULL;
    copy->x = NULL;
    copy->latest_at = NULL;
    copy->sequence.values = NULL;
    copy->watch.memory = NULL;
    copy->watch.session = -1; /* follows from the time */
    copy->watch.until = ALPHA_NO_TIME;
    copy->killed = 0; /* read anew before the next event */
    copy->latest_version = in->latest_version ? 2 : 0;
}

static inline size_t alpha_seat_saved_bytes(const alpha_pipeline *q)
{
    return sizeof(alpha_saved_seat) + q->n_instruments * (sizeof(alpha_instrument) + alpha_sequence_bytes(&q->shape) +
                                                          alpha_checks_bytes(&q->checks));
}

/* 0 without a group. */
static inline size_t alpha_group_saved_bytes(const alpha_pipeline *p)
{
    size_t total = 0;
    for (uint32_t k = 0; p->group && k < p->group->n; k++)
        total += alpha_seat_saved_bytes(p->group->seats[k].p);
    return total;
}

static inline void alpha_group_save(const alpha_pipeline *p, char *out)
{
    for (uint32_t k = 0; p->group && k < p->group->n; k++) {
        const alpha_pipeline *q = p->group->seats[k].p;
        const size_t remembered = alpha_sequence_bytes(&q->shape);
        const size_t watched = alpha_checks_bytes(&q->checks);
        const alpha_saved_seat head = {q->counters, p->group->seats[k].emitted, q->breaker.history, q->breaker.trips,
                                       q->override, q->may_lower, q->gate.tripped, 0};
        memcpy(out, &head, sizeof head);
        out += sizeof head;
        for (uint32_t id = 0; id < q->n_instruments; id++) {
            alpha_instrument copy;
            alpha_instrument_to_save(&copy, &q->instruments[id]);
            memcpy(out, &copy, sizeof copy);
            out += sizeof copy;
            if (remembered)
                memcpy(out, q->instruments[id].sequence.values, remembered);
            out += remembered;
            if (watched)
                memcpy(out, q->instruments[id].watch.memory, watched);
            out += watched;
        }
    }
}

/* Whether what the checks index by is in range. `in`: alpha_group_saved_bytes() of them. */
static inline int alpha_group_saved_fits(const alpha_pipeline *p, const char *in)
{
    int fits = 1;
    for (uint32_t k = 0; p->group && k < p->group->n; k++) {
        const alpha_pipeline *q = p->group->seats[k].p;
        const size_t each = (alpha_seat_saved_bytes(q) - sizeof(alpha_saved_seat)) / q->n_instruments;
        in += sizeof(alpha_saved_seat);
        for (uint32_t id = 0; id < q->n_instruments; id++, in += each) {
            alpha_watch seen;
            memcpy(&seen, in + offsetof(alpha_instrument, watch), sizeof seen);
            fits &= seen.drift.step < ALPHA_DRIFT_STEPS && seen.drift.full <= ALPHA_DRIFT_STEPS && seen.session == -1;
        }
    }
    return fits;
}

/* `in`: alpha_group_saved_bytes() of them. */
static inline void alpha_group_restore(alpha_pipeline *p, const char *in)
{
    for (uint32_t k = 0; p->group && k < p->group->n; k++) {
        alpha_pipeline *q = p->group->seats[k].p;
        const size_t remembered = alpha_sequence_bytes(&q->shape), watched = alpha_checks_bytes(&q->checks);
        alpha_saved_seat head;
        memcpy(&head, in, sizeof head);
        in += sizeof head;
        q->counters = head.counters;
        p->group->seats[k].emitted = head.emitted;
        q->breaker.history = head.history;
        q->breaker.trips = head.trips;
        q->breaker.due = 0;
        q->breaker.slow = 0;
        q->override = head.override;
        q->may_lower = head.may_lower;
        q->gate.tripped = head.tripped;
        alpha_set_threshold(q);
        for (uint32_t id = 0; id < q->n_instruments; id++) {
            alpha_instrument *to = &q->instruments[id];
            float *const x = to->x, *const values = to->sequence.values;
            char *const memory = to->watch.memory;
            memcpy(to, in, sizeof *to);
            in += sizeof *to;
            to->block = p->instruments[id].block;
            to->x = x;
            to->sequence.values = values;
            if (remembered)
                memcpy(values, in, remembered);
            in += remembered;
            to->watch.memory = memory;
            if (watched)
                memcpy(memory, in, watched);
            in += watched;
        }
    }
}

#endif
