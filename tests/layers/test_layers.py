"""The house stands: no import runs up or in a circle, and the checker that says so is itself shown to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import house
import pytest

# alpha_training may use what alpha offers to everybody. What is listed here still reaches behind that.
PRIVATE_IN_TRAINING: set[tuple[str, str]] = set()


@pytest.fixture(scope="module")
def arrows(project_root: Path) -> list[house.Arrow]:
    return house.arrows(project_root, "alpha")


def test_every_module_has_a_place_in_the_table(project_root: Path) -> None:
    strangers = house.homeless(project_root, "alpha")
    assert not strangers, f"give these a place in tests/layers/house.py and docs/architecture.md: {strangers}"


def test_no_two_test_files_have_one_name(project_root: Path) -> None:
    """Their folders are no packages: the second of a name could not be collected."""
    names = [f.name for f in sorted((project_root / "tests").rglob("*.py")) if f.name != "conftest.py"]
    assert len(names) > 200
    assert sorted({n for n in names if names.count(n) > 1}) == []


def test_no_arrow_runs_up(arrows: list[house.Arrow]) -> None:
    assert len(arrows) > 150  # the walk has seen the house
    assert not house.upward(arrows), "\n".join(map(str, house.upward(arrows)))


def test_no_arrow_runs_in_a_circle(arrows: list[house.Arrow], project_root: Path) -> None:
    assert house.circles(arrows) == []
    assert house.circles(house.arrows(project_root / "training", "alpha_training")) == []


def test_cimports_and_headers_are_walked_too(arrows: list[house.Arrow]) -> None:
    seen = {(a.source, a.target) for a in arrows}
    assert ("alpha._core.worker", "alpha._core.pipeline") in seen  # a cimport
    assert ("alpha._core.guard", "alpha_guard.h") in seen  # cdef extern from
    assert ("alpha._core.guard", "alpha.events") in seen  # an import in a .pyx
    assert ("alpha_pipeline.h", "alpha_gate.h") in seen  # #include
    assert ("alpha.features.batch", "alpha.features._batch_kernels") in seen  # need("alpha...")
    assert ("alpha", "alpha.runtime") in seen  # TYPE_CHECKING


def test_the_twins_share_no_code_that_computes(arrows: list[house.Arrow]) -> None:
    native = {"alpha._core.program", "alpha._core.rows", "alpha.features.native", "alpha.features.compile"}
    batch = {"alpha.features.batch", "alpha.features._batch_kernels"}
    below_batch = set().union(*(house.reachable(arrows, m) for m in batch))
    assert not {m for m in below_batch if m.startswith(("alpha._core", "alpha_"))} | (below_batch & native)
    for module in native:
        assert not house.reachable(arrows, module) & (batch | {"alpha.features.coefficients"})


def test_alpha_never_imports_training(project_root: Path) -> None:
    for file in house.sources(project_root, "alpha"):
        for line, base, _ in house.named(project_root, file):
            assert base.split(".")[0] != "alpha_training", f"{file}:{line}"


def test_training_uses_the_public_api(project_root: Path) -> None:
    root = project_root / "training"
    private = set()
    for file in house.sources(root, "alpha_training"):
        for _, base, taken in house.named(root, file):
            whole = [base, *taken] if base.split(".")[0] == "alpha" else []
            if any(part.startswith("_") and not part.startswith("__") for n in whole for part in n.split(".")):
                private.add((house.module_name(root, file), base))
    assert private <= PRIVATE_IN_TRAINING, f"alpha offers these to nobody: {sorted(private - PRIVATE_IN_TRAINING)}"
    assert private >= PRIVATE_IN_TRAINING, "the list of exceptions is longer than it needs to be"


def test_nothing_runs_what_a_file_says(project_root: Path) -> None:
    found = house.forbidden(project_root, "alpha")
    assert not found, "\n".join(map(str, found))


# -- the checker sees what it should: a small house with one fault at a time

SMALL = (
    ("low", ("alpha.errors", "alpha_types.h")),
    ("mid", ("alpha.events", "alpha._core.ring")),
    ("high", ("alpha.cli",)),
)
GOOD = {
    "alpha/errors.py": "import os\n",
    "alpha/events.py": "from alpha.errors import AlphaError\n",
    "alpha/_core/ring.pyx": 'from libc.stdlib cimport free\ncdef extern from "alpha_types.h" nogil:\n    pass\n',
    "alpha/_core/include/alpha_types.h": "#include <stdint.h>\n",
    "alpha/cli/main.py": "import alpha.cli.show\n",
    "alpha/cli/show.py": "from alpha import errors\n",
}


def build(root: Path, **changes: str) -> Path:
    """Write GOOD with some files replaced or added."""
    files = GOOD | changes
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_sound_house_passes(tmp_path: Path) -> None:
    found = house.arrows(build(tmp_path), "alpha")
    assert {(a.source, a.target) for a in found} == {
        ("alpha.events", "alpha.errors"),
        ("alpha._core.ring", "alpha_types.h"),
        ("alpha.cli.main", "alpha.cli.show"),
        ("alpha.cli.show", "alpha.errors"),
    }
    assert house.upward(found, SMALL) == []
    assert house.circles(found) == []
    assert house.homeless(tmp_path, "alpha", SMALL) == []
    assert house.forbidden(tmp_path, "alpha") == []


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("alpha/errors.py", "import alpha.events\n", 1),
        ("alpha/errors.py", "def lazy():\n    from alpha.cli.show import table\n", 2),
        ("alpha/errors.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from alpha import events\n", 3),
        ("alpha/errors.py", "from . import events\n", 1),
        ("alpha/errors.py", "x = need('alpha.events', 'data')\n", 1),
        ("alpha/errors.py", "import importlib\nimportlib.import_module('alpha.cli.main')\n", 2),
        ("alpha/errors.pyi", "from alpha.events import Kind\n", 1),
        ("alpha/events.py", "def f():\n    import os, alpha._core.ring\n", 2),  # later on the same floor
        ("alpha/_core/ring.pyx", "cdef int f():\n    from alpha.cli import show\n", 2),
        ("alpha/_core/ring.pxd", "\nfrom alpha.cli.show cimport (  # one\n    A,\n    B,\n)\n", 2),
        ("alpha/_core/ring.pyx", "cimport alpha.cli.show as s\n", 1),
        ("alpha/_core/include/alpha_types.h", '#include "alpha_ring.h"\n', 1),
    ],
)
def test_an_arrow_that_runs_up_is_found(tmp_path: Path, file: str, text: str, line: int) -> None:
    floors = (*SMALL, ("top", ("alpha_ring.h",)))
    build(tmp_path, **{file: text, "alpha/_core/include/alpha_ring.h": ""})
    wrong = house.upward(house.arrows(tmp_path, "alpha"), floors)
    assert [(str(a.file), a.line) for a in wrong] == [(file, line)]


@pytest.mark.parametrize(
    ("file", "text", "circle"),
    [
        ("alpha/cli/show.py", "def f():\n    from alpha.cli import main\n", ("alpha.cli.main", "alpha.cli.show")),
        ("alpha/errors.py", "import alpha.events\n", ("alpha.errors", "alpha.events")),
        ("alpha/_core/include/alpha_types.h", '#  include "alpha_ring.h"\n', ("alpha_ring.h", "alpha_types.h")),
        ("alpha/_core/ring.pxd", "from alpha._core.pipe cimport x\n", ("alpha._core.pipe", "alpha._core.ring")),
    ],
)
def test_a_circle_is_found(tmp_path: Path, file: str, text: str, circle: tuple[str, ...]) -> None:
    more = {
        "alpha/_core/include/alpha_ring.h": '#include "alpha_types.h"\n',
        "alpha/_core/pipe.pyx": "from alpha._core cimport ring\n",
    }
    build(tmp_path, **(more | {file: text}))
    assert house.circles(house.arrows(tmp_path, "alpha")) == [circle]


@pytest.mark.parametrize("name", ["alpha/helpers.py", "alpha/_core/fast.pyx", "alpha/_core/include/alpha_fast.h"])
def test_a_module_without_a_place_is_found(tmp_path: Path, name: str) -> None:
    build(tmp_path, **{name: ""})
    assert len(house.homeless(tmp_path, "alpha", SMALL)) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("alpha/events.py", "import pickle\n"),
        ("alpha/events.py", "def f():\n    from joblib import load\n"),
        ("alpha/events.py", "eval('1')\n"),
        ("alpha/events.py", "run = exec\n"),
        ("alpha/events.py", "torch.load('m.pt')\n"),
        ("alpha/events.py", "from torch import load\n"),
        ("alpha/events.py", "np.load(f, allow_pickle=True)\n"),
        ("alpha/events.py", "np.load(f, allow_pickle=flag)\n"),
        ("alpha/_core/ring.pyx", "def f():\n    return eval('1')\n"),
        ("alpha/_core/ring.pyx", "import pickle\n"),
    ],
)
def test_a_forbidden_word_is_found(tmp_path: Path, file: str, text: str) -> None:
    build(tmp_path, **{file: text})
    assert len(house.forbidden(tmp_path, "alpha")) == 1


def test_harmless_words_are_not_forbidden(tmp_path: Path) -> None:
    text = '"""No pickle, no eval()."""\nnp.load(f, allow_pickle=False)\nx.eval()\nevaluate(1)\njson.load(f)\n'
    build(tmp_path, **{"alpha/events.py": text, "alpha/_core/ring.pyx": "# eval(x)\nretrieval(1)\na.eval(1)\n"})
    assert house.forbidden(tmp_path, "alpha") == []


# -- what `import alpha` brings along

PROBE = """
import json, sys
{core}
before = set(sys.modules)
import alpha
{more}
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(n for n in new if n not in sys.stdlib_module_names)))
"""
CORE = "import numpy, msgspec, filelock"  # and whatever these bring along themselves


@pytest.mark.parametrize(
    ("core", "more"),
    [
        ("", ""),  # `import alpha` alone needs none of them
        ("", "import alpha.cli.main"),
        (CORE, "alpha.Runtime; alpha.FeatureSet; alpha.open_events; alpha.Ring; alpha.Instruments"),
        (CORE, "[getattr(alpha, name) for name in alpha.__all__]"),
        (CORE, "import alpha.registry, alpha.models.load, alpha.features.catalog"),
    ],
)
def test_importing_brings_only_the_core_packages(core: str, more: str) -> None:
    code = PROBE.format(core=core, more=more)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Cython's shared runtime module carries its version in its name; platform data comes from the interpreter
    new = {n for n in json.loads(done.stdout) if not n.startswith(("_cython_", "cython_runtime", "_sysconfigdata"))}
    assert "alpha" in new
    assert new <= {"alpha", *(("numpy", "msgspec", "filelock") if core else ())}
