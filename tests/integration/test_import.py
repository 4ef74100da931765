"""A model that was trained elsewhere comes in by the command line, and its signals are ONNX Runtime's, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models as made
import polars as pl
import pytest
from onnx import TensorProto, helper

import alpha
from alpha.cli.main import main
from alpha.data import open_events
from alpha.data.simulate import simulate
from alpha.errors import ModelError
from alpha.events import Reason
from alpha.features import batch
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha.models import adopt as adoption
from alpha.models import metadata
from alpha.models.adopt import Declared, Scaler
from alpha.models.sample import read_sample
from alpha.models.score import scores
from alpha.models.trial import trial
from alpha.registry import load, promote, verify

NAMES = ("spread_bp", "imbalance", "fast", "slow", "zscore", "rsi")
TOML = """trigger = "quote"
[features]
spread_bp = "1e4 * spread / mid"
imbalance = "imbalance"
fast = "ema(imbalance, span=10)"
slow = "ema(imbalance, span=50)"
zscore = "zscore(mid, 50)"
rsi = "rsi(mid, 14)"
"""
ACTIONS = "SELL,HOLD,BUY"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with features f.toml and a model x.onnx of six features and three classes."""
    (tmp_path / "f.toml").write_text(TOML)
    (tmp_path / "x.onnx").write_bytes(made.softmax(6))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def adopt(data: bytes, fs: FeatureSet, said: Declared, **more: Any) -> adoption.Adoption:
    """In this process: one of its own for each call would take a second."""
    return adoption.adopt(data, fs, said, run=scores, **more)


def features() -> FeatureSet:
    return FeatureSet.from_toml("f.toml")


def bring(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON object, stderr) of ``alpha import``."""
    code = main(["import", *map(str, args), "--json"])
    out, err = capsys.readouterr()
    assert out.count("\n") == 1  # exactly one object
    return code, json.loads(out), err


def rows_of(fs: FeatureSet, events: Any, instruments: Instruments) -> tuple[Any, Any]:
    index, x, ready = batch.compute(fs, events, instruments)
    return index[ready], x[ready]


def by_hand(model: bytes, output: str, z: Any) -> Any:
    """Scores by onnxruntime's own Python module, row by row."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([output], {name: row[None]})[0] for row in z])


def check_signals(signals: Any, index: Any, scores: Any, threshold: float) -> None:
    """Each ready row is a decision whose scores, action and reason follow from ORT's numbers."""
    of_row = dict(zip(index.tolist(), range(len(index)), strict=True))
    decided = [s for s in signals if int(s["event_index"]) in of_row]
    assert len(decided) == len(index) > 1_000
    acted = 0
    for s in decided:
        p = scores[of_row[int(s["event_index"])]]
        assert s["scores"][:3].tobytes() == p.astype(np.float32).tobytes()
        best = int(p.argmax())
        sure = p[best] >= np.float32(threshold)
        assert s["action"] == ((-1, 0, 1)[best] if sure else 0)
        assert s["reason"] == (Reason.MODEL if sure else Reason.BELOW_THRESHOLD)
        assert s["confidence"] == p[best]
        acted += int(s["action"]) != 0
    assert 0 < acted < len(decided)


def trained(x: Any, kind: str) -> tuple[bytes, str, str]:
    """(bytes, output, what it holds): a small fit on normalised rows, exported as people do."""
    import warnings

    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    y = (x[:, 1] > 0.4).astype(int) - (x[:, 1] < -0.4)
    estimator = {
        "logistic": LogisticRegression(),
        "forest": RandomForestClassifier(5, max_depth=5, random_state=1),
        "mlp": MLPClassifier((8,), max_iter=15, random_state=1),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
        proto = to_onnx(estimator, x[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3})
    return bytes(proto.SerializeToString()), "probabilities", "probabilities"


def come_in_and_run(
    place: Path, capsys: pytest.CaptureFixture[str], data: Path, events: Any, instruments: Instruments, kind: str
) -> None:
    fs = features()
    index, x = rows_of(fs, events, instruments)
    mean, std = x.mean(axis=0).astype(float), x.std(axis=0).astype(float)
    scaler = Scaler(mean.tolist(), std.tolist(), (-4.0, 4.0))
    model, output, holds = trained(scaler.apply(x), kind)
    (place / "mine.onnx").write_bytes(model)
    (place / "s.json").write_text(json.dumps({"mean": scaler.mean, "std": scaler.std, "clip": [-4.0, 4.0]}))
    pl.DataFrame({"ts": index, **{n: x[:, j] for j, n in enumerate(NAMES)}}).write_parquet(place / "sample.parquet")
    code, result, _ = bring(
        capsys, "mine.onnx", "--features", "f.toml", "--actions", ACTIONS, "--kind", holds, "--scaler", "s.json",
        "--sample", "sample.parquet", "--threshold", 0.5, "--owner", "me",
    )  # fmt: skip
    assert (code, result["model"], result["status"]) == (0, "mine/1", "candidate")
    assert all(c["passed"] for c in result["checks"]) and result["sample_rows"] == min(len(x), 20_000)
    assert [p["use"] for p in result["ports"]] == ["features", "labels", "the scores"]
    probes = np.load(place / "artifacts/mine/v1/probes.npy")
    assert probes.dtype == np.float32 and probes.shape[1] == 6 and len(probes) >= 500
    # what numerics says, in float64, then float32, then the clip: written out once more, not by the code under test
    z = np.clip(((x.astype(np.float64) - mean) / std).astype(np.float32), np.float32(-4), np.float32(4))
    assert probes[0].tobytes() == z[0].tobytes()
    theirs = by_hand(model, output, z)
    with alpha.Runtime.from_artifact(result["artifact"], instruments=instruments, engine="ort") as rt:
        assert not rt.bundle.governed and rt.bundle.name == "mine/1"
        check_signals(rt.run(events), index, theirs, 0.5)
    code = main(["run", "--model", "models:/mine/1", "--data", str(data), "--json"])
    ran = json.loads(capsys.readouterr().out)
    assert code == 0 and ran["governed"] and ran["model_sha256"] == result["model_sha256"]
    assert ran["reasons"]["MODEL"] > 0 and ran["lost"] == 0
    assert verify(place / "registry.json") == (1, [])
    (place / "registry.toml").write_text('[policy]\ndefinition_commit = "optional"\n')  # no repository here
    assert promote(place / "registry.json", "models:/mine/1", approver="you").resolve("models:/mine@production")


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_simulated_data(place: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    e = simulate(6_000, seed=5, levels=1).events
    v, quote = e["v"], e["kind"] == 1
    frame = pl.DataFrame(
        {
            "ts": e["ts_event_ns"],
            "kind": e["kind"],
            **{
                name: np.where(quote == is_quote, v[:, j], np.nan)
                for name, j, is_quote in (
                    ("bid", 0, True),
                    ("ask", 1, True),
                    ("bid_size", 2, True),
                    ("ask_size", 3, True),
                    ("last", 0, False),
                    ("last_size", 1, False),
                )
            },
            "side": np.where(quote, 0, v[:, 2]).astype(np.int8),
        }
    ).with_columns(pl.col("bid", "ask", "bid_size", "ask_size", "last", "last_size").fill_nan(None))
    frame.write_parquet(place / "ticks.parquet")
    source = open_events(place / "ticks.parquet")
    events = source.read_all()
    come_in_and_run(place, capsys, place / "ticks.parquet", events, source.instruments, kind)


@pytest.mark.real_data
def test_a_slice_of_a_real_day(place: Path, capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    file = data_dir / "lobster" / "AMZN_20120621_L5.parquet"
    if not file.exists():
        pytest.skip(f"{file.name} is not in the data folder")
    source = open_events(file)
    events = source.read_all()[:8_000]
    come_in_and_run(place, capsys, file, events, source.instruments, "forest")


# -- what is said about the file, and what does not fit


def metadata_short(**changes: Any) -> dict[str, Any]:
    return {
        "model_id": "HybridPPO",
        "version": "v2",
        "feature_names": list(NAMES),
        "mean": [0.5] * 6,
        "std": [2.0] * 6,
        "actions": ACTIONS.split(","),
        **changes,
    }


@pytest.mark.parametrize("name", ["x.json", "x.metadata.json", "x_metadata.json", "metadata.json"])
def test_the_specifications_metadata_beside_the_file(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (place / name).write_text(json.dumps(metadata_short()))
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities")
    assert code == 0 and result["model"] == "HybridPPO/2" and result["metadata"] == name
    meta = metadata.decode((place / "artifacts/HybridPPO/v2/metadata.json").read_bytes())
    assert (meta.mean, meta.std, meta.clip) == ([0.5] * 6, [2.0] * 6, (-5.0, 5.0))
    assert meta.actions == ACTIONS.split(",") and meta.outputs[0].kind == "probabilities"
    assert (meta.opset, meta.ir_version) == (18, 10)


def test_metadata_of_a_folder_with_several_models_belongs_to_none(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "metadata.json").write_text(json.dumps(metadata_short()))
    (place / "y.onnx").write_bytes(made.softmax(6, seed=3))
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS)
    assert code == 0 and result["metadata"] is None and result["model"] == "x/1"


def test_our_own_metadata_says_everything(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, first, _ = bring(
        capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS, "--threshold", 0.4
    )
    assert code == 0
    full = str(Path(first["artifact"]) / "metadata.json")
    code, again, _ = bring(
        capsys, "x.onnx", "--features", "f.toml", "--metadata", full, "--id", "twin", "--version", "v3"
    )
    assert code == 0 and again["model"] == "twin/3"
    meta = metadata.decode((Path(again["artifact"]) / "metadata.json").read_bytes())
    assert (meta.decision.threshold, meta.outputs[0].name, meta.actions) == (0.4, "p", ACTIONS.split(","))
    (place / "y.onnx").write_bytes(made.softmax(6, seed=9))
    code, refused, _ = bring(capsys, "y.onnx", "--features", "f.toml", "--metadata", full, "--id", "other")
    assert code == 2 and "belongs to another file" in refused["error"]


def test_versions_count_up_and_a_given_one_must_be_free(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS]
    assert [bring(capsys, *said)[1]["model"] for _ in range(2)] == ["x/1", "x/2"]
    code, result, _ = bring(capsys, *said, "--version", 2)
    assert code == 2 and "already exists" in result["error"]
    assert [e.number for e in load(place / "registry.json").document.models] == [1, 2]


def test_without_a_scaler_or_sample_it_is_said_and_cannot_be_promoted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS)
    assert code == 0
    told = " ".join(result["notes"])
    assert "takes raw features" in told and "made-up rows" in told
    meta = metadata.decode((Path(result["artifact"]) / "metadata.json").read_bytes())
    assert (meta.mean, meta.std) == ([0.0] * 6, [1.0] * 6)
    assert meta.clip[1] > 1e38  # no float32 is cut
    with pytest.raises(alpha.AlphaError, match="sample_rows"):
        promote(place / "registry.json", "models:/x/1", approver="me")


def test_look_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--look")
    assert code == 0 and [p["name"] for p in result["ports"]] == ["x", "p"]
    assert main(["import", "x.onnx", "--features", "f.toml", "--look"]) == 0
    shown = capsys.readouterr().out
    assert "tensor(float)" in shown and "['N', 6]" in shown
    assert sorted(p.name for p in place.iterdir()) == ["f.toml", "x.onnx"]


SAID = ["--kind", "probabilities", "--actions", ACTIONS]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--actions", ACTIONS], "say what output 'p' holds: --kind logits"),
        (["--kind", "probabilities"], "say what each score stands for"),
        (["--kind", "probabilities", "--actions", "SELL,BUY"], "gives 3 scores, but there are 2 actions"),
        (["--kind", "probabilities", "--actions", "SELL,WAIT,BUY"], "must be different ones of SELL, HOLD, BUY"),
        (["--kind", "logits", "--actions", ACTIONS], "every row sums to 1"),
        (["--kind", "value"], "gives 3 scores, but a value is one number"),
        (["--kind", "value", "--actions", ACTIONS], "a value needs none"),
        ([*SAID, "--output", "q"], "no output 'q'; it has: p tensor"),
        ([*SAID, "--threshold", "1.5"], "threshold 1.5 is not a probability"),
        ([*SAID, "--version", "0"], "is not a positive number"),
        ([*SAID, "--id", "../up"], "model_id '../up'"),
        ([*SAID, "--scaler", "nothing.json"], "nothing.json does not exist"),
        ([*SAID, "--metadata", "nothing.json"], "nothing.json does not exist"),
        ([*SAID, "--sample", "nothing.parquet"], "nothing.parquet does not exist"),
        ([*SAID, "--sample", "f.toml"], "sample f.toml cannot be read"),
        ([*SAID, "--registry", "."], "is a folder"),
    ],
)
def test_what_is_not_said_or_wrong(
    place: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    code, result, err = bring(capsys, "x.onnx", "--features", "f.toml", *more)
    assert code == 2 and message in result["error"] and message in err
    assert not (place / "artifacts").exists() and not (place / "registry.json").exists()


def graph_of(inputs: list[Any], outputs: list[Any]) -> bytes:
    """A model that joins its inputs and gives them out under each name."""
    kinds = {i.name: i.type.tensor_type.elem_type for i in inputs}
    nodes = [helper.make_node("Cast", [n], [f"{n}_f"], to=1) for n in kinds]
    nodes.append(helper.make_node("Concat", [f"{n}_f" for n in kinds], ["all"], axis=-1))
    nodes += [helper.make_node("Cast", ["all"], [o.name], to=o.type.tensor_type.elem_type) for o in outputs]
    return made.model(nodes, inputs, outputs)


DOUBLE, INT64 = TensorProto.DOUBLE, TensorProto.INT64
V = made.value
FILES: dict[str, tuple[bytes, str]] = {
    "width": (made.softmax(5), "the model takes 5 features, feature set 'f' makes 6: spread_bp"),
    "batch": (made.softmax(6, batch=8), "takes 8 rows at once"),
    "double": (graph_of([V("x", 1, 6, kind=DOUBLE)], [V("p", 1, 6)]), r"input 'x' is tensor\(double\): export"),
    "window": (graph_of([V("x", 1, 4, 6)], [V("p", 1, 4, 6)]), r"of shape \[1, 4, 6\]: \[1, 6\] or"),
    "open": (graph_of([V("x", "N", "F")], [V("p", "N", "F")]), "does not say how many features it takes"),
    "inputs": (graph_of([V("a", 1, 3), V("b", 1, 3)], [V("p", 1, 6)]), r"has 2 inputs \(a, b\)"),
    "outputs": (graph_of([V("x", 1, 6)], [V("p", 1, 6), V("q", 1, 6)]), "choose one with --output p or --output q"),
    "labels": (graph_of([V("x", 1, 6)], [V("n", 1, 6, kind=INT64)]), "no float32 output that could hold scores"),
    "zip": (b"PK\x03\x04" + bytes(40), "not an ONNX file but a zip archive"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_that_do_not_fit(place: Path, name: str) -> None:
    data, message = FILES[name]
    said = Declared(actions=("SELL", "HOLD", "BUY"), kind="probabilities")
    with pytest.raises(ModelError, match=message):
        adopt(data, features(), said)


def test_an_output_may_be_chosen_and_labels_are_no_scores(place: Path) -> None:
    data = graph_of([V("x", 1, 6)], [V("p", 1, 6), V("n", 1, 6, kind=INT64)])
    said = Declared(kind="logits", actions=("SELL", "HOLD", "BUY"), output="n")
    with pytest.raises(ModelError, match=r"output 'n' is tensor\(int64\): it holds labels, not scores"):
        adopt(data, features(), said)


def test_a_zipmap_is_named(place: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    data = made.exported(LogisticRegression(), zipmap=True)
    for output in (None, "output_probability"):
        said = Declared(actions=("SELL", "HOLD", "BUY"), kind="probabilities", output=output)
        with pytest.raises(ModelError, match=r"ZipMap.*options=\{'zipmap': False\}"):
            adopt(data, features(), said)


def test_classes_in_another_order_than_the_actions(place: Path) -> None:
    """scikit-learn sorts names: BUY, HOLD, SELL. Taken in the usual order, every signal would be turned round."""
    data = made.zoo()["logistic_names"]
    with pytest.raises(ModelError, match="give them in the model's order: --actions BUY,HOLD,SELL"):
        adopt(data, features(), Declared(actions=("SELL", "HOLD", "BUY"), kind="probabilities"))
    assert adopt(data, features(), Declared(actions=("BUY", "HOLD", "SELL"), kind="probabilities")).worst_sum < 1e-6
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    _, y = made.sample()
    for estimator in (LogisticRegression(), MLPClassifier((3,), max_iter=5, random_state=0)):
        codes = made.exported(estimator, y - 1)  # -1, 0, 1
        with pytest.raises(ModelError, match="--actions SELL,HOLD,BUY"):
            adopt(codes, features(), Declared(actions=("BUY", "HOLD", "SELL"), kind="probabilities"))
        adopt(codes, features(), Declared(actions=("SELL", "HOLD", "BUY"), kind="probabilities"))


def test_a_value_decides_by_its_sign(place: Path) -> None:
    result = adopt(made.zoo()["ridge"], features(), Declared(kind="value", threshold=0.1, model_id="r"))
    assert result.metadata.decision.rule == "sign" and result.metadata.output_schema == ["value"]
    with pytest.raises(ModelError, match="one logit cannot be served"):
        adopt(made.zoo()["ridge"], features(), Declared(kind="logits", actions=("BUY",)))


def test_probabilities_that_are_none(place: Path) -> None:
    with pytest.raises(ModelError, match="was declared as probabilities, but"):
        adopt(made.lstm(), features(), Declared(kind="probabilities", actions=("SELL", "HOLD", "BUY")))


def test_a_sample_with_which_the_model_is_not_finite(place: Path) -> None:
    weights = {"w": np.full((6, 3), 3e38, np.float32)}
    data = made.model([helper.make_node("MatMul", ["x", "w"], ["s"])], [V("x", "N", 6)], [V("s", "N", 3)], weights)
    rows = np.zeros((3, 6), np.float32)
    rows[1] = 5.0
    with pytest.raises(ModelError, match=r"row 1 of the sample gives \[inf, inf, inf\]"):
        adopt(data, features(), Declared(kind="logits", actions=("SELL", "HOLD", "BUY")), rows=rows)


def test_samples_that_do_not_fit(place: Path) -> None:
    good = {n: [float(j), 1.0] for j, n in enumerate(NAMES)}
    cases: list[tuple[dict[str, list[Any]], str]] = [
        ({n: good[n] for n in NAMES[:-1]}, r"lacks the column 'rsi' \(1 of 6"),
        ({n: good[n] for n in reversed(NAMES)}, "feature 0 is 'rsi' in the file but 'spread_bp'"),
        ({**good, "fast": [1.0, float("nan")]}, "row 1 of 'fast' is nan"),
        ({**good, "slow": [1.0, None]}, "row 1 of 'slow' is nan"),
        ({**good, "slow": ["a", "b"]}, "column 'slow' holds no numbers"),
        ({n: [] for n in NAMES}, "has no rows"),
    ]
    for columns, message in cases:
        pl.DataFrame(columns).write_parquet("s.parquet")
        with pytest.raises(ModelError, match=message):
            read_sample("s.parquet", NAMES)
    pl.DataFrame({"label": [1, 2], **good, "ts": [3, 4]}).write_parquet("s.parquet")
    assert read_sample("s.parquet", NAMES).tolist() == [[float(j) for j in range(6)], [1.0] * 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mean": [0]}', "missing required field `std`"),
        ('{"mean": [0, 0], "std": [1, 1]}', "mean has 2 values for 6 features"),
        ('{"mean": [0,0,0,0,0,0], "std": [1,1,1,1,1,-1]}', "std contains a negative value"),
        ('{"mean": [0,0,0,0,0,0], "std": [1,1,1,1,1,1], "clip": [3, -3]}', "clip must be a finite range"),
        ('{"mean": [0,0,0,0,0,NaN], "std": [1,1,1,1,1,1]}', "NaN"),
        ('{"means": [0]}', "unknown field"),
    ],
)
def test_scalers_that_do_not_fit(place: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (place / "s.json").write_text(text)
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", *SAID, "--scaler", "s.json")
    assert code == 2 and message in result["error"]


def test_what_metadata_and_options_say_must_not_differ(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "metadata.json").write_text(json.dumps(metadata_short()))
    (place / "s.json").write_text(json.dumps({"mean": [1.0] * 6, "std": [2.0] * 6}))
    for more, message in (
        (["--kind", "probabilities", "--actions", "BUY,HOLD,SELL"], "differ from the metadata's: SELL,HOLD,BUY"),
        (["--kind", "probabilities", "--scaler", "s.json"], "--scaler and the metadata give different"),
    ):
        code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", *more)
        assert code == 2 and message in result["error"]
    (place / "metadata.json").write_text(json.dumps(metadata_short(feature_names=list(reversed(NAMES)))))
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities")
    assert code == 2 and "feature 0 is 'rsi' for the model but 'spread_bp'" in result["error"]


# -- the first run, in a process of its own


def test_the_trial_gives_the_bits_of_the_engine_in_this_process() -> None:
    x = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    for name, output in (("forest", "probabilities"), ("convolution", "s")):
        data = made.zoo()[name]
        assert trial(data, output, x).tobytes() == scores(data, output, x).tobytes()


def test_a_model_that_needs_too_much_memory_costs_one_sentence() -> None:
    """An outer product of two small tensors: 64 GB, which no check of the file's own numbers sees."""
    n = 1 << 17
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["c"]),
        helper.make_node("ReduceSum", ["c"], ["d"], keepdims=0),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    weights = {"a": np.ones((n, 1), np.float32), "b": np.ones((1, n), np.float32)}
    data = made.model(nodes, [V("x", 1, 6)], [V("y", 1, 6)], weights)
    with pytest.raises(ModelError, match=r"allocate|memory"):
        trial(data, "y", np.zeros((1, 6), np.float32))


def test_a_trial_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    for line, message in (("kill -SEGV $$", "was stopped by signal 11"), ("exit 7", r"failed \(exit code 7\)")):
        script.write_text(f"#!/bin/sh\ncat >/dev/null\n{line}\n")
        script.chmod(0o755)
        monkeypatch.setattr("alpha.models.trial.sys.executable", str(script))
        with pytest.raises(ModelError, match=f"ONNX Runtime {message} with this model: it is not served"):
            trial(made.softmax(6), "p", np.zeros((1, 6), np.float32))
