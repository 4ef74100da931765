"""Strategies by name: the supplied ones, registered ones, those of other packages, and those of a file. Floor 7."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from alpha.errors import StrategyError
from alpha.strategies.base import Strategy

GROUP = "alpha.strategies"
_SUPPLIED = ("alpha.strategies.supplied", "alpha.strategies.baselines")
_registered: dict[str, type[Strategy]] = {}
_files: dict[Path, tuple[str, ...]] = {}  # a file that has run -> the names that it registered
T = TypeVar("T", bound=type[Strategy])


def register(name: str) -> Callable[[T], T]:
    """Class decorator: the strategy is found as ``name``. StrategyError if another one has it."""

    def decorate(cls: T) -> T:
        if not (isinstance(cls, type) and issubclass(cls, Strategy)):
            raise StrategyError(f"strategy {name!r} must be a subclass of alpha.strategies.Strategy")
        known = _registered.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise StrategyError(f"strategy {name!r} is declared twice: {_where(known)} and {_where(cls)}: rename one")
        listed = [p.name for p in cls.parameters]
        twice = next((n for n in listed if listed.count(n) > 1), None)
        if twice is not None:
            raise StrategyError(f"strategy {name!r} declares the parameter {twice} twice")
        cls.name = name
        _registered[name] = cls
        return cls

    return decorate


def _where(cls: type[Strategy]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _everything() -> dict[str, Any]:
    """Name to class, or to an entry point that is loaded when it is asked for."""
    for module in _SUPPLIED:
        importlib.import_module(module)
    out: dict[str, Any] = dict(_registered)
    for entry in entry_points(group=GROUP):
        known = out.get(entry.name)
        told = entry.value.replace(":", ".")
        if known is None:
            out[entry.name] = entry
        elif (_where(known) if isinstance(known, type) else known.value.replace(":", ".")) != told:
            there = _where(known) if isinstance(known, type) else known.value
            raise StrategyError(
                f"strategy {entry.name!r} is declared twice: {there} and {entry.value}: remove one package"
            )
    return out


def names() -> tuple[str, ...]:
    """All known names in alphabetical order."""
    return tuple(sorted(_everything()))


def _run(path: Path) -> tuple[str, ...]:
    """Run a file once; the names that it registers. StrategyError with the line at fault."""
    _everything()  # what a file declares must not take the name of a supplied one
    before = dict(_registered)
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"strategy_{path.stem}_{digest}", path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # classes look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        _registered.clear()
        _registered.update(before)
        del sys.modules[spec.name]
        if isinstance(exc, OSError) and exc.filename == str(path):
            raise StrategyError(f"strategy file {path} cannot be read: {exc.strerror}") from None
        lines = [f.lineno for f in traceback.extract_tb(exc.__traceback__) if f.filename == str(path)]
        line = exc.lineno if isinstance(exc, SyntaxError) else lines[-1] if lines else None
        where = "" if line is None else f", line {line}"
        raise StrategyError(f"strategy file {path}{where}: {type(exc).__name__}: {exc}") from None
    return tuple(n for n, cls in _registered.items() if cls.__module__ == spec.name)


def _of_file(text: str) -> str:
    """The name that ``FILE.py`` or ``FILE.py:NAME`` means, with the file run."""
    file, _, name = text.partition(".py")
    path = Path(f"{file}.py").resolve()
    if path not in _files:
        _files[path] = _run(path)
    names = _files[path]
    if not names:
        raise StrategyError(f"{path} registers no strategy: put @register(NAME) before its class")
    if not name and len(names) > 1:
        raise StrategyError(f"{path} registers several strategies: say {file}.py:{names[0]}, or {', '.join(names[1:])}")
    if name and name[1:] not in names:
        raise StrategyError(f"{path} registers no strategy {name[1:]!r}; it has: {', '.join(names)}")
    return name[1:] or names[0]


def find(name: str) -> type[Strategy]:
    """The class of a name, or of ``FILE.py`` or ``FILE.py:NAME``; StrategyError lists the known ones."""
    if name.endswith(".py") or ".py:" in name:
        name = _of_file(name)
    known = _everything()
    if name not in known:
        raise StrategyError(
            f"unknown strategy {name!r}; known: {', '.join(sorted(known))}, or FILE.py with one of your own"
        )
    found = known[name]
    if not isinstance(found, type):
        try:
            found = register(name)(found.load())
        except (ImportError, AttributeError) as exc:
            raise StrategyError(f"strategy {name!r} cannot be loaded from {known[name].value}: {exc}") from None
    cls: type[Strategy] = found
    return cls


def make(name: str, given: dict[str, Any] | None = None) -> Strategy:
    """A strategy with its parameters; StrategyError names what is wrong and what may be given."""
    return find(name)(**(given or {}))
