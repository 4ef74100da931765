/* Single producer, single consumer ring of Events. Floor 1.
 *
 * The 8-byte header of each slot is its own full/empty flag: the producer writes the body, then stores the
 * header with release; the consumer copies the slot, then stores a zero header with release. Neither side
 * ever reads the other's position, so no cache line bounces except the slots themselves.
 *
 * The whole ring is one flat piece of memory without pointers: it may be shared between processes. Each process
 * keeps its own copy of the mask (capacity - 1): whatever another one writes into the memory, no index leaves it. */
#ifndef ALPHA_RING_H
#define ALPHA_RING_H

#include "alpha_types.h"
#include <string.h>
#ifdef ALPHA_DEBUG
#include <stdio.h>
#include <stdlib.h>
#endif

#define ALPHA_RING_MAGIC 0x31474e4952504c41ULL /* "ALPRING1" */

enum alpha_overrun {
    ALPHA_OVERRUN_DROP = 0,  /* a push into a full ring is lost, counted, and announced by a STATUS LOST event */
    ALPHA_OVERRUN_REFUSE = 1 /* a push into a full ring is refused; the caller keeps the event */
};

typedef struct alpha_ring {
    uint64_t magic;
    uint64_t capacity; /* power of two */
    uint64_t overrun;
    uint64_t pushing; /* debug builds: a producer is inside */
    uint64_t unused0[4];
    /* producer's line */
    _Alignas(64) uint64_t head; /* events ever published */
    uint64_t dropped;
    uint64_t lost_pending; /* drops not yet announced to the consumer */
    int64_t lost_ts_event_ns, lost_ts_recv_ns;
    /* consumer's line */
    _Alignas(64) uint64_t tail; /* events ever released */
    _Alignas(64) alpha_event slots[];
} alpha_ring;

static inline uint64_t alpha_ring_bytes(uint64_t capacity)
{
    return sizeof(alpha_ring) + capacity * sizeof(alpha_event);
}

/* Every ring position is published by exactly one store, so relaxed counters are enough for readers. */
static inline uint64_t alpha_ring_published(const alpha_ring *r)
{
    return __atomic_load_n(&r->head, __ATOMIC_RELAXED);
}

static inline uint64_t alpha_ring_released(const alpha_ring *r)
{
    return __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
}

static inline int alpha_ring_put(alpha_ring *r, uint64_t mask, const alpha_event *e)
{
    alpha_event *slot = &r->slots[r->head & mask];
    if (__atomic_load_n(&slot->header, __ATOMIC_ACQUIRE) != 0)
        return 0;
    slot->ts_event_ns = e->ts_event_ns;
    slot->ts_recv_ns = e->ts_recv_ns;
    memcpy(slot->v, e->v, sizeof slot->v);
    __atomic_store_n(&slot->header, e->header, __ATOMIC_RELEASE);
    __atomic_store_n(&r->head, r->head + 1, __ATOMIC_RELAXED);
    return 1;
}

static __attribute__((noinline, cold, unused)) int alpha_ring_overrun(alpha_ring *r, const alpha_event *e)
{
    if (r->overrun == ALPHA_OVERRUN_REFUSE)
        return 0;
    __atomic_store_n(&r->dropped, r->dropped + 1, __ATOMIC_RELAXED);
    r->lost_pending++;
    r->lost_ts_event_ns = e->ts_event_ns;
    r->lost_ts_recv_ns = e->ts_recv_ns;
    return 0;
}

/* Tell the consumer that events were lost here, before the next one gets in. */
static __attribute__((noinline, cold, unused)) int alpha_ring_announce_loss(alpha_ring *r, uint64_t mask)
{
    alpha_event lost = {.ts_event_ns = r->lost_ts_event_ns, .ts_recv_ns = r->lost_ts_recv_ns};
    lost.instrument_id = ALPHA_ALL_INSTRUMENTS;
    lost.kind = ALPHA_STATUS;
    lost.flags = ALPHA_GAP;
    lost.v[0] = ALPHA_STATUS_LOST;
    lost.v[1] = (double)r->lost_pending;
    if (!alpha_ring_put(r, mask, &lost))
        return 0;
    r->lost_pending = 0;
    return 1;
}

static inline int alpha_ring_push_alone(alpha_ring *r, uint64_t mask, const alpha_event *e)
{
    if (__builtin_expect(r->lost_pending != 0, 0) && !alpha_ring_announce_loss(r, mask))
        return alpha_ring_overrun(r, e);
    if (__builtin_expect(alpha_ring_put(r, mask, e), 1))
        return 1;
    return alpha_ring_overrun(r, e);
}

/* Producer only. 1 = published, 0 = the ring is full (dropped or refused, as declared). A debug build ends the program
 * when it meets a second producer, also one of another process: what the two wrote can no longer be told apart. */
static inline int alpha_ring_push(alpha_ring *r, uint64_t mask, const alpha_event *e)
{
#ifdef ALPHA_DEBUG
    if (__atomic_exchange_n(&r->pushing, 1, __ATOMIC_ACQ_REL)) {
        fputs("alpha: two producers push into one ring at the same time: give each its own\n", stderr);
        abort();
    }
    const int pushed = alpha_ring_push_alone(r, mask, e);
    __atomic_store_n(&r->pushing, 0, __ATOMIC_RELEASE);
    return pushed;
#else
    return alpha_ring_push_alone(r, mask, e);
#endif
}

/* Consumer only. The oldest event in place, or NULL; valid until released. */
static inline const alpha_event *alpha_ring_peek(alpha_ring *r, uint64_t mask)
{
    alpha_event *slot = &r->slots[r->tail & mask];
    return __atomic_load_n(&slot->header, __ATOMIC_ACQUIRE) ? slot : (const alpha_event *)0;
}

/* Consumer only, after a peek that was not NULL. */
static inline void alpha_ring_release(alpha_ring *r, uint64_t mask)
{
    alpha_event *slot = &r->slots[r->tail & mask];
    __atomic_store_n(&slot->header, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&r->tail, r->tail + 1, __ATOMIC_RELAXED);
}

static inline void alpha_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
