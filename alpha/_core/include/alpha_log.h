/* The hot side of the audit log: records into a preallocated byte ring. Floor 1.
 *
 * Single producer (whoever owns the pipeline), single consumer (the drain thread of alpha_sink.h). A put neither locks
 * nor calls the system nor allocates. A record is 8 bytes {payload length, type, flags} and its payload, both multiples
 * of 8, never wrapped around the end: a record of length ALPHA_LOG_SKIP fills what is left there. */
#ifndef ALPHA_LOG_H
#define ALPHA_LOG_H

#include "alpha_latency.h"
#include "alpha_types.h"
#include <sched.h>
#include <string.h>

enum alpha_frame_type { /* numbers live in files: append only; from 64: ORDER, FILL, SNAPSHOT, METRIC */
    ALPHA_FRAME_HEADER = 1,
    ALPHA_FRAME_BUNDLE = 2,
    ALPHA_FRAME_STATE = 3,
    ALPHA_FRAME_EVENT = 4,    /* one alpha_event */
    ALPHA_FRAME_DECISION = 5, /* alpha_decision_record, float x[n_x], float out[n_out], zeros to a multiple of 8 */
    ALPHA_FRAME_CONTROL = 6,  /* alpha_control_record: a kill byte was seen to have changed before the next event */
    ALPHA_FRAME_BLOCK = 7,
    ALPHA_FRAME_FEATURES = 8, /* alpha_features_record, float x[n] */
    ALPHA_FRAME_RELOAD = 9    /* alpha_reload_record: a Bundle was taken in before the next event, or now serves */
};

enum alpha_frame_flag { ALPHA_FRAME_DROPPED = 1 }; /* records were dropped before this one */

enum alpha_log_policy { /* what happens when a record cannot be kept */
    ALPHA_LOG_BLOCK_SIGNALS = 0, /* from then on every decision is HOLD, AUDIT_BLOCKED */
    ALPHA_LOG_COUNT_DROPS = 1,   /* it is lost and counted */
    ALPHA_LOG_WAIT = 2           /* offline: the producer waits for room; if the file fails, as BLOCK_SIGNALS */
};

#define ALPHA_LOG_SKIP UINT32_MAX

typedef struct alpha_decision_record {
    alpha_signal signal;
    int64_t latency_ns; /* -1: not measured; no part of what a replay must reproduce */
    uint32_t n_x, n_out;
} alpha_decision_record;

#define ALPHA_KILL_SEAT_SHIFT 16

typedef struct alpha_control_record {
    uint64_t event_index; /* of the event before which it was seen */
    uint32_t instrument_id;
    uint32_t killed; /* 0 or 1; from bit ALPHA_KILL_SEAT_SHIFT on: 0, or 1 + the model_slot that it speaks of */
} alpha_control_record;

enum alpha_reload_step { /* alpha_reload_record.serves */
    ALPHA_RELOAD_TAKEN_IN = 0,
    ALPHA_RELOAD_SERVES = 1,
    ALPHA_RELOAD_WITHDRAWN = 2
};

typedef struct alpha_reload_record {
    uint64_t event_index;
    uint32_t serves;     /* 0: it begins to run silently; 1: it was warm and decides from here on */
    uint32_t only_seats; /* its models take over, the features go on */
    uint8_t sha256[32];      /* of the Bundle's description */
} alpha_reload_record;

typedef struct alpha_features_record {
    int64_t ts_ns;
    uint32_t instrument_id, n;
} alpha_features_record;

typedef struct alpha_audit {
    char *ring;
    uint64_t capacity; /* power of two */
    uint32_t policy;
    /* producer's line */
    _Alignas(64) uint64_t head;
    uint64_t tail_seen;
    uint64_t skip; /* bytes left out before the record that is being written */
    uint64_t dropped;
    int64_t began_ns;  /* when the present event came in, if latency is measured */
    uint32_t lost;     /* the next record says that others before it were dropped */
    uint32_t blocked;  /* latched until the log is opened anew */
    /* consumer's line */
    _Alignas(64) uint64_t tail;
    int32_t failed; /* errno of the write or fsync that failed; nothing is written after it */
} alpha_audit;

static inline uint32_t alpha_pad8(uint64_t bytes)
{
    return (uint32_t)((bytes + 7) & ~(uint64_t)7);
}

static inline int alpha_log_has_room(alpha_audit *l, uint64_t need)
{
    if (__builtin_expect(l->capacity - (l->head - l->tail_seen) >= need, 1))
        return 1;
    l->tail_seen = __atomic_load_n(&l->tail, __ATOMIC_ACQUIRE);
    return l->capacity - (l->head - l->tail_seen) >= need;
}

/* No room. 1: there is some now. */
static __attribute__((noinline, cold, unused)) int alpha_log_full(alpha_audit *l, uint64_t need)
{
    if (l->policy == ALPHA_LOG_WAIT) {
        while (!__atomic_load_n(&l->failed, __ATOMIC_ACQUIRE)) {
            if (alpha_log_has_room(l, need))
                return 1;
            sched_yield();
        }
    }
    if (l->policy == ALPHA_LOG_COUNT_DROPS) {
        __atomic_store_n(&l->dropped, l->dropped + 1, __ATOMIC_RELAXED);
        l->lost = 1;
    } else {
        __atomic_store_n(&l->blocked, 1, __ATOMIC_RELAXED);
    }
    return 0;
}

/* Where a payload of `bytes` (a multiple of 8) goes, or NULL: it cannot be kept. */
static inline char *alpha_log_reserve(alpha_audit *l, uint16_t type, uint32_t bytes)
{
    const uint64_t at = l->head & (l->capacity - 1), left = l->capacity - at, whole = 8 + (uint64_t)bytes;
    const uint64_t need = whole <= left ? whole : left + whole;
    if (__builtin_expect(l->blocked, 0))
        return (char *)0;
    if (__builtin_expect(__atomic_load_n(&l->failed, __ATOMIC_RELAXED) != 0 || !alpha_log_has_room(l, need), 0) &&
        !alpha_log_full(l, __atomic_load_n(&l->failed, __ATOMIC_RELAXED) ? UINT64_MAX : need))
        return (char *)0;
    char *p = l->ring + at;
    l->skip = 0;
    if (whole > left) {
        const uint32_t skip = ALPHA_LOG_SKIP;
        memcpy(p, &skip, sizeof skip);
        l->skip = left;
        p = l->ring;
    }
    const uint16_t flags = l->lost ? ALPHA_FRAME_DROPPED : 0;
    l->lost = 0;
    memcpy(p, &bytes, 4);
    memcpy(p + 4, &type, 2);
    memcpy(p + 6, &flags, 2);
    return p + 8;
}

static inline void alpha_log_commit(alpha_audit *l, uint32_t bytes)
{
    __atomic_store_n(&l->head, l->head + l->skip + 8 + bytes, __ATOMIC_RELEASE); /* the skip together with the record */
}

static inline void alpha_log_event(alpha_audit *l, const alpha_event *e)
{
    char *p = alpha_log_reserve(l, ALPHA_FRAME_EVENT, sizeof *e);
    if (p) {
        memcpy(p, e, sizeof *e);
        alpha_log_commit(l, sizeof *e);
    }
}

/* The decision is made; if it cannot be kept and the policy says so, it becomes a HOLD. */
static inline void alpha_log_decision(alpha_audit *l, alpha_signal *s, const float *x, uint32_t n_x, const float *out,
                                      uint32_t n_out, int timed)
{
    const uint32_t floats = (n_x + n_out) * (uint32_t)sizeof(float);
    const uint32_t bytes = (uint32_t)sizeof(alpha_decision_record) + alpha_pad8(floats);
    char *p = alpha_log_reserve(l, ALPHA_FRAME_DECISION, bytes);
    if (__builtin_expect(!p, 0)) {
        if (l->policy != ALPHA_LOG_COUNT_DROPS) {
            s->action = ALPHA_HOLD;
            s->reason = ALPHA_AUDIT_BLOCKED;
        }
        return;
    }
    memcpy(p, s, sizeof *s);
    const int64_t took = timed ? alpha_now_ns() - l->began_ns : -1;
    memcpy(p + sizeof *s, &took, 8);
    memcpy(p + sizeof *s + 8, &n_x, 4);
    memcpy(p + sizeof *s + 12, &n_out, 4);
    p += sizeof(alpha_decision_record);
    if (floats & 7)
        memset(p + floats, 0, 4);
    memcpy(p, x, n_x * sizeof(float));
    memcpy(p + n_x * sizeof(float), out, n_out * sizeof(float));
    alpha_log_commit(l, bytes);
}

static __attribute__((noinline, cold, unused)) void alpha_log_control(alpha_audit *l, uint64_t event_index, uint32_t id,
                                                                      uint32_t killed)
{
    const alpha_control_record r = {event_index, id, killed};
    char *p = alpha_log_reserve(l, ALPHA_FRAME_CONTROL, sizeof r);
    if (p) {
        memcpy(p, &r, sizeof r);
        alpha_log_commit(l, sizeof r);
    }
}

static __attribute__((noinline, cold, unused)) void alpha_log_reload(alpha_audit *l, uint64_t event_index,
                                                                     uint32_t serves, uint32_t only_seats,
                                                                     const uint8_t *sha256)
{
    alpha_reload_record r = {event_index, serves, only_seats, {0}};
    memcpy(r.sha256, sha256, sizeof r.sha256);
    char *p = alpha_log_reserve(l, ALPHA_FRAME_RELOAD, sizeof r);
    if (p) {
        memcpy(p, &r, sizeof r);
        alpha_log_commit(l, sizeof r);
    }
}

static __attribute__((unused)) void alpha_log_features(alpha_audit *l, uint32_t id, int64_t ts_ns, const float *x,
                                                       uint32_t n)
{
    const alpha_features_record r = {ts_ns, id, n};
    const uint32_t bytes = (uint32_t)sizeof r + alpha_pad8(n * sizeof(float));
    char *p = alpha_log_reserve(l, ALPHA_FRAME_FEATURES, bytes);
    if (p) {
        memset(p + bytes - 8, 0, 8);
        memcpy(p, &r, sizeof r);
        memcpy(p + sizeof r, x, n * sizeof(float));
        alpha_log_commit(l, bytes);
    }
}

#endif
