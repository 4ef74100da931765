"""Random graphs, made by onnx's own helper in every form it knows, are read to the same thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from alpha.models.graph import Graph, Node, every_node, read_graph

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
# printable, as the reader demands of operators: the categories that str.isprintable() refuses are left out
WORD = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"), include_characters=" "),
    min_size=1,
    max_size=12,
)
INT = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPE = st.lists(st.integers(0, 4), max_size=4)
INTEGERS = {
    getattr(TensorProto, k): np.iinfo(k.lower())
    for k in ("INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64", "UINT32", "UINT64")
}
KINDS = [*INTEGERS, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.BFLOAT16]


@st.composite
def tensors(draw: st.DrawFn, name: str = "") -> tuple[Any, Any]:
    """(TensorProto, the array it must be read as)."""
    kind, shape = draw(st.sampled_from(KINDS)), draw(SHAPE)
    size = int(np.prod(shape))
    if kind in INTEGERS:
        info = INTEGERS[kind]
        values = draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=size, max_size=size))
        array = np.array(values, info.dtype)
    elif kind == TensorProto.BOOL:
        array = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), np.bool_)
    elif kind == TensorProto.DOUBLE:
        floats = st.floats(allow_nan=False, allow_infinity=False)
        array = np.array(draw(st.lists(floats, min_size=size, max_size=size)), np.float64)
    else:
        width = 16 if kind == TensorProto.FLOAT16 else 32
        floats = st.floats(width=width, allow_nan=False, allow_infinity=False)
        array = np.array(
            draw(st.lists(floats, min_size=size, max_size=size)), np.float16 if width == 16 else np.float32
        )
    if kind == TensorProto.BFLOAT16:  # those that have no lower half
        bits = array.view(np.uint32) & np.uint32(0xFFFF_0000)
        array = bits.view(np.float32)
        stored = (bits >> np.uint32(16)).astype(np.uint16)
        proto = helper.make_tensor(name, kind, shape, stored.tobytes(), raw=True)
        if draw(st.booleans()):
            proto.ClearField("raw_data")
            proto.int32_data.extend(stored.tolist())
        return proto, array.reshape(shape)
    if draw(st.booleans()):
        return helper.make_tensor(name, kind, shape, array.tobytes(), raw=True), array.reshape(shape)
    return helper.make_tensor(name, kind, shape, array.tolist()), array.reshape(shape)


VALUE = st.one_of(
    INT,
    FLOAT,
    st.binary(max_size=20),
    st.lists(INT, min_size=1, max_size=40),
    st.lists(FLOAT, min_size=1, max_size=40),
    st.lists(st.binary(max_size=8), min_size=1, max_size=20),
    tensors(),
)


@st.composite
def models(draw: st.DrawFn) -> tuple[bytes, Graph]:
    """(bytes, what they must be read as)."""
    initial, protos = {}, []
    for i in range(draw(st.integers(0, 4))):
        name = f"w{i}{draw(TEXT)}"
        proto, array = draw(tensors(name))
        initial[name] = array
        protos.append(proto)
    known = ["x", *initial]
    nodes, theirs = [], []
    for i in range(draw(st.integers(1, 5))):
        attributes: dict[str, Any] = {}
        attribute_protos = []
        for j in range(draw(st.integers(0, 3))):
            value, key = draw(VALUE), f"a{j}{draw(TEXT)}"
            is_tensor = isinstance(value, tuple)
            attribute_protos.append(helper.make_attribute(key, value[0] if is_tensor else value))
            attributes[key] = value[1] if is_tensor else tuple(value) if isinstance(value, list) else value
        inputs = draw(st.lists(st.sampled_from(["", *known]), max_size=3))
        outputs = [f"n{i}_{k}" for k in range(draw(st.integers(1, 2)))]
        op, domain = draw(WORD), draw(st.sampled_from(["", "ai.onnx.ml"]))
        proto = helper.make_node(op, inputs, outputs, name=draw(TEXT), domain=domain)
        proto.attribute.extend(attribute_protos)
        nodes.append(Node(op, domain, proto.name, tuple(inputs), tuple(outputs), attributes))
        theirs.append(proto)
        known += outputs
    shape = draw(st.lists(st.one_of(st.none(), st.integers(0, 9), TEXT.filter(bool)), max_size=4))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        draw(st.permutations(theirs)),
        draw(TEXT.filter(bool)),
        [info("x", TensorProto.FLOAT, shape)],
        [info(nodes[-1].outputs[0], TensorProto.INT64, None)],
        protos,
        doc_string=draw(TEXT),
    )
    proto = helper.make_model(graph, ir_version=10, producer_name=draw(TEXT))
    del proto.opset_import[:]
    proto.opset_import.add(domain="", version=draw(st.integers(1, 30)))
    proto.opset_import.add(domain="ai.onnx.ml", version=5)
    helper.set_model_props(proto, draw(st.dictionaries(TEXT, TEXT, max_size=3)))
    return proto.SerializeToString(), Graph(graph.name, tuple(nodes), initial)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, np.ndarray):
        return bool(ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes())
    if isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(theirs, float):
        return type(ours) is float and np.float64(ours).tobytes() == np.float64(np.float32(theirs)).tobytes()
    return type(ours) is type(theirs) and bool(ours == theirs)


@settings(max_examples=150)
@given(models())
def test_read_to_the_same_thing(made: tuple[bytes, Graph]) -> None:
    data, wanted = made
    got, proto = read_graph(data), onnx.load_from_string(data)
    assert got.name == wanted.name and got.producer == proto.producer_name
    assert got.opset == {o.domain: o.version for o in proto.opset_import}
    assert got.metadata == {e.key: e.value for e in proto.metadata_props}
    assert got.initializers.keys() == wanted.initializers.keys()
    assert all(same(got.initializers[k], v) for k, v in wanted.initializers.items())
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert got.inputs[0].shape == tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)
    by_output = {n.outputs: n for n in got.nodes}
    assert len(by_output) == len(wanted.nodes)
    for node in wanted.nodes:
        mine = by_output[node.outputs]
        assert (mine.op, mine.domain, mine.name, mine.inputs) == (node.op, node.domain, node.name, node.inputs)
        assert mine.attributes.keys() == node.attributes.keys()
        assert all(same(mine.attributes[k], v) for k, v in node.attributes.items()), node
    # sorted: nothing is used before it is made
    seen = {"", "x", *got.initializers}
    for node in every_node(got):
        assert seen >= set(node.inputs)
        seen |= set(node.outputs)
