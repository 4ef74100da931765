# What the pipeline may touch of a compiled feature program. Floor 2.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from alpha._core.types cimport alpha_event

cdef extern from "alpha_kernels.h" nogil:
    enum:
        ALPHA_TRIGGER_BAR_FEED
        ALPHA_TRIGGER_BAR_CLOSE
        ALPHA_TRIGGER_BAR_CLOCK

    ctypedef struct alpha_instr:
        const void *place
        uint16_t op

    ctypedef struct alpha_bar_spec:
        int64_t interval_ns
        double size
        uint32_t state
        uint16_t from_mid
        uint16_t clock
        uint16_t slot[7]

    ctypedef struct alpha_sessions:
        const int64_t *opens
        const int64_t *closes
        const int64_t *break_starts
        const int64_t *break_ends
        int64_t n

    ctypedef struct alpha_quad:
        uint16_t a[4]

    ctypedef struct alpha_block:
        uint32_t failed
        int64_t last_ns
        uint64_t growths
        double ref_px

    ctypedef struct alpha_surroundings:
        double lot
        double tick
        const alpha_sessions *sessions
        alpha_block **peers

    ctypedef struct alpha_program:
        const alpha_instr *run[16]
        const alpha_instr *refresh[16]
        uint32_t n_run[16]
        uint32_t n_refresh[16]
        const alpha_instr *all
        const uint8_t *resets
        const alpha_bar_spec *bars
        const alpha_quad *quads
        const uint16_t *features
        uint32_t in_order, n_watched
        uint32_t n_all, n_bars, n_features, n_slots, block_bytes
        int32_t trigger, trigger_bar
        int64_t every_ns
        uint32_t present
        uint32_t by_close

    void alpha_ready_each(const alpha_program *, alpha_block *, uint8_t *)

    ctypedef struct alpha_row:
        float *x
        uint8_t *ready_each
        int64_t ts_ns
        uint32_t ready

    ctypedef int (*alpha_step_fn)(const alpha_program *, alpha_block *, const alpha_event *, int64_t, alpha_row *) noexcept nogil
    ctypedef int (*alpha_normalise_fn)(const float *, const double *, const double *, float, float, float *, uint32_t) noexcept nogil

    ctypedef struct alpha_kernels:
        const char *isa
        alpha_step_fn step
        alpha_normalise_fn normalise
        const void *const *places() noexcept nogil

cdef extern from "alpha_block.h" nogil:
    ctypedef struct alpha_home:
        char *at

    void alpha_home_new(alpha_home *, const alpha_program *, size_t)
    alpha_block *alpha_block_new(const alpha_program *, const alpha_surroundings *, const alpha_home *, size_t)
    void alpha_block_free(const alpha_program *, const alpha_home *, alpha_block *)
    const Py_ssize_t ALPHA_AHEAD
    void alpha_fetch(const void *, size_t)

cdef extern from "alpha_state.h" nogil:
    size_t alpha_block_saved_bytes(const alpha_program *, alpha_block *)
    void alpha_block_save(const alpha_program *, alpha_block *, char *)
    alpha_block *alpha_block_restore(const alpha_program *, const alpha_surroundings *, const char *, size_t, size_t *used)

cdef const alpha_kernels *choose_kernels() except NULL

cdef class Program:
    # Immutable after __init__; shared by every pipeline that serves this definition.
    cdef alpha_program c
    cdef const alpha_kernels *kernels
    cdef object records         # `all` as compile.py wrote it
    cdef object arrays          # owners of everything c points to
    cdef alpha_bar_spec *bars   # owned
    cdef readonly uint32_t n_peers         # symbols that the program looks at
    cdef readonly bint needs_sessions
    cdef const alpha_instr *_instructions(self, records) except? NULL

cdef class SessionTables:
    # Session tables as C reads them, one per instrument; owns what they point to.
    cdef alpha_sessions *each       # [n]
    cdef Py_ssize_t n
    cdef object owners
    cdef const alpha_sessions *of(self, Py_ssize_t i) noexcept

cdef class Surroundings:
    # What the blocks of a table of instruments look at outside of themselves; whoever makes the blocks keeps it.
    cdef alpha_surroundings *each   # [n]
    cdef SessionTables tables       # or None
    cdef alpha_block **peers        # [n_peers]
    cdef uint32_t *peer_ids         # [n_peers]
    cdef uint32_t n, n_peers
