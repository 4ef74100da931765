"""The floors of the house as data, and the walk that finds arrows which run up or in a circle.

An import may point to a lower floor, or on its own floor to what stands earlier in the list. Inside one
entry (a package that is listed as a whole) any import is fine that does not close a circle. Counted are
imports anywhere in a file: lazy ones, those for type checkers, stubs, ``need("alpha...")``, cimports and
C headers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# A name covers itself and everything below it that is not listed by itself.
FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("words", ("alpha.errors", "alpha_types.h", "alpha_isa.h", "alpha_math.h", "alpha._core", "alpha._core.types")),
    (
        "parts",
        (
            "alpha.documents",
            "alpha.events",
            "alpha.reasons",
            "alpha.instruments",
            "alpha.sessions",
            "alpha.latency",
            "alpha_latency.h",
            "alpha_ring.h",
            "alpha._core.ring",
            "alpha._core.signal",
            "alpha._core.tensor",
            "alpha_guard.h",
            "alpha._core.guard",
            "alpha_gate.h",
            "alpha_drift.h",
            "alpha_breaker.h",
            "alpha._core.gate",
            "alpha_log.h",
            "alpha_sha256.h",
            "alpha_sink.h",
            "alpha._core.log",
        ),
    ),
    (
        "features",
        (
            "alpha_present.h",
            "alpha_checks.h",
            "alpha_kernels.h",
            "alpha_pass.h",
            "alpha_pointwise.h",
            "alpha_history.h",
            "alpha_windows.h",
            "alpha_orders.h",
            "alpha_anchored.h",
            "alpha_recursive.h",
            "alpha_bars.h",
            "alpha_clocks.h",
            "alpha_outside.h",
            "alpha_restart.h",
            "alpha_lanes.h",
            "alpha_wide.h",
            "kernels.c",
            "alpha_block.h",
            "alpha_state.h",
            "alpha._core.program",
            "alpha._core.rows",
            "alpha._core.checks",
            "alpha.features",
            "alpha.features.coefficients",
            "alpha.features.operators",
            "alpha.features.expression",
            "alpha.features.units",
            "alpha.features.macros",
            "alpha.features.language",
            "alpha.features.handbook",
            "alpha.features.feature_set",
            "alpha.features.union",
            "alpha.features.catalog",
            "alpha.features.lanes",
            "alpha.features.nodes",
            "alpha.features.schedule",
            "alpha.features.layout",
            "alpha.features.compile",
            "alpha.features.native",
            "alpha.features._batch_kernels",
            "alpha.features._batch_spread",
            "alpha.features._batch_recursive",
            "alpha.features._batch_orders",
            "alpha.features._batch_sums",
            "alpha.features._batch_clocks",
            "alpha.features._batch_bars",
            "alpha.features._batch_sessions",
            "alpha.features._batch_steps",
            "alpha.features._batch_timeline",
            "alpha.features._batch_formulas",
            "alpha.features._batch_columns",
            "alpha.features._batch_sources",
            "alpha.features._batch_windows",
            "alpha.features._batch_running",
            "alpha.features._batch_nodes",
            "alpha.features.batch",
            "alpha.features.needs",
            "alpha.features.parity",
            "alpha.features.causality",
            "alpha.data",
            "alpha.features.frames",
            "alpha.features.days",
        ),
    ),
    (
        "models",
        (
            "alpha_model.h",
            "alpha._core.model",
            "alpha_ort.h",
            "alpha._core.ort",
            "alpha_vec.h",
            "alpha_activation.h",
            "alpha_plan.h",
            "alpha_dense.h",
            "alpha_rowwise.h",
            "alpha_trees.h",
            "alpha_recurrent.h",
            "plan_kernels.c",
            "alpha._core.plan",
            "alpha.models",
        ),
    ),
    (
        "pipeline",
        (
            "alpha_sequence.h",
            "alpha_ensemble.h",
            "alpha_seats.h",
            "alpha_swap.h",
            "alpha_demands.h",
            "alpha_latest.h",
            "alpha_control.h",
            "alpha_pipeline.h",
            "alpha_seats_state.h",
            "alpha_look.h",
            "alpha_resume.h",
            "alpha._core.pipeline",
            "alpha._core.seats",
            "alpha_worker.h",
            "alpha._core.worker",
        ),
    ),
    ("records", ("alpha.registry", "alpha.audit", "alpha.risk")),
    # `alpha` itself, the list of public names, stands with the façade it offers
    (
        "runtime",
        (
            "alpha.distribution",
            "alpha.state",
            "alpha.engine",
            "alpha.bundle",
            "alpha.desk",
            "alpha.group",
            "alpha.recording",
            "alpha.reload",
            "alpha.explanation",
            "alpha.seating",
            "alpha.runtime",
            "alpha",
        ),
    ),
    (
        "trading",
        (
            "alpha.report",
            "alpha.watch",
            "alpha.strategies.parameters",
            "alpha.strategies.base",
            "alpha.strategies.registration",
            "alpha.strategies.supplied",
            "alpha.strategies.baselines",
            "alpha.strategies.router",
            "alpha.strategies.sizer",
            "alpha.strategies",
            "alpha.backtest.costs",
            "alpha.backtest.account",
            "alpha.backtest.statistics",
            "alpha.backtest",
            "alpha.backtest.latency",
            "alpha.backtest.settings",
            "alpha.backtest.market",
            "alpha.backtest.curve",
            "alpha.backtest.outcomes",
            "alpha.backtest.judgement",
            "alpha.backtest.ledger",
            "alpha.backtest.record",
            "alpha.backtest.serving",
            "alpha.backtest.execution",
            "alpha.backtest.desk",
            "alpha.backtest.engine",
            "alpha.backtest.metrics",
            "alpha.backtest.locate",
            "alpha.backtest.job",
            "alpha.backtest.sweep",
            "alpha.backtest.walkforward",
            "alpha.replay",
            "alpha.compare",
        ),
    ),
    ("doors", ("alpha.cli.show", "alpha.cli", "alpha.integrations", "alpha.ops", "alpha.__main__")),
)


class Arrow(NamedTuple):
    """``source`` imports ``target`` in ``file``, line ``line``."""

    source: str
    target: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.source} imports {self.target}"


def module_name(root: Path, file: Path) -> str:
    """``alpha/_core/ring.pyx`` -> ``alpha._core.ring``; C files keep their own name."""
    if file.suffix in (".c", ".h"):
        return file.name
    parts = list(file.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path, package: str) -> list[Path]:
    """Every file of the package that can hold an import."""
    kinds = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h"}
    return sorted(p for p in (root / package).rglob("*") if p.suffix in kinds)


def _python_names(text: str, module: str, is_package: bool) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, module named, names taken from it) of each import, wherever it stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            yield node.lineno, base, tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("need", "import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value, ()


_FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n]*)", re.M)
_IMPORT = re.compile(r"^[ \t]*c?import[ \t]+([\w. \t,]+)", re.M)
_EXTERN = re.compile(r"""^[ \t]*cdef[ \t]+extern[ \t]+from[ \t]+["']([^"'<>]+)["']""", re.M)
_INCLUDE = re.compile(r"""^[ \t]*(?:#[ \t]*)?include[ \t]+["']([^"']+)["']""", re.M)


def _cython_names(text: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    def line(match: re.Match[str]) -> int:
        return text.count("\n", 0, match.start()) + 1

    for match in _FROM.finditer(text):
        taken = re.sub(r"#[^\n]*|[()\\]", " ", match[2])
        yield line(match), match[1], tuple(part.split()[0] for part in taken.split(",") if part.split())
    for match in _IMPORT.finditer(text):
        for part in match[1].split(","):
            if part.split():
                yield line(match), part.split()[0], ()
    for pattern in (_EXTERN, _INCLUDE):
        for match in pattern.finditer(text):
            yield line(match), Path(match[1]).name, ()


def named(root: Path, file: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """What one file imports, as it is written there."""
    text = file.read_text(encoding="utf-8")
    if file.suffix in (".py", ".pyi"):
        yield from _python_names(text, module_name(root, file), file.stem == "__init__")
    else:
        yield from _cython_names(text)


def arrows(root: Path, package: str) -> list[Arrow]:
    """Every import inside the package, from module to module."""
    files = sources(root, package)
    modules = {module_name(root, file) for file in files}
    found = []
    for file in files:
        source = module_name(root, file)
        for line, base, taken in named(root, file):
            targets = {f"{base}.{name}" for name in taken} & modules
            # `from alpha._core import ort` points at the module; at the package only if it gives the name itself
            if not targets or len(targets) < len(taken):
                targets |= {base} & modules
            found += [Arrow(source, t, file.relative_to(root), line) for t in sorted(targets) if t != source]
    return found


Floors = Sequence[tuple[str, Sequence[str]]]


def _places(floors: Floors) -> dict[str, tuple[int, int]]:
    return {name: (f, i) for f, (_, names) in enumerate(floors) for i, name in enumerate(names)}


def entry(module: str, floors: Floors = FLOORS) -> str | None:
    """The longest listed name that covers a module. The root package covers only itself."""
    places = _places(floors)
    name = module
    while name not in places:
        name, _, last = name.rpartition(".")
        # the root and the folder of extensions are no rooms: what is new in them needs a place of its own
        if not last or name in ("", "alpha", "alpha._core", "alpha.features"):
            return None
    return name


def homeless(root: Path, package: str, floors: Floors = FLOORS) -> list[str]:
    """Modules that the table does not know."""
    return sorted(m for m in {module_name(root, f) for f in sources(root, package)} if entry(m, floors) is None)


def upward(found: Sequence[Arrow], floors: Floors = FLOORS) -> list[Arrow]:
    """Arrows that point to a higher floor, or to something later on the same one."""
    places = _places(floors)
    wrong = []
    for arrow in found:
        source, target = entry(arrow.source, floors), entry(arrow.target, floors)
        if source and target and source != target and places[target] > places[source]:
            wrong.append(arrow)
    return wrong


def reachable(found: Sequence[Arrow], start: str) -> set[str]:
    """Everything that ``start`` imports, directly or not."""
    graph = _graph(found)
    seen: set[str] = set()
    todo = [start]
    while todo:
        for target in graph.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def _graph(found: Sequence[Arrow]) -> Mapping[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for arrow in found:
        graph.setdefault(arrow.source, set()).add(arrow.target)
    return graph


def circles(found: Sequence[Arrow]) -> list[tuple[str, ...]]:
    """Modules that import each other, each circle once."""
    names = sorted({a.source for a in found} | {a.target for a in found})
    reach = {name: reachable(found, name) for name in names}
    groups = {tuple(sorted({b for b in reach[a] if a in reach[b]})) for a in names if a in reach[a]}
    return sorted(groups)


class Forbidden(NamedTuple):
    """A word that must not stand in the package."""

    word: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word} is forbidden"


# all of them run or can run what a file says
UNSAFE_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
_UNSAFE_CYTHON = re.compile(r"(?<![\w.])(?:eval|exec)\s*\(|\ballow_pickle\s*=\s*True|\btorch\.load\b")


def forbidden(root: Path, package: str) -> list[Forbidden]:
    """Uses of pickle and its kin, of eval and exec, of torch.load and allow_pickle=True."""
    found = []
    for file in sources(root, package):
        if file.suffix in (".c", ".h"):
            continue
        where = file.relative_to(root)
        for line, base, taken in named(root, file):
            if base.split(".")[0] in UNSAFE_MODULES or (base == "torch" and "load" in taken):
                found.append(Forbidden(base, where, line))
        text = file.read_text(encoding="utf-8")
        if file.suffix in (".py", ".pyi"):
            found += [Forbidden(word, where, line) for line, word in _unsafe_calls(text)]
        else:
            code = re.sub(r"#[^\n]*", "", text)
            for match in _UNSAFE_CYTHON.finditer(code):
                found.append(Forbidden(match[0], where, code.count("\n", 0, match.start()) + 1))
    return found


def _unsafe_calls(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name) and node.id in ("eval", "exec"):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and node.attr == "load" and getattr(node.value, "id", "") == "torch":
            yield node.lineno, "torch.load"
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and getattr(node.value, "value", 1) is not False
        ):
            yield node.lineno, "allow_pickle"
