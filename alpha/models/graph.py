"""Our own bounded reader of ONNX files: the core needs no ``onnx`` to know what it is about to run. Floor 3.

:func:`read_graph` gives the graph with checked names, sorted nodes and decoded tensors, or one ModelError that
names the place. Field numbers are those of the public ``onnx.proto``. Where protobuf lets the last of several
values win, so does this reader for plain values; a message that may stand once and stands twice (protobuf would
merge the two) is refused, because what a check saw and what an engine runs could then differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpha.errors import ModelError
from alpha.models.structure import Attribute, Graph, Node, Tensor, ValueInfo, connect, every_node, subgraphs, undefined
from alpha.models.tensors import dtype_of, read_tensor, type_name
from alpha.models.wire import DEFAULT, Budget, Limits, Message

__all__ = ["DEFAULT", "Attribute", "Graph", "Limits", "Node", "ValueInfo", "every_node", "read_graph", "subgraphs"]

# tensors of attributes where a NaN has a meaning (the end of a set, a missing key) or an infinity (a threshold: the
# reader of trees looks at those itself)
_MAY_BE_NAN = ("membership_values", "keys_tensor", "default_tensor", "nodes_values_as_tensor", "nodes_splits")
_STARTS = {
    b"PK\x03\x04": "a zip archive (torch.save and numpy write those)",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip file",
    b"{": "JSON text",
    b"<": "XML or HTML text",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself",
}


def read_graph(data: bytes, limits: Limits = DEFAULT) -> Graph:
    """The graph of an ONNX file, checked; ModelError in one sentence for anything else."""
    if len(data) > limits.bytes:
        raise ModelError(f"the model has {len(data):,} bytes, more than {limits.bytes:,}")
    if not data:
        raise ModelError("the model file is empty")
    for start, what in _STARTS.items():
        if data.startswith(start):
            raise ModelError(f"this is not an ONNX file but {what}")
    return _Reader(data, limits).model()


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A list of floats or ints that is still an array: which node it belongs to is known later."""

    array: Tensor


class _Reader:
    """One file while it is read."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.budget = Budget(limits)
        self.limits = limits
        self.message = Message(data, 0, len(data), "model", self.budget)
        self.free: dict[int, set[str]] = {}
        self.defined: dict[int, set[str]] = {}
        self.interned: dict[bytes, bytes] = {}

    def model(self) -> Graph:
        m = self.message
        graph: Message | None = None
        ir_version, producer = 0, ""
        opset: dict[str, int] = {}
        metadata: dict[str, str] = {}
        while m.next():
            if m.number == 1:
                ir_version = m.int64("ir_version")
            elif m.number == 2:
                producer = m.text("producer_name")
            elif m.number == 7:
                if graph is not None:
                    raise m.fail("there are two graphs in one model")
                graph = m.inside("graph", "graph")
            elif m.number == 8:
                if len(opset) >= self.limits.attributes:
                    raise m.fail("the model imports too many operator sets")
                domain, version = self.opset(m.inside("opset_import", "opset_import"))
                if opset.get(domain, version) != version:
                    raise m.fail(f"operator set {domain!r} is imported twice, in different versions")
                opset[domain] = version
            elif m.number == 14:
                key, value = self.entry(m.inside("metadata_props", "metadata_props"), metadata)
                metadata[key] = value
            elif m.number == 20:
                raise m.fail("the model holds training information: export it for inference")
            elif m.number == 25:
                raise m.fail("the model defines functions of its own: export it with plain operators")
        if graph is None:
            raise ModelError("model: there is no graph in it: this is not an ONNX file, or it is damaged")
        if not 1 <= ir_version <= 1000:
            raise ModelError(f"model: ir_version {ir_version} cannot be: this is not an ONNX file, or it is damaged")
        if not opset:
            raise ModelError("model: it does not say which operator set it uses")
        result = self.graph(graph, 0)
        result.opset, result.ir_version, result.producer, result.metadata = opset, ir_version, producer, metadata
        if missing := self.free[id(result)]:
            raise undefined(result, missing)
        return result

    def opset(self, m: Message) -> tuple[str, int]:
        domain, version = "", 0
        while m.next():
            if m.number == 1:
                domain = m.text("domain")
            elif m.number == 2:
                version = m.int64("version")
        if not 0 < version < 1 << 31:
            raise ModelError(f"{m.where}: version {version} of operator set {domain!r} cannot be")
        return ("" if domain == "ai.onnx" else domain), version

    def entry(self, m: Message, known: dict[str, str]) -> tuple[str, str]:
        if len(known) >= self.limits.metadata:
            raise ModelError(f"model: more than {self.limits.metadata:,} entries of metadata")
        parts = {1: b"", 2: b""}
        while m.next():
            if m.number in parts:
                parts[m.number] = m.raw("an entry")
        if sum(len(k) + len(v) for k, v in known.items()) + sum(map(len, parts.values())) > self.limits.metadata_bytes:
            raise ModelError(f"model: its metadata has more than {self.limits.metadata_bytes:,} bytes")
        try:
            return parts[1].decode(), parts[2].decode()
        except UnicodeDecodeError:
            raise ModelError("model: an entry of its metadata is not UTF-8") from None

    def graph(self, m: Message, depth: int) -> Graph:
        if depth > self.limits.nesting:
            raise m.fail(f"graphs are nested more than {self.limits.nesting} deep")
        where = m.where
        graph = Graph()
        nodes: list[Node] = []
        inputs: list[ValueInfo] = []
        outputs: list[ValueInfo] = []
        while m.next():
            field = m.number
            if field == 1:
                self.budget.take("nodes", 1, where)
                nodes.append(self.node(m.inside("node", f"{where}.node[{len(nodes)}]"), depth))
            elif field == 2:
                graph.name = m.text("the graph's name")
            elif field == 5:
                self.budget.take("initializers", 1, where)
                t = m.inside("initializer", f"{where}.initializer[{len(graph.initializers)}]")
                name, values = read_tensor(t)
                if not name:
                    raise t.fail("an initializer has no name")
                if name in graph.initializers:
                    raise t.fail(f"the name {name!r} is made twice, by two initializers")
                finite(values, f"{where}: initializer {name!r}")
                graph.initializers[name] = values
            elif field in (11, 12):
                side, into = ("input", inputs) if field == 11 else ("output", outputs)
                if len(into) >= self.limits.ports:
                    raise m.fail(f"a graph has more than {self.limits.ports} {side}s")
                into.append(self.value(m.inside(side, f"{where}.{side}[{len(into)}]")))
            elif field == 15:
                raise m.fail("sparse initializers are not supported: export dense weights")
        for into in (inputs, outputs):
            if len({info.name for info in into}) < len(into):
                raise ModelError(f"{where}: two {'inputs' if into is inputs else 'outputs'} have the same name")
        graph.nodes = tuple(nodes)
        graph.inputs = tuple(info for info in inputs if info.name not in graph.initializers)
        graph.outputs = tuple(outputs)
        if depth == 0:
            if not outputs:
                raise ModelError(f"{where}: it has no outputs")
            for info in graph.inputs:
                if info.kind != "tensor":
                    raise ModelError(f"{where}: input {info.name!r} is of type {info.text}: only tensors can be fed")
        connect(graph, self.free, self.defined, where)
        return graph

    def node(self, m: Message, depth: int) -> Node:
        inputs: list[str] = []
        outputs: list[str] = []
        name = op = domain = overload = ""
        attributes: dict[str, object] = {}
        while m.next():
            field = m.number
            if field in (1, 2):
                ports = inputs if field == 1 else outputs
                if len(ports) >= self.limits.ports:
                    raise m.fail(f"a node has more than {self.limits.ports} inputs or outputs")
                ports.append(m.text("a name"))
            elif field == 3:
                name = m.text("the node's name")
            elif field == 4:
                op = m.text("op_type")
            elif field == 5:
                if len(attributes) >= self.limits.attributes:
                    raise m.fail(f"a node has more than {self.limits.attributes} attributes")
                key, value = self.attribute(m.inside("attribute", f"{m.where}.attribute[{len(attributes)}]"), depth)
                if key in attributes:
                    raise m.fail(f"attribute {key!r} is given twice")
                attributes[key] = value
            elif field == 7:
                domain = m.text("domain")
            elif field == 8:
                overload = m.text("overload")
        if not op:
            raise ModelError(f"{m.where}: a node names no operator")
        for what, word in (("operator", op), ("domain", domain)):
            if not word.isprintable():  # both stand in messages as they are
                raise ModelError(f"{m.where}: the {what} {word[:40]!r} of a node is no name")
        if overload:
            raise ModelError(f"{m.where}: {op} names an overload of a function; functions are refused")
        if not any(outputs):
            raise ModelError(f"{m.where}: {op} makes no output")
        domain = "" if domain == "ai.onnx" else domain
        for key, value in attributes.items():
            if isinstance(value, _Numbers):
                if not op.startswith("TreeEnsemble"):
                    self.budget.take("tuple_elements", len(value.array), m.where)
                attributes[key] = value.array if op.startswith("TreeEnsemble") else tuple(value.array.tolist())
        return Node(op, domain, name, tuple(inputs), tuple(outputs), attributes)  # type: ignore[arg-type]

    def attribute(self, m: Message, depth: int) -> tuple[str, object]:
        name, kind = "", 0
        values: dict[int, object] = {}  # by the field that holds them
        lists: dict[int, list[Tensor]] = {}
        strings: list[bytes] = []
        limit = self.limits.list_elements
        while m.next():
            field = m.number
            if field == 1:
                name = m.text("the attribute's name")
            elif field == 2:
                values[2] = m.float32("f")
            elif field == 3:
                values[3] = m.int64("i")
            elif field == 4:
                values[4] = m.raw("s")
            elif field in (5, 6):
                if field in values:
                    raise m.fail("an attribute holds two tensors or graphs")
                inner = m.inside("value", f"{m.where}.{'t' if field == 5 else 'g'}")
                values[field] = read_tensor(inner)[1] if field == 5 else self.graph(inner, depth + 1)
            elif field in (7, 8):
                got = m.floats("floats", limit) if field == 7 else m.varints("ints", limit).view(np.int64)
                self.budget.take("list_elements", len(got), m.where)
                lists.setdefault(field, []).append(got)
            elif field == 9:
                found = m.strings("strings", self.budget.strings, self.interned)
                self.budget.take("strings", len(found), m.where)
                strings += found
            elif field == 20:
                kind = m.int32("type")
            elif field == 21:
                raise m.fail("the attribute refers to a function's argument; functions are refused")
            elif field in (10, 11, 14, 15, 22, 23):
                raise m.fail("lists of tensors or graphs, sparse tensors and types are not supported as attributes")
        if not name:
            raise m.fail("an attribute has no name")
        for field, parts in lists.items():
            values[field] = _Numbers(np.concatenate(parts) if len(parts) > 1 else parts[0])
        if strings:
            values[9] = tuple(strings)
        # number of the type -> (field, what an absent value means)
        homes = {1: (2, 0.0), 2: (3, 0), 3: (4, b""), 4: (5, None), 5: (6, None), 8: (9, ())}
        homes |= {6: (7, _Numbers(np.zeros(0, np.float32))), 7: (8, _Numbers(np.zeros(0, np.int64)))}
        if kind not in homes:
            raise ModelError(f"{m.where} {name!r}: attribute type {kind} is unknown or not supported")
        home, default = homes[kind]
        if others := sorted(set(values) - {home}):
            raise ModelError(f"{m.where} {name!r}: it says type {kind} but also fills field {others[0]}")
        value = values.get(home, default)
        if value is None:
            raise ModelError(f"{m.where} {name!r}: the attribute is empty")
        if isinstance(value, np.ndarray) and name not in _MAY_BE_NAN:
            finite(value, f"{m.where} {name!r}")
        return name, value

    def value(self, m: Message) -> ValueInfo:
        name = ""
        info = ValueInfo("", None, None, "unknown", "unknown")
        typed = False
        while m.next():
            if m.number == 1:
                name = m.text("a name")
            elif m.number == 2:
                if typed:
                    raise m.fail("a value has two types")
                info, typed = self.type(m.inside("type", f"{m.where}.type"), 0), True
        if not name:
            raise ModelError(f"{m.where}: it has no name")
        info.name = name
        return info

    def type(self, m: Message, depth: int) -> ValueInfo:
        if depth > self.limits.nesting:
            raise m.fail(f"types are nested more than {self.limits.nesting} deep")
        kinds = {1: "tensor", 4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}
        info: ValueInfo | None = None
        while m.next():
            if m.number not in kinds:
                continue
            if info is not None:
                raise m.fail("a value has two types")
            kind = kinds[m.number]
            inner = m.inside(kind, m.where)
            if kind in ("tensor", "sparse tensor"):
                info = self.tensor_type(inner, kind)
            elif kind == "opaque":
                info = ValueInfo("", None, None, kind, kind)
            else:
                info = ValueInfo("", None, None, kind, f"{kind}({self.element(inner, kind, depth)})")
        return info or ValueInfo("", None, None, "unknown", "unknown")

    def element(self, m: Message, kind: str, depth: int) -> str:
        parts = []
        while m.next():
            if kind == "map" and m.number == 1:
                parts.append(type_name(m.int32("key_type")))
            elif m.number == (2 if kind == "map" else 1):
                parts.append(self.type(m.inside("a type", m.where), depth + 1).text)
        return ", ".join(parts)

    def tensor_type(self, m: Message, kind: str) -> ValueInfo:
        element = 0
        shape: list[int | str | None] | None = None
        while m.next():
            if m.number == 1:
                element = m.int32("elem_type")
            elif m.number == 2:
                if shape is not None:
                    raise m.fail("a tensor has two shapes")
                shape = self.shape(m.inside("shape", m.where))
        text = f"{kind}({type_name(element)})"
        return ValueInfo("", dtype_of(element), None if shape is None else tuple(shape), kind, text)

    def shape(self, m: Message) -> list[int | str | None]:
        dims: list[int | str | None] = []
        while m.next():
            if m.number != 1:
                continue
            if len(dims) >= self.limits.rank:
                raise m.fail(f"a shape has more than {self.limits.rank} dimensions")
            inner = m.inside("a dimension", m.where)
            dim: int | str | None = None
            while inner.next():
                if inner.number == 1:
                    dim = inner.int64("dim_value")
                    if not 0 <= dim <= self.limits.elements:
                        raise inner.fail(f"dimension {dim} is negative or larger than {self.limits.elements:,}")
                elif inner.number == 2:
                    dim = inner.text("dim_param") or None
            dims.append(dim)
        return dims


def finite(values: Tensor, where: str) -> None:
    """Weights must be numbers: ModelError names the first that is not."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        flat = values.ravel()
        i = int(np.flatnonzero(~np.isfinite(flat))[0])
        raise ModelError(f"{where}: element {i} is {flat[i]}: weights must be finite")
