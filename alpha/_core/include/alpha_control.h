/* What a CONTROL event changes: kill, halt, threshold, breaker. Floor 4; a part of alpha_pipeline.h. */
#ifndef ALPHA_CONTROL_H
#define ALPHA_CONTROL_H

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

/* v[2]: of several models 1 + the slot of the one that is meant, 0 = all of them. */
static inline int alpha_control_gate(alpha_pipeline *p, const alpha_event *e)
{
    return p->group ? alpha_control_seats(p, e) : alpha_control_gate_of(p, e);
}

/* KILL and REVIVE speak to all; HALT and RESUME to one instrument, or to all of them. */
static inline int alpha_control(alpha_pipeline *p, const alpha_event *e)
{
    const double code = e->v[0];
    if (code == ALPHA_CONTROL_BREAKER || code == ALPHA_CONTROL_THRESHOLD)
        return alpha_control_gate(p, e);
    if (code == ALPHA_CONTROL_KILL || code == ALPHA_CONTROL_REVIVE) {
        alpha_set_killed(p, code == ALPHA_CONTROL_KILL);
        return 1;
    }
    if (code != ALPHA_CONTROL_HALT && code != ALPHA_CONTROL_RESUME)
        return 0;
    for (uint32_t id = 0; id < p->n_instruments; id++)
        if (e->instrument_id == id || e->instrument_id == ALPHA_ALL_INSTRUMENTS)
            p->instruments[id].halted = code == ALPHA_CONTROL_HALT;
    return 1;
}

#endif
