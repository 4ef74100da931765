"""What every test shares: one thread per process, deterministic hypothesis, the folder with market data."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run in parallel processes; a pool of threads in each would only fight for the cores, and sums
# must not depend on how a pool cuts them. Before numpy, numba and polars are imported for the first time.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("POLARS_MAX_THREADS", "2")
# tests import onnxruntime before alpha, which would set this too late
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

PROJECT = Path(__file__).resolve().parent.parent

# deadline=None: the machine may be busy with other tests, and time is measured in bench/ only
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile(
    "search", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
# HYPOTHESIS_PROFILE=search looks for new counterexamples; a plain run is the same every time
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Root of the source tree."""
    return PROJECT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with real market data: ``$ALPHA_DATA``, or ``../shared/data`` beside the project."""
    folder = Path(os.environ.get("ALPHA_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}; set ALPHA_DATA")
    return folder
