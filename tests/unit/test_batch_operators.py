"""Every operator of the batch twin against a slow, obvious computation with whole numbers and fractions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from alpha.events import EVENT_DTYPE, Flag, Kind
from alpha.features import _batch_orders, _batch_sums, batch, coefficients
from alpha.features._batch_formulas import POINTWISE, all_equal
from alpha.features.batch import Detail, compute_detail
from alpha.features.feature_set import FeatureSet

S = 10**9
NAN = math.nan
TINY = 2.0**-30
WIDE = Context(prec=60, Emin=-2000, Emax=2000)


def _events(*rows: tuple) -> np.ndarray:
    """Rows (nanoseconds, kind, values, flags = LAST, level = 0)."""
    events = np.zeros(len(rows), EVENT_DTYPE)
    for event, row in zip(events, rows, strict=True):
        t, kind, v, flags, level = (*row, Flag.LAST, 0)[:5] if len(row) == 3 else (*row, 0)[:5]
        event["ts_event_ns"], event["kind"], event["flags"], event["level"] = t, kind, flags, level
        event["v"][: len(v)] = v
    return events


def _quotes(mids: Sequence[float], times: Sequence[int] | None = None) -> np.ndarray:
    when = times if times is not None else [i * S for i in range(len(mids))]
    return _events(*((int(t), Kind.QUOTE, (m, m, 1.0, 1.0)) for t, m in zip(when, mids, strict=True)))


def _detail(features: dict[str, str], events: np.ndarray, trigger: str = "last") -> Detail:
    fs = FeatureSet.from_dict({"features": features, "trigger": trigger, "stream": {"clock": "event"}})
    return compute_detail(fs, events, None)


def _column(feature: str, events: np.ndarray, trigger: str = "last") -> list[float | None]:
    """Exact values of one feature, None where it is not ready."""
    d = _detail({"x": feature}, events, trigger)
    return [float(v) if r else None for v, r in zip(d.exact[:, 0], d.ready[:, 0], strict=True)]


def _same(got: list[float | None], expected: list[float | None], rel: float = 1e-15) -> None:
    assert [g is None for g in got] == [e is None for e in expected], (got, expected)
    for g, e in zip(got, expected, strict=True):
        if g is not None and e is not None:
            assert (math.isnan(g) and math.isnan(e)) or math.isclose(g, e, rel_tol=rel, abs_tol=0.0), (got, expected)


# --- the slow twin: one window at a time ---


class Window(NamedTuple):
    """Samples of one window, oldest first: whole-number values (x * 2**200), floats, abscissas, width."""

    x: list[int]
    values: list[float]
    p: list[int]
    width: float


GRID = 200  # every value of these tests is a whole number of 2**-200


def _whole(x: float) -> int:
    scaled = Fraction(x) * 2**GRID
    assert scaled.denominator == 1
    return scaled.numerator


def _root(x: Fraction) -> float:
    """Square root, good to 50 digits before it is rounded."""
    return float(WIDE.sqrt(WIDE.divide(Decimal(x.numerator), Decimal(x.denominator))))


def _cross(x: list[int], y: list[int]) -> int:
    return len(x) * sum(a * b for a, b in zip(x, y, strict=True)) - sum(x) * sum(y)


def _corr(x: list[int], y: list[int]) -> float:
    """0 where one is all equal, as the rules say."""
    c, both = _cross(x, y), _cross(x, x) * _cross(y, y)
    r = math.copysign(_root(Fraction(c * c, both)), c) if both else 0.0
    return 0.0 if abs(r) < TINY else r


def _skew(w: Window) -> float:
    n, total = len(w.x), sum(w.x)
    d = [n * v - total for v in w.x]
    m2, m3 = sum(v * v for v in d), sum(v**3 for v in d)
    if m2 == 0:
        return 0.0
    g = math.copysign(_root(Fraction(m3 * m3 * n, m2**3)), m3)
    return 0.0 if abs(g) < TINY else g


def _mad(w: Window) -> float:
    if len(set(w.values)) == 1:
        return 0.0
    mean = math.fsum(w.values) / len(w.values)
    return math.fsum(abs(v - mean) for v in w.values) / len(w.values)


def _quantile(q: float) -> Callable[[Window], float]:
    def quantile(w: Window) -> float:
        ordered, p = sorted(w.values), q * (len(w.values) - 1)
        a, b = ordered[math.floor(p)], ordered[min(math.floor(p) + 1, len(ordered) - 1)]
        return a + (b - a) * (p - math.floor(p))

    return quantile


def _rank(w: Window) -> float:
    newest = w.values[-1]
    less, equal = sum(v < newest for v in w.values), w.values.count(newest)
    return (less + (equal + 1) / 2) / len(w.values)


def _slope(w: Window) -> float:
    vp, vx = _cross(w.p, w.p), _cross(w.x, w.x)
    if vp == 0 or vx == 0:
        return 0.0
    slope = Fraction(_cross(w.p, w.x), vp)
    std = _root(Fraction(vx, len(w.x) ** 2))
    return 0.0 if abs(float(slope)) * w.width / std < TINY else float(slope / 2**GRID)


def _resid(w: Window) -> float:
    n, vp, vx = len(w.x), _cross(w.p, w.p), _cross(w.x, w.x)
    if vp == 0 or vx == 0:
        return 0.0
    slope = Fraction(_cross(w.p, w.x), vp)
    resid = (w.x[-1] - Fraction(sum(w.x), n)) - slope * (w.p[-1] - Fraction(sum(w.p), n))
    return 0.0 if abs(float(resid)) / _root(Fraction(vx, n * n)) < TINY else float(resid / 2**GRID)


def _sample_std(x: list[int]) -> float:
    return _root(Fraction(_cross(x, x), len(x) * (len(x) - 1))) * 2.0**-GRID


def _rsquare(w: Window) -> float:
    return _corr(w.p, w.x) ** 2


def _qlib_rsquare(w: Window) -> float:
    return NAN if _sample_std(w.x) < 2e-5 else _rsquare(w)


# name -> (slow computation, samples of a time window)
ONE: dict[str, tuple[Callable[[Window], float], int]] = {
    "skew(mid, {w})": (_skew, 3),
    "mad(mid, {w})": (_mad, 1),
    "min(mid, {w})": (lambda w: min(w.values), 1),
    "max(mid, {w})": (lambda w: max(w.values), 1),
    "argmin(mid, {w})": (lambda w: 1.0 + w.values.index(min(w.values)), 1),
    "argmax(mid, {w})": (lambda w: 1.0 + w.values.index(max(w.values)), 1),
    "rank(mid, {w})": (_rank, 1),
    "quantile(mid, {w}, q=0.9)": (_quantile(0.9), 1),
    "quantile(mid, {w}, q=0.0)": (lambda w: min(w.values), 1),
    "quantile(mid, {w}, q=1.0)": (lambda w: max(w.values), 1),
    "median(mid, {w})": (lambda w: statistics.median(w.values), 1),
    "slope(mid, {w})": (_slope, 2),
    "rsquare(mid, {w})": (_rsquare, 2),
    "resid(mid, {w})": (_resid, 2),
    "qlib.rsquare(mid, {w})": (_qlib_rsquare, 2),
}

SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "random": lambda rng, n: rng.normal(size=n),
    "ties": lambda rng, n: rng.integers(-2, 3, n).astype(np.float64),
    "few ulp at 1e5": lambda rng, n: 1e5 + rng.integers(-2, 3, n) * 2.0**-36,
    "noise at 1e5": lambda rng, n: 1e5 + 1e-3 * rng.normal(size=n),
    "ticks": lambda rng, n: 60_000.01 + 0.01 * np.cumsum(rng.integers(-2, 3, n)),
    "tiny": lambda rng, n: 1e-12 * rng.normal(size=n),
    "big": lambda rng, n: 1e12 * (1.0 + 1e-9 * rng.normal(size=n)),
    "all sizes": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-12, 12, n),
    "flat then moving": lambda rng, n: 0.1 + 0.01 * np.cumsum(rng.random(n) < 0.08),
    "line": lambda rng, n: 3.0 + 0.25 * np.arange(n),
    "seesaw": lambda rng, n: np.tile([1.0, 2.0, 1.0, 3.0], n)[:n],
    "spikes": lambda rng, n: np.where(rng.random(n) < 0.03, 1e12, 1e-3 * rng.normal(size=n)),
}


def _times(rng: np.random.Generator, n: int) -> list[int]:
    """Equal times, nanoseconds, tenths of seconds, and pauses longer than every window; far from 0."""
    steps = rng.choice([0, 1, S // 10, S // 10 + 1, S // 3], n)
    steps[rng.random(n) < 0.02] = 200 * S
    return [1_700_000_000 * S + int(t) for t in np.cumsum(steps)]


def _timed_from(window: int | str) -> int:
    return int(window.rstrip("ms")) * 10**6 if isinstance(window, str) else 0


def _slow(
    slow: Callable[[Window], float], samples: int, x: list[float], t: list[int], window: int | str
) -> list[float | None]:
    whole, out = [_whole(v) for v in x], []
    w = _timed_from(window)
    for i in range(len(x)):
        inside = [j for j in range(i + 1) if t[j] > t[i] - w] if w else list(range(max(i + 1 - int(window), 0), i + 1))
        if (t[i] - t[0] < w or len(inside) < samples) if w else len(inside) < int(window):
            out.append(None)
            continue
        p = [t[j] - t[inside[0]] for j in inside] if w else list(range(len(inside)))
        result = slow(Window([whole[j] for j in inside], [x[j] for j in inside], p, float(w or window)))
        out.append(result * 1e9 if w and slow is _slope else result)
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_one_operand_windows_equal_slow_arithmetic(shape: str) -> None:
    rng = np.random.default_rng(sum(map(ord, shape)))
    x, t = SHAPES[shape](rng, 150).tolist(), _times(rng, 150)
    features = {f"{name} {w}": name.format(w=w) for name in ONE for w in (3, 20, '"1500ms"')}
    d = _detail({f"f{i}": text for i, text in enumerate(features.values())}, _quotes(x, t), "quote")
    for j, key in enumerate(features):
        name, w = key.rsplit(" ", 1)
        slow, samples = ONE[name]
        expected = _slow(slow, samples, x, t, w.strip('"') if '"' in w else int(w))
        got = [float(v) if r else None for v, r in zip(d.exact[:, j], d.ready[:, j], strict=True)]
        assert any(e is not None for e in expected)
        assert [g is None for g in got] == [e is None for e in expected], key
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            assert g == e or (g != g and e != e) or math.isclose(g or 0.0, e or 0.0, rel_tol=1e-15), (key, i, g, e)
            assert g is None or math.copysign(1.0, g) > 0 or g != 0.0, (key, i, "-0")
            assert slow is not _resid or g == e, (key, i, g, e)  # rounded once: values between two float32 depend on it


def _close_pairs(op: str, x: list[int], y: list[int]) -> float:
    """cov, corr, beta of whole numbers (x, y): the names as the language orders their operands."""
    n, c = len(x), _cross(x, y)
    vx, vy = _cross(x, x), _cross(y, y)
    if op == "qlib.corr" and (_sample_std(x) < 2e-5 or _sample_std(y) < 2e-5):
        return NAN
    r = _corr(x, y)
    if r == 0.0 or op in ("corr", "qlib.corr"):
        return r
    if op == "beta":
        return float(Fraction(c, vy))
    assert vx
    return float(Fraction(c, n * (n - (op == "cov1"))) / 2 ** (2 * GRID))


PAIRS = {
    "cov({a}, {w})": ("cov", 1),
    "cov({a}, {w}, ddof=1)": ("cov1", 2),
    "corr({a}, {w})": ("corr", 2),
    "beta({a}, {w})": ("beta", 2),
    "qlib.corr({a}, {w})": ("qlib.corr", 2),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("operands", ["mid, px", "imbalance, mid", "mid, mid"])
def test_pairs_sample_when_either_moves_and_both_are_finite(shape: str, operands: str) -> None:
    """Quotes and trades in turn; the sizes are both 0 now and then, where imbalance is NaN; a gap restarts readiness."""
    rng = np.random.default_rng(sum(map(ord, shape + operands)))
    n, gap = 150, 100
    t = _times(rng, n)
    x, y = SHAPES[shape](rng, n), SHAPES[shape](rng, n)
    y = np.where(rng.random(n) < 0.5, x, y)  # some dependence
    quote = rng.random(n) < 0.6
    size = rng.integers(0, 3, (n, 2)).astype(np.float64)
    rows = []
    for i in range(n):
        flags = Flag.LAST | (Flag.GAP if i == gap else 0)
        rows.append(
            (t[i], Kind.QUOTE, (x[i], x[i], *size[i]), flags)
            if quote[i]
            else (t[i], Kind.TRADE, (y[i], 1.0, 1.0), flags)
        )
    windows = (4, 15, '"1500ms"')
    features = {f"{name} {w}": name.format(a=operands, w=w) for name in PAIRS for w in windows}
    d = _detail({f"f{i}": text for i, text in enumerate(features.values())}, _events(*rows))

    first, second = operands.split(", ")
    now = {"mid": NAN, "px": NAN, "imbalance": NAN}
    fresh = dict.fromkeys(now, False)  # since the gap
    samples: list[tuple[int, int, int, bool]] = []  # time, x, y, counts after the gap
    taken, known = [], []
    for i in range(n):
        if i == gap:
            fresh = dict.fromkeys(now, False)
            samples = [(*s[:3], False) for s in samples]
        moved = {"mid", "imbalance"} if quote[i] else {"px"}
        if quote[i]:
            total = size[i].sum()
            now |= {"mid": float(x[i]), "imbalance": float((size[i][0] - size[i][1]) / total) if total else NAN}
        else:
            now["px"] = float(y[i])
        fresh |= dict.fromkeys(moved, True)
        if moved & {first, second} and math.isfinite(now[first]) and math.isfinite(now[second]):
            samples.append((t[i], _whole(now[first]), _whole(now[second]), fresh[first] and fresh[second]))
        taken.append(list(samples))
        known.append([s for s in samples if s[3]])
    for j, key in enumerate(features):
        name, text = key.rsplit(" ", 1)
        op, needed = PAIRS[name]
        w = 1500 * 10**6 if '"' in text else 0
        for i in range(n):
            inside = [s for s in taken[i] if s[0] > t[i] - w] if w else taken[i][-int(text) :]
            if w:
                ready = bool(known[i]) and t[i] - known[i][0][0] >= w and len(inside) >= needed
            else:
                ready = len(known[i]) >= int(text)
            assert d.ready[i, j] == ready, (key, i)
            if ready:
                expected = _close_pairs(op, [s[1] for s in inside], [s[2] for s in inside])
                got = float(d.exact[i, j])
                assert (got != got and expected != expected) or math.isclose(got, expected, rel_tol=1e-15), (key, i)
    assert d.ready[:gap].any(axis=0).all() and d.ready[gap:].any(axis=0).all() and not d.ready[gap].any()


def test_a_constant_operand_never_moves_and_has_no_dispersion() -> None:
    events = _quotes([1.0, 2.0, 4.0])
    assert _column("corr(mid, 3.0, 2)", events) == [None, 0, 0]
    assert _column("beta(mid, 3.0, 2)", events) == [None, 0, 0]
    _same(_column("qlib.corr(mid, 3.0, 2)", events), [None, NAN, NAN])


# --- long streams and their kernels ---


def _windows(n: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    hi = np.arange(1, n + 1)
    return np.maximum(hi - w, 0), hi


LONG: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise at 1e5": lambda rng, n: 1e5 + 1e-3 * rng.normal(size=n),
    "walk": lambda rng, n: 60_000.01 + 0.01 * np.cumsum(rng.integers(-2, 3, n)),
    "trend": lambda rng, n: np.exp(np.arange(n) * 1e-4 + rng.normal(size=n) * 1e-6),
    "spikes": lambda rng, n: np.where(rng.random(n) < 1e-3, 1e12, 1e-6 * rng.normal(size=n)),
}


@pytest.mark.parametrize("shape", LONG)
@pytest.mark.parametrize("w", [5, 300])
def test_errors_do_not_grow_with_the_stream(shape: str, w: int) -> None:
    n, rng = 100_000, np.random.default_rng(w)
    x, p = LONG[shape](rng, n), np.arange(n, dtype=np.float64)
    y = np.roll(x, 1) + x
    lo, hi = _windows(n, w)
    flat = all_equal(x, lo, hi)
    third, second = _batch_sums.rolling_cubes(x, lo, hi, flat)
    pairs = _batch_sums.rolling_pairs(x, np.zeros(n), y, lo, hi, flat | all_equal(y, lo, hi))
    lines = _batch_sums.rolling_pairs(p, np.zeros(n), x, lo, hi, flat)
    for i in (*range(n - 6, n), *range(w, n, n // 7)):
        a, b, c = ([_whole(float(v)) for v in z[lo[i] : hi[i]]] for z in (x, y, p))
        if flat[i] or len(set(b)) == 1:
            continue
        mean = Fraction(sum(a), w)
        cube = float(w * w * sum((v - mean) ** 3 for v in a) / 2 ** (3 * GRID))
        square = float(w * sum((v - mean) ** 2 for v in a) / 2 ** (2 * GRID))
        assert math.isclose(second[i], square, rel_tol=1e-15)
        assert math.isclose(third[i], cube, rel_tol=1e-15, abs_tol=TINY**2 * square * math.sqrt(square))
        for got, u, v in ((pairs, a, b), (lines, c, a)):
            vu, vv = _cross(u, u) / 4**GRID, _cross(v, v) / 4**GRID
            assert math.isclose(got[1][i], vu, rel_tol=1e-15) and math.isclose(got[2][i], vv, rel_tol=1e-15)
            exact = _cross(u, v) / 4**GRID
            assert math.isclose(got[0][i], exact, rel_tol=1e-15, abs_tol=2.0**-80 * math.sqrt(vu) * math.sqrt(vv))


def test_values_whose_squares_or_cubes_overflow_give_no_number_and_leave_no_trace() -> None:
    x = np.random.default_rng(3).normal(size=60)
    wild = x.copy()
    wild[[20, 21]] = 1e150, -1e200
    lo, hi = _windows(60, 5)
    flat = np.zeros(60, np.bool_)
    for kernel in (
        lambda v: _batch_sums.rolling_cubes(v, lo, hi, flat),
        lambda v: _batch_sums.rolling_pairs(np.arange(60.0), np.zeros(60), v, lo, hi, flat),
    ):
        for got, calm in zip(kernel(wild), kernel(x), strict=True):
            assert np.isnan(got[20:26]).all()
            np.testing.assert_allclose(np.delete(got, range(20, 26)), np.delete(calm, range(20, 26)), rtol=1e-12)


def test_times_keep_their_nanoseconds_over_years() -> None:
    """Hundreds of days need more than 53 bits of nanoseconds."""
    year = 365 * 86400 * S
    t = [0, year, year + 1, year + 3, year + 7]
    x = [5.0, 1.0, 2.0, 4.0, 8.0]
    got = _column('slope(mid, "7ns")', _quotes(x, t))
    assert got == [None, None, 1e9, 1e9, 1e9]


@pytest.mark.parametrize("w", [1, 2, 7, 1000])
def test_order_kernels_over_many_values(w: int) -> None:
    rng = np.random.default_rng(w)
    x = np.round(rng.normal(size=3000), 2)
    lo, hi = _windows(len(x), w)
    values, places = np.unique(x, return_inverse=True)
    lowest = _batch_orders.rolling_lowest(x, lo, hi)
    less, equal = _batch_orders.rolling_rank(places, len(values), lo, hi)
    middle = (hi - lo) // 2
    one, two = _batch_orders.rolling_nth(places, len(values), lo, hi, middle, hi - lo - 1)
    for i in range(0, len(x), 37):
        window = x[lo[i] : hi[i]]
        assert lowest[i] == lo[i] + np.argmin(window)
        assert (less[i], equal[i]) == ((window < x[i]).sum(), (window == x[i]).sum())
        assert values[one[i]] == np.sort(window)[middle[i]] and values[two[i]] == window.max()


def test_empty_time_windows_are_not_ready() -> None:
    events = _events(
        (0, Kind.QUOTE, (1.0, 1.0, 1, 1)), (S, Kind.QUOTE, (3.0, 3.0, 1, 1)), (9 * S, Kind.TRADE, (9.0, 1.0, 1.0))
    )
    for name in ("min", "argmax", "rank", "median", "mad", "skew", "slope", "resid"):
        d = _detail({"x": f'{name}(mid, "2s")'}, events)
        assert not d.ready.any() and np.isnan(d.exact).all()


def test_updates_that_are_not_finite_do_not_count() -> None:
    sizes = [(1, 1), (3, 1), (0, 0), (1, 3), (0, 0), (7, 1)]
    events = _events(*((i * S, Kind.QUOTE, (1.0, 2.0, *q)) for i, q in enumerate(sizes)))
    assert _column("max(imbalance, 2)", events) == [None, 0.5, 0.5, 0.5, 0.5, 0.75]
    assert _column("argmin(imbalance, 2)", events) == [None, 1, 1, 2, 2, 1]
    assert _column("rank(imbalance, 3)", events) == [None, None, None, 0.5 / 3 + 0.5 / 3, 1 / 3, 1]
    assert _column("cumsum(imbalance)", events) == [0, 0.5, 0.5, 0, 0, 0.75]


def test_extremes_and_orders_by_hand() -> None:
    events = _quotes([2.0, 1.0, 1.0, 3.0, 3.0])
    assert _column("argmin(mid, 3)", events) == [None, None, 2, 1, 1]
    assert _column("argmax(mid, 3)", events) == [None, None, 1, 3, 2]
    assert _column("rank(mid, 2)", events) == [None, 0.5, 0.75, 1, 0.75]
    assert _column("median(mid, 2)", events) == [None, 1.5, 1, 2, 3]
    assert _column("quantile(mid, 3, q=0.75)", events) == [None, None, 1.5, 2, 3]
    assert _column("min(mid, 1)", _quotes([-0.0]))[0] == 0.0
    assert math.copysign(1.0, _column("min(mid, 1)", _quotes([-0.0]))[0] or 0.0) == 1.0


def test_a_line_has_its_slope_and_no_residual() -> None:
    events = _quotes([1e5 + 0.5 * i for i in range(6)], [i * S // 2 for i in range(6)])
    assert _column("slope(mid, 3)", events)[2:] == [0.5] * 4
    assert _column('slope(mid, "1s")', events)[2:] == [1.0] * 4
    assert _column("resid(mid, 3)", events)[2:] == [0.0] * 4 and _column("rsquare(mid, 3)", events)[2:] == [1.0] * 4
    assert _column("corr(mid, -mid, 3)", events)[2:] == [-1.0] * 4


def test_time_that_stands_still_has_no_slope_but_dispersion() -> None:
    events = _quotes([1.0, 7.0, 1.0, 2.0, 4.0], [0, 9 * S, 20 * S, 20 * S, 20 * S])
    assert _column('slope(mid, "9s")', events)[3:] == [0, 0]
    assert _column('resid(mid, "9s")', events)[3:] == [0, 0]
    assert _column('qlib.rsquare(mid, "9s")', events)[3:] == [0, 0]


# --- recursive ---


def test_averages_from_a_seed_and_with_updates_left_out() -> None:
    events = _quotes([1.0, 2.0, 6.0, 4.0, 8.0])
    assert _column('ema(mid, span=3, seed="sma")', events) == [None, None, 3, 3.5, 5.75]
    assert _column("ema(mid, span=3, skip=1)", events) == [None, None, None, 4, 6]
    assert _column('ema(mid, span=3, skip=2, seed="sma")', events) == [None, None, None, None, 6]
    assert _column("ema(mid, span=1, skip=3)", events) == [None, None, None, 4, 8]


def _recurse(x: list[float], span: int) -> list[float | None]:
    alpha, m, v, out = 2.0 / (span + 1), x[0], 0.0, []
    for i, value in enumerate(x):
        if i:
            delta = value - m
            a = alpha * delta
            m += a
            v = (1 - alpha) * (v + a * delta)
        out.append(math.sqrt(v) if i >= span - 1 else None)
    return out


def test_recursive_operators() -> None:
    x = (100 + np.random.default_rng(2).normal(size=40)).tolist()
    assert _column("ewm_std(mid, 7)", _quotes(x)) == _recurse(x, 7)
    events = _quotes([1.0, 2.0, 6.0, 4.0])
    assert _column("wilder(mid, 2)", events) == [None, 1.5, 3.75, 3.875]
    assert _column("wilder_sum(mid, 3)", events) == [None, None, 8, 8 - 8 / 3 + 4]
    assert _column("wilder(mid, 1)", events) == [1, 2, 6, 4]
    assert _column("first(mid)", events) == [1, 1, 1, 1]


def test_both_kinds_of_rsi() -> None:
    flat = _quotes([3.0, 3.0, 3.0, 4.0, 4.0, 2.0])
    assert _column("rsi(mid, 2)", flat) == [None, None, 100, 100, 100, pytest.approx(100 * 0.125 / 1.125)]
    assert _column("talib.rsi(mid, 2)", flat) == [None, None, 0, 100, 100, pytest.approx(100 * 0.125 / 1.125)]


def test_sums_since_the_start_stay_exact() -> None:
    x = np.random.default_rng(8).choice([-1.0, 1.0], 500) * 10.0 ** np.random.default_rng(9).uniform(-12, 15, 500)
    assert _column("cumsum(mid)", _quotes(x.tolist())) == [math.fsum(x[: i + 1]) for i in range(500)]


def test_a_gap_restarts_the_readiness_of_what_runs_on() -> None:
    events = _quotes([1.0, 2.0, 4.0, 8.0, 16.0])
    events["flags"][2] |= np.uint16(Flag.GAP)
    for name in ("cumsum(mid)", "first(mid)"):
        assert None not in _column(name, events)  # one update is enough, and the event with the flag is one
    for name in ("wilder(mid, 2)", "ewm_std(mid, 2)", "min(mid, 2)", "slope(mid, 2)", "ema(mid, span=1, skip=1)"):
        assert [v is None for v in _column(name, events)] == [True, False, True, False, False]
    assert _column("cumsum(mid)", events)[2] == 7 and _column("first(mid)", events)[4] == 1
    assert _column("min(mid, 2)", events)[3] == 4


# --- sources ---


def _flow(rows: list[tuple[float, float, float, float]]) -> list[float]:
    out = []
    for (b0, a0, q0, r0), (b, a, q, r) in pairwise(rows):
        out.append(
            (q if b >= b0 else 0.0) - (q0 if b <= b0 else 0.0) - (r if a <= a0 else 0.0) + (r0 if a >= a0 else 0.0)
        )
    return out


def _book(rng: np.random.Generator, n: int) -> list[tuple[float, float, float, float]]:
    bid = rng.integers(99, 102, n).astype(np.float64)
    return list(zip(bid, bid + rng.integers(1, 3, n), *rng.integers(1, 9, (2, n)) / 7, strict=True))


def test_order_flow_compares_neighbours_with_sizes() -> None:
    rows = _book(np.random.default_rng(1), 60)
    events = _events(*((i * S, Kind.QUOTE, row) for i, row in enumerate(rows)))
    assert _column("ofi", events) == [None, *_flow(rows)]
    events["flags"][10] |= np.uint16(Flag.NO_QTY)  # skipped, and nobody's predecessor
    events["flags"][30] |= np.uint16(Flag.GAP)  # its own comparison reaches across the gap
    flow = _flow(rows[:10] + rows[11:])
    got = _column("ofi", events)
    assert got == [None, *flow[:9], flow[8], *flow[9:28], None, *flow[29:]]
    assert _column("cumsum(ofi)", events)[-1] == math.fsum(flow)


def test_deeper_levels() -> None:
    no = Flag.LAST | Flag.NO_QTY
    rows = [
        (0, Kind.QUOTE, (9.0, 10.0, 1.0, 1.0)),
        (1, Kind.DEPTH, (8.0, 11.0, 3.0, 4.0), Flag.LAST, 2),
        (2, Kind.DEPTH, (7.0, 12.0, 5.0, 6.0), Flag.LAST, 3),
        (3, Kind.DEPTH, (0.0, 11.0, 0.0, 2.0), Flag.LAST, 2),  # no bids left there
        (4, Kind.DEPTH, (6.0, 13.0, 0.0, 0.0), no, 2),
        (5, Kind.DEPTH, (8.0, 12.0, 1.0, 7.0), Flag.LAST, 2),
    ]
    events = _events(*rows)
    _same(_column("bid_px(2)", events), [None, 8, 8, NAN, 6, 8])
    assert _column("ask_px(2)", events) == [None, 11, 11, 11, 13, 12]
    assert _column("ask_qty(2)", events) == [None, 4, 4, 2, 2, 7]
    assert _column("bid_qty(3)", events) == [None, None, 5, 5, 5, 5]
    # 3: no comparison with a missing price holds; ask: -2 + 4. 5: bid likewise; ask rose: + 2
    assert _column("ofi(2)", events) == [None, None, None, 2, 2, 2]
    assert _column("count(bid_px(2), 2)", events) == [None, None, None, None, 2, 2]


def test_trade_signs() -> None:
    def trade(px: float, side: float = 0.0) -> tuple:
        return Kind.TRADE, (px, 1.0, side)

    def quote(bid: float, ask: float) -> tuple:
        return Kind.QUOTE, (bid, ask, 0.0, 0.0), Flag.LAST | Flag.NO_QTY

    steps = [
        (trade(5.0), 0),  # nothing is known
        (trade(5.0), 0),
        (trade(4.0), -1),  # the tick rule
        (trade(4.0), -1),  # kept over a tick of zero
        (quote(4.0, 6.0), None),
        (trade(5.0), 1),  # at the mid: the tick rule again
        (trade(4.5), -1),
        (trade(5.5), 1),
        (trade(5.0, 1.0), 1),  # the feed knows; the tick rule moves down all the same
        (trade(5.0), -1),
        (quote(8.0, 9.0), None),
        (trade(6.0), -1),  # below the mid though it rose
        (quote(5.0, 7.0), None),
        (trade(6.0), 1),
    ]
    events = _events(*((i * S, *step) for i, (step, _) in enumerate(steps)))
    assert _column("trade_sign", events, "trade") == [sign for _, sign in steps if sign is not None]
    events["flags"][7] |= np.uint16(Flag.GAP)
    assert _column("trade_sign", events, "trade") == [sign for _, sign in steps if sign is not None]
    assert _column("trade_sign", _events(*[(0, *quote(1.0, 2.0)), (1, *trade(1.2))])) == [None, -1]


# --- pointwise ---


def test_pointwise_choices_and_comparisons() -> None:
    v = [-2.0, -0.0, 0.0, 1.0, math.inf, NAN]
    x, y = (np.array(a) for a in zip(*((a, b) for a in v for b in v), strict=True))
    rules: dict[str, Callable[[float, float], float]] = {
        "least": lambda a, b: a if a < b else b,
        "greatest": lambda a, b: a if a > b else b,
        "gt": lambda a, b: float(a > b),
        "ge": lambda a, b: float(a >= b),
        "lt": lambda a, b: float(a < b),
        "le": lambda a, b: float(a <= b),
        "eq": lambda a, b: float(a == b),
        "ne": lambda a, b: float(a != b),
    }
    for name, rule in rules.items():
        expected = [NAN if math.isnan(a + b) and (a != a or b != b) else rule(a, b) for a, b in zip(x, y, strict=True)]
        assert str(POINTWISE[name](x, y).tolist()) == str([float(e) for e in expected]), name
    assert str(POINTWISE["sign"](np.array(v)).tolist()) == str([-1.0, 0.0, 0.0, 1.0, 1.0, NAN])
    assert str(POINTWISE["clip"](np.array(v), -1.0, 0.5).tolist()) == str([-1.0, -0.0, 0.0, 0.5, 0.5, NAN])
    with np.errstate(invalid="ignore"):
        assert str(POINTWISE["sqrt"](np.array([4.0, -1.0, NAN])).tolist()) == str([2.0, NAN, NAN])
    c, a, b = np.array([1.0, 0.0, NAN, -0.0]), np.array([NAN, NAN, 1.0, 1.0]), np.array([2.0, 2.0, 2.0, 3.0])
    assert str(POINTWISE["where"](c, a, b).tolist()) == str([NAN, 2.0, NAN, 3.0])


def test_where_moves_and_waits_with_all_three() -> None:
    events = _events(
        (0, Kind.QUOTE, (1.0, 1.0, 1.0, 1.0)), (1, Kind.TRADE, (2.0, 1.0, 1.0)), (2, Kind.QUOTE, (3.0, 3.0, 1.0, 1.0))
    )
    assert _column("where(px > mid, px, mid)", events) == [None, 2, 3]
    assert _column("count(where(px > mid, px, mid), 2)", events) == [None, None, 2]
    assert _column("clip(mid, 1.5, 2.5)", events) == [1.5, 1.5, 2.5]


def test_exp_is_within_one_ulp() -> None:
    assert list(coefficients.EXP) == [float(Fraction(1, math.factorial(j))) for j in range(14)]
    assert float(WIDE.divide(Decimal(1), Decimal(2).ln(WIDE))) == coefficients.LOG2_E
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.uniform(-708, 709.7, 2000), rng.normal(size=500) * 10.0 ** rng.integers(-12, 1, 500)])
    for a, got in zip(x.tolist(), batch.exp(x).tolist(), strict=True):
        exact = WIDE.exp(Decimal(a))
        assert abs(Decimal(got) - exact) < Decimal(math.ulp(got)), a
    edges = [0.0, -0.0, 709.8, 1e300, math.inf, -745.3, -1e300, -math.inf, -745.1]
    assert batch.exp(np.array(edges)).tolist() == [1, 1, *[math.inf] * 3, 0, 0, 0, 5e-324]
    assert np.isnan(batch.exp(np.array([NAN])))[0]
