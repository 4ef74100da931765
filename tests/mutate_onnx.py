"""Damaged and hostile versions of ONNX files, the same for the same seed.

``mutant(models, i)`` gives the i-th one: independent of all others, so that a failure is named by its number. Two
kinds: blind ones that change bytes (flips, truncation, splices, lengths), and ones that take the file apart as
protobuf, change one field and put it together again, so that the change reaches past the parser.

Written from the public field numbers, without our own reader: what is tested must not make its tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SEED = 20_260_111
Rng = np.random.Generator

# message -> field that holds a message -> which
_SCHEMA: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "entry"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "value": {2: "type"},
    "type": {1: "tensor_type", 4: "element", 5: "map", 9: "element"},
    "element": {1: "type"},
    "map": {2: "type"},
    "tensor_type": {2: "shape"},
    "shape": {1: "dim"},
    "opset": {},
    "entry": {},
    "tensor": {},
    "dim": {},
}
_INTS = [0, 1, 2, 3, 5, 7, 16, 127, 128, 255, 4096, 65_536, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, 1 << 32]
_INTS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, (1 << 64) - (1 << 31)]
_FLOATS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, 1e30]
_WORDS = [b"", b"x", b"Loop", b"Scan", b"RandomNormal", b"ConstantOfShape", b"Expand", b"Tile", b"Range", b"Identity"]
_WORDS += [b"Relu", b"MatMul", b"Gemm", b"Reshape", b"Concat", b"Gather", b"Pad", b"Cast", b"LSTM", b"Conv", b"NonZero"]
_WORDS += [
    b"Softmax",
    b"TopK",
    b"Where",
    b"Resize",
    b"OneHot",
    b"GatherND",
    b"ScatterND",
    b"Slice",
    b"Split",
    b"Einsum",
]
_WORDS += [
    b"ai.onnx.ml",
    b"com.microsoft",
    b"ai.onnx",
    b"LEAF",
    b"BRANCH_LEQ",
    b"BRANCH_EQ",
    b"BRANCH_MEMBER",
    b"PROBIT",
]
_WORDS += [
    b"TreeEnsembleRegressor",
    b"TreeEnsembleClassifier",
    b"LinearClassifier",
    b"SVMClassifier",
    b"Scaler",
    b"\xff\xfe",
]
_WORDS += [b"a" * 5000, b"x\0y", b"SOFTMAX", b"LOGISTIC", b"RBF", b"POLY"]


def varint(number: int) -> bytes:
    """Protobuf's variable length number, unsigned 64 bit."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def parse(data: bytes, message: str = "model") -> list[list[Any]]:
    """Fields [number, wire type, value] in order; a value is a number, bytes, or a list of fields."""
    fields: list[list[Any]] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            fields.append([number, kind, value])
            continue
        size = 8 if kind == 1 else 4
        if kind == 2:
            size, at = _read_varint(data, at)
        raw = data[at : at + size]
        at += size
        inner = _SCHEMA[message].get(number) if kind == 2 else None
        fields.append([number, kind, parse(raw, inner) if inner else raw])
    return fields


def build(fields: list[list[Any]]) -> bytes:
    """The bytes of :func:`parse`'s fields."""
    out = bytearray()
    for number, kind, value in fields:
        out += varint(number << 3 | kind)
        if kind == 0:
            out += varint(value)
        else:
            raw = build(value) if isinstance(value, list) else value
            out += (varint(len(raw)) if kind == 2 else b"") + raw
    return bytes(out)


def _places(fields: list[list[Any]]) -> list[tuple[list[list[Any]], int]]:
    """Every field as (list that holds it, position)."""
    found: list[tuple[list[list[Any]], int]] = []
    todo = [fields]
    while todo:
        current = todo.pop()
        for i, (_, _, value) in enumerate(current):
            found.append((current, i))
            if isinstance(value, list):
                todo.append(value)
    return found


def _pick(rng: Rng, options: list[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


# -- blind


def flips(rng: Rng, data: bytes, _: bytes) -> bytes:
    out = bytearray(data)
    for at in rng.integers(len(out), size=int(rng.integers(1, 9))):
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def overwrite(rng: Rng, data: bytes, _: bytes) -> bytes:
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 17))
    fill = _pick(rng, [b"\x00", b"\xff", b"\x7f", b"\x80", b"\x0a", b"\x08"]) * size
    return data[:at] + fill[: len(data) - at] + data[at + size :]


def truncate(rng: Rng, data: bytes, _: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))]


def splice(rng: Rng, data: bytes, other: bytes) -> bytes:
    a, b = sorted(int(v) for v in rng.integers(len(data), size=2))
    c, d = sorted(int(v) for v in rng.integers(len(other), size=2))
    return _pick(
        rng,
        [
            data[:a] + data[b:],
            data[:b] + data[a:],
            data[:a] + other[c:d] + data[b:],
            data[:a] + other[c:],
            data + other,
        ],
    )


def garbage(rng: Rng, data: bytes, _: bytes) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def length(rng: Rng, data: bytes, _: bytes) -> bytes:
    """One length says something else than what follows, the bytes around it stay."""
    tree = parse(data)
    places = [(h, i) for h, i in _places(tree) if h[i][1] == 2]
    holder, i = _pick(rng, places)
    number, _, value = holder[i]
    raw = build(value) if isinstance(value, list) else value
    said = _pick(rng, [0, max(len(raw) - 1, 0), len(raw) + 1, 2 * len(raw), 127, 128, 1 << 20, (1 << 31) - 1, 1 << 63])
    # field 0 cannot be written by build(): the pieces are joined as if they were the value of a fixed field
    holder[i] = [number, 5, b""]
    marker = varint(number << 3 | 5)
    whole = build(tree)
    target = varint(number << 3 | 2) + varint(said) + raw
    at = whole.find(marker)
    return whole[:at] + target + whole[at + len(marker) :] if at >= 0 else whole


# -- through the structure


def _change(kind: int, new: Callable[[Rng, Any], Any]) -> Callable[[Rng, bytes, bytes], bytes]:
    def mutate(rng: Rng, data: bytes, other: bytes) -> bytes:
        tree = parse(data)
        places = [(h, i) for h, i in _places(tree) if h[i][1] == kind and not isinstance(h[i][2], list)]
        if not places:
            return flips(rng, data, other)
        holder, i = _pick(rng, places)
        holder[i][2] = new(rng, holder[i][2])
        return build(tree)

    return mutate


def _number(rng: Rng, old: int) -> int:
    near = [max(old - 1, 0), (old + 1) & (1 << 64) - 1]
    return _pick(rng, near) if rng.random() < 0.4 else _pick(rng, _INTS)


def _float(rng: Rng, old: bytes) -> bytes:
    return np.float32(_pick(rng, _FLOATS)).tobytes()


def _bytes(rng: Rng, old: bytes) -> bytes:
    """A name, a word, or the inside of a packed list or raw tensor."""
    if len(old) >= 4 and rng.random() < 0.6:
        at = 4 * int(rng.integers(len(old) // 4))
        new = (
            np.float32(_pick(rng, _FLOATS)).tobytes()
            if rng.random() < 0.5
            else np.uint32(_number(rng, 7) & 0xFFFF_FFFF).tobytes()
        )
        return _pick(rng, [old[:at] + new + old[at + 4 :], old[:at], old + new])
    return _pick(rng, _WORDS)


def fields(rng: Rng, data: bytes, other: bytes) -> bytes:
    """A field is left out, doubled, swapped with one beside it, moved from another model, or gets another number."""
    tree = parse(data)
    holder, i = _pick(rng, _places(tree))
    what = int(rng.integers(6))
    if what == 0:
        del holder[i]
    elif what == 1:
        holder.insert(i, holder[i])
    elif what == 2:
        j = int(rng.integers(len(holder)))
        holder[i], holder[j] = holder[j], holder[i]
    elif what == 3:
        donor, j = _pick(rng, _places(parse(other)))
        holder[i] = donor[j]
    elif what == 4:
        holder[i] = [int(rng.integers(1, 30)), *holder[i][1:]]
    else:
        same = [(h, j) for h, j in _places(tree) if h[j][:2] == holder[i][:2]]
        donor, j = _pick(rng, same)
        holder[i] = [holder[i][0], holder[i][1], donor[j][2]]
    # a field that was put inside itself would have no end
    try:
        return build(tree)
    except RecursionError:
        return data[:-1]


def nest(rng: Rng, data: bytes, _: bytes) -> bytes:
    """A graph inside an attribute inside a node inside a graph, and so on."""
    tree = parse(data)
    graph = next(f for f in tree if f[0] == 7 and isinstance(f[2], list))
    raw = build(graph[2])
    for _i in range(int(_pick(rng, [1, 2, 7, 8, 9, 30, 300]))):
        attribute = b"\x0a\x01g\xa0\x01\x05" + b"\x32" + varint(len(raw)) + raw
        node = b"\x22\x02If\x12\x01o" + b"\x2a" + varint(len(attribute)) + attribute
        raw = b"\x0a" + varint(len(node)) + node
    graph[2] = raw
    return build(tree)


KINDS: dict[str, Callable[[Rng, bytes, bytes], bytes]] = {
    "flips": flips,
    "overwrite": overwrite,
    "truncate": truncate,
    "splice": splice,
    "garbage": garbage,
    "length": length,
    "number": _change(0, _number),
    "float": _change(5, _float),
    "bytes": _change(2, _bytes),
    "fields": fields,
    "nest": nest,
}
# those that reach past the parser are worth more tries
_WEIGHTS = {"number": 6, "bytes": 4, "fields": 4, "float": 2, "length": 2}
_DRAW = [kind for kind in KINDS for _ in range(_WEIGHTS.get(kind, 1))]


def mutant(models: Mapping[str, bytes], index: int, seed: int = SEED) -> tuple[str, bytes]:
    """(``"forest/number+flips"``: the model and what was done to it, the bytes) of mutant ``index``."""
    rng = np.random.default_rng([seed, index])
    names = sorted(models)
    name = _pick(rng, names)
    data, other = models[name], models[_pick(rng, names)]
    done = []
    for _ in range(1 + int(rng.integers(4) == 0)):
        kind = _pick(rng, _DRAW)
        try:
            data = KINDS[kind](rng, data, other)
        except (IndexError, StopIteration, KeyError, ValueError):  # the first change left nothing to take apart
            data = flips(rng, data, other) if data else data
            kind = "flips"
        done.append(kind)
    return f"{name}/{'+'.join(done)}", data
