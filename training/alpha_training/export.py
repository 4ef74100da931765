"""From a fitted classifier to the bytes of a small, deterministic ONNX file."""

from __future__ import annotations

from typing import Any

from alpha.errors import ModelError, need

OPSET = 18
ML_OPSET = 3
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
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        options={id(model): {"zipmap": False}},
    )
    _keep_only(proto.graph, OUTPUT)
    _declare_opsets(proto)
    proto.ir_version = IR_VERSION
    proto.graph.name = name
    proto.producer_name, proto.producer_version, proto.domain, proto.doc_string = "alpha", "", "", ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _declare_opsets(proto: Any) -> None:
    """Declare exactly :data:`OPSET` and, where used, :data:`ML_OPSET`, in a fixed order.

    skl2onnx takes ``target_opset`` as an upper bound, writes the lowest versions that serve, sometimes one twice, and
    orders them as a set does: the bytes would depend on Python's hash seed and the metadata's opset would be
    untrue. ModelError if an operator means something else in the declared version.
    """
    defs = need("onnx.defs", "train")
    wanted = {"": OPSET, "ai.onnx.ml": ML_OPSET}
    written = {o.domain: o.version for o in proto.opset_import}
    for node in proto.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in wanted:
            raise ModelError(f"the export uses operator {node.op_type} of the domain {domain!r}, which is not served")
        was, now = (
            defs.get_schema(node.op_type, v, domain).since_version
            for v in (written.get(domain, wanted[domain]), wanted[domain])
        )
        if was != now:
            raise ModelError(
                f"the export wrote {node.op_type} of opset {was}, opset {wanted[domain]} has version {now}"
            )
    used = {"" if n.domain == "ai.onnx" else n.domain for n in proto.graph.node} | {""}
    del proto.opset_import[:]
    for domain in sorted(used):
        proto.opset_import.add(domain=domain, version=wanted[domain])


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
