"""A pinned thread around the pipeline. Floor 4.

One producer pushes events, one consumer polls Signals (they may be the same Python thread).
While the worker runs it owns the pipeline: inline calls raise StateError.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import os

import cython
import numpy as np

from alpha._core.pipeline cimport Pipeline, alpha_pipeline
from alpha._core.ring cimport Ring, alpha_ring, alpha_ring_push
from alpha._core.signal cimport Signal
from alpha._core.types cimport ALPHA_HOLD, ALPHA_QUOTE, ALPHA_TRADE, alpha_event, alpha_signal
from alpha.errors import AlphaError, StateError
from alpha.events import SIGNAL_DTYPE, Reason

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "alpha_worker.h" nogil:
    ctypedef struct alpha_parcel:
        pass
    ctypedef struct alpha_worker:
        alpha_pipeline *pipeline
        alpha_ring *ring
        uint64_t ring_mask
        alpha_parcel *parcels
        uint64_t n_parcels
        alpha_signal *scratch
        int cpu
        int pinned
        uint64_t lost
        uint64_t processed
    int alpha_worker_start(alpha_worker *w)
    void alpha_worker_stop(alpha_worker *w)
    int alpha_worker_poll(alpha_worker *w, alpha_signal *s, int64_t *age_ns)

cdef unsigned char REASON_STALE = Reason.STALE
cdef unsigned char REASON_KILLED = Reason.KILLED


cdef inline void silence(alpha_signal *s, unsigned char reason) noexcept nogil:
    s.action = ALPHA_HOLD
    s.reason = reason


@cython.final
cdef class Worker:
    """``Worker(pipeline, ring, cpu=None, signals=65536)``: starts at once; ``stop()`` drains the ring and ends it."""

    cdef alpha_worker *w
    cdef readonly Pipeline pipeline
    cdef readonly Ring ring
    cdef readonly bint running
    cdef uint64_t stale

    def __cinit__(self, Pipeline pipeline not None, Ring ring not None, *, cpu=None, Py_ssize_t signals=65536):
        self.w = NULL
        if signals < 2 or signals & (signals - 1):
            raise AlphaError(f"the number of waiting signals must be a power of two, not {signals}")
        if cpu is not None and not hasattr(os, "sched_getaffinity"):
            raise AlphaError(f"cpu={cpu}: this system cannot tie a thread to a cpu: leave cpu out")
        if cpu is not None and cpu not in os.sched_getaffinity(0):
            raise AlphaError(f"cpu {cpu} is not one this process may use: {sorted(os.sched_getaffinity(0))}")
        if pipeline.busy:
            raise StateError("a worker already owns this pipeline: stop it first")
        if ring.taken:
            raise StateError("another worker takes the events out of this ring: give each worker its own")
        self.pipeline, self.ring = pipeline, ring
        self.w = <alpha_worker *>aligned_alloc(64, (sizeof(alpha_worker) + 63) // 64 * 64)
        if self.w == NULL:
            raise MemoryError()
        memset(self.w, 0, sizeof(alpha_worker))
        self.w.pipeline = pipeline.p
        self.w.ring = ring.c
        self.w.ring_mask = ring.mask
        self.w.n_parcels = signals
        self.w.cpu = -1 if cpu is None else cpu
        self.w.parcels = <alpha_parcel *>calloc(signals, sizeof(alpha_parcel))
        self.w.scratch = <alpha_signal *>calloc(pipeline.most() * (pipeline.p.n_instruments + 1), sizeof(alpha_signal))
        if self.w.parcels == NULL or self.w.scratch == NULL:
            raise MemoryError()
        self._own(True)
        if alpha_worker_start(self.w):
            self._own(False)
            raise StateError("the operating system refused a new thread")
        self.running = True

    def __dealloc__(self):
        if self.w == NULL:
            return
        if self.running:
            with nogil:
                alpha_worker_stop(self.w)
            self._own(False)
        free(self.w.parcels)
        free(self.w.scratch)
        free(self.w)

    def stop(self):
        """Process what was pushed, end the thread, give the pipeline back. May be called twice."""
        if not self.running:
            return
        with nogil:
            alpha_worker_stop(self.w)
        self.running = False
        self._own(False)

    cdef int _own(self, bint owned) except -1:
        """Pipeline and ring belong to this worker, or to nobody again."""
        self.pipeline._set_busy(owned)
        self.ring._set_taken(owned)
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def push_many(self, events):
        """Publish an EVENT_DTYPE array; how many got into the ring (see Ring.push_many)."""
        self.check_running()
        return self.ring.push_many(events)

    def push_quote(self, uint32_t instrument_id, int64_t ts_ns, double bid_px, double ask_px, double bid_qty,
                   double ask_qty, int64_t ts_recv_ns=0, double venue_seq=0.0, uint16_t flags=1):
        """Publish a quote; False if the ring was full."""
        cdef alpha_event e
        self.check_running()
        e.ts_event_ns, e.ts_recv_ns = ts_ns, ts_recv_ns
        e.instrument_id, e.kind, e.level, e.flags = instrument_id, ALPHA_QUOTE, 0, flags
        e.v[0], e.v[1], e.v[2], e.v[3], e.v[4] = bid_px, ask_px, bid_qty, ask_qty, venue_seq
        return bool(alpha_ring_push(self.ring.c, self.ring.mask, &e))

    def push_trade(self, uint32_t instrument_id, int64_t ts_ns, double px, double qty, double side=0.0,
                   int64_t ts_recv_ns=0, double venue_seq=0.0, uint16_t flags=1):
        """Publish a trade; False if the ring was full."""
        cdef alpha_event e
        self.check_running()
        e.ts_event_ns, e.ts_recv_ns = ts_ns, ts_recv_ns
        e.instrument_id, e.kind, e.level, e.flags = instrument_id, ALPHA_TRADE, 0, flags
        e.v[0], e.v[1], e.v[2], e.v[3], e.v[4] = px, qty, side, 0.0, venue_seq
        return bool(alpha_ring_push(self.ring.c, self.ring.mask, &e))

    cdef int check_running(self) except -1:
        if not self.running:
            raise StateError("this worker was stopped: start a new one")
        return 0

    def poll(self, int64_t max_age_ns=0):
        """The oldest waiting Signal, or None. Older than ``max_age_ns`` (0: any age) it comes as HOLD, STALE;
        while the runtime is killed as HOLD, KILLED, also if it was decided before."""
        cdef int64_t age = 0
        cdef Signal out = Signal.__new__(Signal)
        if not alpha_worker_poll(self.w, &out.c, &age):
            return None
        if self.pipeline.silenced(&out.c):
            silence(&out.c, REASON_KILLED)
        elif max_age_ns > 0 and age > max_age_ns:
            silence(&out.c, REASON_STALE)
            self.stale += 1
        return out

    def poll_many(self, Py_ssize_t limit=65536):
        """Up to ``limit`` waiting Signals as a SIGNAL_DTYPE array, oldest first, as they were decided: a record,
        not advice (:meth:`poll` heeds age and kill)."""
        cdef int64_t age = 0
        cdef Py_ssize_t n = 0
        if limit < 1:
            raise AlphaError(f"limit must be at least 1, not {limit}")
        out = np.empty(limit, dtype=SIGNAL_DTYPE)
        cdef unsigned char[::1] raw = out.view(np.uint8)
        cdef alpha_signal *s = <alpha_signal *>&raw[0]
        with nogil:
            while n < limit and alpha_worker_poll(self.w, s + n, &age):
                n += 1
        return out[:n]

    @property
    def processed(self):
        """Events taken from the ring and decided."""
        return self.w.processed

    @property
    def backlog(self):
        """Events published but not yet taken."""
        return len(self.ring)

    @property
    def lost_signals(self):
        """Signals dropped because nobody polled."""
        return self.w.lost

    @property
    def stale_signals(self):
        """Signals that poll() turned into HOLD because of their age."""
        return self.stale

    @property
    def pinned(self):
        """True if the thread runs on the CPU asked for."""
        return bool(self.w.pinned)
