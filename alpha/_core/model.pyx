"""Base of the model engines: a C function with its immutable self and its private scratch. Floor 1."""

import numpy as np

from alpha.errors import ModelError


cdef class ModelKernel:
    """A callable model. ``n_in``: features per row; ``n_out``: values per row. One thread at a time."""

    @property
    def n_in(self):
        return self.c.n_in

    @property
    def n_out(self):
        return self.c.n_out

    @property
    def n_carry(self):
        """Floats of recurrent state from one trigger to the next; 0 for most models."""
        return self.c.n_carry

    @property
    def address(self):
        """Where the alpha_model lies, for native callers such as benchmarks; valid while this object lives."""
        return <size_t>&self.c

    def run(self, x):
        """Outputs float32 ``[N, n_out]`` of float32 rows ``x`` ``[N, n_in]``, one call per row as live, each from the
        state of zeros.

        Raises ModelError for a wrong width or when the engine reports a failure.
        """
        rows = np.ascontiguousarray(np.atleast_2d(x), dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.c.n_in:
            raise ModelError(f"the model takes {self.c.n_in} features per row, got shape {np.shape(x)}")
        if self.c.run == NULL:
            raise ModelError("the model is closed")
        out = np.zeros((len(rows), self.c.n_out), dtype=np.float32)
        cdef const float[:, ::1] xs = rows
        cdef float[:, ::1] ys = out
        cdef Py_ssize_t i, n = len(rows)
        cdef int status = 0
        with nogil:
            for i in range(n):
                status = self.c.run(self.c.self, &xs[i, 0], NULL, NULL, self.c.scratch, &ys[i, 0], 1)
                if status:
                    break
        if status:
            raise ModelError(f"the model failed on row {i}: {self.last_error()}")
        return out

    def sequence(self, x, carry=None, *, bint prepared=False):
        """Rows ``x`` ``[N, n_in]`` as consecutive triggers of one instrument; the state starts as ``carry`` (default zeros).

        Returns (outputs float32 ``[N, n_out]``, states float32 ``[N, n_carry]`` after each row). ``prepared``: what
        follows from the state alone is computed before each row, as between two triggers; the bits are the same.
        """
        rows = np.ascontiguousarray(np.atleast_2d(x), dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.c.n_in:
            raise ModelError(f"the model takes {self.c.n_in} features per row, got shape {np.shape(x)}")
        if self.c.run == NULL:
            raise ModelError("the model is closed")
        state = np.zeros(self.c.n_carry + 1, np.float32)  # never empty: it has an address
        if carry is not None:
            if np.shape(carry) != (self.c.n_carry,):
                raise ModelError(f"the model keeps {self.c.n_carry} values of state, got shape {np.shape(carry)}")
            state[:self.c.n_carry] = carry
        out = np.zeros((len(rows), self.c.n_out), dtype=np.float32)
        states = np.zeros((len(rows), self.c.n_carry), dtype=np.float32)
        cdef const float[:, ::1] xs = rows
        cdef float[:, ::1] ys = out
        cdef float[::1] c = state
        cdef Py_ssize_t i, n = len(rows)
        cdef int status = 0
        for i in range(n):
            with nogil:
                if prepared and self.c.prepare != NULL:
                    self.c.prepare(self.c.self, &c[0], self.c.scratch)
                status = self.c.run(self.c.self, &xs[i, 0], &c[0], &c[0], self.c.scratch, &ys[i, 0], 1)
            if status:
                raise ModelError(f"the model failed on row {i}: {self.last_error()}")
            states[i] = state[:self.c.n_carry]
        return out, states

    def last_error(self):
        """Message of the engine's last failure, empty if there was none."""
        return ""
