"""The larger path: 64 features of five levels (the catalogue's ``book``), an MLP 64-32-1 and a threshold, against one call
of the model alone through ONNX Runtime's IOBinding from Python.

A decision falls at every quote. Two figures: from the quote to the action, which is what a trader waits for, and all
inline calls since the quote before, depth updates and trades included. The first is the second less a runtime that gets
the updates only. Data: AMZN where ``ALPHA_DATA`` points at it, else simulated.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import alpha
from alpha.data.simulate import simulate
from alpha.events import Kind
from alpha.features import catalog
from bench.peers.arms import Actions, Arm, Figure, python_loops, side_by_side
from bench.peers.models import Missing, ort_binding

ITEMS = 256  # decisions of a block
THRESHOLD = 0.05
CLIP = (-5.0, 5.0)
_AMZN = "lobster/AMZN_20120621_L5.parquet"
Call = tuple[int, tuple[Any, ...]]  # which inline call, and its arguments
Group = list[Call]
QUOTE, DEPTH, TRADE = 0, 1, 2


@cache
def groups(n: int) -> list[Group]:
    """The first ``n`` quotes, each with what came since the quote before."""
    file = Path(os.environ.get("ALPHA_DATA", "../shared/data")) / _AMZN
    events = (
        alpha.open_events(file, levels=5).read_all() if file.is_file() else simulate(n * 8, seed=11, levels=5).events
    )
    out: list[Group] = []
    group: Group = []
    for t, kind, level, flags, v in zip(
        events["ts_event_ns"].tolist(), events["kind"].tolist(), events["level"].tolist(), events["flags"].tolist(),
        events["v"].tolist(), strict=True,
    ):  # fmt: skip
        if kind == Kind.QUOTE:
            group.append((QUOTE, (t, *v[:4], t, 0.0, flags)))
            out.append(group)
            group = []
            if len(out) == n:
                return out
        elif kind == Kind.DEPTH:
            group.append((DEPTH, (t, level, *v[:4], t, flags)))
        elif kind == Kind.TRADE:
            group.append((TRADE, (t, *v[:3], t, 0.0, flags)))
    raise AssertionError(f"{len(out)} quotes for {n}")


def stepper(rt: alpha.Runtime) -> Callable[[Group], Any]:
    """The events of a group, inline; the signal of its quote."""
    handle = rt.instrument("X")
    calls = (handle.on_quote, handle.on_depth, handle.on_trade)

    def step(group: Group) -> Any:
        signal = None
        for which, args in group:
            signal = calls[which](*args)
        return signal

    return step


def updates(rt: alpha.Runtime) -> Callable[[Group], None]:
    """The events of a group without its quote: no row is made."""
    handle = rt.instrument("X")
    calls = (handle.on_quote, handle.on_depth, handle.on_trade)

    def step(group: Group) -> None:
        for which, args in group:
            if which != QUOTE:
                calls[which](*args)

    return step


@cache
def model_bytes() -> bytes:
    """64-32-1 with ReLU, seeded."""
    from bench.plan_models import _model, _normal, helper

    w = {"w0": _normal(50, 64, 32, scale=0.125), "b0": _normal(51, 32, scale=0.1)}
    w |= {"w1": _normal(52, 32, 1, scale=0.18), "b1": np.zeros(1, np.float32)}
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["y"]),
    ]
    return _model(nodes, {"x": [1, 64]}, {"y": [1, 1]}, w)


def feature_rows(n: int) -> npt.NDArray[np.float32]:
    """Raw features at each quote, NaN while they warm up."""
    fs = catalog.get("book")
    rt = alpha.Runtime.from_features(fs, instruments=alpha.Instruments.of("X"))
    step, out = stepper(rt), np.full((n, len(fs.names)), np.nan, np.float32)
    for i, group in enumerate(groups(n)):
        if step(group).reason != alpha.Reason.NOT_WARM:
            rt.feature_vector("X", out[i])
    return out


@cache
def normalisation(n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of the first ``n`` quotes; a feature that never moves is left as it is."""
    rows = feature_rows(n).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    std[std < 1e-9] = 1.0
    return mean, std


def artifact(folder: Path, n: int) -> Path:
    """What ``Runtime.from_artifact`` serves."""
    fs, data, (mean, std) = catalog.get("book"), model_bytes(), normalisation(n)
    (folder / "model.onnx").write_bytes(data)
    np.save(folder / "probes.npy", np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32))
    (folder / "metadata.json").write_text(
        json.dumps(
            {
                "schema_version": 1, "model_id": "book", "version": 1,
                "feature_set": {"name": fs.name, **fs.definition()}, "definition_hash": fs.definition_hash,
                "feature_names": list(fs.names), "mean": mean.tolist(), "std": std.tolist(), "clip": list(CLIP),
                "input": [1, 64], "outputs": [{"name": "y", "kind": "value"}], "output_schema": ["up"],
                "actions": ["BUY"], "decision": {"rule": "sign", "threshold": THRESHOLD, "cooldown_ns": 0},
                "sha256": {"model.onnx": hashlib.sha256(data).hexdigest()},
            }
        )
    )  # fmt: skip
    return folder


def decide(y: float) -> int:
    """-1, 0, 1 of a value."""
    return 0 if abs(y) < np.float32(THRESHOLD) else (1 if y > 0 else -1)


def _in_c_and_bound(warm: int) -> Callable[[Group], int]:
    rt = alpha.Runtime.from_features(catalog.get("book"), instruments=alpha.Instruments.of("X"))
    step, raw, z = stepper(rt), np.zeros(64, np.float32), np.zeros(64)
    call, (mean, std) = ort_binding(model_bytes(), "y", 64, 1), normalisation(warm)
    row, cold = np.zeros((1, 64), np.float32), alpha.Reason.NOT_WARM

    def whole(group: Group) -> int:
        if step(group).reason == cold:
            return 0
        rt.feature_vector("X", raw)
        np.subtract(raw, mean, out=z)
        np.divide(z, std, out=z)
        np.maximum(z, CLIP[0], out=z)
        np.minimum(z, CLIP[1], out=row[0], casting="same_kind")
        return decide(call(row)[0, 0])

    return whole


def _arm(name: str, step: Callable[[Any], Any], inputs: list[Any], warm: int, idle: str, read: Any = None) -> Arm:
    for x in inputs[:warm]:
        step(x)
    at = [warm]

    def part(_: int) -> list[Any]:
        at[0] += ITEMS
        return inputs[at[0] - ITEMS : at[0]]

    turn, clocked, got = python_loops(step, part)
    return Arm(name, turn, clocked, lambda: [read(a) if read else a for a in got], idle, "Python", ITEMS)


def measure(n_blocks: int, warm: int) -> tuple[list[Figure], Missing]:
    """Ours and the same through ONNX Runtime against the model alone, every decision compared."""
    n = warm + ITEMS * (n_blocks + 2 + n_blocks // 2 + 2)
    events, (mean, std) = groups(n), normalisation(warm)
    rows = np.clip((feature_rows(n).astype(np.float64) - mean) / std, *CLIP).astype(np.float32)[:, None]
    if not np.isfinite(rows[warm:]).all():
        raise AssertionError("features are not warm: nothing is compared")
    alone, memory = ort_binding(model_bytes(), "y", 64, 1), np.zeros((1, 64), np.float32)

    def copied(row: Any) -> int:
        memory[0] = row[0]
        return decide(memory[0, 0])

    with tempfile.TemporaryDirectory(prefix="alpha-book-") as folder:
        made = artifact(Path(folder), warm)
        rts = [alpha.Runtime.from_artifact(made, instruments=["X"], engine=e) for e in ("plan", "plan", "ort", "plan")]
    action = lambda signal: signal.action  # noqa: E731
    arms = [
        _arm("ours, from the quote", stepper(rts[0]), events, warm, "the updates before it", action),
        _arm("ours, with the updates before it", stepper(rts[1]), events, warm, "nothing", action),
        _arm("ours through ONNX Runtime's C API, with updates", stepper(rts[2]), events, warm, "nothing", action),
        _arm("features in C + IOBinding, with updates", _in_c_and_bound(warm), events, warm, "nothing"),
        _arm("IOBinding, the model alone", lambda row: decide(alone(row)[0, 0]), list(rows), warm, "a copy of the row"),
        _arm("the updates before it", updates(rts[3]), events, warm, ""),
        _arm("nothing", lambda group: 0, events, warm, ""),
        _arm("a copy of the row", copied, list(rows), warm, ""),
    ]
    for idle in arms[-3:]:
        idle.outputs = None
    actions = Actions()
    figures = side_by_side(arms, n_blocks, actions, 1e-3)
    actions.demand_different()
    return figures, {}
