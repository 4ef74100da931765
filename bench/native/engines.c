/* Calls the compiled functions of other engines over rows, as chain.c calls ours: each call waits for the one before. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#define MOST 256

typedef void (*lleaves_function)(double *data, double *out, int start, int end);
typedef void (*tl2cgen_function)(double *data, int margin, double *out);
typedef int (*lightgbm_function)(void *config, const void *data, int64_t *n_out, double *out);

struct engine {
    int32_t kind; /* 0 nothing, 1 lleaves, 2 tl2cgen, 3 LightGBM's single row with a prepared configuration */
    int32_t n_in;
    void *function, *config;
};

static inline int call(const struct engine *e, double *x, double *out)
{
    int64_t n;
    switch (e->kind) {
    case 1:
        ((lleaves_function)e->function)(x, out, 0, 1);
        return 0;
    case 2:
        *out = 0;
        ((tl2cgen_function)e->function)(x, 1, out);
        return 0;
    case 3:
        return ((lightgbm_function)e->function)(e->config, x, &n, out);
    default:
        __asm__ volatile("" : : "r"(x) : "memory");
        *out = x[0];
        return 0;
    }
}

/* A row whose first value depends on the last score: + 0 * score, which no compiler may drop. */
static inline void linked(const struct engine *e, double *x, const double *row, double last)
{
    memcpy(x, row, (size_t)e->n_in * sizeof(double));
    x[0] += 0.0 * last;
}

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* 0, or the first failure; one score a row. */
int engine_chain(const struct engine *e, const double *rows, int64_t n, double *out)
{
    double x[MOST], last = 0;
    if (e->n_in > MOST)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        linked(e, x, rows + i * e->n_in, last);
        int failed = call(e, x, out + i);
        if (failed)
            return failed;
        last = out[i];
    }
    return 0;
}

/* The same, with the ns of each call. */
int engine_each(const struct engine *e, const double *rows, int64_t n, double *out, int64_t *ns)
{
    double x[MOST], last = 0;
    if (e->n_in > MOST)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        linked(e, x, rows + i * e->n_in, last);
        const int64_t start = now_ns();
        int failed = call(e, x, out + i);
        ns[i] = now_ns() - start;
        if (failed)
            return failed;
        last = out[i];
    }
    return 0;
}
