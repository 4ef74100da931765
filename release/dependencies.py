"""Do the ranges of pyproject.toml hold? The tests, with the lowest or the newest versions that they allow.

    ./dev deps lowest [ARGS]   every direct dependency at the lower end of its range
    ./dev deps newest [ARGS]   everything as new as the ranges and the packages themselves allow

ARGS go to ``./dev test``; without any it is the default suite. The lowest are installed, and the extensions
translated and compiled, in a copy of the tree under build/deps; the newest in the ordinary environment, which is
brought up to date. What passed is written to release/lowest.txt or release/newest.txt, constraints for pip's ``-c``.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from source_tree import ROOT, copy

WITHOUT = ("bench", "docs")  # what is only measured against, bench/peers pins it; what ./dev docs alone needs
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?\s*(?P<range>[<>=!~].*)")


def direct() -> dict[str, str]:
    """name -> range of everything that pyproject.toml asks for, to build, to run and to test."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = data["project"]["optional-dependencies"]
    texts = [*data["build-system"]["requires"], *data["project"]["dependencies"]]
    texts += [text for extra in extras if extra not in WITHOUT for text in extras[extra]]
    found = {}
    for text in texts:
        match = REQUIREMENT.fullmatch(text)
        if not match:
            sys.exit(f"deps: pyproject.toml: {text!r} has no range")
        found[match["name"]] = match["range"]
    return found


def lowest(limits: str) -> str:
    """The version at the lower end of a range such as ``>=2.2,<3`` or ``~=2.13.0``."""
    (low,) = re.findall(r"(?:>=|~=|==)\s*([\w.]+)", limits)
    return str(low)


def call(*command: str | Path, cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, check=False)
    if done.returncode:
        sys.exit(f"deps: `{' '.join(map(str, command))}` failed in {cwd}")


def freeze(python: Path, where: Path) -> list[str]:
    """``name==version`` of all that is installed and no part of ours or of the environment itself."""
    text = subprocess.run(
        [python, "-m", "pip", "freeze", "--all"], cwd=where, capture_output=True, text=True, check=True
    ).stdout
    pins = [line.split("+")[0] for line in text.splitlines() if re.fullmatch(r"[\w.-]+==[\w.+!]+", line)]
    return sorted(
        (p for p in pins if not p.startswith(("alpha-runtime", "alpha_runtime", "pip==", "wheel=="))), key=str.lower
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev deps", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("which", choices=("lowest", "newest"))
    args, tests = parser.parse_known_args()
    env = dict(os.environ) | {"PYTHON": sys.executable}
    if args.which == "newest":  # what ./dev build brings, once it asks again
        home, venv = ROOT, Path(env.get("ALPHA_VENV", ROOT / ".venv"))
        (venv / ".installed").unlink(missing_ok=True)
    else:
        folder = ROOT / "build" / "deps"
        home, venv, pins = folder / "tree", folder / "venv", folder / "lowest.txt"
        for old in (home, venv):
            shutil.rmtree(old, ignore_errors=True)
        copy(home)
        pins.write_text("".join(f"{name}=={lowest(limits)}\n" for name, limits in direct().items()))
        env |= {"PIP_CONSTRAINT": str(pins), "ALPHA_VENV": str(venv)}
    python = venv / "bin" / "python"
    call("./dev", "build", cwd=home, env=env)
    # ./dev build leaves out extras that no code of this tree uses
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    every = [text for extra in extras if extra not in WITHOUT for text in extras[extra]]
    call(python, "-m", "pip", "install", "-q", "--upgrade", *every, cwd=home, env=env)
    call(python, "-m", "pip", "check", cwd=home, env=env)
    found = freeze(python, home)
    asked = " ".join(["./dev deps", args.which, *tests])
    where = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    head = f"# The {args.which} versions that pyproject.toml allows, as they passed together on {where}:\n# {asked}\n"
    passed = home / "release" / f"{args.which}.txt"
    before = passed.read_bytes()
    passed.write_text(head + "\n".join(found) + "\n")  # first: the tests ask whether it covers the ranges
    try:
        call("./dev", "test", *tests, cwd=home, env=env)
    except BaseException:
        passed.write_bytes(before)
        raise
    (ROOT / "release" / passed.name).write_bytes(passed.read_bytes())
    print(f"deps: passed with {len(found)} packages, written to release/{args.which}.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
