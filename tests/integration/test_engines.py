"""The examples of examples/engines that need no other engine: the very Signals of ``rt.run``, and clean ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_examples import must_equal, recorded, signals_of_run, simulated, told

import alpha

HERE = ["loop", "asyncio_websocket", "two_processes"]


@pytest.mark.parametrize("name", HERE)
def test_the_signals_of_run(project_root: Path, name: str) -> None:
    found = told(project_root, name, "--simulated", "--events", "3000")
    assert found["data"] == "SIMULATED, SIM0" and found["events"] == 3000
    must_equal(found, signals_of_run(project_root, *simulated(3000)))
    assert {"ns_per_event", "ns_empty", "ns_net"} <= found.keys()


@pytest.mark.real_data
@pytest.mark.parametrize("name", HERE)
@pytest.mark.filterwarnings("ignore::alpha.AlphaWarning")
def test_the_signals_of_run_on_real_events(project_root: Path, data_dir: Path, name: str) -> None:
    file = data_dir / "binance" / "usdm_btcusdt_20240808_l1.parquet"
    found = told(project_root, name, "--data", str(file), "--instrument", "BTCUSDT", "--events", "4000")
    must_equal(found, signals_of_run(project_root, *recorded(file, "BTCUSDT", 4000)))


def test_a_feed_handler_that_is_killed(project_root: Path) -> None:
    """What it had published is decided, the runtime ends, says what happened, and no memory is left behind: the
    tracker of shared memory would say "leaked", which ``told`` looks for (a look into /dev/shm sees other tests' too)."""
    args = ["--simulated", "--events", "6000", "--kill-after", "4321"]
    found = told(project_root, "two_processes", *args, code=1)
    assert found["stopped"] == "the feed handler died of SIGKILL after 4,321 of 6,000 events"
    assert found["events"] == 4321
    must_equal(found, signals_of_run(project_root, simulated(6000)[0][:4321], simulated(1)[1]))


@pytest.fixture
def against(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(project_root / "examples" / "engines"))
    monkeypatch.chdir(project_root)
    import against

    yield against
    del sys.modules["against"]


@pytest.mark.parametrize("fault", ["none", "byte", "one less", "order", "nothing", "no signals"])
def test_the_comparison_can_fail(
    against: Any, fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(replay: Any, rt: alpha.Runtime | None) -> tuple[bytes, int]:
        if rt is None:
            return b"", 1
        signals = rt.run(replay.events)
        if fault == "byte":
            signals["ref_px"][len(signals) // 2] = np.nextafter(signals["ref_px"][len(signals) // 2], np.inf)
        if fault == "order":
            signals[[5, 6]] = signals[[6, 5]]
        if fault == "one less":
            signals = signals[:-1]
        return b"" if fault == "nothing" else signals.tobytes(), 2

    if fault == "no signals":  # equal, and nothing was compared
        monkeypatch.setattr(alpha.Runtime, "run", lambda self, events: np.zeros(0, alpha.SIGNAL_DTYPE))
    monkeypatch.setattr(sys, "argv", ["x", "--simulated", "--events", "500", "--times", "2"])
    assert against.main(run, "a test") == (0 if fault == "none" else 1)
    out = capsys.readouterr().out
    assert f"same as rt run   {fault == 'none'}" in out


def test_every_example_is_short_and_says_how_it_is_called(project_root: Path) -> None:
    files = sorted((project_root / "examples" / "engines").glob("*.py"))
    assert {f.stem for f in files} >= {*HERE, "nautilus", "hftbacktest_loop"}
    for file in files:
        if file.stem != "against":  # what compares is no part of an example
            assert len(file.read_text().splitlines()) <= 60, file
    for name in HERE:
        command = [sys.executable, f"examples/engines/{name}.py", "--help"]
        said = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True).stdout
        assert f"python examples/engines/{name}.py" in said and "--simulated" in said


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("loop", ["--data", "nowhere.parquet"], "error: data file nowhere.parquet does not exist"),
        ("loop", ["--events", "-5"], "loop.py: error: argument --events: -5 is below 0"),
        ("loop", ["--times", "0"], "loop.py: error: argument --times: 0 is below 1"),
        ("loop", ["--times", "x"], "loop.py: error: argument --times: invalid whole number value: 'x'"),
        ("loop", ["--simulated", "--instrument", "Z"], "error: --instrument Z: simulated events are of one instrument; "
         "give --data FILE"),
        ("two_processes", ["--kill-after", "-3"], "two_processes.py: error: argument --kill-after: -3 is below 0"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(project_root: Path, name: str, args: list[str], said: str) -> None:
    command = [sys.executable, f"examples/engines/{name}.py", *args]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, said), done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_that_is_not_installed_says_where_it_is(project_root: Path) -> None:
    hide = "import sys, runpy; sys.modules['nautilus_trader'] = None; sys.argv = [sys.argv[1]]; sys.path.insert(0, 'examples/engines')\n"
    command = [
        sys.executable,
        "-c",
        f"{hide}runpy.run_path(sys.argv[0], run_name='__main__')",
        "examples/engines/nautilus.py",
    ]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "./dev engines, once; then .venv-engines/bin/python examples/engines/nautilus.py" in done.stderr


def test_a_number_that_is_missing_is_no_number_of_too_many_decimals(against: Any) -> None:
    assert against.decimals(np.array([1.25, 3.0])) == 2
    with pytest.raises(alpha.AlphaError, match="1 of 2 prices or sizes are missing"):
        against.decimals(np.array([1.25, np.nan]))
