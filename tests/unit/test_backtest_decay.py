"""A planted signal whose half-life is known: the decay curve finds it; without a signal it claims none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import desks
import numpy as np
import pytest
from scipy.signal import lfilter

from alpha.backtest.engine import Backtest
from alpha.backtest.judgement import half_life, judge, rank_correlation
from alpha.backtest.settings import FOREVER, Settings
from alpha.errors import DataError
from alpha.strategies import make

SECOND = 10**9
START = 1_700_000_000 * 10**9


def planted_stream(n: int, half_life_s: float, strength: float, seed: int) -> np.ndarray:
    """Quotes every 0.2 s; the displayed size tells a pressure that halves every ``half_life_s`` and drives the price."""
    rng = np.random.default_rng(seed)
    step = 0.2
    keep = 2.0 ** (-step / half_life_s)
    shocks = rng.standard_normal(n) * np.sqrt(1.0 - keep**2)
    s = lfilter([1.0], [1.0, -keep], shocks)
    drift = np.concatenate([[0.0], strength * s[:-1]])
    mid = 100.0 * np.exp(np.cumsum(1e-5 * (drift + rng.standard_normal(n))))
    ts = START + (np.arange(n) * step * SECOND).astype(np.int64)
    return desks.quotes(ts, mid - 0.0001, mid + 0.0001, qty=np.clip(1000.0 + 100.0 * s, 1.0, None))


@pytest.mark.parametrize(("half_life_s", "seed"), [(1.0, 1), (3.0, 2)])
def test_the_half_life_is_recovered_within_ten_percent(tmp_path: Path, half_life_s: float, seed: int) -> None:
    events = planted_stream(200_000, half_life_s, 0.5, seed)
    settings = Settings(costs=desks.FREE, horizon_ns=int(half_life_s * 2 * SECOND))
    strategy = make("threshold", {"model": "planted", "buy": 0.5, "sell": -0.5})
    done = desks.run(strategy, desks.planted(tmp_path, std=300.0), events, settings=settings, cuts=[20_001, 20_002])
    told = judge(done.outcomes)
    assert told["half_life_ns"] / SECOND == pytest.approx(half_life_s, rel=0.10)
    ic = [d["ic"] for d in told["decay"]]
    assert ic[0] > 3 * ic[-1] > -1.0 and told["information_coefficient"] > 0.1
    assert done.ledger.account.profit > 0.0  # free of costs a true signal earns
    assert told["hit_rate"] > 0.55
    assert told["hits"][-1]["hit_rate"] > told["hits"][0]["hit_rate"]  # surer is better


def test_without_a_signal_no_half_life_is_claimed(tmp_path: Path) -> None:
    events = planted_stream(30_000, 1.0, 0.0, 5)
    strategy = make("threshold", {"model": "planted", "buy": 1.0, "sell": -1.0})
    told = judge(desks.run(strategy, desks.planted(tmp_path), events).outcomes)
    assert told["half_life_ns"] is None
    assert abs(told["information_coefficient"]) < 0.1


def test_the_fit_finds_what_it_was_given() -> None:
    t = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0])
    for h in (0.7, 2.0, 6.0):
        found = half_life(t, 0.2 * np.exp2(-t / h), np.full(7, 0.01))
        assert found == pytest.approx(h, rel=1e-6)
    assert half_life(t, np.full(7, 0.2), np.full(7, 0.01)) is None  # it does not fade
    assert half_life(t, 0.02 * np.exp2(-t), np.full(7, 0.01)) is None  # it is hardly there


def test_rank_correlation_is_scipys() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 20, 500).astype(float), rng.standard_normal(500)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(np.ones(100), b[:100]) is None


def test_what_is_kept_does_not_depend_on_the_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha.backtest.outcomes.MAX_DECISIONS", 1000)
    events = planted_stream(9_000, 1.0, 0.5, 7)
    served = desks.planted(tmp_path)
    kept = []
    for cuts in ([], [1], [10, 2000, 2001, 8999]):
        strategy = make("threshold", {"model": "planted"})
        rows = desks.run(strategy, served, events, cuts=cuts).outcomes.finish()
        kept.append(rows)
    assert 500 < len(kept[0]["ts"]) <= 1000
    for rows in kept[1:]:
        for name, column in rows.items():
            np.testing.assert_array_equal(column, kept[0][name], err_msg=name)


def test_what_runs_ahead_changes_nothing(tmp_path: Path) -> None:
    events = planted_stream(9_000, 1.0, 0.5, 8)
    served = desks.planted(tmp_path / "model")
    until = Settings(costs=desks.FREE, stop_ns=FOREVER - 1)  # an end is set: one chunk after the other
    done = []
    for more in ({"settings": until}, {"audit": tmp_path / "log"}, {"measure": True}, {}):
        got = desks.run(make("threshold", {"model": "planted"}), served, events, cuts=range(500, 9_000, 500), **more)
        done.append((got.signals_sha256, got.ledger.fills, got.ledger.account.equity, got.grades, got.reasons))
    assert len(done[0][1]) > 100
    assert all(d == done[0] for d in done[1:])


def test_measuring_ends_when_enough_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the native path runs ahead: in a thread of its own, with what was measured before kept."""
    monkeypatch.setattr("alpha.backtest.engine.MEASURED_EVENTS", 1_200)
    events = planted_stream(4_000, 1.0, 0.5, 8)
    served = desks.planted(tmp_path / "model")
    threads: list[str] = []
    signals = Backtest._signals

    def noted(self: Backtest, chunk: np.ndarray) -> list[np.ndarray]:
        threads.append(threading.current_thread().name.split("_")[0])
        return signals(self, chunk)

    monkeypatch.setattr(Backtest, "_signals", noted)
    done = [
        desks.run(make("threshold", {"model": "planted"}), served, events, cuts=range(500, 4_000, 500), **more)
        for more in ({"measure": True}, {"measure": True, "audit": tmp_path / "log"}, {})
    ]
    here = threading.current_thread().name.split("_")[0]
    assert threads == [here] * 3 + ["alpha-backtest"] * 5 + [here] * 8 + ["alpha-backtest"] * 8
    assert done[0].runtime["latency_ns"]["p50"] > 0 and done[2].runtime["latency_ns"]["p50"] is None
    assert len({(d.signals_sha256, d.ledger.account.equity, len(d.ledger.fills)) for d in done}) == 1


def test_an_error_of_the_data_comes_out_behind_what_was_read(tmp_path: Path) -> None:
    events = planted_stream(2_000, 1.0, 0.5, 9)

    def broken() -> Iterator[np.ndarray]:
        yield events[:1_000]
        raise DataError("the second file cannot be read")

    backtest = Backtest(
        make("threshold", {"model": "planted"}), [desks.planted(tmp_path)], desks.table(), ["A"], Settings()
    )
    seen: list[int] = []
    with pytest.raises(DataError, match="the second file cannot be read"):
        backtest.run(broken(), seen.append)
    assert seen == [1_000]
    assert not [t for t in threading.enumerate() if t.name.startswith("alpha-backtest")]
