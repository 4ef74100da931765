"""What a runtime writes at the beginning of each file of its audit log, and how a log is made a runtime again. Floor 6."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alpha._core
from alpha._core import ort
from alpha._core.program import isa
from alpha.bundle import Bundle
from alpha.desk import Desk
from alpha.documents import read_json
from alpha.errors import DataError, ModelError
from alpha.features.feature_set import FeatureSet
from alpha.group import Group
from alpha.instruments import Instrument, Instruments
from alpha.models.load import LoadedModel, read_file
from alpha.models.metadata import decode
from alpha.models.verify import verify_model
from alpha.sessions import tables_for

if TYPE_CHECKING:
    from alpha.audit.write import AuditLog

IDENTITY = ("build", "isa", "layout", "ort")
"""What must be equal for a replay to be byte for byte the same."""


@functools.cache
def build_hash() -> str:
    """sha256 over the native modules that decide, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(alpha._core.__path__[0]).glob("*.so")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def identity(bundle: Bundle | None = None) -> dict[str, str]:
    """What this process is, as far as the bytes of a decision may depend on it; ``layout`` only with a bundle."""
    out = {"build": build_hash(), "isa": isa(), "ort": ort.version() or ""}
    return out if bundle is None else {**out, "layout": bundle.program.layout}


def header(bundle: Bundle, instruments: Instruments) -> dict[str, Any]:
    """The HEADER frame: what ran, and on which instruments."""
    return {
        "alpha": importlib.metadata.version("alpha-runtime"),
        **identity(bundle),
        "instruments": [
            {
                "symbol": i.symbol,
                "lot": repr(math.nan if i.lot_size is None else i.lot_size),
                "tick": repr(math.nan if i.tick_size is None else i.tick_size),
                "calendar": i.calendar,
                "clock_offset_ns": i.clock_offset_ns,
                "sessions": i.sessions,
            }
            for i in instruments
        ],
        "sessions": sessions_of(bundle, instruments),
    }


def sessions_of(bundle: Bundle, instruments: Instruments) -> list[str]:
    """sha256 of each instrument's session table that features look at, then of each that the gate does; empty where
    neither does."""
    fs = bundle.feature_set
    gate = bundle.gate_sessions(instruments) or []
    features = tables_for(fs.stream.calendar, instruments) if fs.needs_sessions else []
    return [*(t.sha256 for t in features), *("" if t is None else t.sha256 for t in gate)]


def describe(bundle: Bundle) -> dict[str, Any]:
    """The BUNDLE frame: which model, by its hashes, with what it was told beside its files. Of several models ``seats``
    says the same of each, in the order of model_slot, and ``desk`` how they were declared."""
    meta = bundle.metadata
    told = {
        "name": bundle.name,
        "governed": bundle.governed,
        "revision": bundle.revision,
        "valid_until_ns": bundle.valid_until_ns,
        "why": bundle.why,
        "inactive": bundle.inactive,
        "engine": bundle.engine.name,
        "precision": bundle.precision,
        "model_sha256": bundle.model_sha256,
        "metadata_sha256": bundle.loaded.metadata_sha256 if bundle.loaded else "",
        "definition_hash": bundle.feature_set.definition_hash,
        "features": list(bundle.feature_set.names),
        "feature_set": None if meta else {"name": bundle.feature_set.name, **bundle.feature_set.definition()},
        "threshold": meta.decision.threshold if meta else None,
        "deferred": bundle.deferred,
    }
    return {**told, **_describe_group(bundle)} if isinstance(bundle, Group) else told


def _describe_group(group: Group) -> dict[str, Any]:
    desk, bundles, _ = group.seated
    seats = [{"seat": name, **describe(bundles[name]), "blind": not group.columns_of(name)} for name in desk.models]
    seats += [
        {
            "seat": name,
            "name": name,
            "model_sha256": "",
            "metadata_sha256": "",
            "ensemble_sha256": group.ensemble_sha256(name),
            "features": list(group.features_of(name)),
            "threshold": ensemble.threshold,
            "combine": ensemble.combine,
            "members": [[m, w] for m, w in ensemble.members.items()],
            "may_veto": ensemble.may_veto,
        }
        for name, ensemble in desk.ensembles.items()
    ]
    return {"desk": desk.plain(), "seats": seats}


def description(bundle: Bundle) -> tuple[bytes, bytes]:
    """(canonical JSON of :func:`describe`, its sha256)."""
    text = json.dumps(describe(bundle), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return text, hashlib.sha256(text).digest()


def keep_incoming(log: AuditLog, bundle: Bundle) -> None:
    """What a RELOAD frame names by its hash: the description, the model and its metadata."""
    text, digest = description(bundle)
    keep_model(log, bundle)
    log.keep(f"{digest.hex()}.bundle.json", text)


def incoming_of(folder: Path, sha256: bytes) -> Bundle:
    """The Bundle of a RELOAD frame; ModelError if what was kept is not what the frame names."""
    name = f"{sha256.hex()}.bundle.json"
    raw = read_file(folder / "models", name, 16 * 1024 * 1024)
    if hashlib.sha256(raw).digest() != sha256:
        raise ModelError(f"{folder / 'models' / name} is not what its name says")
    told: dict[str, Any] = read_json(raw, name, ModelError)
    return bundle_of(folder, told)


def keep_model(log: AuditLog, bundle: Bundle) -> None:
    """Model and metadata beside the log, named by their hashes, so that it can be replayed by itself."""
    for one in bundle.seated[1].values() if isinstance(bundle, Group) else ():
        keep_model(log, one)
    if bundle.loaded is not None:
        log.keep(f"{bundle.loaded.sha256}.onnx", bundle.loaded.model_bytes)
        log.keep(f"{bundle.loaded.metadata_sha256}.json", bundle.loaded.metadata_bytes)


def instruments_of(head: dict[str, Any]) -> Instruments:
    """The table of a HEADER."""
    try:
        return Instruments.of(
            *(
                Instrument(
                    symbol=i["symbol"],
                    lot_size=None if i["lot"] == "nan" else float(i["lot"]),
                    tick_size=None if i["tick"] == "nan" else float(i["tick"]),
                    calendar=i["calendar"],
                    clock_offset_ns=int(i["clock_offset_ns"]),
                    sessions=i.get("sessions", "any"),
                )
                for i in head["instruments"]
            )
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(f"the HEADER of this log names no instruments: {exc!r}") from None


def bundle_of(folder: Path, told: dict[str, Any]) -> Bundle:
    """The Bundle of a BUNDLE frame, from the model that the log kept; ModelError if it is not the one that decided."""
    if "desk" in told:
        desk = Desk.from_plain(told["desk"], "the desk of this log")
        group = Group.of(desk, {name: bundle_of(folder, told["seats"][desk.slot(name)]) for name in desk.models})
        if group.model_sha256 != told["model_sha256"] or group.feature_set.definition_hash != told["definition_hash"]:
            raise ModelError("the models of this log are put together in another way by this build")
        return group
    if told.get("blind"):
        return Bundle.without_anything(told["why"])
    if not told["model_sha256"]:
        fs = FeatureSet.from_dict(told["feature_set"])
        if fs.definition_hash != told["definition_hash"]:
            raise ModelError("the feature definition of this log means something else in this build")
        return Bundle.from_features(fs, told["why"])
    models = folder / "models"
    raw = read_file(models, f"{told['metadata_sha256']}.json", 16 * 1024 * 1024)
    model = read_file(models, f"{told['model_sha256']}.onnx", 512 * 1024 * 1024)
    for data, name in ((raw, told["metadata_sha256"]), (model, told["model_sha256"])):
        if hashlib.sha256(data).hexdigest() != name:
            raise ModelError(f"{models}: a file there is not what its name says: {name[:12]}…")
    meta = decode(raw, f"{told['metadata_sha256'][:12]}….json")
    fs = meta.present_feature_set()
    changed = told["why"] if fs.definition_hash != told["definition_hash"] or not _served(told) else ""
    graph = verify_model(model, len(meta.feature_names))
    loaded = LoadedModel(models, meta, fs, model, told["model_sha256"], told["metadata_sha256"], graph, changed, raw)
    return Bundle.from_model(
        loaded,
        # the engine that decided, not the one that would be chosen now
        engine=told["engine"] if told["engine"] != "none" else "auto",
        precision=told["precision"],
        # the log keeps no probes, and without them another share of a rounded plan's decisions differs
        judged=told["engine"] != "plan" or told["precision"] == "float32",
        name=told["name"],
        governed=told["governed"],
        revision=told["revision"],
        valid_until_ns=told["valid_until_ns"],
        deferred=told.get("deferred", False),
        inactive=told.get("inactive", ""),
    )


def _served(told: dict[str, Any]) -> bool:
    """Whether the model decided, or was silent because its definition had changed."""
    return "alpha registry revalidate" not in told["why"]
