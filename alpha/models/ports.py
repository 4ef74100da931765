"""Inputs and outputs of a strange model: what each is good for, and whether they can be served. Floor 3.

Served is one float32 input of features, one row [1, F] or a window of consecutive rows [1, T, F], beside inputs that
are recurrent states, each with the output that holds its next value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alpha.errors import ModelError
from alpha.features.feature_set import FeatureSet
from alpha.models.declared import Declared, Known
from alpha.models.graph import Graph, ValueInfo, every_node
from alpha.models.metadata import ACTIONS, Carry

KINDS = ("logits", "probabilities", "value")


def ports(graph: Graph, chosen: str | None = None, carry: Sequence[tuple[str, str]] = ()) -> list[dict[str, Any]]:
    """Inputs and outputs for a table: side, name, type, shape, and what each is good for."""
    rows = []
    states = {name for pair in carry for name in pair}
    for side, infos in (("input", graph.inputs), ("output", graph.outputs)):
        for info in infos:
            use = "features" if side == "input" else _use(info)
            if side == "output" and info.name == chosen:
                use = "the scores"
            if info.name in states:
                use = "state" if side == "input" else "the next state"
            shape = None if info.shape is None else [d if d is not None else "?" for d in info.shape]
            rows.append({"side": side, "name": info.name, "type": info.text, "shape": shape, "use": use})
    return rows


def misfit(graph: Graph, fs: FeatureSet, carry: Sequence[tuple[str, str]] = ()) -> str:
    """Why the inputs of a file do not take these features, in a sentence; empty if they do."""
    try:
        takes(graph, fs, Declared(carry=tuple(carry) or None), None)
    except ModelError as exc:
        return str(exc)
    return ""


def _use(info: ValueInfo) -> str:
    if info.kind in ("sequence", "map"):
        return "a ZipMap: cannot be served"
    if info.dtype is None or info.dtype.kind != "f":
        return "labels" if info.kind == "tensor" else "cannot be served"
    return "scores?" if info.dtype == np.float32 else "not float32: cannot be served"


def takes(graph: Graph, fs: FeatureSet, said: Declared, known: Known | None) -> tuple[list[int], list[Carry]]:
    """(shape of the features [1, F] or [1, T, F], states) of a file; ModelError says what of it cannot be served."""
    n = len(fs.names)
    theirs = [(c.input, c.output) for c in known.meta.carry] if known and known.output else None
    if said.carry is not None and theirs is not None and list(said.carry) != theirs:
        raise ModelError(f"--carry {_spelt(said.carry)} differs from the metadata's: {_spelt(theirs) or 'no state'}")
    pairs = list(said.carry) if said.carry is not None else theirs or []
    carry = [_state(graph, *pair) for pair in pairs]
    for side, place in (("input", 0), ("output", 1)):
        names = [pair[place] for pair in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ModelError(f"{side} {twice!r} is declared as two states")
    rest = [info for info in graph.inputs if info.name not in {c.input for c in carry}]
    if len(rest) != 1:
        names_text = ", ".join(info.name for info in rest[:8]) or "none"
        raise ModelError(
            f"the model has {len(rest)} inputs ({names_text}) for features: one float32 input [1, {n}] or [1, T, {n}] "
            "is served; an input that is a recurrent state is declared with the output that holds its next value: "
            "--carry h0=hn,c0=cn; without states export the model with a single input for all features"
        )
    info = rest[0]
    if info.dtype != np.float32:
        raise ModelError(f"input {info.name!r} is {info.text}: export the model with a float32 input")
    if info.shape is None or len(info.shape) not in (2, 3):
        shape = "of unknown shape" if info.shape is None else f"of shape {list(info.shape)}"
        raise ModelError(f"input {info.name!r} is {shape}: [1, {n}] or [N, {n}], or windows [1, T, {n}], are served")
    batch, *window, width = info.shape
    if isinstance(batch, int) and batch != 1:
        raise ModelError(
            f"input {info.name!r} takes {batch} rows at once: export it for one row or with a free first dimension"
            if not window
            else f"input {info.name!r} takes {batch} windows at once: the first dimension is the batch, of one or free"
        )
    if not isinstance(width, int):
        free = f"[None, {n}]" if not window else f"[None, {window[0] if isinstance(window[0], int) else 'T'}, {n}]"
        raise ModelError(f"input {info.name!r} does not say how many features it takes: declare its shape as {free}")
    if width != n:
        raise ModelError(
            f"the model takes {width} features, feature set {fs.name!r} makes {n}: {', '.join(fs.names[:6])}"
            f"{', …' if n > 6 else ''}"
        )
    if window and not isinstance(window[0], int):
        raise ModelError(
            f"input {info.name!r} does not say how many rows its window has: export it with a fixed length, [1, T, {n}]"
        )
    made = [1, *(d for d in window if isinstance(d, int)), n]
    if known and known.output and known.meta.input != made:
        raise ModelError(
            f"the metadata says that the model takes {known.meta.input}, but input {info.name!r} is {made}"
        )
    return made, carry


def _state(graph: Graph, name: str, out: str) -> Carry:
    """A declared recurrent state; a dimension that is not fixed is a batch of one."""
    source = next((i for i in graph.inputs if i.name == name), None)
    target = next((o for o in graph.outputs if o.name == out), None)
    for side, info, wanted, all_of in (("input", source, name, graph.inputs), ("output", target, out, graph.outputs)):
        if info is None:
            raise ModelError(
                f"state {name}={out}: the model has no {side} {wanted!r}; it has {', '.join(i.name for i in all_of)}"
            )
        if info.dtype != np.float32:
            raise ModelError(f"state {name}={out}: {side} {wanted!r} is {info.text}, float32 is served")
    assert source is not None
    if not source.shape or not isinstance(source.shape[-1], int):
        raise ModelError(f"state {name}={out}: input {name!r} must have a fixed number of units as its last dimension")
    return Carry(name, out, tuple(d if isinstance(d, int) and d > 0 else 1 for d in source.shape))


def _spelt(pairs: Sequence[tuple[str, str]]) -> str:
    return ",".join(f"{a}={b}" for a, b in pairs)


def gives(graph: Graph, said: Declared, known: Known | None, carry: Sequence[Carry] = ()) -> tuple[str, str]:
    """Name and kind of the output to read."""
    default = known.output if known else None
    name = said.output or (default.name if default else None)
    states = {c.output for c in carry}
    usable = [o for o in graph.outputs if o.dtype == np.float32 and o.name not in states]
    listing = ", ".join(f"{o.name} {o.text}" for o in graph.outputs)
    if name is None:
        if len(usable) == 1:
            name = usable[0].name
        elif len(usable) > 1:
            raise ModelError(
                f"the model has {len(usable)} outputs that could hold scores: choose one with --output "
                f"{' or --output '.join(o.name for o in usable)}"
            )
        elif any(o.kind in ("sequence", "map") for o in graph.outputs):
            raise ModelError(_zipmap(next(o for o in graph.outputs if o.kind in ("sequence", "map"))))
        else:
            raise ModelError(f"the model has no float32 output that could hold scores; it has: {listing}")
    info = next((o for o in graph.outputs if o.name == name), None)
    if info is None:
        raise ModelError(f"the model has no output {name!r}; it has: {listing}")
    if name in states:
        raise ModelError(f"output {name!r} is declared as a state: choose another one for the scores")
    if info.kind in ("sequence", "map"):
        raise ModelError(_zipmap(info))
    if info.dtype != np.float32:
        what = "labels, not scores" if info.dtype is None or info.dtype.kind in "iuO" else "no float32 numbers"
        raise ModelError(f"output {name!r} is {info.text}: it holds {what}")
    if info.shape is not None and len(info.shape) not in (1, 2):
        raise ModelError(
            f"output {name!r} has shape {list(info.shape)}: the scores of one decision, [1, K], are served"
        )
    if said.kind and default and said.kind != default.kind:
        raise ModelError(
            f"--kind {said.kind} was given, but the metadata says that {default.name!r} holds {default.kind}"
        )
    kind = said.kind or (default.kind if default else None)
    if kind is None:
        raise ModelError(
            f"say what output {name!r} holds: --kind logits (a softmax is still to come), --kind probabilities, "
            "or --kind value (one number whose sign decides)"
        )
    if kind not in KINDS:
        raise ModelError(f"kind {kind!r} is unknown: use {', '.join(KINDS)}")
    return name, kind


def _zipmap(info: ValueInfo) -> str:
    return (
        f"output {info.name!r} is {info.text}, a ZipMap, which no numeric engine serves: "
        "export with options={'zipmap': False}"
    )


def check_labels(graph: Graph, actions: Sequence[str]) -> None:
    """The class labels in the file, where they are actions or their codes, must come in the order of the actions."""
    lists: list[list[Any]] = []
    for node in every_node(graph):
        for key, value in node.attributes.items():
            if key.startswith("classlabels") and isinstance(value, (tuple, np.ndarray)):
                lists.append(value.tolist() if isinstance(value, np.ndarray) else list(value))
    lists += [
        v.ravel().tolist() for v in graph.initializers.values() if v.size == len(actions) and v.dtype.kind in "iO"
    ]
    codes = {code: name for name, code in ACTIONS.items()}
    for found in lists:
        names = [v.decode("utf-8", "replace") if isinstance(v, bytes) else codes.get(v, v) for v in found]
        told = any(isinstance(v, bytes) for v in found) or -1 in found  # 0, 1, 2 only number the classes
        if told and sorted(map(str, names)) == sorted(actions) and names != list(actions):
            raise ModelError(
                f"the model lists its classes as {', '.join(names)}, but the actions are {', '.join(actions)}: "
                f"give them in the model's order: --actions {','.join(names)}"
            )
