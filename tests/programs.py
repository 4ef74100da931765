"""Random feature sets over random streams: every operator, trigger, calendar and kind of reset."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from calendars import MADE
from expressions import ALL, SIZED, SIZED_TRIGGERS, TRIGGERS, expression, needs_sizes

from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument, Instruments

KNOWN = Instruments.of(
    Instrument(symbol="A", lot_size=0.01, tick_size=0.01, calendar="days"),
    Instrument(symbol="B", lot_size=1.0, tick_size=0.5, calendar="touching"),
    Instrument(symbol="C", lot_size=0.001, tick_size=1e-5, calendar="over"),
)
PARTLY = Instruments.of(
    Instrument(symbol="A", lot_size=0.01, calendar="over"),
    Instrument(symbol="B", calendar="days"),
    Instrument(symbol="C", tick_size=0.25),
)
PROBE = Instruments.of(Instrument(symbol="ES", lot_size=1.0, tick_size=0.25), *KNOWN)
CALENDARS = (*MADE, "24/7", "instrument")


def program(
    rng: np.random.Generator,
    features: int = 4,
    *,
    operators: Collection[str] = ALL,
    roots: Sequence[str | None] = (),
    symbols: tuple[str, ...] = ("A", "B"),
    trigger: str | None = None,
    clock: str | None = None,
    breaks: bool = True,
) -> FeatureSet:
    """A random feature set; ``roots``: the operators on top; ``breaks``: sessions may start what resets again."""
    known = bool(rng.random() < 0.8)  # else nothing that needs an instrument's lot and tick
    allowed = operators if known else set(operators) - SIZED
    tops = [roots[i] if i < len(roots) else None for i in range(features)]
    texts = {f"f{i}": expression(rng, 3, allowed, top, symbols) for i, top in enumerate(tops)}
    clocks = [
        t for t in (*TRIGGERS, *SIZED_TRIGGERS * known) if t.split("(")[0] not in ALL or t.split("(")[0] in operators
    ]
    stream = {
        "clock": clock or str(rng.choice(["recv", "event"])),
        "calendar": str(rng.choice(CALENDARS)),
        "session_break": str(rng.choice(["none", "session", "session"])) if breaks else "none",
        "guard": {"crossed": str(rng.choice(["flag", "reject"]))},
    }
    return FeatureSet.from_dict({"features": texts, "trigger": trigger or str(rng.choice(clocks)), "stream": stream})


def table_for(fs: FeatureSet, rng: np.random.Generator, instruments: int = 2) -> Instruments:
    """Instruments whose sizes are known, or some not, if the set does without."""
    table = KNOWN if needs_sizes(fs) or rng.random() < 0.5 else PARTLY
    return Instruments.of(*list(table)[:instruments])
