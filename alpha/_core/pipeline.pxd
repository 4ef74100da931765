# Binding of include/alpha_pipeline.h. Floor 4.
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from alpha._core.checks cimport Checks, alpha_breaker_limits, alpha_checks, alpha_drift_seen, alpha_watch
from alpha._core.guard cimport alpha_guard_config, alpha_guard_state
from alpha._core.log cimport Log, alpha_audit
from alpha._core.model cimport ModelKernel, alpha_model
from alpha._core.program cimport (
    ALPHA_TRIGGER_BAR_CLOCK,
    ALPHA_TRIGGER_BAR_CLOSE,
    ALPHA_TRIGGER_BAR_FEED,
)
from alpha._core.program cimport Program, Surroundings, alpha_block, alpha_home, alpha_kernels, alpha_program, alpha_surroundings
from alpha._core.signal cimport Signal
from alpha._core.types cimport alpha_event, alpha_signal

cdef extern from "alpha_look.h" nogil:
    ctypedef struct alpha_look:
        uint32_t id
        uint32_t room
        float *x
        uint8_t *ready
        uint32_t n
        uint32_t halted
        uint32_t killed
        uint32_t gap
        uint64_t rows
        uint64_t swaps
        int64_t row_ts_ns
        uint32_t n_seats
        alpha_drift_seen seen[33]

cdef extern from "alpha_pipeline.h" nogil:
    ctypedef struct alpha_gate_config:
        int32_t output_kind
        int32_t rule
        uint32_t n_scores
        int8_t actions[8]
        float threshold
        float declared_threshold
        uint32_t by_bar
        uint32_t tripped
        int64_t cooldown_ns
        int64_t valid_until_ns

    ctypedef struct alpha_gate_state:
        int64_t last_action_ns
        int64_t last_bar_ns
        uint32_t acted
        uint32_t decided

    ctypedef struct alpha_breaker:
        alpha_breaker_limits limits
        uint32_t due
        uint32_t follows
        uint64_t trips

    ctypedef struct alpha_after:
        uint32_t left
        uint32_t made
        int64_t took_ns[100]

    ctypedef struct alpha_latency:
        uint64_t count[1920]
        uint64_t n
        int64_t max_ns

    ctypedef struct alpha_sequence_shape:
        uint32_t width
        uint32_t window
        uint32_t n_carry

    ctypedef struct alpha_sequence:
        float *values
        uint32_t n

    size_t alpha_sequence_bytes(const alpha_sequence_shape *m)

    ctypedef struct alpha_instrument:
        alpha_block *block
        float *x
        uint32_t own_row
        alpha_guard_state guard
        alpha_gate_state gate
        uint32_t halted
        uint32_t killed
        uint64_t rows
        int64_t row_ts_ns
        alpha_sequence sequence
        alpha_watch watch

    ctypedef struct alpha_counters:
        uint64_t events
        uint64_t decisions
        uint64_t rejected
        uint64_t rows
        uint64_t by_reason[64]
        uint64_t by_action[3]
        uint64_t rejected_by[64]
        uint64_t unlike[3]

    enum:
        ALPHA_LATCHES

    ctypedef struct alpha_ensemble:
        uint32_t n
        int32_t combine
        const double *weight
        const uint8_t *may_veto

    ctypedef struct alpha_split:
        const uint64_t *symbols
        int64_t bucket_ns

    ctypedef struct alpha_seat:
        alpha_pipeline *p
        const uint32_t *columns
        float *x
        uint8_t *killed
        int32_t mode
        uint32_t split
        uint64_t from_ "from"
        uint64_t upto
        const alpha_ensemble *ensemble
        const uint32_t *members
        int32_t skips
        const uint32_t *series
        uint64_t emitted

    ctypedef struct alpha_group:
        uint32_t n
        uint32_t n_splits
        uint32_t most
        uint8_t *ready_each
        alpha_split *splits
        alpha_seat seats[32]

    ctypedef struct alpha_pipeline:
        const alpha_program *program
        const alpha_kernels *kernels
        alpha_model model
        uint32_t no_model
        alpha_sequence_shape shape
        uint32_t n_instruments
        alpha_instrument *instruments
        alpha_home home
        const alpha_surroundings *around
        alpha_block **peers
        const uint32_t *peer_ids
        uint32_t n_peers
        alpha_guard_config guard
        alpha_gate_config gate
        alpha_checks checks
        alpha_breaker breaker
        float override
        uint32_t may_lower
        const double *mean
        const double *std
        float clip_lo
        float clip_hi
        float *z
        float *out
        uint32_t killed
        const uint8_t **latches
        alpha_audit *log
        uint64_t event_index
        alpha_event last
        alpha_signal blank
        alpha_counters counters
        alpha_latency *latency
        alpha_pipeline *incoming
        alpha_signal *silent
        uint64_t swaps
        alpha_after after
        uint8_t description[32]
        uint32_t only_seats
        uint32_t killed_seats
        alpha_group *group
        uint32_t prepares
        alpha_instrument *due
        uint64_t prepared
        alpha_look *look

    void alpha_prepare(alpha_pipeline *p)
    uint32_t alpha_process_features(alpha_pipeline *p, uint32_t id, int64_t ts_ns, const float *x, alpha_signal *s)
    void alpha_ask_reset(alpha_pipeline *p)
    uint32_t alpha_read_kill_of(const alpha_pipeline *p, uint32_t slot, uint32_t id)
    void alpha_kill_seat(alpha_pipeline *p, uint32_t slot, int killed)
    void alpha_share(alpha_pipeline *p, int told)
    uint64_t alpha_split_at(const alpha_split *c, uint32_t id, int64_t now)
    int alpha_ensemble_run(const void *self, const float *x, const float *carry_in, float *carry_out, void *scratch,
                           float *out, uint32_t rows) noexcept
    const uint32_t ALPHA_SEATS
    void alpha_offer(alpha_pipeline *p, alpha_pipeline *next)
    int alpha_withdraw(alpha_pipeline *p)
    uint64_t alpha_swaps(const alpha_pipeline *p)
    int alpha_read_latest(const alpha_instrument *in_, alpha_signal *s)
    void alpha_bind_peers(alpha_pipeline *p)
    void alpha_set_killed(alpha_pipeline *p, int killed)
    void alpha_keep_all(alpha_pipeline *p)
    void alpha_keep(alpha_pipeline *p, const alpha_signal *made, uint32_t n)
    uint32_t alpha_process(alpha_pipeline *p, const alpha_event *e, alpha_signal *out)

cdef extern from "alpha_look.h" nogil:
    void alpha_fill_look(const alpha_pipeline *p, alpha_look *l)
    void alpha_answer_look(alpha_pipeline *p)
    int alpha_ask_look(alpha_pipeline *p, alpha_look *l)
    int alpha_look_done(const alpha_look *l)
    int alpha_unask_look(alpha_pipeline *p, alpha_look *l)
    void alpha_look_nap(int64_t ns)

cdef extern from "alpha_latency.h" nogil:
    int64_t alpha_now_ns()

cdef extern from "alpha_resume.h" nogil:
    size_t alpha_pipeline_saved_bytes(const alpha_pipeline *p)
    void alpha_pipeline_save(const alpha_pipeline *p, char *out)
    int alpha_pipeline_restore(alpha_pipeline *p, const char *saved, size_t n)

cdef class Pipeline:
    cdef alpha_pipeline *p
    cdef readonly Program program
    cdef Surroundings around
    cdef ModelKernel model
    cdef Checks checks
    cdef object owners          # arrays and tensors p points into
    cdef Log log                # the audit log, or None
    cdef object latch           # owner of the bytes that p.latches points to
    cdef Pipeline other         # what is coming in, or what served before
    cdef readonly uint64_t swaps  # takeovers that Python has noticed
    cdef alpha_signal *scratch  # room for what one event can produce
    cdef readonly bint closed
    cdef readonly bint busy     # a worker owns it
    cdef bint inside            # a thread is in run() without the GIL
    cdef readonly object seats  # owner of p.group, see seats.pyx; None: one model
    cdef alpha_program view     # what p.program points to if it is a seat
    cdef readonly bint is_seat
    cdef uint32_t made          # Signals of the last call, in scratch
    cdef int check_free(self) except -1
    cdef bint silent(self, uint32_t id) noexcept  # an instrument's decisions are killed now
    cdef bint silenced(self, const alpha_signal *s) noexcept  # the same, or those of the model that decided
    cdef int looked(self, alpha_look *l, int64_t wait_ns) except -1  # whether it was filled in time
    cdef uint32_t most(self) noexcept  # Signals that one row can emit
    cdef int take_group(self, alpha_group *group, owner) except -1

cdef class Instrument:
    cdef readonly Pipeline pipeline
    cdef readonly str symbol
    cdef readonly uint32_t id
    cdef Signal process(self, alpha_event *e)
