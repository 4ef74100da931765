"""From depth differences to levels: one order book with its feed's sequence rules. Floor 2."""

from __future__ import annotations

from bisect import bisect_left, insort

Level = tuple[float, float]
MAX_EARLY = 100_000  # updates kept while waiting for a snapshot


class BookBuilder:
    """Keeps both sides of one book, best first.

    Sequence rules follow Binance's documentation of its depth streams: an update whose last id is not
    above the snapshot's is old; spot updates continue where the one before ended (``first == last + 1``),
    futures updates name their predecessor (``previous``). A hole sets ``gap`` until :meth:`take_gap`.
    ``consecutive=False`` skips the check for feeds whose ids have holes by design.
    """

    def __init__(self, *, require_snapshot: bool = True, consecutive: bool = True) -> None:
        self._bids: list[float] = []  # negated, so that both sides sort best first
        self._asks: list[float] = []
        self._qty: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.last_id = 0
        self._fresh = False  # nothing was applied to the snapshot yet
        self.ready = not require_snapshot
        self.gap = not require_snapshot
        self.consecutive = consecutive
        self.duplicates = 0
        self._early: list[tuple[int, int, list[Level], list[Level], int | None]] = []

    @property
    def before_snapshot(self) -> int:
        """Updates that still wait for a snapshot."""
        return len(self._early)

    def snapshot(self, last_id: int, bids: list[Level], asks: list[Level]) -> None:
        """Replace the whole book, then apply the updates that came early and are newer than the snapshot."""
        self.gap = self.gap or self.ready  # a second snapshot means that something was lost
        self._bids, self._asks = [], []
        self._qty = ({}, {})
        self._set(0, bids)
        self._set(1, asks)
        self.last_id, self.ready = last_id, True
        self._fresh = True
        early, self._early = self._early, []
        for update in early:
            if update[1] > last_id:
                self.update(*update)

    def update(self, first: int, last: int, bids: list[Level], asks: list[Level], previous: int | None = None) -> bool:
        """Apply one update; False if it was a duplicate or came before the snapshot."""
        if not self.ready:
            if len(self._early) < MAX_EARLY:
                self._early.append((first, last, bids, asks, previous))
            return False
        if last <= self.last_id:
            self.duplicates += 1
            return False
        if self.last_id:
            if previous is not None:
                joined = previous == self.last_id or self._fresh
            else:
                joined = first <= self.last_id + 1 or not self.consecutive
            self.gap = self.gap or not joined
        self._set(0, bids)
        self._set(1, asks)
        self.last_id, self._fresh = last, False
        return True

    def take_gap(self) -> bool:
        """Whether events were lost since the last call."""
        gap, self.gap = self.gap, False
        return gap

    def _set(self, side: int, levels: list[Level]) -> None:
        keys = self._asks if side else self._bids
        qty = self._qty[side]
        for px, size in levels:
            key = px if side else -px
            if size > 0:
                if key not in qty:
                    insort(keys, key)
                qty[key] = size
            elif key in qty:
                del qty[key]
                del keys[bisect_left(keys, key)]

    def top(self, levels: int) -> list[tuple[float, float, float, float]]:
        """(bid_px, ask_px, bid_qty, ask_qty) of the best ``levels``; a missing side is (0, 0)."""
        out = []
        for i in range(min(levels, max(len(self._bids), len(self._asks)))):
            bid = (-self._bids[i], self._qty[0][self._bids[i]]) if i < len(self._bids) else (0.0, 0.0)
            ask = (self._asks[i], self._qty[1][self._asks[i]]) if i < len(self._asks) else (0.0, 0.0)
            out.append((bid[0], ask[0], bid[1], ask[1]))
        return out


class LevelWriter:
    """Turns successive tops of a book into DEPTH rows for what changed, deepest first, and a QUOTE."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self._before: list[tuple[float, float, float, float]] = []

    def changes(
        self, top: list[tuple[float, float, float, float]]
    ) -> list[tuple[int, tuple[float, float, float, float]]]:
        """(level, values) of every level that differs from the last call, best level last."""
        empty = (0.0, 0.0, 0.0, 0.0)
        before, self._before = self._before, top
        out = []
        for i in range(max(len(top), len(before)) - 1, -1, -1):
            now = top[i] if i < len(top) else empty
            if now != (before[i] if i < len(before) else empty):
                out.append((i, now))
        return out
