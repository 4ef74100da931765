"""Declaring several models, one program for all of them, who is emitted, how an ensemble combines."""

from __future__ import annotations

import hashlib
import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import program
from seated import artifact, quiet

import alpha
from alpha import Desk, Ensemble, Model, Split
from alpha._core.seats import INSTRUMENT_BYTES, EnsembleKernel
from alpha.errors import AlphaError, DefinitionError
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.features.language import canonical
from alpha.features.union import union_of
from alpha.group import shares
from alpha.models.ensemble import shares_of

M = {"a": "models:/a@production", "b": "models:/b@production"}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (lambda: Desk({}), "at least one model"),
        (lambda: Desk({"a b": "x"}), "cannot name a model"),
        (lambda: Desk({"a": Model("x", "dead")}), "no desk: Invalid enum value"),  # type: ignore[arg-type]
        (lambda: Desk({"a": 3}), "no desk"),  # type: ignore[dict-item]
        (lambda: Desk({f"m{i}": "x" for i in range(33)}), "at most 32"),
        (lambda: Desk(M, {"a": Ensemble({"a": 1.0})}), "a model and an ensemble"),
        (lambda: Desk(M, {"e": Ensemble({"c": 1.0})}), "none of the models"),
        (lambda: Desk(M, {"e": Ensemble({})}), "no members"),
        (lambda: Desk(M, {"e": Ensemble({"a": 0.0})}), "above 0"),
        (lambda: Desk(M, {"e": Ensemble({"a": float("nan")})}), "above 0"),
        (lambda: Desk(M, {"e": Ensemble({"a": 1.0}, threshold=1.5)}), "between 0 and 1"),
        (lambda: Desk(M, {"e": Ensemble({"a": 1.0}, cooldown="soon")}), "is not a duration"),
        (lambda: Desk(M, {"e": Ensemble({"a": 1.0, "b": 1.0}, "veto")}), "go together"),
        (lambda: Desk(M, {"e": Ensemble({"a": 1.0}, may_veto=["a"])}), "go together"),
        (lambda: Desk(M, {"e": Ensemble({"a": 1.0}, "veto", may_veto=["a"])}), "not all of them"),
        (lambda: Desk(M, splits=[Split({"a": 1.0}, "s")]), "fewer than two"),
        (lambda: Desk(M, splits=[Split({"a": 1.0, "c": 1.0}, "s")]), "neither a model nor an ensemble"),
        (lambda: Desk(M, splits=[Split({"a": 1.0, "b": 1.0}, "s", "time")]), "every = DURATION"),
        (lambda: Desk(M, splits=[Split({"a": 1.0, "b": 1.0}, "s", every="1h")]), "every = DURATION"),
        (lambda: Desk(M, splits=[Split({"a": 1.0, "b": 1.0}, "s"), Split({"b": 1.0, "a": 1.0}, "t")]), "two splits"),
        (lambda: Desk({**M, "b": Model("x", "shadow")}, splits=[Split({"a": 1.0, "b": 1.0}, "s")]), "is a shadow"),
        (lambda: Desk.from_dict({"models": {"a": {"uri": "x", "mode": "dead"}}}), "Invalid enum value"),
        (lambda: Desk.from_dict({"models": M, "extra": 1}), "unknown field `extra`"),
        (lambda: Desk(M).slot("c"), "no model 'c' here"),
    ],
)
def test_what_does_not_fit_together(told: Any, message: str) -> None:
    with pytest.raises(AlphaError, match=message):
        told()


def test_a_desk_as_toml_and_back(tmp_path: Path) -> None:
    file = tmp_path / "desk.toml"
    file.write_text(
        """
[models]
main = "models:/momentum@production"
next = { uri = "models:/momentum/4", mode = "shadow", lazy = true }

[ensembles.both]
members = { main = 2.0, next = 1.0 }
combine = "vote"
threshold = 0.6
cooldown = "5s"
on_fault = "skip"

[[splits]]
arms = { main = 9, both = 1 }
salt = "spring"
by = "both"
every = "1h"
"""
    )
    desk = Desk.from_toml(file)
    assert desk.names == ["main", "next", "both"] and desk.slot("both") == 2
    assert desk.model("next") == Model("models:/momentum/4", "shadow", lazy=True)
    assert desk.ensembles["both"].cooldown_ns == 5 * 10**9
    assert desk.splits[0].bucket_ns == 3600 * 10**9 and desk.arm("next") is None
    as_json = json.loads(json.dumps(desk.plain(), sort_keys=True))
    assert Desk.from_plain(as_json, "it") == desk and Desk.from_plain(as_json, "it").names == desk.names
    with pytest.raises(AlphaError, match="it cannot be read"):
        Desk.from_plain({"models": 3}, "it")
    file.write_text("models = 3")
    with pytest.raises(AlphaError, match=r"desk\.toml"):
        Desk.from_toml(file)
    with pytest.raises(AlphaError, match="cannot be read"):
        Desk.from_toml(tmp_path / "none.toml")


# -- one program for all


def feature_set(name: str, features: dict[str, str], **more: Any) -> FeatureSet:
    return FeatureSet.from_dict({"name": name, "features": features, **more})


def test_equal_expressions_stand_once_whatever_they_are_called() -> None:
    a = feature_set("a", {"m": "mean(mid, 20)", "x": "spread"})
    b = feature_set("b", {"x": "mid", "mean": "mean(mid, 20)", "twice": "mean(mid, 20)"})
    union = union_of({"a": a, "b": b})
    assert [canonical(e) for e in union.feature_set.features.values()] == ["mean(mid, 20)", "spread", "mid"]
    assert union.feature_set.names == ("m", "x", "x~2")
    assert union.columns == {"a": (0, 1), "b": (2, 0, 0)}


def test_subexpressions_are_computed_once() -> None:
    """Two models over windows of one price cost far fewer instructions together than apart."""
    a = feature_set("a", {f"m{n}": f"zscore(mid, {n})" for n in (5, 10, 20, 40)})
    b = feature_set("b", {f"s{n}": f"std(mid, {n}) / mean(mid, {n})" for n in (5, 10, 20, 40)})
    together = compile_program(union_of({"a": a, "b": b}).feature_set)
    apart = [compile_program(fs) for fs in (a, b)]
    assert together.block_bytes < 0.6 * sum(p.block_bytes for p in apart)
    assert together.instructions < sum(p.instructions for p in apart) - 4


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"trigger": "trade"}, "trigger is quote for the one and trade"),
        ({"stream": {"clock": "event"}}, "stream.clock is recv"),
        ({"stream": {"calendar": "XNYS"}}, "stream.calendar is 24/7"),
        ({"stream": {"session_break": "session"}}, "stream.session_break is none"),
        ({"stream": {"guard": {"crossed": "flag"}}}, "stream.guard.crossed is reject"),
        ({"stream": {"guard": {"future_tolerance": "1s"}}}, "stream.guard.future_tolerance is 10s"),
        ({"stream": {"guard": {"duplicates": "keep"}}}, "stream.guard.duplicates is reject"),
    ],
)
def test_other_streams_cannot_share(more: dict[str, Any], what: str) -> None:
    with pytest.raises(DefinitionError, match=f"'a' and 'b' cannot share a runtime: {what}"):
        union_of({"a": feature_set("a", {"m": "mid"}), "b": feature_set("b", {"m": "mid"}, **more)})


def test_a_kilobyte_per_instrument_and_model(tmp_path: Path) -> None:
    """What a further model costs beside the windows of its features and of itself; measured, not only computed."""
    assert INSTRUMENT_BYTES <= 1024
    rng = np.random.default_rng(1)
    fs = program(rng, 6, trigger="quote", breaks=False)
    folders = {f"m{k}": str(artifact(tmp_path / f"m{k}", fs, rng)) for k in range(9)}
    sizes = []
    for names in (["m0"], list(folders)):
        with quiet(), alpha.Runtime.from_artifact({n: folders[n] for n in names}, instruments=_table(300)) as rt:
            sizes.append(len(rt.save_state()))
    assert (sizes[1] - sizes[0]) / (300 * 8) <= 1024


def _table(n: int) -> alpha.Instruments:
    return alpha.Instruments.of(
        *(alpha.Instrument(symbol=s, lot_size=1.0, tick_size=0.5) for s in ("A", "B", *(f"I{i}" for i in range(n - 2))))
    )


def test_models_of_equal_bytes_share_their_session_and_plan(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    fs = program(rng, 3, trigger="quote")
    one, other = artifact(tmp_path / "one", fs, rng), artifact(tmp_path / "other", fs, rng)
    told = {"a": str(one), "b": str(other), "c": str(one)}
    for engine in ("auto", "ort"):
        with quiet(), alpha.Runtime.from_artifact(told, instruments=_table(2), engine=engine) as rt:
            bundles = rt.bundle.seated[1]
            assert bundles["a"].model is bundles["c"].model is not bundles["b"].model


# -- who is emitted


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.1, 0.2, 0.7], [1e-9, 1.0], [3.0] * 7])
def test_shares_of_a_split_cover_everything_once(weights: list[float]) -> None:
    arms = {f"a{i}": w for i, w in enumerate(weights)}
    found = list(shares(Split(arms, "s")).values())
    assert found[0][0] == 0 and found[-1][1] == 2**64 - 1
    assert all(b[0] == a[1] + 1 for a, b in itertools.pairwise(found))
    for (first, last), w in zip(found, weights, strict=True):
        share = Fraction(w) / sum(map(Fraction, weights))
        assert abs(Fraction(last - first + 1, 2**64) - share) <= Fraction(1, 2**63)
    with pytest.raises(AlphaError, match="too small"):
        shares(Split({"a": 1.0, "b": 1e-30, "c": 1.0}, "s"))


def mixed(x: int) -> int:
    """The finaliser of splitmix64, from its definition."""
    mask = 2**64 - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


@pytest.mark.parametrize(("by", "every"), [("instrument", ""), ("time", "1m"), ("both", "7ms")])
def test_where_a_row_falls(tmp_path: Path, by: Any, every: str) -> None:
    rng = np.random.default_rng(4)
    fs = program(rng, 2, trigger="quote")
    uris = {n: str(artifact(tmp_path / n, fs, rng)) for n in ("a", "b")}
    split = Split({"a": 1.0, "b": 1.0}, "salt", by, every)
    with quiet(), alpha.Runtime.from_artifact(Desk(uris, splits=[split]), instruments=_table(3)) as rt:
        seats = rt._pipeline.seats
        for symbol in rt.instruments.symbols:
            text = f"salt\0{'' if by == 'time' else symbol}"
            base = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
            for t in [0, -1, 59_999_999_999, 60_000_000_000, 1_700_000_000_123_456_789, -(2**63), 2**63 - 1]:
                want = base
                if every:
                    want = mixed(base ^ mixed((t // split.bucket_ns + 0x9E3779B97F4A7C15) % 2**64))
                assert seats.split_at(0, rt.instruments.id(symbol), t) == want


# -- ensembles


def combined(rows: np.ndarray, weights: list[float], combine: str, veto: list[bool]) -> np.ndarray:
    """The reference: slow and plain. ``rows``: [members, 3] of one decision."""

    def likely(p: Any) -> int:
        if p[0] == p[2]:
            return 1
        side = 0 if p[0] > p[2] else 2
        return side if p[side] > p[1] else 1

    voices = [m for m in range(len(rows)) if not veto[m] and rows[m].any()]
    total = sum(weights[m] for m in voices)
    out = np.zeros(3)
    for m in voices:
        out += weights[m] * (np.eye(3)[likely(rows[m])] if combine == "vote" else rows[m].astype(np.float64))
    p = (out / total).astype(np.float32)
    action = likely(p)
    against = any(veto[m] and rows[m].any() and likely(rows[m]) != action for m in range(len(rows)))
    if action != 1 and against:
        p[1] += p[action]
        p[action] = 0
    elif action == 1 and max(p[0], p[2]) > p[1]:
        p = np.array([0, p[1] + (p[0] + p[2]), 0], np.float32)
    return p


@pytest.mark.parametrize("combine", ["mean", "vote", "veto"])
def test_ensembles_against_the_reference(combine: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(300):
        n = int(rng.integers(1, 6))
        weights = rng.choice([1.0, 0.5, 2.0, 0.3], n).tolist()
        veto = [False] * n
        if combine == "veto" and n > 1:
            veto = (rng.permutation(n) < rng.integers(1, n)).tolist()
        rows = rng.choice([0.0, 0.2, 0.25, 0.3, 0.4, 0.5, 1.0], (n, 3)).astype(np.float32)
        rows[rng.random(n) < 0.15] = 0.0
        if not any(rows[m].any() and not veto[m] for m in range(n)):
            continue
        kernel = EnsembleKernel(combine, weights, veto)
        got = kernel.run(rows.reshape(1, -1))[0]
        assert got.tobytes() == combined(rows, weights, combine, veto).tobytes(), (rows, weights, veto)


def test_opposite_actions_that_tie_leave_hold() -> None:
    vote = EnsembleKernel("vote", [1.0, 1.0], [False, False])
    assert vote.run(np.array([[0.9, 0.1, 0, 0, 0.1, 0.9]]))[0].tolist() == [0.0, 1.0, 0.0]
    mean = EnsembleKernel("mean", [1.0, 1.0], [False, False])
    assert mean.run(np.array([[0.5, 0.25, 0.25, 0.25, 0.25, 0.5]]))[0].tolist() == [0.0, 1.0, 0.0]


def test_a_veto_moves_the_action_to_hold() -> None:
    kernel = EnsembleKernel("veto", [1.0, 1.0], [False, True])
    assert kernel.run(np.array([[0.1, 0.3, 0.6, 0.1, 0.2, 0.7]]))[0].tolist() == np.float32([0.1, 0.3, 0.6]).tolist()
    out = kernel.run(np.array([[0.25, 0.25, 0.5, 0.1, 0.5, 0.4]]))[0]
    assert out.tolist() == [0.25, 0.75, 0.0]
    absent = kernel.run(np.array([[0.25, 0.25, 0.5, 0, 0, 0]]))[0]
    assert absent.tolist() == [0.25, 0.25, 0.5]


@pytest.mark.parametrize(
    ("combine", "weights", "veto"),
    [("best", [1.0], [0]), ("mean", [], []), ("mean", [0.0], [0]), ("mean", [1.0], [1]), ("mean", [1.0], [0, 0])],
)
def test_kernels_that_cannot_be(combine: str, weights: list[float], veto: list[int]) -> None:
    with pytest.raises(AlphaError):
        EnsembleKernel(combine, weights, veto)


def test_shares_add_up_and_name_the_veto() -> None:
    row = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1]], np.float32)
    mean = shares_of(row, ["a", "b", "c"], [1.0, 2.0, 0.5], "mean", [])
    assert [m["likeliest"] for m in mean] == ["BUY", "BUY", "SELL"]
    total = 0.7 * 1 + 0.4 * 2 + 0.1 * 0.5
    assert np.allclose([m["share"] for m in mean], [0.7 / total, 0.8 / total, 0.05 / total])
    vote = shares_of(row, ["a", "b", "c"], [1.0, 2.0, 0.5], "vote", [])
    assert np.allclose([m["share"] for m in vote], [1 / 3, 2 / 3, 0])
    veto = shares_of(row, ["a", "b", "c"], [1.0, 2.0, 0.5], "veto", ["c"])
    assert [m["veto"] for m in veto] == [False, False, True] and veto[2]["share"] == 0
