"""Composite features by name: text with parameters, expanded where it is used. Floor 2.

A macro is written in the language itself, so it needs no code in either twin, and the definition hash covers what
it expands to::

    [macros.macd]
    params = ["x", "fast=12", "slow=26"]
    expr = "ema(x, fast) - ema(x, slow)"
    doc = "difference of two exponential averages"
"""

from __future__ import annotations

import keyword
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from alpha.errors import DefinitionError
from alpha.features.operators import CLOCK_BARS, OPERATORS

_KEYS = {"params", "expr", "doc", "source"}


@dataclass(frozen=True, slots=True)
class Macro:
    """``params``: name and default text (None: required), in order."""

    name: str
    params: tuple[tuple[str, str | None], ...]
    expr: str
    doc: str = ""
    source: str = ""

    def signature(self) -> str:
        """``macd(x, fast=12, slow=26)``."""
        return f"{self.name}({', '.join(n if d is None else f'{n}={d}' for n, d in self.params)})"


def read_macros(tables: Mapping[str, Any], where: str) -> dict[str, Macro]:
    """Macros of a ``[macros]`` table; DefinitionError names the macro and the key."""
    if not isinstance(tables, Mapping):
        raise DefinitionError(f'{where}: macros is a table of macros, each with expr = "…", not {tables!r}')
    out = {}
    for name, table in tables.items():
        what = f"{where}: macro {name!r}"
        if not isinstance(table, Mapping) or not isinstance(table.get("expr"), str):
            raise DefinitionError(f'{what} needs expr = "…"')
        if unknown := set(table) - _KEYS:
            raise DefinitionError(
                f"{what} has an unknown key {sorted(unknown)[0]!r}; allowed: {', '.join(sorted(_KEYS))}"
            )
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or keyword.iskeyword(name)
            or name in {"bar", *CLOCK_BARS, *OPERATORS}
        ):
            raise DefinitionError(f"{what}: that name is taken, or is no identifier")
        given = table.get("params", [])
        if not isinstance(given, list) or not all(isinstance(p, str) for p in given):
            raise DefinitionError(f'{what}: params is a list such as ["x", "n=20"]')
        params: list[tuple[str, str | None]] = []
        for param in given:
            label, equals, default = (part.strip() for part in param.partition("="))
            if not label.isidentifier() or label in dict(params) or (equals and not default):
                raise DefinitionError(f"{what}: parameter {param!r} is not understood, or stands twice")
            if params and params[-1][1] is not None and not equals:
                raise DefinitionError(f"{what}: parameter {label!r} needs a default, the one before it has one")
            params.append((label, default if equals else None))
        doc, source = str(table.get("doc", "")), str(table.get("source", ""))
        out[name] = Macro(name, tuple(params), table["expr"], doc, source)
    return out


@cache
def builtin_macros() -> Mapping[str, Macro]:
    """The macros that come with the package (``alpha features --operators`` lists them)."""
    text = resources.files("alpha.features").joinpath("macros.toml").read_text(encoding="utf-8")
    return read_macros(tomllib.loads(text).get("macros", {}), "macros.toml")
