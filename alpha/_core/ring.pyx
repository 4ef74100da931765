"""Single-producer single-consumer ring of Events. Floor 1.

One thread (or process) pushes, one other pops. Positions are never shared between them, see
``include/alpha_ring.h``. The ring may live in memory the caller gives, e.g. a
``multiprocessing.shared_memory`` block that a feed handler in another process writes to.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

import cython
import numpy as np

from alpha._core.types cimport ALPHA_KINDS
from alpha.errors import AlphaError, StateError
from alpha.events import EVENT_DTYPE

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

_OVERRUN = {"drop": ALPHA_OVERRUN_DROP, "refuse": ALPHA_OVERRUN_REFUSE}


def ring_bytes(capacity):
    """Bytes of memory that a ring of ``capacity`` events needs."""
    _check_capacity(capacity)
    return alpha_ring_bytes(capacity)


def _check_capacity(capacity):
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 2 or capacity & (capacity - 1) or capacity > 1 << 32:
        raise AlphaError(f"ring capacity must be a power of two from 2 to 2**32, not {capacity!r}")


@cython.final
cdef class Ring:
    """``Ring(capacity, overrun="drop", memory=None, attach=False)``.

    ``overrun``: what a push into a full ring does. ``"drop"`` loses the newest event, counts it in
    ``dropped`` and tells the consumer by a STATUS event (code LOST, flag GAP) before the next one, so
    that features know they are stale; ``"refuse"`` returns False and the caller keeps the event.
    ``memory``: a writable buffer of at least ``ring_bytes(capacity)`` bytes, 64-byte aligned.
    ``attach=True`` takes an existing ring in ``memory`` as it is instead of making a new one.
    """

    def __cinit__(self, capacity=None, *, overrun="drop", memory=None, attach=False):
        cdef Py_buffer view
        cdef void *start
        cdef Py_ssize_t length
        self.c = NULL
        self.owned = NULL
        if overrun not in _OVERRUN:
            raise AlphaError(f"overrun policy {overrun!r} is unknown: use 'drop' or 'refuse'")
        if attach and memory is None:
            raise AlphaError("attach=True needs the memory that holds the ring")
        if not attach:
            _check_capacity(capacity)
        if memory is None:
            length = <Py_ssize_t>alpha_ring_bytes(capacity)
            self.owned = aligned_alloc(64, length)
            if self.owned == NULL:
                raise MemoryError(f"no {length} bytes for a ring of {capacity} events")
            start = self.owned
        else:
            PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
            self.memory = memoryview(memory)  # holds the export for as long as this ring lives
            start, length = view.buf, view.len
            PyBuffer_Release(&view)
            if <uintptr_t>start % 64:
                raise AlphaError("ring memory must start on a 64-byte boundary")
        self.c = <alpha_ring *>start
        if attach:
            self._attach(length, capacity)
            return
        if <uint64_t>length < alpha_ring_bytes(capacity):
            self.c = NULL
            raise AlphaError(f"a ring of {capacity} events needs {alpha_ring_bytes(capacity)} bytes, the memory has {length}")
        memset(start, 0, alpha_ring_bytes(capacity))
        self.c.capacity = capacity
        self.mask = <uint64_t>capacity - 1
        self.c.overrun = _OVERRUN[overrun]
        self.c.magic = ALPHA_RING_MAGIC

    cdef int _attach(self, Py_ssize_t length, object capacity) except -1:
        cdef uint64_t size = 0
        if <size_t>length >= sizeof(alpha_ring) and self.c.magic == ALPHA_RING_MAGIC:
            size = self.c.capacity
        if size < 2 or size & (size - 1) or size > 1ull << 32 or alpha_ring_bytes(size) > <uint64_t>length:
            self.c = NULL
            raise AlphaError("the memory holds no ring: make one first with Ring(capacity, memory=...)")
        if capacity is not None and capacity != size:
            self.c = NULL
            raise AlphaError(f"the ring in this memory has capacity {size}, not {capacity}")
        self.mask = size - 1
        return 0

    def __dealloc__(self):
        free(self.owned)

    def _set_taken(self, bint taken, /):
        self.taken = taken

    def push(self, event):
        """Publish one event (a 0-d or 1-element EVENT_DTYPE array). False if the ring was full. Producer only."""
        return self.push_many(np.atleast_1d(np.asarray(event))) == 1

    def push_many(self, events):
        """Publish events of an EVENT_DTYPE array in order; returns how many were published. Producer only.

        Under ``refuse`` it stops at the first that does not fit; under ``drop`` it tries them all.
        """
        cdef const alpha_event *e
        cdef const unsigned char[::1] raw
        cdef Py_ssize_t i, n, done = 0
        cdef bint known = True
        cdef alpha_ring *r = self.c
        if getattr(events, "dtype", None) != EVENT_DTYPE:
            raise AlphaError("push_many takes an array of EVENT_DTYPE")
        n = len(events)
        if n == 0:
            return 0
        raw = np.ascontiguousarray(events).view(np.uint8).reshape(-1)
        e = <const alpha_event *>&raw[0]
        with nogil:
            for i in range(n):  # all are looked at before the first one gets in
                known &= 0 < e[i].kind < ALPHA_KINDS
        if not known:
            raise AlphaError("an event of kind EMPTY or of an unknown kind cannot enter a ring")
        with nogil:
            for i in range(n):
                if alpha_ring_push(r, self.mask, e + i):
                    done += 1
                elif r.overrun == ALPHA_OVERRUN_REFUSE:
                    break
        return done

    def pop_many(self, Py_ssize_t limit=1024):
        """Take up to ``limit`` events out, oldest first, as an EVENT_DTYPE array. Consumer only."""
        cdef unsigned char[::1] raw
        cdef const alpha_event *e
        cdef Py_ssize_t n = 0
        if self.taken:
            raise StateError("a worker takes the events out of this ring: stop it first")
        if limit < 1:
            raise AlphaError(f"limit must be at least 1, not {limit}")
        out = np.empty(limit, dtype=EVENT_DTYPE)
        raw = out.view(np.uint8)
        cdef alpha_event *to = <alpha_event *>&raw[0]
        with nogil:
            while n < limit:
                e = alpha_ring_peek(self.c, self.mask)
                if e == NULL:
                    break
                memcpy(to + n, e, sizeof(alpha_event))
                alpha_ring_release(self.c, self.mask)
                n += 1
        return out[:n]

    def __len__(self):
        cdef Py_ssize_t waiting = <Py_ssize_t>(alpha_ring_published(self.c) - alpha_ring_released(self.c))
        return min(max(0, waiting), <Py_ssize_t>self.mask + 1)

    def __bool__(self):
        return True  # an empty ring is still a ring

    @property
    def capacity(self):
        """Slots."""
        return self.mask + 1

    @property
    def dropped(self):
        """Events lost because the ring was full."""
        return self.c.dropped

    @property
    def published(self):
        """Events ever published."""
        return alpha_ring_published(self.c)

    @property
    def overrun(self):
        """Declared policy: ``"drop"`` or ``"refuse"``."""
        return "drop" if self.c.overrun == ALPHA_OVERRUN_DROP else "refuse"
