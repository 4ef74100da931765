# Fused plans behind the ModelKernel face. Floor 3.
from libc.stdint cimport uint32_t, uint64_t
from alpha._core.model cimport ModelKernel, alpha_model_prepare, alpha_model_run

cdef extern from "alpha_plan.h" nogil:
    ctypedef struct alpha_plan_step:
        void *fn
        uint32_t op, act
        uint32_t a, b, c, d
        uint32_t n, m, rows
        uint32_t lda, ldb, ldd
        float p, q
        uint32_t half, flags
        uint64_t w, w2, w3
        uint32_t h, h_out
        uint32_t cell, cell_out
        uint32_t pre, pre_key

    ctypedef struct alpha_plan:
        const alpha_plan_step *steps
        const char *weights
        const float *constants
        uint32_t n_steps, n_constants, arena
        uint32_t n_in, in_ "in"
        uint32_t n_out, out
        uint32_t n_carry, carry_in, carry_out

    ctypedef struct alpha_plan_kernels:
        const char *isa
        uint32_t width
        void *fn[64]
        alpha_model_run run
        alpha_model_prepare prepare

cdef class Plan:
    # Immutable; shared by every pipeline that serves this model.
    cdef alpha_plan c
    cdef const alpha_plan_kernels *kernels
    cdef alpha_plan_step *steps   # owned
    cdef char *weights            # owned, 64-byte aligned
    cdef float *constants         # owned
    cdef readonly object records  # the steps as compile.py wrote them
    cdef readonly bint prepares   # something can be computed between two triggers

cdef class PlanKernel(ModelKernel):
    cdef Plan plan
    cdef float *arena
