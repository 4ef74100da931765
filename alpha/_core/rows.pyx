"""The native twin without a model: guard and feature program over arrays of events. Floor 2.

Runs the very functions the live pipeline runs (``alpha_guard_check`` and the program's step).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import cython
import numpy as np

from alpha._core.guard cimport (
    alpha_guard_check,
    alpha_guard_config,
    alpha_guard_reset,
    alpha_guard_state,
    alpha_is_for_all,
    alpha_own_event,
    fill_config,
)
from alpha._core.program cimport (
    ALPHA_AHEAD,
    Program,
    Surroundings,
    alpha_block,
    alpha_block_free,
    alpha_block_new,
    alpha_block_restore,
    alpha_block_save,
    alpha_block_saved_bytes,
    alpha_fetch,
    alpha_home,
    alpha_home_new,
    alpha_row,
)
from alpha._core.types cimport ALPHA_CONTROL, alpha_event
from alpha.errors import AlphaError, StateError
from alpha.events import EVENT_DTYPE

cdef struct Rows:
    Py_ssize_t at
    Py_ssize_t width
    float *values
    uint8_t *ready
    int64_t *index
    int64_t *ts_ns
    uint32_t *ids


@cython.final
cdef class RowMaker:
    """State of every instrument; ``rows(events)`` continues where the last call ended."""

    cdef readonly Program program
    cdef Surroundings around
    cdef alpha_guard_config config
    cdef alpha_guard_state *guards
    cdef alpha_block **blocks
    cdef alpha_home home
    cdef uint32_t n
    cdef Py_ssize_t seen

    def __cinit__(self, Program program not None, *, lots, clock_offsets_ns, guard, ticks=None, sessions=None, peers=()):
        cdef Py_ssize_t i
        self.guards, self.blocks, self.home.at = NULL, NULL, NULL
        if not 1 <= len(lots) < 1 << 24:
            raise AlphaError(f"from 1 to 2**24 instruments can be served, not {len(lots)}")
        self.program = program
        self.n = <uint32_t>len(lots)
        self.around = Surroundings(program, lots, ticks, sessions, peers)
        fill_config(&self.config, guard["clock"], guard["crossed"], guard["future_tolerance_ns"], guard["duplicates"],
                    guard.get("outlier"))
        self.guards = <alpha_guard_state *>calloc(self.n, sizeof(alpha_guard_state))
        self.blocks = <alpha_block **>calloc(self.n, sizeof(alpha_block *))
        if self.guards == NULL or self.blocks == NULL:
            raise MemoryError()
        alpha_home_new(&self.home, &program.c, self.n)
        for i in range(<Py_ssize_t>self.n):
            alpha_guard_reset(&self.guards[i])
            self.guards[i].clock_offset_ns = clock_offsets_ns[i]
            self.blocks[i] = alpha_block_new(&program.c, &self.around.each[i], &self.home, i)
            if self.blocks[i] == NULL:
                raise MemoryError(f"no {program.c.block_bytes} bytes for instrument {i}")
        for i in range(<Py_ssize_t>self.around.n_peers):
            self.around.peers[i] = self.blocks[self.around.peer_ids[i]]

    def __dealloc__(self):
        cdef uint32_t i
        if self.blocks != NULL:
            for i in range(self.n):
                alpha_block_free(&self.program.c, &self.home, self.blocks[i])
        free(self.home.at)
        free(self.blocks)
        free(self.guards)

    cdef void one(self, const alpha_event *e, uint32_t id, Py_ssize_t index, Rows *out) noexcept nogil:
        cdef int64_t t
        cdef uint32_t flags
        cdef alpha_row row
        if alpha_guard_check(&self.config, &self.guards[id], e, &t, &flags):
            return
        row.x = out.values + out.at * out.width
        row.ready_each = out.ready + out.at * out.width
        if self.program.kernels.step(&self.program.c, self.blocks[id], e, t, &row):
            out.index[out.at] = index
            out.ts_ns[out.at] = row.ts_ns
            out.ids[out.at] = id
            out.at += 1

    def save_state(self):
        """Guards and blocks of every instrument as bytes: equal states give equal bytes."""
        cdef uint32_t i
        cdef size_t total = self.n * sizeof(alpha_guard_state)
        for i in range(self.n):
            total += alpha_block_saved_bytes(&self.program.c, self.blocks[i])
        out = bytearray(total)
        cdef unsigned char[::1] to = out
        cdef size_t at = self.n * sizeof(alpha_guard_state)
        memcpy(&to[0], self.guards, at)
        for i in range(self.n):
            alpha_block_save(&self.program.c, self.blocks[i], <char *>&to[at])
            at += alpha_block_saved_bytes(&self.program.c, self.blocks[i])
        return bytes(out)

    def load_state(self, const unsigned char[::1] state not None):
        """Go on where :meth:`save_state` of a maker of the same program and instruments was. StateError, with
        everything as it was, if the bytes do not fit. Who keeps them binds them to both (see ``alpha.state``)."""
        cdef uint32_t i
        cdef size_t bytes = len(state), at = self.n * sizeof(alpha_guard_state), used = 0
        cdef alpha_block **blocks = <alpha_block **>calloc(self.n, sizeof(alpha_block *))
        if blocks == NULL:
            raise MemoryError()
        try:
            for i in range(self.n):
                if bytes < at or bytes == at:
                    raise StateError("this state of rows is cut short, or one of other features or instruments")
                blocks[i] = alpha_block_restore(
                    &self.program.c, &self.around.each[i], <const char *>&state[at], bytes - at, &used
                )
                if blocks[i] == NULL:
                    raise StateError("this state of rows is cut short, or one of other features or instruments")
                at += used
            if at != bytes:
                raise StateError("this state of rows has bytes to spare: it is one of other features or instruments")
            memcpy(self.guards, &state[0], self.n * sizeof(alpha_guard_state))
            for i in range(self.n):
                self.blocks[i], blocks[i] = blocks[i], self.blocks[i]
            for i in range(<uint32_t>self.around.n_peers):
                self.around.peers[i] = self.blocks[self.around.peer_ids[i]]
        finally:  # what was loaded in vain, or what was there before
            for i in range(self.n):
                if blocks[i] != NULL:
                    alpha_block_free(&self.program.c, &self.home, blocks[i])
            free(blocks)

    def buffers(self, Py_ssize_t room):
        """Arrays for ``rows(..., out=)``: room for that many rows, and one to spare."""
        cdef Py_ssize_t f = self.program.c.n_features
        return (
            np.empty((room, f), dtype=np.float32),
            np.empty((room, f), dtype=np.uint8),
            np.empty(room, dtype=np.int64),
            np.empty(room, dtype=np.int64),
            np.empty(room, dtype=np.uint32),
        )

    def rows(self, events, out=None):
        """Dict of ``row_index`` int64 [N] (into these events), ``values`` float32 [N, F], ``ready`` bool [N, F],
        ``ts_ns`` int64 [N] (decision time) and ``instrument_id`` uint32 [N].
        ``out``: buffers of an earlier :meth:`buffers` call to fill instead of new ones; the result is views of them."""
        cdef const unsigned char[::1] raw
        cdef const alpha_event *e
        cdef alpha_event own
        cdef Py_ssize_t i, n = len(events), f = self.program.c.n_features
        cdef uint32_t j
        cdef Rows to
        if getattr(events, "dtype", None) != EVENT_DTYPE or events.ndim != 1:
            raise AlphaError("events must be a one-dimensional numpy array of alpha.EVENT_DTYPE")
        room = n + int(np.count_nonzero(events["instrument_id"] >= self.n)) * self.n + 1
        values, ready, index, ts_ns, ids = self.buffers(room) if out is None else out
        if len(values) < room:
            raise AlphaError(f"out has room for {len(values)} rows, these events may make {room}")
        cdef float[:, ::1] v = values
        cdef unsigned char[:, ::1] r = ready
        cdef int64_t[::1] ix = index
        cdef int64_t[::1] tx = ts_ns
        cdef uint32_t[::1] dx = ids
        to.at, to.width = 0, f
        to.values, to.ready, to.index, to.ts_ns, to.ids = &v[0, 0], &r[0, 0], &ix[0], &tx[0], &dx[0]
        if n:
            raw = np.ascontiguousarray(events).view(np.uint8).reshape(-1)
            e = <const alpha_event *>&raw[0]
            with nogil:
                for i in range(n):
                    if self.n > 1 and i + ALPHA_AHEAD < n and e[i + ALPHA_AHEAD].instrument_id < self.n:
                        alpha_fetch(self.blocks[e[i + ALPHA_AHEAD].instrument_id], self.program.c.block_bytes)
                        alpha_fetch(&self.guards[e[i + ALPHA_AHEAD].instrument_id], sizeof(alpha_guard_state))
                    if e[i].kind == ALPHA_CONTROL:
                        continue
                    if e[i].instrument_id < self.n:
                        self.one(e + i, e[i].instrument_id, i, &to)
                    elif alpha_is_for_all(e + i):
                        for j in range(self.n):
                            if alpha_own_event(e + i, j, self.config.use_recv, self.guards[j].last_ns, &own):
                                self.one(&own, j, i, &to)
        return {
            "row_index": index[:to.at],
            "values": values[:to.at],
            "ready": ready[:to.at].view(np.bool_),
            "ts_ns": ts_ns[:to.at],
            "instrument_id": ids[:to.at],
        }
