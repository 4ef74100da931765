"""What a fill costs: dated fees, the spread, and the impact of its own size. Floor 7.

Fees are looked up by the day of the fill, because venues change them. Impact is the square-root law: an order of
size q against a daily volume V of a price with daily volatility sigma moves it by ``impact * sigma * sqrt(q/V)``.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from alpha.errors import DataError

_DAY_NS = 86_400 * 10**9


class FeePeriod(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fees from the day ``since`` (UTC, inclusive) on.

    ``per_order`` and ``per_unit`` in money, ``bp`` of the notional in 1e-4, ``sell_bp`` on sells only, ``minimum``
    money per fill. A negative ``bp`` or ``per_unit`` is a rebate.
    """

    since: dt.date
    per_order: float = 0.0
    per_unit: float = 0.0
    bp: float = 0.0
    sell_bp: float = 0.0
    minimum: float = 0.0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fee: list[FeePeriod]


class _CostsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    fee: list[FeePeriod] = []
    spread_bp: float = 0.0
    impact: float = 0.0
    daily_volume: float = math.inf
    daily_volatility: float = 0.0


class FeeTable:
    """Fee periods in order of their first day.

    >>> table = FeeTable([FeePeriod(since=dt.date(2020, 1, 1), per_unit=0.01)])
    >>> table.fee(1_600_000_000 * 10**9, 10.0, 30.0)
    0.1
    """

    __slots__ = ("_days", "periods")

    def __init__(self, periods: Sequence[FeePeriod]) -> None:
        if not periods:
            raise DataError("a fee table needs at least one period: [[fee]] with the key since")
        self.periods = tuple(sorted(periods, key=lambda p: p.since))
        self._days = [(p.since - dt.date(1970, 1, 1)).days for p in self.periods]
        if len(set(self._days)) != len(self._days):
            twice = next(p.since for p, q in zip(self.periods, self.periods[1:], strict=False) if p.since == q.since)
            raise DataError(f"the fee table has two periods since {twice}: keep one")
        for p in self.periods:
            for name in ("per_order", "per_unit", "bp", "sell_bp", "minimum"):
                if not math.isfinite(getattr(p, name)):
                    raise DataError(f"fee since {p.since}: {name} must be finite, it is {getattr(p, name)}")
            if p.minimum < 0.0 or p.per_order < 0.0:
                raise DataError(f"fee since {p.since}: minimum and per_order must not be negative")

    @classmethod
    def free(cls) -> FeeTable:
        """No fees, at any time."""
        return cls([FeePeriod(since=dt.date(1, 1, 1))])

    @classmethod
    def load(cls, path: str | Path) -> FeeTable:
        """Read a TOML file of ``[[fee]]`` tables; DataError names the file and what is wrong in it."""
        try:
            return cls(msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), _File).fee)
        except OSError as exc:
            raise DataError(f"fee table {path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise DataError(f"fee table {path} is not valid TOML: {exc}") from None
        except (msgspec.ValidationError, DataError) as exc:
            raise DataError(f"fee table {path}: {exc}") from None

    def at(self, ts_ns: int) -> FeePeriod:
        """The period of a time; DataError before the first one, for no fee is known there."""
        i = bisect.bisect_right(self._days, ts_ns // _DAY_NS) - 1
        if i < 0:
            raise DataError(f"no fee is known before {self.periods[0].since}: add a [[fee]] period")
        return self.periods[i]

    def fee(self, ts_ns: int, qty: float, px: float, multiplier: float = 1.0) -> float:
        """Money a fill of signed ``qty`` at ``px`` pays (negative: a rebate)."""
        p = self.at(ts_ns)
        size = abs(qty)
        if size == 0.0:
            return 0.0
        notional = size * px * multiplier
        rate = p.bp + (p.sell_bp if qty < 0 else 0.0)
        return max(p.per_order + p.per_unit * size + 1e-4 * rate * notional, p.minimum)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything between a decision and the money it leaves.

    ``spread_bp``: the whole spread where data has no quotes. ``impact``: the square-root law's coefficient, 0 without;
    ``daily_volume`` in units and ``daily_volatility`` as a share of the price are what it needs.
    """

    fees: FeeTable = FeeTable.free()
    spread_bp: float = 0.0
    impact: float = 0.0
    daily_volume: float = math.inf
    daily_volatility: float = 0.0

    def __post_init__(self) -> None:
        for name in ("spread_bp", "impact", "daily_volatility"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise DataError(f"costs: {name} must be 0 or more, it is {value}")
        if not self.daily_volume > 0.0:
            raise DataError(f"costs: daily_volume must be above 0, it is {self.daily_volume}")

    @classmethod
    def load(cls, path: str | Path) -> Costs:
        """Read a TOML file with these keys and ``[[fee]]`` tables; DataError names the file and what is wrong in it."""
        try:
            told = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), _CostsFile)
            values = {name: getattr(told, name) for name in cls.__struct_fields__ if name != "fees"}
            return cls(fees=FeeTable(told.fee) if told.fee else FeeTable.free(), **values)
        except OSError as exc:
            raise DataError(f"costs file {path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise DataError(f"costs file {path} is not valid TOML: {exc}") from None
        except (msgspec.ValidationError, DataError) as exc:
            raise DataError(f"costs file {path}: {exc}") from None

    @classmethod
    def usual(cls) -> Costs:
        """Where nobody said what trading costs: half a basis point of fees a side, and a spread of one basis point
        where data has no quotes. Free trading would flatter."""
        return cls(fees=FeeTable([FeePeriod(since=dt.date(1, 1, 1), bp=0.5)]), spread_bp=1.0)

    def described(self) -> dict[str, float | list[dict[str, float | str]]]:
        """Plain numbers for a report."""
        periods: list[dict[str, float | str]] = [
            {k: str(v) if k == "since" else v for k, v in msgspec.structs.asdict(p).items()} for p in self.fees.periods
        ]
        return {
            "spread_bp": self.spread_bp,
            "impact": self.impact,
            "daily_volume": self.daily_volume,
            "daily_volatility": self.daily_volatility,
            "fee": periods,
        }

    def impact_share(self, qty: float) -> float:
        """Share of the price by which an order of ``qty`` moves it against itself."""
        return self.impact * self.daily_volatility * math.sqrt(abs(qty) / self.daily_volume)

    def price(self, qty: float, bid_px: float, ask_px: float) -> float:
        """What an order of signed ``qty`` pays or gets against a quote: the far side, and its own impact on top."""
        side = 1.0 if qty > 0 else -1.0
        return (ask_px if qty > 0 else bid_px) * (1.0 + side * self.impact_share(qty))

    def price_without_quotes(self, qty: float, px: float) -> float:
        """The same around one price, with half of ``spread_bp`` in place of a quote."""
        half = 0.5e-4 * self.spread_bp * px
        return self.price(qty, px - half, px + half)
