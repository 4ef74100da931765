"""What a Runtime is doing now, as one document of plain values: what the page, the metrics and ``alpha top`` show. Floor 7.

Nothing here changes anything, and nothing runs between two looks. The GIL is offered between the pieces of a look, so that an
inline loop waits for one piece and not for all of them.
"""

from __future__ import annotations

import math
import platform
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alpha.bundle import Bundle
from alpha.errors import AlphaError
from alpha.events import Reason
from alpha.group import Group
from alpha.latency import bin_upper_ns
from alpha.models.metadata import normalised
from alpha.reasons import REASONS
from alpha.registry import load
from alpha.runtime import Runtime
from alpha.watch.history import History

SCHEMA = "alpha/watch/1"
WAIT_S = 0.02  # for a row, of one look together
LATENCY_NS = tuple((1 << k) - 1 for k in range(6, 31))
"""Upper edges of the buckets, 63 ns to 1.07 s: edges of the native bins, so that nothing is estimated."""


PIECE_S = 1e-4


def offer_gil() -> None:
    """Who waits for the interpreter gets it now."""
    time.sleep(0)


class Turns:
    """Called where a piece of work ends: offers the GIL, but not after less than ``PIECE_S`` of work, because getting it back
    from a busy loop takes Python's 5 ms."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._since >= PIECE_S:
            offer_gil()
            self._since = time.perf_counter()


class Looker:
    """``keep``: last Signals of each instrument; ``instruments``: how many are shown, the first of the table; ``registry``:
    the file that the models came from, to tell what it says of them now. One look at a time, from any thread."""

    def __init__(
        self, rt: Runtime, *, keep: int = 20, instruments: int = 64, registry: str | Path | None = None
    ) -> None:
        if not 1 <= keep <= 1000:
            raise AlphaError(f"the last 1 to 1000 signals of an instrument can be kept, not {keep}")
        if not 1 <= instruments <= 4096:
            raise AlphaError(f"from 1 to 4096 instruments can be watched, not {instruments}")
        self._rt, self._lock = rt, threading.Lock()
        self.history = History(keep)
        self._symbols = rt.instruments.symbols[:instruments]
        self._registry = _Registry(registry)
        self._began, self._moved, self._events = time.time(), time.monotonic(), -1
        self._looks = 0
        self.note = ""
        """What the owner has to say, e.g. that the data ended."""

    def look(self, instrument: str | None = None) -> dict[str, Any]:
        """The document; ``instrument``: whose features, by default the first one's. AlphaError for an unknown one."""
        chosen = self._symbols[0] if instrument is None else instrument
        if chosen not in self._symbols:
            raise AlphaError(f"instrument {chosen!r} is not watched; these are: {', '.join(self._symbols[:20])}")
        with self._lock:
            return self._look(chosen, Turns())

    def _look(self, chosen: str, pause: Turns) -> dict[str, Any]:
        rt, begin = self._rt, time.monotonic()
        stats, bundle = rt.stats(tend=False), rt.bundle
        if stats["events"] != self._events:
            self._events, self._moved = stats["events"], begin
        pause()
        self.history.take_in()
        pause()
        models = self._models(bundle, stats)
        pause()
        instruments, rows = [], {}
        left = WAIT_S
        for symbol in self._symbols:
            asked = time.monotonic()
            row = rt.look(symbol, max(left, 0.0))
            left -= time.monotonic() - asked
            rows[symbol] = row
            instruments.append(self._instrument(symbol, row, models))
            pause()
        features, why = self._features(bundle, chosen, rows[chosen])
        pause()
        counts, largest = rt.latency_counts()
        self._looks += 1
        return {
            "schema": SCHEMA,
            "looks": self._looks,
            "taken_s": time.time(),
            "up_s": time.time() - self._began,
            "quiet_s": begin - self._moved,
            "took_s": time.monotonic() - begin,
            "note": self.note,
            "build": {"version": _version(), "isa": stats["isa"], "python": platform.python_version()},
            "name": stats["model"],
            "governed": stats["governed"],
            "why": stats["why"],
            "mode": _mode(stats),
            "counters": {
                key: stats[key]
                for key in ("events", "rows", "decisions", "rejected", "actions", "rejected_by", "unlike", "lost")
            }
            | {"window_growths": stats["window_growths"], "bad_rows": stats["bad_rows"]},
            "reasons": [_reason(name, count) for name, count in stats["reasons"].items()],
            "kill": {
                "killed": stats["killed"],
                "why": stats["kill_reason"],
                "latch": stats["latch"],
                "models": [m["seat"] for m in models if m["killed"]],
                "halted": [i["symbol"] for i in instruments if i["halted"]],
            },
            "models": models,
            "instruments": instruments,
            "instruments_not_shown": len(rt.instruments) - len(self._symbols),
            "chosen": chosen,
            "features": features,
            "features_why": why,
            "signals": self.history.of(rt.instruments.id(chosen)),
            "acted": self.history.of(rt.instruments.id(chosen), acted=True),
            "signals_complete": self.history.complete,
            "latency": _latency(counts, largest, stats["latency_ns"]),
            "worker": stats["worker"],
            "reload": stats["reload"],
            "audit": None if stats["audit"] is None else _audit(stats["audit"]),
            "registry": self._registry.look(models),
        }

    def _models(self, bundle: Bundle, stats: Mapping[str, Any]) -> list[dict[str, Any]]:
        if not isinstance(bundle, Group):
            return [_model(bundle, bundle.name.rpartition("/")[0] or bundle.name, 0, "live", stats)]
        desk, bundles, _ = bundle.seated
        out = []
        for name in desk.names:
            told = stats["models"][name]
            out.append(_model(bundles.get(name), name, told["slot"], told["mode"], told))
        return out

    def _instrument(self, symbol: str, row: dict[str, Any] | None, models: list[dict[str, Any]]) -> dict[str, Any]:
        rt = self._rt
        out: dict[str, Any] = {
            "symbol": symbol,
            "latest": None,
            "models": {},
            "halted": False,
            "killed": False,
            "gap": False,
            "rows": None,
            "checks": {},
        }
        signal = rt.latest(symbol)
        if signal is not None:
            out["latest"] = self.history.saw(signal)
        if isinstance(rt.bundle, Group):
            for m in models:
                said = rt.latest_of(symbol, m["seat"])
                if said is not None:
                    out["models"][m["seat"]] = {
                        "action": said.action.name,
                        "reason": said.reason.name,
                        "confidence": said.confidence,
                        "shadow": said.shadow,
                    }
        if row is not None:
            out |= {key: row[key] for key in ("halted", "killed", "gap", "rows", "row_ts_ns")}
            if len(row["seen"]) == len(models):
                for m, seen in zip(models, row["seen"], strict=True):
                    out["checks"][m["seat"]] = _checks(m, seen)
        return out

    def _features(
        self, bundle: Bundle, symbol: str, row: dict[str, Any] | None
    ) -> tuple[dict[str, list[dict[str, Any]]], str]:
        """Per model each feature of the last row against its training range; a sentence where there are none."""
        if row is None:
            return {}, "whoever runs this runtime found no moment to show its last row; ask again"
        if row["features"] is None:
            return {}, f"there is no row of {symbol} yet"
        if self._rt.bundle is not bundle or len(row["features"]) != len(bundle.feature_set.names):
            return {}, "another version takes over at this moment; ask again"
        if not isinstance(bundle, Group):
            seat = bundle.name.rpartition("/")[0] or bundle.name
            return {seat: _ranges(bundle, row["features"], row["ready"])}, ""
        desk, bundles, columns = bundle.seated
        out = {}
        for name in desk.models:
            at = list(columns[name])
            if at:
                out[name] = _ranges(bundles[name], row["features"][at], row["ready"][at])
        return out, ""


class _Registry:
    """What a registry file says now; read again only when it has changed."""

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._book: Any = None
        self._why = ""

    def look(self, models: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Revision and, per model, the status of what serves; also written into ``models``."""
        if self._path is None:
            return None
        try:
            s = self._path.stat()
            seen = s.st_mtime_ns, s.st_ino, s.st_size
            if seen != self._seen:
                self._book, self._why, self._seen = load(self._path), "", seen
        except (AlphaError, OSError) as exc:
            self._book, self._why, self._seen = None, str(exc), None
        for m in models:
            m["status"], m["production"] = self._status(m)
        revision = None if self._book is None else self._book.document.revision
        return {"file": self._path.name, "revision": revision, "why": self._why}

    def _status(self, model: Mapping[str, Any]) -> tuple[str, str]:
        """(status of the version that serves, the version in production); empty where the registry does not know."""
        entries = [] if self._book is None else self._book.document.models
        status = production = ""
        for e in entries:
            if f"{e.id}/{e.number}" == model["name"] and e.sha256 == model["sha256"]:
                status = e.status
            if e.status == "production" and e.id == model["name"].rpartition("/")[0]:
                production = f"{e.id}/{e.number}"
        return status, production


def _version() -> str:
    from alpha import __version__

    return __version__


def _mode(stats: Mapping[str, Any]) -> str:
    if stats["closed"]:
        return "closed"
    return "worker" if stats["worker"] is not None and stats["worker"]["running"] else "inline"


def _reason(name: str, count: int) -> dict[str, Any]:
    told = REASONS[Reason[name]]
    return {"name": name, "count": count, "meaning": told.meaning, "remedy": told.remedy}


def _model(bundle: Bundle | None, seat: str, slot: int, mode: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """One model, or an ensemble (``bundle`` None); ``told``: what ``stats`` says of it."""
    out: dict[str, Any] = {
        "seat": seat,
        "slot": slot,
        "mode": mode,
        "name": told["model"],
        "killed": told["killed"],
        "threshold": told["threshold"],
        "breaker": told["breaker"],
        "decisions": told["decisions"],
        "emitted": told.get("emitted", told["decisions"]),
        "actions": told["actions"],
        "reasons": told["reasons"],
        "ensemble": told.get("ensemble", ""),
        "sha256": "",
        "definition": "",
        "governed": False,
        "why": "",
        "inactive": "",
        "engine": "ensemble",
        "engine_reason": "",
        "precision": "",
        "loaded": True,
        "valid_until_ns": None,
        "trained_on": [],
        "simulated": False,
        "psi_limit": None,
        "status": "",
        "production": "",
    }
    if bundle is None:
        return out
    meta = bundle.metadata
    if meta is not None:
        out |= {
            "trained_on": meta.trained_on.symbols[:20],
            "simulated": meta.trained_on.simulated,
            "psi_limit": None if meta.limits.psi.mode == "off" else meta.limits.psi.limit,
            "distance_limit": None if meta.limits.distance.mode == "off" else meta.limits.distance.limit,
            "range_margin": None if meta.limits.ranges.mode == "off" else meta.limits.ranges.margin,
            "features": meta.feature_names,
        }
    return out | {
        "sha256": bundle.model_sha256,
        "definition": bundle.feature_set.definition_hash,
        "governed": bundle.governed,
        "why": bundle.why,
        "inactive": bundle.inactive,
        "engine": bundle.engine.name,
        "engine_reason": bundle.engine.reason,
        "precision": bundle.weights["precision"],
        "loaded": bundle.model is not None,
        "valid_until_ns": bundle.valid_until_ns,
    }


def _checks(model: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate computed of the last row; None where the model's metadata do not ask for it."""
    out: dict[str, Any] = {"psi": None, "psi_feature": "", "distance": None, "outside": None}
    if model["psi_limit"] is not None and seen["psi"] is not None:
        out |= {"psi": seen["psi"], "psi_feature": model["features"][seen["psi_feature"]]}
    if model.get("distance_limit") is not None:
        out["distance"] = seen["distance"]
    if model.get("range_margin") is not None:
        out["outside"] = seen["outside"]
    return out


def _ranges(bundle: Bundle, raw: Any, ready: Any) -> list[dict[str, Any]]:
    meta = bundle.metadata
    names = bundle.feature_set.names
    z = None if meta is None else normalised(np.asarray(raw, np.float32), meta.mean, meta.std, meta.clip)
    out = []
    for j, name in enumerate(names):
        value = float(raw[j])
        item: dict[str, Any] = {"name": name, "raw": value, "ready": bool(ready[j]), "low": None, "high": None}
        item["normalised"] = None if z is None else float(z[j])
        item["outside"] = not math.isfinite(value)
        if meta is not None and meta.reference.min:
            low, high = meta.reference.min[j], meta.reference.max[j]
            item |= {"low": low, "high": high, "outside": not low <= value <= high}
        out.append(item)
    return out


def _latency(counts: Any, largest: int, percentiles: Mapping[str, Any]) -> dict[str, Any]:
    """Percentiles, and how many events took at most each of ``LATENCY_NS``; ``sum_ns`` from the middles of the bins."""
    if counts is None:
        return {"measured": False}
    upper = bin_upper_ns(len(counts))
    lower = np.concatenate([[0], upper[:-1] + 1])
    running = np.concatenate([[0], np.cumsum(counts)])
    buckets = running[np.searchsorted(upper, LATENCY_NS, side="right")]
    return {
        "measured": True,
        **percentiles,
        "count": int(running[-1]),
        "sum_ns": float((counts * ((lower + upper) / 2)).sum()),
        "buckets": [int(b) for b in buckets],
    }


def _audit(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "healthy": not (told["failed"] or told["blocked"] or told["dropped"]),
        **{key: told[key] for key in ("file", "policy", "acknowledged", "synced", "dropped", "blocked", "failed")},
    }
