"""Files that the reader refuses, each with its reason; limits of size, nesting and lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_models as made
import pytest
from mutate_onnx import field
from onnx import TensorProto, helper, numpy_helper

from alpha.errors import ModelError
from alpha.models.graph import DEFAULT, Limits, every_node, read_graph

HEAD = b"\x08\x0a" + field(8, b"\x10\x12")  # ir_version 10, opset 18


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


def _line(proto: Any) -> None:
    proto.graph.node[0].op_type = "Re\nlu"


def _tab(proto: Any) -> None:
    proto.graph.node[0].domain = "a\tb"


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
    (_line, r"graph.node\[0\]: the operator 'Re\\nlu' of a node is no name"),
    (_tab, r"graph.node\[0\]: the domain 'a\\tb' of a node is no name"),
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


@pytest.mark.parametrize(
    ("name", "limits", "message"),
    [
        ("forest", Limits(list_elements=50), "50"),
        ("forest", Limits(strings=10), "10 strings|10 values"),
        ("svc", Limits(tuple_elements=9), "9 tuple elements"),
    ],
)
def test_limits_of_lists(name: str, limits: Limits, message: str) -> None:
    with pytest.raises(ModelError, match=f"more than ({message})"):
        read_graph(made.zoo()[name], limits)
