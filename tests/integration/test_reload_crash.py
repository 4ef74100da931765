"""Killed while it reloads: the registry, the log and what serves afterwards are of one version each, and readable."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from test_reload import SIM, publish, runtime

from alpha.audit import AuditLog, verify
from alpha.audit.read import files_of, open_all
from alpha.registry import load, promote
from alpha.registry import verify as verify_registry
from alpha.replay import replay

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def file(tmp_path: Path, project_root: Path) -> Path:
    """demo v1 serves; v2 has the weights of demo_mlp."""
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    publish(tmp_path / "registry.json", 2, "demo_mlp")
    return tmp_path / "registry.json"


def in_child(work: Callable[[], None]) -> int:
    """Fork, work, never return; the child's process id. Exit 0 if the work ended, 1 if it failed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    return pid


def reload_for_ever(file: Path, log: Path, told: int) -> None:
    """Promote the version that does not serve, reload, run until it has taken over, tell; again."""
    with runtime(file, audit=AuditLog(log, policy="wait")) as rt:
        at = 0
        os.write(told, b".")
        while at < len(SIM.events):
            serving = rt.bundle.name
            promote(file, f"models:/demo/{2 if serving == 'demo/1' else 1}", approver="Ada")
            rt.reload()
            while rt.bundle.name == serving and at < len(SIM.events):
                rt.run(SIM.events[at : at + 200])
                at += 200
            os.write(told, b".")
        os.write(told, b"e" * 64)
        time.sleep(60)  # the whole stream is over: wait for the kill


def look_at(file: Path, log: Path) -> None:
    """Everything that a kill may have left half done."""
    models, problems = verify_registry(file)
    assert problems == [] and models == len(load(file).document.models)
    hashes = {bytes.fromhex(load(file).resolve(f"models:/demo/{v}").sha256)[:16] for v in (1, 2)}
    AuditLog(log, policy="wait")  # puts aside what was cut
    assert [p for p in verify(log).problems if "not sealed by a block" not in str(p)] == []
    for part in open_all(log):
        signals = part.decisions()["signal"]
        assert {h.tobytes() for h in signals["model_hash"]} <= hashes
    if any(len(p.read_bytes()) for p in files_of(log)):
        found = replay(log)  # features of one with weights of the other would not give the same bytes
        assert found.passed, found.shown
    with runtime(file) as rt:
        signals = rt.run(SIM.events[:600])
        assert len({h.tobytes() for h in signals["model_hash"]}) == 1 and rt.why == ""


def killed(file: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    reached = set()
    for n in range(times):
        log = file.parent / f"log{n}"
        ready, told = os.pipe()
        pid = in_child(lambda log=log, told=told: reload_for_ever(file, log, told))  # type: ignore[misc]
        os.close(told)
        goal = rng.randrange(1, 6)
        for _ in range(goal):  # so many reloads, then a moment inside the next one
            os.read(ready, 1)
        for _ in range(rng.randrange(400_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(ready)
        assert os.WTERMSIG(status) == signal.SIGKILL, n
        _, status = os.waitpid(in_child(lambda log=log: look_at(file, log)), 0)  # type: ignore[misc]
        assert os.waitstatus_to_exitcode(status) == 0, n
        reached.add(goal)
        shutil.rmtree(log)
    assert len(reached) > 1


def test_case_30_killed_during_reload(file: Path) -> None:
    killed(file, 4, 30)


@pytest.mark.slow
def test_case_30_killed_three_hundred_times_during_reload(file: Path) -> None:
    killed(file, 300, 2030)
