/* An ensemble is a model whose features are its members' probabilities. Floor 4.
 * x: [rows][members][SELL HOLD BUY] -> out: [rows][SELL HOLD BUY]. A member of three zeros is absent. Pure: what it
 * decided can be computed again from the row that was logged. */
#ifndef ALPHA_ENSEMBLE_H
#define ALPHA_ENSEMBLE_H

#include "alpha_types.h"

enum alpha_combine {
    ALPHA_COMBINE_MEAN = 0, /* weighted mean of the probabilities */
    ALPHA_COMBINE_VOTE = 1, /* each gives its weight to its likeliest action */
    ALPHA_COMBINE_VETO = 2  /* the mean of those that may not veto; one that may and sees another action makes it HOLD */
};

typedef struct alpha_ensemble {
    uint32_t n; /* members */
    int32_t combine;
    const double *weight;   /* [n], above 0 */
    const uint8_t *may_veto;/* [n] */
} alpha_ensemble;

static inline int alpha_is_absent(const float *p)
{
    return p[0] == 0.0f && p[1] == 0.0f && p[2] == 0.0f;
}

/* The first of equals; opposite actions that tie leave HOLD. */
static inline uint32_t alpha_likeliest(const float *p)
{
    if (p[0] == p[2])
        return 1;
    const uint32_t side = p[0] > p[2] ? 0 : 2;
    return p[side] > p[1] ? side : 1;
}

static int alpha_ensemble_run(const void *self, const float *x, const float *carry_in, float *carry_out, void *scratch,
                              float *out, uint32_t rows)
{
    const alpha_ensemble *c = self;
    (void)carry_in, (void)carry_out, (void)scratch;
    for (uint32_t r = 0; r < rows; r++, x += 3 * c->n, out += 3) {
        double sum[3] = {0.0, 0.0, 0.0}, total = 0.0;
        for (uint32_t m = 0; m < c->n; m++) {
            const float *p = x + 3 * m;
            if (c->may_veto[m] || alpha_is_absent(p))
                continue;
            total += c->weight[m];
            if (c->combine == ALPHA_COMBINE_VOTE)
                sum[alpha_likeliest(p)] += c->weight[m];
            else
                for (int a = 0; a < 3; a++)
                    sum[a] += c->weight[m] * (double)p[a];
        }
        if (total == 0.0)
            return ALPHA_MODEL_ERROR;
        for (int a = 0; a < 3; a++)
            out[a] = (float)(sum[a] / total);
        const uint32_t proposed = alpha_likeliest(out);
        int stands = 1;
        for (uint32_t m = 0; m < c->n; m++)
            if (c->may_veto[m] && !alpha_is_absent(x + 3 * m))
                stands &= alpha_likeliest(x + 3 * m) == proposed;
        if (proposed != 1 && !stands) {
            out[1] += out[proposed];
            out[proposed] = 0.0f;
        } else if (proposed == 1 && (out[0] > out[1] || out[2] > out[1])) { /* the tie of opposite actions */
            out[1] += out[0] + out[2];
            out[0] = out[2] = 0.0f;
        }
    }
    return 0;
}

#endif
