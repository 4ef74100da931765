"""From depth differences to levels: one order book with its feed's sequence rules. Floor 2."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

Level = tuple[float, float]
MAX_EARLY = 100_000  # updates kept while waiting for a snapshot


class BookBuilder:
    """Keeps both sides of one book, best first.

    Sequence rules follow Binance's documentation of its depth streams: an update whose last id is not
    above the snapshot's is old; spot updates continue where the one before ended (``first == last + 1``),
    futures updates name their predecessor (``previous``). A hole sets ``gap`` until the next
    snapshot, because levels may be wrong until then; a book that starts without a snapshot, or jumps to a new
    one, has a gap for one event.
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
        self.lost = False  # a hole since the last snapshot
        self.consecutive = consecutive
        self.duplicates = 0  # these three and before_snapshot count rows of the source
        self.merged = 0  # came before the snapshot and were applied to it
        self.outdated = 0  # came before a snapshot that already holds them
        self._early: deque[tuple[int, int, list[Level], list[Level], int | None, int]] = deque(maxlen=MAX_EARLY)
        self._overflown = 0

    @property
    def before_snapshot(self) -> int:
        """Updates that no snapshot has made use of: those that wait for one, and those that waited in vain."""
        return sum(update[5] for update in self._early) + self._overflown

    def snapshot(self, last_id: int, bids: list[Level], asks: list[Level]) -> bool:
        """Replace the whole book, then apply the updates that came early and are newer than the snapshot.

        False for a snapshot that is older than a sound book, which stays as it is.
        """
        if self.ready and not self.lost and last_id < self.last_id:
            return False
        self.gap = self.gap or self.lost  # what was seen last and what is true now may lie apart
        self.lost = False
        self._bids, self._asks = [], []
        self._qty = ({}, {})
        self._set(0, bids)
        self._set(1, asks)
        self.last_id, self.ready = last_id, True
        self._fresh = True
        early = list(self._early)
        self._early.clear()
        for update in early:
            if update[1] <= last_id:
                self.outdated += update[5]
            elif self.update(*update):
                self.merged += update[5]
        return True

    def update(
        self,
        first: int,
        last: int,
        bids: list[Level],
        asks: list[Level],
        previous: int | None = None,
        rows: int = 1,
    ) -> bool:
        """Apply one update, written in ``rows`` rows of the source; False if it was a duplicate or came before the
        snapshot."""
        if not self.ready:
            if len(self._early) == MAX_EARLY:
                self._overflown += self._early[0][5]
            self._early.append((first, last, bids, asks, previous, rows))
            return False
        if last <= self.last_id:
            self.duplicates += rows
            return False
        if self.last_id:
            if previous is not None:
                joined = previous == self.last_id or (self._fresh and first <= self.last_id + 1)
            else:
                joined = first <= self.last_id + 1 or not self.consecutive
            self.lost = self.lost or not joined
        self._set(0, bids)
        self._set(1, asks)
        self.last_id, self._fresh = last, False
        return True

    def take_gap(self) -> bool:
        """Whether the next event must say that something was lost before it."""
        gap, self.gap = self.gap or self.lost, False
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
