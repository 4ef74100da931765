/* A latency histogram: 64 powers of two, 32 linear steps each (under 3.2 % wide). Floor 1.
 * Written by one thread; others may read it torn by one count. */
#ifndef ALPHA_LATENCY_H
#define ALPHA_LATENCY_H

#include <stdint.h>
#include <time.h>

#define ALPHA_LATENCY_STEPS 32
#define ALPHA_LATENCY_BINS (60 * ALPHA_LATENCY_STEPS)

typedef struct alpha_latency {
    uint64_t count[ALPHA_LATENCY_BINS];
    uint64_t n;
    int64_t max_ns;
} alpha_latency;

/* Below 32 a bin is one ns; above, bin = 32 * (octave - 4) + the five bits after the leading one. */
static inline uint32_t alpha_latency_bin(int64_t ns)
{
    if (ns < ALPHA_LATENCY_STEPS)
        return ns < 0 ? 0 : (uint32_t)ns;
    int octave = 63 - __builtin_clzll((uint64_t)ns);
    return (uint32_t)(ALPHA_LATENCY_STEPS * (octave - 4) + (int)((ns >> (octave - 5)) & 31));
}

static inline void alpha_latency_add(alpha_latency *h, int64_t ns)
{
    h->count[alpha_latency_bin(ns)]++;
    h->n++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

/* Monotonic clock: measures, never decides. */
static inline int64_t alpha_now_ns(void)
{
    struct timespec t;
#ifdef __APPLE__
    clock_gettime(CLOCK_UPTIME_RAW, &t); /* its CLOCK_MONOTONIC counts whole microseconds */
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif
