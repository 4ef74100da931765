"""Units of expressions: what may be added, compared or chosen between. Floor 2.

A unit is a product of powers of ``px`` and ``qty``; ``{}`` is a plain number. ``None`` is unknown and goes with
everything: constants, and results whose unit carries a time (velocities, slopes).
"""

from __future__ import annotations

from fractions import Fraction

from alpha.errors import DefinitionError
from alpha.features.expression import Expr, canonical
from alpha.features.operators import OPERATORS

Unit = dict[str, Fraction] | None

_BAR_UNITS = {"volume": "qty", "count": "ratio"}
_NAMED: dict[str, Unit] = {
    "px": {"px": Fraction(1)},
    "qty": {"qty": Fraction(1)},
    "ratio": {},
    "count": {},
    "any": None,
}


def unit_of(e: Expr) -> Unit:
    """Unit of an expression; DefinitionError where things of different units are added, compared or chosen between."""
    if _is_constant(e):
        return None
    if e.op == "bar":
        return _NAMED[_BAR_UNITS.get(str(e.params[-1]), "px")]
    units = [unit_of(a) for a in e.args]
    op = OPERATORS[e.op]
    known = [(units[i], e.args[i]) for i in op.alike if units[i] is not None]
    for unit, arg in known[1:]:
        if unit != known[0][0]:
            raise DefinitionError(
                f"{e.op}() cannot put {text(known[0][0])} and {text(unit)} together: "
                f"{canonical(known[0][1])} and {canonical(arg)}"
            )
    if op.alike and op.unit in ("same", "any"):
        return known[0][0] if known else None
    if op.unit == "same":
        return units[0]
    if op.unit == "square":
        return _times(units[0], units[0])
    if op.unit == "product":
        return _times(*_scaled(e, units))
    if op.unit == "beta":
        return _times(*_scaled(e, units), -1)
    if e.op == "sqrt":
        return None if units[0] is None else {k: v / 2 for k, v in units[0].items()}
    return _NAMED.get(op.unit)


def _is_constant(e: Expr) -> bool:
    return e.op == "const" or (bool(e.args) and all(_is_constant(a) for a in e.args))


def _scaled(e: Expr, units: list[Unit]) -> tuple[Unit, Unit]:
    """A constant factor leaves the other's unit as it is."""
    first, second = ({} if _is_constant(a) else u for a, u in zip(e.args, units, strict=True))
    return first, second


def _times(x: Unit, y: Unit, power: int = 1) -> Unit:
    if x is None or y is None:
        return None
    out = dict(x)
    for name, exponent in y.items():
        out[name] = out.get(name, Fraction(0)) + power * exponent
    return {name: exponent for name, exponent in out.items() if exponent}


def text(unit: Unit) -> str:
    """``px``, ``px*qty``, ``1/qty``, ``px^2``; ``a number`` for none."""
    if not unit:
        return "a number"
    up = [_power(n, p) for n, p in sorted(unit.items()) if p > 0]
    down = [_power(n, -p) for n, p in sorted(unit.items()) if p < 0]
    return "*".join(up or ["1"]) + "".join(f"/{d}" for d in down)


def _power(name: str, power: Fraction) -> str:
    return name if power == 1 else f"{name}^{power}"
