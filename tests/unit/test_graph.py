"""The reader of ONNX files: the same as onnx reads, and a named refusal for everything that must not be served."""

from __future__ import annotations

import struct
from typing import Any

import mutate_onnx as raw
import numpy as np
import onnx
import onnx_models as made
import pytest
from mutate_onnx import field
from onnx import TensorProto, helper, numpy_helper

from alpha.models.graph import Graph, every_node, read_graph

HEAD = b"\x08\x0a" + field(8, b"\x10\x12")  # ir_version 10, opset 18


def info(name: str) -> bytes:
    """A ValueInfoProto: float, shape unknown."""
    return field(1, name.encode()) + field(2, field(1, b"\x08\x01"))


def same_attribute(ours: Any, theirs: Any) -> None:
    value = helper.get_attribute_value(theirs)
    if isinstance(value, onnx.GraphProto):
        same_graph(ours, value)
    elif isinstance(value, TensorProto):
        same_tensor(ours, value)
    elif isinstance(value, list) and isinstance(ours, np.ndarray):  # of a tree ensemble
        assert ours.dtype in (np.int64, np.float32) and ours.tolist() == value
    elif isinstance(value, list):
        assert isinstance(ours, tuple) and list(ours) == value
        assert [type(v) for v in ours] == [type(v) for v in value]
    else:
        assert type(ours) is type(value) and ours == value


def same_tensor(ours: Any, theirs: Any) -> None:
    if theirs.data_type == TensorProto.STRING:
        assert list(ours.shape) == list(theirs.dims)
        assert ours.ravel().tolist() == list(theirs.string_data)
        return
    value = numpy_helper.to_array(theirs)
    if theirs.data_type == TensorProto.BFLOAT16:
        value = value.astype(np.float32)
    assert ours.dtype == value.dtype and ours.shape == value.shape
    assert ours.tobytes() == value.tobytes()


def same_info(ours: Any, theirs: Any) -> None:
    assert ours.name == theirs.name
    if not theirs.type.HasField("tensor_type"):
        return
    tensor = theirs.type.tensor_type
    assert ours.kind == "tensor" and ours.dtype == helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if not tensor.HasField("shape"):
        assert ours.shape is None
        return
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]
    assert list(ours.shape) == dims


def same_graph(ours: Graph, theirs: Any) -> None:
    assert ours.name == theirs.name
    assert len(ours.nodes) == len(theirs.node)
    for a, b in zip(ours.nodes, theirs.node, strict=True):
        assert (a.op, a.domain, a.name) == (b.op_type, b.domain, b.name)
        assert (list(a.inputs), list(a.outputs)) == (list(b.input), list(b.output))
        assert sorted(a.attributes) == sorted(x.name for x in b.attribute)
        for attribute in b.attribute:
            same_attribute(a.attributes[attribute.name], attribute)
    assert sorted(ours.initializers) == sorted(t.name for t in theirs.initializer)
    for tensor in theirs.initializer:
        same_tensor(ours.initializers[tensor.name], tensor)
    given = {t.name for t in theirs.initializer}
    for mine, other in (
        (ours.inputs, [i for i in theirs.input if i.name not in given]),
        (ours.outputs, list(theirs.output)),
    ):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            same_info(a, b)


def same_model(data: bytes) -> Graph:
    ours, theirs = read_graph(data), onnx.load_from_string(data)
    same_graph(ours, theirs.graph)
    assert ours.opset == {o.domain: o.version for o in theirs.opset_import}
    assert (ours.ir_version, ours.producer) == (theirs.ir_version, theirs.producer_name)
    assert ours.metadata == {e.key: e.value for e in theirs.metadata_props}
    return ours


@pytest.mark.parametrize(
    "name", ["softmax", "lstm", "convolution", "shapes", "gru", "branches", "encodings", "trees_v5"]
)
def test_made_models_are_read_as_onnx_reads_them(name: str) -> None:
    same_model(made.checked(made.zoo()[name]))


def test_real_exports_are_read_as_onnx_reads_them() -> None:
    for data in made.zoo().values():
        same_model(data)


def test_the_outputs_of_a_zipmap_are_named_by_their_type() -> None:
    from sklearn.linear_model import LogisticRegression

    graph = same_model(made.exported(LogisticRegression(), zipmap=True))
    assert [o.kind for o in graph.outputs] == ["tensor", "sequence"]
    assert graph.outputs[1].text == "sequence(map(int64, tensor(float)))"
    assert graph.outputs[1].dtype is None and graph.outputs[1].shape is None


KINDS = {
    "FLOAT": [0.0, -1.5, 3.4e38, 1e-45],
    "DOUBLE": [0.0, -1.5, 1e300, 5e-324],
    "FLOAT16": [0.0, -1.5, 65504.0, 6e-8],
    "BFLOAT16": [0.0, -1.5, 3e38, 1e-38],
    "INT8": [-128, 127, 0, 5],
    "UINT8": [0, 255, 1, 5],
    "INT16": [-32768, 32767, 0, 5],
    "UINT16": [0, 65535, 1, 5],
    "INT32": [-(2**31), 2**31 - 1, 0, -1],
    "INT64": [-(2**63), 2**63 - 1, 0, -1],
    "UINT32": [0, 2**32 - 1, 1, 5],
    "UINT64": [0, 2**64 - 1, 1, 5],
    "BOOL": [True, False, True, True],
    "STRING": [b"", b"a", b"\xff\x00x", b"b" * 200],
}


@pytest.mark.parametrize("shape", [[4], [2, 2], [1, 4, 1]])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_in_its_typed_field_and_raw(kind: str, shape: list[int]) -> None:
    number = getattr(TensorProto, kind)
    tensors = {"typed": helper.make_tensor("typed", number, shape, KINDS[kind])}
    if kind != "STRING":
        array = numpy_helper.to_array(tensors["typed"])
        tensors["raw"] = helper.make_tensor("raw", number, shape, array.tobytes(), raw=True)
    data = made.model(
        [helper.make_node("Shape", [name], [f"{name}_out"]) for name in tensors],
        [],
        [made.value(f"{name}_out", len(shape), kind=TensorProto.INT64) for name in tensors],
        tensors,
    )
    same_model(data)


def test_scalars_and_empty_tensors() -> None:
    tensors = {"s": np.float32(2), "e": np.zeros((0, 3), np.float32), "i": np.zeros((2, 0), np.int64)}
    nodes = [helper.make_node("Shape", [n], [f"{n}_out"]) for n in tensors]
    same_model(made.model(nodes, [], [made.value(f"{n}_out", kind=TensorProto.INT64) for n in tensors], tensors))


def unpacked(number: int, kind: int, values: list[bytes]) -> bytes:
    return b"".join(raw.varint(number << 3 | kind) + v for v in values)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 60, 700, 40_000])
def test_repeated_numbers_packed_and_one_by_one(count: int) -> None:
    """Both are legal for a reader; writers differ. Numbers of every length, negative ones too."""
    rng = np.random.default_rng(count)
    ints = [int(v) for v in rng.integers(-(2**63), 2**63, count) >> rng.integers(0, 64, count)]
    floats = rng.normal(size=count).astype(np.float32)
    singles = [raw.varint(v % (1 << 64)) for v in ints]
    bits = [struct.pack("<f", v) for v in floats]
    for one_by_one in (True, False):
        parts = [
            unpacked(8, 0, singles) if one_by_one else field(8, b"".join(singles)),
            unpacked(7, 5, bits) if one_by_one else field(7, b"".join(bits)),
        ]
        node = field(1, b"a") + field(2, b"b") + field(4, b"Op")
        node += field(5, field(1, b"ints") + parts[0] + b"\xa0\x01\x07")
        node += field(5, b"\xa0\x01\x06" + parts[1] + field(1, b"floats"))
        initial = field(8, b"w") + b"\x10\x07" + b"\x08" + raw.varint(count)
        initial += unpacked(7, 0, singles) if one_by_one else field(7, b"".join(singles))
        graph = field(11, info("a")) + field(12, info("b")) + field(1, node) + field(5, initial)
        read = same_model(HEAD + field(7, graph))
        assert read.nodes[0].attributes["ints"] == tuple(ints)
        assert read.nodes[0].attributes["floats"] == tuple(floats.tolist())


def test_a_list_in_pieces_and_runs_that_are_interrupted() -> None:
    pieces = (
        unpacked(8, 0, [b"\x01", b"\x02"]) + field(8, b"\x03\x04") + field(13, b"doc") + unpacked(8, 0, [b"\x05"] * 20)
    )
    node = field(1, b"a") + field(2, b"b") + field(4, b"Op") + field(5, field(1, b"v") + pieces + b"\xa0\x01\x07")
    graph = field(11, info("a")) + field(12, info("b")) + field(1, node)
    read = same_model(HEAD + field(7, graph))
    assert read.nodes[0].attributes["v"] == (1, 2, 3, 4, *[5] * 20)


def test_unknown_fields_are_skipped_and_the_last_plain_value_counts() -> None:
    unknown = raw.varint(99 << 3) + b"\x05" + raw.varint(98 << 3 | 1) + bytes(8) + raw.varint(97 << 3 | 5) + bytes(4)
    unknown += field(96, b"\xff\xff\xff")
    node = field(1, b"x") + field(2, b"y") + field(4, b"Neg") + unknown + field(4, b"Relu")
    graph = unknown + field(2, b"old") + field(2, b"new") + field(1, node) + field(11, info("x")) + field(12, info("y"))
    read = same_model(b"\x08\x01" + unknown + HEAD + field(7, graph))
    assert (read.name, read.nodes[0].op, read.ir_version) == ("new", "Relu", 10)


def test_nodes_are_sorted_and_the_given_order_is_kept_where_it_can() -> None:
    nodes = [
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    data = made.model(nodes, [made.value("x", 1, 2)], [made.value("d", 1, 2)])
    assert [n.outputs[0] for n in read_graph(data).nodes] == list("abcd")


def test_a_branch_waits_for_what_its_graph_uses() -> None:
    """The If is written first, but its branches use what comes later."""
    theirs = onnx.load_from_string(made.branches())
    nodes = list(theirs.graph.node)[::-1]
    del theirs.graph.node[:]
    theirs.graph.node.extend(nodes)
    graph = read_graph(theirs.SerializeToString())
    assert [n.op for n in graph.nodes] == ["Mul", "ReduceSum", "Greater", "If", "Loop"]
    assert {n.op for n in every_node(graph)} > {"Relu", "Neg", "Add", "Identity"}
