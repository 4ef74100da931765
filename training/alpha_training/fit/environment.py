"""A trading environment over real rows: the observation is the model's inputs alone, position and costs enter the reward.

A policy that saw its own position could not be served: features come from the market's events only.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from alpha_training.fit.task import CLIP, Inputs, Ints, Market


class TradingEnv(gymnasium.Env):  # type: ignore[misc]
    """Actions 0 SELL (go short), 1 HOLD (keep the position), 2 BUY (go long), one unit; a decision at a row is filled at
    the next one.

    Reward: what the position earned over the step, minus half the spread and the costs of what was filled at its end, in
    units of the rows' own return deviation. An episode is a stretch of ``length`` rows of one instrument, begun flat.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, inputs: Inputs, rows: Ints, market: Market, length: int) -> None:
        self.inputs, self.length = inputs, length
        inside = np.zeros(len(inputs.z), np.bool_)
        inside[rows] = True
        self.streams = [part for s in inputs.streams() for part in market.stretches(s[inside[s]])]
        self.market = market
        moves = np.concatenate([np.diff(market.price[s]) / market.price[s[:-1]] for s in self.streams])
        self.scale = 1.0 / max(float(np.std(moves)), 1e-12)
        self.observation_space = gymnasium.spaces.Box(*CLIP, (inputs.n_features,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._stream, self._at, self._end, self.position, self._asked = self.streams[0], 0, 0, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A random stretch."""
        super().reset(seed=seed)
        sizes = np.array([len(s) for s in self.streams], np.float64)
        self._stream = self.streams[int(self.np_random.choice(len(sizes), p=sizes / sizes.sum()))]
        last = len(self._stream) - 1
        self._at = int(self.np_random.integers(0, max(last - self.length, 0) + 1))
        self._end = min(self._at + self.length, last)
        self.position = self._asked = 0
        return self.inputs.z[self._stream[self._at]].copy(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Fill the action at the next row."""
        now, then = self._stream[self._at], self._stream[self._at + 1]
        wanted = self.position if action == 1 else int(action) - 1
        price = self.market.price
        reward = self.position * (price[then] - price[now]) / price[now]
        change = abs(wanted - self.position)
        reward -= change * (self.market.half_spread[then] / price[then] + self.market.cost)
        self.position = wanted
        self._at += 1
        done = self._at >= self._end
        return self.inputs.z[then].copy(), float(reward * self.scale), False, done, {}


def earned(action: Ints, rows: Ints, market: Market) -> float:
    """The environment's unscaled reward of actions over consecutive rows of one instrument, at once."""
    asked = np.where(action == 1, 0, action - 1)
    last = np.maximum.accumulate(np.where(asked != 0, np.arange(len(asked)), -1))
    wanted = np.where(last >= 0, asked[np.maximum(last, 0)], 0)[:-1]  # what each row but the last asks for
    before = np.concatenate([[0], wanted[:-1]])
    price = market.price[rows]
    cost = market.half_spread[rows][1:] / price[1:] + market.cost
    return float(np.sum(before * np.diff(price) / price[:-1] - np.abs(wanted - before) * cost))
