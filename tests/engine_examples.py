"""Running an example of ``examples/engines`` as a user would, and what it must say."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import alpha
from alpha.data.simulate import simulate

LIMIT_S = 300


def told(root: Path, name: str, *args: str, code: int = 0) -> dict[str, Any]:
    """The one object that the example printed; it must have ended with this exit code."""
    command = [sys.executable, f"examples/engines/{name}.py", "--json", "--times", "1", *args]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == code, (done.stdout[-2000:], done.stderr[-4000:])
    for trouble in ("Traceback", "Exception ignored", "leaked", "never retrieved"):
        assert trouble not in done.stderr, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def signals_of_run(root: Path, events: Any, table: alpha.Instruments) -> Any:
    """``rt.run`` here and now, with nothing of the examples' own comparison."""
    with alpha.Runtime.from_registry(root / "registry.json", "models:/demo@production", instruments=table) as rt:
        return rt.run(events)


def must_equal(found: dict[str, Any], signals: Any) -> None:
    """It says that its Signals are those of run, and they are these, some of them BUY or SELL."""
    acts = int(np.count_nonzero(signals["action"]))
    assert acts > 0
    assert found["same_as_rt_run"] is True
    assert (found["signals"], found["buy_or_sell"]) == (len(signals), acts)
    assert found["signals_sha256"] == hashlib.sha256(signals.tobytes()).hexdigest()


def simulated(n: int) -> tuple[Any, alpha.Instruments]:
    """What ``--simulated --events n`` means."""
    stream = simulate(n, seed=7, levels=1)
    return stream.events, stream.instruments


def recorded(path: Path, symbol: str, n: int) -> tuple[Any, alpha.Instruments]:
    """The first ``n`` quotes and trades of a file of one instrument; 0: all."""
    source = alpha.open_events(path, instrument=symbol)
    events = source.read_all()
    assert {int(k) for k in np.unique(events["kind"])} == {alpha.Kind.QUOTE, alpha.Kind.TRADE}
    return events[: n or None], source.instruments
