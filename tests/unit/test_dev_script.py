"""``./dev`` says in one line what is missing, installs once, and compiles only what changed.

The script runs as it is, in a small copy of the project, with a python and a compiler that only write down
how they were called. Nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = [
    "sh",
    "cat",
    "cksum",
    "tr",
    "find",
    "sort",
    "head",
    "grep",
    "tail",
    "mkdir",
    "rm",
    "chmod",
    "dirname",
    "basename",
    "uname",
    "xargs",
    "awk",
    "wc",
    "sed",
    "ls",
]

# Answers what ./dev asks: its version, venv and headers; `-m venv` puts a copy of itself where it is told.
PYTHON = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
    --version) echo "Python $VERSION" ;;
    *version_info*) [ "$VERSION" != 3.9.2 ] ;;
    *"import venv"*) [ -z "${NO_VENV:-}" ] ;;
    *get_paths*include*) echo "$HEADERS" ;;
    *get_paths*purelib*) echo "$SITE" ;;
    "-m venv"*) for last; do :; done; rm -rf "$last"; mkdir -p "$last/bin"; cat "$0" >"$last/bin/python"; chmod +x "$last/bin/python" ;;
    *pytest*) exit "${PYTEST:-0}" ;;
    "-m pip --version") [ -x "$0" ] ;;
    "-m pip"*) [ -z "${NO_NETWORK:-}" ] ;;
    *build_ext*) [ -z "${BROKEN:-}" ] || { echo "kernels.c:1: error: $BROKEN"; exit 1; }; echo >alpha/_core/ring.so ;;
esac
"""
CC = """#!/bin/sh
cat >/dev/null
[ -z "${NO_LIBC:-}" ]
"""


class Workshop:
    """A copy of ``dev`` among stand-in tools."""

    def __init__(self, folder: Path, script: Path) -> None:
        self.root, self.bin, self.calls = folder / "project", folder / "bin", folder / "calls"
        core = self.root / "alpha" / "_core"
        for path in (core, self.bin, folder / "include", folder / "site"):
            path.mkdir(parents=True)
        shutil.copy(script, self.root / "dev")
        (self.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        (self.root / "setup.py").write_text("")
        (core / "ring.pyx").write_text("# one\n")
        (folder / "include" / "Python.h").write_text("")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.write("python3", PYTHON)
        self.write("cc", CC)
        self.env = {
            "PATH": str(self.bin),
            "CALLS": str(self.calls),
            "HEADERS": str(folder / "include"),
            "SITE": str(folder / "site"),
            "VERSION": "3.12.1",
        }

    def write(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def dev(self, *args: str, **env: str) -> tuple[int, list[str], list[str]]:
        """(exit status, lines on stderr, calls of python)"""
        self.calls.write_text("")
        command = [str(self.bin / "sh"), "dev", *args]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stderr.splitlines(), self.calls.read_text().splitlines()


@pytest.fixture
def shop(tmp_path: Path, project_root: Path) -> Workshop:
    return Workshop(tmp_path, project_root / "dev")


def test_it_is_a_plain_shell_script(project_root: Path) -> None:
    script = project_root / "dev"
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    for shell in ("sh", "dash", "bash"):
        if shutil.which(shell):
            subprocess.run([shell, "-n", str(script)], check=True)


def test_help_lists_every_command_and_needs_nothing(shop: Workshop, project_root: Path) -> None:
    done = subprocess.run(["sh", str(project_root / "dev")], capture_output=True, text=True, check=True)
    for command in ("demo", "test", "build", "lint", "bench", "engines", "wheel", "deps", "clean"):
        assert f"\n  {command} " in done.stdout
    status, _, calls = shop.dev("help")
    assert (status, calls) == (0, [])
    status, errors, calls = shop.dev("dance")
    assert (status, errors[0], errors[-1], calls) == (1, "usage: ./dev COMMAND", "dev: unknown command 'dance'", [])


def test_no_python(shop: Workshop) -> None:
    (shop.bin / "python3").unlink()
    status, errors, _ = shop.dev("build")
    assert (status, len(errors)) == (1, 1)
    assert errors[0].startswith("dev: python3 >= 3.11 is needed (Debian: apt install python3;")
    assert "Fedora" in errors[0]
    assert "macOS" in errors[0]


def test_an_old_python_is_named_and_a_newer_one_beside_it_taken(shop: Workshop) -> None:
    status, errors, _ = shop.dev("build", VERSION="3.9.2")
    assert (status, len(errors)) == (1, 1)
    assert "python3 >= 3.11 is needed; Python 3.9.2 is too old (" in errors[0]
    shop.write("python3.13", PYTHON.replace("$VERSION", "3.13.0"))
    status, _, calls = shop.dev("build", VERSION="3.9.2")
    assert status == 0
    assert any(call.startswith("python3.13 -m venv") for call in calls)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"NO_VENV": "1"}, ["python3 lacks the venv module", "apt install python3-venv"]),
        ({"HEADERS": "/nowhere"}, ["python3 lacks its C headers, /nowhere/Python.h", "python3-dev", "python3-devel"]),
        ({"CC": "gcc-99 -m64"}, ["no C compiler found", "build-essential", "dnf install gcc", "xcode-select"]),
        ({"NO_LIBC": "1"}, ["cc cannot compile a line that includes Python.h", "build-essential"]),
    ],
)
def test_what_is_missing_is_said_in_one_line(shop: Workshop, fault: dict[str, str], words: list[str]) -> None:
    status, errors, _ = shop.dev("build", **fault)
    assert (status, len(errors)) == (1, 1)
    assert errors[0].startswith("dev: ")
    for word in words:
        assert word in errors[0]
    assert not (shop.root / ".venv").exists()  # found before anything was made
    assert shop.dev("build")[0] == 0  # and once it is there, the same command goes on


def test_a_failed_installation_is_taken_up_again(shop: Workshop) -> None:
    status, errors, _ = shop.dev("build", NO_NETWORK="1")
    assert status == 1
    assert "pip could not install" in errors[-1]
    status, errors, calls = shop.dev("build")
    assert status == 0
    assert not any("-m venv" in call for call in calls)  # what was made is used
    assert [e.partition(" (")[0] for e in errors] == [
        f"dev: installing into {shop.root}/.venv",
        "dev: compiling the native extensions",
    ]


def test_the_second_start_calls_nothing(shop: Workshop) -> None:
    status, _, calls = shop.dev("build")
    assert status == 0
    assert sum("-m venv" in call for call in calls) == 1
    assert sum("build_ext" in call for call in calls) == 1
    assert shop.dev("build") == (0, [], [])
    # what is asked for runs, and nothing before it
    assert shop.dev("test", "-x")[2] == ["python -m pytest -q -n 2 -m not slow and not peer -x"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["test"], "-m not slow and not peer"),
        (["test", "--all", "-x"], "-x"),
        (["test", "unit", "-x"], "tests/unit -x"),
        (["test", "tests/unit"], "tests/unit"),
        (["test", "unit", "race", "-k", "unit"], "tests/unit tests/race -k unit"),
        (["test", "unit/::test_a", "tests/race"], "tests/unit/::test_a tests/race"),
        (["test", "ring and not race"], "-k ring and not race"),
    ],
)
def test_parts_of_the_suite(shop: Workshop, args: list[str], said: str) -> None:
    for place in ("unit", "race"):
        (shop.root / "tests" / place).mkdir(parents=True)
    assert shop.dev("build")[0] == 0
    assert shop.dev(*args)[2] == [f"python -m pytest -q -n 2 {said}"]


def test_a_name_that_chooses_no_test_is_no_success(shop: Workshop) -> None:
    assert shop.dev("build")[0] == 0
    status, errors, _ = shop.dev("test", "nosuchthing", PYTEST="5")  # pytest: no test was collected
    assert (status, errors[-1]) == (1, "dev: no test was chosen by: -k nosuchthing")
    assert shop.dev("test", PYTEST="2")[0] == 2
    assert shop.dev("test", PYTEST="0")[0] == 0


def test_only_what_changed_is_made_again(shop: Workshop) -> None:
    def work(**env: str) -> tuple[bool, bool]:
        status, _, calls = shop.dev("build", **env)
        assert status == 0
        return any("-m pip install" in c for c in calls), any("build_ext" in c for c in calls)

    source = shop.root / "alpha" / "_core" / "ring.pyx"
    assert work() == (True, True)
    assert work() == (False, False)
    source.write_text("# two\n")
    assert work() == (False, True)
    source.touch()  # a new time is not a new text
    assert work() == (False, False)
    assert work(ALPHA_DEBUG="1") == (False, True)
    assert work(ALPHA_DEBUG="1") == (False, False)
    assert work() == (False, True)
    (source.parent / "ring.so").unlink()
    assert work() == (False, True)
    (shop.root / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    assert work() == (True, False)


def test_the_peers_have_an_environment_of_their_own(shop: Workshop) -> None:
    assert shop.dev("build")[0] == 0
    (shop.root / "bench" / "peers").mkdir(parents=True)
    pins = shop.root / "bench" / "peers" / "requirements.txt"
    pins.write_text("numpy==2.2.6\n")
    status, errors, _ = shop.dev("peers", NO_NETWORK="1")
    assert (status, "pip could not install bench/peers/requirements.txt" in errors[-1]) == (1, True)
    status, _, calls = shop.dev("peers")
    assert status == 0
    assert "python -m pip install -qq --disable-pip-version-check -r bench/peers/requirements.txt" in calls
    assert not any("-m venv" in call for call in calls)  # the one that was begun is used
    assert shop.dev("peers") == (0, [], [])
    assert shop.dev("bench", "--peers", "--smoke")[2] == ["python -m bench.side_by_side --smoke"]
    pins.write_text("numpy==2.2.7\n")
    assert any("requirements.txt" in call for call in shop.dev("peers")[2])


def test_the_engines_have_an_environment_of_their_own_and_run_their_tests_in_it(shop: Workshop) -> None:
    assert shop.dev("build")[0] == 0
    (shop.root / "examples" / "engines").mkdir(parents=True)
    (shop.root / "examples" / "engines" / "requirements.txt").write_text("numpy==2.2.6\n")
    status, errors, calls = shop.dev("engines", NO_NETWORK="1")
    assert (status, "pip could not install examples/engines/requirements.txt" in errors[-1]) == (1, True)
    assert not any("-m pytest" in call for call in calls)
    status, _, calls = shop.dev("engines", "-x")
    assert status == 0
    assert "python -m pip install -qq --disable-pip-version-check -r examples/engines/requirements.txt" in calls
    assert calls[-1] == "python -m pytest -q tests/engines -x"
    assert shop.dev("engines") == (0, [], ["python -m pytest -q tests/engines"])
    assert shop.dev("engines", PYTEST="1")[0] == 1
    shop.dev("clean")
    assert not (shop.root / ".venv-engines").exists()


@pytest.mark.parametrize(("command", "script"), [("wheel", "build_wheel"), ("deps", "dependencies")])
def test_a_release_is_made_by_the_python_that_it_is_for(shop: Workshop, command: str, script: str) -> None:
    shop.write("python3.13", PYTHON)
    assert shop.dev(command, "--help")[2][-1] == f"python3 release/{script}.py --help"
    assert shop.dev(command, "--help", PYTHON="python3.13")[2][-1] == f"python3.13 release/{script}.py --help"
    assert not (shop.root / ".venv").exists()  # which needs no environment of its own
    status, errors, _ = shop.dev(command, HEADERS="/nowhere")
    assert (status, len(errors)) == (1, 1)
    assert "lacks its C headers" in errors[0]


def test_an_environment_whose_python_is_gone_is_made_anew(shop: Workshop) -> None:
    assert shop.dev("build")[0] == 0
    (shop.root / ".venv" / "bin" / "python").unlink()
    (shop.root / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    status, _, calls = shop.dev("build")
    assert status == 0
    assert f"python3 -m venv --clear {shop.root}/.venv" in calls


def test_a_compiler_error_is_shown_and_not_forgotten(shop: Workshop) -> None:
    status, errors, _ = shop.dev("build", BROKEN="no such thing")
    assert status == 1
    assert "kernels.c:1: error: no such thing" in errors[-2]
    assert errors[-1] == "dev: the native extensions did not compile; everything is in build/log"
    assert shop.dev("build", BROKEN="no such thing")[0] == 1
    assert shop.dev("build")[0] == 0


def test_clean_removes_what_was_built_and_nothing_else(shop: Workshop) -> None:
    assert shop.dev("build")[0] == 0
    runs = shop.root / "runs"
    runs.mkdir()
    other = shop.root / "precious"
    other.mkdir()
    assert shop.dev("clean", ALPHA_VENV=str(other))[0] == 0
    assert other.is_dir()  # it is no environment
    (shop.root / ".venv" / "pyvenv.cfg").write_text("")
    assert shop.dev("clean")[0] == 0
    left = sorted(p.name for p in shop.root.iterdir())
    assert left == ["alpha", "dev", "precious", "pyproject.toml", "runs", "setup.py"]
    assert sorted(p.name for p in (shop.root / "alpha" / "_core").iterdir()) == ["ring.pyx"]


def test_the_ci_script_is_sound_and_ends_with_the_shipped_build(project_root: Path) -> None:
    script = project_root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    if shutil.which("bash"):
        subprocess.run(["bash", "-n", str(script)], check=True)
    commands = [line for line in script.read_text().splitlines() if "./dev" in line and not line.startswith("#")]
    assert commands[0] == "./dev lint"
    assert commands[1].startswith("ALPHA_DEBUG=1 ./dev test")
    assert commands[2].startswith("./dev engines ||")  # a failure there does not keep the suite from running
    assert script.read_text().endswith('./dev test\nexit "$engines"\n')  # and is not forgotten
    assert commands[-1] == "./dev test"


def test_the_site_has_an_environment_of_its_own(shop: Workshop) -> None:
    status, errors, _ = shop.dev("docs", NO_NETWORK="1")
    assert (status, "pip could not install" in errors[-1]) == (1, True)
    status, errors, calls = shop.dev("docs")
    assert status == 0 and errors[0].startswith("dev: installing the documentation's renderer into")
    assert "python -m pip install -qq --disable-pip-version-check -r .venv-docs/requirements.txt" in calls
    assert not (shop.root / ".venv").exists()  # a site needs no build
    assert shop.dev("docs") == (0, [], ["python -m mkdocs build --strict"])
    assert shop.dev("docs", "serve")[2] == ["python -m mkdocs serve --strict"]
