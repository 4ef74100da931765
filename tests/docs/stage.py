"""Where a page's blocks are run: a folder that looks like a clone of the project, a shell and a Python session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import given
from pages import Block, difference

LIMIT_S = 300.0  # of one block
# what a clone has and a page may read or change; the package itself is the one that runs the tests
CLONED = (
    "README.md", "pyproject.toml", "dev", "registry.json", "instruments.toml", "artifacts", "examples", "training",
    "release", "docs", ".gitignore",
)  # fmt: skip
_SAVE = 'trap \'export -p >"$DOCS_STATE/env"; pwd >"$DOCS_STATE/cwd"\' EXIT\nset -e\n'


class BlockError(AssertionError):
    """A block that did not do what its page says."""


def clone(project: Path, folder: Path) -> Path:
    """The template: the files of a clone, committed, so that a definition in it has a commit."""
    folder.mkdir(parents=True)
    for name in CLONED:
        source = project / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        elif source.exists():
            shutil.copy(source, folder / name)
    _environment_in(folder / ".venv" / "bin")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "clone"]):
        subprocess.run(["git", *words], cwd=folder, env=environment(folder.parent), check=True)
    return folder


def _environment_in(folder: Path) -> None:
    """A .venv whose programs are those of the environment that runs the tests, wherever that was made."""
    folder.mkdir(parents=True)
    own = Path(sys.executable).parent
    (folder / "activate").write_text(f'export PATH="{own}:$PATH"\n')
    for name in ("python", "alpha"):
        (folder / name).write_text(f'#!/bin/sh\nexec "{own / name}" "$@"\n')
        (folder / name).chmod(0o755)


def environment(folder: Path) -> dict[str, str]:
    """The variables of a user who has activated the environment, with a home of his own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHA_", "XDG_", "PYTEST_", "COV_"))}
    if data := market_data():
        env["ALPHA_DATA"] = str(data)
    return env | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "HOME": str(home),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "you"), ("EMAIL", "you@example.org"))},
    }  # fmt: skip


def market_data() -> Path | None:
    """The folder with real market data, if there is one."""
    project = Path(__file__).resolve().parent.parent.parent
    folder = Path(os.environ.get("ALPHA_DATA") or project.parent / "shared" / "data")
    return folder if folder.is_dir() else None


class Stage:
    """Runs the blocks of one page; what one exports, defines or writes is there for the next."""

    def __init__(self, template: Path, folder: Path, start: str = ".") -> None:
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        self.env = environment(folder) | {"DOCS_STATE": str(self.state)}
        self.cwd = folder / "alpha"
        shutil.copytree(template, self.cwd)
        self.cwd = (self.cwd / start).resolve()
        self.cwd.mkdir(exist_ok=True)
        self._python: subprocess.Popen[str] | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        if self._python is not None:
            assert self._python.stdin is not None and self._python.stdout is not None
            self._python.stdin.close()
            self._python.wait(LIMIT_S)
            self._python.stdout.close()

    def play(self, block: Block) -> str:
        """Do what the block and its marks say; what it printed. BlockError if it did something else."""
        for name in [n.strip() for n in block.marks.get("files", "").split(",") if n.strip()]:
            given.make(name, self.cwd)
        if "file" in block.marks:
            target = self.cwd / block.marks["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.code, encoding="utf-8")
            return ""
        run = self._sh if block.language == "sh" else self._py
        if "before" in block.marks:
            run(block.marks["before"] + "\n", f"{block.where} (before)", "0", "")
        printed = run(block.code, block.where, block.marks.get("exit", "0"), block.marks.get("raises", ""))
        if block.expected is not None and (told := difference(block.expected, printed)):
            raise BlockError(f"{block.where}: {told}")
        return printed

    def _sh(self, code: str, where: str, wanted: str, _: str) -> str:
        # a file, not a pipe: what a block leaves in the background must not hold the test
        out = self.state / "out"
        with out.open("w") as file:
            done = subprocess.run(
                ["sh", "-c", _SAVE + code], cwd=self.cwd, env=self.env, stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, timeout=LIMIT_S,
            )  # fmt: skip
        printed = out.read_text(encoding="utf-8")
        if str(done.returncode) != wanted:
            raise BlockError(f"{where}: exit {done.returncode}, not {wanted}\n{code}\n{printed}")
        self.cwd = Path((self.state / "cwd").read_text().rstrip("\n"))
        self._take_exports()
        return printed

    def _take_exports(self) -> None:
        """`export -p` quotes as the shell reads it, so a shell reads it back."""
        told = subprocess.run(
            ["sh", "-c", '. "$0"; exec "$1" -c "import json, os; print(json.dumps(dict(os.environ)))"', str(self.state / "env"), sys.executable],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.env |= {k: v for k, v in json.loads(told.stdout).items() if k not in ("PWD", "OLDPWD", "_", "SHLVL")}

    def _py(self, code: str, where: str, _: str, wanted: str) -> str:
        out = self.state / "py"
        out.write_text("")
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("interpreter.py")), str(out)],
                cwd=self.cwd, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        process = self._python
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"code": code, "where": where, "cwd": str(self.cwd), "env": self.env}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        printed = out.read_text(encoding="utf-8")
        if not answer:
            raise BlockError(f"{where}: Python died\n{code}\n{printed}")
        told = json.loads(answer)
        if told is None and wanted:
            raise BlockError(f"{where}: it must raise {wanted}\n{code}\n{printed}")
        if told is not None:
            if told["kind"] != wanted:
                raise BlockError(f"{where}: {told['trace']}\n{printed}")
            printed += f"{told['kind']}: {told['text']}\n"
        return printed
