"""``alpha backtest`` as people call it: the specification's command on real bars, errors, reports, sweeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alpha
from alpha.backtest.record import recount
from alpha.backtest.serving import serve
from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.events import Kind
from alpha.instruments import Instruments
from alpha.replay import replay
from alpha.runtime import signals_sha256
from alpha.strategies import ModelRequest

pytestmark = pytest.mark.filterwarnings("ignore::alpha.errors.AlphaWarning")
COMMAND = ("QQQ", "--strategy", "hybrid_ppo", "--params", "conf_floor=0.1")


def called(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any, str]:
    """Exit code, the JSON object, stderr. Without --audit and pictures unless a test asks for them."""
    pictures = () if "--pictures" in args or "--sweep" in args else ("--no-report",)
    code = main(["backtest", *(a for a in args if a != "--pictures"), *pictures, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def summary(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return told


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated quotes and trades of SIM0 in a file."""
    e = simulate(30_000, seed=4, levels=1).events
    file = tmp_path_factory.mktemp("ticks") / "SIM0.parquet"
    quote = e["kind"] == Kind.QUOTE
    v = e["v"]

    def column(k: int, use: np.ndarray) -> Any:
        return pa.array(np.where(use, v[:, k], np.nan), from_pandas=True)

    pq.write_table(
        pa.table(
            {
                "ts": e["ts_recv_ns"],
                "kind": e["kind"].astype(np.int64),
                "bid": column(0, quote),
                "ask": column(1, quote),
                "bid_size": column(2, quote),
                "ask_size": column(3, quote),
                "last": column(0, ~quote),
                "last_size": column(1, ~quote),
                "side": column(2, ~quote),
            }
        ),
        file,
    )
    return file


@pytest.mark.real_data
def test_the_specifications_command(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trades, a report and an audit that replays; the same from run to run; and what an embedded runtime decides and a
    loop of a dozen lines trades."""
    monkeypatch.setenv("ALPHA_DATA", str(data_dir))
    a, b = tmp_path / "a", tmp_path / "b"
    code, told, _ = called(capsys, *COMMAND, "--out", str(a), "--audit", str(tmp_path / "log"), "--pictures")
    assert code == 0 and told["trades"] > 100 and told["schema"] == "alpha/backtest/1"
    assert {"events", "trades", "equity_start", "equity_end", "fees", "report", "audit", "signals_sha256"} <= set(told)
    assert told["reasons"]["MODEL"] > 19_000 and Path(told["report"]).is_file()
    assert told["in_sample_decisions"] > 5_000  # and the page says so
    assert "inside the period the model was trained on" in Path(told["report"]).read_text()
    assert replay(tmp_path / "log").passed
    counted = recount(tmp_path / "log")
    assert counted["fills"] == told["fills"] and counted["worst"] < 1e-12
    assert counted["equity"] == told["equity_end"]
    # again
    code, again, _ = called(capsys, *COMMAND, "--out", str(b))
    assert (again["signals_sha256"], again["equity_end"]) == (told["signals_sha256"], told["equity_end"])
    assert summary(a)["summary"] == summary(b)["summary"] and summary(a)["judged"] == summary(b)["judged"]
    assert (a / "fills.csv").read_bytes() == (b / "fills.csv").read_bytes()
    by_hand(data_dir, told, a)


def by_hand(data_dir: Path, told: dict[str, Any], folder: Path) -> None:
    """The same, embedded: one call per bar, a position, an open to trade at."""
    source = alpha.open_events(data_dir / "bars" / "QQQ_1m_2022_2023.parquet", bar_stamp="start", instrument="QQQ")
    events = source.read_all()
    table = Instruments.load(Path(__file__).parents[2] / "instruments.toml")
    qqq = Instruments.of(table["QQQ"]).with_sizes("QQQ", source.instruments["QQQ"].tick_size, None)
    sessions = alpha.sessions.session_table("XNYS")
    minute = 60 * 10**9
    cash, held, wanted, fills, signals = 100_000.0, 0.0, None, [], []
    reached = day = None
    last = (0, 0.0)
    with serve(None, ModelRequest("HybridPPO", 0.1)).runtime(qqq) as rt:
        handle = rt.instrument("QQQ")
        for e in events:
            t, (o, h, low, c, volume) = int(e["ts_event_ns"]), e["v"].tolist()
            accepted = rt.stats()["rejected"]
            signal = handle.on_bar(t, o, h, low, c, volume, flags=int(e["flags"]))
            signals.append(rt._pipeline.latest(0))
            accepted = rt.stats()["rejected"] == accepted
            if not accepted:
                continue
            day, before = int(sessions.index(t, by_close=True)), day
            if before is not None and day > before + 1:  # sessions that the file lacks: what is held ends before them
                if held:
                    side = 1 if held < 0 else -1
                    px = last[1] * (1 + side * 0.5e-4)
                    cash -= -held * px + 0.5e-4 * abs(held) * px
                    fills.append((last[0], -held, px))
                held, wanted, reached = 0.0, None, None
            last = (t, c)
            inside = bool(sessions.is_open(t, by_close=True))
            if wanted is not None and inside:
                decided, orders = wanted
                if t - minute >= decided:
                    wanted = None
                    if t - minute <= decided + 5 * minute:
                        for qty in orders:
                            side = 1 if qty > 0 else -1
                            px = o + side * 0.5e-4 * o
                            cash -= qty * px + 0.5e-4 * abs(qty) * px
                            held += qty
                            fills.append((t - minute, qty, px))
                    else:
                        reached = None
            elif wanted is not None and t > wanted[0] + 6 * minute:
                wanted, reached = None, None
            if signal is None or signal.action == 0 or not inside or wanted is not None:
                continue
            grade = int(signal.action) * (2 if np.float32(signal.confidence) >= np.float32(0.8) else 1)
            if grade == reached:
                continue
            side = 1 if grade > 0 else -1
            orders = []
            if held * side < 0:
                orders.append(-held)
            if held * side <= 0:
                equity = cash + held * c
                orders.append(side * np.floor(0.25 * equity / c * (1 + 1e-12)))
            if orders:
                wanted = (t, orders)
            reached = grade
    lines = (folder / "fills.csv").read_text().splitlines()[1:]
    booked = [(int(r[6]), float(r[7]), float(r[8])) for r in (line.split(",") for line in lines)]
    assert len(fills) == told["fills"]
    for mine, theirs in zip(fills, booked, strict=True):
        assert mine[:2] == theirs[:2] and mine[2] == pytest.approx(theirs[2], rel=1e-14)
    equity = cash + held * float(events["v"][-1, 3])
    assert equity == pytest.approx(told["equity_end"], rel=1e-11)


@pytest.mark.real_data
def test_embedded_signals_are_the_backtests_bytes(
    data_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``run`` over the source, as ``alpha run`` does it, gives the digest that the backtest reports."""
    file = data_dir / "bars" / "QQQ_1m_2022_2023.parquet"
    code, told, _ = called(capsys, *COMMAND, "--data", str(file), "--out", str(tmp_path))
    assert code == 0
    table = Instruments.load(Path(__file__).parents[2] / "instruments.toml")
    source = alpha.open_events(file, instruments=Instruments.of(table["QQQ"]))
    with serve(None, ModelRequest("HybridPPO", 0.1)).runtime(source.instruments) as rt:
        assert signals_sha256(rt.stream(source)) == told["signals_sha256"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("QQQQ", "--strategy", "hybrid_ppo"), ("'QQQQ'", "known: ", "QQQ", "BTC-PERP")),
        (("QQQ", "--strategy", "hybrid"), ("unknown strategy 'hybrid'", "hybrid_ppo", "random")),
        (("QQQ", "--strategy", "hybrid_ppo", "--params", "floor=0.1"), ("no parameter 'floor'", "conf_floor")),
        (("QQQ", "--strategy", "hybrid_ppo", "--params", "conf_floor=7"), ("conf_floor must be a number from 0 to 1",)),
        (("QQQ", "--strategy", "hybrid_ppo", "--params", "model=nobody"), ("'nobody'", "HybridPPO")),
        (("EURUSD", "--strategy", "buy_and_hold"), ("several sources", "FXCM_EURUSD", "OANDA_EURUSD")),
        (("QQQ", "--strategy", "random", "--latency", "soon"), ("--latency takes", "'soon'")),
        (("QQQ", "--strategy", "random", "--from", "yesterday"), ("--from takes a day", "'yesterday'")),
        (
            ("QQQ", "--strategy", "random", "--from", "2023-01-02", "--to", "2022-01-01"),
            ("--from must lie before --to",),
        ),
        (("QQQ", "--strategy", "random", "--from", "1999-01-01", "--to", "1999-02-01"), ("no event lies between",)),
        (("QQQ", "--strategy", "random", "--costs", "no.toml"), ("costs file no.toml cannot be read",)),
        (("QQQ", "--strategy", "random", "--limits", "no.toml"), ("limits file no.toml cannot be read",)),
        (("QQQ", "--strategy", "random", "--folds", "2"), ("--sweep",)),
        (("QQQ", "--strategy", "random", "--cash", "0"), ("above 0",)),
    ],
)
def test_what_is_wrong_is_said_with_what_is_valid(
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("ALPHA_DATA", str(data_dir))
    code, told, err = called(capsys, *args, "--out", str(tmp_path / "out"))
    assert code == 2 and all(w in told["error"] for w in words), told
    assert len(err.strip().splitlines()) == 1


def test_limits_of_a_file_hold_in_the_run(ticks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("SIM0", "--data", str(ticks), "--strategy", "threshold", "--params", "model=demo,buy=0.2,sell=-0.2")
    free, tight, wrong = (tmp_path / n for n in ("free", "tight", "wrong"))
    file = tmp_path / "limits.toml"
    code, told, _ = called(capsys, *args, "--out", str(free))
    assert code == 0 and told["fills"] > 10 and summary(free)["summary"]["limits_told"] == {}
    file.write_text("order_notional = 1000.0")  # of 25,000 that a position takes
    code, told, _ = called(capsys, *args, "--limits", str(file), "--out", str(tight))
    assert code == 0 and told["fills"] == 0
    whole = summary(tight)["summary"]
    assert whole["blocked"]["order_notional"] > 10 and whole["limits_told"] == {"order_notional": 1000.0}
    file.write_text("order_value = 1000.0")
    code, told, err = called(capsys, *args, "--limits", str(file), "--out", str(wrong))
    assert code == 2 and "order_value" in told["error"] and "order_notional" in told["error"]
    assert str(file) in told["error"] and len(err.strip().splitlines()) == 1 and not wrong.exists()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a strategy that buys below and sells above the first price."""
    file = tmp_path_factory.mktemp("own") / "dip.py"
    file.write_text(
        "from alpha.strategies import Grade, Parameter, Strategy, Suggestion, register\n\n\n"
        "@register('dip_of_test')\n"
        "class Dip(Strategy):\n"
        "    parameters = (Parameter('bp', float, 1.0, 0.0, 100.0),)\n\n"
        "    def on_quote(self, view, symbol, event):\n"
        "        mid = 0.5 * (event['v'][0] + event['v'][1])\n"
        "        first = self.__dict__.setdefault('first', mid)\n"
        "        move = 1e4 * (mid / first - 1)\n"
        "        if abs(move) > self.params['bp']:\n"
        "            return Suggestion(symbol, Grade.SELL if move > 0 else Grade.BUY)\n"
    )
    return file


def test_a_strategy_of_ones_own_in_a_file(
    ticks: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("SIM0", "--data", str(ticks), "--strategy", str(own))
    code, told, _ = called(capsys, *args, "--params", "bp=0.5", "--out", str(tmp_path / "out"))
    assert code == 0 and told["fills"] > 0 and summary(tmp_path / "out")["summary"]["strategy"] == "dip_of_test"
    code, told, err = called(capsys, *args, "--params", "bp=-1", "--out", str(tmp_path / "no"))
    assert code == 2 and "bp must be a number from 0 to 100" in told["error"] and len(err.splitlines()) == 1
    code, told, err = called(capsys, *args[:-1], str(tmp_path / "none.py"))
    assert code == 2 and "none.py cannot be read" in told["error"] and len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_sweep_takes_a_file_to_its_processes(
    ticks: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("SIM0", "--data", str(ticks), "--strategy", str(own))
    code, told, _ = called(capsys, *args, "--params", "bp=0.5", "--out", str(tmp_path))
    code, swept, _ = called(capsys, *args, "--sweep", "bp=0.5:90", "--processes", "2")
    fills = {r["label"]: r["fills"] for r in swept["runs"]}
    assert code == 0 and fills["bp=0.5"] == told["fills"] > fills["bp=90"]


def test_ticks_with_a_drawn_latency_that_is_measured_once(
    ticks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("SIM0", "--data", str(ticks), "--strategy", "threshold", "--params", "model=demo,buy=0.2,sell=-0.2")
    first, again, other = (tmp_path / n for n in ("first", "again", "other"))
    code, told, _ = called(capsys, *args, "--latency", "measured+300us", "--out", str(first), "--pictures")
    assert code == 0 and told["fills"] > 10
    measured = str(first / "latency.json")
    digest = told["latency"]["histogram_sha256"]
    assert digest and told["latency"]["largest_ns"] > 300_000
    code, second, _ = called(capsys, *args, "--latency", f"{measured}+300us", "--out", str(again))
    assert second["latency"] == told["latency"] and second["equity_end"] == told["equity_end"]
    assert summary(first)["summary"] == summary(again)["summary"]
    code, third, _ = called(capsys, *args, "--latency", f"{measured}+300us", "--seed", "9", "--out", str(other))
    assert third["latency"]["histogram_sha256"] == digest
    assert digest in (first / "report.html").read_text()
    page = (first / "report.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page  # nothing is fetched
    for name in ("equity", "trades", "hits", "calibration", "decay", "reasons", "costs", "monthly"):
        assert (first / f"{name}.png").read_bytes()[:4] == b"\x89PNG", name


def test_reports_side_by_side(ticks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, strategy in (("hold", "buy_and_hold"), ("chance", "random")):
        assert (
            main(
                [
                    "backtest",
                    "SIM0",
                    "--data",
                    str(ticks),
                    "--strategy",
                    strategy,
                    "--out",
                    str(tmp_path / name),
                    "--verbose",
                ]
            )
            == 0
        )
    out = capsys.readouterr().out
    assert "counted" in out and "orders orders" in out
    page = tmp_path / "both.html"
    assert main(["report", str(tmp_path / "hold"), str(tmp_path / "chance"), "--out", str(page)]) == 0
    out = capsys.readouterr().out
    assert "buy_and_hold" in out and "random" in out and "Sharpe ratio" in out
    assert "buy_and_hold" in page.read_text()
    assert main(["report", str(tmp_path), "--json"]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_in_processes_is_what_single_runs_give(
    ticks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("SIM0", "--data", str(ticks), "--strategy", "random", "--params", "every=5s")
    code, told, _ = called(capsys, *args, "--sweep", "share=0.1:0.5", "--sweep", "seed=1:2", "--processes", "2")
    assert code == 0 and len(told["runs"]) == 4
    assert len({r["label"] for r in told["runs"]}) == 4
    one = next(r for r in told["runs"] if r["label"] == "share=0.5, seed=2")
    code, single, _ = called(capsys, *args[:-1], "every=5s,share=0.5,seed=2", "--out", str(tmp_path / "one"))
    assert (single["equity_end"], single["fills"]) == (one["equity_end"], one["fills"])
    code, told, _ = called(capsys, *args, "--sweep", "share=2")
    assert code == 2 and "share must be a number from 0 to 1" in told["error"]
    code, told, _ = called(capsys, *args, "--sweep", "share=0.1:0.2", "--folds", "3")
    assert code == 2 and "too few" in told["error"]


@pytest.mark.real_data
def test_walking_forward_trades_only_what_comes_after_the_choice(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHA_DATA", str(data_dir))
    code, told, _ = called(
        capsys, "QQQ", "--strategy", "random", "--sweep", "seed=1:2:3", "--folds", "2", "--processes", "1"
    )
    assert code == 0 and len(told["folds"]) == 2 and told["tried"] == 3
    a, b = told["folds"]
    assert a["to_ns"] == b["from_ns"] and {a["chosen"], b["chosen"]} <= {"seed=1", "seed=2", "seed=3"}
    grown = a["equity_end"] / a["equity_start"] * b["equity_end"] / b["equity_start"]
    assert told["performance"]["total_return"] == pytest.approx(grown - 1.0, rel=1e-9)
    assert told["performance"]["tried"] == 3
