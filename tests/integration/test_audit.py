"""Checks that must catch what they are for, waivers, searches and walk-forward, on a small simulated market."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import alpha
from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.errors import DataError, RegistryError
from alpha.registry import load, promote
from alpha_training import audit, fit, fitting, recipe, search
from alpha_training.split import Parts
from alpha_training.train import prepare, train

TEXT = """
seed = 3
features = "demo"
assumptions = ["The market is simulated."]
[data]
simulate = { n_events = 12_000, strength = 0.6, half_life = "2s", levels = 1 }
[labels]
horizon = "2s"
[split]
embargo = "1s"
folds = 3
[gates]
lookahead_cuts = 1
[[models]]
id = "m"
kind = "logistic"
"""


def written(folder: Path, text: str = TEXT) -> Path:
    file = folder / "r.toml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> fitting.Prepared:
    folder = tmp_path_factory.mktemp("audit")
    file = written(folder)
    return prepare(recipe.load(file), file, folder / "snapshot", lambda text: None)


@pytest.fixture(scope="module")
def case(prepared: fitting.Prepared) -> audit.Case:
    return fitting.case(prepared.recipe.models[0], prepared, prepared.parts, audit.Trials())


def failed(case: audit.Case, data: fitting.Prepared) -> set[str]:
    return {c.name for c in audit.blocking(audit.checks(case, data.fs, data.source, True))}


def test_a_sound_model_blocks_nothing(case: audit.Case, prepared: fitting.Prepared) -> None:
    found = audit.checks(case, prepared.fs, prepared.source, True)
    assert {c.name for c in found} >= {
        *audit.STRUCTURAL,
        "net_sharpe",
        "deflated_sharpe",
        "overfitting_pbo",
        "latency_us",
    }
    assert failed(case, prepared) == set()


def test_a_planted_leak_is_found(case: audit.Case, prepared: fitting.Prepared) -> None:
    p = case.parts
    leaky = replace(case, parts=Parts(np.append(p.train, p.test[3]), p.valid, p.test))
    assert "purging_leaks" in failed(leaky, prepared)
    unpurged = replace(case, parts=Parts(np.arange(p.train[0], p.valid[0]), p.valid, p.test))
    assert "purging_leaks" in failed(unpurged, prepared)


def test_statistics_of_all_rows_are_found(case: audit.Case, prepared: fitting.Prepared) -> None:
    everything = replace(case, scaler=fit.Scaler.of(case.snap.x))
    assert failed(everything, prepared) == {"normalisation_error"}
    trees = replace(case, scaler=fit.Scaler.identity(case.snap.x.shape[1]))
    assert failed(trees, prepared) == set()


def test_an_export_that_is_another_model_is_found(case: audit.Case, prepared: fitting.Prepared) -> None:
    other = case.scores_valid.copy()
    other[:, 0], other[:, 2] = case.scores_valid[:, 2], case.scores_valid[:, 0]
    assert failed(replace(case, scores_valid=other), prepared) == {"export_max_difference", "export_decision_flips"}
    assert audit.decision_flips(case.scores_valid, other, case.model, case.threshold)[0] > 0
    heavy = case.scores_valid * np.float32(1.01)
    assert "probabilities_sum_to_one" in failed(replace(case, scores_valid=heavy), prepared)


def test_a_tie_in_the_last_bit_is_no_flip(case: audit.Case) -> None:
    """One row exactly at the threshold in the source, one float32 below it in the export: counted apart, within a limit."""
    assert case.scores_valid.shape[1] == 3
    own = np.array([[0.5, 0.3, 0.2]] * 2000, np.float32)
    served = own.copy()
    served[7, 0] = np.nextafter(np.float32(0.5), np.float32(0))
    assert audit.decision_flips(own, served, case.model, 0.5) == (0, 1)
    served[8, 0] = np.float32(0.5 - 2e-6)
    assert audit.decision_flips(own, served, case.model, 0.5) == (1, 1)
    twins = np.array([[0.4, 0.2, 0.4]], np.float32)
    swapped = twins.copy()
    swapped[0, 2] = np.nextafter(np.float32(0.4), np.float32(1))
    assert audit.decision_flips(twins, swapped, case.model, 0.0) == (0, 1)


def test_without_a_certificate_nothing_is_registered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    args = ["train", str(file), "--registry", str(tmp_path / "registry.json"), "--run-dir", str(tmp_path / "run")]
    assert main([*args, "--twin", "native", "--json"]) == 1
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert printed["status"] == "blocked" and "feature_parity_share" in printed["failed"]
    assert "m failed its check feature_parity_share: 0, limit 0.99999; it is not what it claims to be" in err
    assert not (tmp_path / "registry.json").exists() and not (tmp_path / "artifacts").exists()


def test_a_waiver_is_recorded_and_lets_promotion_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, registry = written(tmp_path), tmp_path / "registry.json"
    # a waived check is the model owner's word; that no commit is needed is the registry's
    (tmp_path / "registry.toml").write_text('[policy]\ndefinition_commit = "optional"\n')
    args = ["train", str(file), "--registry", str(registry), "--run-dir", str(tmp_path / "run")]
    loose = ["min_log_loss_t=-99.0", "min_deflated_sharpe=0.0", "min_net_sharpe=-99.0", "max_drift_share=1.0"]
    loose += ["max_calibration_error=1.0", "min_stable_share=0.0", "max_log_loss_ratio=9.0", "max_shuffled_auc=1.0"]
    for limit in (*loose, "min_auc=0.99", "max_latency_us=1e9"):
        args += ["--set", f"gates.{limit}"]
    assert (
        main([*args, "--waive", "auc", "--why", "a drill", "--waive", "definition_committed", "--why", "a drill"]) == 0
    )
    (entry,) = load(registry).document.models
    auc = next(c for c in entry.checks if c.name == "auc")
    assert (auc.passed, auc.waived, auc.reason) == (False, True, "a drill")
    card = (tmp_path / "artifacts" / "m" / "v1" / "card.md").read_text()
    assert "- auc is waived: a drill" in card and "- The market is simulated." in card
    capsys.readouterr()
    assert promote(registry, "models:/m/1", approver="Ada").document.models[0].status == "production"


@pytest.mark.parametrize(
    ("waive", "words"),
    [
        ({"auk": "x"}, "--waive auk: there is no such check; there are class_share, auc"),
        ({"purging_leaks": "x"}, "a structural check says what the model is, and cannot be waived"),
        ({"auc": " "}, "--waive auc: say why with --why"),
    ],
)
def test_a_waiver_that_cannot_be(
    case: audit.Case, prepared: fitting.Prepared, waive: dict[str, str], words: str
) -> None:
    checks = [audit.at_most(n, 0.0, 1.0) for n in ("feature_parity_share", "purging_leaks", "auc")]
    with pytest.raises(DataError, match=words):
        fitting.waived(checks, waive)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("name", "why", "words"),
    [
        ("nosuch", "x", "--waive nosuch: there is no such check"),
        ("purging_leaks", "x", "--waive purging_leaks: a structural check"),
        ("auc", " ", "--waive auc: say why with --why"),
    ],
)
def test_a_waiver_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, why: str, words: str, dry: bool
) -> None:
    args = ["train", str(written(tmp_path)), "--registry", str(tmp_path / "r.json"), "--run-dir", str(tmp_path / "run")]
    assert main([*args, "--waive", name, "--why", why, *(["--dry-run"] if dry else [])]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_check_of_a_model_is_listed(case: audit.Case, prepared: fitting.Prepared) -> None:
    names = {c.name for c in audit.checks(case, prepared.fs, prepared.source, True)}
    assert {"auc", "latency_us", "drift_ks_share"} <= names <= {*audit.STRUCTURAL, *audit.STATISTICAL}


def test_a_model_whose_definition_is_in_no_commit_is_not_promoted(tmp_path: Path) -> None:
    file, registry = written(tmp_path), tmp_path / "registry.json"
    (made,) = train(file, registry, run_dir=tmp_path / "run").models
    committed = next(c for c in made.checks if c["name"] == "definition_committed")
    assert (committed["value"], committed["passed"]) == (0.0, False)  # a folder outside of version control
    with pytest.raises(RegistryError, match="failed its check"):
        promote(registry, "models:/m/1", approver="Ada")
    (entry,) = load(registry).document.models
    assert entry.feature_definition.commit == "" and entry.feature_definition.hash
    meta = json.loads((made.artifact / "metadata.json").read_text())
    assert len(meta["feature_set"]["features"]) == 10  # embedded whole


SEARCH = """
[models.search]
trials = {trials}
space = {{ C = {{ low = 0.001, high = 10.0, log = true }} }}
"""


def test_a_search_keeps_its_trials_and_goes_on(tmp_path: Path) -> None:
    file = written(tmp_path, TEXT + SEARCH.format(trials=3))
    data = prepare(recipe.load(file), file, tmp_path / "snapshot", lambda text: None)
    said: list[str] = []
    chosen, trials = fitting.searched(data.recipe.models[0], data, tmp_path, said.append)
    assert trials.tried == 3 == len(said) and trials.returns.shape == (3, audit.INTERVALS)
    assert 0.001 <= chosen.params["C"] <= 10.0 and chosen.search is None
    with sqlite3.connect(tmp_path / "study.sqlite") as study:
        assert study.execute("select count(*) from trials").fetchone() == (3,)
    again, more = fitting.searched(data.recipe.models[0], data, tmp_path, said.append)
    assert (again, more.tried, len(said)) == (chosen, 3, 3)  # nothing is tried twice
    case = fitting.case(chosen, data, data.parts, trials)
    money = {c.name: c for c in audit.checks(case, data.fs, data.source, True)}
    assert 0.0 <= money["overfitting_pbo"].value <= 1.0
    alone = fitting.case(chosen, data, data.parts, audit.Trials())
    single = {c.name: c for c in audit.checks(alone, data.fs, data.source, True)}
    assert money["deflated_sharpe"].value <= single["deflated_sharpe"].value  # three tries count for less


@pytest.mark.slow
@pytest.mark.parametrize("cv", ["purged_kfold", "combinatorial"])
def test_a_search_over_purged_folds(prepared: fitting.Prepared, tmp_path: Path, cv: str) -> None:
    spec = msgspec.structs.replace(
        prepared.recipe.models[0], search=recipe.Search(trials=1, space={"C": {"choices": [0.1, 1.0]}})
    )
    cut = msgspec.structs.replace(prepared.recipe.split, cv=cv)
    data = replace(prepared, recipe=msgspec.structs.replace(prepared.recipe, split=cut))
    folds = fitting._folds(data)
    assert len(folds) == 3
    assert not any(np.isin(f.test, data.parts.test).any() or np.isin(f.train, data.parts.test).any() for f in folds)
    _, trials = fitting.searched(spec, data, tmp_path, lambda text: None)
    assert trials.returns.shape[0] == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"low": 2.0, "high": 1.0}, "low and high must be numbers, low below high"),
        ({"choices": []}, "choices must be a list"),
        ({"lo": 1}, "write { low = …"),
    ],
)
def test_a_space_that_cannot_be(how: dict[str, Any], words: str) -> None:
    spec = recipe.Model(id="m", kind="logistic", search=recipe.Search(space={"C": how}))
    with pytest.raises(DataError, match=words):
        search.check(spec)


def test_walk_forward_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["walkforward", str(written(tmp_path)), "--run-dir", str(tmp_path / "run"), "--json"]
    assert main(args) == 0
    printed = json.loads(capsys.readouterr().out)
    (model,) = printed["models"]
    assert [f["fold"] for f in model["folds"]] == [1, 2, 3]
    ends = [f["test_end_ns"] for f in model["folds"]]
    starts = [f["test_start_ns"] for f in model["folds"]]
    assert all(a < b for a, b in zip(ends, starts[1:], strict=False))
    assert [f["train_rows"] for f in model["folds"]] == sorted(f["train_rows"] for f in model["folds"])
    assert {f["leaks"] for f in model["folds"]} == {0}
    assert model["pooled"]["rows"] == sum(f["rows"] for f in model["folds"])
    assert not (tmp_path / "registry.json").exists()
    assert json.loads((tmp_path / "run" / "walkforward.json").read_text())["m"]["pooled"] == model["pooled"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "logistic"', 'kind = "logistic"\nwindw = 3', "unknown field `windw`"),
        (
            'horizon = "2s"',
            'horizon = "2s"\nprice = "mid/(mid - mid)"',
            "labels.price = 'mid/(mid - mid)' is not a number",
        ),
        ('horizon = "2s"', 'horizon = "2s"\nfee_bp = 900.0', "only the class ['HOLD']"),
        ('embargo = "1s"', 'embargo = "1h"', "the train part is empty"),
        ('simulate = { n_events = 12_000, strength = 0.6, half_life = "2s", levels = 1 }', 'files = ["x.csv"]', "ts"),
        ('features = "demo"', 'features = "book"', "data.simulate, features: no row of the data is warm and finite: "),
    ],
)
def test_one_sentence_that_names_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    (tmp_path / "x.csv").write_text("when,bid,ask\n1,2,3\n")  # a column is missing
    args = ["train", str(written(tmp_path, TEXT.replace(old, new))), "--registry", str(tmp_path / "registry.json")]
    assert main([*args, "--run-dir", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("alpha train: ") and words in last
    assert not (tmp_path / "registry.json").exists()


def test_a_volatility_is_a_value_and_never_a_direction(tmp_path: Path) -> None:
    text = TEXT.replace('horizon = "2s"', 'horizon = "2s"\nkind = "volatility"').replace("logistic", "ridge")
    (made,) = train(written(tmp_path, text), tmp_path / "registry.json", run_dir=tmp_path / "run").models
    assert made.blocked == []
    assert {c["name"] for c in made.checks} >= {"rmse_against_base", "stable_share"}
    assert not {c["name"] for c in made.checks} & {"auc", "net_sharpe", "log_loss_t"}
    stream = simulate(4_000, seed=9, levels=1)
    with alpha.Runtime.from_registry(tmp_path / "registry.json", "models:/m/1", instruments=stream.instruments) as rt:
        signals = rt.run(stream.events)
    asked = signals[signals["reason"] == alpha.Reason.BELOW_THRESHOLD]
    assert len(asked) > 1_000 and (asked["value"] != 0).all()
    assert (signals["action"] == 0).all()
