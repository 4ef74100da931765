"""Small C programs over the headers of the native floor: what C says, told by a C compiler of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parent.parent / "alpha" / "_core" / "include"


def run_c(folder: Path, source: str, *, options: tuple[str, ...] = (), data: bytes = b"") -> bytes:
    """What the program writes to its output when ``data`` is its input; skips where there is no compiler."""
    compiler = shlex.split(os.environ.get("CC", "cc"))  # may carry options
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler ({compiler[0]}) to ask what C says")
    code, program = folder / "program.c", folder / "program"
    code.write_text(source)
    # as the extensions are built; the warnings that matter here are of wrong formats and types
    flags = ["-std=gnu11", "-Wall", "-Werror", "-Wno-unused", "-ffp-contract=off", f"-I{INCLUDE}", *options]
    # a sanitizer loaded into this process is not meant for the compiler
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    for command, given in (([*compiler, *flags, str(code), "-o", str(program), "-lm"], b""), ([str(program)], data)):
        done = subprocess.run(command, input=given, env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout
