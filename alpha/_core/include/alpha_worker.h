/* A thread that owns a pipeline: takes events from a ring, leaves Signals in another. Floor 4. */
#ifndef ALPHA_WORKER_H
#define ALPHA_WORKER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "alpha_look.h"
#include "alpha_ring.h"
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

typedef struct alpha_parcel { /* a Signal on its way to the caller */
    alpha_signal signal;
    int64_t made_ns;          /* monotonic; ages the Signal when it is polled, never decides */
    uint64_t full;
} alpha_parcel;

typedef struct alpha_worker {
    alpha_pipeline *pipeline;
    alpha_ring *ring;
    uint64_t ring_mask;
    alpha_parcel *parcels; /* single producer (the thread), single consumer (the poller) */
    uint64_t n_parcels;    /* power of two */
    alpha_signal *scratch;
    pthread_t thread;
    int32_t cpu;           /* -1: not pinned */
    int32_t pinned;        /* whether pinning succeeded */
    _Alignas(64) uint64_t head; /* thread's side */
    uint64_t lost;         /* Signals nobody polled in time to make room */
    uint64_t processed;
    _Alignas(64) uint64_t tail; /* poller's side */
    _Alignas(64) int stop;
} alpha_worker;

static void alpha_worker_emit(alpha_worker *w, const alpha_signal *s)
{
    alpha_parcel *p = &w->parcels[w->head & (w->n_parcels - 1)];
    if (__atomic_load_n(&p->full, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&w->lost, w->lost + 1, __ATOMIC_RELAXED);
        return;
    }
    p->signal = *s;
    p->made_ns = alpha_now_ns();
    __atomic_store_n(&p->full, 1, __ATOMIC_RELEASE);
    w->head++;
}

static void *alpha_worker_main(void *argument)
{
    alpha_worker *w = argument;
#ifdef __linux__
    if (w->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(w->cpu, &set);
        w->pinned = pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
    }
#endif
    uint32_t idle = 0, waits = 0;
    for (;;) {
        const alpha_event *e = alpha_ring_peek(w->ring, w->ring_mask);
        if (!e) {
            if (waits) { /* the Signals are out, no event is there */
                alpha_prepare(w->pipeline);
                waits = 0;
                continue;
            }
            /* stop only when the ring is empty: what was pushed is processed */
            if (__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE) && !alpha_ring_peek(w->ring, w->ring_mask))
                return NULL;
            alpha_answer_look(w->pipeline);
            alpha_pause();
            if (++idle % 4096 == 0)
                sched_yield(); /* a producer on the same core must get to run */
            continue;
        }
        idle = 0;
        alpha_event event = *e;
        alpha_ring_release(w->ring, w->ring_mask);
        uint32_t made = alpha_process(w->pipeline, &event, w->scratch);
        alpha_keep(w->pipeline, w->scratch, made);
        for (uint32_t i = 0; i < made; i++)
            alpha_worker_emit(w, &w->scratch[i]);
        waits = 1;
        __atomic_store_n(&w->processed, w->processed + 1, __ATOMIC_RELEASE);
    }
}

static int alpha_worker_start(alpha_worker *w)
{
    return pthread_create(&w->thread, NULL, alpha_worker_main, w);
}

static void alpha_worker_stop(alpha_worker *w)
{
    __atomic_store_n(&w->stop, 1, __ATOMIC_RELEASE);
    pthread_join(w->thread, NULL);
}

/* Poller: 1 and the oldest waiting Signal with its age, or 0. */
static int alpha_worker_poll(alpha_worker *w, alpha_signal *s, int64_t *age_ns)
{
    alpha_parcel *p = &w->parcels[w->tail & (w->n_parcels - 1)];
    if (!__atomic_load_n(&p->full, __ATOMIC_ACQUIRE))
        return 0;
    *s = p->signal;
    *age_ns = alpha_now_ns() - p->made_ns;
    __atomic_store_n(&p->full, 0, __ATOMIC_RELEASE);
    w->tail++;
    return 1;
}

#endif
