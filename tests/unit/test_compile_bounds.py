"""Graphs of odd shapes and sizes: served as ONNX Runtime has them or Unsupported with a reason, and cheap to refuse."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import helper
from plans import agrees, f, graph, node, reference

from alpha.models import lowering, plan_builder
from alpha.models.compile import Unsupported, compile_model
from alpha.models.lower_shapes import sliced

SLICE = ("starts", "ends", "axes", "steps")


def slicing(start: int, end: int, step: int, axis: int = 1) -> bytes:
    weights = dict(zip(SLICE, (np.array([v]) for v in (start, end, axis, step)), strict=True))
    return graph([node("Slice", "x,starts,ends,axes,steps")], weights, ("N", 5))


def test_a_slice_takes_what_onnx_runtime_takes() -> None:
    """Every start, end and step from -8 to 8, and far ones, over an axis of five: one session, bounds as inputs."""
    import onnxruntime
    from onnx import TensorProto

    info = helper.make_tensor_value_info
    inputs = [info("x", TensorProto.FLOAT, [5]), *(info(n, TensorProto.INT64, [1]) for n in SLICE)]
    made = helper.make_graph(
        [node("Slice", "x,starts,ends,axes,steps")], "g", inputs, [info("y", TensorProto.FLOAT, None)]
    )
    data = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    x = np.arange(5, dtype=np.float32)
    places = [*range(-8, 9), -100, 100, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63) + 1]
    for_the_end = (2**31 - 1, 2**63 - 1)
    tried = 0
    for start, end, step in product(places, places, [*range(-8, 0), *range(1, 9), -(2**40), 2**40]):
        if step < 0 and end in for_the_end:
            continue
        expected = session.run(
            ["y"], {"x": x, **{n: np.array([v]) for n, v in zip(SLICE, (start, end, 0, step), strict=True)}}
        )[0]
        assert x[sliced(start, end, step, 5)].tolist() == expected.tolist(), (start, end, step)
        tried += 1
    assert tried == 23 * (23 * 18 - 2 * 9)
    assert np.empty(0)[sliced(-3, 7, 1, 0)].size == np.empty(0)[sliced(3, -9, -1, 0)].size == 0


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(-100, -200, -1), (-100, 9, 1), (100, -100, -1), (4, -6, -2), (8, 0, -3), (-1, -6, -1), (-5, 5, 8)],
)
@pytest.mark.parametrize("axis", [1, -1])
def test_slices_beyond_the_ends_are_planned(start: int, end: int, step: int, axis: int) -> None:
    agrees(slicing(start, end, step, axis), (5,), tolerance=0)


def test_slices_of_an_old_operator_set() -> None:
    for start, end in product([-7, -2, 0, 3], [-2, 4, 9, 2**63 - 1]):
        data = graph([node("Slice", "x", starts=[start], ends=[end], axes=[1])], None, ("N", 5), opset=9)
        if np.arange(5)[sliced(start, end, 1, 5)].size:
            agrees(data, (5,), tolerance=0, rows=3)


@pytest.mark.parametrize(
    ("axes", "steps", "words"),
    [
        ([0, 1], [1, -1], "a step backward"),
        ([1, 1], [1, 1], r"axes \[1, 1\]"),
        ([1, -1], [1, 1], r"axes \[1, 1\]"),
        ([2, 1], [1, 1], r"axes \[2, 1\] of 2"),
        ([0, 1], [1, 0], r"steps \[1, 0\]"),
    ],
)
def test_slices_that_onnx_does_not_know_are_not_planned(axes: list[int], steps: list[int], words: str) -> None:
    weights = {
        "starts": np.array([0, 0]),
        "ends": np.array([9, 2**31 - 1]),
        "axes": np.array(axes),
        "steps": np.array(steps),
    }
    with pytest.raises(Unsupported, match=f"Slice.*{words}"):
        compile_model(graph([node("Slice", "x,starts,ends,axes,steps")], weights, ("N", 5)), "y")


# -- results of no values


NONE = np.zeros(0, np.int64)
EMPTY: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "slice": ([node("Slice", "x,s,e,a")], {"s": np.array([4]), "e": np.array([2]), "a": np.array([1])}),
    "backward slice": (
        [node("Slice", "x,s,e,a,t")],
        {"s": np.array([-100]), "e": np.array([9]), "a": np.array([1]), "t": np.array([-1])},
    ),
    "gather": ([node("Gather", "x,none", axis=1)], {"none": NONE}),
    "split": ([node("Split", "x,n", "y,z", axis=1)], {"n": np.array([0, 6])}),
    "expand": ([node("Expand", "x,to")], {"to": np.array([0, 1, 6])}),
    "features": ([node("ArrayFeatureExtractor", "x,none", "y", "ai.onnx.ml")], {"none": NONE}),
    "arithmetic": ([node("Add", "x,none")], {"none": np.zeros((0, 6), np.float32)}),
    "product": ([node("MatMul", "x,none")], {"none": np.zeros((6, 0), np.float32)}),
}


@pytest.mark.parametrize("then", ["", "Relu", "Softmax", "Add"])
@pytest.mark.parametrize("case", EMPTY)
def test_results_of_no_values_are_not_planned(case: str, then: str) -> None:
    nodes, weights = EMPTY[case]
    nodes = [helper.make_node(n.op_type, n.input, n.output, domain=n.domain) for n in nodes]
    for made, given in zip(nodes, EMPTY[case][0], strict=True):
        made.attribute.extend(given.attribute)
    if then:
        nodes[-1].output[0] = "v"
        nodes.append(node(then, "v,v" if then == "Add" else "v"))
    with pytest.raises(Unsupported, match=r"^node .*(is empty|do not fit)"):
        compile_model(graph(nodes, weights), "y")


def test_an_empty_constant_is_none_of_them() -> None:
    """Shapes are worked out with lists of any length."""
    nodes = [
        node("Shape", "x", "of"),
        node("Slice", "of,two,two", "nothing"),
        node("Concat", "of,nothing", "to", axis=0),
        node("Reshape", "x,to"),
    ]
    assert agrees(graph(nodes, {"two": np.array([2])})) == ()


# -- weights of the wrong shape


@pytest.mark.parametrize("which", ["g", "b", "m", "v"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 6), (6, 1)])
@pytest.mark.parametrize("product", [False, True])
def test_a_batch_norm_of_other_channels_is_not_planned(which: str, shape: tuple[int, ...], product: bool) -> None:
    weights = {k: np.ones(6, np.float32) for k in "gbmv"} | {which: np.ones(shape, np.float32), "w": f(6, 6)}
    before = [node("MatMul", "x,w", "s")] if product else [node("Relu", "x", "s")]
    with pytest.raises(Unsupported, match=r"BatchNormalization.*of 6 channels"):
        compile_model(graph([*before, node("BatchNormalization", "s,g,b,m,v")], weights), "y")


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 4), (4, 1)])
@pytest.mark.parametrize("group", [1, 2])
def test_a_convolution_with_a_bias_of_other_channels_is_not_planned(shape: tuple[int, ...], group: int) -> None:
    weights = {"to": np.array([1, 2, 3]), "w": f(4, 2 // group, 2), "b": np.ones(shape, np.float32)}
    nodes = [node("Reshape", "x,to", "r"), node("Conv", "r,w,b", group=group)]
    with pytest.raises(Unsupported, match=r"Conv.*bias .* of 4 channels"):
        compile_model(graph(nodes, weights), "y")


def test_an_output_that_the_plan_does_not_make_is_not_planned() -> None:
    """The mask of a Dropout."""
    with pytest.raises(Unsupported, match="output 'y' is one of a node that the plan does not make"):
        compile_model(graph([node("Dropout", "x", "d,y")]), "y")


def test_what_fails_behind_the_nodes_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise IndexError("index 0 is out of bounds")

    monkeypatch.setattr(plan_builder.Builder, "plan", broken)
    with pytest.raises(Unsupported, match=r"output 'y'.*IndexError: index 0 is out of bounds"):
        compile_model(graph([node("Relu", "x")]), "y")


# -- a compile has one budget


BIG = {"big": np.array([1 << 24])}
FILL = [node("ConstantOfShape", "big", f"k{i}") for i in range(60)]
GREEDY: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "constants": (
        [*FILL, node("Concat", ",".join(f"k{i}" for i in range(60)), "all", axis=0), node("Add", "x,all")],
        BIG,
    ),
    "casts": (
        [
            FILL[0],
            *(node("Cast", f"k{i}", f"k{i + 1}", to=7 if i % 2 else 11) for i in range(60)),
            node("Add", "x,k60"),
        ],
        BIG,
    ),
    "places": (
        [
            *(node("Expand", "x,to", f"e{i}") for i in range(40)),
            *(node("Relu", f"e{i}", f"r{i}") for i in range(40)),
            node("Concat", ",".join(f"r{i}" for i in range(40)), axis=0),
        ],
        {"to": np.array([1 << 19, 6])},
    ),
    "products": ([node("MatMul", "c,r", "o"), node("MatMul", "x,o")], {"c": f(60000, 1), "r": f(1, 60000)}),
    "work": (
        [node("ConstantOfShape", "s", "k"), node("MatMul", "k,k", "o"), node("Add", "x,o")],
        {"s": np.array([2500, 2500])},
    ),
    "weights": (
        [
            node("ConstantOfShape", "s", "k"),
            *(node("MatMul", "x,k", f"p{i}") for i in range(40)),
            node("Sum", ",".join(f"p{i}" for i in range(40))),
        ],
        {"s": np.array([6, 1 << 20])},
    ),
}


@pytest.mark.parametrize("case", GREEDY)
def test_a_small_file_that_asks_for_much_is_refused_before_it_is_made(case: str) -> None:
    """512 MB in all, the index of the plan included; before, the first of them took 3.8 GB."""
    data = graph(*GREEDY[case])
    tracemalloc.start()
    try:
        with pytest.raises(
            Unsupported, match=r"^node .*(it makes [\d,]+ values|product of constants|a plan holds up to)"
        ):
            compile_model(data, "y")
        assert tracemalloc.get_traced_memory()[1] < 512e6
    finally:
        tracemalloc.stop()


def test_a_refusal_needs_no_more_memory_than_it_says() -> None:
    """The whole process, in a child that may not grow by more than 512 MB."""
    child = """
import resource, sys
from alpha.models.compile import Unsupported, compile_model
with open("/proc/self/statm") as f:
    now = int(f.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (512 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    compile_model(sys.stdin.buffer.read(), "y")
except Unsupported as exc:
    print(exc)
"""
    data = graph(*GREEDY["constants"])
    done = subprocess.run([sys.executable, "-c", child], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert b"ConstantOfShape 'k1': it makes 16,777,216 values after 16,777,216" in done.stdout


def test_the_budget_is_one_of_all_nodes_and_views_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "MAX_NUMBERS", 30)
    views = [node("Transpose", f"v{i}" if i else "x", f"v{i + 1}") for i in range(20)]
    agrees(graph([*views, node("Relu", "v20")]))
    steps = [node("Exp", f"v{i}" if i else "x", f"v{i + 1}") for i in range(6)]
    compile_model(graph([*steps[:4], node("Identity", "v4")]), "y")
    with pytest.raises(Unsupported, match="Exp 'v6': it makes 6 values after 30: up to 30 are planned"):
        compile_model(graph([*steps, node("Identity", "v6")]), "y")


def test_weights_that_stand_in_the_file_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx import numpy_helper

    monkeypatch.setattr(lowering, "MAX_NUMBERS", 30)
    nodes = [node("Constant", "", "w", value=numpy_helper.from_array(f(6, 9))), node("MatMul", "x,w")]
    agrees(graph(nodes))


def test_a_chain_of_thousands_of_steps_is_laid_out_in_its_own_two_places() -> None:
    nodes = [node("Relu" if i % 2 else "Neg", f"v{i}" if i else "x", f"v{i + 1}") for i in range(2000)]
    data = graph([*nodes, node("Identity", "v2000")])
    compiled = compile_model(data, "y")
    assert len(compiled.plan.steps_by_name) == 2000 and compiled.plan.arena_bytes < 2000
    x = f(5, 6)
    np.testing.assert_array_equal(compiled.plan.kernel().run(x), reference(data, x))


@pytest.mark.parametrize("flag", [0, 1, 2, -1])
def test_a_flag_is_set_by_one_alone(flag: int) -> None:
    """As ONNX Runtime reads it: a sum over no axes is the value itself, or the sum of all."""
    agrees(graph([node("ReduceSum", "x,", "s", noop_with_empty_axes=flag), node("Mul", "x,s")]), tolerance=3e-6)
    agrees(graph([node("ReduceSum", "x,a", "s", keepdims=flag), node("Relu", "s")], {"a": np.array([1])}))
