"""What can go wrong around a verb: outputs, options, empty data. One sentence, the right code, no traceback."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from alpha.cli.main import main

QUOTES = "ts,bid,ask,bid_size,ask_size\n" + "".join(
    f"{1723161254 + i},{100 + i % 3},{101 + i % 3},5,6\n" for i in range(80)
)
MODEL = "models:/demo/1"


@pytest.fixture(scope="module")
def registry(project_root: Path) -> Path:
    return project_root / "registry.json"


@pytest.fixture
def quotes(tmp_path: Path) -> Path:
    path = tmp_path / "quotes.csv"
    path.write_text(QUOTES)
    return path


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, list[str]]:
    """(exit code, stdout, lines of stderr)"""
    code = main([str(a) for a in args])
    out, err = capsys.readouterr()
    assert "Traceback" not in err and "Errno" not in err + out
    return code, out, err.strip().splitlines()


def alpha(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with a stdout of its own."""
    command = [sys.executable, "-m", "alpha", *map(str, args)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [["features", "--operators"], ["features", "--json"], ["--help"]])
def test_an_output_that_does_not_arrive_is_no_success(args: list[str], unbuffered: str) -> None:
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    full = Path("/dev/full")
    if full.is_char_device():
        with full.open("w") as out:
            done = alpha(*args, stdout=out, env=env)
        assert done.returncode == 2
        assert done.stderr.endswith("the output could not be delivered: standard output: no space left on device\n")
        assert len(done.stderr.splitlines()) == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = alpha(*args, stdout=writer, env=env)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == ""  # as of alpha … | head: no error, and no success either


def test_a_closed_output_is_no_success() -> None:
    code = f"import os; os.close(1); os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'alpha', 'features'])"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("alpha: standard output is closed")


def test_a_place_that_cannot_be_written_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for out, words in ((file, "file exists"), (file / "x", "a part of this path is a file")):
        code, _, err = call(capsys, "demo", "--small", "--out", out)
        assert code == 2 and len(err) == 1
        assert err[0].startswith(f"alpha demo: {out} cannot be used: ") and words in err[0]


def test_the_working_folder_may_be_unwritable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("not a folder")  # as unwritable for root as for anybody
    code, _, err = call(capsys, "demo", "--small")
    assert code == 2 and len(err) == 1 and "cannot be used" in err[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is a folder"),
        (".", "is a folder"),
        ("none/s.parquet", "none does not exist: make it first"),
        ("quotes.csv", "would overwrite the data"),
        (os.devnull, "is a device or a pipe"),
    ],
)
def test_outputs_are_checked_before_the_work(
    capsys: pytest.CaptureFixture[str],
    registry: Path,
    quotes: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    words: str,
) -> None:
    monkeypatch.chdir(quotes.parent)
    monkeypatch.setattr("alpha.cli.show.opened", None)  # nothing may be read
    for verb in (
        ["run", "--model", MODEL, "--registry", registry, "--signals"],
        ["parity", "--features", "demo", "--out"],
    ):
        code, _, err = call(capsys, *verb, name, "--data", quotes.name, "--ts-unit", "s")
        assert code == 2 and len(err) == 1 and words in err[0] and str(verb[-1]) in err[0]
    assert quotes.read_text() == QUOTES


def test_signals_without_pyarrow_are_refused_before_the_work(
    capsys: pytest.CaptureFixture[str], registry: Path, quotes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha.cli.show.opened", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    args = ["run", "--model", MODEL, "--registry", registry, "--data", quotes, "--signals", quotes.parent / "s.parquet"]
    code, _, err = call(capsys, *args)
    assert code == 2 and "pip install 'alpha-runtime[data]'" in err[0]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["data", ""], 2, "the name of a data file is empty"),
        (["data", "none.csv"], 2, "none.csv does not exist"),
        (["data", "quotes.csv"], 2, "column 'ts' holds numbers"),
        (["data", "quotes.csv", "--tz", "Nope"], 2, "time zone 'Nope' is unknown"),
        (["data", "quotes.csv", "--levels", "many"], 2, "invalid int value: 'many'"),
        (["nothing"], 2, "unknown verb 'nothing'"),
        (["run"], 2, "the following arguments are required: --data"),
        (["registry", "list", "--registry", "."], 2, "--registry . is a folder: name the registry.json in it"),
        (["run", "--model", MODEL, "--registry", ".", "--data", "quotes.csv"], 2, "--registry . is a folder"),
        (["run", "--model", MODEL, "--data", "quotes.csv", "--cpu", "0"], 2, "--cpu pins the worker thread"),
        (["data", "quotes.csv", "--instruments", "none.toml"], 2, "none.toml: the instruments cannot be read: no such"),
        (["explain", MODEL, "--data", "quotes.csv", "--symbol", "X", "--ts-unit", "s"], 2, "it has: quotes"),
    ],
)
def test_an_error_is_one_json_object_where_json_was_asked_for(
    capsys: pytest.CaptureFixture[str],
    quotes: Path,
    registry: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(quotes.parent)
    monkeypatch.setenv("ALPHA_REGISTRY", str(registry))
    got, out, err = call(capsys, *args, "--json")
    printed = json.loads(out)
    assert got == code and set(printed) == {"schema", "error"} and printed["schema"] == "alpha/error/1"
    assert words in printed["error"] and err[-1] == f"alpha {args[0]}: {printed['error']}"
    got, out, err = call(capsys, *args)
    assert (got, out) == (code, "") and words in err[-1]


def test_a_failed_check_is_no_error_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 1 and "error" not in json.loads(out)


def test_an_interrupt_is_an_error_object_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("alpha.cli.features.run", interrupted)
    code, out, err = call(capsys, "features", "--json")
    assert (code, err) == (130, ["alpha features: interrupted"])
    assert json.loads(out) == {"schema": "alpha/error/1", "error": "interrupted"}


@pytest.mark.parametrize("verb", ["data", "run", "explain", "parity"])
@pytest.mark.parametrize("name", ["empty.parquet", "empty.gz", "header.csv", "bad.csv"])
def test_data_without_events_is_refused_by_every_verb(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, registry: Path, verb: str, name: str
) -> None:
    path = tmp_path / name
    if name == "empty.parquet":
        pl.DataFrame(schema={"ts": pl.Int64, "px": pl.Float64}).write_parquet(path)
    elif name == "empty.gz":
        path.write_bytes(b"")
    else:
        path.write_text("ts,px\n" + ("x,1\n,\n1\n" if name == "bad.csv" else ""))
    args: dict[str, list[object]] = {
        "data": [path],
        "run": ["--model", MODEL, "--registry", registry, "--data", path],
        "explain": [MODEL, "--registry", registry, "--data", path],
        "parity": ["--features", "demo", "--data", path],
    }
    code, out, err = call(capsys, verb, *args[verb], "--ts-unit", "s")
    assert (code, out) == (2, "") and f"{name}: no events: " in err[-1]
    if name == "bad.csv":
        assert "3 rows read: 3 bad (wrong number of columns 1, bad time 2)" in err[-1]


def test_data_accounts_for_every_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ts,px,qty\n1,1,1\n2,1,1\n3,x,1\n4,1\n5,1,1,1\nlate,1,1\n,1,1\n6,1,y\n7\n8,1,1\n9,1,1\n")
    code, out, _ = call(capsys, "data", path, "--ts-unit", "s", "--json")
    printed = json.loads(out)
    assert (code, printed["rows"], printed["events"], printed["event_rows"]) == (0, 11, 4, 4)
    assert printed["bad_rows"] == {"wrong_number_of_columns": 3, "unparsable": 2, "bad_time": 2}
    assert printed["ignored_rows"] == {}
    code, out, _ = call(capsys, "data", path, "--ts-unit", "s")
    lines = [line.split() for line in out.splitlines()]
    assert ["rows", "11"] in lines and ["rows", "that", "gave", "events", "4"] in lines


def test_ignored_lines_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    quote = '5 {"data": {"s": "A", "u": 1, "b": "1", "B": "1", "a": "2", "A": "1"}}\n'
    depth = '6 {"data": {"s": "A", "e": "depthUpdate", "U": 1, "u": 2, "b": [], "a": []}}\n'
    path.write_bytes(gzip.compress((quote + depth).encode()))
    _, out, _ = call(capsys, "data", path)
    assert ["ignored", "rows:", "depth_not_asked_for", "1"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize(
    ("flag", "value", "kind"), [("--bar", "5m", "BAR"), ("--bar-stamp", "close", "BAR"), ("--levels", "5", "DEPTH")]
)
def test_an_option_that_changes_nothing_is_told(
    capsys: pytest.CaptureFixture[str], quotes: Path, flag: str, value: str, kind: str
) -> None:
    code, _, err = call(capsys, "data", quotes, "--ts-unit", "s", flag, value)
    assert (code, err) == (
        0,
        [f"warning: {flag} {value} changes nothing: the data has no {kind} events, only QUOTE"],
    )


def run(capsys: pytest.CaptureFixture[str], registry: Path, path: Path, *more: str) -> tuple[Any, list[str]]:
    code, out, err = call(
        capsys, "run", "--model", MODEL, "--registry", registry, "--data", path, "--ts-unit", "s", "--json", *more
    )
    assert code == 0
    return json.loads(out), [line for line in err if "trained on" not in line]


def test_features_that_can_never_be_ready_are_named(
    capsys: pytest.CaptureFixture[str], registry: Path, quotes: Path
) -> None:
    printed, warned = run(capsys, registry, quotes)
    assert set(printed["reasons"]) == {"NOT_WARM"}
    assert printed["never_ready"] == ["side_fast", "side_slow"]
    assert warned == [
        "warning: every decision was NOT_WARM: side_fast, side_slow can never become ready, because the data has no "
        "TRADE events: use data that has them, or a model without these features"
    ]
    quotes.write_text("\n".join(",".join(line.split(",")[:3]) for line in QUOTES.splitlines()))
    printed, warned = run(capsys, registry, quotes)
    names = ["imbalance", "imbalance_ema", "imbalance_slow", "micro_dev", "side_fast", "side_slow"]
    assert printed["never_ready"] == names
    assert (
        len(warned) == 1 and ", ".join(names) in warned[0] and "no sizes of QUOTE events and no TRADE ev" in warned[0]
    )


def test_data_that_is_only_too_short_is_told_apart(
    capsys: pytest.CaptureFixture[str], registry: Path, tmp_path: Path
) -> None:
    path = tmp_path / "both.csv"
    path.write_text("ts,bid,ask,bid_size,ask_size,price,size,side\n1,1,2,3,4,,,\n2,,,,,1.5,1,BUY\n3,1,2,3,4,,,\n")
    printed, warned = run(capsys, registry, path)
    assert printed["never_ready"] == []
    assert warned == [
        "warning: every decision was NOT_WARM: the data ends before all features are warm: give more of it"
    ]


def test_no_decision_at_all_is_explained(capsys: pytest.CaptureFixture[str], registry: Path, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("ts,open,high,low,close,volume\n60,1,2,0.5,1,9\n120,1,2,0.5,1,9\n")
    why = "the model decides at each quote, which needs QUOTE events; the data has BAR events"
    printed, warned = run(capsys, registry, path, "--bar-stamp", "close")
    assert printed["decisions"] == 0 and warned == [f"warning: there was no decision: {why}"]
    args = ["explain", MODEL, "--registry", registry, "--data", path, "--ts-unit", "s", "--bar-stamp", "close"]
    code, out, _ = call(capsys, *args)
    assert (code, out) == (0, f"demo/1 on bars: no decision: {why}\n")
    _, out, _ = call(capsys, *args, "--json")
    assert json.loads(out)["no_decision"] == why


def test_explain_says_which_instrument_it_takes_apart(
    capsys: pytest.CaptureFixture[str], registry: Path, tmp_path: Path
) -> None:
    path = tmp_path / "two.csv"
    path.write_text("ts,symbol,bid,ask\n1,A,1,2\n2,B,3,4\n3,A,1,2\n")
    args = ["explain", MODEL, "--registry", registry, "--data", path, "--ts-unit", "s", "--json"]
    _, out, err = call(capsys, *args)
    assert (json.loads(out)["instrument"], json.loads(out)["instruments"]) == ("A", ["A", "B"])
    assert "taking A apart; the data also has B: choose with --symbol B" in err
    for flag in ("--symbol", "--instrument"):
        _, out, err = call(capsys, *args, flag, "B")
        assert json.loads(out)["instrument"] == "B"
    _, out, _ = call(capsys, *args, "--symbol", "B", "--events", 1)
    assert "none of the 1 events led to one for B" in json.loads(out)["no_decision"]
