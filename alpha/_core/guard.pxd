# Binding of include/alpha_guard.h. Floor 1.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from alpha._core.types cimport alpha_event

cdef extern from "alpha_guard.h" nogil:
    ctypedef struct alpha_guard_config:
        int64_t future_tolerance_ns
        uint8_t use_recv
        uint8_t flag_crossed
        uint8_t keep_duplicates
        double outlier

    ctypedef struct alpha_guard_state:
        int64_t last_ns
        int64_t clock_offset_ns
        double last_seq[9]

    int alpha_guard_check(const alpha_guard_config *c, alpha_guard_state *s, const alpha_event *e,
                          int64_t *t_out, uint32_t *flags_out)
    void alpha_guard_reset(alpha_guard_state *s)
    int alpha_own_event(const alpha_event *e, uint32_t id, int use_recv, int64_t last_ns, alpha_event *own)
    int alpha_is_for_all(const alpha_event *e)

cdef int fill_config(alpha_guard_config *c, object clock, object crossed, object future_tolerance_ns, object duplicates,
                     object outlier) except -1
