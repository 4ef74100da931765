# A Signal and how the native side makes one. Floor 1.
from alpha._core.types cimport alpha_signal

cdef class Signal:
    cdef alpha_signal c

cdef inline Signal make_signal(const alpha_signal *s):
    cdef Signal out = Signal.__new__(Signal)
    out.c = s[0]
    return out
