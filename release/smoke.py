"""Is this installation whole? Every module imports, the demo model serves, and nothing comes from a source tree.

    python release/smoke.py            what is installed: the core alone, or more
    python release/smoke.py --core     the core alone: no extra may be there, and none may be needed
    python release/smoke.py --data     the extras cli and data too: parity, `alpha run` on simulated files

Run by ``./dev wheel`` in empty environments and by cibuildwheel for each wheel. Imports nothing but the
installed package; the folder that this file lies in is taken off the path.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE]

CORE = {"numpy", "onnxruntime", "msgspec", "filelock"}
DATA = {"rich", "pandas", "polars", "pyarrow", "numba"}  # extras cli and data
COMPILED = "alpha.features._batch_"  # what numba compiles as it is imported
SEED, EVENTS = 7, 20_000


class BrokenError(Exception):
    """What is wrong with the installation, in one sentence."""


def demand(fact: bool, words: str) -> None:
    if not fact:
        raise BrokenError(words)


def importable(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def modules() -> tuple[int, list[str]]:
    """Import every module; (how many came, those that wait for an extra). Anything else that fails is an error."""
    came, waiting = 0, []
    for top in ("alpha", "alpha_training"):
        package = importlib.import_module(top)
        names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{top}.", onerror=lambda name: None)]
        demand(len(names) > 10, f"{top} has only {len(names)} modules")
        for name in names:
            if name.rsplit(".", 1)[-1] == "__main__":
                continue
            try:
                importlib.import_module(name)
            except ImportError as exc:
                missing = (getattr(exc, "name", None) or "").split(".")[0]
                optional = missing and missing not in CORE and not missing.startswith("alpha")
                allowed = (
                    optional
                    and not importable(missing)
                    and (top != "alpha" or (name.startswith(COMPILED) and missing == "numba"))
                )
                demand(bool(allowed), f"{name} cannot be imported: {type(exc).__name__}: {exc}")
                waiting.append(f"{name} ({missing})")
            else:
                came += 1
    return came, waiting


def extensions() -> list[str]:
    """The native modules that are installed, for this interpreter and no other."""
    import alpha._core

    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = sorted(p.name for p in Path(alpha._core.__path__[0]).glob("*.so"))
    typed = sorted(p.stem for p in Path(alpha._core.__path__[0]).glob("*.pyi"))
    demand(
        built == [f"{name}{suffix}" for name in typed], f"native modules {built} are not those that are typed, {typed}"
    )
    return typed


def imported_from_here() -> None:
    """Everything of ours lies where pip puts packages."""
    homes = [Path(p).resolve() for p in {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}]
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] in ("alpha", "alpha_training") and file:
            there = any(Path(file).resolve().is_relative_to(home) for home in homes)
            demand(there, f"{name} was imported from {file}, which is not where packages are installed")


def decisions() -> dict[str, Any]:
    """Simulated events through the demo model, by its plan and by ONNX Runtime: the same decisions."""
    import numpy as np

    import alpha
    from alpha.data.simulate import simulate

    stream = simulate(EVENTS, seed=SEED)
    signals: dict[str, Any] = {}
    isa = ""
    for engine in ("plan", "ort"):
        with alpha.Runtime.from_registry(
            None, "models:/demo@production", instruments=stream.instruments, engine=engine
        ) as rt:
            signals[engine] = rt.run(stream.events)
            stats = rt.stats()
        demand(stats["engine"] == engine, f"asked for {engine}, {stats['engine']} serves: {stats['engine_reason']}")
        isa = stats.get("isa", isa)
    plan, ort = signals["plan"], signals["ort"]
    acted = int(np.count_nonzero(plan["action"]))
    demand(len(plan) == len(ort) > EVENTS // 4, f"{len(plan)} signals by the plan, {len(ort)} by ONNX Runtime")
    demand(acted > 100, f"only {acted} signals are a BUY or SELL: the planted signal was not found")
    apart = float(np.abs(plan["scores"] - ort["scores"]).max())
    demand(apart <= 1e-6, f"plan and ONNX Runtime differ by {apart:.1e}")
    demand(bool((plan["action"] == ort["action"]).all()), "plan and ONNX Runtime decide differently")
    return {"signals": len(plan), "acted": acted, "apart": apart}


def alpha(*args: str, cwd: Path) -> dict[str, Any]:
    """One call of the installed command; the JSON object it prints."""
    command = [str(Path(sysconfig.get_path("scripts")) / "alpha"), *args, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    demand(done.returncode == 0, f"`alpha {' '.join(args)}` ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    out: dict[str, Any] = json.loads(done.stdout)
    return out


def commands(folder: Path) -> None:
    """What needs the core alone, through the console script."""
    doctor = alpha("doctor", cwd=folder)
    demand(doctor["pass"] is True, f"alpha doctor: {doctor.get('onnxruntime_problem')}")
    listed = json.dumps(alpha("registry", "list", cwd=folder))
    demand('"demo"' in listed, "alpha registry list does not know the demo model")
    demand("v1" in listed, "alpha registry list does not know the demo model's version")


def files(folder: Path) -> dict[str, Any]:
    """Simulated quotes and trades as files: parity of the demo's features, and `alpha run` over them."""
    import polars as pl

    from alpha.data.simulate import simulate
    from alpha.events import Kind

    events = simulate(EVENTS, seed=SEED).events
    for kind, names in ((Kind.QUOTE, ("bid_px", "ask_px", "bid_qty", "ask_qty")), (Kind.TRADE, ("px", "qty", "side"))):
        rows = events[events["kind"] == kind]
        columns = {name: rows["v"][:, i] for i, name in enumerate(names)}
        pl.DataFrame({"ts": rows["ts_event_ns"], **columns}).write_parquet(folder / f"{kind.name.lower()}.parquet")
    data = ("--data", "quote.parquet", "trade.parquet", "--instrument", "SIM0", "--ts-unit", "ns")
    parity = alpha("parity", "--features", "demo", *data, cwd=folder)
    demand(parity["pass"] is True, f"alpha parity: {json.dumps(parity)[:500]}")
    run = alpha("run", "--model", "models:/demo@production", *data, "--signals", "signals.parquet", cwd=folder)
    demand(len(pl.read_parquet(folder / "signals.parquet")) == run["decisions"] > EVENTS // 4, f"alpha run: {run}")
    return {"parity": parity["verdict"], "run": run["decisions"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--core", action="store_true", help="no extra may be installed")
    asked.add_argument("--data", action="store_true", help="the extras cli and data must be installed")
    args = parser.parse_args()
    os.environ.pop("ALPHA_REGISTRY", None)  # the one that the package ships
    try:
        there = {name for name in DATA if importable(name)}
        demand(not (args.core and there), f"asked for the core alone, but there is {', '.join(sorted(there))}")
        demand(not args.data or there == DATA, f"the extras cli and data lack {', '.join(sorted(DATA - there))}")
        facts: dict[str, Any] = {"python": sys.version.split()[0], "platform": sysconfig.get_platform()}
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # no registry.json lies here or above
            native = extensions()
            facts |= decisions()
            loaded = sorted(name for name in DATA | {"onnxruntime"} if name in sys.modules)
            demand(not loaded, f"the hot path imported {', '.join(loaded)}")
            commands(Path(folder))
            if there == DATA:
                facts |= files(Path(folder))
            came, waiting = modules()
            imported_from_here()
            facts |= {"native": len(native), "modules": came, "wait_for_an_extra": len(waiting)}
            os.chdir("/")
    except BrokenError as exc:
        print(f"smoke: {exc}", file=sys.stderr)
        return 1
    print("smoke: " + ", ".join(f"{k} {v}" for k, v in facts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
