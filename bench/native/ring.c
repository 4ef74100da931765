/* Our ring and a classic one (padded head and tail, cached opposite index), driven alike by two threads. */
#include "alpha_ring.h"
#include "alpha_latency.h"
#include <pthread.h>
#include <stdlib.h>

#define CAPACITY 4096

typedef struct {
    /* four lines, as the fastest published ones have it: nobody's private copy shares a line that the other reads */
    _Alignas(64) uint64_t head;
    _Alignas(64) uint64_t tail_seen; /* producer's copy of tail */
    _Alignas(64) uint64_t tail;
    _Alignas(64) uint64_t head_seen; /* consumer's copy of head */
    _Alignas(64) alpha_event slots[CAPACITY];
} classic;

typedef struct {
    void *ring;
    int64_t n;
    uint64_t sum;
} job;

/* Every word of the payload changes with i, and every word is summed up on the other side. */
static inline alpha_event make(int64_t i)
{
    alpha_event e;
    uint64_t w[8];
    for (int k = 0; k < 8; k++)
        w[k] = (uint64_t)i + (uint64_t)k;
    memcpy(&e, w, sizeof e);
    e.header = (uint64_t)i | (uint64_t)ALPHA_QUOTE << 32;
    return e;
}

static inline uint64_t check(const alpha_event *e)
{
    uint64_t w[8], sum = 0;
    memcpy(w, e, sizeof w);
    for (int k = 0; k < 8; k++)
        sum += w[k];
    return sum;
}

static void *ours_produce(void *p)
{
    job *j = p;
    for (int64_t i = 0; i < j->n; i++) {
        alpha_event e = make(i);
        while (!alpha_ring_push(j->ring, CAPACITY - 1, &e))
            alpha_pause();
    }
    return NULL;
}

static void *classic_produce(void *p)
{
    job *j = p;
    classic *r = j->ring;
    for (int64_t i = 0; i < j->n; i++) {
        alpha_event e = make(i);
        uint64_t h = r->head;
        while (h - r->tail_seen == CAPACITY) {
            r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
            if (h - r->tail_seen == CAPACITY)
                alpha_pause();
        }
        r->slots[h & (CAPACITY - 1)] = e;
        __atomic_store_n(&r->head, h + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static uint64_t expected(int64_t n)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        alpha_event e = make(i);
        sum += check(&e);
    }
    return sum;
}

/* ns per event over n events; negative if the checksum is wrong. */
double ring_ours(int64_t n)
{
    alpha_ring *r = aligned_alloc(64, alpha_ring_bytes(CAPACITY));
    memset(r, 0, alpha_ring_bytes(CAPACITY));
    r->capacity = CAPACITY;
    r->overrun = ALPHA_OVERRUN_REFUSE;
    job j = {r, n, 0};
    pthread_t t;
    int64_t start = alpha_now_ns();
    pthread_create(&t, NULL, ours_produce, &j);
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const alpha_event *e;
        while (!(e = alpha_ring_peek(r, CAPACITY - 1)))
            alpha_pause();
        sum += check(e);
        alpha_ring_release(r, CAPACITY - 1);
    }
    double ns = (double)(alpha_now_ns() - start) / (double)n;
    pthread_join(t, NULL);
    free(r);
    return sum == expected(n) ? ns : -1.0;
}

double ring_classic(int64_t n)
{
    classic *r = aligned_alloc(64, sizeof *r);
    memset(r, 0, sizeof *r);
    job j = {r, n, 0};
    pthread_t t;
    int64_t start = alpha_now_ns();
    pthread_create(&t, NULL, classic_produce, &j);
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t at = r->tail;
        while (r->head_seen == at) {
            r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
            if (r->head_seen == at)
                alpha_pause();
        }
        sum += check(&r->slots[at & (CAPACITY - 1)]);
        __atomic_store_n(&r->tail, at + 1, __ATOMIC_RELEASE);
    }
    double ns = (double)(alpha_now_ns() - start) / (double)n;
    pthread_join(t, NULL);
    free(r);
    return sum == expected(n) ? ns : -1.0;
}
