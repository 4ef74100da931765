# %% [markdown]
# # From a model to a live loop
#
# Train a recipe, look at its checks, promote it, serve it, kill it, replay what it decided. Everything happens in a
# temporary folder.
#
# Run it whole, `python model_to_live.py`, or cell by cell in an editor that knows `# %%`. The market is simulated and
# carries a planted signal: the path can be checked, and nothing here says that money can be made.

# %%
import tempfile
from pathlib import Path

import numpy as np

import alpha
from alpha.audit import verify
from alpha.data.simulate import simulate
from alpha.registry import load, promote
from alpha.replay import replay
from alpha_training.train import train

folder = Path(tempfile.mkdtemp())
print("working in", folder.name)

# %% [markdown]
# ## A recipe
#
# Data, label, split, costs and a model in one file. This folder is no git repository, so the policy of its registry
# must allow a definition without a commit.

# %%
(folder / "features.toml").write_text("""
trigger = "quote"

[features]
spread_bp = "1e4 * spread / mid"
pressure = "ema(imbalance, span=20)"
flow = 'trade_imbalance("10s")'
lean_bp = "1e4 * (microprice - mid) / mid"
""")
(folder / "recipe.toml").write_text("""
features = "features.toml"
assumptions = ["The market is simulated.", "Orders are filled at the mid; costs would eat most of the profit."]

[data]
simulate = { n_events = 120_000, strength = 0.35, half_life = "2s" }

[labels]
price = "mid"
horizon = "2s"

[costs]
spread_share = 0.0

[[models]]
id = "mine"
kind = "logistic"
owner = "you"
""")
registry = folder / "registry.json"
(folder / "registry.toml").write_text('[policy]\ndefinition_commit = "optional"\n')

# %% [markdown]
# ## Train
#
# `train` is what `alpha train` calls: snapshot with its certificate, fit, export, audit, register as a candidate.

# %%
waived = {"definition_committed": "a walk through, outside of version control"}
trained = train(folder / "recipe.toml", registry, run_dir=folder / "run", waive=waived)
model = trained.models[0]
for check in model.checks:
    print(f"{check['name']:<26} {check['value']:<12.6g} {'waived' if check['waived'] else check['passed']}")
print(f"AUC of the test part {model.metrics['test']['auc_up']:.3f}, threshold {model.threshold:.3f}")

# %% [markdown]
# ## Promote
#
# A person makes the candidate the production version. What stands in the way is said in one sentence.

# %%
promote(registry, f"models:/{model.model_id}/{model.version}", approver="you")
entry = load(registry).resolve("models:/mine@production")
print(entry.label, entry.status, "approved by", *entry.approved_by)

# %% [markdown]
# ## Serve
#
# Fresh events with another seed. Inline calls, whole streams and a worker run the same native function.

# %%
fresh = simulate(20_000, seed=11, strength=0.35, half_life="2s", levels=1)
log = folder / "log"
with alpha.Runtime.from_registry(
    registry, "models:/mine@production", instruments=fresh.instruments, audit=log, kill_file=folder / "kill.latch"
) as rt:
    sim = rt.instrument("SIM0")
    acted = 0
    for event in fresh.events[:10_000]:
        signal = rt.on_event(event)
        if signal is not None and signal.action != alpha.Action.HOLD:
            acted += 1  # your strategy and your risk limits decide what becomes of it
    print(acted, "times BUY or SELL in the first half;", rt.stats()["reasons"])

    # %% [markdown]
    # ## Kill
    #
    # The latch is a file: anybody with access to it silences the model, before its next event.

    # %%
    alpha.KillLatch(folder / "kill.latch").kill(model="mine")
    silenced = rt.run(fresh.events[10_000:12_000])
    print({alpha.Reason(r).name for r in silenced["reason"]})
    assert set(silenced["reason"]) == {alpha.Reason.KILLED}
    alpha.KillLatch(folder / "kill.latch").revive(model="mine")
    signals = rt.run(fresh.events[12_000:])

# %% [markdown]
# ## What was it worth?
#
# The planted signal is known here. A BUY should stand where it is positive.

# %%
planted = fresh.signal[signals["event_index"].astype(np.int64)]
buy, sell = signals["action"] == 1, signals["action"] == -1
print(f"planted signal where it says BUY {planted[buy].mean():+.2f}, where it says SELL {planted[sell].mean():+.2f}")
assert planted[buy].mean() > 0 > planted[sell].mean()

# %% [markdown]
# ## Replay
#
# The log holds every event and decision. Its chain of hashes shows that nothing was altered, and a replay demands
# the same bytes: the kill is in it, in its place.

# %%
checked = verify(log)
again = replay(log)
print(
    len(checked.problems),
    "problems in the log;",
    f"{again.events:,} events, {again.decisions:,} decisions,",
    again.differences,
    "differences",
)
assert not checked.problems and again.differences == 0
