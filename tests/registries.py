"""A registry for tests: artifacts of a model whose bytes only stand for one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx_models

from alpha.features import catalog
from alpha.models import metadata
from alpha.registry import Check, Entry, FeatureDefinition, load

MODEL = onnx_models.softmax()
GOOD = Check(name="auc", value=0.6, limit=0.5, passed=True)
BAD = Check(name="flips", value=3.0, limit=0.0, passed=False)
COMMIT = "c" * 40
WHEN = "2026-01-11T12:00:00Z"


def publish(
    root: Path, number: int, *, model: str = "momentum", checks: list[Check] | None = None, commit: str = COMMIT
) -> Entry:
    """An artifact on disk and its entry, not yet registered."""
    folder = root / "artifacts" / model / f"v{number}"
    folder.mkdir(parents=True)
    fs = catalog.get("spec")
    files = {"model.onnx": MODEL, "card.md": b"# a card"}
    meta = metadata.Metadata(
        model_id=model,
        version=number,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        mean=[0.0, 0.0],
        std=[1.0, 1.0],
        input=[1, 2],
        outputs=[metadata.Output(name="p", kind="probabilities")],
        output_schema=["down", "flat", "up"],
        actions=["SELL", "HOLD", "BUY"],
        sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
    files["metadata.json"] = metadata.encode(meta)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return Entry(
        id=model,
        version=number,
        status="candidate",
        path=f"artifacts/{model}/v{number}/model.onnx",
        sha256=meta.sha256["model.onnx"],
        input_features=meta.feature_names,
        output_schema=meta.output_schema,
        created_at=WHEN,
        feature_definition=FeatureDefinition(commit=commit, hash=meta.definition_hash),
        metadata_sha256=hashlib.sha256(files["metadata.json"]).hexdigest(),
        checks=[GOOD] if checks is None else checks,
    )


def statuses(path: Path) -> dict[int, str]:
    return {e.number: e.status for e in load(path).document.models}
