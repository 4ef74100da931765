/* Does a row look like what the model was trained on? Ranges, diagonal distance, and PSI over a sliding window. Floor 1.
 *
 * Everything is float32 in one fixed order, so every ISA finds the same numbers: eight lanes of features, then the lanes
 * pairwise. alpha_drift_look is compiled once per ISA in kernels.c. */
#ifndef ALPHA_DRIFT_H
#define ALPHA_DRIFT_H

#include <stdint.h>
#include <string.h>

#define ALPHA_DRIFT_LANES 8
#define ALPHA_DRIFT_BINS 10  /* of each feature */
#define ALPHA_DRIFT_PLACES 16 /* counters kept for them: whole vectors */
#define ALPHA_DRIFT_STEPS 16 /* the window moves on by a sixteenth of itself */
#define ALPHA_DRIFT_MOST 1024  /* features */

enum alpha_drift_check { ALPHA_DRIFT_RANGE = 1, ALPHA_DRIFT_DISTANCE = 2, ALPHA_DRIFT_PSI = 4 };

typedef struct alpha_drift { /* what a Bundle declares; immutable. Arrays are padded to whole lanes with what never matters */
    uint32_t n, padded;
    uint32_t on, hold;        /* enum alpha_drift_check: looked at; answered with HOLD */
    uint32_t step;            /* rows in a sixteenth of the window, times turns */
    uint32_t turns;           /* groups of eight features; a row is counted for one of them */
    float distance_limit, psi_limit;
    float per_row;            /* 1 / rows in the window; of each feature every `turns`-th row is counted */
    float per_feature;        /* 1 / n */
    const float *lo, *hi;     /* [padded] training range of x, widened */
    const float *edges;       /* [BINS - 1][padded] ascending; a value on an edge lies below it */
    const float *share;       /* [n][BINS] of the training rows */
    const float *log_share;   /* [n][BINS] */
    const float *log_count;   /* [rows in the window + 1] ln of a count's share; of half a row where there is none */
    const float *psi_weight;  /* [n] psi_limit / what the feature's training windows reach, at most 1 */
} alpha_drift;

typedef struct alpha_drift_seen { /* of one instrument; its counters lie apart: uint16 [1 + STEPS][padded][PLACES], the sum first */
    float distance;     /* of the last row */
    float psi;          /* worst feature over the last full window, weighted; 0 before one */
    uint32_t worst;     /* that feature */
    uint32_t outside;   /* a feature of the last row left its range */
    uint32_t row, step; /* where the window stands */
    uint32_t turn;      /* the group whose turn it is */
    uint32_t full;      /* steps in the sum, at most STEPS */
} alpha_drift_seen;

static inline uint64_t alpha_drift_bytes(const alpha_drift *d)
{
    return d->on & ALPHA_DRIFT_PSI ? (1 + ALPHA_DRIFT_STEPS) * (uint64_t)d->padded * ALPHA_DRIFT_PLACES * 2 : 0;
}

/* A step is full: it enters the sum, the oldest leaves it; over a full window the index of each feature is taken. */
static __attribute__((noinline, unused)) void alpha_drift_turn(const alpha_drift *d, alpha_drift_seen *s, uint16_t *counts)
{
    const uint32_t places = d->padded * ALPHA_DRIFT_PLACES;
    uint16_t *restrict sum = counts;
    const uint16_t *restrict done = counts + (uint64_t)(1 + s->step) * places;
    for (uint32_t k = 0; k < places; k++)
        sum[k] = (uint16_t)(sum[k] + done[k]);
    s->row = 0;
    s->step = (s->step + 1) % ALPHA_DRIFT_STEPS;
    if (s->full < ALPHA_DRIFT_STEPS)
        s->full++;
    if (s->full == ALPHA_DRIFT_STEPS) {
        s->psi = 0.0f;
        s->worst = 0;
        for (uint32_t j = 0; j < d->n; j++) {
            float psi = 0.0f;
            for (uint32_t b = 0; b < ALPHA_DRIFT_BINS; b++) {
                const uint32_t c = sum[j * ALPHA_DRIFT_PLACES + b], at = j * ALPHA_DRIFT_BINS + b;
                psi += ((float)c * d->per_row - d->share[at]) * (d->log_count[c] - d->log_share[at]);
            }
            psi *= d->psi_weight[j];
            if (psi > s->psi) {
                s->psi = psi;
                s->worst = j;
            }
        }
    }
    uint16_t *restrict next = counts + (uint64_t)(1 + s->step) * places;
    if (s->full == ALPHA_DRIFT_STEPS) /* what it still holds is the oldest step */
        for (uint32_t k = 0; k < places; k++)
            sum[k] = (uint16_t)(sum[k] - next[k]);
    memset(next, 0, places * sizeof *next);
}

/* One row that is warm and finite. x: raw [padded], z: normalised and clipped [padded], zeros behind n.
 * Returns which limits are exceeded. */
static inline uint32_t alpha_drift_look(const alpha_drift *restrict d, alpha_drift_seen *restrict s, uint16_t *restrict counts,
                                        const float *restrict x, const float *restrict z)
{
    typedef float lanes __attribute__((vector_size(4 * ALPHA_DRIFT_LANES), aligned(4), may_alias));
    typedef int32_t marks __attribute__((vector_size(4 * ALPHA_DRIFT_LANES), aligned(4), may_alias));
    typedef float four __attribute__((vector_size(16)));
    const uint32_t n = d->padded;
    uint32_t found = 0;
    if (d->on & (ALPHA_DRIFT_RANGE | ALPHA_DRIFT_DISTANCE)) {
        const float *restrict lo = d->lo, *restrict hi = d->hi;
        marks out = {0};
        lanes sum = {0};
        for (uint32_t j = 0; j < n; j += ALPHA_DRIFT_LANES) {
            const lanes v = *(const lanes *)(x + j), w = *(const lanes *)(z + j);
            out |= (v < *(const lanes *)(lo + j)) | (v > *(const lanes *)(hi + j));
            sum += w * w;
        }
        uint64_t any[ALPHA_DRIFT_LANES / 2];
        four low, high;
        memcpy(any, &out, sizeof any);
        memcpy(&low, &sum, sizeof low);
        memcpy(&high, (const char *)&sum + sizeof low, sizeof high);
        low += high;
        low += __builtin_shufflevector(low, low, 2, 3, 2, 3);
        s->distance = (low[0] + low[1]) * d->per_feature;
        s->outside = ((any[0] | any[1]) | (any[2] | any[3])) != 0;
        found = s->outside * ALPHA_DRIFT_RANGE | (uint32_t)(s->distance > d->distance_limit) * ALPHA_DRIFT_DISTANCE;
    }
    if (d->on & ALPHA_DRIFT_PSI) {
        const uint32_t first = s->turn * ALPHA_DRIFT_LANES;
        const float *edge = d->edges + first;
        const lanes v = *(const lanes *)(x + first);
        marks bin = {0};
        for (uint32_t k = 0; k < ALPHA_DRIFT_BINS - 1; k++, edge += n)
            bin -= v > *(const lanes *)edge;
        uint16_t *restrict count = counts + ((uint64_t)(1 + s->step) * n + first) * ALPHA_DRIFT_PLACES;
        for (uint32_t j = 0; j < ALPHA_DRIFT_LANES; j++) /* what is behind the last feature is counted and never read */
            count[j * ALPHA_DRIFT_PLACES + (uint32_t)bin[j]]++;
        s->turn = s->turn + 1 == d->turns ? 0 : s->turn + 1;
        if (__builtin_expect(++s->row == d->step, 0))
            alpha_drift_turn(d, s, counts);
        found |= (uint32_t)(s->psi > d->psi_limit) * ALPHA_DRIFT_PSI;
    }
    return found & d->on;
}

#endif
