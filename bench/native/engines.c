/* Calls the compiled functions of other engines over rows, as chain.c calls ours: each call waits for the one before. */
#include <stdint.h>
#include <string.h>
#include <time.h>

#define MOST 256

typedef void (*lleaves_function)(double *data, double *out, int start, int end);
typedef void (*lleaves_floats)(float *data, float *out, int start, int end);
typedef void (*tl2cgen_function)(double *data, int margin, double *out);
typedef int (*lightgbm_function)(void *config, const void *data, int64_t *n_out, double *out);

union row {
    double d[MOST];
    float f[MOST];
};

struct engine {
    /* 0 nothing, 1 lleaves, 2 tl2cgen, 3 LightGBM's single row with a prepared configuration, 4 lleaves of floats */
    int32_t kind;
    int32_t n_in;
    void *function, *config;
};

static inline int call(const struct engine *e, union row *x, double *out)
{
    int64_t n;
    float y;
    switch (e->kind) {
    case 1:
        ((lleaves_function)e->function)(x->d, out, 0, 1);
        return 0;
    case 2:
        *out = 0;
        ((tl2cgen_function)e->function)(x->d, 1, out);
        return 0;
    case 3:
        return ((lightgbm_function)e->function)(e->config, x->d, &n, out);
    case 4:
        ((lleaves_floats)e->function)(x->f, &y, 0, 1);
        *out = y;
        return 0;
    default:
        __asm__ volatile("" : : "r"(x) : "memory");
        *out = x->d[0];
        return 0;
    }
}

/* Row i, whose first value depends on the last score: + 0 * score, which no compiler may drop. */
static inline void linked(const struct engine *e, union row *x, const void *rows, int64_t i, double last)
{
    const size_t n = (size_t)e->n_in;
    if (e->kind == 4) {
        memcpy(x->f, (const float *)rows + (size_t)i * n, n * sizeof(float));
        x->f[0] += 0.0f * (float)last;
    } else {
        memcpy(x->d, (const double *)rows + (size_t)i * n, n * sizeof(double));
        x->d[0] += 0.0 * last;
    }
}

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* 0, or the first failure; one score a row. rows: floats for kind 4, else doubles. */
int engine_chain(const struct engine *e, const void *rows, int64_t n, double *out)
{
    union row x;
    double last = 0;
    if (e->n_in > MOST)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        linked(e, &x, rows, i, last);
        int failed = call(e, &x, out + i);
        if (failed)
            return failed;
        last = out[i];
    }
    return 0;
}

/* The same, with the ns of each call. */
int engine_each(const struct engine *e, const void *rows, int64_t n, double *out, int64_t *ns)
{
    union row x;
    double last = 0;
    if (e->n_in > MOST)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        linked(e, &x, rows, i, last);
        const int64_t start = now_ns();
        int failed = call(e, &x, out + i);
        ns[i] = now_ns() - start;
        if (failed)
            return failed;
        last = out[i];
    }
    return 0;
}
