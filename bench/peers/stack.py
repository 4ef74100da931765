"""Event to decision, seen by Python: 20 features, an MLP 20-64-64-3 and a threshold, as people build it today.

All stacks get the same quotes one by one as numbers, use the same weights, and are asked for an action; actions are
compared in the run. The features are the set below; the stacks written by hand compute them as their authors would,
with running sums, so a decision that lies within rounding of the threshold may differ and is counted.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

import alpha
from alpha.features.feature_set import FeatureSet

Decide = Callable[[int, float, float, float, float], int]
THRESHOLD = 0.45
SIZES = (20, 64, 64, 3)
SET = FeatureSet.from_dict(
    {
        "name": "stack",
        "features": {
            "spread_bp": "1e4*spread/mid",
            "imbalance": "imbalance",
            "micro_dev": "1e4*(microprice - mid)/mid",
            "imbalance_20": "ema(imbalance, span=20)",
            "imbalance_200": "ema(imbalance, span=200)",
            "ret_1": "1e4*ret(mid, 1)",
            "ret_20": "1e4*ret(mid, 20)",
            "ret_100": "1e4*ret(mid, 100)",
            "dev_50": "1e4*(mid - mean(mid, 50))/mid",
            "std_50": "1e4*std(mid, 50)/mid",
            "z_50": "zscore(mid, 50)",
            "dev_200": "1e4*(mid - mean(mid, 200))/mid",
            "std_200": "1e4*std(mid, 200)/mid",
            "z_200": "zscore(mid, 200)",
            "below_max": "1e4*(max(mid, 100) - mid)/mid",
            "above_min": "1e4*(mid - min(mid, 100))/mid",
            "rsi": "rsi(mid, 14)",
            "macd": "1e4*(ema(mid, span=12) - ema(mid, span=26))/mid",
            "spread_dev": "spread/ema(spread, span=50)",
            "imbalance_mean": "mean(imbalance, 50)",
        },
    }
)


@cache
def weights() -> dict[str, npt.NDArray[np.float32]]:
    """Seeded weights of the size that training gives; all three actions occur."""
    rng = np.random.default_rng(17)
    out: dict[str, npt.NDArray[np.float32]] = {}
    for k, (n, m) in enumerate(itertools.pairwise(SIZES)):
        out[f"w{k}"] = (rng.standard_normal((n, m)) / np.sqrt(n)).astype(np.float32)
        out[f"b{k}"] = (rng.standard_normal(m) * 0.1).astype(np.float32)
    return out


@cache
def normalisation() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Round numbers of the right size, the same for every stack."""
    mean = np.zeros(20)
    std = np.array([5, 0.5, 2, 0.3, 0.2, 2, 5, 10, 5, 5, 1.5, 10, 8, 1.5, 6, 6, 20, 2, 0.5, 0.2], np.float64)
    mean[[0, 16, 18]] = 5.0, 50.0, 1.0
    return mean, std


@cache
def model_bytes() -> bytes:
    """The MLP with softmax as ONNX."""
    from onnx import TensorProto, helper, numpy_helper

    w, nodes, last = weights(), [], "x"
    for k in range(3):
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"g{k}"]))
        last = f"g{k}"
        if k < 2:
            nodes.append(helper.make_node("Relu", [last], [f"r{k}"]))
            last = f"r{k}"
    nodes.append(helper.make_node("Softmax", [last], ["p"], axis=1))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 20])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(a, name) for name, a in w.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    return bytes(model.SerializeToString())


@cache
def artifact() -> Path:
    """A folder that :meth:`alpha.Runtime.from_artifact` serves; lives as long as the process."""
    folder = tempfile.TemporaryDirectory(prefix="alpha-stack-")
    artifact.keep = folder  # type: ignore[attr-defined]
    out, (mean, std) = Path(folder.name), normalisation()
    data = model_bytes()
    (out / "model.onnx").write_bytes(data)
    probes = np.random.default_rng(5).standard_normal((64, 20)).astype(np.float32)
    np.save(out / "probes.npy", probes)
    (out / "metadata.json").write_text(
        json.dumps(
            {
                "schema_version": 1,
                "model_id": "stack",
                "version": 1,
                "feature_set": {"name": SET.name, **SET.definition()},
                "definition_hash": SET.definition_hash,
                "feature_names": list(SET.names),
                "mean": mean.tolist(),
                "std": std.tolist(),
                "clip": [-5.0, 5.0],
                "input": [1, 20],
                "outputs": [{"name": "p", "kind": "probabilities"}],
                "output_schema": ["down", "flat", "up"],
                "actions": ["SELL", "HOLD", "BUY"],
                "decision": {"rule": "argmax", "threshold": THRESHOLD, "cooldown_ns": 0},
                "sha256": {"model.onnx": hashlib.sha256(data).hexdigest()},
            }
        )
    )
    return out


def decide(p: npt.NDArray[np.float32]) -> int:
    """-1, 0, 1 of three probabilities."""
    k = int(p.argmax())
    return k - 1 if p[k] >= np.float32(THRESHOLD) else 0


def ours(engine: str = "auto") -> tuple[alpha.Runtime, Callable[..., alpha.Signal | None]]:
    """The runtime and its inline call, as a loop uses it: ``on_quote(*row).action``."""
    rt = alpha.Runtime.from_artifact(artifact(), instruments=["X"], engine=engine)
    return rt, rt.instrument("X").on_quote


class Bound:
    """ONNX Runtime from Python with everything bound once, the way its documentation recommends for speed."""

    def __init__(self) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(model_bytes(), options, providers=["CPUExecutionProvider"])
        self.x, self.p = np.zeros((1, 20), np.float32), np.zeros((1, 3), np.float32)
        self.binding = self.session.io_binding()
        self.binding.bind_input("x", "cpu", 0, np.float32, [1, 20], self.x.ctypes.data)
        self.binding.bind_output("p", "cpu", 0, np.float32, [1, 3], self.p.ctypes.data)

    def run(self) -> npt.NDArray[np.float32]:
        """Scores of ``x``."""
        self.session.run_with_iobinding(self.binding)
        return self.p[0]


def native_features_and_binding() -> Decide:
    """Features in C, the model through Python IOBinding."""
    rt = alpha.Runtime.from_features(SET, instruments=alpha.Instruments.of("X"))
    on_quote, vector = rt.instrument("X").on_quote, rt.feature_vector
    bound, (mean, std) = Bound(), normalisation()
    raw, z = np.zeros(20, np.float32), np.zeros(20)
    warm = alpha.Reason.NOT_WARM

    def step(ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> int:
        signal = on_quote(ts, bid, ask, bid_qty, ask_qty)
        if signal.reason == warm:
            return 0
        vector("X", raw)
        np.subtract(raw, mean, out=z)
        np.divide(z, std, out=z)
        np.maximum(z, -5.0, out=z)  # faster than np.clip
        np.minimum(z, 5.0, out=bound.x[0], casting="same_kind")
        return decide(bound.run())

    return step


class HandWritten:
    """Deques and running sums in plain Python."""

    def __init__(self) -> None:
        self.n = 0
        self.mids: collections.deque[float] = collections.deque(maxlen=201)
        self.imbalances: collections.deque[float] = collections.deque(maxlen=50)
        self.s50 = self.q50 = self.s200 = self.q200 = self.si = 0.0
        self.low: collections.deque[tuple[int, float]] = collections.deque()
        self.high: collections.deque[tuple[int, float]] = collections.deque()
        self.e: dict[str, float] = {}
        self.gain = self.loss = 0.0

    def _ema(self, name: str, x: float, span: int) -> float:
        y = self.e.get(name, x)
        y += 2.0 / (span + 1) * (x - y)
        self.e[name] = y
        return y

    def update(self, bid: float, ask: float, bid_qty: float, ask_qty: float) -> list[float] | None:
        """Twenty features, or None while they warm up."""
        mid, spread = 0.5 * (bid + ask), ask - bid
        imbalance = (bid_qty - ask_qty) / (bid_qty + ask_qty)
        micro = (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty)
        mids, n = self.mids, self.n
        if n:
            change = mid - mids[-1]
            up, down = (change, 0.0) if change > 0 else (0.0, -change)
            if n <= 14:
                self.gain += up / 14
                self.loss += down / 14
            else:
                self.gain = (self.gain * 13 + up) / 14
                self.loss = (self.loss * 13 + down) / 14
        mids.append(mid)
        self.s50 += mid
        self.q50 += mid * mid
        self.s200 += mid
        self.q200 += mid * mid
        if n >= 50:
            x = mids[-51]
            self.s50 -= x
            self.q50 -= x * x
        if n >= 200:
            x = mids[0]
            self.s200 -= x
            self.q200 -= x * x
        if len(self.imbalances) == 50:
            self.si -= self.imbalances[0]
        self.imbalances.append(imbalance)
        self.si += imbalance
        while self.low and self.low[-1][1] >= mid:
            self.low.pop()
        self.low.append((n, mid))
        if self.low[0][0] <= n - 100:
            self.low.popleft()
        while self.high and self.high[-1][1] <= mid:
            self.high.pop()
        self.high.append((n, mid))
        if self.high[0][0] <= n - 100:
            self.high.popleft()
        fast, slow = self._ema("i20", imbalance, 20), self._ema("i200", imbalance, 200)
        macd = self._ema("m12", mid, 12) - self._ema("m26", mid, 26)
        usual = self._ema("s50", spread, 50)
        self.n = n + 1
        if self.n < 200:
            return None
        m50, m200 = self.s50 / 50, self.s200 / 200
        d50 = max(self.q50 / 50 - m50 * m50, 0.0) ** 0.5
        d200 = max(self.q200 / 200 - m200 * m200, 0.0) ** 0.5
        total = self.gain + self.loss
        return [
            1e4 * spread / mid,
            imbalance,
            1e4 * (micro - mid) / mid,
            fast,
            slow,
            1e4 * (mid / mids[-2] - 1.0),
            1e4 * (mid / mids[-21] - 1.0),
            1e4 * (mid / mids[-101] - 1.0),
            1e4 * (mid - m50) / mid,
            1e4 * d50 / mid,
            (mid - m50) / d50 if d50 > 1e-9 * mid else 0.0,
            1e4 * (mid - m200) / mid,
            1e4 * d200 / mid,
            (mid - m200) / d200 if d200 > 1e-9 * mid else 0.0,
            1e4 * (self.high[0][1] - mid) / mid,
            1e4 * (mid - self.low[0][1]) / mid,
            100.0 * self.gain / total if total > 0 else 100.0,
            1e4 * macd / mid,
            spread / usual if usual else float("nan"),
            self.si / 50,
        ]


Update = Callable[[float, float, float, float], list[float] | None]


def with_binding(update: Update) -> Decide:
    """Features of Python, then ONNX Runtime through IOBinding."""
    bound, (mean, std) = Bound(), normalisation()
    z = np.zeros(20)

    def step(ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> int:
        x = update(bid, ask, bid_qty, ask_qty)
        if x is None:
            return 0
        np.subtract(x, mean, out=z)
        np.divide(z, std, out=z)
        np.maximum(z, -5.0, out=z)  # faster than np.clip
        np.minimum(z, 5.0, out=bound.x[0], casting="same_kind")
        return decide(bound.run())

    return step


def with_run(update: Update) -> Decide:
    """Features of Python, then ONNX Runtime's ``session.run``: what most people write."""
    session, (mean, std) = Bound().session, normalisation()

    def step(ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> int:
        x = update(bid, ask, bid_qty, ask_qty)
        if x is None:
            return 0
        z = np.clip((np.array(x) - mean) / std, -5.0, 5.0).astype(np.float32)
        return decide(session.run(None, {"x": z[None]})[0][0])

    return step


def hand_written() -> Decide:
    """Python deques, then ONNX Runtime through IOBinding."""
    return with_binding(HandWritten().update)


def pandas_window() -> Decide:
    """A DataFrame of the last 1,000 quotes, recomputed at every event; ewm from the window's start."""
    import pandas as pd

    bound, (mean, std) = Bound(), normalisation()
    rows: collections.deque[tuple[float, float, float, float]] = collections.deque(maxlen=1000)

    def step(ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> int:
        rows.append((bid, ask, bid_qty, ask_qty))
        if len(rows) < 200:
            return 0
        f = pd.DataFrame(rows, columns=["b", "a", "p", "q"])
        mid, spread, i = 0.5 * (f.b + f.a), f.a - f.b, (f.p - f.q) / (f.p + f.q)
        micro, last = (f.b * f.q + f.a * f.p) / (f.p + f.q), 0.5 * (bid + ask)
        change = mid.diff()
        g = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean().iloc[-1]
        loss = (-change).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean().iloc[-1]
        m50, m200 = mid.rolling(50).mean().iloc[-1], mid.rolling(200).mean().iloc[-1]
        d50, d200 = mid.rolling(50).std(ddof=0).iloc[-1], mid.rolling(200).std(ddof=0).iloc[-1]
        x = [
            1e4 * spread.iloc[-1] / last,
            i.iloc[-1],
            1e4 * (micro.iloc[-1] - last) / last,
            i.ewm(span=20, adjust=False).mean().iloc[-1],
            i.ewm(span=200, adjust=False).mean().iloc[-1],
            *(1e4 * (last / mid.iloc[-1 - k] - 1.0) for k in (1, 20, 100)),
            1e4 * (last - m50) / last,
            1e4 * d50 / last,
            (last - m50) / d50 if d50 > 0 else 0.0,
            1e4 * (last - m200) / last,
            1e4 * d200 / last,
            (last - m200) / d200 if d200 > 0 else 0.0,
            1e4 * (mid.rolling(100).max().iloc[-1] - last) / last,
            1e4 * (last - mid.rolling(100).min().iloc[-1]) / last,
            100.0 * g / (g + loss) if g + loss > 0 else 100.0,
            1e4
            * (mid.ewm(span=12, adjust=False).mean().iloc[-1] - mid.ewm(span=26, adjust=False).mean().iloc[-1])
            / last,
            spread.iloc[-1] / spread.ewm(span=50, adjust=False).mean().iloc[-1],
            i.rolling(50).mean().iloc[-1],
        ]
        bound.x[0] = np.clip((np.array(x) - mean) / std, -5.0, 5.0)
        return decide(bound.run())

    return step
