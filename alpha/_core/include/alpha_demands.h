/* What the checks and the breaker do inside of the pipeline: questions to a row, and the CONTROL events that speak to the
 * gate. Floor 4; a part of alpha_pipeline.h. */
#ifndef ALPHA_DEMANDS_H
#define ALPHA_DEMANDS_H

/* Out of session, or on data that are too old. */
static inline int alpha_is_untimely(alpha_pipeline *p, alpha_instrument *in, const alpha_row *row)
{
    const alpha_checks *c = &p->checks;
    if (c->sessions && !alpha_in_session(c, &in->watch, (uint32_t)(in - p->instruments), row->ts_ns))
        return ALPHA_OUT_OF_SESSION;
    if (!c->aged || in->own_row) /* of the caller's own features only the caller knows the age */
        return 0;
    int old = alpha_is_old(in->watch.data_ns, row->ts_ns, c->max_age_ns);
    for (uint32_t k = 0; k < p->n_peers && !old; k++)
        old = alpha_is_old(p->instruments[p->peer_ids[k]].watch.data_ns, row->ts_ns, c->max_age_peers_ns);
    for (uint32_t k = 0; k < c->n_inputs && !old; k++)
        old = alpha_is_old(alpha_input_times(&in->watch)[k], row->ts_ns, c->max_age_inputs_ns);
    return old ? ALPHA_STALE : 0;
}

/* Not like what the model was trained on, and declared to hold for that. */
static inline int alpha_is_unlike(alpha_pipeline *p, alpha_instrument *in, const alpha_row *row)
{
    const alpha_drift *d = &p->checks.drift;
    if (!d->on)
        return 0;
    uint16_t *counts = (uint16_t *)(void *)(in->watch.memory + p->checks.n_inputs * sizeof(int64_t));
    const uint32_t found = p->kernels->drift(d, &in->watch.drift, counts, row->x, p->z);
    if (__builtin_expect(found == 0, 1))
        return 0;
    for (uint32_t k = 0; k < 3; k++)
        p->counters.unlike[k] += found >> k & 1;
    return found & d->hold ? ALPHA_OUT_OF_DISTRIBUTION : 0;
}

static inline void alpha_set_threshold(alpha_pipeline *p)
{
    p->gate.threshold = alpha_threshold(p->gate.declared_threshold, p->override, p->may_lower);
}

/* BREAKER and THRESHOLD to one model: 1 if it says something. */
static inline int alpha_control_gate_of(alpha_pipeline *p, const alpha_event *e)
{
    const double value = e->v[1];
    if (e->v[0] == ALPHA_CONTROL_THRESHOLD && (isnan(value) || (value >= 0.0 && value <= 3.0e38))) {
        p->override = (float)value;
        alpha_set_threshold(p);
        return 1;
    }
    for (uint32_t cause = 0; cause < ALPHA_BREAKER_CAUSES; cause++)
        if (e->v[0] == ALPHA_CONTROL_BREAKER && value == (double)cause) {
            p->gate.tripped = cause;
            p->breaker.trips += cause != ALPHA_BREAKER_RESET;
            alpha_breaker_forget(&p->breaker);
            return 1;
        }
    return 0;
}

static inline int alpha_control_seats(alpha_pipeline *p, const alpha_event *e); /* alpha_seats.h */

/* v[2]: of several models 1 + the slot of the one that is meant, 0 = all of them. */
static inline int alpha_control_gate(alpha_pipeline *p, const alpha_event *e)
{
    return p->group ? alpha_control_seats(p, e) : alpha_control_gate_of(p, e);
}

#endif
