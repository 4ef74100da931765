# ONNX Runtime behind the ModelKernel face. Floor 3.
from libc.stdint cimport int64_t
from alpha._core.model cimport ModelKernel

cdef extern from "alpha_ort.h" nogil:
    ctypedef void ort
    ctypedef struct alpha_ort_base:
        const void *const *(*get_api)(unsigned int) noexcept
        const char *(*get_version)() noexcept
    ctypedef struct alpha_ort_api:
        const char *(*GetErrorMessage)(const ort *) noexcept
        ort *(*CreateEnv)(int, const char *, ort **) noexcept
        ort *(*CreateSessionFromArray)(const ort *, const void *, size_t, const ort *, ort **) noexcept
        ort *(*CreateSessionOptions)(ort **) noexcept
        ort *(*SetSessionExecutionMode)(ort *, int) noexcept
        ort *(*DisableMemPattern)(ort *) noexcept
        ort *(*DisableCpuMemArena)(ort *) noexcept
        ort *(*SetSessionLogSeverityLevel)(ort *, int) noexcept
        ort *(*SetSessionGraphOptimizationLevel)(ort *, int) noexcept
        ort *(*SetIntraOpNumThreads)(ort *, int) noexcept
        ort *(*SetInterOpNumThreads)(ort *, int) noexcept
        ort *(*SessionGetInputCount)(const ort *, size_t *) noexcept
        ort *(*SessionGetOutputCount)(const ort *, size_t *) noexcept
        ort *(*SessionGetInputTypeInfo)(const ort *, size_t, ort **) noexcept
        ort *(*SessionGetOutputTypeInfo)(const ort *, size_t, ort **) noexcept
        ort *(*SessionGetInputName)(const ort *, size_t, ort *, char **) noexcept
        ort *(*SessionGetOutputName)(const ort *, size_t, ort *, char **) noexcept
        ort *(*CreateTensorWithDataAsOrtValue)(const ort *, void *, size_t, const int64_t *, size_t, int, ort **) noexcept
        ort *(*CastTypeInfoToTensorInfo)(const ort *, const ort **) noexcept
        ort *(*GetTensorElementType)(const ort *, int *) noexcept
        ort *(*GetDimensionsCount)(const ort *, size_t *) noexcept
        ort *(*GetDimensions)(const ort *, int64_t *, size_t) noexcept
        ort *(*CreateCpuMemoryInfo)(int, int, ort **) noexcept
        ort *(*AllocatorFree)(ort *, void *) noexcept
        ort *(*GetAllocatorWithDefaultOptions)(ort **) noexcept
        void (*ReleaseStatus)(ort *) noexcept
        void (*ReleaseMemoryInfo)(ort *) noexcept
        void (*ReleaseSession)(ort *) noexcept
        void (*ReleaseValue)(ort *) noexcept
        void (*ReleaseTypeInfo)(ort *) noexcept
        void (*ReleaseSessionOptions)(ort *) noexcept
        ort *(*CreateIoBinding)(ort *, ort **) noexcept
        void (*ReleaseIoBinding)(ort *) noexcept
        ort *(*BindInput)(ort *, const char *, const ort *) noexcept
        ort *(*BindOutput)(ort *, const char *, const ort *) noexcept
    ctypedef struct alpha_ort_scratch:
        const alpha_ort_api *api
        ort *session
        ort *value_in[9]
        ort *value_out[9]
        ort *binding
        const char *name_in[9]
        const char *name_out[9]
        float *x
        float *y
        float *state_in[8]
        float *state_out[8]
        unsigned int state_size[8]
        unsigned int n_in
        unsigned int n_out
        unsigned int n_states
        unsigned long long failures
        char error[256]
    enum:
        ALPHA_ORT_API_VERSION
        ALPHA_ORT_FLOAT
        ALPHA_ORT_INT64
        ALPHA_ORT_ENABLE_ALL
        ALPHA_ORT_STATES
    void alpha_ort_take_slots(alpha_ort_api *, const void *const *)
    int alpha_ort_run(const void *, const float *, const float *, float *, void *, float *, unsigned int) noexcept

cdef class OrtModel:
    cdef ort *session
    cdef object name_in, name_out   # bytes that the kernels point to
    cdef readonly object inputs, outputs
    cdef readonly Py_ssize_t n_in, n_out, n_carry
    cdef readonly object shape      # of the input, with a batch of one
    cdef readonly object states     # (name in, name out, shape) of each recurrent state, in the order of the carry

cdef class OrtKernel(ModelKernel):
    cdef alpha_ort_scratch *s
    cdef OrtModel model
    cdef object tensors
    cdef int _wrap(self, shape, ort **value, what) except -1
