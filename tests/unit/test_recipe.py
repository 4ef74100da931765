"""Recipes are typed: an unknown key or a value without meaning is an error that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpha.errors import DataError
from alpha_training import recipe

TEXT = """
seed = 3
features = "spec"
assumptions = ["it rains"]
[data]
simulate = { n_events = 1000 }
[labels]
horizon = "1s"
[[models]]
id = "a"
kind = "logistic"
[small]
"data.simulate.n_events" = 10
"labels.fee_bp" = 1e-05
"data.levels" = 2
"""


def load(folder: Path, text: str = TEXT, overrides: list[str] | None = None, *, small: bool = False) -> recipe.Recipe:
    file = folder / "r.toml"
    file.write_text(text)
    return recipe.load(file, overrides, small=small)


def test_defaults_and_the_small_variant(tmp_path: Path) -> None:
    plain, small = load(tmp_path), load(tmp_path, small=True)
    assert (plain.data.simulate, plain.labels.fee_bp, plain.data.levels) == ({"n_events": 1000}, 0.0, 1)
    assert (small.data.simulate, small.labels.fee_bp, small.data.levels) == ({"n_events": 10}, 1e-05, 2)
    whole = load(
        tmp_path, TEXT.replace('"data.simulate.n_events" = 10', '"data.simulate" = { n_events = 5 }'), small=True
    )
    assert whole.data.simulate == {"n_events": 5}


def test_overrides_come_last_and_are_typed(tmp_path: Path) -> None:
    made = load(
        tmp_path, overrides=["data.simulate.n_events=7", "labels.horizon=5s", 'features="demo"', "seed = 9"], small=True
    )
    assert (made.data.simulate, made.labels.horizon, made.features, made.seed) == ({"n_events": 7}, "5s", "demo", 9)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("labels.horizn=3s", "unknown field `horizn`"),
        ("surprise=1", "unknown field `surprise`"),
        ("seed=soon", "Expected `int`"),
        ("seed=-1", "seed must be from 0 to 2,147,483,647, it is -1"),
        ("seed=9223372036854775808", "seed must be from 0 to 2,147,483,647"),
        ("seed", "takes section.key=value"),
        ("models.kind=7", r"models\[0\]\.kind"),
        ("models.0.kind=mlp", "unknown field `0`"),
        ("assumptions=[]", "assumptions is empty"),
        ("labels.horizon=0", "labels.horizon must be a duration or at least 1 row"),
        ("labels.take=0.0", "labels.take must be above 0"),
        ("costs.fee_bp=1e300", r"costs\.fee_bp must be at most 10,000, it is 1e\+300"),
        ("costs.sell_bp=nan", r"costs\.sell_bp must be from -10,000 to 10,000, it is nan"),
        ("costs.qty=1e300", r"costs\.qty must be from 1e-18 to 1e18"),
        ("costs.impact=-1.0", "costs.impact must be 0 or more"),
        ("gates.min_auc=inf", "gates.min_auc must be finite"),
        ("limits.psi.window=7", r"limits\.psi\.window must be a multiple of 16"),
        ("gates.bucket=soon", "gates.bucket: 'soon' is not a duration"),
        ("split.folds=1", "split.folds must be from 2 to 50"),
        ("models.window=0", "window of a must be from 1"),
        ("models.search={trials=0, space={C={low=1,high=2}}}", "search of a needs at least one trial"),
        ("data.start=yesterday", "data.start: 'yesterday' is no time"),
        ("data.max_events=0", "data.max_events must be at least 1"),
        ("decision.act_share=7", "act_share must be above 0 and at most 1"),
        ("decision.act_share=0.0", "act_share"),
        ("labels.fee_bp=nan", "fee_bp must be 0 or more"),
        ("labels.half_spreads=-1.0", "half_spreads must be 0 or more"),
        ('data.files=["x.csv"]', "either simulate or files"),
        ("labels.horizon=-5s", "labels.horizon: '-5s' is not a duration"),
        ("split.embargo=soon", "split.embargo: 'soon' is not a duration"),
        ("decision.cooldown=1", "Expected `str"),
        ("decision.cooldown=0s", "decision.cooldown: duration '0s'"),
        ("split.train=0.9", "leave room for a test part"),
        ("split.valid=nan", "leave room for a test part"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, overrides=[override])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "a"', 'id = "../../evil"', "model id '../../evil'"),
        ('id = "a"', 'id = ".."', "no dot in front"),
        ('kind = "logistic"', 'kind = "oracle"', "Invalid enum value 'oracle'"),
        ("[[models]]", '[[models]]\nid = "a"\nkind = "mlp"\n[[models]]', "two models are called 'a'"),
        ("[small]", "[smal]", "unknown field `smal`"),
        ("seed = 3", "seed = ", "not valid TOML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, TEXT.replace(old, new))


def test_small_must_be_a_table(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("[small]")].replace("seed = 3", "seed = 3\nsmall = 5")
    with pytest.raises(DataError, match="small must be a table"):
        load(tmp_path, text, small=True)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        recipe.load(tmp_path / "none.toml")


def test_the_shipped_recipe(project_root: Path) -> None:
    for small in (False, True):
        made = recipe.load(project_root / "training" / "recipes" / "demo.toml", small=small)
        assert [m.id for m in made.models] == ["demo", "demo_mlp"]
        assert made.data.simulate is not None


@pytest.mark.parametrize("written", ["2024-08-08", "2024-08-08T14:30:00Z", "2024-08-08 16:30:00.5+02:00"])
def test_a_time_may_stand_without_quotation_marks(tmp_path: Path, written: str) -> None:
    quoted = load(tmp_path, overrides=[f'data.start="{written}"']).data.start
    for plain in (
        load(tmp_path, overrides=[f"data.start={written}"]),
        load(tmp_path, TEXT.replace("[labels]", f"start = {written}\n[labels]")),
        load(tmp_path, TEXT + f'"data.start" = {written}\n', small=True),
    ):
        assert plain.data.start is not None and quoted is not None
        assert recipe.time_ns(plain.data.start, "start") == recipe.time_ns(quoted, "start")
