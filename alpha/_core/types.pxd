# Cython's view of include/alpha_types.h. Floor 0: cimport from anywhere, imports nothing of ours.
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "alpha_types.h" nogil:
    enum:
        ALPHA_EMPTY
        ALPHA_QUOTE
        ALPHA_TRADE
        ALPHA_BAR
        ALPHA_DEPTH
        ALPHA_STATUS
        ALPHA_TIMER
        ALPHA_CONTROL
        ALPHA_INPUT
        ALPHA_KINDS

    enum:
        ALPHA_LAST
        ALPHA_SNAPSHOT
        ALPHA_GAP
        ALPHA_NO_QTY
        ALPHA_NO_TS_EVENT
        ALPHA_AUCTION
        ALPHA_CROSSED
        ALPHA_LOCKED

    enum:
        ALPHA_SHADOW

    enum:
        ALPHA_STATUS_LOST
        ALPHA_CONTROL_KILL
        ALPHA_CONTROL_REVIVE

    enum:
        ALPHA_SELL
        ALPHA_HOLD
        ALPHA_BUY

    enum:
        ALPHA_UNSET
        ALPHA_MODEL
        ALPHA_KILLED
        ALPHA_NO_MODEL
        ALPHA_NO_ORT
        ALPHA_MODEL_ERROR
        ALPHA_BACKWARDS
        ALPHA_REASONS

    const uint32_t ALPHA_ALL_INSTRUMENTS
    enum:
        ALPHA_MAX_SCORES

    ctypedef struct alpha_event:
        int64_t ts_event_ns
        int64_t ts_recv_ns
        uint64_t header
        uint32_t instrument_id
        uint8_t kind
        uint8_t level
        uint16_t flags
        double v[5]

    ctypedef struct alpha_signal:
        uint64_t event_index
        int64_t ts_event_ns
        int64_t ts_recv_ns
        uint32_t instrument_id
        uint16_t model_slot
        int8_t action
        uint8_t reason
        float confidence
        float value
        float scores[8]
        uint8_t model_hash[16]
        uint8_t definition_hash[16]
        double ref_px
        uint64_t bundle_revision
        uint32_t flags
        uint32_t n_scores
