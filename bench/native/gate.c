/* The whole gate over rows as they lie: everything alpha_decide does but to normalise and to run a model. */
#include "alpha_pipeline.h"
#include <stdlib.h>


static alpha_pipeline p;
static alpha_instrument instruments[2]; /* the second one is looked at */
static alpha_program program;
static alpha_sessions table;
static const alpha_sessions *tables[2];
static alpha_kernels kernels;
static uint32_t peer = 1;
static float out[ALPHA_MAX_SCORES];
static int64_t opens, closes;

static int ready(const float *x, const double *mean, const double *std, float lo, float hi, float *z, uint32_t n)
{
    (void)x, (void)mean, (void)std, (void)lo, (void)hi, (void)z, (void)n;
    return 1;
}

static uint32_t drift(const alpha_drift *d, alpha_drift_seen *s, uint16_t *counts, const float *x, const float *z)
{
    return alpha_drift_look(d, s, counts, x, z);
}

static int scores(const void *self, const float *x, const float *in, float *carry, void *scratch, float *y, uint32_t rows)
{
    (void)self, (void)x, (void)in, (void)carry, (void)scratch, (void)y, (void)rows;
    return 0;
}

/* 0 if everything was made; the arrays must live on. All checks are on, and none of them ever holds by itself. */
int gate_open(uint32_t n, uint32_t window, const float *lo, const float *hi, const float *edges, const float *share,
              const float *log_share, const float *log_count, int64_t begin, int64_t end)
{
    memset(&p, 0, sizeof p);
    memset(instruments, 0, sizeof instruments);
    const uint32_t all = ALPHA_DRIFT_RANGE | ALPHA_DRIFT_DISTANCE | ALPHA_DRIFT_PSI;
    program.n_features = n;
    kernels.normalise = ready;
    kernels.drift = drift;
    opens = begin;
    closes = end;
    table = (alpha_sessions){&opens, &closes, &closes, &closes, 1};
    tables[0] = tables[1] = &table;
    p.program = &program;
    p.kernels = &kernels;
    p.instruments = instruments;
    p.n_instruments = 2;
    p.peer_ids = &peer;
    p.n_peers = 1;
    p.model.run = scores;
    p.out = out;
    p.shape.width = n;
    p.shape.window = 1;
    p.gate.n_scores = 3;
    p.gate.output_kind = ALPHA_PROBABILITIES;
    p.gate.actions[0] = ALPHA_SELL;
    p.gate.actions[2] = ALPHA_BUY;
    p.gate.threshold = 0.5f;
    p.gate.cooldown_ns = 1000;
    p.gate.by_bar = 1;
    p.gate.valid_until_ns = end;
    p.breaker.limits = (alpha_breaker_limits){16, 32, 0, 1, 0};
    p.checks.sessions = tables;
    p.checks.max_age_ns = p.checks.max_age_peers_ns = p.checks.max_age_inputs_ns = INT64_MAX - 1;
    p.checks.aged = 1;
    p.checks.n_inputs = 1;
    p.checks.drift = (alpha_drift){.n = n, .padded = (n + 7) / 8 * 8, .on = all, .hold = all, .turns = (n + 7) / 8,
                                   .step = window / ALPHA_DRIFT_STEPS * ((n + 7) / 8),
                                   .distance_limit = 24.0f, .psi_limit = 1e6f, .per_row = 1.0f / (float)window,
                                   .per_feature = 1.0f / (float)n, .lo = lo, .hi = hi, .edges = edges, .share = share,
                                   .log_share = log_share, .log_count = log_count};
    for (int k = 0; k < 2; k++) {
        instruments[k].watch.memory = calloc(1, alpha_checks_bytes(&p.checks));
        if (!instruments[k].watch.memory)
            return 1;
        alpha_watch_reset(&p.checks, &instruments[k].watch);
        instruments[k].watch.data_ns = begin;
        alpha_input_times(&instruments[k].watch)[0] = begin;
    }
    return 0;
}

/* x, z: rows of `padded` floats; y: three scores a row; t: their times. */
void gate_run(float *x, float *z, const float *y, const int64_t *t, int64_t rows, uint8_t *reasons)
{
    alpha_signal s;
    memset(&s, 0, sizeof s);
    for (int64_t i = 0; i < rows; i++) {
        alpha_row row = {x + i * p.checks.drift.padded, (uint8_t *)0, t[i], 1};
        p.z = z + i * p.checks.drift.padded;
        memcpy(out, y + i * 3, 12);
        alpha_decide(&p, &instruments[0], &row, &s);
        reasons[i] = s.reason;
    }
}

/* The same loop around what stands for normalising and the model. */
void gate_empty(float *x, float *z, const float *y, const int64_t *t, int64_t rows, uint8_t *reasons)
{
    for (int64_t i = 0; i < rows; i++) {
        alpha_row row = {x + i * p.checks.drift.padded, (uint8_t *)0, t[i], 1};
        p.z = z + i * p.checks.drift.padded;
        memcpy(out, y + i * 3, 12);
        p.kernels->normalise(row.x, p.mean, p.std, p.clip_lo, p.clip_hi, p.z, program.n_features);
        p.model.run(p.model.self, p.z, (const float *)0, (float *)0, p.model.scratch, p.out, 1);
        __asm__ volatile("" : : "r"(&row) : "memory");
        reasons[i] = (uint8_t)row.ready;
    }
}

float gate_psi(void)
{
    return instruments[0].watch.drift.psi;
}
