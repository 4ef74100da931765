"""Owner of 64-byte-aligned float32 memory with the buffer protocol. Floor 1.

``np.asarray(Tensor(1, 20))`` is a view without a copy; the memory lives as long as any view of it.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_F_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES
from libc.stdlib cimport free
from libc.string cimport memset

import cython

from alpha.errors import AlphaError

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef char *FLOAT32 = b"f"


@cython.final
cdef class Tensor:
    """``Tensor(rows, columns)``: float32, C order, zeroed, starting on a cache line."""

    def __cinit__(self, Py_ssize_t rows, Py_ssize_t columns):
        self.data = NULL
        if rows < 1 or columns < 1 or rows > (1 << 40) // columns:
            raise AlphaError(f"a tensor needs at least one row and column and under 2**40 values, not {rows} x {columns}")
        cdef size_t size = <size_t>(rows * columns) * sizeof(float)
        size = (size + 63) // 64 * 64
        self.data = <float *>aligned_alloc(64, size)
        if self.data == NULL:
            raise MemoryError(f"no {size} bytes for a tensor")
        memset(self.data, 0, size)
        self.shape[0] = rows
        self.shape[1] = columns
        self.strides[0] = columns * sizeof(float)
        self.strides[1] = sizeof(float)

    def __dealloc__(self):
        free(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef bint fortran = (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS
        if fortran and not (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS and self.shape[0] > 1 and self.shape[1] > 1:
            raise BufferError("a tensor lies in C order, Fortran order was asked for")
        view.buf = self.data
        view.obj = self
        view.len = self.shape[0] * self.shape[1] * sizeof(float)
        view.readonly = 0
        view.itemsize = sizeof(float)
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = FLOAT32
        view.ndim = 2
        view.shape = self.shape if (flags & PyBUF_ND) == PyBUF_ND else NULL
        view.strides = self.strides if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
        view.suboffsets = NULL
        view.internal = NULL

    @property
    def address(self):
        """Where the first value lies; a multiple of 64."""
        return <size_t>self.data
