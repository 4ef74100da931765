"""The first run of a file that nobody vouches for, in a process of its own. Floor 3.

What :mod:`verify` lets through can still ask an engine for more memory or time than there is, or hit a fault of the
engine's. At the door where strange files come in that must cost one sentence, not the caller's process.
``python -m alpha.models.trial`` is the child: it reads the model and rows from standard input, as :func:`trial` writes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError
from alpha.models.score import scores

MEMORY_BYTES = 2 << 30  # beyond what the process has before it loads the model
CPU_SECONDS = 60
_REFUSED = 3


def trial(
    model: bytes, output: str, rows: npt.NDArray[np.float32], carry: Sequence[tuple[str, str]] = ()
) -> npt.NDArray[np.float32]:
    """:func:`alpha.models.score.scores` in a process that may die; ModelError says if it did."""
    name = json.dumps([output, [list(pair) for pair in carry]]).encode()
    head = struct.pack("<4Q", len(model), len(name), *rows.shape)
    # -P: the folder one happens to stand in must not bring its own `alpha`
    command = [sys.executable, "-P", "-m", "alpha.models.trial"]
    here = str(Path(__file__).resolve().parent.parent.parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
    given = head + model + name + np.ascontiguousarray(rows, "<f4").tobytes()
    # a limit of wall time as well: a child that waits for something uses no processor
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=10 * CPU_SECONDS, env=env)
    except subprocess.TimeoutExpired:
        raise ModelError(f"ONNX Runtime did not come to an end with this model and {_given(rows)}") from None
    if done.returncode == _REFUSED:
        raise ModelError(done.stderr.decode("utf-8", "replace").strip() or "the model cannot be run")
    if done.returncode != 0:
        if done.returncode == -signal.SIGXCPU:
            raise ModelError(f"ONNX Runtime used more than {CPU_SECONDS} s with this model and {_given(rows)}")
        raise ModelError(f"ONNX Runtime {_death(done.returncode)} with this model: it is not served")
    return np.array(np.load(io.BytesIO(done.stdout), allow_pickle=False), np.float32)


def _given(rows: npt.NDArray[np.float32]) -> str:
    return f"{len(rows):,} rows: use fewer sample rows (--sample), or a smaller model"


def _death(code: int) -> str:
    if code < 0:
        return f"was stopped by signal {-code}"
    return f"failed (exit code {code})"


def _limit() -> None:
    """Bound this process, where the system knows how."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        room = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (room, room))


def _child() -> int:
    data = sys.stdin.buffer
    sizes = struct.unpack("<4Q", data.read(32))
    model = data.read(sizes[0])
    output, carry = json.loads(data.read(sizes[1]))
    rows = np.frombuffer(data.read(4 * sizes[2] * sizes[3]), "<f4").astype(np.float32).reshape(sizes[2], sizes[3])
    _limit()
    try:
        got = scores(model, output, rows, [tuple(pair) for pair in carry])
    except (ModelError, ValueError, MemoryError) as exc:
        print(str(exc) or "the model needs more memory than it may have", file=sys.stderr)
        return _REFUSED
    out = io.BytesIO()
    np.save(out, got, allow_pickle=False)
    sys.stdout.buffer.write(out.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(_child())
