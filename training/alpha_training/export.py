"""From a fitted model to the bytes of a small, deterministic ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError, need

OPSET = 18
ML_OPSET = 3
IR_VERSION = 10  # the onnx package would write one that the runtime does not read
INPUT = "features"
OUTPUT = "probabilities"
VALUE = "value"
# newer versions that only add attributes for double tensors: what an older one wrote means the same
_SAME = {("TreeEnsembleClassifier", 1, 3), ("TreeEnsembleRegressor", 1, 3)}


def to_onnx(model: Any, n_features: int, name: str) -> bytes:
    """ONNX bytes of a scikit-learn compatible model: input ``features`` float32 [N, F]; a classifier has the one output
    ``probabilities`` float32 [N, classes], a regressor ``value`` float32 [N, 1]."""
    skl2onnx, types = need("skl2onnx", "train"), need("skl2onnx.common.data_types", "train")
    classifier = hasattr(model, "predict_proba")
    proto = skl2onnx.convert_sklearn(
        model,
        name=name,
        initial_types=[(INPUT, types.FloatTensorType([None, n_features]))],
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},  # without it: opset 9
        options={id(model): {"zipmap": False}} if classifier else None,  # regressors refuse the option
    )
    if not classifier:
        _rename(proto.graph, proto.graph.output[0].name, VALUE)
    return finish(proto, name, [OUTPUT if classifier else VALUE])


def torch_to_onnx(
    module: Any, arguments: tuple[Any, ...], name: str, inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """ONNX bytes of a torch module at fixed shapes, its weights inside the file and no path of this machine in it."""
    torch = need("torch", "torch")
    need("onnxscript", "torch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            arguments,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,  # else the weights stand in a second file, which no hash of the first covers
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    return finish(program.model_proto, name, list(outputs))


def finish(proto: Any, name: str, outputs: Sequence[str]) -> bytes:
    """Keep only ``outputs``, declare what is used, take out names and paths of the maker; ModelError if it is not sound."""
    onnx = need("onnx", "train")
    _keep_only(proto.graph, outputs)
    _declare_opsets(proto)
    proto.ir_version = IR_VERSION
    proto.graph.name = name
    proto.producer_name, proto.producer_version, proto.domain, proto.doc_string = "alpha", "", "", ""
    proto.graph.doc_string = ""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in proto.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelError(f"the export keeps the tensor {tensor.name} outside the file: a hash would not cover it")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as exc:
        raise ModelError(f"the export is no sound ONNX model: {str(exc).splitlines()[0]}") from None
    return bytes(proto.SerializeToString(deterministic=True))


def append_calibration(
    data: bytes, name: str, weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], floor: float
) -> bytes:
    """The graph with ``softmax(log(max(p, floor)) W + b)`` behind its probabilities; ``weight`` [K, K], ``bias`` [K]."""
    onnx = need("onnx", "train")
    helper, numpy_helper = need("onnx.helper", "train"), need("onnx.numpy_helper", "train")
    proto = onnx.load_from_string(data)
    _rename(proto.graph, OUTPUT, "uncalibrated")
    shape = [d.dim_value if d.HasField("dim_value") else None for d in proto.graph.output[0].type.tensor_type.shape.dim]
    for label, value in (
        ("calibration_floor", np.array(floor, np.float32)),
        ("calibration_weight", weight.astype(np.float32)),
        ("calibration_bias", bias.astype(np.float32)),
    ):
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), label))
    proto.graph.node.extend(
        [
            helper.make_node("Max", ["uncalibrated", "calibration_floor"], ["calibration_clipped"]),
            helper.make_node("Log", ["calibration_clipped"], ["calibration_log"]),
            helper.make_node(
                "Gemm", ["calibration_log", "calibration_weight", "calibration_bias"], ["calibration_logits"]
            ),
            helper.make_node("Softmax", ["calibration_logits"], [OUTPUT], axis=-1),
        ]
    )
    kept = [o for o in proto.graph.output if o.name != "uncalibrated"]
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, shape))
    proto.graph.output.extend(kept)
    return finish(proto, name, [o.name for o in proto.graph.output])


def operators(data: bytes) -> dict[str, int]:
    """How often each operator stands in a graph, by name."""
    counts: dict[str, int] = {}
    for node in need("onnx", "train").load_from_string(data).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for i, n in enumerate(names):
                if n == old:
                    names[i] = new
    for value in graph.output:
        if value.name == old:
            value.name = new


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
        if was != now and (node.op_type, was, now) not in _SAME:
            raise ModelError(
                f"the export wrote {node.op_type} of opset {was}, opset {wanted[domain]} has version {now}"
            )
    used = {"" if n.domain == "ai.onnx" else n.domain for n in proto.graph.node} | {""}
    del proto.opset_import[:]
    for domain in sorted(used):
        proto.opset_import.add(domain=domain, version=wanted[domain])


def _keep_only(graph: Any, outputs: Sequence[str]) -> None:
    """Drop the other outputs and every node that only they needed: live, each node costs about 140 ns."""
    for extra in [o for o in graph.output if o.name not in outputs]:
        graph.output.remove(extra)
    needed = set(outputs)
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for tensor in [t for t in graph.initializer if t.name not in needed]:
        graph.initializer.remove(tensor)
