"""The notebooks and examples run, and a notebook's cells can be taken apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from stage import environment

PROJECT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = sorted((PROJECT / "examples" / "notebooks").glob("*.py"))


def cells(text: str) -> list[tuple[str, str]]:
    """(kind, text) of each cell of a percent script."""
    parts = re.split(r"^ *# %%(.*)$", text, flags=re.M)
    assert not parts[0].strip(), "something stands before the first cell"
    return [
        ("markdown" if "[markdown]" in mark else "code", body)
        for mark, body in zip(parts[1::2], parts[2::2], strict=True)
    ]


def test_there_are_two() -> None:
    assert [n.stem for n in NOTEBOOKS] == ["features_and_parity", "model_to_live"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_its_cells_are_words_or_code(path: Path) -> None:
    found = cells(path.read_text(encoding="utf-8"))
    kinds = [kind for kind, _ in found]
    assert kinds[:2] == ["markdown", "code"] and kinds.count("code") >= 6 and kinds.count("markdown") >= 6
    for kind, body in found:
        if kind == "markdown":
            assert all(line.strip().startswith("#") for line in body.strip().splitlines()), body
        else:
            assert body.strip(), f"{path.name}: an empty cell"


@pytest.mark.parametrize(
    "path",
    [pytest.param(n, id=n.stem, marks=[pytest.mark.slow] if n.stem == "model_to_live" else []) for n in NOTEBOOKS],
)
def test_it_runs_whole(path: Path, tmp_path: Path) -> None:
    """Its assertions are about what it shows; here it only has to come to its end."""
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and len(done.stdout.splitlines()) > 8


def test_the_simulated_feed_sends_messages(tmp_path: Path) -> None:
    feed = PROJECT / "examples" / "simulated_feed.py"
    done = subprocess.run(
        [sys.executable, str(feed), "200", "3", "1000"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(messages) == 200 and {m["type"] for m in messages} == {"quote", "trade"}
    assert [m["ts_ns"] for m in messages] == sorted(m["ts_ns"] for m in messages)


def test_the_simulated_day_can_be_opened(tmp_path: Path) -> None:
    import alpha
    from alpha.data.simulate import simulate

    day = PROJECT / "examples" / "simulated_day.py"
    subprocess.run(
        [sys.executable, str(day), "SIM0.parquet", "1_000", "3"], cwd=tmp_path, capture_output=True, check=True
    )
    source = alpha.open_events(tmp_path / "SIM0.parquet")
    events = source.read_all()
    made = simulate(1_000, seed=3, levels=1).events
    assert source.instruments.symbols == ("SIM0",) and not source.bad_rows
    for field in ("ts_event_ns", "ts_recv_ns", "kind"):
        assert (events[field] == made[field]).all(), field
    assert (events["v"][:, :3] == made["v"][:, :3]).all()
