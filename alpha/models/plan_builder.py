"""Steps, buffers and weights of a plan while it is written, and the arena they end up in. Floor 3.

A value that exists only when the model runs is :class:`Live`: a buffer and, for each place of the value, which
float of the buffer stands there. Reshapes, transposes and slices change the places and cost nothing at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.plan import ACTIVATIONS, NONE, OPCODES, PAD, RECURRENT, STEP_DTYPE, Plan
from alpha.errors import ModelError

Array = npt.NDArray[Any]
MAX_FLOATS = 1 << 22  # of one buffer
MAX_WEIGHTS = 1 << 25  # numbers of all steps' weights: as many float32 as a model's file may hold
# steps whose every result is one IEEE operation, or none, so that any engine has the same bits
_EXACT = frozenset({"GATHER", "COPY", "ADD", "SUB", "MUL", "DIV", "MAX", "MIN"})
_EXACT_ACTS = frozenset({"none", "relu", "clip", "abs", "neg"})
BLOCK = 8  # vectors of outputs that are computed together


class Unsupported(ModelError):  # noqa: N818 - a word of the design, and what it says is no failure
    """The plan does not cover this model: ONNX Runtime serves it. The message names the node and what it asks for."""


def padded(n: int) -> int:
    """``n`` rounded up to whole vectors of the widest ISA."""
    return -(-n // PAD) * PAD


@dataclass(eq=False, slots=True)
class Buffer:
    """A piece of the arena. ``pinned``: alive from the first to the last step; ``values``: of a constant."""

    size: int
    pinned: bool = False
    values: Array | None = None
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Live:
    """A value made when the model runs: ``index`` has its shape and holds places in ``buffer``."""

    buffer: Buffer
    index: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def start(self) -> int | None:
        """Where it begins, if it lies in one piece in its own order."""
        flat = self.index.reshape(-1)
        first = int(flat[0])
        return first if np.array_equal(flat, np.arange(first, first + len(flat))) else None

    def rows(self, n: int) -> tuple[int, int, bool] | None:
        """(start, distance of rows, one value per row) of the value seen as rows of ``n``; None if it is not so."""
        table = self.index.reshape(-1, n)
        first = table[:, 0]
        ld = int(first[1] - first[0]) if len(first) > 1 else n
        if ld < 0 or not np.array_equal(first, first[0] + ld * np.arange(len(first))):
            return None
        if n > 1 and (table == first[:, None]).all():
            return int(first[0]), ld, True
        if (table == first[:, None] + np.arange(n)).all():
            return int(first[0]), ld, False
        return None


Value = Live | Array


@dataclass(eq=False, slots=True)
class Step:
    """One step before the arena is laid out. ``reads``, ``writes``: field -> (buffer, place in it)."""

    op: str
    reads: dict[str, tuple[Buffer, int]]
    writes: dict[str, tuple[Buffer, int]]
    numbers: dict[str, Any]
    packed: dict[str, Array] = field(default_factory=dict)  # field of the step -> weights


class Builder:
    """Collects steps; :meth:`plan` lays out the arena. ``width``: floats of a vector of the ISA the plan is for."""

    def __init__(self, width: int, half: bool = False) -> None:
        self.width = width
        self.half = half
        self.steps: list[Step] = []
        self.buffers: list[Buffer] = []
        self.made_by: dict[int, Step] = {}
        self.rounded: set[int] = set()  # buffers whose last bits are the plan's own
        self.weights = 0

    # -- values

    def exact(self, value: Live) -> bool:
        """Does every engine have the same bits for it: the input, copies of it, single IEEE operations on it?"""
        return id(value.buffer) not in self.rounded

    def buffer(self, size: int, *, pinned: bool = False) -> Buffer:
        """A new piece of the arena of at least ``size`` floats."""
        if size > MAX_FLOATS:
            raise Unsupported(f"a value of {size:,} numbers is larger than the plan holds ({MAX_FLOATS:,})")
        # a row may be written past its end by a vector: the last one's excess must stay in the buffer
        made = Buffer(padded(max(size, 1)) + PAD, pinned)
        self.buffers.append(made)
        return made

    def fresh(self, shape: tuple[int, ...], *, pinned: bool = False) -> Live:
        """A new value that lies in one piece."""
        size = int(np.prod(shape, dtype=np.int64))
        return Live(self.buffer(size, pinned=pinned), np.arange(size, dtype=np.int64).reshape(shape))

    def constant(self, values: Array) -> Live:
        """Numbers that stand in the arena from the start."""
        values = np.asarray(values, np.float32)
        made = self.buffer(values.size)
        made.values = values.reshape(-1)
        return Live(made, np.arange(values.size, dtype=np.int64).reshape(values.shape))

    def live(self, value: Value) -> Live:
        """The value as something that lies in the arena."""
        return value if isinstance(value, Live) else self.constant(value)

    def contiguous(self, value: Live) -> Live:
        """The value in one piece, gathered if it is not."""
        return value if value.start() is not None else self.gather(value, fill=0.0)

    def gather(self, value: Live, fill: float) -> Live:
        """A copy in its own order; places below 0 hold ``fill``."""
        out = self.fresh(value.shape)
        flat = value.index.reshape(-1).astype(np.int32)
        self.add(
            "GATHER",
            {"a": (value.buffer, 0)},
            {"d": (out.buffer, 0)},
            packed={"w": flat},
            n=len(flat),
            p=fill,
            flags=int((flat < 0).any()),
        )
        return out

    # -- steps

    def add(
        self,
        op: str,
        reads: dict[str, tuple[Buffer, int]],
        writes: dict[str, tuple[Buffer, int]],
        *,
        packed: dict[str, Array] | None = None,
        act: str = "none",
        **numbers: Any,
    ) -> Step:
        """Append a step."""
        self.weights += sum(values.size for values in (packed or {}).values())
        if self.weights > MAX_WEIGHTS:
            raise Unsupported(f"weights of {self.weights:,} numbers: a plan holds up to {MAX_WEIGHTS:,}")
        one_operation = op in _EXACT or (op == "ACT" and act in _EXACT_ACTS)
        if not one_operation or any(id(buffer) in self.rounded for buffer, _ in reads.values()):
            self.rounded.update(id(buffer) for buffer, _ in writes.values())
        step = Step(op, reads, writes, {"rows": 1, "act": ACTIVATIONS.index(act), **numbers}, packed or {})
        self.steps.append(step)
        for buffer, _ in writes.values():
            self.made_by[id(buffer)] = step
        return step

    def dense(self, x: Live, weight: Array, bias: Array | None, into: tuple[Buffer, int] | None = None) -> Live:
        """x [..., n] times weight [n, m] plus bias [m]: a value [..., m] whose rows are padded.

        ``into``: (buffer, place) where it goes, if it is a part of something larger.
        """
        n, m = weight.shape
        form = x.rows(n)
        if form is None or (form[2] and n > 1):
            x = self.gather(x, 0.0)
            form = (0, n, False)
        start, lda, _ = form
        rows = x.index.size // n
        ldd = padded(m)
        out, at = into or (self.buffer(rows * ldd), 0)
        row_bias = np.zeros(m, np.float32) if bias is None else np.asarray(bias, np.float32)
        if row_bias.shape != (m,):
            raise Unsupported(f"a bias {row_bias.shape} of {m} outputs")
        self.add(
            "DENSE",
            {"a": (x.buffer, start)},
            {"d": (out, at)},
            packed={"w": weight, "w2": row_bias},
            n=n,
            m=m,
            rows=rows,
            lda=lda,
            ldd=ldd,
        )
        index = at + np.arange(rows)[:, None] * ldd + np.arange(m)
        return Live(out, index.reshape(*x.shape[:-1], m))

    def dense_of(self, value: Live, any_order: bool = False) -> Step | None:
        """The DENSE step whose whole result, without activation, this value is: as [..., outputs], or ``any_order``."""
        step = self.made_by.get(id(value.buffer))
        if step is None or step.op != "DENSE" or step.numbers["act"] or step.writes["d"][1]:
            return None  # the last: one of several products that share the buffer
        rows, m, ldd = step.numbers["rows"], step.numbers["m"], step.numbers["ldd"]
        expected = (np.arange(rows)[:, None] * ldd + np.arange(m)).reshape(-1)
        flat = value.index.reshape(-1)
        if len(flat) != len(expected):
            return None
        if any_order:
            return step if np.array_equal(np.sort(flat), expected) else None
        return step if value.index.shape[-1:] == (m,) and np.array_equal(flat, expected) else None

    # -- the end

    def plan(self, inputs: Live, output: Live, carry_in: Live | None, carry_out: Live | None, isa: str) -> Plan:
        """Lay out the arena and make the plan; ``output`` lies in one piece."""
        total = self._lay_out(output.buffer)
        constants = [b for b in self.buffers if b.values is not None]
        n_constants = sum(b.size for b in constants)
        image = np.zeros(n_constants, np.float32)
        for b in constants:
            assert b.values is not None
            image[b.offset : b.offset + len(b.values)] = b.values
        weights = _Weights()
        records = np.zeros(len(self.steps), STEP_DTYPE)
        for record, step in zip(records, self.steps, strict=True):
            record["op"] = OPCODES[step.op]
            for name in ("b", "c", "h", "h_out", "cell", "cell_out", "pre", "pre_key"):
                record[name] = NONE
            for name, value in step.numbers.items():
                record[name] = value
            for name, (buffer, at) in {**step.reads, **step.writes}.items():
                record[name] = buffer.offset + at
            self._store(step, record, weights)

        def place(value: Live) -> int:
            return value.buffer.offset + int(value.index.reshape(-1)[0])

        carry = (0, 0, 0)
        if carry_in is not None and carry_out is not None:
            carry = (place(carry_in), place(carry_out), carry_in.index.size)
        return Plan(
            steps=records,
            weights=weights.bytes(),
            constants=image,
            arena=total,
            input=(place(inputs), inputs.index.size),
            output=(place(output), output.index.size),
            carry=carry,
            isa=isa,
        )

    def _lay_out(self, output: Buffer) -> int:
        """Give every buffer its place: constants first, then what lives at the same time side by side."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            for b, _ in (*step.reads.values(), *step.writes.values()):
                first.setdefault(id(b), i)
                last[id(b)] = i
        last[id(output)] = len(self.steps)
        at = 0
        for b in self.buffers:
            if b.values is not None:
                b.offset, at = at, at + b.size
        for b in self.buffers:
            if b.pinned and b.values is None:
                b.offset, at = at, at + b.size
        total = at
        alive: list[Buffer] = []
        for b in sorted(self.buffers, key=lambda b: first.get(id(b), -1)):
            if b.offset >= 0 or id(b) not in first:
                continue
            alive = sorted((o for o in alive if last[id(o)] >= first[id(b)]), key=lambda o: o.offset)
            start = at
            for o in alive:
                if o.offset - start >= b.size:
                    break
                start = max(start, o.offset + o.size)
            b.offset = start
            alive.append(b)
            total = max(total, start + b.size)
        return max(total, 1)

    def _store(self, step: Step, record: Any, weights: _Weights) -> None:
        """Pack and keep what a step needs beside the arena."""
        if step.op == "TREES":
            forest = step.packed["forest"].copy()
            for name, values in step.packed.items():
                if name != "forest":
                    forest[name] = weights.add(values)
            record["w"] = weights.add(forest)
            return
        for name, values in step.packed.items():
            if step.op == "DENSE":
                stored = self.pack(values) if name == "w" else self.whole(values)
                if name == "w" and self.half:
                    stored, record["half"] = bfloat16(stored), 1
            elif step.op in RECURRENT:
                half = self.half and name != "w3"
                record["half"] |= int(half)
                stored = bfloat16(values) if half else values
            else:
                stored = values
            record[name] = weights.add(stored)

    def whole(self, values: Array) -> Array:
        """float32, filled with zeros to whole vectors."""
        out = np.zeros(-(-len(values) // self.width) * self.width, np.float32)
        out[: len(values)] = values
        return out

    def pack(self, weight: Array) -> Array:
        """weight [n, m] in the order the kernel reads: blocks of 8 vectors of outputs, the rest in one block."""
        n, m = weight.shape
        v = self.width
        vectors = -(-m // v)
        full = np.zeros((n, vectors * v), np.float32)
        full[:, :m] = weight
        cut = vectors // BLOCK * BLOCK * v
        blocks = [full[:, i : i + BLOCK * v].reshape(-1) for i in range(0, cut, BLOCK * v)]
        return np.concatenate([*blocks, full[:, cut:].reshape(-1)])

    def pack_gates(self, weight: Array) -> Array:
        """weight [n, gates, units] (or bias [gates, units]) in blocks of two vectors of units, gates side by side."""
        flat = weight.ndim == 2
        w = weight[None] if flat else weight
        n, gates, units = w.shape
        v = self.width
        vectors = -(-units // v)
        full = np.zeros((n, gates, vectors * v), np.float32)
        full[:, :, :units] = w
        step = 2 * v
        cut = vectors // 2 * step
        blocks = [full[:, :, i : i + step].reshape(-1) for i in range(0, cut, step)]
        return np.concatenate([*blocks, full[:, :, cut:].reshape(-1)])


class _Weights:
    """Everything a plan's steps keep, each piece at a multiple of 64 bytes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, values: Array) -> int:
        """Where the values begin."""
        at = self.size
        data = np.ascontiguousarray(values).tobytes()
        data += bytes(-len(data) % 64)
        self.parts.append(data)
        self.size += len(data)
        return at

    def bytes(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(b"".join(self.parts), np.uint8)


def bfloat16(values: Array) -> npt.NDArray[np.uint16]:
    """The upper half of float32, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
