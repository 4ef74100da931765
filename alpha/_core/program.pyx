"""A compiled feature program and the choice of the kernels that run it. Floor 2.

Built by ``alpha.features.compile``; holds no state of its own. Any thread may share it.
"""

import hashlib
import os

from libc.stdlib cimport calloc, free

import cython
import numpy as np

from alpha.errors import AlphaError

cdef extern from *:
    """
    #include "alpha_kernels.h"
    #ifdef ALPHA_X86
    static int alpha_has_v3(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    }
    static int alpha_has_v4(void) {
        __builtin_cpu_init();
        return alpha_has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    }
    static const alpha_kernels *alpha_kernels_of(int level) {
        if (level == 4) return alpha_has_v4() ? &alpha_kernels_v4 : NULL;
        if (level == 3) return alpha_has_v3() ? &alpha_kernels_v3 : NULL;
        return &alpha_kernels_portable;
    }
    #else
    static const alpha_kernels *alpha_kernels_of(int level) {
        return level == 0 ? &alpha_kernels_portable : NULL;
    }
    #endif
    #define ALPHA_OP_NAME(name, state) #name,
    static const char *const alpha_op_names[] = {ALPHA_OP_LIST(ALPHA_OP_NAME)};
    #define ALPHA_OP_STATE(name, state) sizeof(state),
    static const size_t alpha_op_state_bytes[] = {ALPHA_OP_LIST(ALPHA_OP_STATE)};
    """
    const alpha_kernels *alpha_kernels_of(int level) nogil
    const int ALPHA_OPS
    const int ALPHA_LISTS
    const int ALPHA_CHUNK
    const int ALPHA_BAR_FIELDS
    const char *const alpha_op_names[]
    const size_t alpha_op_state_bytes[]
    ctypedef struct alpha_bar:
        pass
    ctypedef struct alpha_present:
        pass

cdef extern from "alpha_math.h" nogil:
    double alpha_log(double x)
    double alpha_exp2n(double t)

OPCODES = {(<bytes>alpha_op_names[i]).decode(): i for i in range(ALPHA_OPS)}
STATE_BYTES = {(<bytes>alpha_op_names[i]).decode(): alpha_op_state_bytes[i] for i in range(ALPHA_OPS)}
BLOCK_BYTES = sizeof(alpha_block)
BAR_BYTES = sizeof(alpha_bar)
PRESENT_BYTES = sizeof(alpha_present)
CHUNK = ALPHA_CHUNK  # sorted values that stand together
SLOT_BYTES = sizeof(double) + sizeof(uint64_t)  # a value and its mark

_LEVELS = {"portable": 0, "v3": 3, "v4": 4}


cdef const alpha_kernels *choose_kernels() except NULL:
    cdef const alpha_kernels *k
    wanted = os.environ.get("ALPHA_ISA", "")
    if wanted:
        if wanted not in _LEVELS:
            raise AlphaError(f"ALPHA_ISA={wanted!r} is unknown: use portable, v3 or v4")
        k = alpha_kernels_of(_LEVELS[wanted])
        if k == NULL:
            raise AlphaError(f"ALPHA_ISA={wanted} was asked for, but this CPU or build does not have it")
        return k
    for level in (4, 3):
        k = alpha_kernels_of(level)
        if k != NULL:
            return k
    return alpha_kernels_of(0)


def isa():
    """Name of the kernels in use: ``portable``, ``v3`` or ``v4``; ``ALPHA_ISA`` overrides the choice."""
    return (<bytes>choose_kernels().isa).decode()


def available_isas():
    """Names of the kernels this CPU and build can run, best first."""
    return [name for name in ("v4", "v3", "portable") if alpha_kernels_of(_LEVELS[name]) != NULL]


def native_log(double x):
    """Natural logarithm as features compute it (numerics rule 42)."""
    return alpha_log(x)


def native_exp2n(double t):
    """2**t for t <= 0 as features compute it (numerics rule 18)."""
    return alpha_exp2n(t)


cdef bint all_in_order(const uint16_t[::1] slots) noexcept:
    cdef Py_ssize_t i
    for i in range(len(slots)):
        if slots[i] != i:
            return False
    return True


@cython.final
cdef class Program:
    """Instructions of one feature set. ``n_features``: columns of a row; ``block_bytes``: state per instrument."""

    def __cinit__(self, *, run, refresh, all, quads, resets, bars, features, n_watched, n_slots, block_bytes, trigger,
                  trigger_bar, every_ns, present, by_close, n_peers, needs_sessions):
        cdef const uint16_t[::1] slots, lanes
        cdef const uint8_t[::1] flags
        cdef Py_ssize_t i, j
        self.bars = NULL
        self.kernels = choose_kernels()
        self.arrays = []
        if len(run) != ALPHA_LISTS or len(refresh) != ALPHA_LISTS:
            raise AlphaError(f"a program has {ALPHA_LISTS} lists of instructions, not {len(run)} and {len(refresh)}")
        for i in range(ALPHA_LISTS):
            self.c.run[i] = self._instructions(run[i])
            self.c.n_run[i] = <uint32_t>max(len(run[i]) - 1, 0)
            self.c.refresh[i] = self._instructions(refresh[i])
            self.c.n_refresh[i] = <uint32_t>max(len(refresh[i]) - 1, 0)
        self.records = all
        self.c.all = self._instructions(all)
        self.c.n_all = <uint32_t>len(all)
        self.c.quads = NULL
        if len(quads):
            owner = np.ascontiguousarray(quads, dtype=np.uint16).reshape(-1)
            self.arrays.append(owner)
            lanes = owner
            self.c.quads = <const alpha_quad *>&lanes[0]
        if resets is not None:
            owner = np.ascontiguousarray(resets, dtype=np.uint8)
            if len(owner) != len(all):
                raise AlphaError(f"there are {len(owner)} resets for {len(all)} instructions")
            self.arrays.append(owner)
            flags = owner
            self.c.resets = &flags[0]
        self.c.present, self.c.by_close = present, by_close
        self.n_peers, self.needs_sessions = n_peers, needs_sessions
        if bars:
            self.bars = <alpha_bar_spec *>calloc(len(bars), sizeof(alpha_bar_spec))
            if self.bars == NULL:
                raise MemoryError()
            for i, (clock, size, state, from_mid, fields) in enumerate(bars):
                self.bars[i].clock = clock
                if clock:
                    self.bars[i].size = size
                else:
                    self.bars[i].interval_ns = size
                self.bars[i].state = state
                self.bars[i].from_mid = from_mid
                for j in range(ALPHA_BAR_FIELDS):
                    self.bars[i].slot[j] = fields[j]
        self.c.bars = self.bars
        self.c.n_bars = <uint32_t>len(bars)
        owner = np.ascontiguousarray(features, dtype=np.uint16)
        self.arrays.append(owner)
        slots = owner
        self.c.features = &slots[0]
        self.c.in_order = all_in_order(owner)
        self.c.n_features = <uint32_t>len(features)
        self.c.n_watched = n_watched
        self.c.n_slots = n_slots
        self.c.block_bytes = block_bytes
        self.c.trigger = trigger
        self.c.trigger_bar = trigger_bar
        self.c.every_ns = every_ns

    def __dealloc__(self):
        free(self.bars)

    cdef const alpha_instr *_instructions(self, records) except? NULL:
        """Pointer to a copy of the records, which the program keeps alive; NULL for none."""
        cdef uint8_t[::1] raw
        cdef alpha_instr *to
        cdef Py_ssize_t i
        if len(records) == 0:
            return NULL
        own = records.copy()
        raw = own.view(np.uint8)
        to = <alpha_instr *>&raw[0]
        for i in range(len(own)):
            to[i].place = self.kernels.places()[to[i].op]
        self.arrays.append(own)
        return to

    @property
    def layout(self):
        """sha256 over the instructions and sizes that a saved state depends on, hex."""
        digest = hashlib.sha256(f"{self.c.block_bytes} {sizeof(alpha_block)} {sizeof(void *)}".encode())
        digest.update(self.records.tobytes())
        return digest.hexdigest()

    @property
    def n_features(self):
        return self.c.n_features

    @property
    def block_bytes(self):
        return self.c.block_bytes

    @property
    def instructions(self):
        """How many instructions one quote runs: a rough cost."""
        return self.c.n_run[0] + self.c.n_refresh[0]

    @property
    def isa(self):
        return (<bytes>self.kernels.isa).decode()


@cython.final
cdef class SessionTables:
    """The :class:`alpha.sessions.SessionTable` of each of ``n`` instruments, None for one without."""

    def __cinit__(self, tables, Py_ssize_t n):
        cdef const int64_t[::1] column
        cdef Py_ssize_t i
        self.each, self.n, self.owners = NULL, n, []
        if len(tables) != n:
            raise AlphaError(f"there are {len(tables)} session tables for {n} instruments")
        self.each = <alpha_sessions *>calloc(max(n, 1), sizeof(alpha_sessions))
        if self.each == NULL:
            raise MemoryError()
        for i in range(n):
            table = tables[i]
            if table is None:
                continue
            columns = [np.ascontiguousarray(c, dtype=np.int64)
                       for c in (table.opens, table.closes, table.break_starts, table.break_ends)]
            self.owners.append(columns)
            column = columns[0]
            self.each[i].opens, self.each[i].n = &column[0], len(column)
            column = columns[1]
            self.each[i].closes = &column[0]
            column = columns[2]
            self.each[i].break_starts = &column[0]
            column = columns[3]
            self.each[i].break_ends = &column[0]

    def __dealloc__(self):
        free(self.each)

    cdef const alpha_sessions *of(self, Py_ssize_t i) noexcept:
        """NULL for an instrument without."""
        return &self.each[i] if self.each[i].opens != NULL else NULL


@cython.final
cdef class Surroundings:
    """What the blocks of a table of instruments look at outside of themselves.

    ``lots``, ``ticks``: float64 ``[n]``, NaN where unknown; ``sessions``: a :class:`alpha.sessions.SessionTable` per
    instrument, or None where the program needs none; ``peers``: ids of the instruments that its symbols name, in order.
    """

    def __cinit__(self, Program program not None, lots, ticks=None, sessions=None, peers=()):
        cdef Py_ssize_t i, k
        self.each, self.peers, self.peer_ids = NULL, NULL, NULL
        self.n, self.n_peers = <uint32_t>len(lots), <uint32_t>len(peers)
        if self.n_peers != program.n_peers:
            raise AlphaError(f"this program looks at {program.n_peers} other instruments, not at {self.n_peers}")
        if program.needs_sessions and sessions is None:
            raise AlphaError("this program needs the sessions of each instrument")
        self.each = <alpha_surroundings *>calloc(max(self.n, 1), sizeof(alpha_surroundings))
        self.peers = <alpha_block **>calloc(max(self.n_peers, 1), sizeof(alpha_block *))
        self.peer_ids = <uint32_t *>calloc(max(self.n_peers, 1), sizeof(uint32_t))
        if self.each == NULL or self.peers == NULL or self.peer_ids == NULL:
            raise MemoryError()
        for k in range(<Py_ssize_t>self.n_peers):
            if not 0 <= peers[k] < self.n:
                raise AlphaError(f"there is no instrument {peers[k]}: this table has {self.n}")
            self.peer_ids[k] = peers[k]
        for i in range(<Py_ssize_t>self.n):
            self.each[i].lot = lots[i]
            self.each[i].tick = float("nan") if ticks is None else ticks[i]
            self.each[i].peers = self.peers
        if sessions is None:
            return
        self.tables = SessionTables(sessions, self.n)
        for i in range(<Py_ssize_t>self.n):
            self.each[i].sessions = self.tables.of(i)

    def __dealloc__(self):
        free(self.each)
        free(self.peers)
        free(self.peer_ids)
