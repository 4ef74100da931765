"""The twenty features of :mod:`bench.peers.stack` from the indicators of libraries, updated event by event.

What a library lacks is written by hand as in ``HandWritten``: returns from a deque, and extremes where it has none of a
single series. Seeds differ (first value or average of the first n) and are forgotten after some thousand events.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

Extremes = Callable[[float], tuple[float, float]]


class ByIndicators:
    """What is common to all: sources, returns, and the row."""

    def __init__(self) -> None:
        self.n = 0
        self.mids: collections.deque[float] = collections.deque(maxlen=101)

    def averages(self, mid: float, spread: float, imbalance: float) -> tuple[float, ...]:
        """imbalance over spans 20 and 200, mid over 12 and 26, spread over 50, mean of 50 imbalances."""
        raise NotImplementedError

    def windows(self, mid: float) -> tuple[float, ...]:
        """Means and deviations of mid over 50 and 200, greatest and least of 100, RSI of 14."""
        raise NotImplementedError

    def update(self, bid: float, ask: float, bid_qty: float, ask_qty: float) -> list[float] | None:
        """Twenty features, or None while they warm up."""
        mid, spread = 0.5 * (bid + ask), ask - bid
        imbalance = (bid_qty - ask_qty) / (bid_qty + ask_qty)
        micro = (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty)
        mids = self.mids
        mids.append(mid)
        fast, slow, m12, m26, usual, imbalance_mean = self.averages(mid, spread, imbalance)
        m50, d50, m200, d200, high, low, rsi = self.windows(mid)
        self.n += 1
        if self.n < 200:
            return None
        return [
            1e4 * spread / mid,
            imbalance,
            1e4 * (micro - mid) / mid,
            fast,
            slow,
            1e4 * (mid / mids[-2] - 1.0),
            1e4 * (mid / mids[-21] - 1.0),
            1e4 * (mid / mids[-101] - 1.0),
            1e4 * (mid - m50) / mid,
            1e4 * d50 / mid,
            (mid - m50) / d50 if d50 > 1e-9 * mid else 0.0,
            1e4 * (mid - m200) / mid,
            1e4 * d200 / mid,
            (mid - m200) / d200 if d200 > 1e-9 * mid else 0.0,
            1e4 * (high - mid) / mid,
            1e4 * (mid - low) / mid,
            rsi,
            1e4 * (m12 - m26) / mid,
            spread / usual if usual else float("nan"),
            imbalance_mean,
        ]


class River(ByIndicators):
    """river's rolling and exponential statistics; its RSI is made of two exponential means."""

    def __init__(self) -> None:
        from river import stats, utils

        super().__init__()
        self.spans = [stats.EWMean(2 / (n + 1)) for n in (20, 200, 12, 26, 50)]
        self.imbalance_mean = utils.Rolling(stats.Mean(), 50)
        self.rolling = [utils.Rolling(stats.Var(ddof=0), n) for n in (50, 200)]
        self.means = [utils.Rolling(stats.Mean(), n) for n in (50, 200)]
        self.high, self.low = stats.RollingMax(100), stats.RollingMin(100)
        self.gain, self.loss = stats.EWMean(1 / 14), stats.EWMean(1 / 14)

    def averages(self, mid: float, spread: float, imbalance: float) -> tuple[float, ...]:
        i20, i200, m12, m26, s50 = self.spans
        i20.update(imbalance)
        i200.update(imbalance)
        m12.update(mid)
        m26.update(mid)
        s50.update(spread)
        self.imbalance_mean.update(imbalance)
        return i20.get(), i200.get(), m12.get(), m26.get(), s50.get(), self.imbalance_mean.get()

    def windows(self, mid: float) -> tuple[float, ...]:
        (v50, v200), (m50, m200) = self.rolling, self.means
        for s in (v50, v200, m50, m200, self.high, self.low):
            s.update(mid)
        if len(self.mids) > 1:
            change = mid - self.mids[-2]
            self.gain.update(change if change > 0 else 0.0)
            self.loss.update(-change if change < 0 else 0.0)
        g, loss = self.gain.get(), self.loss.get()
        rsi = 100.0 * g / (g + loss) if g + loss > 0 else 100.0
        d50, d200 = max(v50.get(), 0.0) ** 0.5, max(v200.get(), 0.0) ** 0.5
        return m50.get(), d50, m200.get(), d200, self.high.get(), self.low.get(), rsi


class Talipp(ByIndicators):
    """talipp; extremes from its Donchian channel. It keeps every output, so its oldest are dropped now and then, as its
    documentation asks of a long-running program."""

    def __init__(self) -> None:
        from talipp.indicators import EMA, RSI, SMA, DonchianChannels, StdDev
        from talipp.ohlcv import OHLCV

        super().__init__()
        self.spans = [EMA(n) for n in (20, 200, 12, 26, 50)]
        self.imbalance_mean, self.rsi = SMA(50), RSI(14)
        self.means, self.deviations = [SMA(50), SMA(200)], [StdDev(50), StdDev(200)]
        self.channel, self.bar = DonchianChannels(100), OHLCV
        self.all = [*self.spans, self.imbalance_mean, self.rsi, *self.means, *self.deviations, self.channel]

    def averages(self, mid: float, spread: float, imbalance: float) -> tuple[float, ...]:
        for s, x in zip(self.spans, (imbalance, imbalance, mid, mid, spread), strict=True):
            s.add(x)
        self.imbalance_mean.add(imbalance)
        return (*(s[-1] for s in self.spans), self.imbalance_mean[-1])

    def windows(self, mid: float) -> tuple[float, ...]:
        for s in (*self.means, *self.deviations, self.rsi):
            s.add(mid)
        self.channel.add(self.bar(mid, mid, mid, mid))
        (m50, m200), (d50, d200), ends = self.means, self.deviations, self.channel[-1]
        high, low = (mid, mid) if ends is None else (ends.ub, ends.lb)
        return m50[-1], d50[-1], m200[-1], d200[-1], high, low, self.rsi[-1]


class Nautilus(ByIndicators):
    """NautilusTrader's indicators called directly, without its engine around them. Deviations are read off its Bollinger
    bands of one deviation, extremes off its Donchian channel."""

    def __init__(self) -> None:
        from nautilus_trader.indicators.averages import (
            ExponentialMovingAverage,
            MovingAverageType,
            SimpleMovingAverage,
        )
        from nautilus_trader.indicators.momentum import RelativeStrengthIndex
        from nautilus_trader.indicators.volatility import BollingerBands, DonchianChannel

        super().__init__()
        self.spans = [ExponentialMovingAverage(n) for n in (20, 200, 12, 26, 50)]
        self.imbalance_mean = SimpleMovingAverage(50)
        self.bands = [BollingerBands(50, 1.0), BollingerBands(200, 1.0)]
        self.channel = DonchianChannel(100)
        self.rsi = RelativeStrengthIndex(14, MovingAverageType.WILDER)

    def averages(self, mid: float, spread: float, imbalance: float) -> tuple[float, ...]:
        i20, i200, m12, m26, s50 = self.spans
        i20.update_raw(imbalance)
        i200.update_raw(imbalance)
        m12.update_raw(mid)
        m26.update_raw(mid)
        s50.update_raw(spread)
        self.imbalance_mean.update_raw(imbalance)
        return i20.value, i200.value, m12.value, m26.value, s50.value, self.imbalance_mean.value

    def windows(self, mid: float) -> tuple[float, ...]:
        b50, b200 = self.bands
        b50.update_raw(mid, mid, mid)
        b200.update_raw(mid, mid, mid)
        self.channel.update_raw(mid, mid)
        self.rsi.update_raw(mid)
        d50, d200 = b50.upper - b50.middle, b200.upper - b200.middle
        return b50.middle, d50, b200.middle, d200, self.channel.upper, self.channel.lower, 100.0 * self.rsi.value


class Flox(ByIndicators):
    """flox-py (its package is now called lrvx); extremes by hand. Each of its streaming indicators goes over all that it
    has seen at every update, so its cost grows with the stream."""

    def __init__(self) -> None:
        import lrvx

        super().__init__()
        self.spans = [lrvx.EMA(n) for n in (20, 200, 12, 26, 50)]
        self.imbalance_mean, self.rsi = lrvx.SMA(50), lrvx.RSI(14)
        self.bands = [lrvx.Bollinger(50, 1.0), lrvx.Bollinger(200, 1.0)]
        self.low: collections.deque[tuple[int, float]] = collections.deque()
        self.high: collections.deque[tuple[int, float]] = collections.deque()

    def averages(self, mid: float, spread: float, imbalance: float) -> tuple[float, ...]:
        values = (imbalance, imbalance, mid, mid, spread)
        return (
            *(s.update(x) for s, x in zip(self.spans, values, strict=True)),
            self.imbalance_mean.update(imbalance),
        )

    def windows(self, mid: float) -> tuple[float, ...]:
        n = self.n
        while self.low and self.low[-1][1] >= mid:
            self.low.pop()
        self.low.append((n, mid))
        if self.low[0][0] <= n - 100:
            self.low.popleft()
        while self.high and self.high[-1][1] <= mid:
            self.high.pop()
        self.high.append((n, mid))
        if self.high[0][0] <= n - 100:
            self.high.popleft()
        b50, b200 = self.bands
        m50, m200, rsi = b50.update(mid), b200.update(mid), self.rsi.update(mid)
        if m50 is None or m200 is None:
            return 0.0, 0.0, 0.0, 0.0, mid, mid, 0.0
        return m50, b50.upper - m50, m200, b200.upper - m200, self.high[0][1], self.low[0][1], rsi
