# Binding of include/alpha_ring.h. Floor 1.
from libc.stdint cimport int64_t, uint64_t
from alpha._core.types cimport alpha_event

cdef extern from "alpha_ring.h" nogil:
    ctypedef struct alpha_ring:
        uint64_t magic
        uint64_t capacity
        uint64_t overrun
        uint64_t dropped
        uint64_t head
        uint64_t tail
    const uint64_t ALPHA_RING_MAGIC
    enum:
        ALPHA_OVERRUN_DROP
        ALPHA_OVERRUN_REFUSE
    uint64_t alpha_ring_bytes(uint64_t capacity)
    int alpha_ring_push(alpha_ring *r, uint64_t mask, const alpha_event *e)
    const alpha_event *alpha_ring_peek(alpha_ring *r, uint64_t mask)
    void alpha_ring_release(alpha_ring *r, uint64_t mask)
    uint64_t alpha_ring_published(const alpha_ring *r)
    uint64_t alpha_ring_released(const alpha_ring *r)
    void alpha_pause()

cdef class Ring:
    cdef alpha_ring *c        # in own or in the caller's memory
    cdef uint64_t mask        # capacity - 1, as it was when this ring was made or attached
    cdef readonly bint taken  # a worker is its consumer
    cdef void *owned          # to free, NULL when the caller gave the memory
    cdef object memory        # keeps the caller's buffer alive
    cdef int _attach(self, Py_ssize_t length, object capacity) except -1
