"""Reference implementations in C, compiled on demand beside the build."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from functools import cache
from pathlib import Path

from alpha._core.program import isa
from alpha.errors import AlphaError

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_MARCH = {"v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "v3": ["-march=x86-64-v3"], "portable": []}


@cache
def library(name: str) -> ctypes.CDLL:
    """``bench/native/<name>.c`` as a loaded shared library, compiled with the flags of our own kernels."""
    out = _ROOT / "build" / "bench" / f"{name}-{isa()}.so"
    out.parent.mkdir(parents=True, exist_ok=True)
    source = _HERE / f"{name}.c"
    flags = [
        "-std=gnu11",
        "-O3",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-strict-aliasing",
        "-shared",
        "-fPIC",
        "-pthread",
        *_MARCH[isa()],
    ]
    command = [
        *shlex.split(os.environ.get("CC", "cc")),  # may carry options
        *flags,
        f"-I{_ROOT / 'alpha/_core/include'}",
        str(source),
        "-o",
        str(out),
        "-lm",
        "-ldl",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AlphaError(f"the reference {source.name} did not compile: {done.stderr.strip().splitlines()[0]}")
    return ctypes.CDLL(str(out))
