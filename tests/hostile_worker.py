"""A process that may crash: it takes model files one by one, and says what became of each.

``Worker`` is the parent's side. The child verifies the bytes as loading does; what was accepted goes to ONNX Runtime
and runs on a few rows. Address space beyond what the process already had is limited, and CPU time is counted, so
that a file that costs too much is known by name, like one that crashes the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

MEMORY = 512 << 20
PATIENCE_S = 120.0  # wall clock, only against a child that never answers


class Worker:
    """A context manager; :meth:`ask` restarts the child after a crash."""

    def __init__(self, *, run: bool = True) -> None:
        self._run = run
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> int | None:
        if self._child is None:
            return None
        child, self._child = self._child, None
        assert child.stdin and child.stdout
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            code = child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        child.stdout.close()
        return code

    def ask(self, data: bytes) -> dict[str, Any]:
        """``{"what": "refused" | "engine refused" | "served" | "error" | "crash" | "silent", ...}``."""
        if self._child is None:
            command = [sys.executable, __file__, "run" if self._run else "verify"]
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        child = self._child
        assert child.stdin and child.stdout
        try:
            child.stdin.write(struct.pack("<Q", len(data)) + data)
            child.stdin.flush()
        except BrokenPipeError:
            return {"what": "crash", "code": self._stop()}
        if not select.select([child.stdout], [], [], PATIENCE_S)[0]:
            child.kill()
            self._stop()
            return {"what": "silent"}
        line = child.stdout.readline()
        if not line:
            return {"what": "crash", "code": self._stop()}
        return dict(json.loads(line))


def memory(name: str) -> int:
    """Bytes of a line of this process's status, e.g. ``VmHWM``, the most it ever held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    return 0


def _answer(data: bytes, run: bool) -> dict[str, Any]:
    import time

    import numpy as np

    from alpha._core.ort import OrtModel
    from alpha.errors import ModelError
    from alpha.models.verify import verify_model

    start = time.process_time()
    try:
        graph = verify_model(data)
    except ModelError as exc:
        return {"what": "refused", "why": str(exc), "verify_s": time.process_time() - start}
    except Exception as exc:  # anything else is what the test looks for
        return {"what": "error", "why": repr(exc), "verify_s": time.process_time() - start}
    out: dict[str, Any] = {"what": "served", "verify_s": time.process_time() - start}
    if not run:
        return out
    start = time.process_time()
    floats = [o.name for o in graph.outputs if o.dtype == np.float32]
    try:
        model = OrtModel(data, output=floats[-1] if floats else None)
        kernel = model.kernel()
        rng = np.random.default_rng(0)
        rows = np.concatenate(
            [np.zeros((1, model.n_in)), rng.normal(size=(3, model.n_in)), np.full((1, model.n_in), 1e30)]
        )
        kernel.run(rows.astype(np.float32))
    except (ModelError, ValueError, MemoryError) as exc:
        out |= {"what": "engine refused", "why": str(exc)}
    return out | {"engine_s": time.process_time() - start}


def main() -> None:
    import resource

    run = sys.argv[1] == "run"
    from alpha._core import ort

    ort.available()
    room = memory("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while head := stdin.read(8):
        data = stdin.read(struct.unpack("<Q", head)[0])
        answer = _answer(data, run)
        answer["peak_bytes"] = memory("VmHWM")
        stdout.write(json.dumps(answer).encode() + b"\n")
        stdout.flush()


if __name__ == "__main__":
    main()
