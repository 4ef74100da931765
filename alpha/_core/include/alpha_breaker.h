/* The breaker: a model that fails too often, or answers too late too often in a row, is not listened to any more. Floor 1.
 *
 * What it finds is not applied where it is found: before the next event the pipeline puts a CONTROL event into its own
 * stream. That event is logged, and a replay takes it from the log, though latency never repeats. */
#ifndef ALPHA_BREAKER_H
#define ALPHA_BREAKER_H

#include <stdint.h>

enum alpha_breaker_cause { /* argument of CONTROL BREAKER */
    ALPHA_BREAKER_RESET = 0,
    ALPHA_BREAKER_ERRORS = 1,  /* the model failed, or gave what is not finite */
    ALPHA_BREAKER_LATENCY = 2,
    ALPHA_BREAKER_CAUSES = 3
};

typedef struct alpha_breaker_limits { /* of a Bundle */
    uint32_t errors, window; /* trips at so many errors in the last `window` (at most 64) runs of the model; 0 = never */
    int64_t latency_ns;      /* features normalised and model run; 0 = not measured */
    uint32_t in_a_row;       /* runs that are slower, one after the other */
    uint32_t unused;
} alpha_breaker_limits;

#define ALPHA_BREAKER_SEAT_SHIFT 8

typedef struct alpha_breaker {
    alpha_breaker_limits limits;
    uint64_t history; /* one bit a run, the last one lowest: it failed */
    uint32_t slow;    /* runs in a row that were too slow */
    uint32_t due;     /* 1 + enum alpha_breaker_cause: goes into the stream before the next event; from bit
                         ALPHA_BREAKER_SEAT_SHIFT on 1 + the seat that it is about, of several models; 0 = all */
    uint32_t follows; /* finds nothing by itself: a replay, or a Bundle that only runs along */
    uint32_t unused;
    uint64_t trips;
} alpha_breaker;

/* After each run of the model. */
static inline void alpha_breaker_note(alpha_breaker *b, int failed, int64_t took_ns)
{
    b->history = b->history << 1 | (uint64_t)(failed != 0);
    if (__builtin_expect(failed && b->limits.errors && !b->follows, 0)) {
        const uint64_t seen = b->limits.window < 64 ? b->history & (((uint64_t)1 << b->limits.window) - 1) : b->history;
        if ((uint32_t)__builtin_popcountll(seen) >= b->limits.errors)
            b->due = 1 + ALPHA_BREAKER_ERRORS;
    }
    if (b->limits.latency_ns > 0) {
        b->slow = took_ns > b->limits.latency_ns ? b->slow + 1 : 0;
        if (__builtin_expect(b->slow >= b->limits.in_a_row && !b->follows, 0))
            b->due = 1 + ALPHA_BREAKER_LATENCY;
    }
}

static inline void alpha_breaker_forget(alpha_breaker *b)
{
    b->history = 0;
    b->slow = 0;
}

#endif
