"""The judge: a good plan serves, a wrong one does not; stored verdicts; what happens without ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from plans import f, graph, node

import alpha
from alpha._core.ort import OrtModel
from alpha._core.plan import Plan
from alpha._core.program import available_isas
from alpha._core.program import isa as chosen_isa
from alpha.bundle import Bundle
from alpha.data.simulate import simulate
from alpha.engine import choose_engine, validate
from alpha.errors import ModelError
from alpha.events import Reason
from alpha.models import judge
from alpha.models.compile import Compiled, Unsupported, compile_model
from alpha.models.exact import exact_scores
from alpha.models.graph import read_graph
from alpha.models.load import LoadedModel, load_artifact
from alpha.models.metadata import Metadata, check, normalised

DEMO = Path(__file__).parents[2] / "artifacts" / "demo_mlp" / "v1"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    shutil.copytree(DEMO, tmp_path / "v1")
    return tmp_path / "v1"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_artifact(DEMO)


def test_a_good_plan_serves_and_says_why(loaded: LoadedModel) -> None:
    engine = choose_engine(loaded)
    assert engine.name == "plan" and isinstance(engine.model, Plan)
    assert "agrees with ONNX Runtime within" in engine.reason
    assert engine.verdict is not None and engine.verdict.rows > 1000 and engine.verdict.worst <= 1e-6
    assert choose_engine(loaded, "ort").name == "ort"
    with pytest.raises(ModelError, match="engine 'gpu' is unknown"):
        choose_engine(loaded, "gpu")


def test_both_engines_decide_alike_and_tell_which_they_are() -> None:
    s = simulate(20_000, seed=3, levels=1)
    seen = {}
    for engine in ("plan", "ort"):
        with alpha.Runtime.from_registry(None, "models:/demo_mlp/1", instruments=s.instruments, engine=engine) as rt:
            signals = rt.run(s.events)
            stats = rt.stats()
            assert stats["engine"] == engine and stats["engine_reason"]
            assert rt.explain("SIM0")["engine"] == engine
            seen[engine] = signals
    a, b = seen["plan"], seen["ort"]
    assert len(a) == len(b) > 10_000 and (a["action"] != 0).any()
    np.testing.assert_allclose(a["scores"], b["scores"], atol=1e-6)
    assert (a["action"] == b["action"]).all() and (a["reason"] == b["reason"]).all()


def _spoiled(loaded: LoadedModel, weight: float) -> Compiled:
    """The plan of the model with one bias moved a little."""
    from alpha.models import compile as module
    from alpha.models.plan_builder import Builder

    whole = Builder.whole

    def moved(self: Any, values: Any) -> Any:
        out = whole(self, values)
        out[0] += np.float32(weight)
        return out

    try:
        Builder.whole = moved  # type: ignore[method-assign]
        return module.compile_model(loaded.model_bytes, loaded.metadata.outputs[0].name)
    finally:
        Builder.whole = whole  # type: ignore[method-assign]


# the score is a probability, which moves by a quarter of what its logit does
@pytest.mark.parametrize(("weight", "good"), [(0.0, True), (1.2e-5, False), (1e-3, False)])
def test_a_plan_that_is_off_is_found(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, weight: float, good: bool
) -> None:
    monkeypatch.setattr("alpha.engine.compile_model", lambda *_, **__: _spoiled(loaded, weight))
    engine = choose_engine(loaded)
    assert (engine.name == "plan") is good
    if not good:
        assert engine.name == "ort" and "differs from ONNX Runtime by" in engine.reason
        with pytest.raises(ModelError, match="cannot be served by a plan: the plan differs"):
            choose_engine(loaded, "plan")


def test_what_is_not_covered_is_served_by_onnx_runtime(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Compiled:
        raise Unsupported("node Sin 'y': operator Sin is not covered")

    monkeypatch.setattr("alpha.engine.compile_model", refuse)
    engine = choose_engine(loaded)
    assert engine.name == "ort" and engine.reason == "no plan: node Sin 'y': operator Sin is not covered"


def test_without_onnx_runtime_only_a_stored_verdict_lets_a_plan_serve(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = simulate(2000, seed=3, levels=1)
    found = validate(load_artifact(artifact), [])
    about = judge.store(artifact, found.verdict)
    shutil.move(about, artifact / "aside")
    monkeypatch.setenv("ALPHA_NO_ORT", "1")

    def reasons() -> set[int]:
        with alpha.Runtime.from_artifact(artifact, instruments=s.instruments) as rt:
            return set(np.unique(rt.run(s.events)["reason"]).tolist())

    assert Reason.NO_ORT in reasons() and Reason.MODEL not in reasons()
    bundle = Bundle.from_model(load_artifact(artifact), name="x", governed=False)
    assert bundle.engine.name == "none" and "no stored verdict vouches" in bundle.why
    shutil.move(artifact / "aside", about)
    assert Reason.MODEL in reasons() and Reason.NO_ORT not in reasons()
    kept = about.read_bytes()
    good = json.loads(kept)[0]
    for change in (
        {"good": False},
        {"worst": 2e-6},  # good says yes, the numbers no
        {"worst": 2e-6, "tolerance": 1e-5},  # more than the metadata allow
        {"wrong": 1},
        {"wrong": -1},
        {"rows": 0},
        {"exact": True, "unequal": 0},  # another measure than that of this plan
        {"half": True},
        {"worst": -1.0},
        {"subject": good["subject"].replace("precision=float32", "precision=bf16")},
        {"subject": good["subject"] + " "},
        {"more": 1},
    ):
        about.write_text(json.dumps([{**good, **change}]))
        assert Reason.MODEL not in reasons(), change
    for raw in (b"\xff", b"[]", b"{}", kept[:-3], b"[" * 100_000, kept.replace(b"true", b"1")):
        about.write_bytes(raw)
        assert Reason.MODEL not in reasons(), raw[:40]
    about.write_bytes(kept)
    assert Reason.MODEL in reasons()


_SERVES = """
import sys, warnings
warnings.simplefilter("ignore")
import alpha
from alpha.bundle import Bundle
from alpha.models import judge
from alpha.models.load import load_artifact
if sys.argv[2:]:
    judge.build_id = lambda: sys.argv[2]
bundle = Bundle.from_model(load_artifact(sys.argv[1]), name="x", governed=False)
print(bundle.engine.name, bundle.no_model.name)
"""


def test_a_verdict_of_another_isa_or_build_vouches_for_nothing(artifact: Path) -> None:
    """In processes of their own, as on another machine."""
    judge.store(artifact, validate(load_artifact(artifact), []).verdict)

    def serves(*more: str, **env: str) -> str:
        command = [sys.executable, "-c", _SERVES, str(artifact), *more]
        done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert serves(ALPHA_NO_ORT="1") == "plan NO_MODEL"
    other = next((isa for isa in available_isas() if isa != chosen_isa()), None)
    if other is not None:
        assert serves(ALPHA_NO_ORT="1", ALPHA_ISA=other) == "none NO_ORT"
        assert serves(ALPHA_ISA=other) == "plan NO_MODEL"  # judged anew
    assert serves("0123456789abcdef", ALPHA_NO_ORT="1") == "none NO_ORT"


def test_a_verdict_over_other_metadata_vouches_for_nothing(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model bytes with another clip range or limit are judged on other rows."""
    judge.store(artifact, validate(load_artifact(artifact), []).verdict)
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    assert choose_engine(load_artifact(artifact)).name == "plan"
    text = json.loads((artifact / "metadata.json").read_bytes())
    (artifact / "metadata.json").write_text(json.dumps({**text, "clip": [-9.0, 9.0]}))
    assert choose_engine(load_artifact(artifact)).name == "none"


def _bad(artifact: Path, plan: float = 1.0) -> judge.Verdict:
    """About the plan of this artifact: three rows that differ."""
    about = validate(load_artifact(artifact), []).verdict.subject
    y = np.array([[0.2, 0.2, 0.6]] * 3, np.float32)
    bad = judge.compare(np.full_like(y, plan), y, load_artifact(artifact).metadata, exact=False, about=about)
    assert not bad.good
    return bad


@pytest.mark.parametrize("plan", [1.0, np.nan])
def test_a_plan_that_was_found_bad_does_not_serve(artifact: Path, monkeypatch: pytest.MonkeyPatch, plan: float) -> None:
    """Whatever the rows say that are tried at load; and rows that agree do not undo those that differ."""
    good, bad = validate(load_artifact(artifact), []).verdict, _bad(artifact, plan)
    assert choose_engine(load_artifact(artifact)).name == "plan"
    for verdicts in ([bad], [good, bad], [bad, good], [bad, good, bad, good]):
        (artifact / "judged.json").unlink(missing_ok=True)
        for verdict in verdicts:
            judge.store(artifact, verdict)
        assert len(json.loads((artifact / "judged.json").read_bytes())) == len({v.good for v in verdicts})
        engine = choose_engine(load_artifact(artifact))
        assert engine.name == "ort" and engine.reason.startswith("alpha validate found that the plan differs from ONNX")
        assert str(artifact / "judged.json") in engine.reason
        with pytest.raises(ModelError, match="cannot be served by a plan: alpha validate found"):
            choose_engine(load_artifact(artifact), "plan")
        with monkeypatch.context() as m:
            m.setenv("ALPHA_NO_ORT", "1")
            engine = choose_engine(load_artifact(artifact))
            assert engine.name == "none" and "ALPHA_NO_ORT is set; alpha validate found" in engine.reason
    s = simulate(2000, seed=3, levels=1)
    with alpha.Runtime.from_artifact(artifact, instruments=s.instruments) as rt:
        assert rt.stats()["engine"] == "ort" and "alpha validate found" in rt.stats()["engine_reason"]
    (artifact / "judged.json").unlink()
    assert choose_engine(load_artifact(artifact)).name == "plan"


def test_a_bad_verdict_is_believed_for_its_numbers_and_about_this_plan(artifact: Path) -> None:
    judge.store(artifact, _bad(artifact))
    told = json.loads((artifact / "judged.json").read_bytes())[0]
    assert choose_engine(load_artifact(artifact)).name == "ort"
    for change in (
        {"subject": told["subject"].replace("precision=float32", "precision=bf16")},
        {"subject": told["subject"] + " "},
        {"worst": 0.0, "wrong": 0, "flips": 0, "unequal": 0},  # good says no, the numbers yes
        {"rows": 0},
        {"wrong": -1},
        {"worst": -1.0},
        {"half": True},
        {"exact": True},
        {"good": True},
    ):
        (artifact / "judged.json").write_text(json.dumps([{**told, **change}]))
        assert choose_engine(load_artifact(artifact)).name == "plan", change
    assert choose_engine(load_artifact(artifact), precision="bf16").name == "plan"


def test_without_onnx_runtime_the_command_to_type_is_given(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    told = choose_engine(load_artifact(artifact), precision="bf16").reason
    assert f"alpha validate {artifact} --data FILE --precision bf16 --store" in told
    assert f"alpha validate {artifact} --data FILE --store" in choose_engine(load_artifact(artifact)).reason


def test_decisions_that_differ(loaded: LoadedModel) -> None:
    meta = loaded.metadata
    t = np.float32(meta.decision.threshold)
    base = np.array([[1 - t, 0, t]], np.float32) if t > 0.5 else np.array([[0.2, 0.2, 0.6]], np.float32)
    near = base + np.array([[2e-7, 0, -2e-7]], np.float32)
    far = np.array([[0.9, 0.05, 0.05]], np.float32)

    def verdict(a: Any, b: Any, exact: bool = False) -> judge.Verdict:
        return judge.compare(a, b, meta, exact=exact, about="x")

    assert verdict(base, base).good and verdict(base, near).good
    assert not verdict(base, near, exact=True).good
    assert not verdict(base, far).good and verdict(base, far).worst > 0.1
    assert not verdict(base, np.full_like(base, np.nan)).good
    assert verdict(np.full_like(base, np.nan), np.full_like(base, np.nan)).good  # both refuse the row alike
    both = verdict(base, near) + verdict(base, far)
    assert not both.good and both.rows == 2


class _Off:
    """A reference whose scores lie ``by`` beside those of a kernel where ``at`` says so: it rounds, or is wrong."""

    n_carry = 0

    def __init__(self, kernel: Any, by: float, at: slice = slice(None)) -> None:
        self.kernel, self.by, self.at = kernel, np.float32(by), at

    def run(self, rows: Any) -> Any:
        y = np.array(self.kernel.run(rows))
        y[self.at] += self.by
        return y


def _wide(weight: float = 0.1) -> tuple[Compiled, Any, Metadata]:
    """64-32-1 with one value as its score: plan, ONNX Runtime and metadata."""
    nodes = [node("Gemm", "x,a,b", "h"), node("Relu", "h", "r"), node("Gemm", "r,c", "y")]
    weights = {"a": f(64, 32) * np.float32(weight), "b": f(32), "c": f(32, 1) * np.float32(weight)}
    data = graph(nodes, weights, (1, 64))
    meta = load_artifact(DEMO).metadata
    meta = replace(
        meta,
        actions=["BUY"],
        outputs=[replace(meta.outputs[0], name="y", kind="value")],
        decision=replace(meta.decision, rule="sign", threshold=0.5),
    )
    return compile_model(data, "y"), OrtModel(data, output="y").kernel(), meta


def test_where_onnx_runtime_rounds_the_exact_score_judges() -> None:
    compiled, kernel, meta = _wide()
    rows = judge.hard_rows(compiled, (-5.0, 5.0))

    def verdict(reference: Any) -> judge.Verdict:
        return judge.judge(compiled, reference, rows, meta, "x")

    plain = verdict(kernel)
    assert plain.good and plain.by_float64 == 0 and "by float64" not in str(plain)
    rounds = verdict(_Off(kernel, 4e-6, slice(10, 30)))  # further than the tolerance: which of the two is off?
    assert rounds.good and 0 < rounds.by_float64 <= 20 and rounds.worst <= 1e-6
    assert f"({rounds.by_float64} of them by float64)" in str(rounds)
    assert (rounds + rounds).by_float64 == 2 * rounds.by_float64 and (rounds + rounds).good
    wrong = verdict(_Off(kernel, 1e-2, slice(10, 30)))  # no rounding: the two do not compute the same function
    assert not wrong.good and wrong.by_float64 == 0 and wrong.worst > 1e-4
    nothing = verdict(_Off(kernel, np.nan))
    assert not nothing.good and nothing.by_float64 == 0


@pytest.mark.parametrize("spoil", [3e-6, 1e-3])
def test_a_plan_that_is_off_is_off_by_float64_too(spoil: float) -> None:
    """The exact score excuses ONNX Runtime's rounding, not the plan's."""
    compiled, kernel, meta = _wide()
    rows = judge.hard_rows(compiled, (-5.0, 5.0))
    spoiled = dataclasses.replace(compiled, plan=_Plan(_Off(compiled.plan.kernel(), spoil)))  # type: ignore[arg-type]
    found = judge.judge(spoiled, kernel, rows, meta, "x")
    assert not found.good and found.worst > 1.5e-6
    assert (found.by_float64 > 0) is (spoil < 1e-5)


def test_a_wider_tolerance_is_the_owners_word() -> None:
    """A trained network cancels large terms: neither engine is within 1e-6 of the exact score."""
    compiled, kernel, meta = _wide(0.6)
    rows = judge.hard_rows(compiled, (-5.0, 5.0))
    strict = judge.judge(compiled, kernel, rows, meta, "x")
    assert not strict.good and 1e-6 < strict.worst < 5e-5
    assert str(strict).endswith("; the metadata may declare a wider tolerance")
    wider = replace(meta, tolerance=1e-4)
    found = judge.judge(compiled, kernel, rows, wider, "x")
    assert found.good and found.tolerance == 1e-4 and "decisions differ within 0.0001" in str(found)
    spoiled = dataclasses.replace(compiled, plan=_Plan(_Off(compiled.plan.kernel(), 3e-2)))  # type: ignore[arg-type]
    assert not judge.judge(spoiled, kernel, rows, wider, "x").good
    assert not judge._good(replace(found, tolerance=1.0))  # no verdict is believed that allows itself more


@pytest.mark.parametrize("tolerance", [0.0, 1e-7, 2e-4, float("nan"), float("inf")])
def test_a_tolerance_has_limits(tolerance: float) -> None:
    with pytest.raises(ModelError, match=r"tolerance .* must be from 1e-06 to 0\.0001"):
        check(replace(load_artifact(DEMO).metadata, tolerance=tolerance), "metadata")


class _Plan:
    """As much of a plan as the judge asks for."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def kernel(self) -> Any:
        return self._kernel


def test_a_graph_that_is_not_read_in_float64_has_no_exact_score() -> None:
    x = f(3, 6)
    known = read_graph(graph([node("Tanh", "x")]))
    assert exact_scores(known, "y", x[:0], (1, 6)) is None
    found = exact_scores(known, "y", x, (1, 6))
    assert found is not None and found.dtype == np.float64 and (found == np.tanh(x.astype(np.float64))).all()
    assert exact_scores(read_graph(graph([node("Erf", "x")])), "y", x, (1, 6)) is None
    beside = read_graph(graph([node("Tanh", "x"), node("ArgMax", "y", "label")]))
    assert np.array_equal(exact_scores(beside, "y", x, (1, 6)), found)  # type: ignore[arg-type]


def test_a_flip_at_the_threshold_is_tolerated_and_counted(loaded: LoadedModel) -> None:
    meta = replace(loaded.metadata, decision=replace(loaded.metadata.decision, threshold=0.625))
    kind = meta.outputs[0].kind
    assert kind == "probabilities"
    above, below = np.float32(0.625), np.nextafter(np.float32(0.625), np.float32(0))
    y = [np.array([[0.25, 0.125, v]], np.float32) for v in (above, below)]
    v = judge.compare(*y, meta, exact=False, about="x")
    assert v.good and v.flips == 1 and v.wrong == 0
    far = np.array([[0.25, 0.125, 0.6]], np.float32)
    assert judge.compare(y[0], far, meta, exact=False, about="x").wrong == 1


def test_decisions_are_those_of_the_gate(loaded: LoadedModel) -> None:
    s = simulate(10_000, seed=3, levels=1)
    with alpha.Runtime.from_artifact(DEMO, instruments=s.instruments) as rt:
        signals = rt.run(s.events)
    decided = signals[np.isin(signals["reason"], [Reason.MODEL, Reason.BELOW_THRESHOLD])]
    assert len(decided) > 1000
    mine = judge.decide(decided["scores"][:, :3], loaded.metadata)
    assert (mine.action == decided["action"]).all()


def test_windows_and_probes() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert judge.windows(rows, 2) is rows
    assert judge.windows(rows, 6).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [2, 3, 4, 5, 6, 7],
        [4, 5, 6, 7, 8, 9],
        [6, 7, 8, 9, 10, 11],
    ]
    with pytest.raises(ModelError, match="do not make inputs of 5"):
        judge.windows(rows, 5)
    with pytest.raises(ModelError, match="cannot be read"):
        judge.probe_rows(b"nonsense", 2, 2)
    assert len(judge.probe_rows(None, 2, 2)) == 0


def test_rows_made_to_hurt_stay_within_reach_where_nothing_is_clipped(loaded: LoadedModel) -> None:
    """Raw features have no clip range: at 1e38 every sum overflows, in either engine in its own way."""
    none = (-3.4e38, 3.4e38)
    probes = np.array([[1.0, -700.0], [3.0, 2.0]], np.float32)
    assert judge.reach((-5.0, 5.0), probes) == (-5.0, 5.0)
    assert judge.reach(none, probes) == (-5600.0, 5600.0) and judge.reach((0.0, 3.4e38), probes) == (0.0, 5600.0)
    assert judge.reach(none, probes[:0]) == (-8.0, 8.0)
    compiled = compile_model(loaded.model_bytes, loaded.metadata.outputs[0].name)
    rows = judge.hard_rows(compiled, judge.reach(none, probes))
    assert rows.min() == -5600 and rows.max() == 5600


def test_normalised_rows_are_those_of_the_pipeline(loaded: LoadedModel) -> None:
    meta = loaded.metadata
    x = np.random.default_rng(0).standard_normal((200, len(meta.mean))).astype(np.float32) * 100
    z = normalised(x, meta.mean, meta.std, meta.clip)
    low, high = (float(np.float32(v)) for v in meta.clip)
    for row, given in zip(z.tolist(), x.tolist(), strict=True):
        for value, raw, mean, std in zip(row, given, meta.mean, meta.std, strict=True):
            assert value == min(max(float(np.float32((raw - mean) / (std if std > 0 else 1.0))), low), high)
    np.testing.assert_array_equal(normalised(x[3], meta.mean, [0.0] * len(meta.std), meta.clip), np.clip((x[3] - meta.mean).astype(np.float32), low, high))  # fmt: skip


def test_bfloat16_is_judged_by_decisions(loaded: LoadedModel) -> None:
    found = validate(loaded, [], "bf16")
    assert found.verdict.half and found.verdict.good and 1e-5 < found.verdict.worst < 0.05
    assert "takes the decisions of ONNX Runtime in" in str(found.verdict)
    assert compile_model(loaded.model_bytes, loaded.metadata.outputs[0].name).precision == "float32"
    assert choose_engine(loaded, "auto", "bf16").name == "plan"


def test_the_command_judges_and_stores(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars as pl

    from alpha.cli.main import main

    e = simulate(6000, seed=3, levels=1).events
    quote, v = e["kind"] == 1, e["v"]
    columns = {"bid": 0, "ask": 1, "bid_size": 2, "ask_size": 3}
    table = {"ts": e["ts_event_ns"], "kind": e["kind"], "side": np.where(quote, 0, v[:, 2]).astype(np.int8)}
    table |= {name: np.where(quote, v[:, k], np.nan) for name, k in columns.items()}
    table |= {name: np.where(quote, np.nan, v[:, k]) for name, k in {"last": 0, "last_size": 1}.items()}
    ticks = tmp_path / "ticks.parquet"
    pl.DataFrame(table).with_columns(pl.col(*columns, "last", "last_size").fill_nan(None)).write_parquet(ticks)

    def call(*more: str) -> tuple[int, dict[str, Any]]:
        code = main(["validate", str(artifact), "--data", str(ticks), "--json", *more])
        return code, json.loads(capsys.readouterr().out)

    code, result = call()
    assert code == 0 and result["pass"] and result["engine"] == "plan" and result["steps"][-1] == "SOFTMAX"
    assert result["rows"] > 3000 and result["worst"] <= 1e-6 and "stored" not in result
    assert not (artifact / "judged.json").exists()
    assert call("--store")[1]["stored"] == str(artifact / "judged.json")
    code, result = call("--precision", "bf16")
    assert code == 0 and result["precision"] == "bf16" and "bfloat16" in result["reason"]
    assert main(["validate", str(artifact), "--data", str(ticks)]) == 0
    assert "when it is loaded, plan serves: the plan agrees" in capsys.readouterr().out
    (artifact / "judged.json").unlink()

    # a plan that only differs on rows of the data: what was found, and what serves, are two things
    real = judge.judge

    def judged(compiled: Compiled, reference: Any, rows: judge.Rows, meta: Metadata, about: str) -> judge.Verdict:
        found = real(compiled, reference, rows, meta, about)
        return found if len(rows) < 3000 else replace(found, good=False, worst=3.1e-3, wrong=2)

    monkeypatch.setattr("alpha.engine.judge.judge", judged)
    code, result = call()
    assert code == 1 and not result["pass"] and "differs from ONNX Runtime by 3.1e-03" in result["found"]
    assert result["engine"] == "plan" and "agrees" in result["reason"] and "stored" not in result
    assert main(["validate", str(artifact), "--data", str(ticks)]) == 1
    told = capsys.readouterr().out
    assert "over your data and the model's own rows the plan differs" in told
    assert "when it is loaded, plan serves: the plan agrees" in told and "goes on serving until" in told
    code, result = call("--store")
    assert code == 1 and result["engine"] == "ort" and result["stored"] == str(artifact / "judged.json")
    assert result["reason"].startswith("alpha validate found that the plan differs from ONNX Runtime by 3.1e-03")
    monkeypatch.undo()
    assert choose_engine(load_artifact(artifact)).reason == result["reason"]
    code, result = call("--store")  # good over these rows: the bad one stays
    assert code == 0 and result["pass"] and result["engine"] == "ort" and "alpha validate found" in result["reason"]
    assert main(["validate", str(artifact), "--data", str(ticks)]) == 0
    assert "goes on serving" not in capsys.readouterr().out
