/* What the gate asks of a row besides the model: session, age of the data, likeness to the training data. Floor 2.
 * Limits belong to the Bundle, what was seen to each instrument. */
#ifndef ALPHA_CHECKS_H
#define ALPHA_CHECKS_H

#include "alpha_drift.h"
#include "alpha_guard.h"
#include "alpha_present.h"
#include "alpha_types.h"

typedef struct alpha_checks {
    const alpha_sessions *const *sessions; /* [instruments], NULL there: decides at any time; NULL: all of them do */
    uint32_t by_close;                     /* times are closes of bars and belong to the session they end in */
    uint32_t inactive;                     /* the registry's status forbids that it decides */
    int64_t max_age_ns;        /* of the instrument's own market data; INT64_MAX = any */
    int64_t max_age_peers_ns;  /* of each other instrument that the features look at */
    int64_t max_age_inputs_ns; /* of each external series */
    uint32_t aged;             /* any of the three is declared */
    uint32_t n_inputs;
    alpha_drift drift;
} alpha_checks;

typedef struct alpha_watch { /* of one instrument */
    int64_t data_ns;         /* stream time of its last quote, trade, bar or depth before the row, ALPHA_NO_TIME = none */
    int64_t session, until;  /* where time stands in the sessions, as in alpha_present */
    uint32_t gap;            /* events were lost, and it has not been warm since */
    uint32_t unused;
    alpha_drift_seen drift;
    char *memory;            /* int64 [n_inputs] time of each series, then the counters of alpha_drift */
} alpha_watch;

static inline uint64_t alpha_checks_bytes(const alpha_checks *c)
{
    return (uint64_t)c->n_inputs * sizeof(int64_t) + alpha_drift_bytes(&c->drift);
}

static inline int64_t *alpha_input_times(const alpha_watch *w)
{
    return (int64_t *)(void *)w->memory;
}

static inline void alpha_watch_reset(const alpha_checks *c, alpha_watch *w)
{
    w->data_ns = ALPHA_NO_TIME;
    w->session = -1;
    w->until = ALPHA_NO_TIME;
    for (uint32_t k = 0; k < c->n_inputs; k++)
        alpha_input_times(w)[k] = ALPHA_NO_TIME;
}

/* After an accepted event was processed: what a row of a later event may rely on. */
static inline void alpha_watch_event(const alpha_checks *c, alpha_watch *w, const alpha_event *e, int64_t t)
{
    if (__builtin_expect(e->kind <= ALPHA_DEPTH, 1))
        w->data_ns = t;
    else if (e->kind == ALPHA_INPUT && e->v[0] >= 0.0 && e->v[0] < (double)c->n_inputs)
        alpha_input_times(w)[(uint32_t)e->v[0]] = t;
}

static inline int alpha_lost_before(const alpha_event *e)
{
    return (e->flags & ALPHA_GAP) || (e->kind == ALPHA_STATUS && e->v[0] == ALPHA_STATUS_LOST);
}

/* Between the last market data and `now` lies more than the limit, or there never was any. */
static inline int alpha_is_old(int64_t seen_ns, int64_t now, int64_t limit_ns)
{
    return limit_ns != INT64_MAX && (seen_ns == ALPHA_NO_TIME || now - seen_ns > limit_ns);
}

/* The first time that belongs to another session lies behind: find the present one. `now` never goes back. */
static __attribute__((noinline, cold, unused)) void alpha_next_session(const alpha_sessions *s, alpha_watch *w, int64_t now,
                                                                       uint32_t by_close)
{
    int64_t low = w->session + 1, high = s->n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (s->opens[middle] + by_close <= now)
            low = middle + 1;
        else
            high = middle;
    }
    w->session = low - 1;
    w->until = low < s->n ? s->opens[low] + by_close : INT64_MAX;
}

/* Inside a regular session and outside of its break (rule 50). */
static inline int alpha_in_session(const alpha_checks *c, alpha_watch *w, uint32_t id, int64_t now)
{
    const alpha_sessions *s = c->sessions ? c->sessions[id] : (const alpha_sessions *)0;
    if (!s)
        return 1;
    if (now >= w->until)
        alpha_next_session(s, w, now, c->by_close);
    const int64_t k = w->session, t = now - c->by_close; /* a close counts as the last ns before it */
    return k >= 0 && t < s->closes[k] && !(t >= s->break_starts[k] && t < s->break_ends[k]);
}

#endif
