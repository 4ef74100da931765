# Aligned float32 owner. Floor 1.
cdef class Tensor:
    cdef float *data
    cdef Py_ssize_t shape[2]
    cdef Py_ssize_t strides[2]
