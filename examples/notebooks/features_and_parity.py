# %% [markdown]
# # Features and parity
#
# Features as a table, the two twins side by side, and what a look-ahead looks like when there is one.
#
# Run it whole, `python features_and_parity.py`, or cell by cell in an editor that knows `# %%`. The market is
# simulated and carries a planted signal.

# %%
import numpy as np
import pandas as pd

import alpha
from alpha import f
from alpha.data.simulate import simulate
from alpha.features import causality, parity

stream = simulate(40_000, seed=1, levels=1)
print(stream.describe())

# %% [markdown]
# ## A set of features
#
# Expressions are written as text or built from `f`. Units are checked: a price plus a size is refused.

# %%
features = alpha.FeatureSet(
    "mine",
    {
        "spread_bp": 1e4 * f.spread / f.mid,
        "pressure": f.ema(f.imbalance, span=20),
        "flow": f.trade_imbalance("10s"),
        "trend_bp": 1e4 * f.ret(f.mid, "5s"),
    },
)
for name, expression in features.features.items():
    print(f"{name:<10} {expression}")
print("definition hash", features.definition_hash[:16])

# %% [markdown]
# ## Frames in, frames out
#
# `features_of` takes a pandas or polars frame and gives one of the same library: a row per trigger, float32, and
# `ready`, whether every feature is warm.

# %%
events = stream.events
quote = events["kind"] == alpha.Kind.QUOTE
v = events["v"]
market = pd.DataFrame(
    {
        "ts": pd.to_datetime(events["ts_event_ns"], utc=True),
        "kind": np.where(quote, "quote", "trade"),
        "symbol": "SIM0",
        **{n: np.where(quote, v[:, k], np.nan) for k, n in enumerate(("bid_px", "ask_px", "bid_qty", "ask_qty"))},
        **{n: np.where(quote, np.nan, v[:, k]) for k, n in enumerate(("px", "qty", "side"))},
    }
)
rows = alpha.features_of(features, market)
print(rows.tail(3).to_string())
print(f"{len(rows):,} rows, {int(rows['ready'].sum()):,} of them warm")

# %% [markdown]
# ## Does it know anything?
#
# The simulation tells what it planted. A feature that has nothing to do with it has no correlation with it.

# %%
planted = stream.signal[quote]
warm = rows["ready"].to_numpy()
for name in features.names:
    correlation = np.corrcoef(rows[name].to_numpy()[warm], planted[warm])[0, 1]
    print(f"{name:<10} {correlation:+.2f}")

# %% [markdown]
# ## The same live
#
# `parity.check` runs both twins over the same events and compares every ready value. It is what `alpha parity`
# prints, and what `alpha train` puts beside a model.

# %%
certificate = parity.check(features, events, stream.instruments)
print(certificate["verdict"], f"{certificate['values']:,} values, share equal {certificate['share']:.8f}")
assert certificate["pass"]

# %% [markdown]
# One event at a time gives the same rows: here the last one, out of a runtime without a model.

# %%
with alpha.Runtime.from_features(features, instruments=stream.instruments) as rt:
    for event in events:
        rt.on_event(event)
    last = rt.feature_vector("SIM0")
assert last is not None
print("live  ", last)
print("frame ", rows[list(features.names)].to_numpy()[-1])
assert np.array_equal(last, rows[list(features.names)].to_numpy(np.float32)[-1])

# %% [markdown]
# ## The future must not show
#
# Everything after a cut is altered; nothing before it may change. Then the same for a "feature" that peeks: a table
# with tomorrow's mid in it. The language cannot express that one, so it is made by hand.

# %%
result = causality.check(features, events[:10_000], stream.instruments, cuts=4)
print("violations of the set:", result["violations"], "in", result["cuts"], "cuts")
assert result["pass"]

mid = 0.5 * (v[quote, 0] + v[quote, 1])


def peeking(prices: np.ndarray) -> np.ndarray:
    """The return of the next ten quotes: a leak."""
    return np.append(prices[10:], np.full(10, prices[-1])) / prices - 1


cut = 5_000
altered = mid.copy()
altered[cut:] *= 1.01
changed = np.flatnonzero(peeking(mid)[:cut] != peeking(altered)[:cut])
print(f"violations of the leak: {len(changed)}, from row {changed[0]} on, {cut - changed[0]} rows before the cut")
assert len(changed) > 0
