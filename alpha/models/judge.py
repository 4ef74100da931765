"""ONNX Runtime judges a plan before it serves: same rows, same scores, same decisions. Floor 3.

Rows: the artifact's probes, plus rows made to hurt: zeros, denormals, the corners and edges of the clip range, each
threshold of a tree on the input with both neighbours. A plan is good if every score agrees within 1e-6 * max(1, |y|),
or the wider tolerance that the model's metadata declare (plans of trees: bit for bit), and no decision differs, except
where the deciding number stands as near to its limit; those are counted. Where large terms cancel, ONNX Runtime's own
float32 can be off by more than that: the rows in which the two are apart are worked out in float64 (``exact.py``), and
the plan is held to the same tolerance of the exact score there; such rows are counted too. Weights rounded to bfloat16
move scores by more: such a plan, which is never chosen by itself, is good if at most 1 % of the decisions differ, and
its verdict says how many do.

Without ONNX Runtime a plan serves only with a good verdict that was stored for the same model bytes, build, ISA and
precision, by ``alpha validate MODEL --store``: ``judged.json`` in the artifact's folder. A bad one that was stored about
this very plan keeps it from serving, whatever the rows say that are tried when it is loaded.
"""

from __future__ import annotations

import hashlib
import io
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec
import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt
from msgspec.structs import replace

import alpha._core.plan
from alpha.documents import convert, read_json, to_json, write_atomically
from alpha.errors import ModelError
from alpha.models.compile import Compiled, tie_rows
from alpha.models.exact import exact_scores
from alpha.models.metadata import MAX_TOLERANCE, TOLERANCE, Metadata

APART = 10  # tolerances: further apart than this, plan and ONNX Runtime do not differ by rounding
HALF_DECISIONS = 0.01  # share of decisions in which a plan with bfloat16 weights may differ
FILE = "judged.json"
NPY_HEADER = 1024  # bytes; that of an array of three dimensions has 118
WIDER = 8.0
TIES = 3_000  # rows of thresholds and neighbours that are tried when a model is loaded
Rows = npt.NDArray[np.float32]


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the judge saw. ``worst``: largest |difference| / max(1, |y|); ``flips``: other decisions within 1e-6 of a
    limit, which are tolerated; ``wrong``: other decisions elsewhere; ``by_float64``: rows in which the exact score took
    the place of ONNX Runtime's. ``subject``: what the verdict is about."""

    good: bool
    rows: int
    worst: float
    unequal: int
    flips: int
    wrong: int
    exact: bool
    subject: str
    half: bool = False
    by_float64: int = 0
    tolerance: float = TOLERANCE

    def __add__(self, other: Verdict) -> Verdict:
        """The verdict over the rows of both."""
        both = Verdict(
            good=False,
            rows=self.rows + other.rows,
            worst=max(self.worst, other.worst),
            unequal=self.unequal + other.unequal,
            flips=self.flips + other.flips,
            wrong=self.wrong + other.wrong,
            exact=self.exact,
            subject=self.subject,
            half=self.half,
            by_float64=self.by_float64 + other.by_float64,
            tolerance=self.tolerance,
        )
        return replace(both, good=_good(both))

    def __str__(self) -> str:
        if self.half:
            share = 1 - (self.wrong + self.flips) / max(self.rows, 1)
            return (
                f"with bfloat16 weights takes the decisions of ONNX Runtime in {share:.3%} of {self.rows:,} rows, "
                f"scores within {self.worst:.1e}"
            )
        if self.good:
            how = "bit for bit" if self.exact else f"within {self.worst:.1e}"
            by = f" ({self.by_float64:,} of them by float64)" if self.by_float64 else ""
            near = f"{self.flips} decisions differ within {f'{self.tolerance:g}'.replace('e-0', 'e-')}"
            return f"agrees with ONNX Runtime {how} on {self.rows:,} rows{by}, {near}"
        if self.exact:
            return f"differs from ONNX Runtime on {self.unequal:,} of {self.rows:,} rows, bit for bit"
        wider = "; the metadata may declare a wider tolerance" if not self.wrong and self.worst <= MAX_TOLERANCE else ""
        return (
            f"differs from ONNX Runtime by {self.worst:.1e} (allowed: {self.tolerance:g}) and in {self.wrong:,} decisions "
            f"on {self.rows:,} rows{wider}"
        )


@cache
def build_id() -> str:
    """16 hex digits over the compiled kernels and the modules that write plans: another build is judged anew."""
    digest = hashlib.sha256(Path(alpha._core.plan.__file__).read_bytes())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def subject(model_sha256: str, metadata_sha256: str, output: str, isa: str, precision: str) -> str:
    """What a stored verdict is about: model, its metadata (states, clip and limits), output, build, ISA and precision
    of the weights."""
    return f"{model_sha256} metadata={metadata_sha256[:16]} {output} build={build_id()} isa={isa} precision={precision}"


def reach(clip: tuple[float, float], probes: Rows) -> tuple[float, float]:
    """The range of the rows made to hurt: the clip range, and where that has no end (raw features), WIDER times as far
    as the probes go: at 1e38 every sum overflows, which no row does and which says nothing about the plan."""
    far = WIDER * max(1.0, float(np.abs(probes).max(initial=0.0)))
    return max(clip[0], -far), min(clip[1], far)


def hard_rows(compiled: Compiled, clip: tuple[float, float], ties_tried: int = TIES) -> Rows:
    """Rows [N, inputs] inside the clip range that go where engines differ first; of the ties a random choice."""
    n = int(np.prod(compiled.shape))
    low, high = np.float32(clip[0]), np.float32(clip[1])
    rng = np.random.default_rng(0)
    tiny = np.float32(1e-45)
    levels = [0.0, low, high, tiny, -tiny, np.float32(1.2e-38), np.nextafter(low, high), np.nextafter(high, low)]
    rows = [np.full((1, n), np.clip(v, low, high), np.float32) for v in levels]
    one = np.zeros((min(n, 64), n), np.float32)
    one[np.arange(len(one)), np.arange(len(one))] = 1
    rows += [one * low, one * high, one * tiny]
    ends = np.where(rng.random((64, n)) < 0.5, low, high).astype(np.float32)
    rows += [
        ends,
        rng.uniform(low, high, (192, n)).astype(np.float32),
        rng.standard_normal((256, n)).astype(np.float32),
    ]
    ties = tie_rows(compiled)
    if len(ties):
        ties = ties[rng.permutation(len(ties))[:ties_tried]]
        # the other features are not zero: the row of the tie must reach its node in some tree
        around = rng.standard_normal(ties.shape).astype(np.float32)
        rows += [ties, np.where(ties != 0, ties, around)]
    return np.clip(np.concatenate(rows), low, high)


def probe_rows(data: bytes | None, n: int, features: int) -> Rows:
    """The rows of probes.npy, as many values each as the model takes: [R, features], from which windows are cut, or
    windows [R, T, features] of ``n`` values. ModelError for anything else; nothing that the file claims is allocated
    before its size is known to be true."""
    if data is None:
        return np.zeros((0, n), np.float32)
    shape, fortran, dtype, start = _npy_header(data)
    if dtype != np.float32 or len(shape) not in (2, 3):
        raise ModelError(f"probes.npy holds {dtype} {list(shape)}: float32 rows [R, {features}] are expected")
    if shape[-1] != features or (len(shape) == 3 and shape[1] * features != n):
        raise ModelError(f"probes.npy has rows of {list(shape[1:])} values, but the model takes {features} features")
    if not shape[0]:
        raise ModelError("probes.npy holds no rows")
    claimed = 4 * prod(shape)
    if claimed != len(data) - start:
        raise ModelError(f"probes.npy claims {claimed:,} bytes of rows, but holds {len(data) - start:,}")
    probes: Rows = np.frombuffer(data, np.float32, offset=start).reshape(shape, order="F" if fortran else "C")
    if not np.isfinite(probes).all():
        raise ModelError("probes.npy holds a value that is not finite: finite float32 rows are expected")
    return windows(np.ascontiguousarray(probes).reshape(len(probes), -1), n)


def _npy_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, whether it is in Fortran's order, dtype, where the values begin) of a .npy file; ModelError if it is none."""
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        size = 2 if version == (1, 0) else 4
        if int.from_bytes(data[stream.tell() : stream.tell() + size], "little") > NPY_HEADER:
            raise ModelError(f"probes.npy cannot be read: its header is longer than {NPY_HEADER} bytes")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header that Python 2 wrote
            shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, TokenError, OSError, EOFError, MemoryError, RecursionError) as exc:
        text = str(exc).strip() or type(exc).__name__
        raise ModelError(f"probes.npy cannot be read: {text.splitlines()[0][:120]}") from None
    if any(d < 0 for d in shape):
        raise ModelError(f"probes.npy cannot be read: it claims the shape {list(shape)}")
    return shape, fortran, dtype, stream.tell()


def windows(rows: Rows, n: int) -> Rows:
    """Rows of n values: the rows themselves, or the last n / F of them in one piece."""
    width = rows.shape[1]
    if width == n:
        return rows
    if not width or n % width or len(rows) < n // width:
        raise ModelError(f"rows of {width} features do not make inputs of {n} values")
    view = np.lib.stride_tricks.sliding_window_view(np.ascontiguousarray(rows).reshape(-1), n)
    return np.ascontiguousarray(view[::width])


def scores(kernel: Any, rows: Rows) -> Rows:
    """Outputs of rows; a model with state sees them as consecutive triggers, from zeros every 64 rows."""
    if not kernel.n_carry:
        return np.asarray(kernel.run(rows))
    return np.concatenate([kernel.sequence(rows[i : i + 64])[0] for i in range(0, len(rows), 64)])


@dataclass(frozen=True)
class Decided:
    """Per row: the action that the gate would take, and how far the nearest other one is."""

    action: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]


def decide(y: Rows, meta: Metadata) -> Decided:
    """Actions by the metadata's rule, as the gate decides them (without cooldown). ``margin``: the least change of a
    probability (of a value: relative to max(1, |v|)) that leads to another action."""
    y = y[:, : max(1, len(meta.actions))].astype(np.float64)
    d = meta.decision
    if d.rule == "sign":
        v = y[:, 0]
        action = np.where(np.abs(v) < np.float32(d.threshold), 0, np.sign(v)).astype(np.int64)
        return Decided(action, np.minimum(np.abs(np.abs(v) - d.threshold), np.abs(v)) / np.maximum(1, np.abs(v)))
    if meta.outputs[0].kind == "logits":
        e = np.exp(y - y.max(axis=1, keepdims=True))
        y = (e / e.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    codes = np.asarray(meta.action_codes())
    best = y.argmax(axis=1)
    p = y.max(axis=1)
    action = np.where(p < np.float32(d.threshold), 0, codes[best])
    margin = np.abs(p - d.threshold)
    if y.shape[1] > 1:
        ordered = np.sort(y, axis=1)
        margin = np.minimum(margin, ordered[:, -1] - ordered[:, -2])
    return Decided(action, margin)


def _good(v: Verdict) -> bool:
    """What its numbers say, whatever ``good`` says."""
    if min(v.rows, v.unequal, v.flips, v.wrong, v.by_float64) < 0 or not 0 <= v.worst < np.inf:
        return False
    if v.half:
        return v.wrong + v.flips <= HALF_DECISIONS * v.rows
    return v.wrong == 0 and (v.unequal == 0 if v.exact else v.worst <= v.tolerance <= MAX_TOLERANCE)


def apart(plan: Rows, reference: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """|difference| / max(1, |reference|) of each score; infinite where just one is finite or two infinities differ."""
    same = (plan == reference) | (np.isnan(plan) & np.isnan(reference))
    with np.errstate(all="ignore"):
        off = np.abs(plan.astype(np.float64) - reference) / np.maximum(1.0, np.abs(reference))
    return np.where(same, 0.0, np.where(np.isfinite(plan) & np.isfinite(reference), off, np.inf))


def compare(
    plan: Rows,
    reference: npt.NDArray[np.floating[Any]],
    meta: Metadata,
    *,
    exact: bool,
    about: str,
    half: bool = False,
    by_float64: int = 0,
) -> Verdict:
    """The verdict over scores [N, K] of both engines; ``by_float64`` rows of the reference are not ONNX Runtime's."""
    worst, unequal, wrong, flips = 0.0, 0, 0, 0
    if len(plan):
        both = np.isfinite(plan) & np.isfinite(reference)
        off = apart(plan, reference)
        worst, unequal = float(off.max()), int((off > 0).any(axis=1).sum())
        usable = both.all(axis=1)
        mine, theirs = decide(plan[usable], meta), decide(reference[usable], meta)
        other = mine.action != theirs.action
        near = other & (theirs.margin <= meta.tolerance)
        flips, wrong = int(near.sum()), int((other & ~near).sum())
    verdict = Verdict(
        good=False,
        rows=len(plan),
        worst=worst,
        unequal=unequal,
        flips=flips,
        wrong=wrong,
        exact=exact,
        subject=about,
        half=half,
        by_float64=by_float64,
        tolerance=meta.tolerance,
    )
    return replace(verdict, good=_good(verdict))


def judge(compiled: Compiled, reference: Any, rows: Rows, meta: Metadata, about: str) -> Verdict:
    """Run the plan against ``reference`` (an OrtKernel) over ``rows`` [N, inputs]."""
    half = compiled.precision == "bf16" and not compiled.exact
    mine, theirs = scores(compiled.plan.kernel(), rows), scores(reference, rows)
    settled = 0
    if not half and not compiled.exact:
        theirs, settled = _settle(compiled, rows, mine, theirs, meta.tolerance)
    return compare(mine, theirs, meta, exact=compiled.exact, about=about, half=half, by_float64=settled)


def _settle(
    compiled: Compiled, rows: Rows, plan: Rows, reference: Rows, tolerance: float
) -> tuple[npt.NDArray[np.floating[Any]], int]:
    """The reference with the exact scores in the rows where rounding may explain what is between the two engines: at
    most APART tolerances, and ONNX Runtime's no further from the exact score than that; and how many rows those are."""
    far = apart(plan, reference).max(axis=1, initial=0.0)
    open_rows = np.flatnonzero((far > tolerance) & (far <= APART * tolerance))
    found = exact_scores(compiled.graph, compiled.output, rows[open_rows], compiled.shape)
    if found is None or found.shape != reference[open_rows].shape:
        return reference, 0
    settled = apart(reference[open_rows], found).max(axis=1, initial=0.0) <= APART * tolerance
    result = reference.astype(np.float64)
    result[open_rows[settled]] = found[settled]
    return result, int(settled.sum())


# -- verdicts that are kept


def stored(directory: Path, about: str, compiled: Compiled, tolerance: float) -> Verdict | None:
    """The verdict about exactly this plan, kept in the artifact's folder, a bad one before a good one; None if none.

    Both are believed for their numbers, over some rows and by the measure that this plan is held to: a good one vouches
    for the plan where nobody can judge it, a bad one stops it everywhere. ``good`` alone says nothing.
    """
    try:
        found = _kept(directory / FILE)
    except (OSError, ModelError):
        return None  # a file that cannot be read vouches for nothing
    half = compiled.precision == "bf16" and not compiled.exact
    measure = (compiled.exact, half, tolerance)
    ours = [v for v in found if v.subject == about and v.rows > 0 and (v.exact, v.half, v.tolerance) == measure]
    bad = next((v for v in ours if _is_bad(v)), None)
    return bad or next((v for v in ours if v.good and _good(v)), None)


def store(directory: Path, verdict: Verdict) -> Path:
    """Keep a verdict beside the model, in place of an older one about the same that says the same; where.

    A good one does not take the place of a bad one: rows that agree do not undo rows that differ.
    """
    path = directory / FILE
    try:
        kept = _kept(path)
    except ModelError:
        kept = []
    # JSON has no infinity, and a file that holds what is none is not read back
    verdict = replace(verdict, worst=min(verdict.worst, sys.float_info.max))
    others = [v for v in kept if v.subject != verdict.subject or v.good != verdict.good]
    write_atomically(path, to_json([*others, verdict]))
    return path


def _kept(path: Path) -> list[Verdict]:
    if not path.is_file() or path.stat().st_size > 1 << 20:
        return []
    return convert(read_json(path.read_bytes(), str(path), ModelError), list[Verdict], str(path), ModelError)


def _is_bad(v: Verdict) -> bool:
    counts = min(v.unequal, v.flips, v.wrong, v.by_float64)
    return not v.good and not _good(v) and counts >= 0 and v.worst >= 0
