"""What is released: the wheel holds what it must and nothing else, and the ranges of the dependencies are true."""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def release(project_root: Path) -> dict[str, ModuleType]:
    folder = str(project_root / "release")
    sys.path.insert(0, folder)
    try:
        return {name: importlib.import_module(name) for name in ("build_wheel", "dependencies", "smoke", "source_tree")}
    finally:
        while folder in sys.path:
            sys.path.remove(folder)


@pytest.fixture(scope="module")
def config(project_root: Path) -> dict[str, Any]:
    return tomllib.loads((project_root / "pyproject.toml").read_text())


# ---- what a wheel holds


def a_wheel(release: dict[str, ModuleType], folder: Path, change: dict[str, bytes | None] | None = None) -> Path:
    """A file with every name that a wheel must have; ``change`` replaces, adds or (None) leaves out."""
    native = b"\x7fELF\0alpha_kernels_portable\0alpha_kernels_v3\0alpha_kernels_v4\0"
    content: dict[str, bytes | None] = dict.fromkeys(release["build_wheel"].wanted(), native)
    for note in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"):
        content[f"alpha_runtime-0.1.0.dist-info/{note}"] = b""
    content |= change or {}
    path = folder / "alpha_runtime-0.1.0-x.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            if data is not None:
                file.writestr(name, data)
    return path


def test_every_kind_of_file_is_asked_for(release: dict[str, ModuleType], project_root: Path) -> None:
    wanted = release["build_wheel"].wanted()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for name in (
        f"alpha/_core/pipeline{suffix}",
        "alpha/_core/pipeline.pyi",
        "alpha/_core/pipeline.pxd",
        "alpha/_core/include/alpha_pipeline.h",
        "alpha/py.typed",
        "alpha/features/catalogs/book.toml",
        "alpha/calendars/XNYS.npz",
        "alpha/_shipped/registry.json",
        "alpha/_shipped/artifacts/demo/v1/model.onnx",
        "alpha_training/train.py",
    ):
        assert name in wanted
    assert any(name.startswith("alpha_training/recipes/") for name in wanted)
    assert not [name for name in wanted if name.endswith((".c", ".pyx", ".pyc")) or "test" in name.split("/")[0]]


def test_a_whole_wheel_has_no_complaint(release: dict[str, ModuleType], tmp_path: Path) -> None:
    assert release["build_wheel"].complaints(a_wheel(release, tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alpha/py.typed": None}, "lacks alpha/py.typed"),
        ({"alpha/_shipped/registry.json": None}, "lacks alpha/_shipped/registry.json"),
        ({"alpha/_core/ring.pyx": b""}, "holds alpha/_core/ring.pyx, which nobody wants"),
        ({"tests/unit/test_ring.py": b""}, "holds tests/unit/test_ring.py, which nobody wants"),
        ({"alpha_runtime-0.1.0.dist-info/licenses/LICENSE": None}, "dist-info lacks licenses/LICENSE"),
        ({"alpha_runtime-0.1.0.dist-info/direct_url.json": b""}, "dist-info holds direct_url.json"),
        ({"ring": b"\x7fELF\0.symtab\0"}, "has .symtab: not stripped"),
        ({"ring": b"\x7fELF\0.debug_info\0"}, "has .debug_info: not stripped"),
        ({"ring": f"\x7fELF\0{Path(__file__).parents[2]}/alpha".encode()}, "of this machine"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_named(
    release: dict[str, ModuleType], tmp_path: Path, change: dict[str, bytes | None], said: str
) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    change = {f"alpha/_core/ring{suffix}" if name == "ring" else name: data for name, data in change.items()}
    found = release["build_wheel"].complaints(a_wheel(release, tmp_path, change))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.skipif(not sysconfig.get_platform().endswith("x86_64"), reason="one ISA only")
def test_a_wheel_without_the_fast_kernels_is_refused(release: dict[str, ModuleType], tmp_path: Path) -> None:
    name = f"alpha/_core/plan{sysconfig.get_config_var('EXT_SUFFIX')}"
    found = release["build_wheel"].complaints(
        a_wheel(release, tmp_path, {name: b"\x7fELF\0alpha_plan_kernels_portable\0"})
    )
    assert found == [f"{name} lacks the kernels of {isa}" for isa in ("v3", "v4")]


def test_the_copy_that_is_built_has_the_sources_only(release: dict[str, ModuleType], tmp_path: Path) -> None:
    copied = release["source_tree"].copy(tmp_path / "source")
    names = {p.relative_to(copied).as_posix() for p in copied.rglob("*")}
    assert {"setup.py", "alpha/_core/kernels.c", "artifacts/demo/v1/model.onnx", "release/smoke.py"} <= names
    assert not [
        n for n in names if n.endswith((".so", ".pyc")) or n.split("/")[0] in ("build", "dist", ".git", ".venv")
    ]


def test_a_source_distribution_has_no_time_of_its_own(release: dict[str, ModuleType], tmp_path: Path) -> None:
    made = []
    for k, names in enumerate((("b.py", "a.py"), ("a.py", "b.py"))):
        sdist = tmp_path / f"{k}.tar.gz"
        with tarfile.open(sdist, "w:gz") as out:
            for name in names:
                (tmp_path / name).write_text(f"# {name}\n")
                member = out.gettarinfo(tmp_path / name, f"p/{name}")
                member.mtime, member.uname = 1_700_000_000.25 + k, f"builder{k}"
                with (tmp_path / name).open("rb") as file:
                    out.addfile(member, file)
        release["build_wheel"].dated(sdist, 1_600_000_000)
        made.append(sdist.read_bytes())
    assert made[0] == made[1]
    with tarfile.open(tmp_path / "0.tar.gz") as told:
        assert [(m.name, m.mtime, m.uname) for m in told] == [(f"p/{n}.py", 1_600_000_000, "") for n in "ab"]
        assert told.extractfile("p/b.py").read() == b"# b.py\n"  # type: ignore[union-attr]


def test_the_smoke_test_sees_a_source_tree(release: dict[str, ModuleType]) -> None:
    importlib.import_module("alpha.events")  # this suite runs in the source tree
    smoke = release["smoke"]
    with pytest.raises(smoke.BrokenError, match="which is not where packages are installed"):
        smoke.imported_from_here()


def test_the_smoke_test_sees_a_module_that_lost_its_dependency(
    release: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke = release["smoke"]
    real = importlib.import_module

    def lost(name: str) -> ModuleType:
        if name == "alpha.replay":
            raise ModuleNotFoundError("No module named 'polars'", name="polars")
        return real(name) if name in ("alpha", "alpha_training") else ModuleType(name)

    monkeypatch.setattr(importlib, "import_module", lost)
    with pytest.raises(smoke.BrokenError, match=r"alpha\.replay cannot be imported: ModuleNotFoundError"):
        smoke.modules()


# ---- what cibuildwheel is told


def test_wheels_are_built_for_the_pythons_that_are_promised(config: dict[str, Any], project_root: Path) -> None:
    promised = re.findall(r"Python :: 3\.(\d+)", "\n".join(config["project"]["classifiers"]))
    told = config["tool"]["cibuildwheel"]
    assert told["build"].split() == [f"cp3{minor}-*" for minor in promised] == [f"cp3{m}-*" for m in range(11, 15)]
    assert f">=3.{promised[0]}" == config["project"]["requires-python"]
    assert told["linux"]["archs"] == ["x86_64", "aarch64"]
    assert {told["linux"][f"manylinux-{a}-image"] for a in told["linux"]["archs"]} == {"manylinux_2_28"}
    assert told["macos"]["archs"] == ["x86_64", "arm64"]
    script = re.fullmatch(r"python \{project\}/(\S+) --data", told["test-command"])
    assert script
    assert (project_root / script[1]).is_file()
    assert set(told["test-extras"]) <= set(config["project"]["optional-dependencies"])


# ---- the lowest and the newest versions


def pins(project_root: Path, which: str) -> dict[str, str]:
    lines = (project_root / "release" / f"{which}.txt").read_text().splitlines()
    assert lines[0].startswith(f"# The {which} versions")
    assert lines[1].startswith(f"# ./dev deps {which}")
    return {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line[0] != "#")
    }


def asked(release: dict[str, ModuleType], config: dict[str, Any]) -> list[Requirement]:
    """Every requirement of pyproject.toml, read by another reader than the command's own."""
    extras = config["project"]["optional-dependencies"]
    texts = [*config["build-system"]["requires"], *config["project"]["dependencies"]]
    texts += [t for extra in set(extras) - set(release["dependencies"].WITHOUT) for t in extras[extra]]
    return [Requirement(t) for t in texts]


@pytest.mark.parametrize("which", ["lowest", "newest"])
def test_what_passed_lies_in_the_ranges(
    release: dict[str, ModuleType], config: dict[str, Any], project_root: Path, which: str
) -> None:
    passed = pins(project_root, which)
    for requirement in asked(release, config):
        name = canonicalize_name(requirement.name)
        assert name in passed, f"release/{which}.txt lacks {name}: run ./dev deps {which}"
        assert requirement.specifier.contains(passed[name], prereleases=True), (
            f"{requirement}: passed with {passed[name]}"
        )


def test_the_lowest_are_the_lower_ends(
    release: dict[str, ModuleType], config: dict[str, Any], project_root: Path
) -> None:
    passed = pins(project_root, "lowest")
    for requirement in asked(release, config):
        (low,) = [s.version for s in requirement.specifier if s.operator in (">=", "~=", "==")]
        assert Version(passed[canonicalize_name(requirement.name)]) == Version(low), (
            f"{requirement}: run ./dev deps lowest"
        )


@pytest.mark.parametrize(
    ("limits", "low"),
    [(">=2.2,<3", "2.2"), ("~=2.13.0", "2.13.0"), (">=77.0.3,<85", "77.0.3"), ("<3,>=0.61.2", "0.61.2")],
)
def test_the_lower_end_of_a_range(release: dict[str, ModuleType], limits: str, low: str) -> None:
    assert release["dependencies"].lowest(limits) == low
