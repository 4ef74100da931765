"""Mutated models: refused with one sentence, or taken by an engine that does not crash on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import mutate_onnx as mutate
import numpy as np
import numpy.typing as npt
import onnx_models as made
import pytest
from hostile_worker import MEMORY, Worker
from mutate_onnx import field

from alpha.errors import ModelError
from alpha.models.verify import verify_model

CPU_S = 2.0
M = 1 << 20


def test_mutants_are_refused_in_one_sentence_or_accepted() -> None:
    models = made.zoo()
    outcome: Counter[str] = Counter()
    for i in range(2_000):
        what, data = mutate.mutant(models, i)
        try:
            verify_model(data)
            outcome["accepted"] += 1
        except ModelError as exc:
            assert str(exc) and "\n" not in str(exc), f"mutant {i}, {what}"
            outcome["refused"] += 1
    # a reader that refuses or takes everything would pass as well
    assert outcome["refused"] > 1_000 and outcome["accepted"] > 200


def test_mutants_are_the_same_every_time_and_differ_from_their_model() -> None:
    models = made.zoo()
    made_twice = [[mutate.mutant(models, i) for i in range(60)] for _ in range(2)]
    assert made_twice[0] == made_twice[1]
    assert sum(data != models[what.split("/")[0]] for what, data in made_twice[0]) > 50
    assert {kind for what, _ in (mutate.mutant(models, i) for i in range(400)) for kind in what.split("/")[1].split("+")} == {
        *mutate.KINDS
    }  # fmt: skip
    for data in models.values():
        assert mutate.build(mutate.parse(data)) == data


def test_a_crash_is_seen_and_named() -> None:
    """The judge itself: a child that dies is reported, and the next one answers."""
    with Worker(run=False) as worker:
        assert worker.ask(b"nonsense")["what"] == "refused"
        assert worker._child is not None
        worker._child.kill()
        worker._child.wait()
        assert worker.ask(made.softmax())["what"] == "crash"
        assert worker.ask(made.softmax())["what"] == "served"


@pytest.mark.slow
def test_twenty_thousand_mutants_with_the_engine() -> None:
    models = made.zoo()
    outcome: Counter[str] = Counter()
    with Worker() as worker:
        for i in range(20_000):
            what, data = mutate.mutant(models, i)
            answer = worker.ask(data)
            outcome[answer["what"]] += 1
            assert answer["what"] in ("refused", "engine refused", "served"), f"mutant {i}, {what}: {answer}"
            cost = answer["verify_s"] + answer.get("engine_s", 0.0)
            assert cost <= CPU_S and answer["peak_bytes"] <= MEMORY, f"mutant {i}, {what}: {answer}"
    print(dict(outcome))
    assert outcome["refused"] > 10_000 and outcome["served"] > 2_000


def in_graph(body: bytes) -> bytes:
    return b"\x08\x0a" + field(8, b"\x10\x12") + field(7, body)


def attribute(name: bytes, kind: int, body: bytes) -> bytes:
    return field(5, field(1, name) + mutate.varint(20 << 3) + mutate.varint(kind) + body)


def in_list(kind: int, body: bytes, op: bytes = b"Relu") -> bytes:
    """As the value of one attribute."""
    return in_graph(field(1, field(1, b"x") + field(2, b"y") + field(4, op) + attribute(b"a", kind, body)))


def tensor(kind: int, elements: int, body: bytes, name: bytes = b"w") -> bytes:
    return field(5, b"\x08" + mutate.varint(elements) + b"\x10" + mutate.varint(kind) + field(8, name) + body)


def chain(n: int) -> bytes:
    nodes = (
        field(1, field(1, b"v%d" % i) + field(2, b"v%d" % (i + 1)) + field(4, b"Relu")) for i in range(n - 1, -1, -1)
    )
    return in_graph(b"".join(nodes) + field(12, field(1, b"v9")))


def shapes(n: int) -> bytes:
    """Many nodes that ask where their shape comes from, behind a long chain."""
    body = b"".join(field(1, field(1, b"v%d" % i) + field(2, b"v%d" % (i + 1)) + field(4, b"Abs")) for i in range(n))
    body += b"".join(
        field(1, field(1, b"v%d" % n) + field(2, b"c%d" % i) + field(4, b"ConstantOfShape")) for i in range(n)
    )
    kind = field(2, field(1, b"\x08\x07" + field(2, field(1, b"\x08\x01"))))
    return in_graph(body + field(11, field(1, b"v0") + kind) + field(12, field(1, b"c0")))


def packed(numbers: npt.NDArray[np.int64]) -> bytes:
    """Each in three bytes of seven bits."""
    parts = [numbers & 127 | 128, numbers >> 7 & 127 | 128, numbers >> 14 & 127]
    return field(8, np.stack(parts, axis=1).astype(np.uint8).tobytes())


def stumps(n: int) -> bytes:
    """``n`` trees of three nodes in random order of their numbers; the very last weight belongs to no leaf."""
    rng = np.random.default_rng(0)
    tree, zeros = np.repeat(np.arange(n), 3), np.zeros(3 * n, np.int64)
    number = rng.permuted(np.tile(np.arange(3), (n, 1)), axis=1)
    left, right = zeros.reshape(n, 3).copy(), zeros.reshape(n, 3).copy()
    left[:, 0], right[:, 0] = number[:, 1], number[:, 2]
    order = rng.permutation(2 * n)
    at_tree, at_node = np.repeat(np.arange(n), 2)[order], number[:, 1:].ravel()[order]
    at_node[-1] = 5
    ints = {
        b"nodes_treeids": tree,
        b"nodes_nodeids": number.ravel(),
        b"nodes_featureids": zeros,
        b"nodes_truenodeids": left.ravel(),
        b"nodes_falsenodeids": right.ravel(),
        b"target_treeids": at_tree,
        b"target_nodeids": at_node,
        b"target_ids": at_node * 0,
    }
    body = b"".join(attribute(k, 7, packed(v)) for k, v in ints.items())
    body += attribute(b"nodes_modes", 8, (field(9, b"BRANCH_LEQ") + field(9, b"LEAF") * 2) * n)
    body += attribute(b"nodes_values", 6, field(7, bytes(12 * n))) + attribute(b"n_targets", 2, b"\x18\x01")
    body += attribute(b"target_weights", 6, field(7, bytes(8 * n)))
    node = field(1, b"x") + field(2, b"y") + field(4, b"TreeEnsembleRegressor") + field(7, b"ai.onnx.ml") + body
    kind = field(2, field(1, b"\x08\x01" + field(2, field(1, b"\x08\x01") + field(1, b"\x08\x02"))))
    return in_graph(field(1, node) + field(11, field(1, b"x") + kind) + field(12, field(1, b"y") + kind)) + field(
        8, field(1, b"ai.onnx.ml") + b"\x10\x03"
    )


COSTLY: dict[str, Callable[[], bytes]] = {
    "unknown fields": lambda: b"\x08\x0a" + b"\xf8\x01\x00" * (40 * M),
    "integers one by one": lambda: in_list(7, b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 3_999_999),
    "integers packed": lambda: in_list(7, field(8, b"\x01" * (120 * M))),
    "floats one by one": lambda: in_list(6, b"\x3d\x01\x02\x03\x04" * 3_999_999),
    "integers of trees": lambda: in_list(7, b"\x40\x01" * 19_999_999, b"TreeEnsemble"),
    "floats of trees": lambda: in_list(6, b"\x3d\x01\x02\x03\x04" * 19_999_999, b"TreeEnsemble"),
    "a forest with one wrong number": lambda: stumps(490_000),
    "different strings": lambda: in_list(8, b"".join(field(9, b"%07d" % i) for i in range(1_499_999))),
    "empty strings": lambda: in_list(8, b"\x4a\x00" * (60 * M)),
    "broken runs": lambda: in_list(7, (b"\x40\x01" + b"\x3d\x00\x00\x00\x00") * (10 * M)),
    "interrupted runs": lambda: in_list(7, b"\x40\x01\xf8\x01\x00" * (20 * M)),
    "runs that just became long": lambda: in_list(7, (b"\x40\x01" * 17 + b"\xf8\x01\x00") * (3 * M)),
    "initializers": lambda: in_graph(b"".join(tensor(1, 0, b"", b"w%d" % i) for i in range(19_999))),
    "narrow integers": lambda: in_graph(tensor(3, 16 * M, field(5, b"\x01" * (16 * M)))),
    "wide integers": lambda: in_graph(tensor(7, 16 * M, field(7, b"\x01" * (16 * M)))),
    "raw": lambda: in_graph(tensor(1, 31 * M, field(9, b"\x01" * (124 * M)))),
    "raw again and again": lambda: in_graph(tensor(1, 15 * M, field(9, b"\x01" * (60 * M)) * 2)),
    "floats in pieces": lambda: in_graph(tensor(1, 10 * M, field(4, bytes(4)) * (10 * M))),
    "operator sets": lambda: b"\x08\x0a" + b"".join(field(8, field(1, b"%d" % i) + b"\x10\x01") for i in range(M)),
    "a chain backwards": lambda: chain(19_999),
    "a chain of shapes": lambda: shapes(9_999),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COSTLY))
def test_what_is_made_to_cost_costs_little(name: str) -> None:
    """Each at the edge of a limit, so that as much as possible is done before it is refused."""
    data = COSTLY[name]()
    with Worker(run=False) as worker:
        answer = worker.ask(data)
    assert answer["what"] == "refused", answer
    assert answer["verify_s"] <= CPU_S and answer["peak_bytes"] <= MEMORY, answer
