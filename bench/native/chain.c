/* Calls a model over rows so that each call waits for the one before, and reads memory as fast as it goes. */
#include "alpha_model.h"
#include "alpha_vec.h"
#include <time.h>

#define MOST 4096

/* A row whose first value depends on the last score: + 0 * score, which no compiler may drop. */
static inline void linked(float *x, const float *row, uint32_t n, float last)
{
    memcpy(x, row, n * sizeof(float));
    x[0] += 0.0f * last;
}

/* 0, or the first failure. carry: n_carry floats, advanced; prepared: what follows from the state alone is made
 * before each call, and its time counts too. */
int chain(const alpha_model *m, const float *rows, int64_t n, float *carry, int prepared, float *out)
{
    float x[MOST], last = 0;
    if (m->n_in > MOST)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        linked(x, rows + i * m->n_in, m->n_in, last);
        if (prepared && m->prepare)
            m->prepare(m->self, carry, m->scratch);
        int failed = m->run(m->self, x, carry, carry, m->scratch, out + i * m->n_out, 1);
        if (failed)
            return failed;
        last = out[i * m->n_out];
    }
    return 0;
}

/* The same loop around nothing. */
int empty(const alpha_model *m, const float *rows, int64_t n, float *out)
{
    float x[MOST], last = 0;
    for (int64_t i = 0; i < n; i++) {
        linked(x, rows + i * m->n_in, m->n_in, last);
        __asm__ volatile("" : : "r"(x) : "memory");
        last = out[i * m->n_out] = x[0];
    }
    return 0;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ns of each call; `apart`: only the run is timed, after the preparation; evict: bytes read between two calls. */
int each(const alpha_model *m, const float *rows, int64_t n, float *carry, int apart, const char *evict, int64_t bytes,
         float *out, int64_t *ns)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t seen = 0;
        for (int64_t b = 0; b < bytes; b += 64)
            seen += (uint64_t)evict[b];
        __asm__ volatile("" : : "r"(seen));
        if (apart && m->prepare)
            m->prepare(m->self, carry, m->scratch);
        const int64_t start = now();
        int failed = m->run(m->self, rows + i * m->n_in, carry, carry, m->scratch, out + i * m->n_out, 1);
        ns[i] = now() - start;
        if (failed)
            return failed;
    }
    return 0;
}

/* The sum of n floats (a multiple of 8 vectors) in eight accumulators, `times` over. */
float read_eight(const float *p, int64_t n, int64_t times)
{
    vec sum[8];
    for (int k = 0; k < 8; k++)
        sum[k] = vec_of(0.0f);
    for (int64_t t = 0; t < times; t++) {
        __asm__ volatile("" : "+r"(p));
        for (int64_t i = 0; i < n; i += 8 * VEC)
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                sum[k] += vec_load(p + i + k * VEC);
    }
    for (int k = 1; k < 8; k++)
        sum[0] += sum[k];
    return vec_sum(sum[0]);
}

/* The same bytes loaded and thrown away. */
void loads_only(const float *p, int64_t n, int64_t times)
{
    for (int64_t t = 0; t < times; t++)
        for (int64_t i = 0; i < n; i += 8 * VEC)
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++) {
                const vec v = vec_load(p + i + k * VEC);
                __asm__ volatile("" : : "x"(v));
            }
}
