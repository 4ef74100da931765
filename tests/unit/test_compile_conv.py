"""Convolutions and pooling over one and two axes, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plans import agrees, f, graph, node

from alpha.models.compile import Unsupported, compile_model


@pytest.mark.parametrize(
    ("op", "attributes", "weights"),
    [
        ("Conv", {"pads": [1, 1]}, {"w": f(4, 3, 3)}),
        ("Conv", {"strides": [2], "dilations": [2]}, {"w": f(9, 3, 2), "b": f(9)}),
        ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2]}, {"w": f(4, 3, 4)}),
        ("Conv", {"auto_pad": "SAME_LOWER"}, {"w": f(4, 3, 2)}),
        ("Conv", {"group": 3}, {"w": f(3, 1, 2), "b": f(3)}),
        ("Conv", {"group": 3, "pads": [2, 1], "dilations": [2]}, {"w": f(12, 1, 3), "b": f(12)}),
        ("Conv", {"group": 3, "strides": [3]}, {"w": f(60, 1, 3)}),
        ("MaxPool", {"kernel_shape": [3], "pads": [1, 1], "strides": [2]}, {}),
        ("AveragePool", {"kernel_shape": [2], "strides": [2]}, {}),
        ("GlobalAveragePool", {}, {}),
        ("GlobalMaxPool", {}, {}),
    ],
)
def test_convolutions(op: str, attributes: dict[str, Any], weights: dict[str, Any]) -> None:
    names = ",".join(["x", *weights])
    agrees(graph([node(op, names, "c", **attributes), node("Relu", "c")], weights, (1, 3, 9)), (3, 9), 3e-6)


def test_convolution_of_two_axes() -> None:
    nodes = [
        node("Reshape", "x,to", "a"),
        node("Conv", "a,w", "b", pads=[1, 0, 1, 0], strides=[1, 2]),
        node("Tanh", "b"),
    ]
    agrees(graph(nodes, {"to": np.array([1, 2, 5, 6]), "w": f(3, 2, 3, 2)}, ("N", 60)), (60,), 3e-6)


@pytest.mark.parametrize("group", [2, 4])
def test_groups_of_several_channels_and_what_follows_them(group: int) -> None:
    weights = {"w": f(8, 8 // group, 3), "b": f(8), "g": f(8), "h": f(8), "m": f(8), "v": f(8) ** 2 + np.float32(0.1)}
    nodes = [
        node("Conv", "x,w,b", "a", group=group, pads=[1, 1]),
        node("BatchNormalization", "a,g,h,m,v", "n"),
        node("Relu", "n", "r"),
        node("Conv", "r,w", "c", group=group, strides=[2]),
        node("Slice", "c,zero,cut,one", "s"),  # the first group alone: not the whole of any product
        node("Tanh", "s"),
    ]
    more = {"zero": np.array([0]), "cut": np.array([8 // group]), "one": np.array([1])}
    agrees(graph(nodes, weights | more, (1, 8, 11)), (8, 11), 2e-5)


def test_batch_norm_becomes_part_of_the_convolution_before_it() -> None:
    weights = {"w": f(5, 3, 3), "b": f(5), "g": f(5), "h": f(5), "m": f(5), "v": f(5) ** 2 + np.float32(0.1)}
    nodes = [node("Conv", "x,w,b", "a", pads=[2, 0]), node("BatchNormalization", "a,g,h,m,v", "n"), node("Relu", "n")]
    assert agrees(graph(nodes, weights, (1, 3, 9)), (3, 9), 1e-5)[:2] == ("GATHER", "DENSE")


def test_groups_without_end_are_not_planned() -> None:
    data = graph([node("Conv", "x,w", group=300)], {"w": f(300, 1, 3)}, (1, 300, 9))
    with pytest.raises(Unsupported, match="300 groups, up to 256"):
        compile_model(data, "y")
