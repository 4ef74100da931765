"""Many settings of one job in parallel processes. Floor 7.

Every run is a fresh process's own job, so that its result does not depend on which process made it or when.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from alpha.backtest.job import Job, execute
from alpha.backtest.metrics import summarise
from alpha.backtest.statistics import daily_returns, deflated_sharpe
from alpha.distribution import Cluster, File
from alpha.errors import RegistryError, StrategyError
from alpha.registry import find
from alpha.strategies import make

MOST = 10_000


def parse_sweeps(texts: Sequence[str]) -> dict[str, list[str]]:
    """``K=V:V:V`` each; StrategyError for anything else."""
    out: dict[str, list[str]] = {}
    for text in texts:
        name, sep, values = text.partition("=")
        found = [v.strip() for v in values.split(":")]
        if not sep or not name.strip() or not all(found):
            raise StrategyError(f"--sweep takes NAME=VALUE:VALUE:…, not {text!r}")
        if name.strip() in out:
            raise StrategyError(f"--sweep names {name.strip()} twice")
        out[name.strip()] = found
    return out


def combinations(grid: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every combination, the last name varying fastest; StrategyError for more than MOST."""
    names = list(grid)
    out = [dict(zip(names, values, strict=True)) for values in itertools.product(*grid.values())]
    if len(out) > MOST:
        raise StrategyError(f"{len(out):,} combinations are more than {MOST:,}: try fewer values")
    return out


def one(job: Job) -> dict[str, Any]:
    """A run reduced to what can be compared: figures and the daily equity, for another process."""
    done, backtest, _ = execute(job)
    backtest.finish_audit({})
    summary = summarise(done)
    p = summary["performance"]
    return {
        "params": summary["params"],
        "sharpe": p["sharpe"],
        "total_return": p["total_return"],
        "max_drawdown": summary["max_drawdown"],
        "trades": summary["trades"],
        "fills": summary["fills"],
        "equity_start": summary["equity_start"],
        "equity_end": summary["equity_end"],
        "signals_sha256": summary["signals_sha256"],
        "days": [d.last_ns for d in done.curve.days],
        "equity": [done.settings.cash, *(d.equity for d in done.curve.days)],
    }


def run_all(
    jobs: Sequence[Job],
    processes: int,
    progress: Callable[[int], None] | None = None,
    cluster: Cluster | None = None,
) -> list[dict[str, Any]]:
    """Every job's :func:`one`, in the order of the jobs. ``processes=1``: here, without another process; ``cluster``: by
    its workers, which must see the same files by the same paths."""
    if processes < 1:
        raise StrategyError(f"--processes must be 1 or more, not {processes}")
    for job in jobs:
        make(job.strategy, job.params)  # a wrong value is an error before anything runs
    if cluster is not None:
        return list(cluster.map(one, map(_anywhere, jobs), files=_read_by(jobs), progress=progress))
    out: list[dict[str, Any]] = [{} for _ in jobs]
    if processes == 1 or len(jobs) == 1:
        for k, job in enumerate(jobs):
            out[k] = one(job)
            if progress is not None:
                progress(1)
        return out
    context = multiprocessing.get_context("spawn")  # threads of a parent must not be copied half-way
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        futures = {pool.submit(one, job): k for k, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                out[futures[future]] = future.result()
                if progress is not None:
                    progress(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return out


def _registry_of(job: Job) -> str | None:
    """Where this process finds it; None if there is none, which a strategy without models never asks for."""
    try:
        return str(find(job.registry).absolute())
    except RegistryError:
        return job.registry


def _anywhere(job: Job) -> Job:
    """The same for a process in another folder."""
    files = tuple(tuple(str(Path(f).absolute()) for f in own) for own in job.files)
    return dataclasses.replace(job, files=files, registry=_registry_of(job))


def _read_by(jobs: Sequence[Job]) -> list[File]:
    """What these jobs read; a model's own files are checked against the registry when it is loaded."""
    names = {str(Path(f).absolute()) for job in jobs for own in job.files for f in own}
    names |= {found for job in jobs if (found := _registry_of(job)) is not None and Path(found).is_file()}
    return [File.of(name) for name in sorted(names)]


def spread_of(runs: Sequence[dict[str, Any]]) -> float:
    """Variance of the per-day Sharpe ratios of what was tried."""
    ratios = []
    for r in runs:
        returns = daily_returns(np.array(r["equity"]))
        ratios.append(float(returns.mean() / returns.std(ddof=1)) if len(returns) > 1 and np.ptp(returns) > 0 else 0.0)
    return float(np.var(ratios))


def rank(run: dict[str, Any]) -> float:
    """Sharpe, with nothing below everything."""
    return -np.inf if run["sharpe"] is None else float(run["sharpe"])


def sweep(
    job: Job,
    tried: Sequence[dict[str, str]],
    *,
    processes: int = 2,
    progress: Callable[[int], None] | None = None,
    cluster: Cluster | None = None,
) -> list[dict[str, Any]]:
    """All settings, the best Sharpe ratio first; ``deflated_sharpe`` accounts for how many were tried."""
    runs = run_all([job.with_params(**t) for t in tried], processes, progress, cluster)
    spread = spread_of(runs)
    for t, r in zip(tried, runs, strict=True):
        r["label"] = ", ".join(f"{k}={v}" for k, v in t.items())
        r["deflated_sharpe"] = deflated_sharpe(daily_returns(np.array(r["equity"])), len(runs), spread)
    return sorted(runs, key=lambda r: (-rank(r), r["label"]))
