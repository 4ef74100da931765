"""Sessions and the time of day for the oracle (rules 49 and 50): plain whole numbers and one list of sessions."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from reference_math import NAN

DAY = 86_400 * 10**9
QUARTER_PI = float.fromhex("0x1.921fb54442d18p-1")
SINE = [float(Fraction((-1) ** k, math.factorial(2 * k + 1))) for k in range(1, 8)]
COSINE = [float(Fraction((-1) ** k, math.factorial(2 * k))) for k in range(1, 8)]


@dataclass(frozen=True)
class Session:
    """Times in int64 ns; without a break both its ends are the close."""

    open: int
    close: int
    pause: tuple[int, int] | None = None


def opened(sessions: Sequence[Session], t: int, at_close: bool) -> int:
    """k(t): the number of opens at or before t; ``at_close``, in sets that a bar triggers, before t."""
    find = bisect_left if at_close else bisect_right
    return find(sessions, t, key=lambda s: s.open)


def session_of(sessions: Sequence[Session], t: int, at_close: bool) -> Session | None:
    """Session k(t), whether it still runs or not."""
    k = opened(sessions, t, at_close)
    return sessions[k - 1] if k else None


def seconds_since_open(sessions: Sequence[Session], t: int, at_close: bool) -> float:
    s = session_of(sessions, t, at_close)
    return float(t - s.open) / 1e9 if s is not None and t <= s.close else NAN


def minutes_to_close(sessions: Sequence[Session], t: int, at_close: bool) -> float:
    s = session_of(sessions, t, at_close)
    return float(s.close - t) / 6e10 if s is not None and t <= s.close else NAN


def is_rth(sessions: Sequence[Session], t: int, at_close: bool) -> float:
    """A bar is stamped with its close, so that of a session's ends the later one is inside."""

    def within(start: int, end: int) -> bool:
        return start < t <= end if at_close else start <= t < end

    s = session_of(sessions, t, at_close)
    return float(s is not None and within(s.open, s.close) and not (s.pause is not None and within(*s.pause)))


def _horner(coefficients: Sequence[float], z: float) -> float:
    p = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        p = c + z * p
    return p


def _turn(t: int) -> tuple[float, float]:
    """Sine and cosine of the time of day, each reduced to an eighth of a turn."""
    r = t % DAY
    q = 8 * r // DAY
    u = 8 * r - q * DAY
    if q % 2:
        u = DAY - u
    x = (float(u) / float(DAY)) * QUARTER_PI
    z = x * x
    s = x + (x * z) * _horner(SINE, z)
    c = 1.0 + z * _horner(COSINE, z)
    sine = (s, c, c, s, -s, -c, -c, -s)[q]
    cosine = (c, s, -s, -c, -c, -s, s, c)[q]
    return sine + 0.0, cosine + 0.0


TIMES: dict[str, Callable[[Sequence[Session], int, bool], float]] = {
    "seconds_since_open": seconds_since_open,
    "minutes_to_close": minutes_to_close,
    "is_rth": is_rth,
    "sin_day": lambda sessions, t, at_close: _turn(t)[0],
    "cos_day": lambda sessions, t, at_close: _turn(t)[1],
}
