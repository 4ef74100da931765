"""Events to a snapshot: guarded rows of float32 features with everything needed to prove where they came from."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data import open_events
from alpha.data.simulate import simulate, simulate_blocks
from alpha.errors import DataError
from alpha.events import Reason, stream_time
from alpha.features import batch, needs, parity
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha_training import store
from alpha_training.recipe import Data, Recipe, time_ns


@dataclass(frozen=True)
class Source:
    """The events of a recipe. ``planted``: the simulator's signal per event, None for real data; ``cut``: the keys that
    kept fewer events than there are."""

    events: npt.NDArray[Any]
    instruments: Instruments
    sha256: str
    simulated: bool
    planted: npt.NDArray[np.float64] | None
    description: str
    cut: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Rows that are ready and finite, in order: ``x`` float32 [N, F], ``ts_ns`` int64 [N], ``instrument_id`` [N],
    ``row_index`` int64 [N] into the events; ``certificate``: parity of the twins over these very events."""

    x: npt.NDArray[np.float32]
    ts_ns: npt.NDArray[np.int64]
    instrument_id: npt.NDArray[np.uint32]
    row_index: npt.NDArray[np.int64]
    all_rows: int
    certificate: dict[str, Any]


def check_simulate(data: Data, seed: int) -> None:
    """DataError for arguments that the simulator does not have, or of another kind than it takes."""
    given = {"seed": seed, **(data.simulate or {})}
    known = inspect.signature(simulate).parameters
    for name, value in given.items():
        if name not in known:
            raise DataError(f"data.simulate has no argument {name!r}; it has: {', '.join(known)}")
        default = known[name].default
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise DataError(f"data.simulate.{name} must be a value such as {default!r}, not {value!r}")
    if given["seed"] < 0:
        raise DataError(f"data.simulate.seed must not be negative, it is {given['seed']}")
    if given.get("n_events", 1) < 1:
        raise DataError(f"data.simulate.n_events must be at least 1, it is {given['n_events']}")
    next(simulate_blocks(**{name: value for name, value in given.items() if name != "n_events"}))  # the values' ranges


def expanded(name: str) -> str:
    """A file name with its environment variables filled in, e.g. ${ALPHA_DATA}/bars/x.parquet."""
    full = os.path.expandvars(name)
    if "$" in full:
        raise DataError(f"data.files: {name} names an environment variable that is not set")
    return full


def read(recipe: Recipe, folder: Path) -> Source:
    """The events a recipe names; file names are relative to the recipe's folder."""
    return read_data(recipe.data, recipe.seed, folder)


def read_data(data: Data, seed: int, folder: Path) -> Source:
    """The same of a recipe's section ``data``; ``seed``: the recipe's, for the simulator."""
    if data.simulate is not None:
        check_simulate(data, seed)
        stream = simulate(**{"seed": seed, **data.simulate})
        keep = chosen(stream.events, data)
        events = stream.events[keep]
        if not len(events):
            raise DataError(f"{_cut(data)} leave no event of data.simulate")
        digest = hashlib.sha256(events.tobytes()).hexdigest()
        return Source(events, stream.instruments, digest, True, stream.signal[keep], stream.describe(), _cut(data))
    paths = [folder / expanded(f) for f in data.files]
    source = open_events(paths, instrument=data.instrument, bar_stamp=data.bar_stamp, levels=data.levels)
    events = source.read_all()
    if source.empty:
        raise DataError(source.why_empty())
    events = events[chosen(events, data)]
    if not len(events):
        raise DataError(f"data.start and data.end leave no event of {', '.join(data.files)}")
    return Source(events, source.instruments, source.data_sha256(), False, None, source.describe(), _cut(data))


def _cut(data: Data) -> str:
    """``data.max_events = 3, data.end = '2022-01-03'``."""
    keys = {name: getattr(data, name) for name in ("max_events", "start", "end")}
    return ", ".join(f"data.{name} = {value!r}" for name, value in keys.items() if value is not None)


def why_none(fs: FeatureSet, source: Source) -> str:
    """Which key led to no row, and which features never became ready, or never finite, on these events."""
    verdict = parity.guard(fs, source.events, source.instruments)
    detail = batch.compute_detail(fs, source.events, source.instruments, verdict == 0)
    has = needs.counted(fs, source.events[verdict == 0])
    said = []
    if verdict.any():
        reasons = Counter(Reason(k).name for k in verdict[verdict != 0].tolist())
        names = ", ".join(f"{name} {n:,}" for name, n in reasons.most_common())
        said.append(f"the guard rejected {sum(reasons.values()):,} of {len(verdict):,} events ({names})")
    if not len(detail.ts_ns):
        said.append(needs.no_row(fs, has, len(verdict)))
    said += filter(None, [needs.sentence(fs, has)])
    rows = f"at any of the {len(detail.ts_ns):,} rows"
    lacks = needs.lacking(fs, has)
    ever: list[bool] = list(map(bool, np.atleast_1d(detail.ready.any(axis=0))))
    usable = detail.ready & np.isfinite(detail.rows.values)
    finite: list[bool] = list(map(bool, np.atleast_1d(usable.any(axis=0))))
    late = [n for n, r in zip(fs.names, ever, strict=True) if not r and n not in lacks]
    odd = [n for n, r, f in zip(fs.names, ever, finite, strict=True) if r and not f]
    if len(detail.ts_ns):
        said += [f"{', '.join(late)}: not ready {rows}, for which the data is too short"] if late else []
        said += [f"{', '.join(odd)}: no finite number {rows}"] if odd else []
    told = "; ".join(said) or "no row has all features ready and finite at once"
    key = "data.simulate" if source.simulated else "data.files"
    return f"{source.cut or key}, features: no row of the data is warm and finite: {told}"


def chosen(events: npt.NDArray[Any], data: Data) -> slice | npt.NDArray[np.bool_]:
    """Which events data.start, data.end and data.max_events keep; in stream time of the default clock."""
    if data.start is None and data.end is None:
        return slice(0, data.max_events)
    ts = stream_time(events, "recv")
    keep = np.ones(len(events), np.bool_)
    if data.start is not None:
        keep &= ts >= time_ns(data.start, "data.start")
    if data.end is not None:
        keep &= ts < time_ns(data.end, "data.end")
    if data.max_events is not None:
        keep &= np.cumsum(keep) <= data.max_events
    return keep


def make(fs: FeatureSet, source: Source) -> Snapshot:
    """Both twins over the events; the batch twin's rows, the certificate of their agreement."""
    certificate = parity.check(fs, source.events, source.instruments)
    accepted = parity.guard(fs, source.events, source.instruments) == 0
    detail = batch.compute_detail(fs, source.events, source.instruments, accepted)
    good = detail.rows.ready & np.isfinite(detail.rows.values).all(axis=1)
    if not good.any():
        raise DataError(why_none(fs, source))
    return Snapshot(
        detail.rows.values[good],
        detail.ts_ns[good],
        detail.instrument_id[good],
        detail.rows.row_index[good],
        len(good),
        certificate,
    )


def make_and_write(
    fs: FeatureSet,
    source: Source,
    commit: str,
    folder: Path,
    twin: str,
    say: Callable[[str], None],
    workers: store.Workers | None = None,
) -> tuple[Snapshot, str]:
    """The rows through the store in ``folder``, and the digest of its partitions. Without both twins there is no
    certificate, and the snapshot says so."""
    lineage = store.Lineage(source.sha256, source.simulated, commit)
    manifest = store.build(
        fs, lambda: [source.events], source.instruments, lineage, folder, twin=twin, say=say, workers=workers
    )
    if not manifest["rows"]:
        raise DataError(why_none(fs, source))
    rows = store.load(folder, fs, source.instruments)
    none = {"share": 0.0, "pass": False, "worst": f"made by the {twin} twin alone: the twins were not compared"}
    return Snapshot(**rows, all_rows=manifest["all_rows"], certificate=manifest.get("certificate", none)), store.digest(
        manifest
    )
