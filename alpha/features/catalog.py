"""Named feature sets. Floor 2. Each is plain text of the expression language."""

from __future__ import annotations

import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from alpha.errors import DefinitionError
from alpha.features.feature_set import FeatureSet

_CATALOG: dict[str, dict[str, Any]] = {
    # the specification's registry sample
    "spec": {
        "trigger": "quote",
        "features": {"bid_ask_spread": "spread", "mid_price_velocity_1s": 'velocity(mid, "1s")'},
    },
    # scale-free: the same meaning for a 200 $ stock and a 60,000 $ coin
    "demo": {
        "trigger": "quote",
        "features": {
            "spread_bp": "1e4 * spread / mid",
            "imbalance": "imbalance",
            "imbalance_ema": "ema(imbalance, span=10)",
            "imbalance_slow": "ema(imbalance, span=50)",
            "micro_dev": "(microprice - mid) / (spread + 1e-9 * mid)",
            "side_fast": "ema(side, span=10)",
            "side_slow": "ema(side, span=40)",
            "zscore_50": "zscore(mid, 50)",
            "zscore_5s": 'zscore(mid, "5s")',
            "rsi_14": "rsi(mid, 14)",
        },
    },
    # the set that bench/ measures: twenty features, two standard deviations
    "twenty": {
        "trigger": "quote",
        "features": {
            "spread": "spread",
            "mid": "mid",
            "microprice": "microprice",
            "imbalance": "imbalance",
            "bid_px": "bid_px",
            "ask_qty": "ask_qty",
            "micro_dev": "microprice - mid",
            "spread_bp": "1e4 * spread / mid",
            "diff_1": "diff(mid, 1)",
            "ret_1": "ret(mid, 1)",
            "ret_5": "ret(mid, 5)",
            "ret_20": "ret(mid, 20)",
            "lag_10": "lag(mid, 10)",
            "velocity_1s": 'velocity(mid, "1s")',
            "ema_10": "ema(mid, span=10)",
            "ema_50": "ema(mid, span=50)",
            "imbalance_ema": "ema(imbalance, span=20)",
            "std_50": "std(mid, 50)",
            "std_5s": 'std(mid, "5s")',
            "rsi_14": "rsi(mid, 14)",
        },
    },
    # minute bars of a feed
    "bars": {
        "trigger": 'bar("1m", "feed")',
        "features": {
            "ret_1m": 'ret(bar("1m", "feed").close, 1)',
            "ret_5m": 'ret(bar("1m", "feed").close, 5)',
            "logret_15m": 'logret(bar("1m", "feed").close, 15)',
            "rsi_14": 'rsi(bar("1m", "feed").close, 14)',
            "sma_10": 'bar("1m", "feed").close / mean(bar("1m", "feed").close, 10) - 1',
            "sma_30": 'bar("1m", "feed").close / mean(bar("1m", "feed").close, 30) - 1',
            "vol_20": 'std(ret(bar("1m", "feed").close, 1), 20)',
            "range": '(bar("1m", "feed").high - bar("1m", "feed").low) / bar("1m", "feed").close',
            "volume_z": 'zscore(bar("1m", "feed").volume, 20)',
            "ema_1h": 'ema(bar("1m", "feed").close, half_life="1h") / bar("1m", "feed").close - 1',
        },
    },
    # one-second bars built from trades
    "trade_bars": {
        "trigger": 'bar("1s", "trade")',
        "features": {
            "ret_1": 'ret(bar("1s", "trade").close, 1)',
            "range": 'bar("1s", "trade").high - bar("1s", "trade").low',
            "open": 'bar("1s", "trade").open',
            "volume": 'bar("1s", "trade").volume',
            "rsi_14": 'rsi(bar("1s", "trade").close, 14)',
            "vol_20": 'std(ret(bar("1s", "trade").close, 1), 20)',
            "mean_30s": 'mean(bar("1s", "trade").close, "30s")',
        },
    },
    # ten rows a second, quotes only
    "clocked": {
        "trigger": 'every("100ms")',
        "features": {
            "ret_1s": 'ret(mid, "1s")',
            "mid_bar_ret": 'ret(bar("1s", "mid").close, 1)',
            "velocity_1s": 'velocity(mid, "1s")',
            "mean_dev_5s": 'mid / mean(mid, "5s") - 1',
            "std_5s": 'std(mid, "5s")',
            "quotes_1s": 'count(mid, "1s")',
            "ema_2s": 'ema(mid, half_life="2s") / mid - 1',
            "zscore_10s": 'zscore(mid, "10s")',
        },
    },
}


_FILES = resources.files("alpha.features").joinpath("catalogs")


def _files() -> dict[str, Traversable]:
    """Name -> definition file of the sets too long for this module."""
    found = {f.name.removesuffix(".toml"): f for f in _FILES.iterdir() if f.name.endswith(".toml")}
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Names of the catalogued sets."""
    return (*_CATALOG, *_files())


def get(name: str) -> FeatureSet:
    """A catalogued feature set; DefinitionError lists the names."""
    if name in _CATALOG:
        return FeatureSet.from_dict(_CATALOG[name], name=name)
    file = _files().get(name)
    if file is None:
        raise DefinitionError(f"no feature set is called {name!r}; known: {', '.join(names())}, or give a TOML file")
    return FeatureSet.from_dict(tomllib.loads(file.read_text(encoding="utf-8")), name=name)


def find(name_or_file: str | Path) -> FeatureSet:
    """A catalogued name, or a TOML file."""
    text = str(name_or_file)
    if text.endswith(".toml") or "/" in text:
        return FeatureSet.from_toml(text)
    return get(text)
