"""Training that is interrupted, asked for what cannot be, or fails a check: said plainly, and nothing half-done stays."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alpha.cli.main import main
from alpha.errors import DataError
from alpha_training import fit
from alpha_training.recipe import Model

SMALL = ["--small"]  # with fewer events checks fail by chance


@pytest.fixture
def recipe(project_root: Path) -> Path:
    """The shipped recipe: a logistic model, then an MLP."""
    return project_root / "training" / "recipes" / "demo.toml"


@pytest.fixture
def interrupt_in_mlp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An interrupt by the person at the keyboard in the fifth step of an MLP's fit."""
    from sklearn.neural_network import MLPClassifier

    step = MLPClassifier._backprop
    calls = iter(range(1_000_000))

    def stepped(self: Any, *args: Any, **named: Any) -> Any:
        if next(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return step(self, *args, **named)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(MLPClassifier, "_backprop", stepped)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_the_classifier_swallows_is_an_interrupt(interrupt_in_mlp: None) -> None:
    rng = np.random.default_rng(5)
    z, y = rng.normal(size=(3_000, 3)).astype(np.float32), rng.integers(0, 3, 3_000)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(Model(id="m", kind="mlp"), fit.Task.of_rows(z, y, 1))
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("verb", ["train", "demo"])
def test_an_interrupt_registers_nothing(
    interrupt_in_mlp: None, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Not even the first model, which was ready by then."""
    if verb == "train":
        args = [str(recipe), *SMALL, "--registry", str(tmp_path / "registry.json"), "--run-dir", str(tmp_path / "run")]
    else:
        args = ["--small", "--out", str(tmp_path)]
    assert main([verb, *args]) == 130
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"alpha {verb}: interrupted"
    assert not (tmp_path / "registry.json").exists()
    assert not (tmp_path / "artifacts").exists()


def test_a_failed_check_is_named_and_nothing_is_recommended(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["train", str(recipe), *SMALL, "--run-dir", str(tmp_path / "run")]
    args += ["--registry", str(tmp_path / "registry.json"), "--set", "gates.min_auc=0.99"]
    assert main(args) == 0  # a statistical check is recorded; it stands in the way of promotion, not of the candidate
    out, err = capsys.readouterr()
    assert "promote" not in out
    lines = [line for line in err.splitlines() if "failed its check auc" in line]
    for line, name in zip(lines, ("demo", "demo_mlp"), strict=True):
        assert line.startswith(f"{name} v1 failed its check auc: 0.") and ", limit 0.99; " in line
        assert line.endswith("it is registered as a candidate and cannot be promoted")


def test_what_needs_no_data_is_checked_without_any(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for override, words in (
        ("labels.horizon=-5s", "labels.horizon: '-5s' is not a duration"),
        ("split.valid=0.7", "leave room for a test part"),
        ("split.embargo=x", "split.embargo"),
        ("labels.price=midd", "labels.price = 'midd': unknown name 'midd'"),
        ("labels.spread=ask_px -", "labels.spread = 'ask_px -': not an expression"),
        ("features=nothing", "no feature set is called 'nothing'"),
        ("data.simulate.colour=1", "data.simulate has no argument 'colour'; it has: n_events, seed"),
        ("data.simulate.n_events=many", "data.simulate.n_events must be a value such as 200000, not 'many'"),
        ("data.simulate.n_events=0", "n_events must be at least 1"),
        ("data.simulate.strength=7.0", "a strength of 7.0 cannot be planted"),
    ):
        assert main(["train", str(recipe), "--dry-run", "--set", override]) == 2, override
        err = capsys.readouterr().err.strip()
        assert words in err and len(err.splitlines()) == 1, err
    text = recipe.read_text().replace('kind = "mlp"', 'kind = "mlp"\nparams = { layers = 3 }')
    (tmp_path / "r.toml").write_text(text)
    assert main(["train", str(tmp_path / "r.toml"), "--dry-run"]) == 2
    assert "models.params of demo_mlp" in capsys.readouterr().err
    start, end = text.index("[data]"), text.index("[labels]")
    (tmp_path / "r.toml").write_text(text[:start] + '[data]\nfiles = ["none.csv"]\n' + text[end:])
    assert main(["train", str(tmp_path / "r.toml"), "--dry-run"]) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("", "", "is a folder"), ("file/r.json", "", "cannot be written in"), ("file", "{", "is not valid JSON")],
)
def test_a_registry_that_cannot_be_written_is_refused_before_the_work(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, words: str
) -> None:
    (tmp_path / "file").write_text(text)
    args = ["train", str(recipe), *SMALL, "--registry", str(tmp_path / name), "--run-dir", str(tmp_path / "run")]
    assert main(args) == 2
    err = capsys.readouterr().err.strip()
    assert words in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_sound_recipe_is_printed(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["labels"]["horizon"] == "2s"


def test_a_value_that_the_classifier_refuses_names_the_model() -> None:
    task = fit.Task.of_rows(np.zeros((9, 1), np.float32), np.arange(9) % 3, 1)
    with pytest.raises(DataError, match=r"models\.params of m: .*'C'"):
        fit.fit(Model(id="m", kind="logistic", params={"C": -1.0}), task)


@pytest.mark.parametrize(
    ("flag", "value", "words"), [("--events", "0", "--events must be"), ("--seed", "-1", "--seed")]
)
def test_a_demo_that_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str, words: str
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), flag, value]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("package", "extra"), [("numba", "data"), ("jinja2", "report")])
def test_a_demo_without_a_package_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert f"pip install 'alpha-runtime[{extra}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_smallest_demo_makes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from alpha.cli.demo import FEWEST

    code = main(["demo", "--small", "--out", str(tmp_path), "--events", str(FEWEST), "--json"])
    assert code == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["run"]["decisions"] > 100
    assert (tmp_path / "report.html").is_file()
