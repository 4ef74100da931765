"""Packaging: the extras are the agreed ones, each brings what the code asks of it, and a missing one says so."""

from __future__ import annotations

import ast
import itertools
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from alpha.errors import AlphaError, MissingExtraError, need

EXTRAS = {
    "bench",
    "docs",
    "cli",
    "data",
    "train",
    "torch",
    "boost",
    "rl",
    "report",
    "signing",
    "ops",
    "dist",
    "mlflow",
    "test",
    "dev",
}
# import name -> distribution, where they differ
DISTRIBUTION = {
    "sklearn": "scikit-learn",
    "exchange_calendars": "exchange-calendars",
    "prometheus_client": "prometheus-client",
    "stable_baselines3": "stable-baselines3",
    "xgboost": "xgboost-cpu",
    "empyrical": "empyrical-reloaded",
    "distributed": "dask",
    "mlflow": "mlflow-skinny",
}
# modules of our own that stand for the package they need
STANDS_FOR = {"alpha.features._batch_kernels": "numba"}


@pytest.fixture(scope="module")
def project(project_root: Path) -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    return data


def requirements(project: dict[str, Any]) -> list[str]:
    return [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s\[<>=!~;]", r, maxsplit=1)[0] for r in requirements}


def calls_of_need(project_root: Path) -> list[tuple[str, int, str, str]]:
    """(file, line, module, extra) of every ``need("module", "extra")`` in the sources."""
    found = []
    for file in sorted([*(project_root / "alpha").rglob("*.py"), *(project_root / "training").rglob("*.py")]):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need":
                module, extra = (ast.literal_eval(arg) for arg in node.args)
                found.append((str(file.relative_to(project_root)), node.lineno, module, extra))
    return found


def test_extras_are_the_agreed_ones(project: dict[str, Any]) -> None:
    assert set(project["optional-dependencies"]) == EXTRAS
    assert project["name"] == "alpha-runtime"
    assert names(project["dependencies"]) == {"numpy", "onnxruntime", "msgspec", "filelock"}


def test_every_requirement_has_a_lower_and_an_upper_bound(project: dict[str, Any]) -> None:
    for requirement in requirements(project):
        assert "~=" in requirement or (">=" in requirement and "<" in requirement.replace("<=", "")), requirement


def test_one_package_has_one_range_everywhere(project: dict[str, Any]) -> None:
    ranges: dict[str, set[str]] = {}
    for requirement in requirements(project):
        ranges.setdefault(*names([requirement]), set()).add(requirement)
    assert not {name: r for name, r in ranges.items() if len(r) > 1}


def test_what_the_code_asks_for_is_in_the_extra_it_names(project: dict[str, Any], project_root: Path) -> None:
    calls = calls_of_need(project_root)
    assert len(calls) > 20
    extras = project["optional-dependencies"]
    for file, line, module, extra in calls:
        top = STANDS_FOR.get(module, module).split(".")[0]
        assert extra in extras, f"{file}:{line}"
        assert DISTRIBUTION.get(top, top) in names(extras[extra]), f"{file}:{line}: {module} is not in [{extra}]"


def test_optional_packages_are_never_imported_at_the_top(project_root: Path) -> None:
    core = {"alpha", "numpy", "msgspec", "filelock", *sys.stdlib_module_names}
    for file in sorted((project_root / "alpha").rglob("*.py")):
        if "alpha.features." + file.stem in STANDS_FOR:
            continue
        for node in ast.parse(file.read_text()).body:
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or "alpha"]
            for module in modules:
                assert module.split(".")[0] in core, f"{file}:{node.lineno} imports {module}"


@pytest.mark.parametrize("extra", sorted(EXTRAS - {"test", "dev"}))
def test_a_missing_package_is_an_error_that_prints_its_command(extra: str) -> None:
    with pytest.raises(MissingExtraError) as caught:
        need("no_such_package.part", extra)
    text = str(caught.value)
    assert "'no_such_package'" in text
    assert f"pip install 'alpha-runtime[{extra}]'" in text
    assert "\n" not in text
    assert isinstance(caught.value, AlphaError)
    assert isinstance(caught.value, ImportError)


def test_a_module_of_ours_names_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch twin's kernels are ours, numba is not: the message must name what pip can bring."""
    monkeypatch.delitem(sys.modules, "alpha.features._batch_kernels", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"'numba'.*alpha-runtime\[data\]"):
        need("alpha.features._batch_kernels", "data")


def test_a_reader_without_its_extra_says_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import alpha

    file = tmp_path / "quotes.csv"
    file.write_text("ts,bid_px,ask_px\n1,1.0,2.0\n")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(AlphaError, match=r"'polars'.*pip install 'alpha-runtime\[data\]'"):
        alpha.open_events(file, ts_unit="s").read_all()


def test_every_extension_is_built_typed_and_shipped(project_root: Path) -> None:
    core = project_root / "alpha" / "_core"
    built = set(re.findall(r'^    extension\("(\w+)"', (project_root / "setup.py").read_text(), re.M))
    written = {p.stem for p in core.glob("*.pyx")}
    assert built == written
    assert {p.stem for p in core.glob("*.pyi")} == written  # stubtest compares them in ./dev lint
    config = tomllib.loads((project_root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {"py.typed", "_core/*.pyi"} <= set(config["package-data"]["alpha"])
