"""What this installation has and lacks: CPU kernels, ONNX Runtime, clocks, pinning, extras."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import time
from typing import Any

from alpha.cli import show

EXTRAS = {
    "cli": ("rich",),
    "data": ("pandas", "polars", "pyarrow", "numba"),
    "train": ("onnx", "sklearn", "skl2onnx"),
    "torch": ("torch",),
    "boost": ("xgboost", "lightgbm"),
    "rl": ("stable_baselines3", "gymnasium"),
    "report": ("plotly", "matplotlib", "jinja2"),
    "signing": ("cryptography",),
    "ops": ("prometheus_client", "exchange_calendars"),
    "dist": ("distributed",),
    "mlflow": ("mlflow",),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha doctor``."""
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0 when only extras are missing, 1 when the runtime cannot serve a model."""
    from alpha import __version__
    from alpha._core import ort, program
    from alpha.errors import AlphaError
    from alpha.registry import find, load

    facts: dict[str, Any] = {
        "alpha": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "isa": program.isa(),
        "isa_available": program.available_isas(),
        "onnxruntime": ort.version(),
        "onnxruntime_library": ort.library_path(),
        "onnxruntime_problem": ort.unavailable_reason(),
        "cpus": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "can_pin": hasattr(os, "sched_setaffinity"),
        "clock_resolution_ns": time.get_clock_info("monotonic").resolution * 1e9,
        "clock_read_ns": _clock_cost(),
    }
    try:
        path = find(None)
        facts["registry"], facts["models"] = str(path), len(load(path).document.models)
    except AlphaError as exc:
        facts["registry"], facts["registry_problem"] = None, str(exc)
    missing = {extra: [m for m in modules if importlib.util.find_spec(m) is None] for extra, modules in EXTRAS.items()}
    facts["missing_extras"] = {extra: modules for extra, modules in missing.items() if modules}
    healthy = not facts["onnxruntime_problem"]
    if args.json:
        show.print_json("doctor", {**facts, "pass": healthy})
    else:
        show.table("alpha doctor", ("what", "value"), [(k, v) for k, v in facts.items() if k != "missing_extras"])
        for extra, modules in facts["missing_extras"].items():
            print(f"extra {extra!r} is incomplete ({', '.join(modules)}): pip install 'alpha-runtime[{extra}]'")
        if not healthy:
            print(f"models are not served: {facts['onnxruntime_problem']}", file=sys.stderr)
    return 0 if healthy else 1


def _clock_cost() -> float:
    """ns per read of the monotonic clock from Python, best of five."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(1000):
            time.perf_counter_ns()
        best = min(best, (time.perf_counter_ns() - start) / 1000)
    return best
