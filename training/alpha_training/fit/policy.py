"""A trading policy by proximal policy optimisation (stable-baselines3), kept at its best validation profit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from alpha.errors import DataError, need
from alpha_training import export
from alpha_training.fit.task import Fitted, Floats, Inputs, Ints, Task
from alpha_training.recipe import Model

DEFAULTS: dict[str, Any] = {
    "timesteps": 60_000,
    "envs": 8,
    "steps": 256,
    "batch": 256,
    "epochs": 5,
    "lr": 5e-4,
    "gamma": 0.9,
    "gae_lambda": 0.9,
    "ent_coef": 0.003,
    "clip_range": 0.2,
    "hidden": [64, 64],
    "episode": 256,
    "patience": 12,
}


def parameters(spec: Model) -> dict[str, Any]:
    """Defaults with the recipe's values; DataError for what a policy does not have."""
    for name, value in spec.params.items():
        if name not in DEFAULTS:
            raise DataError(f"models.params of {spec.id}: ppo has no parameter {name!r}; it has {', '.join(DEFAULTS)}")
        default = DEFAULTS[name]
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise DataError(f"models.params of {spec.id}: {name} must be a value such as {default!r}, not {value!r}")
    return {**DEFAULTS, **spec.params}


def check(spec: Model) -> None:
    """DataError for parameters that a policy does not have, MissingExtraError without the libraries."""
    parameters(spec)
    need("torch", "torch"), need("onnxscript", "torch"), need("gymnasium", "rl"), need("stable_baselines3", "rl")
    if spec.class_weight is not None or spec.calibrate:
        raise DataError(f"class_weight and calibrate of {spec.id}: a policy learns from profit, not from classes")


class Policy(Fitted):
    """The actor alone: features -> probabilities of SELL, HOLD, BUY. ``agent``: the library's own model, to compare with."""

    policy = True

    def __init__(self, agent: Any, n_features: int, note: str) -> None:
        super().__init__((0, 1, 2), note)
        self.agent, self.n_features = agent, n_features

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        torch = need("torch", "torch")
        with torch.no_grad():
            made = self.agent.policy.get_distribution(torch.from_numpy(inputs.rows(rows))).distribution.probs
        return np.asarray(made.double().numpy())

    def to_onnx(self, name: str) -> bytes:
        torch = need("torch", "torch")
        net = actor(self.agent.policy)
        return export.torch_to_onnx(net, (torch.zeros(1, self.n_features),), name, [export.INPUT], [export.OUTPUT])


def actor(policy: Any) -> Any:
    """Only the layers that choose: no critic, no distribution object, no sampling."""
    torch = need("torch", "torch")
    from alpha_training.fit.networks import Probabilities

    layers = [*policy.mlp_extractor.policy_net, policy.action_net]
    return Probabilities(torch.nn.Sequential(*layers))


def fit(spec: Model, task: Task) -> Fitted:
    """A policy that traded the training rows; DataError without a market to trade against."""
    torch = need("torch", "torch")
    sb3 = need("stable_baselines3", "rl")
    vec = need("stable_baselines3.common.vec_env", "rl")
    callbacks = need("stable_baselines3.common.callbacks", "rl")
    need("gymnasium", "rl")
    from alpha_training.fit.environment import TradingEnv, earned

    p = parameters(spec)
    market = task.market
    if market is None or not (np.isfinite(market.price[task.train]).all() and (market.price[task.train] > 0).all()):
        raise DataError(f"labels.price: {spec.id} trades against it, so it must be above 0 everywhere")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        envs = vec.DummyVecEnv(
            [lambda: TradingEnv(task.inputs, task.train, market, int(p["episode"])) for _ in range(int(p["envs"]))]
        )
        agent = sb3.PPO(
            "MlpPolicy",
            envs,
            learning_rate=p["lr"],
            n_steps=p["steps"],
            batch_size=p["batch"],
            n_epochs=p["epochs"],
            gamma=p["gamma"],
            gae_lambda=p["gae_lambda"],
            ent_coef=p["ent_coef"],
            clip_range=p["clip_range"],
            policy_kwargs={"net_arch": list(p["hidden"]), "activation_fn": torch.nn.ReLU},
            seed=task.seed,
            device="cpu",
            verbose=0,
        )
        agent.policy.set_training_mode(False)
        own = [s[np.isin(s, task.valid)] for s in task.inputs.streams()]
        streams = [part for s in own for part in market.stretches(s)]

        def profit() -> float:
            total = 0.0
            for rows in streams:
                with torch.no_grad():
                    seen = torch.from_numpy(task.inputs.rows(rows))
                    action = agent.policy.get_distribution(seen).distribution.probs.argmax(dim=1).numpy()
                total += earned(action, rows, market)
            return total

        base: Any = callbacks.BaseCallback

        class Keeper(base):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.best, self.since = -math.inf, 0
                self.weights: dict[str, Any] | None = None

            def _on_step(self) -> bool:
                return bool(self.since <= p["patience"])

            def _on_rollout_start(self) -> None:
                now = profit()
                task.watch(min(self.num_timesteps, int(p["timesteps"])), int(p["timesteps"]), -now)
                # the untrained policy is no candidate: it may be lucky
                if self.num_timesteps > 0 and now > self.best:
                    self.best, self.since = now, 0
                    self.weights = {k: v.clone() for k, v in agent.policy.state_dict().items()}
                else:
                    self.since += 1

        keeper = Keeper()
        agent.learn(int(p["timesteps"]), callback=keeper)
        last = profit()
        if keeper.weights is not None and keeper.best > last:
            agent.policy.load_state_dict(keeper.weights)
        agent.policy.set_training_mode(False)
    finally:
        torch.set_num_threads(threads)
    best = max(keeper.best, last)
    return Policy(
        agent, task.inputs.n_features, f"{agent.num_timesteps:,} steps, validation profit {1e4 * best:.1f} bp"
    )
