"""After warm-up nothing of ours allocates: malloc is interposed and counted in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MALLOC = r"""
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
static volatile long count;
static volatile int on;
void *malloc(size_t n) { count += on; return __libc_malloc(n); }
void *calloc(size_t a, size_t b) { count += on; return __libc_calloc(a, b); }
void *realloc(void *p, size_t n) { count += on; return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { count += on; return __libc_memalign(a, n); }
void *memalign(size_t a, size_t n) { count += on; return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { count += on; *p = __libc_memalign(a, n); return *p ? 0 : 12; }
void probe_on(void) { count = 0; on = 1; }
long probe_off(void) { on = 0; return count; }
"""

_RUN = """
import ctypes, json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
import alpha
from alpha._core.ort import OrtModel
from alpha.data import with_inputs
from alpha.data.simulate import simulate
from alpha.events import SIGNAL_DTYPE
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.registry import load
from alpha.registry.store import find
probe = ctypes.CDLL(None)
probe.probe_off.restype = ctypes.c_long

def counted(call, n):
    # the Python call itself allocates a temporary or two: a short stretch of the same stream tells how many
    call(0, 5000); call(5000, 10_000)
    counts = []
    for start, stop in ((10_000, 15_000), (15_000, n)):
        probe.probe_on()
        call(start, stop)
        counts.append(probe.probe_off())
    return counts[1] - counts[0]

s = simulate(1_200_000, seed=5, levels=1)
warm, rest = s.events[:199_000], np.ascontiguousarray(s.events[199_000:])
out = np.zeros(len(rest), SIGNAL_DTYPE)
result = {"events": len(rest)}
outside = ["tick_bar(5).vwap", "volume_bar(3).count", "dollar_bar(1e5).close", "vpin(2, 20)", "input('x', max_age='1s')",
           "minutes_to_close", "mean(mid * sin_day, 10)", f"of('{s.instruments.symbols[0]}', mean(mid, 5))"]
sets = {"twenty": catalog.get("twenty"), "demo": catalog.get("demo"), "outside": FeatureSet.from_dict(
    {"features": {f"f{k}": e for k, e in enumerate(outside)}, "stream": {"session_break": "session"}})}
rest = with_inputs(rest, sets["outside"], {"x": (rest["ts_event_ns"][::1000], np.ones(len(rest[::1000])))})
out = np.zeros(len(rest) * 2, SIGNAL_DTYPE)
for name, fs in sets.items():
    rt = alpha.Runtime.from_features(fs, instruments=s.instruments)
    rt.run(warm)
    result[name] = counted(lambda a, b: rt._pipeline.run(rest[a:b], out), len(rest))
    result[name + "_decisions"] = rt.stats()["decisions"]
for engine, n in (("ort", 50_000), ("plan", len(rest))):
    rt = alpha.Runtime.from_registry(None, "models:/demo/1", instruments=s.instruments, engine=engine)
    rt.run(warm)
    result["with_" + engine] = counted(lambda a, b: rt._pipeline.run(rest[a:b], out), n)
    result["by_" + engine] = rt.stats()["reasons"].get("MODEL", 0)
desk = alpha.Desk({"a": alpha.Model("models:/demo/1", "shadow"), "b": "models:/demo_mlp/1"},
                  {"e": alpha.Ensemble({"a": 1.0, "b": 1.0})})
rt = alpha.Runtime.from_registry(None, desk, instruments=s.instruments, engine="plan")
rt.run(warm)
result["desk"] = counted(lambda a, b: rt._pipeline.run(rest[a:b], out), 200_000)
result["by_desk"] = rt.stats()["models"]["e"]["reasons"].get("MODEL", 0)
quotes = int((rest["kind"][15_000:50_000] == 1).sum() - (rest["kind"][10_000:15_000] == 1).sum())
_, model = load(find(None)).load_model("models:/demo/1")
kernel = OrtModel(model.model_bytes, output=model.metadata.outputs[0].name).kernel()
x = np.zeros((50_000, 10), np.float32)
result["ort_calls"] = quotes
ort = counted(lambda a, b: kernel.run(x[a:b]), 50_000)
result["ort_per_call"] = ort / (50_000 - 15_000 - 5000)
print(json.dumps(result))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="interposes glibc's malloc")
def test_nothing_of_ours_allocates_over_a_million_events(tmp_path: Path, project_root: Path) -> None:
    import json

    source, library = tmp_path / "count.c", tmp_path / "count.so"
    source.write_text(_MALLOC)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library)], check=True)
    out = subprocess.run(
        [sys.executable, "-c", _RUN],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
        cwd=project_root,
    ).stdout
    r = json.loads(out)
    assert r["events"] > 1_000_000 and r["twenty_decisions"] == r["demo_decisions"] > 700_000
    assert r["twenty"] == 0 and r["demo"] == 0 and r["outside"] == 0
    # ONNX Runtime allocates in every call; of what a run with a model allocates nothing is left for us
    assert r["ort_per_call"] >= 1
    assert r["with_ort"] == r["ort_per_call"] * r["ort_calls"], r
    assert r["with_plan"] == 0 and r["by_plan"] > 10_000, r
    assert r["desk"] == 0 and r["by_desk"] > 10_000, r
