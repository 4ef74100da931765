"""What the columns of a table mean: canonical names, the usual other names, and which reader they need. Floor 2.

Canonical columns: ``ts`` (exchange time), ``ts_recv``, ``kind``, ``bid_px ask_px bid_qty ask_qty``, ``px qty side``,
``seq``, ``open high low close volume``, ``symbol``. Other names are taken only where one column alone can be meant.
"""

from __future__ import annotations

from dataclasses import dataclass

from alpha.errors import DataError

CANONICAL = (
    "ts", "ts_recv", "kind", "bid_px", "ask_px", "bid_qty", "ask_qty", "px", "qty", "side", "seq",
    "open", "high", "low", "close", "volume", "symbol",
)  # fmt: skip
_PRICES = frozenset({"bid_px", "ask_px", "px", "open", "high", "low", "close"})
# what other people call them, in any case of letters
ALIASES = {
    "ts": ("ts", "time", "timestamp", "datetime", "date_time", "date", "ts_event", "event_time"),
    "ts_recv": ("ts_recv", "recv_time", "receive_time", "local_timestamp", "local_time"),
    "kind": ("kind",),
    "bid_px": ("bid_px", "bid", "bid_price", "best_bid"),
    "ask_px": ("ask_px", "ask", "ask_price", "best_ask", "offer"),
    "bid_qty": ("bid_qty", "bid_size", "bid_sz", "bid_volume", "bid_amount", "bid_quantity"),
    "ask_qty": ("ask_qty", "ask_size", "ask_sz", "ask_volume", "ask_amount", "ask_quantity"),
    "px": ("px", "price", "trade_price", "last", "last_price"),
    "qty": ("qty", "size", "quantity", "amount", "last_size", "last_qty", "trade_size"),
    "side": ("side", "aggressor", "taker_side"),
    "seq": ("seq",),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "symbol": ("symbol", "ticker"),
}
# the tables of alpha's own samples: `id` is the venue's number there, and with ts_exch the plain ts is the receipt
_L1 = {
    "bid_px": "bid",
    "ask_px": "ask",
    "bid_qty": "bid_size",
    "ask_qty": "ask_size",
    "px": "last",
    "qty": "last_size",
    "seq": "id",
}


@dataclass(frozen=True)
class Layout:
    """``reader``: lobster, depth or table; ``columns``: canonical name -> the table's own, for a table."""

    reader: str
    columns: dict[str, str]

    def own(self, canonical: str) -> str:
        """What the table itself calls a column."""
        return self.columns.get(canonical, canonical)


def layout(columns: list[str], declared: dict[str, str]) -> Layout:
    """Which reader a table needs, by its columns; DataError lists what is not understood and how to say it."""
    have = set(columns)
    _check_declared(columns, declared)
    if not declared and {"bid_px_0", "ask_px_0", "event_type"} <= have:
        return Layout("lobster", {})
    if not declared and {"ts", "snapshot", "first_u", "last_u", "side", "px", "qty"} <= have:
        return Layout("depth", {})
    if not declared and {"ts", "kind", "bid", "ask"} <= have:
        return Layout("table", _l1(have))
    found = _resolve(columns, declared)
    names = set(found)
    quotes, trades, bars = {"bid_px", "ask_px"} <= names, "px" in names, {"open", "high", "low", "close"} <= names
    if names & {"ts", "ts_recv"} and (quotes or trades or bars):
        return Layout("table", found)
    used = set(found.values())
    strange = [name for name in columns if name not in used][:30]
    what = f"these columns are not understood: {', '.join(strange)}. " if strange else ""
    example = strange[0] if strange else "NAME"
    wanted = "ts" if not names & {"ts", "ts_recv"} else "bid_px"
    raise DataError(
        f"{what}Expected ts and bid_px, ask_px (quotes), or px (trades), or open, high, low, close (bars); "
        f"found {', '.join(found) or 'none of them'}. Say which is which with --column NAME=YOURS, e.g. "
        f"--column {wanted}={example} (Python: columns={{{wanted!r}: {example!r}}})"
    )


def _check_declared(columns: list[str], declared: dict[str, str]) -> None:
    for name, own in declared.items():
        if name not in CANONICAL:
            raise DataError(
                f"--column (Python: columns=) maps unknown name {name!r}; names are: {', '.join(CANONICAL)}"
            )
        if own not in columns:
            raise DataError(f"column {own!r} is not in the data; it has: {', '.join(columns)}")


def _l1(have: set[str]) -> dict[str, str]:
    found = {name: name for name in CANONICAL if name in have}
    found |= {new: own for new, own in _L1.items() if own in have}
    return found | ({"ts_recv": "ts", "ts": "ts_exch"} if "ts_exch" in have else {})


def _resolve(columns: list[str], declared: dict[str, str]) -> dict[str, str]:
    """Canonical name -> column: what was declared, then exact names, then other names of what is still missing."""
    found = dict(declared)
    free = [name for name in columns if name not in declared.values() and name not in declared]
    found |= {name: name for name in free if name in CANONICAL}
    free = [name for name in free if name not in CANONICAL]
    guesses: dict[str, list[str]] = {}
    for own in free:
        plain = own.strip().lower().replace(" ", "_")
        for canonical, others in ALIASES.items():
            if plain in others and canonical not in found:
                guesses.setdefault(canonical, []).append(own)
    bars = {"open", "high", "low", "close"} <= {*found, *guesses}
    if bars and "px" not in found:  # a price beside a bar is a figure about it, not a trade
        for name in ("px", "qty", "side"):
            guesses.pop(name, None)
    quotes = {"bid_px", "ask_px"} <= {*found, *guesses}
    if quotes and "px" not in found:  # the last price beside a quote is a snapshot of the day, not a trade
        guesses["px"] = [own for own in guesses.get("px", []) if "last" not in own.lower()]
        if not guesses["px"]:
            for name in ("px", "qty", "side"):
                guesses.pop(name, None)
    if not _PRICES & {*found, *guesses}:
        return found
    for canonical, owns in guesses.items():
        if len(owns) > 1:
            raise DataError(
                f"columns {' and '.join(owns)} could each be {canonical}: say which with "
                f"--column {canonical}={owns[0]} (Python: columns={{{canonical!r}: {owns[0]!r}}})"
            )
        found[canonical] = owns[0]
    if "volume" in found and not bars and not quotes and "px" in found and "qty" not in found:
        found["qty"] = found.pop("volume")  # of a trade: its size
    return found
