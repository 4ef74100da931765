"""From a fitted classifier to the bytes of a small, deterministic ONNX file."""

from __future__ import annotations

from typing import Any

from alpha.errors import need

OPSET = 18
IR_VERSION = 10
OUTPUT = "probabilities"


def to_onnx(model: Any, n_features: int, name: str) -> bytes:
    """ONNX bytes: input ``features`` float32 [N, F], output ``probabilities`` float32 [N, classes] only."""
    skl2onnx, types = need("skl2onnx", "train"), need("skl2onnx.common.data_types", "train")
    onnx = need("onnx", "train")
    proto = skl2onnx.convert_sklearn(
        model,
        name=name,
        initial_types=[("features", types.FloatTensorType([None, n_features]))],
        target_opset={"": OPSET, "ai.onnx.ml": 3},
        options={id(model): {"zipmap": False}},
    )
    _keep_only(proto.graph, OUTPUT)
    proto.ir_version = IR_VERSION
    proto.graph.name = name
    proto.producer_name, proto.producer_version, proto.domain, proto.doc_string = "alpha", "", "", ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _keep_only(graph: Any, output: str) -> None:
    """Drop the other outputs and every node that only they needed: live, each node costs about 140 ns."""
    for extra in [o for o in graph.output if o.name != output]:
        graph.output.remove(extra)
    needed = {output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for tensor in [t for t in graph.initializer if t.name not in needed]:
        graph.initializer.remove(tensor)
