/* What every model engine looks like to the pipeline. Floor 1. */
#ifndef ALPHA_MODEL_H
#define ALPHA_MODEL_H

#include <stdint.h>

/* x: [rows][n_in] -> out: [rows][n_out]. 0, or the alpha_reason that explains the failure.
 * self is immutable and shared by all pipelines; scratch belongs to one pipeline.
 * carry_in/carry_out: recurrent state of one (instrument, model); NULL for models without. */
typedef int (*alpha_model_run)(const void *self, const float *x, const float *carry_in, float *carry_out,
                               void *scratch, float *out, uint32_t rows);

typedef struct alpha_model {
    alpha_model_run run;
    const void *self;
    void *scratch;
    uint32_t n_in, n_out;
} alpha_model;

#endif
