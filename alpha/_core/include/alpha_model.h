/* What every model engine looks like to the pipeline. Floor 1. */
#ifndef ALPHA_MODEL_H
#define ALPHA_MODEL_H

#include <stdint.h>

/* x: [rows][n_in] -> out: [rows][n_out]. 0, or the alpha_reason that explains the failure.
 * self is immutable and shared by all pipelines; scratch belongs to one pipeline.
 * carry_in/carry_out: recurrent state of one (instrument, model), n_carry floats; NULL for models without,
 * and carry_in NULL is the state of zeros. They may be the same address; carry_out is written only on 0. */
typedef int (*alpha_model_run)(const void *self, const float *x, const float *carry_in, float *carry_out,
                               void *scratch, float *out, uint32_t rows);

/* What can be computed from the state alone, between two triggers. The next run with an equal state uses it and
 * gives the same bits as without; any other run ignores it. */
typedef void (*alpha_model_prepare)(const void *self, const float *carry_in, void *scratch);

typedef struct alpha_model {
    alpha_model_run run;
    const void *self;
    void *scratch;
    uint32_t n_in, n_out;
    uint32_t n_carry;
    alpha_model_prepare prepare; /* NULL: there is nothing to prepare */
} alpha_model;

#endif
