"""Killed while it logs: no frame whose write was acknowledged is missing, and the log can be read and go on."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import struct
from pathlib import Path

import pytest
from audits import BUNDLE, HEADER, make, numbers, put

from alpha.audit import AuditLog, verify
from alpha.audit.read import LogFile, files_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def _write_until_killed(folder: Path, told: mmap.mmap) -> None:
    log = AuditLog(folder, policy="wait", capacity=1 << 15)
    log.begin(HEADER, BUNDLE, b"s" * 300)
    i = 0
    while True:
        put(log, range(i, i + 7))
        i += 7
        told[:16] = struct.pack("<QQ", log.log.acknowledged, i)  # what the parent may rely on


def killed(folder: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    grown = 0
    for n in range(times):
        shutil.rmtree(folder, ignore_errors=True)
        told = mmap.mmap(-1, 16)
        pid = os.fork()
        if pid == 0:
            try:
                _write_until_killed(folder, told)
            finally:
                os._exit(1)
        goal = rng.choice((1, 30, 300, 3000))
        while struct.unpack("<QQ", told[:16])[1] < goal:  # into the work, then a moment more
            pass
        for _ in range(rng.randrange(3000)):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        acknowledged, _ = struct.unpack("<QQ", told[:16])
        file = LogFile.open(files_of(folder)[0])
        assert len(file.headers) >= acknowledged, n
        assert file.headers["seq"].tolist() == list(range(len(file.headers)))
        events = numbers(folder)
        assert events == list(range(len(events)))  # the longest prefix, nothing in between is missing
        grown += len(events)
        make(folder, range(len(events), len(events) + 3))
        assert numbers(folder) == list(range(len(events) + 3))
        assert verify(folder).problems == []
    assert grown > times


def test_killed_at_random_moments_loses_no_acknowledged_frame(tmp_path: Path) -> None:
    killed(tmp_path / "log", 12, 28)


@pytest.mark.slow
def test_killed_a_thousand_times_loses_no_acknowledged_frame(tmp_path: Path) -> None:
    killed(tmp_path / "log", 1000, 2028)
