# Binding of include/alpha_checks.h and alpha_breaker.h: what a Bundle demands of a row besides its model. Floor 2.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from alpha._core.program cimport SessionTables, alpha_sessions

cdef extern from "alpha_breaker.h" nogil:
    ctypedef struct alpha_breaker_limits:
        uint32_t errors
        uint32_t window
        int64_t latency_ns
        uint32_t in_a_row

cdef extern from "alpha_checks.h" nogil:
    enum:
        ALPHA_DRIFT_BINS
        ALPHA_DRIFT_STEPS
        ALPHA_DRIFT_MOST

    ctypedef struct alpha_drift:
        uint32_t n
        uint32_t padded
        uint32_t on
        uint32_t hold
        uint32_t step
        uint32_t turns
        float distance_limit
        float psi_limit
        float per_row
        float per_feature
        const float *lo
        const float *hi
        const float *edges
        const float *share
        const float *log_share
        const float *log_count
        const float *psi_weight

    ctypedef struct alpha_drift_seen:
        float distance
        float psi
        uint32_t worst
        uint32_t outside
        uint32_t full

    ctypedef struct alpha_checks:
        const alpha_sessions *const *sessions
        uint32_t by_close
        uint32_t inactive
        int64_t max_age_ns
        int64_t max_age_peers_ns
        int64_t max_age_inputs_ns
        uint32_t aged
        uint32_t n_inputs
        alpha_drift drift

    ctypedef struct alpha_watch:
        int64_t data_ns
        uint32_t gap
        alpha_drift_seen drift
        char *memory

    uint64_t alpha_checks_bytes(const alpha_checks *c)
    void alpha_watch_reset(const alpha_checks *c, alpha_watch *w)

cdef extern from "alpha_gate.h" nogil:
    float alpha_threshold(float declared, float override, uint32_t may_lower)

cdef class Checks:
    cdef alpha_checks c
    cdef alpha_breaker_limits breaker
    cdef readonly Py_ssize_t n_instruments
    cdef SessionTables tables
    cdef const alpha_sessions **each
    cdef object owners  # arrays that c points into
    cdef int _sessions(self, sessions) except -1
    cdef int _drift(self, drift) except -1
