"""Data that cannot make one row: the sentence names the key, the features, and what they lack."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from alpha.errors import DataError
from alpha.features.feature_set import FeatureSet
from alpha_training import recipe, snapshot

N = 60
TS = [1_700_000_000_000_000_000 + i * 10**9 for i in range(N)]
QUOTES = {"ts": TS, "bid": [10.0] * N, "ask": [10.1] * N, "bid_size": [1.0] * N, "ask_size": [2.0] * N}
TRADES = {"ts": TS, "px": [10.0] * N, "qty": [1.0] * N}
FS = {"features": {"wide": "spread", "lean": "imbalance", "slow": "mean(mid, 500)", "odd": "log(0.0 * mid - 1.0)"}}


@pytest.mark.parametrize(
    ("columns", "limit", "words"),
    [
        (TRADES, "", ["data.files, features: ", "wide, lean, slow, odd can never become ready", "no QUOTE events"]),
        (
            {k: v for k, v in QUOTES.items() if "size" not in k},
            "",
            [
                "data.files, features: ",
                "lean can never become ready, because the data has no sizes of QUOTE events",
                "; slow: not ready at any of the 60 rows",
                "; odd: no finite number at any of the 60 rows",
            ],
        ),
        (
            {**QUOTES, "bid": [None] * N},
            "",
            ["the guard rejected 60 of 60 events (", "the model decides at each quote", "no QUOTE events"],
        ),
        (QUOTES, "max_events = 3", ["data.max_events = 3, features: ", "slow: not ready at any of the 3 rows"]),
    ],
)
def test_what_the_rows_lack(tmp_path: Path, columns: dict[str, list[float]], limit: str, words: list[str]) -> None:
    pl.DataFrame(columns, schema_overrides={"bid": pl.Float64} if "bid" in columns else None).write_csv(
        tmp_path / "x.csv"
    )
    file = tmp_path / "r.toml"
    file.write_text(
        'features = "spec"\nassumptions = ["none"]\n[data]\nfiles = ["x.csv"]\n'
        f'{limit}\n[labels]\nhorizon = 1\n[[models]]\nid = "a"\nkind = "logistic"\n'
    )
    source = snapshot.read(recipe.load(file), tmp_path)
    with pytest.raises(DataError) as told:
        snapshot.make(FeatureSet.from_dict(FS), source)
    assert all(w in str(told.value) for w in words), str(told.value)
    assert "\n" not in str(told.value)
