# The face every model engine shows to the pipeline. Floor 1.
from libc.stdint cimport uint32_t

cdef extern from "alpha_model.h" nogil:
    ctypedef int (*alpha_model_run)(const void *self, const float *x, const float *carry_in, float *carry_out,
                                    void *scratch, float *out, uint32_t rows) noexcept nogil
    ctypedef void (*alpha_model_prepare)(const void *self, const float *carry_in, void *scratch) noexcept nogil
    ctypedef struct alpha_model:
        alpha_model_run run
        const void *self
        void *scratch
        uint32_t n_in
        uint32_t n_out
        uint32_t n_carry
        alpha_model_prepare prepare

cdef class ModelKernel:
    # One model bound to one pipeline's scratch. Subclasses fill `c` and own what it points to.
    cdef alpha_model c
