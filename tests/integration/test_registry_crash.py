"""Killed while it writes: the registry is the old one or the new one, never a mixture, never unreadable."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from registries import WHEN, publish, statuses

from alpha import documents
from alpha.registry import load, promote, register, verify

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two versions; one of them serves."""
    path = tmp_path / "registry.json"
    register(path, publish(tmp_path, 1), at=WHEN)
    register(path, publish(tmp_path, 2), at=WHEN)
    promote(path, "models:/momentum/1", approver="Ada", at=WHEN)
    return path


def in_child(work: Callable[[], None]) -> int:
    """Fork, work, never return; the child's process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def swap(path: Path) -> None:
    """Promote whichever version does not serve."""
    idle = next(number for number, status in statuses(path).items() if status != "production")
    promote(path, f"models:/momentum/{idle}", approver="Bo", at=WHEN)


def sound(path: Path) -> None:
    assert verify(path) == (2, [])
    assert sorted(statuses(path).values()).count("production") == 1


@pytest.mark.parametrize("step", ["write", "fsync", "chmod", "replace", "fsync folder"])
def test_case_27_killed_between_file_fsync_and_rename(file: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step of the write in turn: old before the rename, new after it, and the next writer clears up."""
    before = statuses(file)

    def die(*args: object, **kwargs: object) -> None:
        os._exit(9)

    def work() -> None:
        if step == "write":
            monkeypatch.setattr(documents.os, "fdopen", die)
        elif step == "fsync":
            monkeypatch.setattr(documents.os, "fsync", die)
        elif step == "chmod":
            monkeypatch.setattr(documents.Path, "chmod", die)
        elif step == "replace":
            monkeypatch.setattr(documents.Path, "replace", die)
        else:
            monkeypatch.setattr(documents, "sync_folder", die)
        swap(file)

    _, status = os.waitpid(in_child(work), 0)
    assert os.waitstatus_to_exitcode(status) == 9
    assert (statuses(file) == before) == (step != "fsync folder")
    sound(file)
    swap(file)
    sound(file)
    assert not [p for p in file.parent.iterdir() if p.name.startswith(".registry.json.") and p.suffix != ".lock"]


def killed_at_random(file: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    seen = set()
    for _ in range(times):
        begin = load(file).document.revision
        ready, told = os.pipe()

        def work(told: int = told) -> None:
            while True:
                swap(file)
                os.write(told, b".")

        pid = in_child(work)
        os.close(told)
        for _ in range(rng.randrange(3)):  # whole writes first, then a moment inside the next one
            os.read(ready, 1)
        for _ in range(rng.randrange(20_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        sound(file)
        seen.add(load(file).document.revision - begin)
    assert len(seen) > 1


def test_case_27_killed_at_random_moments(file: Path) -> None:
    killed_at_random(file, 25, 27)


@pytest.mark.slow
def test_case_27_killed_three_hundred_times(file: Path) -> None:
    killed_at_random(file, 300, 2027)
