"""Mutated models into the compiler: a sentence, or a plan that runs. Never a crash, never an exception of another kind."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import mutate_onnx as mutate
import numpy as np
import onnx_models as made
import pytest
from hostile_worker import MEMORY, memory
from onnx import TensorProto, helper, numpy_helper
from plans import f, forest, graph, node, sets

from alpha.errors import ModelError
from alpha.models.compile import Unsupported, compile_model
from alpha.models.graph import Graph, read_graph
from bench import plan_models


def models() -> dict[str, bytes]:
    """Small models of every kind that the compiler knows."""
    return {
        **made.zoo(),
        "mlp": plan_models.mlp(),
        "trees": plan_models.trees(3, 2),
        "lstm step": plan_models.lstm(4, 5),
        "sets": sets(0, 3, 1, 1),
        "gru of both directions": graph(
            [node("Transpose", "x", "t", perm=[1, 0, 2]), node("GRU", "t,w,r,b", "a,y", hidden_size=3, direction="bidirectional")],
            {"w": f(2, 9, 2), "r": f(2, 9, 3), "b": f(2, 18)},
            (1, 4, 2),
        ),
        "groups": graph(
            [node("Conv", "x,w,b", "a", group=2, pads=[1, 0]), node("Relu", "a")],
            {"w": f(4, 1, 2), "b": f(4)},
            (1, 2, 5),
        ),
        "probit": forest("BRANCH_LEQ", trees=2, depth=2, post_transform="PROBIT", positive=True),
    }  # fmt: skip


CPU_S = 2.0


def attempt(data: bytes) -> str:
    """Compile for each output and run what comes out."""
    outcome = "refused"
    try:
        graph: Graph = read_graph(data)
    except ModelError:
        return "unreadable"
    inputs = [i.name for i in graph.inputs]
    names = [o.name for o in graph.outputs]
    carry = [(f"{s}0", f"{s}n0") for s in "hc"] if {"h0", "c0"} <= set(inputs) and {"hn0", "cn0"} <= set(names) else []
    for output in names:
        try:
            compiled = compile_model(graph, output, carry=carry)
        except Unsupported as exc:
            assert str(exc) and "\n" not in str(exc)
            continue
        except ModelError as exc:
            assert str(exc) and "\n" not in str(exc)
            continue
        x = np.zeros((3, compiled.plan.n_in), np.float32)
        x[1], x[2] = 1, np.nan
        compiled.plan.kernel().sequence(x)
        outcome = "planned"
    return outcome


def test_mutants_are_refused_or_planned() -> None:
    known = models()
    assert {name for name, data in known.items() if attempt(data) == "planned"} >= {"mlp", "trees", "lstm step"}
    with np.errstate(all="ignore"):
        seen = Counter(attempt(mutate.mutant(known, i)[1]) for i in range(400))
    assert seen["planned"] > 20 and seen["refused"] > 20


@pytest.mark.slow
def test_many_mutants_within_two_seconds_and_512_mb_each() -> None:
    known = models()
    seen: Counter[str] = Counter()
    longest, largest = 0.0, 0
    for i in range(400, 20_000):
        what, data = mutate.mutant(known, i)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before, start = memory("VmRSS"), time.process_time()
        with np.errstate(all="ignore"):
            seen[attempt(data)] += 1
        cost, peak = time.process_time() - start, memory("VmHWM") - before
        assert cost <= CPU_S and peak <= MEMORY, f"mutant {i}, {what}: {cost:.2f} s, {peak >> 20} MB"
        longest, largest = max(longest, cost), max(largest, peak)
    print(dict(seen), f"at most {longest:.2f} s and {largest >> 20} MB")
    assert seen["planned"] > 2_000 and seen["refused"] > 2_000


def _growing(op: str, times: int) -> bytes:
    """A value that would double at each node."""
    nodes = []
    last = "x"
    for i in range(times):
        if op == "Concat":
            nodes.append(helper.make_node("Concat", [last, last], [f"v{i}"], axis=1))
        elif op == "Expand":
            nodes.append(helper.make_node("Expand", [last, f"s{i}"], [f"v{i}"]))
        else:
            nodes.append(helper.make_node("Pad", [last, "pads"], [f"v{i}"]))
        last = f"v{i}"
    weights = {f"s{i}": np.array([2] * (i + 1) + [1, 4]) for i in range(times)} | {"pads": np.array([0, 0, 0, 1 << 22])}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, [1, 4])],
        [info(last, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )


@pytest.mark.parametrize("op", ["Concat", "Expand", "Pad"])
def test_a_value_that_grows_without_end_is_refused_before_it_is_made(op: str) -> None:
    with pytest.raises(Unsupported, match=r"it makes [\d,]+ values|larger than the plan holds"):
        compile_model(_growing(op, 26), "v25")
