"""Rows and windows that models see, and the environment a policy trades in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.errors import DataError
from alpha_training import pnl
from alpha_training.fit import Inputs, Market, Scaler, Task
from alpha_training.fit.environment import TradingEnv, earned
from alpha_training.recipe import CostsOf


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 5))
def test_windows_end_at_their_row_and_stay_in_their_instrument(ids: list[int], length: int) -> None:
    who = np.array(ids, np.uint32)
    z = np.arange(len(ids), dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    inputs = Inputs(z, who, length)
    for row in range(len(ids)):
        own = [i for i in range(row + 1) if ids[i] == ids[row]]
        assert inputs.usable[row] == (len(own) >= length)
        if inputs.usable[row]:
            assert inputs.windows(np.array([row]))[0, :, 0].tolist() == own[-length:]
        else:
            with pytest.raises(DataError, match="shorten window"):
                inputs.windows(np.array([row]))
    assert sorted(np.concatenate(inputs.streams()).tolist()) == list(range(len(ids)))


def test_weights_make_classes_equal() -> None:
    y = np.array([0] * 80 + [1] * 15 + [2] * 5)
    task = Task.of_rows(np.zeros((100, 1), np.float32), y, 1, share=0.01)
    w = task.weights(np.arange(100), "balanced")
    assert [w[y == c].sum() for c in range(3)] == pytest.approx([100 / 3] * 3)
    assert w.mean() == pytest.approx(1.0)
    assert task.weights(np.arange(4), None).tolist() == [1, 1, 1, 1]


def test_identity_keeps_every_bit() -> None:
    x = np.array([[1e30, -1e-40, 3.4e38, -0.0, 7.1]], np.float32)
    assert np.array_equal(Scaler.identity(5).apply(x).view(np.uint32), np.clip(x, -3.4e38, 3.4e38).view(np.uint32))


def market(n: int, seed: int) -> tuple[Inputs, Market]:
    rng = np.random.default_rng(seed)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0, 1e-3, n)))
    z = rng.normal(size=(n, 3)).astype(np.float32)
    return Inputs(z), Market(price, np.full(n, 0.01), 2e-5, np.arange(n) * 10**9)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_an_episode_pays(seed: int) -> None:
    """Step by step, at once, and as the audit counts it; and the observation is the row, whatever the position is."""
    inputs, against = market(200, seed)
    env = TradingEnv(inputs, np.arange(200), against, 200)
    action = np.random.default_rng(seed).integers(0, 3, 199)
    seen, _ = env.reset(seed=1)
    total = 0.0
    for i, a in enumerate(action.tolist()):
        assert np.array_equal(seen, inputs.z[i])
        seen, reward, ended, cut, _ = env.step(a)
        total += reward
        assert (ended, cut) == (False, i == 198)
    assert total / env.scale == pytest.approx(earned(np.append(action, 1), np.arange(200), against), rel=1e-9)
    costs = pnl.Trading.of(CostsOf(fee_bp=0.2, spread_share=1.0), Path())
    asked = pnl.positions(np.append(action, 1) - 1, np.arange(200), None)
    booked = pnl.profits(asked, np.arange(200) * 10**9, against.price, np.full(200, 0.02), costs)
    # shares of the price then and of the first price differ by what the price did; the last row closes
    assert booked.sum() == pytest.approx(total / env.scale, abs=0.02)


def test_the_environment_is_one() -> None:
    from gymnasium.utils.env_checker import check_env

    inputs, against = market(300, 5)
    check_env(TradingEnv(inputs, np.arange(20, 280), against, 50), skip_render_check=True)


def test_a_position_costs_and_earns() -> None:
    price = np.array([100.0, 100.0, 110.0, 110.0])
    against = Market(price, np.zeros(4), 0.01, np.arange(4))
    # BUY at row 0 is filled at row 1, earns 10 % to row 2, is kept
    assert earned(np.array([2, 1, 1, 1]), np.arange(4), against) == pytest.approx(0.1 - 0.01)
    assert earned(np.array([1, 1, 1, 1]), np.arange(4), against) == 0.0
    assert earned(np.array([2, 0, 1, 1]), np.arange(4), against) == pytest.approx(0.1 - 0.01 - 0.02)


def test_nobody_earns_what_lies_in_missing_data() -> None:
    inputs, against = market(60, 6)
    day = 86_400 * 10**9
    ts = np.arange(60) * 10**9 + np.where(np.arange(60) >= 20, 4 * day, 0) + np.where(np.arange(60) >= 40, 90 * day, 0)
    cut = Market(against.price, against.half_spread, against.cost, ts)
    assert [s.tolist() for s in cut.stretches(np.arange(60))] == [list(range(40)), list(range(40, 60))]
    env = TradingEnv(inputs, np.arange(60), cut, 1_000)
    for seed in range(20):
        env.reset(seed=seed)
        rows = [int(env._stream[env._at])]
        done = False
        while not done:
            done = env.step(2)[3]
            rows.append(int(env._stream[env._at]))
        assert rows in (list(range(40)), list(range(40, 60)))
