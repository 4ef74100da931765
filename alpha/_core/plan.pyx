"""Fused plans of small models: steps over one arena, checked once, run without a look at Python. Floor 3.

Built by ``alpha.models.compile``. A :class:`Plan` is immutable and shared; each pipeline owns a
:class:`PlanKernel` with its arena. Nothing that a plan holds is trusted: a step that could leave the arena or the
weights is refused when the plan is made.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import cython
import numpy as np

from alpha._core.program import available_isas
from alpha._core.program import isa as chosen_isa
from alpha.errors import AlphaError, ModelError

cdef extern from *:
    """
    #include "alpha_activation.h"
    #include "alpha_plan.h"
    #include "alpha_trees.h"
    static const alpha_plan_kernels *alpha_plan_kernels_of(int level) {
    #ifdef ALPHA_X86
        if (level == 4) return &alpha_plan_kernels_v4;
        if (level == 3) return &alpha_plan_kernels_v3;
    #endif
        return &alpha_plan_kernels_portable;
    }
    #define ALPHA_PLAN_NAME(name) #name,
    static const char *const alpha_plan_names[] = {ALPHA_PLAN_OPS(ALPHA_PLAN_NAME)};
    static void *alpha_plan_function(const alpha_plan_kernels *k, uint32_t op) {
        void *p; memcpy(&p, &k->fn[op], sizeof p); return p;
    }
    static void alpha_plan_set(alpha_plan_step *s, void *p) { memcpy(&s->fn, &p, sizeof p); }
    """
    const alpha_plan_kernels *alpha_plan_kernels_of(int level) nogil
    const char *const alpha_plan_names[]
    const int ALPHA_PLAN_N_OPS
    const int ALPHA_PAD
    const int ALPHA_ACTS
    const int ALPHA_GROUP
    void *alpha_plan_function(const alpha_plan_kernels *, uint32_t)
    void alpha_plan_set(alpha_plan_step *, void *)
    ctypedef struct alpha_forest:
        uint32_t n_trees
    void *aligned_alloc(size_t, size_t) nogil

OPCODES = {(<bytes>alpha_plan_names[i]).decode(): i for i in range(ALPHA_PLAN_N_OPS)}
RECURRENT = ("LSTM", "GRU", "GRU_RESET")
PAD = ALPHA_PAD      # floats: every buffer is padded to a multiple of it
GROUP = ALPHA_GROUP  # trees side by side
NONE = 0xFFFFFFFF    # no such operand
ACTIVATIONS = ("none", "relu", "leaky", "elu", "tanh", "sigmoid", "gelu", "gelu_tanh", "clip", "exp", "erf", "sqrt",
               "log", "abs", "neg", "reciprocal", "softplus", "silu", "probit")

# alpha_plan_step as numpy sees it; `fn` is filled in here
STEP_DTYPE = np.dtype([
    ("fn", np.uint64), ("op", np.uint32), ("act", np.uint32),
    ("a", np.uint32), ("b", np.uint32), ("c", np.uint32), ("d", np.uint32),
    ("n", np.uint32), ("m", np.uint32), ("rows", np.uint32),
    ("lda", np.uint32), ("ldb", np.uint32), ("ldd", np.uint32),
    ("p", np.float32), ("q", np.float32), ("half", np.uint32), ("flags", np.uint32),
    ("w", np.uint64), ("w2", np.uint64), ("w3", np.uint64),
    ("h", np.uint32), ("h_out", np.uint32), ("cell", np.uint32), ("cell_out", np.uint32),
    ("pre", np.uint32), ("pre_key", np.uint32)], align=True)
FOREST_DTYPE = np.dtype(
    [(name, np.uint32) for name in ("n_trees", "n_features", "n_sums", "n_out", "depth", "n_inner", "n_leaves",
                                    "leaf_width", "aggregate", "transform", "pair", "has_base")]
    + [(name, np.uint64) for name in ("nodes", "leaves", "missing", "roots", "sum_of", "base")], align=True)
SPLIT_DTYPE = np.dtype([("threshold", np.float32), ("feature", np.uint32)])
NODE_DTYPE = np.dtype([("threshold", np.float32), ("feature", np.uint32), ("next", np.uint32, 2)])

if STEP_DTYPE.itemsize != sizeof(alpha_plan_step) or FOREST_DTYPE.itemsize != sizeof(alpha_forest) \
        or len(ACTIVATIONS) != ALPHA_ACTS:
    raise ImportError("alpha._core.plan and its C headers disagree: build again")

_LEVELS = {"portable": 0, "v3": 3, "v4": 4}


cdef const alpha_plan_kernels *kernels_for(isa) except NULL:
    if isa not in available_isas():
        raise AlphaError(f"isa {isa!r} is not what this CPU and build can run: {', '.join(available_isas())}")
    return alpha_plan_kernels_of(_LEVELS[isa])


def width(isa=None):
    """Floats in a vector of the kernels: weights are packed for it. ``isa``: portable, v3 or v4; default the chosen one."""
    return kernels_for(isa or chosen_isa()).width


def _reads_and_writes(s, vec):
    """(arena ranges, weight ranges) of one step as lists of (first, count): counts of floats and of bytes."""
    n, m, rows, lda, ldb, ldd = (int(s[k]) for k in ("n", "m", "rows", "lda", "ldb", "ldd"))
    vectors = -(-m // vec)
    wide_n, wide_m, weight = -(-n // vec) * vec, vectors * vec, 2 if s["half"] else 4
    name = _NAMES[int(s["op"])]
    last = rows - 1

    def tall(where, ld, width):
        return int(where), last * ld + width

    if name == "DENSE":
        more = [] if s["b"] == NONE else [tall(s["b"], 0, wide_m)]
        return ([tall(s["a"], lda, n), tall(s["d"], ldd, wide_m), *more],
                [(int(s["w"]), n * wide_m * weight), (int(s["w2"]), wide_m * 4)])
    if name in ("ADD", "SUB", "MUL", "DIV", "MAX", "MIN"):
        return [tall(s["a"], lda, wide_n), tall(s["b"], ldb, 1 if s["q"] else wide_n), tall(s["d"], ldd, wide_n)], []
    if name in ("POW", "ACT", "COPY"):
        return [(int(s["a"]), wide_n), (int(s["d"]), wide_n)], []
    if name in ("SOFTMAX", "LOG_SOFTMAX", "NORMALIZE"):
        return [tall(s["a"], lda, wide_n), tall(s["d"], ldd, wide_n)], []
    if name == "LAYER_NORM":
        return [tall(s["a"], lda, wide_n), tall(s["d"], ldd, wide_n), (int(s["b"]), wide_n), (int(s["c"]), wide_n)], []
    if name.startswith("REDUCE"):
        return [tall(s["a"], lda, wide_n), (int(s["d"]), rows)], []
    if name == "GATHER":
        return [(int(s["d"]), n)], [(int(s["w"]), n * 4)]
    if name == "TREES":
        return [], [(int(s["w"]), FOREST_DTYPE.itemsize)]
    gates = 4 if name == "LSTM" else 3
    states = [(int(s["h"]), wide_m), (int(s["h_out"]), wide_m)]
    if name != "GRU":  # of an LSTM its cells, of a GRU_RESET room for z and r * h
        states += [(int(s["cell"]), wide_m), (int(s["cell_out"]), wide_m)]
    if s["pre"] != NONE:
        states += [(int(s["pre"]), gates * wide_m), (int(s["pre_key"]), m + 1)]
    return ([tall(s["a"], lda, n), tall(s["d"], ldd, wide_m), *states],
            [(int(s["w"]), n * gates * wide_m * weight), (int(s["w2"]), m * gates * wide_m * weight),
             (int(s["w3"]), gates * wide_m * 4 * (2 if name == "GRU" else 1))])


_NAMES = list(OPCODES)


def _check_forest(weights, s, arena, fail):
    """The arrays of a TREES step: inside the weights, and every number in them inside what it points to."""
    f = weights[int(s["w"]):int(s["w"]) + FOREST_DTYPE.itemsize].view(FOREST_DTYPE)[0]

    def array(name, dtype, count):
        start = int(f[name])
        stop = start + count * np.dtype(dtype).itemsize
        if count < 0 or start % 4 or stop > len(weights):
            raise fail(f"{name} of the trees leaves the weights")
        return weights[start:stop].view(dtype)

    trees, depth, sums, leaf_width = int(f["n_trees"]), int(f["depth"]), int(f["n_sums"]), int(f["leaf_width"])
    groups = -(-trees // GROUP)
    if not (trees and sums and depth <= 16 and leaf_width in (1, sums) and f["n_features"] == s["n"]
            and f["n_out"] == s["m"] and int(f["n_out"]) in (sums, 2) and (sums == f["n_out"] or f["pair"])):
        raise fail("the trees are of no shape that is known")
    if int(s["a"]) + int(s["n"]) > arena or int(s["d"]) + max(int(s["m"]), sums) > arena:
        raise fail("the trees leave the arena")
    if f["has_base"] or f["pair"] == 3:
        array("base", np.float32, max(sums, int(f["pair"] == 3)))
    if depth:
        nodes = array("nodes", SPLIT_DTYPE, groups * (GROUP << depth))
        features = nodes["feature"]
        n_leaves = groups * (GROUP << depth)
    else:
        n_inner, n_leaves = int(f["n_inner"]), int(f["n_leaves"])
        nodes = array("nodes", NODE_DTYPE, n_inner + n_leaves)
        features, at = nodes["feature"], np.arange(len(nodes))[:, None]
        roots = array("roots", np.uint32, groups * GROUP)
        follow = nodes["next"].astype(np.int64)
        # children stand behind their parents, leaves lead to themselves: every walk ends
        if (follow >= len(nodes)).any() or (follow[:n_inner] <= at[:n_inner]).any() \
                or (follow[n_inner:] != at[n_inner:]).any() or (roots >= len(nodes)).any():
            raise fail("a tree's branch leads nowhere")
    if (features >= s["n"]).any():
        raise fail("a tree asks for a feature that is not there")
    array("missing", np.uint8, len(nodes))
    array("leaves", np.float32, n_leaves * leaf_width)
    if leaf_width == 1 and (array("sum_of", np.uint32, groups * GROUP) >= sums).any():
        raise fail("a tree adds to a sum that is not there")


@cython.final
cdef class Plan:
    """An immutable list of steps with its weights, for one ISA.

    ``steps``: STEP_DTYPE, in order. ``weights``: uint8. ``constants``: float32, the first values of the arena.
    ``arena``: floats of the arena. ``input``, ``output``: (offset, count) in it. ``carry``: (offset where the state
    comes in, offset where it leaves, count). ModelError if a step could leave arena or weights.
    """

    def __cinit__(self, *, steps, weights, constants, arena, input, output, carry=(0, 0, 0), isa=None):
        cdef const unsigned char[::1] bytes_in
        cdef const unsigned char[::1] step_bytes
        cdef const float[::1] floats_in
        cdef Py_ssize_t i
        self.steps, self.weights, self.constants = NULL, NULL, NULL
        self.kernels = kernels_for(isa or chosen_isa())
        if steps.dtype != STEP_DTYPE or weights.dtype != np.uint8 or constants.dtype != np.float32:
            raise TypeError("steps are STEP_DTYPE, weights uint8, constants float32")
        if not 0 < arena < 1 << 28 or len(constants) > arena or len(weights) > 1 << 32:
            raise ModelError(f"a plan of {arena} floats and {len(weights)} bytes of weights is not made")
        self._check(steps, weights, arena)
        for what, start, count in (("input", input[0], input[1]), ("output", output[0], output[1]),
                                   ("state", carry[0], carry[2]), ("new state", carry[1], carry[2])):
            if start < 0 or count < 0 or start + count > arena:
                raise ModelError(f"the plan's {what} leaves the arena")
        self.records = steps.copy()
        self.prepares = bool(((steps["pre"] != NONE) & np.isin(steps["op"], [OPCODES[o] for o in RECURRENT])).any())
        self.steps = <alpha_plan_step *>malloc(max(len(steps), 1) * sizeof(alpha_plan_step))
        self.weights = <char *>aligned_alloc(64, (len(weights) + 127) // 64 * 64)
        self.constants = <float *>malloc(max(len(constants), 1) * sizeof(float))
        if self.steps == NULL or self.weights == NULL or self.constants == NULL:
            raise MemoryError()
        if len(steps):
            step_bytes = np.ascontiguousarray(steps).view(np.uint8)
            memcpy(self.steps, &step_bytes[0], len(steps) * sizeof(alpha_plan_step))
        for i in range(len(steps)):
            alpha_plan_set(&self.steps[i], alpha_plan_function(self.kernels, self.steps[i].op))
        if len(weights):
            bytes_in = np.ascontiguousarray(weights)
            memcpy(self.weights, &bytes_in[0], len(weights))
        if len(constants):
            floats_in = np.ascontiguousarray(constants)
            memcpy(self.constants, &floats_in[0], len(constants) * sizeof(float))
        self.c.steps, self.c.weights, self.c.constants = self.steps, self.weights, self.constants
        self.c.n_steps, self.c.n_constants, self.c.arena = len(steps), len(constants), arena
        self.c.in_, self.c.n_in = input
        self.c.out, self.c.n_out = output
        self.c.carry_in, self.c.carry_out, self.c.n_carry = carry

    def _check(self, steps, weights, arena):
        vec = self.kernels.width
        for i, s in enumerate(steps):
            def fail(message, i=i, s=s):
                return ModelError(f"step {i} of the plan ({_NAMES[s['op']] if s['op'] < len(_NAMES) else s['op']}): {message}")
            if s["op"] >= len(_NAMES) or s["act"] >= len(ACTIVATIONS):
                raise fail("unknown operation")
            if not s["n"] or not s["rows"]:
                raise fail("nothing to do")
            floats, kept = _reads_and_writes(s, vec)
            for start, count in floats:
                if start + count > arena + PAD:
                    raise fail(f"values {start} to {start + count} leave the arena of {arena}")
            for start, count in kept:
                if start % 4 or start + count > len(weights):
                    raise fail("its weights are not all there")
            if s["op"] == OPCODES["GATHER"]:
                index = weights[int(s["w"]):int(s["w"]) + 4 * int(s["n"])].view(np.int32)
                if int(s["a"]) + int(index.max()) >= arena or (not s["flags"] and index.min() < 0):
                    raise fail("it gathers from outside the arena")
            if s["op"] == OPCODES["TREES"]:
                _check_forest(weights, s, arena, fail)

    @property
    def n_in(self):
        """Values of an input row."""
        return self.c.n_in

    @property
    def n_out(self):
        """Values of an output row."""
        return self.c.n_out

    @property
    def n_carry(self):
        """Floats of recurrent state that go from one trigger to the next."""
        return self.c.n_carry

    @property
    def isa(self):
        """The kernels that run it."""
        return (<bytes>self.kernels.isa).decode()

    @property
    def arena_bytes(self):
        """What each pipeline keeps for it."""
        return (self.c.arena + 2 * PAD) * sizeof(float)

    @property
    def steps_by_name(self):
        """The operations in order, e.g. ``("DENSE", "DENSE", "SOFTMAX")``."""
        return tuple(_NAMES[op] for op in self.records["op"])

    def kernel(self):
        """A private :class:`PlanKernel` for one pipeline."""
        return PlanKernel(self)

    def __dealloc__(self):
        free(self.steps)
        free(self.weights)
        free(self.constants)


@cython.final
cdef class PlanKernel(ModelKernel):
    """One pipeline's arena for a :class:`Plan`."""

    def __cinit__(self, Plan plan not None):
        cdef size_t size = (plan.arena_bytes + 63) // 64 * 64
        self.plan = plan
        self.arena = <float *>aligned_alloc(64, size)
        if self.arena == NULL:
            raise MemoryError()
        memset(self.arena, 0, size)
        memcpy(self.arena, plan.constants, plan.c.n_constants * sizeof(float))
        self.c.run = plan.kernels.run
        self.c.self = &plan.c
        self.c.scratch = self.arena
        self.c.n_in, self.c.n_out, self.c.n_carry = plan.c.n_in, plan.c.n_out, plan.c.n_carry
        self.c.prepare = plan.kernels.prepare if plan.prepares else NULL

    def __dealloc__(self):
        self.c.run = NULL
        free(self.arena)
