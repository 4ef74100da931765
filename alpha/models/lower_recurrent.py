"""LSTM and GRU layers in either direction or both: one step with carried state, or a window of rows. Floor 3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpha.models.lowering import Array, Buffer, Live, Lowering, Node, Unsupported
from alpha.models.plan_builder import Builder, padded

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}
_BACKWARD = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _recurrent(kind: str) -> Callable[[Lowering, Node], None]:
    gates = 4 if kind == "LSTM" else 3

    def lower(c: Lowering, node: Node) -> None:
        x, b = c.live(node, 0), c.builder
        w, r = c.floats(node, 1), c.floats(node, 2)
        batch_first = c.integer(node, "layout", 0)
        steps, batch, n = (x.shape[1], x.shape[0], x.shape[2]) if batch_first else x.shape
        backward = _check(c, node, kind, steps)
        ways, m = len(backward), r.shape[-1]
        if batch != 1 or w.shape != (ways, gates * m, n) or r.shape != (ways, gates * m, m):
            raise Unsupported(f"node {node}: input {x.shape}, weights {w.shape} and {r.shape}: batch 1 is planned")
        bias = c.floats(node, 3) if c.has(node, 3) else np.zeros((ways, 2 * gates * m), np.float32)
        op = "GRU_RESET" if kind == "GRU" and not c.integer(node, "linear_before_reset", 0) else kind
        h = _state(c, node, 5, ways * m)
        cell = _state(c, node, 6, ways * m) if kind == "LSTM" else None
        ldd = padded(m)
        y = b.buffer(ways * steps * ldd)
        h_out, cell_out = b.buffer(ways * ldd), b.buffer(ways * ldd)
        index = np.empty((steps, ways, m), np.int64)
        for way, back in enumerate(backward):
            rows = x.index.reshape(steps, n)
            a, lda = _rows(b, Live(x.buffer, rows[::-1] if back else rows), n)
            first = way * steps * ldd
            reads = {"a": a, "h": (h[0], h[1] + way * m)}
            writes = {"d": (y, first), "h_out": (h_out, way * ldd)}
            if cell is not None:
                reads["cell"] = (cell[0], cell[1] + way * m)
                writes["cell_out"] = (cell_out, way * ldd)
            elif op == "GRU_RESET":
                writes |= {"cell": (b.buffer(ldd), 0), "cell_out": (b.buffer(ldd), 0)}
            if h[0].pinned and h[0] is not c.input_buffer:  # a carried state: its part can be made between two triggers
                writes["pre"] = (b.buffer(gates * ldd, pinned=True), 0)
                writes["pre_key"] = (b.buffer(m + 1, pinned=True), 0)
            packed = packed_weights(
                b, op, w[way].reshape(gates, m, n), r[way].reshape(gates, m, m), bias[way].reshape(2, gates, m)
            )
            b.add(op, reads, writes, packed=packed, n=n, m=m, rows=steps, lda=lda, ldd=ldd)
            at = first + np.arange(steps)[:, None] * ldd + np.arange(m)
            index[:, way] = at[::-1] if back else at
        c.set(node, Live(y, index[None] if batch_first else index[:, :, None]), 0)
        last = (np.arange(ways)[:, None] * ldd + np.arange(m)).reshape((1, ways, m) if batch_first else (ways, 1, m))
        c.set(node, Live(h_out, last), 1)
        if cell is not None:
            c.set(node, Live(cell_out, last), 2)

    return lower


def _rows(b: Builder, x: Live, n: int) -> tuple[tuple[Buffer, int], int]:
    """((buffer, place), distance of rows) of an input [T, n], gathered if its rows do not lie in order."""
    form = x.rows(n)
    if form is None or (form[2] and n > 1):
        return (b.gather(x, 0.0).buffer, 0), n
    return (x.buffer, form[0]), form[1]


def packed_weights(b: Builder, op: str, w: Array, r: Array, bias: Array) -> dict[str, Array]:
    """Weights [gates, m, n] and [gates, m, m], bias [2, gates, m] as the step of this kind reads them."""
    w, r = np.moveaxis(w, 2, 0), np.moveaxis(r, 2, 0)
    both = bias.sum(axis=0, dtype=np.float32)
    if op == "LSTM":
        return {"w": b.pack_gates(w), "w2": b.pack_gates(r), "w3": b.pack_gates(both)}
    if op == "GRU":
        return {
            "w": b.pack_gates(w),
            "w2": b.pack_gates(r),
            "w3": np.concatenate([b.pack_gates(bias[0]), b.pack_gates(bias[1])]),
        }
    return {
        "w": np.concatenate([b.pack_gates(w[:, :2]), b.pack(w[:, 2])]),
        "w2": np.concatenate([b.pack_gates(r[:, :2]), b.pack(r[:, 2])]),
        "w3": np.concatenate([b.pack_gates(both[:2]), b.whole(both[2])]),
    }


def _check(c: Lowering, node: Node, kind: str, steps: int) -> tuple[bool, ...]:
    """For each direction: does it run backward? Unsupported for a form that is not planned."""
    direction = c.word(node, "direction", "forward")
    if direction not in _BACKWARD:
        raise Unsupported(f"node {node}: direction {direction}")
    backward = _BACKWARD[direction]
    if c.has(node, 4) and c.ints(node, 4) != [steps]:
        raise Unsupported(f"node {node}: it reads {c.ints(node, 4)} of {steps} rows")
    if kind == "LSTM" and (c.has(node, 7) or c.integer(node, "input_forget", 0)):
        raise Unsupported(f"node {node}: peepholes or coupled gates")
    if "clip" in node.attributes or "activation_alpha" in node.attributes or "activation_beta" in node.attributes:
        raise Unsupported(f"node {node}: clip or parameters of activations")
    given = node.attributes.get("activations")
    if given is not None and given != tuple(name.encode() for name in _DEFAULTS[kind]) * len(backward):
        raise Unsupported(f"node {node}: activations other than {', '.join(_DEFAULTS[kind])}")
    return backward


def _state(c: Lowering, node: Node, i: int, m: int) -> tuple[Buffer, int]:
    """(buffer, place) of an initial state of m values; zeros if it is not given."""
    if not c.has(node, i):
        return c.builder.constant(np.zeros(m)).buffer, 0
    live = c.builder.live(c.value(node, i))
    if live.index.size != m:
        raise Unsupported(f"node {node}: a state of {live.index.size} values for {m} units")
    live = c.builder.contiguous(live)
    start = live.start()
    assert start is not None
    return live.buffer, start


OPERATORS = {("", "LSTM"): _recurrent("LSTM"), ("", "GRU"): _recurrent("GRU")}
