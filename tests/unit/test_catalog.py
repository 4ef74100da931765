"""The catalogued feature sets: what their names promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpha.data.simulate import simulate
from alpha.errors import DefinitionError
from alpha.features import catalog, parity
from alpha.features.language import Duration, walk
from alpha.features.native import native_rows


@pytest.mark.parametrize("name", catalog.names())
def test_every_set_survives_its_own_text(name: str) -> None:
    fs = catalog.get(name)
    again = type(fs).from_dict(fs.definition(), name=name)
    assert again.definition_hash == fs.definition_hash
    assert again.names == fs.names


def test_definitions_differ() -> None:
    hashes = [catalog.get(n).definition_hash for n in catalog.names()]
    assert len(set(hashes)) == len(hashes)


def test_the_specifications_features() -> None:
    assert catalog.get("spec").names == ("bid_ask_spread", "mid_price_velocity_1s")


def test_the_measured_set_is_what_the_bench_says() -> None:
    """Twenty features, exactly two standard deviations: one by count, one by time."""
    fs = catalog.get("twenty")
    assert len(fs.names) == 20
    nodes = [n for e in fs.features.values() for n in walk(e)]
    windows = [n.param("window") for n in nodes if n.op in ("std", "var", "zscore")]
    assert sorted(isinstance(w, Duration) for w in windows) == [False, True]
    assert str(fs.trigger) == "quote"
    assert not any(n.op == "bar" for n in nodes)


def test_demo_features_do_not_depend_on_the_price_scale() -> None:
    """Prices times 256 (exact in binary) leave every value as it was: the same model reads a stock and a coin."""
    fs = catalog.get("demo")
    stream = simulate(4_000, seed=5)
    scaled = stream.events.copy()
    quotes, trades = scaled["kind"] == 1, scaled["kind"] == 2
    scaled["v"][quotes, :2] *= 256.0
    scaled["v"][trades, :1] *= 256.0
    first = native_rows(fs, stream.events, stream.instruments)
    second = native_rows(fs, scaled, stream.instruments)
    ready = first["ready"].all(axis=1)
    assert np.count_nonzero(ready) > 1_000
    assert np.array_equal(first["ready"], second["ready"])
    np.testing.assert_allclose(first["values"][ready], second["values"][ready], rtol=1e-5, atol=1e-6)


def test_demo_features_of_a_flat_market_are_finite() -> None:
    """The same quote for minutes and no trade after the first hundred: no NaN, nothing falls out of readiness."""
    fs = catalog.get("demo")
    stream = simulate(6_000, seed=5)
    events = stream.events.copy()
    late = np.arange(len(events)) >= 2_000
    events["v"][late & (events["kind"] == 1)] = (100.0, 100.01, 5.0, 5.0, 0.0)
    events = events[~(late & (events["kind"] != 1))]
    rows = native_rows(fs, events, stream.instruments)
    flat = rows["row_index"] >= 2_500
    assert np.count_nonzero(flat) > 1_000
    assert rows["ready"][flat].all()
    assert np.isfinite(rows["values"][flat]).all()
    assert parity.check(fs, events, stream.instruments)["pass"]


def test_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no feature set is called 'nope'; known: spec, demo"):
        catalog.get("nope")
    file = tmp_path / "mine.toml"
    file.write_text('trigger = "quote"\n[features]\nmid = "mid"\n')
    assert catalog.find(file).name == "mine"
    assert catalog.find("demo").definition_hash == catalog.get("demo").definition_hash
    with pytest.raises(DefinitionError, match="does not exist"):
        catalog.find(tmp_path / "none.toml")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "file",
    [
        "lobster/AMZN_20120621_L5.parquet",
        "binance/spot_btcusdt_20240808_l1.parquet",
        "binance/usdm_btcusdt_20240808_l1.parquet",
    ],
)
def test_demo_features_of_real_markets_are_finite(data_dir: Path, file: str) -> None:
    from alpha.data import open_events

    source = open_events(data_dir / file)
    events = source.read_all()[:60_000]
    rows = native_rows(catalog.get("demo"), events, source.instruments)
    ready = rows["ready"].all(axis=1)
    assert np.count_nonzero(ready) > 0.9 * len(ready)
    assert np.isfinite(rows["values"][ready]).all()
