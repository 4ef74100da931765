"""The C of the native floor is understood by gcc and by clang, for x86-64 and for 64-bit ARM, without a warning.

With whatever compilers are here: the sources are read and checked, nothing is linked or run.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SYSROOT = Path("/usr/aarch64-linux-gnu")  # where Debian puts the C library of the other machine


def constants(project_root: Path) -> dict[str, Any]:
    """The flags of setup.py, which cannot be imported without building."""
    found: dict[str, Any] = {}
    for node in ast.parse((project_root / "setup.py").read_text()).body:
        name = getattr(node.targets[0], "id", "") if isinstance(node, ast.Assign) else ""
        if name in ("KERNEL_FLAGS", "WARNINGS", "INCLUDE"):
            found[name] = ast.literal_eval(node.value)
    return found


def compilers() -> list[tuple[str, list[str], str, bool]]:
    """(name, command, ISA, x86)"""
    out = []
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    for name in ("gcc", "clang"):
        if not shutil.which(name):
            continue
        if machine == "x86_64":
            levels = {"portable": "x86-64", "v3": "x86-64-v3", "v4": "x86-64-v4"}
            out += [(f"{name} {isa}", [name, f"-march={level}"], isa, True) for isa, level in levels.items()]
        else:
            out.append((name, [name], "portable", False))
    if shutil.which("aarch64-linux-gnu-gcc"):
        out.append(("gcc for ARM", ["aarch64-linux-gnu-gcc"], "portable", False))
    if shutil.which("clang") and (SYSROOT / "include").is_dir() and machine == "x86_64":
        target = ["clang", "--target=aarch64-linux-gnu", f"--sysroot={SYSROOT}", "-isystem", f"{SYSROOT}/include"]
        out.append(("clang for ARM", target, "portable", False))
    return out


@pytest.mark.parametrize("source", ["kernels.c", "plan_kernels.c"])
@pytest.mark.parametrize("compiler", compilers(), ids=lambda c: str(c[0]))
def test_no_compiler_complains(compiler: tuple[str, list[str], str, bool], source: str, project_root: Path) -> None:
    told = constants(project_root)
    name, command, isa, x86 = compiler
    flags = ["-std=gnu11", "-O1", "-ffp-contract=off", *told["KERNEL_FLAGS"], *told["WARNINGS"], f"-DALPHA_ISA={isa}"]
    flags += ["-DALPHA_X86=1"] if x86 else []
    done = subprocess.run(
        [*command, *flags, "-I", told["INCLUDE"], "-fsyntax-only", f"alpha/_core/{source}"],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"


def test_calls_that_only_linux_knows_are_guarded(project_root: Path) -> None:
    """pthread_setaffinity_np, madvise, sys/mman.h: between #if and #endif, for macOS has none of them or others."""
    only = re.compile(
        r"\b(sys/mman\.h|pthread_setaffinity_np|CPU_SET|madvise|MAP_HUGETLB|memfd_create|eventfd|fdatasync|sched_set\w+)\b"
    )
    found = 0
    for file in sorted((project_root / "alpha" / "_core").rglob("*.[ch]")):
        depth = 0
        guard = re.sub(r"\W", "_", file.name).upper()
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.match(r"#\s*if", line) and guard not in line.upper():
                depth += 1
            elif re.match(r"#\s*endif", line):
                depth -= 1
            elif only.search(line) and not line.lstrip().startswith(("*", "/*")):
                found += 1
                assert depth > 0, f"{file.name}:{number}: {line.strip()}"
    assert found >= 3
