"""Turn a finished ONNX file into a verified artifact and a candidate in the registry.

The file is read by this project's own bounded reader before any engine sees it; its inputs and outputs are shown; what
an output holds has to be said with --kind. Beside the file, x.json, x.metadata.json or metadata.json is taken as its
metadata: this project's own, or the short form (model_id, version, feature_names, mean, std, actions).
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from alpha.cli import show
from alpha.errors import printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha import``."""
    parser.add_argument("model", metavar="ONNX", help="the model file")
    parser.add_argument(
        "--features", required=True, metavar="NAME|FILE", help="a catalogued set or a TOML file, in the model's order"
    )
    parser.add_argument(
        "--actions", metavar="A,B,…", help="what each score stands for, in the model's order: SELL,HOLD,BUY"
    )
    parser.add_argument("--kind", choices=("logits", "probabilities", "value"), help="what the output holds")
    parser.add_argument("--output", metavar="NAME", help="the output to read, where the model has several")
    parser.add_argument(
        "--carry",
        metavar="IN=OUT,…",
        help="recurrent states: each input with the output that holds its next value, h0=hn,c0=cn; "
        "a window of rows needs no option, its length is the input's [1, T, F]",
    )
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="with --carry: compute what follows from the state alone between two triggers; the same bits, sooner",
    )
    parser.add_argument("--metadata", metavar="JSON", help="metadata of the model (default: the one beside it, if any)")
    parser.add_argument(
        "--scaler", metavar="JSON", help='{"mean": [...], "std": [...], "clip": [low, high]}; default: raw features'
    )
    parser.add_argument("--sample", metavar="PARQUET", help="rows of raw features to check and keep as probes")
    parser.add_argument("--threshold", type=float, metavar="P", help="act only from this probability (or |value|) on")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="how far the plan's scores may be from ONNX Runtime's, times max(1, |score|): 1e-6 (default) to 1e-4",
    )
    parser.add_argument("--id", metavar="ID", help="model id (default: the metadata's, else the file's name)")
    parser.add_argument("--version", metavar="N", help="version (default: the metadata's, else the next free one)")
    parser.add_argument("--owner", default="", metavar="NAME", help="who answers for the model")
    parser.add_argument(
        "--registry", metavar="FILE", default="registry.json", help="made if missing (default registry.json)"
    )
    parser.add_argument("--look", action="store_true", help="only show inputs and outputs; write nothing")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0 when a candidate was registered, 2 with one sentence for what does not fit."""
    from alpha.errors import ModelError
    from alpha.features import catalog
    from alpha.models.adopt import Declared, Scaler, adopt, misfit, ports
    from alpha.models.declared import read_metadata
    from alpha.models.load import MAX_MODEL_BYTES
    from alpha.models.metadata import version_number
    from alpha.models.sample import read_sample
    from alpha.models.verify import verify_model

    for flag, value in (("--id", args.id), ("--output", args.output)):
        if value == "":
            raise ModelError(f"{flag} is empty: name one, or leave the option away")
    path = Path(args.model)
    registry = Path(str(show.registry_file(args.registry)))
    data = _read(path, MAX_MODEL_BYTES)
    fs = catalog.find(args.features)
    graph = verify_model(data, len(fs.names))
    carry = None if args.carry is None else _pairs(args.carry)
    seen = ports(graph, args.output, carry or ())
    if args.look or not args.json:
        _table(path, seen, args)
    if args.look:
        problem = misfit(graph, fs, carry or ())
        if args.json:
            show.print_json("import-look", {"ports": seen, "features": list(fs.names), "problem": problem})
        elif problem:
            print(f"note: as it is, it is not served: {printable(problem)}", file=sys.stderr)
        return 0
    sidecar = Path(args.metadata) if args.metadata else _beside(path)
    scaler = Scaler.from_json(_read(Path(args.scaler), 1 << 24), f"scaler {args.scaler}") if args.scaler else None
    said = Declared(
        actions=None if args.actions is None else tuple(a.strip() for a in args.actions.split(",")),
        output=args.output,
        kind=args.kind,
        scaler=scaler,
        threshold=args.threshold,
        model_id=args.id,
        version=None if args.version is None else version_number(args.version),
        carry=carry,
        prepare=args.prepare,
        tolerance=args.tolerance,
    )
    rows = read_sample(args.sample, fs.names) if args.sample else None
    spec = _read(sidecar, 1 << 24) if sidecar else None
    about_metadata = True
    try:
        if spec is not None:
            read_metadata(spec, fs, data)
        about_metadata = False
        result = adopt(
            data,
            fs,
            said,
            spec=spec,
            rows=rows,
            fallback_id=path.stem if path.stem != "model" else fs.name,
        )
    except ModelError as exc:
        # a file that nobody named: without a word about it the message would be a riddle
        if sidecar is None or not (about_metadata or "metadata" in str(exc)):
            raise
        if args.metadata:
            raise ModelError(f"{sidecar}: {exc}") from None
        raise ModelError(
            f"{sidecar}, which lies beside the model and is taken as its metadata: {exc}; name the right file with "
            "--metadata FILE, or move this one away"
        ) from None
    meta = result.metadata
    table = ports(graph, meta.outputs[0].name, [(c.input, c.output) for c in meta.carry])
    return _register(args, path, sidecar, registry, result, table)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    from alpha.errors import ModelError

    pairs = [tuple(name.strip() for name in pair.split("=")) for pair in text.split(",")]
    wrong = next((p for p in pairs if len(p) != 2 or not all(p)), None)
    if wrong is not None:
        raise ModelError(f"--carry {text!r}: write each state as input=output, h0=hn,c0=cn")
    return tuple((p[0], p[1]) for p in pairs)


def _read(path: Path, limit: int) -> bytes:
    from alpha.errors import ModelError

    if not path.is_file():
        raise ModelError(f"{path} does not exist" if not path.exists() else f"{path} is no ordinary file")
    if path.stat().st_size > limit:
        raise ModelError(f"{path} has {path.stat().st_size:,} bytes, more than {limit:,}")
    return path.read_bytes()


def _beside(path: Path) -> Path | None:
    """Metadata that lies beside the model: of its own name first; metadata.json only where it can mean no other model."""
    names = [f"{path.stem}.json", f"{path.stem}.metadata.json", f"{path.stem}_metadata.json"]
    if path.stem == "model" or len(list(path.parent.glob("*.onnx"))) == 1:
        names.append("metadata.json")
    return next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)


def _table(path: Path, rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    if not args.json:
        show.table(
            f"{path}",
            ("side", "name", "type", "shape", "use"),
            [(r["side"], r["name"], r["type"], "-" if r["shape"] is None else str(r["shape"]), r["use"]) for r in rows],
        )


def _register(
    args: argparse.Namespace,
    path: Path,
    sidecar: Path | None,
    registry: Path,
    result: Any,
    table: list[dict[str, Any]],
) -> int:
    import msgspec
    import numpy as np

    from alpha.features import catalog
    from alpha.registry import Check
    from alpha.registry.artifact import next_version, publish
    from alpha.registry.lineage import definition_commit

    meta = result.metadata
    if args.version is None and sidecar is None:
        meta = msgspec.structs.replace(meta, version=next_version(registry, meta.model_id))
    checks = [
        Check(name="sample_rows", value=float(result.sampled), limit=1.0, passed=result.sampled > 0),
        Check(name="scores_finite", value=1.0, limit=1.0, passed=True),
    ]
    if meta.outputs[0].kind == "probabilities":
        from alpha.models.adopt import SUM_TOLERANCE

        checks.append(Check(name="sum_to_one", value=result.worst_sum, limit=SUM_TOLERANCE, passed=True))
    notes = list(result.notes)
    if not result.sampled:
        notes.append("without a sample it stays a candidate: promotion needs the check sample_rows")
    buffer = io.BytesIO()
    np.save(buffer, result.probes)
    files = {
        "model.onnx": result.model_bytes,
        "probes.npy": buffer.getvalue(),
    }
    own = Path(args.features)
    commit = definition_commit((own if own.is_file() else Path(catalog.__file__)).parent)
    if not commit:
        notes.append("the features lie in no clean git tree: by the usual policy it cannot be promoted (registry.toml)")
    files["card.md"] = _card(path, meta, checks, notes).encode()
    folder, entry = publish(registry, meta, files, checks=checks, owner=args.owner, commit=commit)
    payload = {
        "model": f"{entry.id}/{entry.number}",
        "status": entry.status,
        "artifact": str(folder),
        "registry": str(registry),
        "model_sha256": entry.sha256,
        "definition_hash": meta.definition_hash,
        "definition_commit": commit,
        "output": meta.outputs[0].name,
        "kind": meta.outputs[0].kind,
        "actions": meta.actions,
        "input": meta.input,
        "carry": [f"{c.input}={c.output}" for c in meta.carry],
        "metadata": None if sidecar is None else str(sidecar),
        "sample_rows": result.sampled,
        "ports": table,
        "checks": [msgspec.to_builtins(c) for c in checks],
        "notes": notes,
    }
    if args.json:
        show.print_json("import", payload)
        return 0
    if sidecar is not None:
        print(f"metadata: {printable(str(sidecar))}")
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    show.table("checks", ("name", "value", "limit", "passed"), [(c.name, c.value, c.limit, c.passed) for c in checks])
    where = "" if args.registry == "registry.json" else f" --registry {args.registry}"
    print(f"{entry.id} v{entry.number} is a candidate in {registry}; its files: {folder}")
    print(f"run it:  alpha run --model models:/{entry.id}/{entry.number}{where} --data FILE")
    return 0


def _card(path: Path, meta: Any, checks: list[Any], notes: list[str]) -> str:
    lines = [
        f"# {meta.model_id} v{meta.version}",
        "",
        f"Imported from `{path.name}`; it was not trained or audited here.",
        "",
        f"- output `{meta.outputs[0].name}`, {meta.outputs[0].kind}; actions {', '.join(meta.actions)}",
        f"- {len(meta.feature_names)} features, definition {meta.definition_hash[:12]}…",
        *([f"- looks at windows of {meta.input[1]} rows"] if len(meta.input) == 3 else []),
        *(f"- carries state `{c.input}` to `{c.output}`, {list(c.shape)}" for c in meta.carry),
        *(f"- {c.name}: {c.value:.6g} (limit {c.limit:.6g}, {'passed' if c.passed else 'failed'})" for c in checks),
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines) + "\n"
