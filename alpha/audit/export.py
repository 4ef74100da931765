"""A log as Parquet, for whoever asks questions in SQL or pandas. Floor 5. Needs the extra ``data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.audit.frames import FRAME_BYTES, Frame
from alpha.audit.read import LogFile, open_all
from alpha.errors import DataError, need
from alpha.events import Action, Kind, Reason, SignalFlag


def export(folder: str | Path, out: str | Path) -> dict[str, int]:
    """Write ``events.parquet`` and ``decisions.parquet`` into ``out``; how many rows each has.

    Decisions carry their features as ``x_<name>``; a row without features (the guard refused the event) has nulls.
    """
    pa, pq = need("pyarrow", "data"), need("pyarrow.parquet", "data")
    target = Path(out)
    counts = {"events": 0, "decisions": 0}
    writers: dict[str, Any] = {}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in open_all(folder):
            symbols = [i["symbol"] for i in file.json(Frame.HEADER)["instruments"]]
            for name, table in (("events", _events(file, symbols)), ("decisions", _decisions(file, symbols))):
                counts[name] += len(next(iter(table.values())))
                made = pa.table(table)
                if name not in writers:
                    writers[name] = pq.ParquetWriter(target / f"{name}.parquet", made.schema, compression="zstd")
                if made.schema != writers[name].schema:
                    raise DataError(f"{file.path} holds another feature set than the files before: export them apart")
                writers[name].write_table(made)
    except OSError as exc:
        raise DataError(f"{out} cannot be written: {(exc.strerror or str(exc)).lower()}") from None
    finally:
        for writer in writers.values():
            writer.close()
    return counts


def _symbol(ids: npt.NDArray[Any], symbols: list[str]) -> list[str]:
    names = [*symbols, "*"]
    return [names[min(int(i), len(symbols))] for i in ids]


def _events(file: LogFile, symbols: list[str]) -> dict[str, Any]:
    frames = file.of_type(Frame.EVENT)
    e = file.events(frames)
    kinds = np.array([k.name for k in Kind])
    return {
        "seq": file.headers["seq"][frames],
        "ts_event_ns": e["ts_event_ns"].copy(),
        "ts_recv_ns": e["ts_recv_ns"].copy(),
        "instrument": _symbol(e["instrument_id"], symbols),
        "kind": [str(kinds[k]) if k < len(kinds) else str(k) for k in e["kind"].tolist()],
        "level": e["level"].copy(),
        "flags": e["flags"].copy(),
        **{f"v{i}": e["v"][:, i].copy() for i in range(5)},
    }


def _decisions(file: LogFile, symbols: list[str]) -> dict[str, Any]:
    frames = file.of_type(Frame.DECISION)
    d = file.decisions(frames)
    s = d["signal"]
    bundle = file.json(Frame.BUNDLE)
    seats = bundle.get("seats", [bundle])  # of several models each has its own columns
    rows: dict[str, Any] = {}
    for slot, seat in enumerate(seats):
        x = _rows(
            file, frames, d, (s["model_slot"] == slot) & (d["n_x"] == len(seat["features"])), len(seat["features"])
        )
        prefix = f"x_{seat['seat']}." if "seat" in seat else "x_"
        rows |= {f"{prefix}{name}": x[:, j].copy() for j, name in enumerate(seat["features"])}
    reasons = {int(r): r.name for r in Reason}
    return {
        "seq": file.headers["seq"][frames],
        "event_index": s["event_index"].copy(),
        "ts_event_ns": s["ts_event_ns"].copy(),
        "ts_recv_ns": s["ts_recv_ns"].copy(),
        "instrument": _symbol(s["instrument_id"], symbols),
        "model": [seats[k]["name"] for k in s["model_slot"].tolist()],
        "emitted": (s["flags"] & SignalFlag.SHADOW) == 0,
        "action": [Action(a).name for a in s["action"].tolist()],
        "reason": [reasons[r] for r in s["reason"].tolist()],
        "confidence": s["confidence"].copy(),
        "value": s["value"].copy(),
        "ref_px": s["ref_px"].copy(),
        "latency_ns": d["latency_ns"].copy(),
        **{f"score_{k}": s["scores"][:, k].copy() for k in range(8)},
        **rows,
    }


def _rows(file: LogFile, frames: Any, d: Any, which: Any, width: int) -> npt.NDArray[np.float32]:
    """Logged rows, float32 [frames, width]; NaN where ``which`` is not set."""
    x = np.full((len(frames), width), np.nan, np.float32)
    whole = np.flatnonzero(which)
    starts = file.offsets[frames[whole]] + FRAME_BYTES + d.dtype.itemsize
    for a in range(0, len(whole), 65_536):
        part = starts[a : a + 65_536, None] + np.arange(4 * width)
        x[whole[a : a + 65_536]] = file.data[part].view(np.float32)
    return x
