/* What the checks ask of a row inside of the pipeline. Floor 4; a part of alpha_pipeline.h. */
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

#endif
