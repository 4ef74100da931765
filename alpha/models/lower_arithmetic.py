"""Arithmetic, activations, softmax and sums over axes. Floor 3.

What follows a matrix product and is read by nobody else goes into the product's own step: a constant added becomes
its bias, a factor per column its weights, an activation its last act.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpha._core.plan import ACTIVATIONS
from alpha.models.lowering import Array, Live, Lowering, Node, Unsupported
from alpha.models.plan_builder import padded

_FOLD: dict[str, Callable[[Array, Array], Array]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b if a.dtype.kind == "f" else np.trunc(a / b).astype(a.dtype),
    "Max": np.maximum,
    "Min": np.minimum,
}
_ROUNDS = ("Add", "Sub", "Mul", "Div")
_STEP = {"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Max": "MAX", "Min": "MIN"}


def _binary(c: Lowering, node: Node) -> None:
    if len(node.inputs) != 2:
        raise Unsupported(f"node {node}: it has {len(node.inputs)} operands")
    a, b = c.value(node, 0), c.value(node, 1)
    shape = np.broadcast_shapes(a.shape, b.shape)
    c.bounded(node, np.prod(shape, dtype=np.float64))
    if not isinstance(a, Live) and not isinstance(b, Live):
        with np.errstate(all="ignore"):
            c.set(node, np.asarray(_FOLD[node.op](a, b)))
        return
    for i, v in enumerate((a, b)):
        if not isinstance(v, Live) and v.dtype != np.float32:
            raise Unsupported(f"node {node}: operand {i} is {v.dtype}, float32 is planned")
    for i, (value, other) in enumerate(((a, b), (b, a))):
        if isinstance(value, Live) and not isinstance(other, Live) and value.shape == shape:
            if _neutral(node.op, i, other):
                c.set(node, value)
                return
            if c.sole(node.inputs[i]) and _into_dense(c, node.op, i, value, other):
                c.set(node, value)
                return
    live_a, live_b = c.builder.live(a), c.builder.live(b)
    if node.op == "Add" and a.shape == b.shape and (fused := _sum_into_dense(c, node, live_a, live_b)):
        c.set(node, fused)
        return
    if node.op == "Mul":
        for i, gate, value in ((0, live_a, live_b), (1, live_b, live_a)):
            if c.sole(node.inputs[i]) and _silu(c, gate, value):
                c.set(node, gate)
                return
    result = elementwise(c, _STEP[node.op], live_a, live_b)
    if node.op in _ROUNDS and any(_merged(c, node.op, v) for v in (live_a, live_b)):
        c.builder.rounded.add(id(result.buffer))
    c.set(node, result)


def _merged(c: Lowering, op: str, value: Live) -> bool:
    """May an engine make one operation, or another two, of this one and the one that gave the value? Of a difference
    that is scaled it makes nothing else."""
    maker = c.builder.made_by.get(id(value.buffer))
    if maker is None or maker.op not in ("ADD", "SUB", "MUL", "DIV"):
        return False
    return not (maker.op == "SUB" and op in ("Mul", "Div"))


def _silu(c: Lowering, gate: Live, value: Live) -> bool:
    """Is ``gate`` the sigmoid of ``value``? Then its step gives their product, x / (1 + e^-x), instead."""
    step = c.builder.made_by.get(id(gate.buffer))
    if step is None or step.op != "ACT" or step.numbers["act"] != ACTIVATIONS.index("sigmoid"):
        return False
    source, first = step.reads["a"]
    if source is not value.buffer or not np.array_equal(gate.index + first, value.index):
        return False
    step.numbers["act"] = ACTIVATIONS.index("silu")
    return True


def _neutral(op: str, i: int, other: Array) -> bool:
    """Does the operation leave the live operand ``i`` as it is?"""
    if op in ("Mul", "Div"):
        return bool((other == 1).all()) and (op == "Mul" or i == 0)
    return op == "Sub" and i == 0 and bool((other == 0).all())


def _into_dense(c: Lowering, op: str, i: int, value: Live, other: Array) -> bool:
    """Make a constant operand part of the product that gave ``value``, if that is what it is."""
    step = c.builder.dense_of(value)
    if step is None or "b" in step.reads or op not in ("Add", "Sub", "Mul", "Div") or (op == "Div" and i == 1):
        return False
    m = step.numbers["m"]
    if any(d != 1 for d in other.shape[:-1]) or other.shape[-1:] not in ((), (1,), (m,)):
        return False
    column = np.broadcast_to(other.reshape(-1), (m,)).astype(np.float32)
    weight, bias = step.packed["w"], step.packed["w2"]
    with np.errstate(all="ignore"):
        if op == "Add":
            bias = bias + column
        elif op == "Sub":
            bias = bias - column if i == 0 else column - bias
            weight = weight if i == 0 else -weight
        else:
            factor = column if op == "Mul" else np.float32(1) / column
            weight, bias = weight * factor, bias * factor
    step.packed["w"], step.packed["w2"] = weight, bias
    return True


def _sum_into_dense(c: Lowering, node: Node, a: Live, b: Live) -> Live | None:
    """W x + b + more in one step: the later of two products takes the other value along."""
    steps = c.builder.steps
    candidates = []
    for name, value, other in ((node.inputs[0], a, b), (node.inputs[1], b, a)):
        step = c.builder.dense_of(value)
        if step is not None and "b" not in step.reads and step.numbers["rows"] == 1 and c.sole(name):
            maker = c.builder.made_by.get(id(other.buffer))
            start = other.start()
            # whole vectors are read: they must lie inside the other buffer
            inside = start is not None and start + padded(step.numbers["m"]) <= other.buffer.size
            if start is not None and inside and (maker is None or steps.index(maker) < steps.index(step)):
                candidates.append((steps.index(step), step, value, other, start))
    if not candidates:
        return None
    _, step, value, other, start = max(candidates, key=lambda t: t[0])
    step.reads["b"] = (other.buffer, start)
    return value


def elementwise(c: Lowering, op: str, a: Live, b: Live) -> Live:
    """One operation on two live values, broadcast; the result lies in one piece."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    a = Live(a.buffer, np.broadcast_to(a.index, shape))
    b = Live(b.buffer, np.broadcast_to(b.index, shape))
    n = shape[-1] if shape else 1
    rows = int(np.prod(shape, dtype=np.int64)) // max(n, 1)
    start_a, start_b = a.start(), b.start()
    if start_a is not None and start_b is not None:  # both in one piece: one long row
        form_a, form_b, n, rows = (start_a, 0, False), (start_b, 0, False), rows * n, 1
    else:
        found_a, found_b = a.rows(n), b.rows(n)
        if found_a is not None and found_a[2] and op in ("ADD", "MUL"):  # one value per row: second operand
            a, b, found_a, found_b = b, a, found_b, found_a
        if found_a is None or found_a[2]:
            a = c.builder.gather(a, 0.0)
            found_a = (0, n, False)
        if found_b is None:
            b = c.builder.gather(b, 0.0)
            found_b = (0, n, False)
        form_a, form_b = found_a, found_b
    out = c.builder.fresh(shape)
    c.builder.add(
        op,
        {"a": (a.buffer, form_a[0]), "b": (b.buffer, form_b[0])},
        {"d": (out.buffer, 0)},
        n=n,
        rows=rows,
        lda=form_a[1],
        ldb=form_b[1],
        ldd=n,
        q=float(form_b[2]),
    )
    return out


def activate(c: Lowering, node: Node, act: str, p: float = 0.0, q: float = 0.0) -> None:
    """The node's result is an activation of its first operand."""
    value = c.live(node, 0)
    step = c.builder.dense_of(value, any_order=True)
    if step is not None and c.sole(node.inputs[0]):
        step.numbers |= {"act": ACTIVATIONS.index(act), "p": p, "q": q}
        c.set(node, value)
        return
    # in whatever order the values lie: the piece they cover is taken as a whole if little else is in it
    first, last = int(value.index.min()), int(value.index.max()) + 1
    if last - first > 2 * value.index.size:
        value = c.builder.contiguous(value)
        first, last = 0, value.index.size
    out = c.builder.buffer(last - first)
    c.builder.add("ACT", {"a": (value.buffer, first)}, {"d": (out, 0)}, n=last - first, act=act, p=p, q=q)
    c.set(node, Live(out, value.index - first))


def _simple(act: str) -> Callable[[Lowering, Node], None]:
    def lower(c: Lowering, node: Node) -> None:
        value = c.value(node, 0)
        if not isinstance(value, Live):
            fold = {"sqrt": np.sqrt, "neg": np.negative, "abs": np.abs, "exp": np.exp, "log": np.log}.get(act)
            if fold is None:
                raise Unsupported(f"node {node}: of a constant")
            with np.errstate(all="ignore"):
                c.set(node, np.asarray(fold(value)).astype(value.dtype))
            return
        activate(c, node, act)

    return lower


def _leaky(c: Lowering, node: Node) -> None:
    activate(c, node, "leaky", c.number(node, "alpha", 0.01))


def _prelu(c: Lowering, node: Node) -> None:
    slope = c.floats(node, 1).reshape(-1)
    if len(set(slope.tolist())) != 1:
        raise Unsupported(f"node {node}: a slope per channel")
    activate(c, node, "leaky", float(slope[0]))


def _elu(c: Lowering, node: Node) -> None:
    activate(c, node, "elu", c.number(node, "alpha", 1.0))


def _gelu(c: Lowering, node: Node) -> None:
    activate(c, node, "gelu_tanh" if c.word(node, "approximate", "none") == "tanh" else "gelu")


def _clip(c: Lowering, node: Node) -> None:
    limit = float(np.finfo(np.float32).max)
    if c.opset() < 11:
        low, high = c.number(node, "min", -limit), c.number(node, "max", limit)
    else:
        low = float(c.floats(node, 1).reshape(-1)[0]) if c.has(node, 1) else -limit
        high = float(c.floats(node, 2).reshape(-1)[0]) if c.has(node, 2) else limit
    activate(c, node, "clip", low, high)


def _pow(c: Lowering, node: Node) -> None:
    exponent = np.unique(c.constant(node, 1).astype(np.float64))
    if len(exponent) != 1:
        raise Unsupported(f"node {node}: several exponents")
    if exponent[0] == 0.5:
        activate(c, node, "sqrt")
        return
    value = c.builder.contiguous(c.live(node, 0))
    start = value.start()
    assert start is not None
    out = c.builder.fresh(value.shape)
    c.builder.add("POW", {"a": (value.buffer, start)}, {"d": (out.buffer, 0)}, n=value.index.size, p=float(exponent[0]))
    c.set(node, out)


def over_rows(c: Lowering, op: str, value: Live, flags: int = 0) -> Live:
    """A step that works on each last axis of a value by itself; the result has the same shape."""
    n = value.shape[-1]
    form = value.rows(n)
    if form is None or form[2]:
        value = c.builder.gather(value, 0.0)
        form = (0, n, False)
    out = c.builder.fresh(value.shape)
    rows = value.index.size // n
    c.builder.add(
        op, {"a": (value.buffer, form[0])}, {"d": (out.buffer, 0)}, n=n, rows=rows, lda=form[1], ldd=n, flags=flags
    )
    return out


def _softmax(op: str) -> Callable[[Lowering, Node], None]:
    def lower(c: Lowering, node: Node) -> None:
        value = c.live(node, 0)
        if c.opset() < 13:
            axis = c.integer(node, "axis", 1)
            axis += len(value.shape) if axis < 0 else 0
            flat = Live(value.buffer, value.index.reshape(int(np.prod(value.shape[:axis])), -1))
            result = over_rows(c, op, flat)
            c.set(node, Live(result.buffer, result.index.reshape(value.shape)))
            return
        axis = c.integer(node, "axis", -1)
        result = over_rows(c, op, Live(value.buffer, np.moveaxis(value.index, axis, -1)))
        c.set(node, Live(result.buffer, np.moveaxis(result.index, -1, axis)))

    return lower


def reduce_axes(c: Lowering, kind: str, value: Live, axes: list[int], keep: bool) -> Live:
    """``kind`` (SUM, MEAN, MAX, MIN, L1, L2) over the axes."""
    rank = len(value.shape)
    axes = sorted({a + rank if a < 0 else a for a in axes})
    if not axes or axes[0] < 0 or axes[-1] >= rank:
        raise ValueError(f"axes {axes} of {rank}")
    rest = [i for i in range(rank) if i not in axes]
    n = int(np.prod([value.shape[i] for i in axes]))
    table = Live(value.buffer, np.transpose(value.index, rest + axes).reshape(-1, n))
    form = table.rows(n)
    if form is None or form[2]:
        table = c.builder.gather(table, 0.0)
        form = (0, n, False)
    out = c.builder.fresh((table.shape[0],))
    c.builder.add(
        f"REDUCE_{kind}", {"a": (table.buffer, form[0])}, {"d": (out.buffer, 0)}, n=n, rows=table.shape[0], lda=form[1]
    )
    shape = [1 if i in axes else d for i, d in enumerate(value.shape)] if keep else [value.shape[i] for i in rest]
    return Live(out.buffer, out.index.reshape(shape))


def _reduce(kind: str) -> Callable[[Lowering, Node], None]:
    def lower(c: Lowering, node: Node) -> None:
        value = c.live(node, 0)
        axes = c.integers(node, "axes")
        if axes is None and c.has(node, 1):
            axes = c.ints(node, 1)
        if not axes:
            if c.integer(node, "noop_with_empty_axes", 0) == 1:  # ONNX Runtime asks for 1, not for any number
                c.set(node, value)
                return
            axes = list(range(len(value.shape)))
        c.set(node, reduce_axes(c, kind, value, axes, c.integer(node, "keepdims", 1) == 1))

    return lower


OPERATORS: dict[tuple[str, str], Callable[[Lowering, Node], None]] = {
    **{("", op): _binary for op in _STEP},
    ("", "Relu"): _simple("relu"),
    ("", "Tanh"): _simple("tanh"),
    ("", "Sigmoid"): _simple("sigmoid"),
    ("", "Exp"): _simple("exp"),
    ("", "Log"): _simple("log"),
    ("", "Sqrt"): _simple("sqrt"),
    ("", "Abs"): _simple("abs"),
    ("", "Neg"): _simple("neg"),
    ("", "Erf"): _simple("erf"),
    ("", "Reciprocal"): _simple("reciprocal"),
    ("", "Softplus"): _simple("softplus"),
    ("", "LeakyRelu"): _leaky,
    ("", "PRelu"): _prelu,
    ("", "Elu"): _elu,
    ("", "Gelu"): _gelu,
    ("", "Clip"): _clip,
    ("", "Pow"): _pow,
    ("", "Softmax"): _softmax("SOFTMAX"),
    ("", "LogSoftmax"): _softmax("LOG_SOFTMAX"),
    ("", "ReduceSum"): _reduce("SUM"),
    ("", "ReduceMean"): _reduce("MEAN"),
    ("", "ReduceMax"): _reduce("MAX"),
    ("", "ReduceMin"): _reduce("MIN"),
    ("", "ReduceL1"): _reduce("L1"),
    ("", "ReduceL2"): _reduce("L2"),
}
