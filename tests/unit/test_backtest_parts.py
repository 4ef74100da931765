"""Smaller parts of a backtest: files of a symbol, costs and latency as they are written, several models, states."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import desks
import numpy as np
import pytest

from alpha.audit.verify import verify
from alpha.backtest.costs import Costs
from alpha.backtest.latency import Histogram, LatencySpec
from alpha.backtest.locate import known, locate, source_of
from alpha.backtest.settings import Settings
from alpha.errors import AlphaError, DataError
from alpha.instruments import Instrument, Instruments
from alpha.replay import replay
from alpha.risk.limits import RiskLimits
from alpha.strategies import make
from alpha.strategies.sizer import Sizing

SECOND = 10**9
START = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("name", "symbol", "source"),
    [
        ("QQQ_1m_2022_2023.parquet", "QQQ", "QQQ"),
        ("TQQQ_1m_2025Q2.parquet", "TQQQ", "TQQQ"),
        ("BTC-PERP_1m.parquet", "BTC-PERP", "BTC-PERP"),
        ("OANDA_EURUSD_20140501.parquet", "EURUSD", "OANDA_EURUSD"),
        ("spot_btcusdt_20240808_l1.parquet", "BTCUSDT", "spot_btcusdt_l1"),
        ("AMZN_20120621_L5.parquet", "AMZN", "AMZN_L5"),
        ("day.csv.gz", "DAY", "day"),
        ("2024.csv", "2024", "2024"),
    ],
)
def test_a_files_name_tells_its_symbol(name: str, symbol: str, source: str) -> None:
    assert source_of(Path(name)) == (symbol, source)


def test_symbols_are_found_by_table_then_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, beside = tmp_path / "data", tmp_path / "here"
    for file in ("bars/AAA_1m.parquet", "x/ONE_BBB_20240101.csv", "x/ONE_BBB_20240102.csv", "x/TWO_BBB_20240101.csv"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    beside.mkdir()
    (beside / "ccc_own.csv").touch()
    monkeypatch.setenv("ALPHA_DATA", str(root))
    table = Instruments.of(
        Instrument(symbol="CCC", path="ccc_*.csv"), Instrument(symbol="AAA", path="AAA_*.parquet", lot_size=5.0)
    )
    assert locate("CCC", table, beside).files == (beside / "ccc_own.csv",)
    assert locate("AAA", table, beside).instrument.lot_size == 5.0
    assert locate("aaa").files == (root / "bars/AAA_1m.parquet",)
    two = locate("ONE_BBB")
    assert [f.name for f in two.files] == ["ONE_BBB_20240101.csv", "ONE_BBB_20240102.csv"]
    assert all(two.instrument.owns(f) for f in two.files)
    with pytest.raises(DataError, match=r"several sources.*ONE_BBB, TWO_BBB"):
        locate("BBB")
    with pytest.raises(DataError, match="known: AAA, BBB, CCC"):
        locate("DDD", table, beside)
    assert known(table, beside) == ["AAA", "BBB", "CCC"]
    monkeypatch.delenv("ALPHA_DATA")
    with pytest.raises(DataError, match="which is not set"):
        locate("AAA")


def test_the_example_of_costs_is_read_and_mistakes_are_named(project_root: Path, tmp_path: Path) -> None:
    costs = Costs.load(project_root / "examples" / "costs.toml")
    assert costs.spread_bp == 1.0 and len(costs.fees.periods) == 2 and costs.impact_share(100.0) > 0.0
    assert costs.described()["impact"] == 0.5
    for text, word in (
        ("spread = 1", "spread"),
        ("spread_bp = -1.0", "spread_bp must be 0 or more"),
        ("spread_bp = ", "not valid TOML"),
        ("[[fee]]\nbp = 1.0", "since"),
    ):
        (tmp_path / "c.toml").write_text(text)
        with pytest.raises(DataError, match=word):
            Costs.load(tmp_path / "c.toml")


def test_the_example_of_limits_is_read_and_mistakes_are_named(project_root: Path, tmp_path: Path) -> None:
    limits = RiskLimits.load(project_root / "examples" / "limits.toml")
    assert all(getattr(limits, f.name) is not None for f in fields(limits))  # the example shows every key
    assert limits.orders_per_s == 50 and limits.exposure_of("any") == 100_000.0
    file = tmp_path / "limits.toml"
    file.write_text("")
    assert RiskLimits.load(file) == RiskLimits()
    for text, word in (
        ("order_size = 1", "order_size.*valid keys: order_qty, order_notional, position, .*, net"),
        ("gross = -1.0", "gross .* 0 or more, not -1.0"),
        ("gross = nan", "gross .* 0 or more, not nan"),
        ("gross = true", "gross must be a number of 0 or more, not True"),
        ("net = '5'", "net must be a number of 0 or more, not '5'"),
        ("orders_per_s = 1.5", "orders_per_s must be a whole number"),
        ("model_exposure = 3.0", "model_exposure must be a table of model ids"),
        ("[net]\nx = 1", "net must be a number"),
        ("[model_exposure]\nm = 'x'", "m must be a number"),
        ("gross = ", "not valid TOML"),
    ):
        file.write_text(text)
        with pytest.raises(AlphaError, match=f"limits file .*limits.toml.*{word}"):
            RiskLimits.load(file)


def test_latencies_as_they_are_written(tmp_path: Path) -> None:
    counts = np.zeros(100, np.uint64)
    counts[40] = 1
    file = tmp_path / "latency.json"
    file.write_bytes(Histogram(counts, 10**6).to_bytes())
    assert LatencySpec.parse("500us") == LatencySpec(500_000)
    assert LatencySpec.parse("0") == LatencySpec()
    assert LatencySpec.parse("measured + 2ms") == LatencySpec(2_000_000, measured=True)
    both = LatencySpec.parse(f"{file}+1us").build(0)
    assert both.draw() > 1000 and both.describe()["histogram_sha256"]
    for wrong in ("fast", "", "5", f"measured+{file}"):
        with pytest.raises(DataError):
            LatencySpec.parse(wrong)
    for data in (b"{}", b"[]", b"no", b'{"schema":"alpha/latency/1","bins":64,"max_ns":1,"counts":{}}'):
        file.write_bytes(data)
        with pytest.raises(DataError):
            LatencySpec.parse(str(file)).build(0)


def test_two_models_share_a_stream_and_leave_two_logs(tmp_path: Path) -> None:
    """An ensemble trades on the mean of its members' values, row by row; each has a log that replays."""
    rng = np.random.default_rng(2)
    n = 300
    ts = START + SECOND * np.arange(n)
    qty = np.clip(1000.0 + 100.0 * rng.standard_normal(n), 1.0, None)
    events = desks.quotes(ts, 100.0, 100.02, qty=qty)
    a, b = desks.planted(tmp_path / "a"), desks.planted(tmp_path / "b", mean=1050.0)
    strategy = make("ensemble", {"models": "a+b", "level": 0.5, "strong": 1.0})
    done = desks.run(
        strategy,
        [a, b],
        events,
        settings=Settings(costs=desks.FREE, sizing=Sizing(qty=1.0)),
        audit=tmp_path / "log",
        cuts=[100],
    )
    z = (qty.astype(np.float32).astype(np.float64) - 1000.0) / 100.0
    mean = 0.5 * (np.clip(z, -1, 1) + np.clip(z - 0.5, -1, 1))
    clear = np.abs(np.abs(mean) - 0.5) > 1e-6
    acts = np.where(np.abs(mean) >= 0.5, np.sign(mean), 0)[clear]
    assert done.grades["BUY"] + done.grades["STRONG_BUY"] == pytest.approx(
        int((acts > 0).sum()), abs=int((~clear).sum())
    )
    assert len(done.ledger.fills) > 50
    for k in (0, 1):
        assert replay(tmp_path / "log" / str(k)).passed and not verify(tmp_path / "log" / str(k)).problems


def test_what_a_strategy_remembers_goes_on(tmp_path: Path) -> None:
    n = 40
    ts = START + SECOND * np.arange(n)
    qty = np.where(np.arange(n) % 8 < 5, 1200.0, 800.0)
    events = desks.quotes(ts, 100.0, 100.02, qty=qty)
    served = desks.planted(tmp_path)
    whole = desks.run(make("lstm_sequence", {"model": "x", "agree": 3}), served, events)
    first = desks.run(make("lstm_sequence", {"model": "x", "agree": 3}), served, events[:18])
    rest = desks.run(make("lstm_sequence", {"model": "x", "agree": 3}), served, events[18:], state=first.state)
    assert whole.grades == first.grades + rest.grades
    cold = desks.run(make("lstm_sequence", {"model": "x", "agree": 3}), served, events[18:])
    assert cold.grades != rest.grades


def test_a_strategy_that_grades_wrongly_is_named(tmp_path: Path) -> None:
    from alpha.errors import AlphaError, StrategyError
    from alpha.strategies import Grade, Strategy, Suggestion

    events = desks.quotes(START + SECOND * np.arange(4), 100.0, 100.0)

    class Short(Strategy):
        name = "short"

        def map_output(self, outputs):  # type: ignore[no-untyped-def]
            return np.zeros(1, np.int8), np.zeros(1, np.float32)

    with pytest.raises(AlphaError, match="short gave 1 grades for 4 rows"):
        desks.run(Short(), desks.rows(), events)

    class Elsewhere(Strategy):
        name = "elsewhere"

        def on_quote(self, view, symbol, event):  # type: ignore[no-untyped-def]
            return Suggestion("ZZZ", Grade.BUY)

    with pytest.raises(StrategyError, match="'ZZZ', which is not traded: A"):
        desks.run(Elsewhere(), desks.rows(), events)
