"""What a Bundle demands of a row besides its model, as memory for the native gate. Floor 2."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

import math

import cython
import numpy as np

from alpha.errors import AlphaError

cdef int64_t ANY = 0x7FFFFFFFFFFFFFFF
cdef float MOST = 3.4028234663852886e38


@cython.final
cdef class Checks:
    """``Checks(n)`` demands nothing of ``n`` instruments.

    ``sessions``: a :class:`alpha.sessions.SessionTable` or None per instrument; ``inactive``: nothing may decide;
    ``max_age_ns``, ``max_age_peers_ns``, ``max_age_inputs_ns``: None = any; ``n_inputs``: external series that are read.
    ``drift``: dict of ``on``, ``hold`` (bits 1 range, 2 distance, 4 PSI), ``lo``, ``hi`` float32 ``[F]``, ``distance``,
    ``psi``, ``window`` (rows, a multiple of 16), ``edges`` float32 ``[F, 9]`` and ``shares`` float32 ``[F, 10]``;
    ``psi_weight`` float32 ``[F]`` (may be left out): what the index of each feature is multiplied by.
    ``breaker``: dict of errors, window, latency_ns, in_a_row.
    """

    def __cinit__(self, Py_ssize_t n_instruments, *, sessions=None, bint inactive=False, max_age_ns=None,
                  max_age_peers_ns=None, max_age_inputs_ns=None, uint32_t n_inputs=0, drift=None, breaker=None):
        self.n_instruments = n_instruments
        self.each = NULL
        self.owners = []
        self.c.inactive = inactive
        self.c.max_age_ns = ANY if max_age_ns is None else max_age_ns
        self.c.max_age_peers_ns = ANY if max_age_peers_ns is None else max_age_peers_ns
        self.c.max_age_inputs_ns = ANY if max_age_inputs_ns is None else max_age_inputs_ns
        self.c.aged = (max_age_ns, max_age_peers_ns, max_age_inputs_ns) != (None, None, None)
        self.c.n_inputs = n_inputs if max_age_inputs_ns is not None else 0
        if breaker is not None:
            if not (0 <= breaker["errors"] <= breaker["window"] <= 64 and breaker["latency_ns"] >= 0 and breaker["in_a_row"] >= 1):
                raise AlphaError("a breaker trips at up to as many errors as its window has runs, at most 64")
            self.breaker.errors, self.breaker.window = breaker["errors"], breaker["window"]
            self.breaker.latency_ns, self.breaker.in_a_row = breaker["latency_ns"], breaker["in_a_row"]
        if sessions is not None:
            self._sessions(sessions)
        if drift is not None:
            self._drift(drift)

    cdef int _sessions(self, sessions) except -1:
        cdef Py_ssize_t i
        self.tables = SessionTables(sessions, self.n_instruments)
        self.each = <const alpha_sessions **>calloc(self.n_instruments + 1, sizeof(alpha_sessions *))
        if self.each == NULL:
            raise MemoryError()
        for i in range(self.n_instruments):
            self.each[i] = self.tables.of(i)
        self.c.sessions = self.each
        return 0

    cdef int _drift(self, drift) except -1:
        cdef const float[::1] view
        cdef uint32_t rows
        lo = np.asarray(drift["lo"], dtype=np.float32)
        n = len(lo)
        if not 1 <= n <= ALPHA_DRIFT_MOST:
            raise AlphaError(f"a row has from 1 to {ALPHA_DRIFT_MOST} features, not {n}")
        padded = (n + 7) // 8 * 8
        self.c.drift.n, self.c.drift.padded = n, padded
        self.c.drift.on, self.c.drift.hold = drift["on"], drift["hold"]
        self.c.drift.distance_limit, self.c.drift.psi_limit = drift["distance"], drift["psi"]
        self.c.drift.per_feature = np.float32(1.0 / n)
        low = np.full(padded, -MOST, np.float32)
        high = np.full(padded, MOST, np.float32)
        low[:n], high[:n] = lo, np.asarray(drift["hi"], dtype=np.float32)
        self.owners += [low, high]
        view = low
        self.c.drift.lo = &view[0]
        view = high
        self.c.drift.hi = &view[0]
        if not drift["on"] & 4:
            return 0
        rows = drift["window"]
        if rows < ALPHA_DRIFT_STEPS or rows % ALPHA_DRIFT_STEPS or rows > 65520:
            raise AlphaError(f"the window of PSI is a multiple of {ALPHA_DRIFT_STEPS} rows up to 65520, not {rows}")
        edges = np.asarray(drift["edges"], dtype=np.float32)
        shares = np.ascontiguousarray(drift["shares"], dtype=np.float32)
        if edges.shape != (n, ALPHA_DRIFT_BINS - 1) or shares.shape != (n, ALPHA_DRIFT_BINS):
            raise AlphaError(f"PSI needs {ALPHA_DRIFT_BINS - 1} edges and {ALPHA_DRIFT_BINS} shares for each of {n} features")
        by_edge = np.full((ALPHA_DRIFT_BINS - 1, padded), MOST, np.float32)
        by_edge[:, :n] = edges.T
        logs = np.array([[math.log(s) for s in row] for row in shares.tolist()], np.float32)
        counts = np.array([math.log(max(c, 0.5) / rows) for c in range(rows + 1)], np.float32)
        weight = np.ascontiguousarray(drift.get("psi_weight", np.ones(n)), dtype=np.float32)
        if weight.shape != (n,):
            raise AlphaError(f"PSI takes one weight for each of {n} features")
        flat = [by_edge.reshape(-1), shares.reshape(-1), logs.reshape(-1), counts, weight]
        self.owners += flat
        self.c.drift.turns = padded // 8
        self.c.drift.step, self.c.drift.per_row = rows // ALPHA_DRIFT_STEPS * self.c.drift.turns, np.float32(1.0 / rows)
        view = flat[0]
        self.c.drift.edges = &view[0]
        view = flat[1]
        self.c.drift.share = &view[0]
        view = flat[2]
        self.c.drift.log_share = &view[0]
        view = flat[3]
        self.c.drift.log_count = &view[0]
        view = flat[4]
        self.c.drift.psi_weight = &view[0]
        return 0

    def __dealloc__(self):
        free(self.each)
