"""``alpha lookahead`` and ``alpha parity`` on two instruments with sessions, clock bars, vpin and each other's prices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.sessions import SessionTable, file_name

MINUTE = 60 * 10**9

FEATURES = """
trigger = "quote"
[stream]
calendar = "short"
session_break = "session"
[features]
open = "first(mid)"
left = "minutes_to_close"
hours = "is_rth"
day = "sin_day"
other = 'of("B", mid) / mid - 1'
smooth = 'of("A", ema(imbalance, span=5))'
bar = "tick_bar(20).vwap"
volume = 'mean(volume_bar(50).count, 3)'
money = "dollar_bar(20000).close"
toxic = "vpin(20, 5)"
series = 'input("funding", max_age="1h")'
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments: two files of quotes and trades, what is known of their instruments, and a calendar of ten minutes."""
    first = last = 0
    for symbol, seed in (("A", 3), ("B", 4)):
        e = simulate(3_000, seed=seed, levels=1).events
        quote, v = e["kind"] == 1, e["v"]
        columns = {"bid": v[:, 0], "ask": v[:, 1], "bid_size": v[:, 2], "ask_size": v[:, 3]}
        frame = pl.DataFrame(
            {"ts": e["ts_event_ns"], "kind": e["kind"], "side": np.where(quote, 0, v[:, 2]).astype(np.int8)}
            | {name: np.where(quote, column, np.nan) for name, column in columns.items()}
            | {"last": np.where(quote, np.nan, v[:, 0]), "last_size": np.where(quote, np.nan, v[:, 1])}
        )
        frame.with_columns(pl.col(pl.Float64).fill_nan(None)).write_parquet(tmp_path / f"{symbol}.parquet")
        first, last = int(e["ts_event_ns"].min()), max(last, int(e["ts_event_ns"].max()))
    start = first // MINUTE * MINUTE
    opens = range(start, last + MINUTE, 2 * MINUTE)
    table = SessionTable.of("short", [(t, t + MINUTE) for t in opens])
    (tmp_path / file_name("short")).write_bytes(table.to_bytes())
    monkeypatch.setenv("ALPHA_CALENDARS", str(tmp_path))
    (tmp_path / "set.toml").write_text(FEATURES, encoding="utf-8")
    (tmp_path / "instruments.toml").write_text(
        "".join(
            f'[[instrument]]\nsymbol = "{s}"\npath = "{s}.parquet"\ntick_size = 0.01\nlot_size = 0.01\n' for s in "AB"
        ),
        encoding="utf-8",
    )
    data = [str(tmp_path / f"{s}.parquet") for s in "AB"]
    return [
        "--features",
        str(tmp_path / "set.toml"),
        "--data",
        *data,
        "--instruments",
        str(tmp_path / "instruments.toml"),
    ]


@pytest.mark.parametrize("twin", ["batch", "native"])
def test_lookahead_over_sessions_and_instruments(
    capsys: pytest.CaptureFixture[str], files: list[str], twin: str
) -> None:
    assert main(["lookahead", *files, "--cuts", "4", "--twin", twin, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pass"] and result["violations"] == 0 and result["compared"] > 10_000


def test_parity_over_sessions_and_instruments(capsys: pytest.CaptureFixture[str], files: list[str]) -> None:
    assert (
        main(["parity", *files, "--json"]) == 1
    )  # the series has no values: all else agrees, the whole is not certified
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], result["pass"], result["share"]) == ("INCOMPLETE", False, 1.0)
    assert "external series 'funding'" in result["not_compared"].pop("series") and not result["not_compared"]
    compared = {f["name"]: f["values"] for f in result["features"]}
    assert compared.pop("series") == 0 and min(compared.values()) > 500, compared


def test_a_first_day_behind_the_last_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "XNYS", "--from", "2024-08-09", "--to", "2024-08-08"]) == 2
    assert "--from 2024-08-09 is later than --to 2024-08-08" in capsys.readouterr().err
    assert main(["sessions", "XNYS", "--from", "2024-08-08", "--to", "2024-08-08"]) == 0
