"""``alpha run --watch``, ``alpha watch`` and ``alpha top`` as a person calls them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_cli import ticks  # noqa: F401 (a fixture)

from alpha.cli.main import main
from alpha.watch import ops

RUN = ("--model", "models:/demo/1", "--data")


@contextmanager
def running(root: Path, *args: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the URL that it says."""
    process = subprocess.Popen(
        [sys.executable, "-m", "alpha", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            found = re.fullmatch(r"watch: (http://\S+)\n", line)
            if found:
                yield process, found[1]
                return
        raise AssertionError(f"it said no address: {said}")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def held(process: subprocess.Popen[str]) -> None:
    """Until it says that the data ended."""
    assert process.stderr is not None
    assert any("goes on until Ctrl-C" in line for line in process.stderr)


def top(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(["top", *args]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["run", "watch"])
def test_it_serves_on_after_the_data_ended(
    ticks: Path,  # noqa: F811
    project_root: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
) -> None:
    how = ["--watch", "0", "--hold"] if verb == "run" else ["--port", "0"]
    with running(project_root, verb, *RUN, ticks, "--json", *how) as (process, url):
        held(process)
        told = json.loads(top(capsys, url, "--json"))
        assert told["schema"] == "alpha/watch/1" and told["counters"]["events"] == 6_000
        assert told["models"][0]["status"] == "production" and told["note"].startswith("The data ended after 6,000")
        assert told["signals_complete"] and len(told["signals"]) == 20
        shown = top(capsys, url, "--once")
        assert "6,000" in shown and "BELOW_THRESHOLD" in shown and "zscore_50" in shown
        assert main(["watch", url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["name"] == "demo/1"
        process.send_signal(signal.SIGTERM)  # a shell's background jobs do not hear Ctrl-C
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        result: dict[str, Any] = json.loads(out)
    # the same run without being watched
    assert (
        main(["run", *RUN[:2], "--registry", str(project_root / "registry.json"), "--data", str(ticks), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["signals_sha256"] == result["signals_sha256"]


def test_without_hold_it_ends_with_the_data(
    ticks: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", *RUN, str(ticks), "--json", "--watch", "0", "--mode", "worker", "--pace", "1e6"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["events"] == 6_000 and "watch: http://127.0.0.1:" in err


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["run", *RUN, "x.csv", "--hold"], "add --watch PORT"),
        (["run", *RUN, "x.csv", "--watch-host", "::1"], "add --watch PORT"),
        (["run", *RUN, "x.csv", "--pace", "0"], "--pace is a number above 0"),
        (["watch"], "what is to be watched"),
        (["watch", "--model", "models:/demo/1"], "what is to be watched"),
        (["watch", "9464", "--model", "models:/demo/1"], "choose one"),
        (["top", "ftp://x"], "is no address"),
        (["top", "127.0.0.1:1"], "no runtime answers at http://127.0.0.1:1/"),
        (["top", "--every", "0"], "--every takes"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(args: list[str], match: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    err = capsys.readouterr().err
    assert match in err and err.count("\n") == 1


def test_a_port_in_use_is_one_sentence(
    ticks: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["run", *RUN, str(ticks), "--json", "--watch", str(taken.getsockname()[1])]) == 2
    assert "address already in use" in json.loads(capsys.readouterr().out)["error"]


def test_dashboard_and_alerts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--dashboard"]) == 0
    assert capsys.readouterr().out == ops.dashboard()
    assert main(["watch", "--alerts"]) == 0
    assert capsys.readouterr().out == ops.alerts()
