"""Every operator with each of its inputs and outputs left out: refused, or taken by an engine that survives it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

import onnx
import pytest
from hostile_worker import Worker
from onnx import ModelProto


def emptied() -> Iterator[tuple[str, bytes]]:
    """ONNX's own examples of one node, changed in one name; absent optional ones become empty."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    seen = set()
    for case in cases:
        model = case.model
        if len(model.graph.node) != 1 or model.functions or model.graph.node[0].domain:
            continue
        node = model.graph.node[0]
        version = next(o.version for o in model.opset_import if not o.domain)
        schema = onnx.defs.get_schema(node.op_type, version)
        changes = [("input", i) for i in range(min(max(len(node.input) + 1, 3), schema.max_input))]
        changes += [("output", i) for i in range(min(len(node.output) + 1, schema.max_output))]
        for side, i in changes:
            key = (node.op_type, len(node.input), len(node.output), side, i)
            if key in seen:
                continue
            seen.add(key)
            copy = ModelProto()
            copy.CopyFrom(model)
            names = getattr(copy.graph.node[0], side)
            while len(names) <= i:
                names.append("")
            old, names[i] = names[i], ""
            if side == "output" and old:
                kept = [o for o in copy.graph.output if o.name != old]
                del copy.graph.output[:]
                if not kept:  # the graph still gives something
                    copy.graph.node.add(op_type="Relu", input=["more"], output=["less"])
                    copy.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1, 2]))
                    kept = [onnx.helper.make_tensor_value_info("less", onnx.TensorProto.FLOAT, [1, 2])]
                copy.graph.output.extend(kept)
            yield f"{case.name}: {side} {i}", copy.SerializeToString()


@pytest.mark.slow
def test_no_empty_name_kills_the_engine() -> None:
    outcome: Counter[str] = Counter()
    with Worker() as worker:
        for what, data in emptied():
            answer = worker.ask(data)
            outcome[answer["what"]] += 1
            assert answer["what"] in ("refused", "engine refused", "served"), f"{what}: {answer}"
    print(dict(outcome))
    assert outcome["refused"] > 300 and outcome["engine refused"] + outcome["served"] > 50
