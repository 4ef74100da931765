"""The audit log's ring, its drain thread, and the checks of what lies in a file. Floor 1.

A :class:`Log` is filled by whoever owns the pipeline and drained by a C thread of its own without the GIL; opening,
closing and reading belong to Python.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import os

import cython
import numpy as np

from alpha.errors import AlphaError, StateError

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "<pthread.h>" nogil:
    int pthread_create(pthread_t *thread, const void *attributes, void *(*start)(void *) noexcept nogil, void *argument)
    int pthread_join(pthread_t thread, void **result)

cdef extern from "alpha_log.h" nogil:
    const uint32_t ALPHA_LOG_SKIP
    const uint16_t ALPHA_FRAME_DECISION
    char *alpha_log_reserve(alpha_audit *l, uint16_t type, uint32_t bytes)
    void alpha_log_commit(alpha_audit *l, uint32_t bytes)

cdef extern from "alpha_sink.h" nogil:
    ctypedef struct alpha_sha256:
        pass
    const uint32_t ALPHA_FRAME_BYTES
    void alpha_crc_fill()
    uint32_t alpha_crc32c(uint32_t crc, const void *data, size_t n)
    int alpha_sink_add(alpha_sink *k, uint16_t type, uint16_t flags, const void *payload, uint32_t n)
    int alpha_sink_seal(alpha_sink *k)
    void *alpha_sink_main(void *argument) noexcept
    void alpha_sha256_begin(alpha_sha256 *c)
    void alpha_sha256_add(alpha_sha256 *c, const void *data, size_t n)
    void alpha_sha256_end(alpha_sha256 *c, uint8_t *out)

POLICIES = {"block_signals": 0, "count_drops": 1, "wait": 2}
FRAME_DTYPE = np.dtype(
    [("len", "<u4"), ("crc32c", "<u4"), ("seq", "<u8"), ("type", "<u2"), ("flags", "<u2"), ("run", "<u4")]
)

alpha_crc_fill()


def crc32c(const uint8_t[::1] data not None, uint32_t start=0):
    """CRC-32C (Castagnoli) of bytes, going on from ``start``."""
    return alpha_crc32c(start, &data[0], len(data)) if len(data) else start


def sha256(const uint8_t[::1] data not None):
    """SHA-256 of bytes by the code that chains blocks; 32 bytes."""
    cdef alpha_sha256 c
    cdef uint8_t out[32]
    alpha_sha256_begin(&c)
    if len(data):
        alpha_sha256_add(&c, &data[0], len(data))
    alpha_sha256_end(&c, out)
    return <bytes>out[:32]


@cython.final
cdef class Log:
    """``Log(policy, capacity)``: a ring of ``capacity`` bytes (a power of two), without a file until :meth:`open`.

    ``policy``: ``block_signals``, ``count_drops`` or ``wait``; see :mod:`alpha.audit`.
    """

    def __cinit__(self, *, str policy="block_signals", uint64_t capacity=1 << 24):
        if policy not in POLICIES:
            raise AlphaError(f"audit policy {policy!r} is unknown: use {', '.join(POLICIES)}")
        if capacity < 1 << 14 or capacity & (capacity - 1) or capacity > 1 << 34:
            raise AlphaError(f"the audit ring's size must be a power of two from 16384 to 2**34 bytes, not {capacity}")
        self.c = <alpha_audit *>aligned_alloc(64, (sizeof(alpha_audit) + 63) // 64 * 64)
        self.sink = <alpha_sink *>calloc(1, sizeof(alpha_sink))
        if self.c == NULL or self.sink == NULL:
            raise MemoryError()
        memset(self.c, 0, sizeof(alpha_audit))
        self.c.policy = POLICIES[policy]
        self.c.capacity = capacity
        self.c.ring = <char *>aligned_alloc(64, capacity)
        if self.c.ring == NULL:
            raise MemoryError(f"no memory for an audit ring of {capacity} bytes")
        memset(self.c.ring, 0, capacity)  # touched now, not by the first events
        self.sink.log = self.c
        self.sink.fd = -1

    def __dealloc__(self):
        if self.running:
            self.join()
        if self.sink != NULL:
            if self.sink.fd >= 0:
                os.close(self.sink.fd)
            free(self.sink.block)
            free(self.sink)
        if self.c != NULL:
            free(self.c.ring)
            free(self.c)

    def open(self, path, prologue, *, uint64_t seq, uint32_t run, bytes chain not None, fail_write_at=-1, fail_sync_at=-1):
        """Make a new file, write ``prologue`` (pairs of type and bytes) as its first block, and start draining.

        ``seq``: of the first frame; ``chain``: sha256 of the block before, 32 bytes. OSError if it cannot be written.
        ``fail_write_at`` (bytes), ``fail_sync_at`` (count): make the disk fail, for tests.
        """
        cdef const uint8_t[::1] view
        cdef int error = 0
        if self.running:
            raise StateError("this audit log is open already")
        if len(chain) != 32:
            raise AlphaError("the chain starts with a sha256 of 32 bytes")
        self.sink.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self.sink.run, self.sink.seq, self.sink.acknowledged, self.sink.synced = run, seq, seq, seq
        memcpy(self.sink.chain, <const char *>chain, 32)
        self.sink.fail_write_at, self.sink.fail_sync_at, self.sink.syncs = fail_write_at, fail_sync_at, 0
        self.sink.file_bytes, self.sink.used, self.sink.frames, self.sink.stop = 0, 0, 0, 0
        self.c.head = self.c.tail = self.c.tail_seen = self.c.dropped = 0
        self.c.lost = self.c.blocked = 0
        self.c.failed = 0
        for kind, payload in prologue:
            view = payload
            if alpha_sink_add(self.sink, kind, 0, &view[0] if len(view) else NULL, <uint32_t>len(view)):
                raise MemoryError()
        if self.sink.frames:
            error = alpha_sink_seal(self.sink)
        if error:
            self.shut()
            raise OSError(error, os.strerror(error), str(path))
        if pthread_create(&self.sink.thread, NULL, alpha_sink_main, <void *>self.sink):
            self.shut()
            raise StateError("the operating system refused a new thread")
        self.running = True

    def append(self, uint16_t kind, const uint8_t[::1] payload not None):
        """Put one record (a multiple of 8 bytes) into the ring; False if the policy lost or refused it.
        Only for whoever owns the pipeline."""
        cdef uint32_t n = <uint32_t>len(payload)
        if n & 7:
            raise AlphaError(f"a record has a multiple of 8 bytes, not {n}")
        if n + 16 > self.c.capacity // 2:
            raise AlphaError(f"a record of {n} bytes is too large for a ring of {self.c.capacity}")
        cdef char *p
        with nogil:
            p = alpha_log_reserve(self.c, kind, n)
        if p == NULL:
            return False
        if n:
            memcpy(p, &payload[0], n)
        alpha_log_commit(self.c, n)
        return True

    def close(self):
        """Write what was put, end the thread, close the file. May be called twice; how it ended: see ``failed``."""
        if self.running:
            self.join()
        self.shut()

    cdef int join(self) except -1:
        self.sink.stop = 1
        with nogil:
            pthread_join(self.sink.thread, NULL)
        self.running = False
        return 0

    cdef int shut(self) except -1:
        if self.sink.fd >= 0:
            os.close(self.sink.fd)
            self.sink.fd = -1
        return 0

    def take(self):
        """What lies in the ring of a log that is not open, as bytes in the form of :func:`records`."""
        cdef uint64_t at, tail = self.c.tail
        cdef uint32_t n
        cdef Py_ssize_t used = 0
        if self.running:
            raise StateError("the drain thread takes the records of an open audit log")
        out = np.empty(self.c.head - tail, dtype=np.uint8)
        cdef uint8_t[::1] view = out
        while tail != self.c.head:
            at = tail & (self.c.capacity - 1)
            memcpy(&n, self.c.ring + at, 4)
            if n == ALPHA_LOG_SKIP:
                tail += self.c.capacity - at
                continue
            memcpy(&view[used], self.c.ring + at, 8 + n)
            put_record(&view[used], <const uint8_t *>self.c.ring + at + 8, n)
            used += 8 + n
            tail += 8 + n
        self.c.tail = self.c.tail_seen = tail
        return out[:used].tobytes()

    @property
    def acknowledged(self):
        """First sequence number whose write has not returned yet."""
        return self.sink.acknowledged

    @property
    def synced(self):
        """First sequence number that no fsync covers yet."""
        return self.sink.synced

    @property
    def seq(self):
        """Sequence number of the next frame; meaningful when closed."""
        return self.sink.seq

    @property
    def chain(self):
        """sha256 of the last block that was written, 32 bytes; meaningful when closed."""
        return <bytes>self.sink.chain[:32]

    @property
    def file_bytes(self):
        """Bytes written to the file."""
        return self.sink.file_bytes

    @property
    def failed(self):
        """errno of the write or fsync that failed, 0 if none did."""
        return self.c.failed

    @property
    def blocked(self):
        """True once a record could not be kept under a policy that blocks signals."""
        return bool(self.c.blocked)

    @property
    def dropped(self):
        """Records lost under count_drops."""
        return self.c.dropped

    @property
    def capacity(self):
        """Size of the ring in bytes."""
        return self.c.capacity

    @property
    def free_bytes(self):
        """Room in the ring, as the producer sees it."""
        return self.c.capacity - (self.c.head - self.c.tail)


cdef void put_record(uint8_t *record, const uint8_t *payload, uint32_t n) noexcept nogil:
    """Bring a copied record into its canonical form: no flags, no latency."""
    cdef uint16_t kind
    memset(record + 6, 0, 2)
    memcpy(&kind, record + 4, 2)
    if kind == ALPHA_FRAME_DECISION:
        memset(record + 8 + 128, 0, 8)


def scan(const uint8_t[::1] data not None, Py_ssize_t start=0, Py_ssize_t limit=1 << 22):
    """Good frames one after the other from byte ``start``: (their headers, FRAME_DTYPE; their offsets, int64; where the
    walk ended). It ends at the first frame that is cut short or whose sum is wrong, or after ``limit`` of them."""
    cdef Py_ssize_t at = start, n = 0, end = len(data)
    cdef uint32_t length, told, crc
    cdef uint8_t head[24]
    cdef Py_ssize_t room = min(limit, (end - start) // 24 + 1)
    headers = np.empty(max(room, 1), dtype=FRAME_DTYPE)
    offsets = np.empty(max(room, 1), dtype=np.int64)
    cdef uint8_t[::1] out = headers.view(np.uint8)
    cdef int64_t[::1] where = offsets
    with nogil:
        while n < limit and end - at >= 24:
            memcpy(head, &data[at], 24)
            memcpy(&length, head, 4)
            memcpy(&told, head + 4, 4)
            if <Py_ssize_t>length > end - at - 24:
                break
            memset(head + 4, 0, 4)
            crc = alpha_crc32c(0, head, 24)
            if length:
                crc = alpha_crc32c(crc, &data[at + 24], length)
            if crc != told:
                break
            memcpy(&out[24 * n], &data[at], 24)
            where[n] = at
            n += 1
            at += 24 + length
    return headers[:n], offsets[:n], at


def records(const uint8_t[::1] data not None, const int64_t[::1] offsets not None, kinds):
    """Frames at ``offsets`` whose type is in ``kinds`` as canonical records (length u32, type u16, 0 u16, payload with
    the latency of decisions zeroed): what a replay compares byte by byte."""
    cdef Py_ssize_t i, used = 0, total = 0
    cdef uint32_t n
    cdef uint16_t kind
    cdef uint8_t wanted[65536]
    memset(wanted, 0, 65536)
    for k in kinds:
        wanted[<uint16_t>int(k)] = 1
    for i in range(len(offsets)):
        memcpy(&n, &data[offsets[i]], 4)
        memcpy(&kind, &data[offsets[i] + 16], 2)
        if wanted[kind]:
            total += 8 + n
    out = np.empty(total, dtype=np.uint8)
    cdef uint8_t[::1] view = out
    for i in range(len(offsets)):
        memcpy(&n, &data[offsets[i]], 4)
        memcpy(&kind, &data[offsets[i] + 16], 2)
        if wanted[kind]:
            memcpy(&view[used], &n, 4)
            memcpy(&view[used + 4], &kind, 2)
            if n:
                memcpy(&view[used + 8], &data[offsets[i] + 24], n)
            put_record(&view[used], &view[used], n)
            used += 8 + n
    return out.tobytes()
