"""LSTM and GRU layers, forward in time: one step with carried state, or a window of rows. Floor 3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpha.models.lowering import Buffer, Live, Lowering, Node, Unsupported
from alpha.models.plan_builder import padded

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


def _recurrent(kind: str) -> Callable[[Lowering, Node], None]:
    gates = 4 if kind == "LSTM" else 3

    def lower(c: Lowering, node: Node) -> None:
        _check(c, node, kind)
        x = c.live(node, 0)
        w, r = c.floats(node, 1), c.floats(node, 2)
        batch_first = c.integer(node, "layout", 0)
        steps, batch, n = (x.shape[1], x.shape[0], x.shape[2]) if batch_first else x.shape
        m = r.shape[-1]
        if batch != 1 or w.shape != (1, gates * m, n) or r.shape != (1, gates * m, m):
            raise Unsupported(f"node {node}: input {x.shape}, weights {w.shape} and {r.shape}: batch 1, one direction")
        bias = c.floats(node, 3) if c.has(node, 3) else np.zeros((1, 2 * gates * m), np.float32)
        both = bias.reshape(2, gates, m)
        form = Live(x.buffer, x.index.reshape(steps, n)).rows(n)
        if form is None or (form[2] and n > 1):
            x = c.builder.gather(x, 0.0)
            form = (0, n, False)
        b = c.builder
        packed = {
            "w": b.pack_gates(np.moveaxis(w.reshape(gates, m, n), 2, 0)),
            "w2": b.pack_gates(np.moveaxis(r.reshape(gates, m, m), 2, 0)),
        }
        if kind == "LSTM":
            packed["w3"] = b.pack_gates(both.sum(axis=0, dtype=np.float32))
        else:
            packed["w3"] = np.concatenate([b.pack_gates(both[0]), b.pack_gates(both[1])])
        ldd = padded(m)
        y = b.buffer(steps * ldd)
        h = _state(c, node, 5, m)
        h_out = b.fresh((m,))
        reads = {"a": (x.buffer, form[0]), "h": h}
        writes = {"d": (y, 0), "h_out": (h_out.buffer, 0)}
        if kind == "LSTM":
            reads["cell"] = _state(c, node, 6, m)
            cell_out = b.fresh((m,))
            writes["cell_out"] = (cell_out.buffer, 0)
            c.set(node, Live(cell_out.buffer, cell_out.index.reshape(1, 1, m)), 2)
        if h[0].pinned and h[0] is not c.input_buffer:  # a carried state: its part can be made between two triggers
            writes["pre"] = (b.buffer(gates * padded(m), pinned=True), 0)
            writes["pre_key"] = (b.buffer(m + 1, pinned=True), 0)
        b.add(kind, reads, writes, packed=packed, n=n, m=m, rows=steps, lda=form[1], ldd=ldd)
        last = (1, 1, m)
        c.set(node, Live(h_out.buffer, h_out.index.reshape(last)), 1)
        index = np.arange(steps)[:, None] * ldd + np.arange(m)
        c.set(node, Live(y, index.reshape((1, steps, 1, m) if batch_first else (steps, 1, 1, m))), 0)

    return lower


def _check(c: Lowering, node: Node, kind: str) -> None:
    if c.word(node, "direction", "forward") != "forward":
        raise Unsupported(f"node {node}: direction {c.word(node, 'direction', 'forward')}")
    if c.has(node, 4):
        raise Unsupported(f"node {node}: sequence lengths are given")
    if kind == "LSTM" and (c.has(node, 7) or c.integer(node, "input_forget", 0)):
        raise Unsupported(f"node {node}: peepholes or coupled gates")
    if kind == "GRU" and not c.integer(node, "linear_before_reset", 0):
        raise Unsupported(f"node {node}: linear_before_reset 0")
    if "clip" in node.attributes or "activation_alpha" in node.attributes or "activation_beta" in node.attributes:
        raise Unsupported(f"node {node}: clip or parameters of activations")
    given = node.attributes.get("activations")
    if given is not None and given != tuple(name.encode() for name in _DEFAULTS[kind]):
        raise Unsupported(f"node {node}: activations other than {', '.join(_DEFAULTS[kind])}")


def _state(c: Lowering, node: Node, i: int, m: int) -> tuple[Buffer, int]:
    """(buffer, place) of an initial state of m values; zeros if it is not given."""
    if not c.has(node, i):
        return c.builder.constant(np.zeros(m)).buffer, 0
    value = c.value(node, i)
    live = c.builder.live(value)
    if live.index.size != m:
        raise Unsupported(f"node {node}: a state of {live.index.size} values for {m} units")
    live = c.builder.contiguous(live)
    start = live.start()
    assert start is not None
    return live.buffer, start


OPERATORS = {("", "LSTM"): _recurrent("LSTM"), ("", "GRU"): _recurrent("GRU")}
