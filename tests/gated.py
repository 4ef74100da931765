"""A runtime around a model that a test makes up, with the limits it is to have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models
from registries import COMMIT, GOOD, WHEN

import alpha
from alpha.events import EVENT_DTYPE, Kind, Reason
from alpha.features.feature_set import FeatureSet
from alpha.models import metadata
from alpha.registry import Entry, FeatureDefinition


def artifact(
    root: Path, number: int, definition: dict[str, Any], *, scores: bytes | None = None, model: str = "m", **more: Any
) -> Entry:
    """A folder with a model that answers with the roots of its first three normalised features."""
    fs = FeatureSet.from_dict({"name": "t", **definition})
    n = len(fs.names)
    data = scores or onnx_models.square_roots(n, 3)
    fields: dict[str, Any] = {
        "mean": [0.0] * n,
        "std": [1.0] * n,
        "clip": (-1e9, 1e9),
        "outputs": [metadata.Output(name="y", kind="logits")],
        **more,
    }
    meta = metadata.Metadata(
        model_id=model,
        version=number,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        input=[1, n],
        output_schema=["down", "flat", "up"],
        actions=["SELL", "HOLD", "BUY"],
        sha256={"model.onnx": hashlib.sha256(data).hexdigest()},
        **fields,
    )
    folder = root / "artifacts" / model / f"v{number}"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    (folder / "metadata.json").write_bytes(metadata.encode(meta))
    return Entry(
        id=model,
        version=number,
        status="candidate",
        path=f"artifacts/{model}/v{number}/model.onnx",
        sha256=meta.sha256["model.onnx"],
        input_features=meta.feature_names,
        output_schema=meta.output_schema,
        created_at=WHEN,
        feature_definition=FeatureDefinition(commit=COMMIT, hash=meta.definition_hash),
        metadata_sha256=hashlib.sha256((folder / "metadata.json").read_bytes()).hexdigest(),
        checks=[GOOD],
    )


RAW = [metadata.Output(name="y", kind="probabilities")]
MIDS = {"features": {"a": "mid", "b": "mid * 2.0", "c": "mid * 3.0"}}


def served(root: Path, definition: dict[str, Any], **more: Any) -> alpha.Runtime:
    """Straight from the folder, for one instrument unless more are named."""
    instruments = more.pop("instruments", ["X"])
    options = {k: more.pop(k) for k in ("audit", "engine") if k in more}
    artifact(root, 1, definition, **more)
    return alpha.Runtime.from_artifact(root / "artifacts/m/v1", instruments=instruments, **options)


def reasons(signals: Any) -> list[str]:
    return [Reason(int(r)).name for r in signals["reason"]]


def quotes(times: list[int], *, px: float = 100.0) -> Any:
    events = np.zeros(len(times), EVENT_DTYPE)
    events["ts_event_ns"], events["kind"], events["flags"] = times, Kind.QUOTE, 1
    events["v"][:, :4] = px - 0.01, px + 0.01, 5.0, 5.0
    return events
