"""The strongest stack people write themselves: features and MLP in one numba call, weights compiled in."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers.stack import THRESHOLD, Decide, normalisation, weights


def compiled() -> tuple[Any, tuple[Any, ...]]:
    """The compiled step and its fresh state: ``step(*state, bid, ask, bid_qty, ask_qty)``."""
    import numba

    w = weights()
    w0, w1, w2 = (np.ascontiguousarray(w[f"w{k}"]) for k in range(3))
    b0, b1, b2 = (w[f"b{k}"] for k in range(3))
    mean, std = normalisation()
    threshold = np.float32(THRESHOLD)
    f32 = np.float32

    @numba.njit(fastmath=True, boundscheck=False, error_model="numpy")
    def layer(x, weight, bias, out, relu):  # type: ignore[no-untyped-def]
        n, m = weight.shape
        for j in range(m):
            out[j] = bias[j]
        for i in range(n):
            v = x[i]
            for j in range(m):
                out[j] += v * weight[i, j]
        if relu:
            for j in range(m):
                out[j] = max(out[j], f32(0.0))

    @numba.njit(fastmath=False, boundscheck=False, error_model="numpy")
    def step(n, s, mids, imbalances, low, high, low_at, high_at, ends, z, h0, h1, p, bid, ask, bid_qty, ask_qty):  # type: ignore[no-untyped-def]
        mid, spread = 0.5 * (bid + ask), ask - bid
        total = bid_qty + ask_qty
        imbalance, micro = (bid_qty - ask_qty) / total, (bid * ask_qty + ask * bid_qty) / total
        k = n[0]
        if k > 0:
            change = mid - mids[(k - 1) & 255]
            up, down = max(change, 0.0), max(-change, 0.0)
            if k <= 14:
                s[5] += up / 14
                s[6] += down / 14
            else:
                s[5] = (s[5] * 13 + up) / 14
                s[6] = (s[6] * 13 + down) / 14
        s[0] += mid
        s[1] += mid * mid
        s[2] += mid
        s[3] += mid * mid
        s[4] += imbalance
        if k >= 50:
            x = mids[(k - 50) & 255]
            s[0] -= x
            s[1] -= x * x
            s[4] -= imbalances[k % 50]
        if k >= 200:
            x = mids[(k - 200) & 255]
            s[2] -= x
            s[3] -= x * x
        mids[k & 255] = mid
        imbalances[k % 50] = imbalance
        while ends[1] > ends[0] and low[(ends[1] - 1) & 127] >= mid:
            ends[1] -= 1
        low[ends[1] & 127], low_at[ends[1] & 127] = mid, k
        ends[1] += 1
        if low_at[ends[0] & 127] <= k - 100:
            ends[0] += 1
        while ends[3] > ends[2] and high[(ends[3] - 1) & 127] <= mid:
            ends[3] -= 1
        high[ends[3] & 127], high_at[ends[3] & 127] = mid, k
        ends[3] += 1
        if high_at[ends[2] & 127] <= k - 100:
            ends[2] += 1
        if k == 0:
            s[7] = s[8] = imbalance
            s[9] = s[10] = mid
            s[11] = spread
        s[7] += 2.0 / 21 * (imbalance - s[7])
        s[8] += 2.0 / 201 * (imbalance - s[8])
        s[9] += 2.0 / 13 * (mid - s[9])
        s[10] += 2.0 / 27 * (mid - s[10])
        s[11] += 2.0 / 51 * (spread - s[11])
        n[0] = k + 1
        if k + 1 < 200:
            return 0
        m50, m200 = s[0] / 50, s[2] / 200
        d50 = np.sqrt(max(s[1] / 50 - m50 * m50, 0.0))
        d200 = np.sqrt(max(s[3] / 200 - m200 * m200, 0.0))
        both = s[5] + s[6]
        z[0] = 1e4 * spread / mid
        z[1] = imbalance
        z[2] = 1e4 * (micro - mid) / mid
        z[3] = s[7]
        z[4] = s[8]
        z[5] = 1e4 * (mid / mids[(k - 1) & 255] - 1.0)
        z[6] = 1e4 * (mid / mids[(k - 20) & 255] - 1.0)
        z[7] = 1e4 * (mid / mids[(k - 100) & 255] - 1.0)
        z[8] = 1e4 * (mid - m50) / mid
        z[9] = 1e4 * d50 / mid
        z[10] = (mid - m50) / d50 if d50 > 1e-9 * mid else 0.0
        z[11] = 1e4 * (mid - m200) / mid
        z[12] = 1e4 * d200 / mid
        z[13] = (mid - m200) / d200 if d200 > 1e-9 * mid else 0.0
        z[14] = 1e4 * (high[ends[2] & 127] - mid) / mid
        z[15] = 1e4 * (mid - low[ends[0] & 127]) / mid
        z[16] = 100.0 * s[5] / both if both > 0 else 100.0
        z[17] = 1e4 * (s[9] - s[10]) / mid
        z[18] = spread / s[11]
        z[19] = s[4] / 50
        for j in range(20):
            z[j] = min(max(f32((z[j] - mean[j]) / std[j]), f32(-5.0)), f32(5.0))
        layer(z, w0, b0, h0, True)
        layer(h0, w1, b1, h1, True)
        layer(h1, w2, b2, p, False)
        top = max(p[0], p[1], p[2])
        e0, e1, e2 = np.exp(p[0] - top), np.exp(p[1] - top), np.exp(p[2] - top)
        all_ = e0 + e1 + e2
        best, at = e0, 0
        if e1 > best:
            best, at = e1, 1
        if e2 > best:
            best, at = e2, 2
        return at - 1 if best / all_ >= threshold else 0

    state = (
        np.zeros(1, np.int64),
        np.zeros(12),
        np.zeros(256),
        np.zeros(50),
        np.zeros(128),
        np.zeros(128),
        np.zeros(128, np.int64),
        np.zeros(128, np.int64),
        np.zeros(4, np.int64),
        np.zeros(20, np.float32),
        np.zeros(64, np.float32),
        np.zeros(64, np.float32),
        np.zeros(3, np.float32),
    )

    return step, state


def one_call() -> Decide:
    """Compiles once; then one call per event."""
    step, state = compiled()

    def call(ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> int:
        return int(step(*state, bid, ask, bid_qty, ask_qty))

    return call


def one_call_packed() -> Decide:
    """The same with its state in three arrays instead of thirteen: numba checks every argument of a call from Python."""
    import numba

    step, state = compiled()
    ends = {k: np.cumsum([a.size for a in state if a.dtype == k]) for k in (np.int64, np.float64, np.float32)}
    whole = {k: np.zeros(e[-1], k) for k, e in ends.items()}
    i0, i1, i2, i3 = ends[np.int64].tolist()
    d0, d1, d2, d3, d4 = ends[np.float64].tolist()
    f0, f1, f2, f3 = ends[np.float32].tolist()

    @numba.njit(error_model="numpy")
    def outer(i, d, f, bid, ask, bid_qty, ask_qty):  # type: ignore[no-untyped-def]
        return step(
            i[0:i0], d[0:d0], d[d0:d1], d[d1:d2], d[d2:d3], d[d3:d4], i[i0:i1], i[i1:i2], i[i2:i3],
            f[0:f0], f[f0:f1], f[f1:f2], f[f2:f3], bid, ask, bid_qty, ask_qty,
        )  # fmt: skip

    i, d, f = whole[np.int64], whole[np.float64], whole[np.float32]

    def call(ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> int:
        return int(outer(i, d, f, bid, ask, bid_qty, ask_qty))

    return call
