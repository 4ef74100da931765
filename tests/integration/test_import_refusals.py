"""Files, options and samples that ``alpha import`` refuses, each in a sentence; the first run in its own process."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models as made
import polars as pl
import pytest
from imports import ACTIONS, NAMES, adopt, bring, features, metadata_short
from onnx import TensorProto, helper

from alpha.cli.main import main
from alpha.errors import ModelError
from alpha.models.adopt import Declared
from alpha.models.sample import read_sample
from alpha.models.score import scores
from alpha.models.trial import trial

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
        ([*SAID, "--id", ""], "--id is empty"),
        ([*SAID, "--output", ""], "--output is empty"),
        ([*SAID, "--scaler", "nothing.json"], "nothing.json does not exist"),
        ([*SAID, "--metadata", "nothing.json"], "nothing.json does not exist"),
        ([*SAID, "--sample", "nothing.parquet"], "nothing.parquet does not exist"),
        ([*SAID, "--sample", "."], "sample . is a folder"),
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
    "window": (graph_of([V("x", 1, 4, 6)], [V("p", 1, 4, 6)]), r"output 'p' has shape \[1, 4, 6\]: the scores of one decision"),
    "shape": (graph_of([V("x", 1, 2, 4, 6)], [V("p", 1, 6)]), r"of shape \[1, 2, 4, 6\]: \[1, 6\] or"),
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
        ({**good, "slow": [1.0, None]}, "row 1 of 'slow' is null: a model never"),
        ({**good, "slow": ["a", "b"]}, "column 'slow' holds large_string, no numbers"),
        ({**good, "slow": [None, None]}, "row 0 of 'slow' is null"),
        ({**good, "slow": [True, None]}, "row 1 of 'slow' is null"),
        ({**good, "slow": [1.0, -1e200]}, r"row 1 of 'slow' is -1e\+200, which float32 does not hold"),
        ({**good, "slow": [[1.0], [2.0]]}, r"column 'slow' holds large_list<.*>, no numbers"),
        ({n: [] for n in NAMES}, "has no rows"),
    ]
    for columns, message in cases:
        pl.DataFrame(columns).write_parquet("s.parquet")
        with pytest.raises(ModelError, match=message), warnings.catch_warnings():
            warnings.simplefilter("error")  # one sentence, and no other line before it
            read_sample("s.parquet", NAMES)
    with pytest.raises(ModelError, match=r"sample \. is a folder: name a Parquet file"):
        read_sample(".", NAMES)
    money = pl.DataFrame(
        {**good, "slow": [Decimal("1.250"), Decimal("-7.5")]}, schema_overrides={"slow": pl.Decimal(10, 3)}
    )
    money.write_parquet("s.parquet")
    assert read_sample("s.parquet", NAMES)[:, NAMES.index("slow")].tolist() == [1.25, -7.5]
    pl.DataFrame({"label": [1, 2], **good, "ts": [3, 4]}).write_parquet("s.parquet")
    assert read_sample("s.parquet", NAMES).tolist() == [[float(j) for j in range(6)], [1.0] * 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"mean": [0]}', "missing required field `std`"),
        ('{"mean": [0, 0], "std": [1, 1]}', "mean has 2 values for 6 features"),
        ('{"mean": [0,0,0,0,0,0], "std": [1,1,1,1,1,-1]}', "std contains a negative value"),
        ('{"mean": [0,0,0,0,0,0], "std": [1,1,1,1,1,1e-320]}', "s.json: std 9.99989e-321 is too small to divide by"),
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
    script.write_text("#!/bin/sh\ncat >/dev/null\nkill -XCPU $$\n")
    with pytest.raises(ModelError, match="more than 60 s with this model and 3 rows: use fewer sample rows"):
        trial(made.softmax(6), "p", np.zeros((3, 6), np.float32))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({k: v for k, v in metadata_short().items() if k != "actions"}),
        json.dumps(metadata_short(feature_names=["other", *NAMES[1:]])),
        json.dumps(metadata_short(actions=["SELL", "BUY", "HOLD"])),
        "[]",
        "{",
    ],
)
def test_metadata_that_was_found_is_named_with_the_way_out(
    place: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (place / "x.json").write_text(text)
    code, found, _ = bring(capsys, "x.onnx", "--features", "f.toml", *SAID)
    assert code == 2 and found["error"].startswith("x.json, which lies beside the model and is taken as its metadata: ")
    assert found["error"].endswith("; name the right file with --metadata FILE, or move this one away")
    (place / "x.json").rename(place / "named.json")
    code, named, _ = bring(capsys, "x.onnx", "--features", "f.toml", *SAID, "--metadata", "named.json")
    assert code == 2 and named["error"].startswith("named.json: ") and "move this one away" not in named["error"]
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", *SAID)
    assert code == 0 and result["metadata"] is None


HOSTILE = "p\x1b]0;owned\x07\x1b[2J\u202eq\nalpha: all is well"


def test_names_from_the_file_do_not_steer_the_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [V(HOSTILE, "N", 6), V(HOSTILE + "2", "N", 6)]
    (place / "evil.onnx").write_bytes(graph_of([V("x", "N", 6)], outputs))
    for more, code in ((["--look"], 0), (SAID, 2)):
        assert main(["import", "evil.onnx", "--features", "f.toml", *more]) == code
        out, err = capsys.readouterr()
        assert "\\x1b]0;owned\\x07" in out + err and "\\u202e" in out + err
        assert not {c for c in out + err if not c.isprintable()} - {"\n"}
        assert not [line for line in out.splitlines() if line.startswith("alpha: all")]


def test_look_says_that_the_inputs_do_not_fit(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "four.onnx").write_bytes(made.softmax(4))
    code, result, _ = bring(capsys, "four.onnx", "--features", "f.toml", "--look")
    assert code == 0 and "the model takes 4 features, feature set 'f' makes 6" in result["problem"]
    assert main(["import", "four.onnx", "--features", "f.toml", "--look"]) == 0
    assert "note: as it is, it is not served: the model takes 4 features" in capsys.readouterr().err
    assert bring(capsys, "x.onnx", "--features", "f.toml", "--look")[1]["problem"] == ""
