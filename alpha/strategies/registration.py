"""Strategies by name: the supplied ones, registered ones, and those of other packages. Floor 7."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from alpha.errors import StrategyError
from alpha.strategies.base import Strategy

GROUP = "alpha.strategies"
_SUPPLIED = ("alpha.strategies.supplied", "alpha.strategies.baselines")
_registered: dict[str, type[Strategy]] = {}
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


def find(name: str) -> type[Strategy]:
    """The class of a name; StrategyError lists the known ones."""
    known = _everything()
    if name not in known:
        raise StrategyError(f"unknown strategy {name!r}; known: {', '.join(sorted(known))}")
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
