"""Every ISA gives the same bits: the kernels differ in instructions, never in results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from alpha._core.program import available_isas

_CODE = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from programs import program, table_for
from streams import stream
from alpha._core.program import isa
from alpha.features.native import native_rows
digest = hashlib.sha256()
for seed in range(60):
    rng = np.random.default_rng(seed)
    fs = program(rng, 6)
    rows = native_rows(fs, stream(seed, faults=True), table_for(fs, rng))
    for name in sorted(rows):
        digest.update(np.ascontiguousarray(np.nan_to_num(rows[name], nan=-1.0)).tobytes())
print(isa(), digest.hexdigest())
"""


def test_all_isas_agree_bit_for_bit() -> None:
    results = {}
    for name in available_isas():
        out = subprocess.run(
            [sys.executable, "-c", _CODE, str(Path(__file__).parent.parent)],
            env={**os.environ, "ALPHA_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert out[0] == name
        results[name] = out[1]
    assert "portable" in results and len(set(results.values())) == 1, results


def test_unknown_isa_is_one_sentence() -> None:
    code = "from alpha._core.program import isa; isa()"
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "ALPHA_ISA": "v9"}, capture_output=True, text=True, check=False
    )
    assert out.returncode == 1 and "ALPHA_ISA='v9' is unknown: use portable, v3 or v4" in out.stderr
