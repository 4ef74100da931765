# Binding of include/alpha_log.h. Floor 1.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t

cdef extern from "alpha_log.h" nogil:
    ctypedef struct alpha_audit:
        char *ring
        uint64_t capacity
        uint32_t policy
        uint64_t head
        uint64_t tail_seen
        uint64_t skip
        uint64_t dropped
        uint32_t lost
        uint32_t blocked
        uint64_t tail
        int32_t failed

cdef extern from "alpha_sink.h" nogil:
    ctypedef struct alpha_sink:
        alpha_audit *log
        int fd
        uint32_t run
        uint64_t seq
        uint8_t chain[32]
        char *block
        size_t used
        uint64_t frames
        uint64_t acknowledged
        uint64_t synced
        uint64_t file_bytes
        int64_t fail_write_at
        int64_t fail_sync_at
        int64_t syncs
        pthread_t thread
        int stop

cdef class Log:
    cdef alpha_audit *c       # what a pipeline's `log` points to
    cdef alpha_sink *sink
    cdef readonly bint running
    cdef int join(self) except -1  # end the drain thread
    cdef int shut(self) except -1  # close the file
