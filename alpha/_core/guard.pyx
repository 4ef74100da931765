"""The guard over whole arrays: the same check the pipeline makes, for the batch twin. Floor 1."""

from libc.stdlib cimport calloc, free

import numpy as np

from alpha._core.types cimport ALPHA_BACKWARDS, ALPHA_CONTROL
from alpha.errors import AlphaError
from alpha.events import EVENT_DTYPE, Reason


cdef int fill_config(alpha_guard_config *c, object clock, object crossed, object future_tolerance_ns, object duplicates) except -1:
    for name, value, allowed in (
        ("clock", clock, ("recv", "event")),
        ("crossed", crossed, ("reject", "flag")),
        ("duplicates", duplicates, ("reject", "keep")),
    ):
        if value not in allowed:
            raise AlphaError(f"guard {name} cannot be {value!r}: use one of {', '.join(allowed)}")
    if not 0 <= future_tolerance_ns < 2**61:
        raise AlphaError(f"guard future_tolerance_ns must be from 0 to 2**61, not {future_tolerance_ns}")
    c.use_recv = clock == "recv"
    c.flag_crossed = crossed == "flag"
    c.keep_duplicates = duplicates == "keep"
    c.future_tolerance_ns = future_tolerance_ns
    return 0


def guard_events(events, Py_ssize_t n_instruments, *, clock="recv", crossed="reject",
                 future_tolerance_ns=10_000_000_000, duplicates="reject", clock_offset_ns=None):
    """Why each event would be rejected: uint8 ``Reason`` numbers, shape ``[len(events)]``, 0 = accepted.

    ``clock_offset_ns``: per instrument, exchange clock minus local clock (default 0). A CONTROL event is
    no market data and passes; a TIMER or STATUS that addresses all instruments is accepted as one.
    Raises AlphaError for another dtype or an unknown option.
    """
    cdef alpha_guard_config config
    cdef alpha_guard_state *states
    cdef const unsigned char[::1] raw
    cdef const alpha_event *e
    cdef unsigned char[::1] out
    cdef Py_ssize_t i, j, n = len(events)
    cdef int64_t t
    cdef int verdict, reason
    cdef alpha_event own
    cdef uint32_t flags
    if getattr(events, "dtype", None) != EVENT_DTYPE:
        raise AlphaError("guard_events takes an array of EVENT_DTYPE")
    if n_instruments < 0:
        raise AlphaError("n_instruments cannot be negative")
    fill_config(&config, clock, crossed, future_tolerance_ns, duplicates)
    reasons = np.zeros(n, dtype=np.uint8)
    if n == 0:
        return reasons
    raw = np.ascontiguousarray(events).view(np.uint8).reshape(-1)
    e = <const alpha_event *>&raw[0]
    out = reasons
    cdef int rejected_instrument = Reason.INSTRUMENT
    states = <alpha_guard_state *>calloc(n_instruments + 1, sizeof(alpha_guard_state))
    if states == NULL:
        raise MemoryError()
    try:
        for i in range(n_instruments):
            alpha_guard_reset(&states[i])
            if clock_offset_ns is not None:
                states[i].clock_offset_ns = int(clock_offset_ns[i])
        with nogil:
            for i in range(n):
                if e[i].kind == ALPHA_CONTROL:
                    continue
                if e[i].instrument_id < n_instruments:
                    out[i] = <unsigned char>alpha_guard_check(&config, &states[e[i].instrument_id], &e[i], &t, &flags)
                elif alpha_is_for_all(&e[i]):
                    verdict = ALPHA_BACKWARDS
                    for j in range(n_instruments):
                        if not alpha_own_event(&e[i], <uint32_t>j, config.use_recv, states[j].last_ns, &own):
                            verdict = 0
                            continue
                        reason = alpha_guard_check(&config, &states[j], &own, &t, &flags)
                        if reason == 0 or verdict != 0:
                            verdict = reason
                    out[i] = <unsigned char>verdict
                else:
                    out[i] = <unsigned char>rejected_instrument
    finally:
        free(states)
    return reasons
