"""Every peer beside ours in one command: ``./dev bench --peers``.

Two processes of the peers' environment, one after the other: single model calls, then whole paths. In each all arms
are interleaved block by block on the same inputs, every decision is compared with ours, and times are net of the same
loop around nothing. Writes bench/peers/results.json, docs/images/peers.png and the marked block of
docs/performance.md; exit 1 if a bar of bench/gate.toml is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "peers" / "results.json"
SCHEMA = "alpha/peers/1"
PARTS = ("models", "paths")


@dataclass(frozen=True)
class Size:
    """How much is measured. ``models``, ``paths``: blocks; ``warm``: events before the first."""

    models: int
    paths: int
    slow: int
    warm: int
    warm_slow: int
    warm_book: int


FULL = Size(models=112, paths=60, slow=16, warm=4096, warm_slow=1024, warm_book=2048)
SMOKE = Size(models=2, paths=2, slow=2, warm=3072, warm_slow=1024, warm_book=1536)

# bar of gate.toml -> (section, ours, theirs, the figure that is judged)
BLOCKS, P50 = "median_ns", "p50_ns"
BARS = {
    "side_lleaves": ("trees", "ours, fused plan in C", "lleaves, C function of floats", BLOCKS),
    "side_lightgbm": ("trees", "ours, fused plan in C", "LightGBM, single-row fast C call", BLOCKS),
    "side_book": ("book", "ours, from the quote", "IOBinding, the model alone", P50),
    "stack_against_binding": ("stacks", "ours, on_quote", "features in C + IOBinding", BLOCKS),
    "stack_against_python": ("stacks", "ours, on_quote", "hand-written Python + IOBinding", BLOCKS),
    "stack_against_numba": ("stacks", "ours, on_quote", "numba, features and MLP in one call", BLOCKS),
}


def _models(size: Size) -> dict[str, Any]:
    from bench.peers import models, models_lstm, models_trees
    from bench.peers.arms import as_dicts, side_by_side, why_missing

    out: dict[str, Any] = {}
    for name, make, agree in (
        ("logistic", models.logistic, models.agree_classes),
        ("mlp", models.mlp, models.agree_classes),
        ("trees", models_trees.trees, models.agree_sign),
        ("lstm", models_lstm.lstm, models.agree_classes),
    ):
        print(f"measuring {name}", file=sys.stderr)
        try:
            arms, missing = make()
        except ImportError as absent:
            out[name] = {"figures": [], "missing": {"everything": why_missing(absent)}}
            continue
        out[name] = {"figures": as_dicts(side_by_side(arms, size.models, agree, 1e-3)), "missing": missing}
    return out


def _paths(size: Size) -> dict[str, Any]:
    from bench.peers import stack_book, stacks
    from bench.peers.arms import as_dicts

    runs: dict[str, Callable[[], Any]] = {
        "stacks": lambda: stacks.fast(size.paths, size.warm),
        "slow": lambda: stacks.slow(size.slow, size.warm_slow),
        "book": lambda: stack_book.measure(size.paths, size.warm_book),
    }
    out = {}
    for name, run in runs.items():
        print(f"measuring {name}", file=sys.stderr)
        figures, missing = run()
        out[name] = {"figures": as_dicts(figures), "missing": missing}
    return out


def _part(name: str, size: Size, out: Path) -> None:
    with contextlib.suppress(ImportError):
        import lrvx  # noqa: F401  # it only loads while room for its thread-local storage is left: before the others
    if hasattr(os, "sched_setaffinity"):  # one processor, so that caches and clocks are one
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    out.write_text(json.dumps({"models": _models, "paths": _paths}[name](size)))


def measure(size: Size, parts: tuple[str, ...] = PARTS) -> dict[str, Any]:
    """All sections, each part in a process of its own; what the machine did is told with them."""
    from bench.peers.report import machine

    begun, before = time.time(), os.getloadavg()[0]
    sections: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="alpha-peers-") as folder:
        for part in parts:
            out = Path(folder) / f"{part}.json"
            command = [sys.executable, "-m", "bench.side_by_side", "--part", part, "--out", str(out)]
            command += ["--smoke"] if size is SMOKE else []
            done = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
            if done.returncode:
                raise SystemExit(f"peers: the part {part} failed; the reason is above")
            sections |= json.loads(out.read_text())
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "seconds": round(time.time() - begun),
        "sections": sections,
        "bars": _judge(sections),
    }


def _judge(sections: dict[str, Any]) -> dict[str, Any]:
    """Bars whose two arms were measured."""
    from bench.measure import result

    out = {}
    for bar, (section, ours, theirs, figure) in BARS.items():
        found = {f["name"]: f for f in sections.get(section, {}).get("figures", ())}
        if ours in found and theirs in found:
            ratios = {k: found[ours][k] / found[theirs][k] for k in (BLOCKS, P50)}
            judged = result(bar, found[ours][figure], found[theirs][figure], theirs).as_dict()
            out[bar] = {**judged, "by": figure, "by_blocks": ratios[BLOCKS], "by_p50": ratios[P50]}
    return out


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./dev bench --peers", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, nothing is written: do all compute the same?")
    parser.add_argument("--json", action="store_true", help="print the result file as well")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    size = SMOKE if args.smoke else FULL
    if args.part:
        _part(args.part, size, args.out)
        return 0
    data = measure(size)
    if args.json:
        print(json.dumps(data))
    if args.smoke:
        return 0  # nothing is judged by a few blocks
    from bench.peers import report

    RESULTS.write_text(json.dumps(data, indent=1) + "\n")
    report.write(data)
    for name, bar in data["bars"].items():
        print(f"{name}: {bar['ratio']:.3f} of {bar['reference']}, bar {bar['bar']}: {'yes' if bar['pass'] else 'NO'}")
    print(f"{data['seconds']} s, load {data['load'][0]} to {data['load'][1]}")
    return 0 if all(bar["pass"] for bar in data["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
