"""Declared parameters: a name, a type, a default, bounds. Floor 7."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alpha.errors import StrategyError

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """``type``: float, int, bool or str. ``low`` and ``high``: inclusive bounds of numbers; ``choices``: of texts.

    ``default=None`` with ``required=False``: it may be left open. ``required``: it has to be given.
    """

    name: str
    type: type
    default: Any = None
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    required: bool = False
    help: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise StrategyError(f"a parameter's name must be an identifier, not {self.name!r}")
        if self.type not in (float, int, bool, str):
            raise StrategyError(f"parameter {self.name}: its type must be float, int, bool or str")
        if self.default is not None:
            self.accept(self.default)

    @property
    def bounds(self) -> str:
        """What may be given, in words."""
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return f"one of {', '.join(self.choices)}" if self.choices else "a text"
        kind = "a number" if self.type is float else "a whole number"
        return f"{kind} from {self.low:g} to {self.high:g}"

    def accept(self, value: Any) -> Any:
        """The value in the declared type; StrategyError says what may be given. Texts are read as numbers."""
        wrong = StrategyError(f"parameter {self.name} must be {self.bounds}, not {value!r}")
        if self.type is bool:
            out = value if isinstance(value, bool) else _WORDS.get(str(value).strip().lower())
            if out is None:
                raise wrong
            return out
        if self.type is str:
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                raise wrong
            return value
        if isinstance(value, bool):
            raise wrong
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise wrong from None
        if not (math.isfinite(number) and self.low <= number <= self.high):
            raise wrong
        if self.type is int:
            if number != int(number):
                raise wrong
            return int(number)
        return number


def accept_all(who: str, declared: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every declared parameter with its value. StrategyError for one that is unknown, missing or out of bounds."""
    known = {p.name: p for p in declared}
    for name in given:
        if name not in known:
            listed = "; ".join(f"{p.name} ({p.bounds})" for p in declared) or "none"
            raise StrategyError(f"strategy {who} has no parameter {name!r}; it has: {listed}")
    out: dict[str, Any] = {}
    for p in declared:
        if p.name in given:
            try:
                out[p.name] = p.accept(given[p.name])
            except StrategyError as exc:
                raise StrategyError(f"strategy {who}: {exc}") from None
        elif p.required:
            raise StrategyError(f"strategy {who} needs the parameter {p.name}: {p.help or p.bounds}")
        else:
            out[p.name] = p.default
    return out


def split_pairs(text: str) -> dict[str, str]:
    """``k=v,k=v`` as the command line takes it; StrategyError for anything else."""
    out: dict[str, str] = {}
    for part in text.split(",") if text.strip() else []:
        name, sep, value = part.partition("=")
        name = name.strip()
        if not sep or not name or not value.strip():
            raise StrategyError(f"parameters are written NAME=VALUE,NAME=VALUE, not {text!r}")
        if name in out:
            raise StrategyError(f"parameter {name} is given twice in {text!r}")
        out[name] = value.strip()
    return out
