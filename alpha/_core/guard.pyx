"""The guard over whole arrays: the same check the pipeline makes, for the batch twin. Floor 1."""

import numpy as np

from alpha._core.types cimport ALPHA_BACKWARDS, ALPHA_CONTROL
from alpha.errors import AlphaError
from alpha.events import EVENT_DTYPE, Reason


cdef int fill_config(alpha_guard_config *c, object clock, object crossed, object future_tolerance_ns, object duplicates,
                     object outlier) except -1:
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
    if outlier is not None and not 1.0 < outlier < 1e9:
        raise AlphaError(f"guard outlier is a factor above 1 and below 1e9, not {outlier}")
    c.outlier = 0.0 if outlier is None else outlier
    c.future_tolerance_ns = future_tolerance_ns
    return 0


def guard_memory(Py_ssize_t n_instruments, earlier=None):
    """What a guard of so many instruments remembers before the first event: uint8 ``[n_instruments * size]``.

    ``earlier``: the memory of a guard of fewer instruments, taken over. For :func:`guard_events` over a stream in chunks.
    """
    cdef unsigned char[::1] raw
    cdef alpha_guard_state *states
    cdef Py_ssize_t i
    if n_instruments < 0:
        raise AlphaError("n_instruments cannot be negative")
    memory = np.zeros(n_instruments * sizeof(alpha_guard_state), dtype=np.uint8)
    if n_instruments == 0:
        return memory
    raw = memory
    states = <alpha_guard_state *>&raw[0]
    for i in range(n_instruments):
        alpha_guard_reset(&states[i])
    if earlier is not None:
        memory[:len(earlier)] = earlier
    return memory


def guard_events(events, Py_ssize_t n_instruments, *, clock="recv", crossed="reject",
                 future_tolerance_ns=10_000_000_000, duplicates="reject", outlier=None, clock_offset_ns=None, memory=None):
    """Why each event would be rejected: uint8 ``Reason`` numbers, shape ``[len(events)]``, 0 = accepted.

    ``clock_offset_ns``: per instrument, exchange clock minus local clock (default 0). ``memory``: of
    :func:`guard_memory`, carried on from chunk to chunk of one stream. A CONTROL event is
    no market data and passes; a TIMER or STATUS that addresses all instruments is accepted as one.
    Raises AlphaError for another dtype or an unknown option.
    """
    cdef alpha_guard_config config
    cdef alpha_guard_state *states = NULL
    cdef const unsigned char[::1] raw
    cdef unsigned char[::1] remembered
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
    fill_config(&config, clock, crossed, future_tolerance_ns, duplicates, outlier)
    reasons = np.zeros(n, dtype=np.uint8)
    if n == 0:
        return reasons
    raw = np.ascontiguousarray(events).view(np.uint8).reshape(-1)
    e = <const alpha_event *>&raw[0]
    out = reasons
    cdef int rejected_instrument = Reason.INSTRUMENT
    if memory is None:
        memory = guard_memory(n_instruments)
    if len(memory) != n_instruments * <Py_ssize_t>sizeof(alpha_guard_state):
        raise AlphaError(f"the guard's memory is not that of {n_instruments} instruments: make it with guard_memory")
    if n_instruments > 0:
        remembered = memory
        states = <alpha_guard_state *>&remembered[0]
        if clock_offset_ns is not None:
            for i in range(n_instruments):
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
    return reasons
