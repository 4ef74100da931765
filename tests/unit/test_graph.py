"""The reader of ONNX files: the same as onnx reads, and a named refusal for everything that must not be served."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import mutate_onnx as raw
import numpy as np
import onnx
import onnx_models as made
import pytest
from onnx import TensorProto, helper, numpy_helper

from alpha.errors import ModelError
from alpha.models.graph import DEFAULT, Graph, Limits, every_node, read_graph


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return raw.varint(number << 3 | 2) + raw.varint(len(data)) + data


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


@pytest.mark.parametrize("name", ["softmax", "lstm", "convolution", "branches", "encodings", "trees_v5"])
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


# -- refusals: each with its reason


def relu(change: Callable[[Any], None]) -> bytes:
    """A model of one layer, changed as a proto."""
    proto = onnx.load_from_string(made.softmax())
    change(proto)
    return bytes(proto.SerializeToString())


def _external(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.ClearField("raw_data")


def _functions(proto: Any) -> None:
    proto.functions.add(name="f", domain="mine")


def _training(proto: Any) -> None:
    proto.training_info.add()


def _twice(proto: Any) -> None:
    proto.graph.node.add(op_type="Relu", input=["x"], output=["s"])


def _circle(proto: Any) -> None:
    proto.graph.node[0].input[0] = "p"


def _undefined(proto: Any) -> None:
    proto.graph.node[0].input[0] = "nowhere"


def _no_output(proto: Any) -> None:
    proto.graph.output[0].name = "nowhere"


def _negative(proto: Any) -> None:
    proto.graph.initializer[0].dims[0] = -2


def _overflow(proto: Any) -> None:
    proto.graph.initializer[0].dims.extend([2**62, 2**62])


def _hidden_overflow(proto: Any) -> None:
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([2**62, 2**62, 0])
    proto.graph.initializer[0].raw_data = b""


def _short(proto: Any) -> None:
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-1]


def _nan(proto: Any) -> None:
    array = numpy_helper.to_array(proto.graph.initializer[1]).copy()
    array[1] = np.nan
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "b"))


def _inf(proto: Any) -> None:
    array = numpy_helper.to_array(proto.graph.initializer[0]).astype(np.float64)
    array[0, 0] = -np.inf
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))


def _both(proto: Any) -> None:
    proto.graph.initializer[0].float_data.extend([1.0])


def _wrong_field(proto: Any) -> None:
    proto.graph.initializer[0].ClearField("raw_data")
    proto.graph.initializer[0].double_data.extend([1.0] * 6)


def _few(proto: Any) -> None:
    proto.graph.initializer[0].ClearField("raw_data")
    proto.graph.initializer[0].float_data.extend([1.0] * 5)


def _complex(proto: Any) -> None:
    proto.graph.initializer[0].data_type = TensorProto.COMPLEX64


def _byte(proto: Any) -> None:
    proto.graph.initializer.append(helper.make_tensor("u", TensorProto.UINT8, [1], [3]))
    proto.graph.initializer[-1].int32_data[0] = 256


def _bool(proto: Any) -> None:
    proto.graph.initializer.append(helper.make_tensor("u", TensorProto.BOOL, [1], b"\x02", raw=True))


def _sparse(proto: Any) -> None:
    proto.graph.sparse_initializer.add()


def _segment(proto: Any) -> None:
    proto.graph.initializer[0].segment.begin = 0


def _nameless(proto: Any) -> None:
    proto.graph.initializer[0].name = ""


def _nul(proto: Any) -> None:
    proto.graph.node[0].name = "a\0b"


def _sequence(proto: Any) -> None:
    proto.graph.input[0].type.Clear()
    proto.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def _optional(proto: Any) -> None:
    proto.graph.input[0].type.Clear()
    proto.graph.input[0].type.optional_type.elem_type.tensor_type.elem_type = 1


def _same_inputs(proto: Any) -> None:
    proto.graph.input.append(proto.graph.input[0])


def _shadow(proto: Any) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "x"))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "x"))


def _attribute_twice(proto: Any) -> None:
    proto.graph.node[1].attribute.append(proto.graph.node[1].attribute[0])


def _attribute_two(proto: Any) -> None:
    proto.graph.node[1].attribute[0].floats.extend([1.0])


def _reference(proto: Any) -> None:
    proto.graph.node[1].attribute[0].ref_attr_name = "axis"


def _overload(proto: Any) -> None:
    proto.graph.node[0].overload = "fast"


def _no_op(proto: Any) -> None:
    proto.graph.node[0].op_type = ""


def _versions(proto: Any) -> None:
    proto.opset_import.add(domain="ai.onnx", version=12)


def _no_opset(proto: Any) -> None:
    del proto.opset_import[:]


def _dim(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1


REFUSED: list[tuple[Callable[[Any], None], str]] = [
    (_external, r"graph.initializer\[0\].*another file \(external data\)"),
    (_functions, "functions of its own"),
    (_training, "training information"),
    (_twice, r"'s' is made twice, by node Gemm 'layer' and by node Relu 's'"),
    (_circle, r"in a circle: .*Gemm 'layer'"),
    (_undefined, "node Gemm 'layer' uses 'nowhere', which nothing makes"),
    (_no_output, "output 'nowhere' is made by nothing"),
    (_negative, r"initializer\[0\] 'w': dimension -2 of \[-2, 3\] is negative"),
    (_overflow, "has more than 33,554,432 elements"),
    (_hidden_overflow, "has more than 33,554,432 elements"),
    (_short, r"'w': 23 bytes are stored, but shape \[2, 3\] of float takes 24"),
    (_nan, "initializer 'b': element 1 is nan: weights must be finite"),
    (_inf, "initializer 'w': element 0 is -inf"),
    (_both, "float_data is filled beside raw_data"),
    (_wrong_field, "double_data is filled in a tensor of float"),
    (_few, r"5 values are stored, but shape \[2, 3\] has 6"),
    (_complex, "tensors of complex64 are not supported"),
    (_byte, "the value 256 does not fit a tensor of uint8"),
    (_bool, "a bool is stored as 2"),
    (_sparse, "sparse initializers are not supported"),
    (_segment, "stored in segments"),
    (_nameless, "an initializer has no name"),
    (_nul, r"graph.node\[0\]: the node's name contains a NUL byte"),
    (_sequence, r"input 'x' is of type sequence\(tensor\(float\)\): only tensors"),
    (_optional, r"input 'x' is of type optional\(tensor\(float\)\): only tensors"),
    (_same_inputs, "two inputs have the same name"),
    (_shadow, "'x' is made twice, by two initializers"),
    (_attribute_twice, "attribute 'axis' is given twice"),
    (_attribute_two, "says type 2 but also fills field 7"),
    (_reference, "refers to a function's argument"),
    (_overload, "overload of a function"),
    (_no_op, r"graph.node\[0\]: a node names no operator"),
    (_versions, "imported twice, in different versions"),
    (_no_opset, "does not say which operator set"),
    (_dim, "dimension -1 is negative or larger"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[c.__name__.strip("_") for c, _ in REFUSED])
def test_refused_with_its_reason(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_graph(relu(change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(30), "a zip archive"),
        (b"\x80\x04\x95" + bytes(30), "a pickle"),
        (b'{"a": 1}', "JSON"),
        (b"<html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (HEAD, "no graph in it"),
        (field(8, b"\x10\x12") + field(7, b""), "ir_version 0 cannot be"),
        (b"\x0b\x0c", "wire type 3: groups"),
        (b"\x0e", "wire type 6"),
        (b"\x00\x01", "field number 0"),
        (b"\x08" + b"\xff" * 12, "longer than ten bytes"),
        (b"\x08\x80", "ends inside a number"),
        (b"\x3a\x7f\x00", "claims 127 bytes but 1 are left"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "bytes but 0 are left"),
        (b"\x0a\x01a", "ir_version is stored as length-delimited, not as varint"),
        (HEAD + b"\x38\x01", "graph is stored as varint, not as length-delimited"),
        (HEAD + field(7, b"") + field(7, b""), "two graphs"),
        (HEAD + field(7, field(2, b"\xff\xfe")), "is not UTF-8"),
        (HEAD + field(7, field(2, b"a" * 2000)), "longer than 1024 bytes"),
        (HEAD + field(7, b""), "has no outputs"),
        (HEAD + field(7, field(1, field(4, b"Relu"))), "Relu makes no output"),
        (HEAD + field(7, field(5, field(8, b"w") + b"\x10\x07" + b"\x08\x01" + field(7, b"\x80"))), "ends inside a number"),
        (HEAD + field(7, field(5, field(8, b"w") + b"\x10\x07" + b"\x08\x01" + field(7, b"\xff" * 10 + b"\x01"))), "ten bytes"),
        (HEAD + field(7, field(5, field(8, b"w") + b"\x10\x01" + b"\x08\x01" + field(4, bytes(3)))), "no whole number of 4"),
        (HEAD + field(8, b"\x10\x00") + field(7, b""), "version 0 of operator set"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_model(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_graph(data)


def test_an_attribute_of_a_type_that_does_not_exist() -> None:
    node = field(1, b"x") + field(2, b"y") + field(4, b"Relu") + field(5, field(1, b"a") + b"\xa0\x01\x63")
    with pytest.raises(ModelError, match="attribute type 99 is unknown"):
        read_graph(HEAD + field(7, field(1, node)))


def test_trailing_garbage_and_truncation_at_every_byte() -> None:
    """A prefix of a model may be one (what is missing could be left out); then it must be one for onnx too."""
    data = made.softmax()
    for tail in (b"\x00", b"\x07", b"garbage", b"\xff"):
        with pytest.raises(ModelError):
            read_graph(data + tail)
    accepted = 0
    for n in range(len(data)):
        try:
            read_graph(data[:n])
        except ModelError:
            continue
        onnx.load_from_string(data[:n])
        accepted += 1
    assert accepted == 0  # the operator set comes last in this file, and it is needed


def nested(levels: int) -> bytes:
    graph = field(12, field(1, b"x")) + field(11, field(1, b"x"))
    for i in range(levels):
        attribute = field(1, b"g") + b"\xa0\x01\x05" + field(6, graph)
        graph = field(1, field(2, b"o%d" % i) + field(4, b"If") + field(5, attribute)) + field(12, field(1, b"o%d" % i))
    return HEAD + field(7, graph)


def test_nesting_is_limited_not_the_interpreters_stack() -> None:
    good = field(12, field(1, b"c")) + field(1, field(2, b"c") + field(4, b"Constant"))
    for i in range(DEFAULT.nesting):
        attribute = field(1, b"g") + b"\xa0\x01\x05" + field(6, good)
        good = field(1, field(2, b"o%d" % i) + field(4, b"If") + field(5, attribute)) + field(12, field(1, b"o%d" % i))
    assert len(list(every_node(read_graph(HEAD + field(7, good))))) == DEFAULT.nesting + 1
    for levels in (DEFAULT.nesting + 1, 3_000):
        with pytest.raises(ModelError, match="nested more than 8 deep"):
            read_graph(nested(levels))
    kind = b""
    for _ in range(3_000):
        kind = field(4, field(1, kind))
    with pytest.raises(ModelError, match="types are nested"):
        read_graph(HEAD + field(7, field(11, field(1, b"x") + field(2, kind))))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(bytes=100), "more than 100"),
        (Limits(nodes=1), "more than 1 nodes"),
        (Limits(initializers=1), "more than 1 initializers"),
        (Limits(attributes=0), "more than 0 attributes|too many operator sets"),
        (Limits(ports=2), "more than 2 inputs"),
        (Limits(rank=1), "more than 1"),
        (Limits(elements=5), "more than 5 elements"),
        (Limits(initializer_bytes=30), "more than 30 initializer bytes"),
        (Limits(name_bytes=3), "longer than 3 bytes"),
        (Limits(fields=20), "more than 20 fields"),
        (Limits(metadata=0), "more than 0 entries"),
        (Limits(metadata_bytes=3), "more than 3 bytes"),
    ],
)
def test_every_limit_is_one(limits: Limits, message: str) -> None:
    data = relu(lambda p: p.metadata_props.add(key="key", value="value"))
    assert read_graph(data).metadata == {"key": "value"}
    with pytest.raises(ModelError, match=message):
        read_graph(data, limits)


def test_limits_of_lists() -> None:
    data = made.zoo()["forest"]
    for limits, message in ((Limits(list_elements=50), "50"), (Limits(strings=10), "10 (values|strings)")):
        with pytest.raises(ModelError, match=f"more than {message}"):
            read_graph(data, limits)
