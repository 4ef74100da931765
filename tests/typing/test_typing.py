"""The public names are typed: a user's program is checked against them from a foreign folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # `./dev lint` checks the same program, with a warm cache


def check(program: Path, folder: Path, project: Path) -> str:
    # by path, not by the installed package: checkers do not follow every kind of editable install
    env = os.environ | {"MYPYPATH": str(project)}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), str(program)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False).stdout


def test_a_users_program_is_checked(tmp_path: Path, project_root: Path) -> None:
    program = Path(__file__).with_name("user_program.py")
    assert "Success: no issues found" in check(program, tmp_path, project_root)
    # and the checker is not merely looking away: without its expectations the same program is refused
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(line.partition("  # type: ignore")[0] for line in program.read_text().splitlines()))
    report = check(bare, tmp_path, project_root)
    for code in ("[union-attr]", "[arg-type]", "[call-arg]", "[attr-defined]", "[misc]"):
        assert code in report


def test_the_package_says_that_it_is_typed(project_root: Path) -> None:
    assert (project_root / "alpha" / "py.typed").is_file()
