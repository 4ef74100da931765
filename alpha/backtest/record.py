"""The trading side of an audit log: ORDER, FILL, SNAPSHOT and METRIC frames, and their recount. Floor 7.

They stand behind the events and decisions of their chunk and name the event they belong to. Their payload is JSON, padded
with blanks. :func:`recount` books the logged fills anew and compares every snapshot: the log proves its own equity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alpha.audit.frames import Frame
from alpha.audit.read import open_all
from alpha.audit.write import AuditLog
from alpha.backtest.account import Account
from alpha.documents import read_json
from alpha.errors import AlphaError, DataError


class Record:
    """Writes frames of the trading side; ``log=None``: writes nothing."""

    def __init__(self, log: AuditLog | None) -> None:
        self._log = log
        self.on = log is not None

    def put(self, kind: Frame, told: dict[str, Any]) -> None:
        """One frame; AlphaError if the log could not take it."""
        if self._log is None:
            return
        text = json.dumps(told, separators=(",", ":"), allow_nan=False).encode()
        if not self._log.log.append(int(kind), text + b" " * (-len(text) % 8)):
            raise AlphaError(f"audit log {self._log.folder} could not take a {kind.name} frame")


def frames(folder: str | Path, *kinds: Frame) -> Iterator[tuple[Frame, dict[str, Any]]]:
    """(type, content) of the trading frames of a log in order."""
    for file in open_all(folder):
        for i, kind in enumerate(file.headers["type"].tolist()):
            if kind in kinds:
                told = read_json(file.payload(i), f"{file.path}: {Frame(kind).name}", DataError)
                if not isinstance(told, dict):
                    raise DataError(f"{file.path}: {Frame(kind).name} frame {i} is no JSON object")
                yield Frame(kind), told


def recount(folder: str | Path) -> dict[str, Any]:
    """Book the logged fills into a fresh account: ``fills``, ``snapshots``, ``worst`` (largest difference between a
    snapshot's equity and the recounted one, relative to it), ``equity`` at the last snapshot. A log may hold several runs."""
    account: Account | None = None
    ids: dict[str, int] = {}
    out: dict[str, Any] = {"fills": 0, "snapshots": 0, "worst": 0.0, "equity": None}
    try:
        for kind, told in frames(folder, Frame.SNAPSHOT, Frame.FILL):
            if account is None or (kind == Frame.SNAPSHOT and told.get("event_index") == -1):  # a run begins
                ids = {}
                account = Account(float(told["cash"]))
                for symbol, multiplier in told["multipliers"].items():
                    ids[symbol] = len(ids)
                    account.declare(ids[symbol], float(multiplier))
            if kind == Frame.FILL:
                account.fill(ids[told["symbol"]], float(told["qty"]), float(told["px"]), float(told["fee"]))
                out["fills"] += 1
                continue
            for symbol, px in told["marks"].items():
                account.mark(ids[symbol], float(px))
            equity = float(told["equity"])
            out["snapshots"] += 1
            out["worst"] = max(out["worst"], abs(account.equity - equity) / max(abs(equity), 1e-300))
            out["equity"] = equity
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"{folder}: a frame of the trading side lacks what it should hold: {exc!r}") from None
    return out
