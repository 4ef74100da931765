"""Tasks over the processes of a dask cluster, on one machine or many: the same results in the same order. Floor 6.

A task is a function of a module and its plain arguments. What one process gives, any other gives as well, for before
a task runs its worker proves that it is equal: same build, same instruction set, same libraries, the same files
under the same paths. A worker that dies takes nothing with it: what it held is computed again by another.

dask moves functions and arguments as pickles, which run what they say: connect only to a scheduler that you started,
on a network that you trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alpha._core.program import isa
from alpha.errors import AlphaError, AlphaWarning, DataError, need

CONNECT_S = 15
AHEAD = 4  # tasks per worker that are under way or wait for their turn
_LIBRARIES = (
    "alpha-runtime",
    "distributed",
    "numpy",
    "numba",
    "polars",
    "pyarrow",
    "onnxruntime",
    "scipy",
    "scikit-learn",
    "skl2onnx",
    "onnx",
    "optuna",
    "xgboost-cpu",
    "lightgbm",
    "torch",
    "stable-baselines3",
)
_OURS = ("alpha", "alpha_training")
_COMPUTES = (".py", ".so", ".toml", ".npz")


@dataclass(frozen=True)
class File:
    """A file that a task reads: its absolute path, which must be the same on every worker, and its bytes' sha256."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path) -> File:
        """As it is here. DataError if it cannot be read."""
        full = Path(path).absolute()
        return cls(str(full), _digest(str(full), *_stamp(full)))


@cache
def environment() -> dict[str, str]:
    """What the bits of a result may depend on, beside the data: build, instruction set, versions."""
    found = {"build": _build(), "isa": isa(), "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class Cluster:
    """Workers that tasks are given to; made by :func:`connected`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._told: set[str] = set()

    @property
    def workers(self) -> int:
        """How many there are now."""
        return len(self._client.nthreads())

    def map(
        self,
        task: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        files: Iterable[File] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Any]:
        """``task(item)`` of each, in the order of the items, which are taken as workers become free.

        What a task raises is raised here, at its place; AlphaWarnings come along.
        """
        chains = ((n, item) for n, item in enumerate(items))
        return self._results(task, chains, tuple(files), progress, stateful=False)

    def chained(
        self,
        step: Callable[[Any, Any], tuple[Any, Any]],
        items: Iterable[tuple[Hashable, Any]],
        *,
        files: Iterable[File] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Any]:
        """Results of ``(result, state) = step(item, state)``, in the order of the items, which are (chain, item).

        The steps of a chain follow each other, each with the state that the one before left, None at first; chains run
        side by side. A state stays on its worker.
        """
        return self._results(step, items, tuple(files), progress, stateful=True)

    def _results(
        self,
        task: Callable[..., Any],
        items: Iterable[tuple[Hashable, Any]],
        files: tuple[File, ...],
        progress: Callable[[int], None] | None,
        *,
        stateful: bool,
    ) -> Iterator[Any]:
        last: dict[Hashable, Any] = {}
        under_way: deque[Any] = deque()
        left = iter(items)
        expected = environment()
        try:
            while True:
                while len(under_way) < AHEAD * max(1, self.workers) and (one := next(left, None)) is not None:
                    chain, item = one
                    before = (last.get(chain),) if stateful else ()
                    future = self._client.submit(_performed, expected, files, task, item, *before, pure=False)
                    if stateful:
                        last[chain] = future
                    under_way.append(future)
                if not under_way:
                    return
                (result, _), told = self._result(under_way.popleft())
                for text in told:
                    if text not in self._told:  # once, not once a task
                        self._told.add(text)
                        warnings.warn(text, AlphaWarning, stacklevel=3)
                if progress is not None:
                    progress(1)
                yield result
        finally:
            for future in under_way:
                with contextlib.suppress(Exception):  # the cluster may be what failed
                    future.cancel()

    def _result(self, future: Any) -> Any:
        distributed = need("distributed", "dist")
        try:
            return future.result()
        except distributed.KilledWorker as exc:
            raise AlphaError(
                f"a task was given up: {exc.allowed_failures + 1} workers died while they had it, most often for want "
                "of memory: start fewer workers a machine, or give them more"
            ) from None
        except (distributed.client.FutureCancelledError, distributed.comm.CommClosedError) as exc:
            raise AlphaError(f"the scheduler was lost while tasks were running: {exc}: start it again") from None


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """A cluster: ``local`` (a process per core of this machine), ``local:N``, or a scheduler's ``tcp://HOST:PORT``.

    AlphaError if no scheduler answers there in time, if there is no worker, or if one is not equal to this process: see
    :func:`environment`. MissingExtraError without dask.
    """
    if address.startswith(("tcp://", "tls://")):
        distributed = need("distributed", "dist")
        _check_address(address)
        _check_answers(address)
        try:
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as exc:
            raise _unanswered(address, exc) from None
        with client, _roomy():
            yield _checked(client, address)
        return
    with _local(_count(address)) as client, _roomy():
        yield _checked(client, address)


def maybe(address: str | None) -> contextlib.AbstractContextManager[Cluster | None]:
    """:func:`connected`, or None where no address is given."""
    return contextlib.nullcontext() if address is None else connected(address)


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        good = bool(parts.hostname and parts.port) and address == f"{parts.scheme}://{parts.netloc}"
    except ValueError:  # a port that is none
        good = False
    if not good:
        raise AlphaError(
            f"--scheduler {address} is no address of a scheduler: write tcp://HOST:PORT (an IPv6 address in brackets), as "
            "dask scheduler  prints it"
        )


def _check_answers(address: str) -> None:
    """Ask who is there before a Client is made: it would wait for ever for the words of another kind of server."""
    distributed = need("distributed", "dist")

    async def identity() -> Any:
        security = distributed.Security().get_connection_args("client")
        async with distributed.rpc(address, timeout=CONNECT_S, connection_args=security) as scheduler:
            return await scheduler.identity()

    def asked() -> Any:  # in a thread: the caller's, a notebook's say, may have a loop of its own
        return asyncio.run(asyncio.wait_for(identity(), CONNECT_S + 1))  # connecting says why itself

    try:
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(asked).result()
    except TimeoutError:
        raise _unanswered(
            address, f"something else does: nothing that a scheduler says came within {CONNECT_S} s"
        ) from None
    except Exception as exc:  # another server's words, read as ours, may fail in any way
        raise _unanswered(address, exc) from None
    if not isinstance(found, dict) or found.get("type") != "Scheduler":
        what = found.get("type") if isinstance(found, dict) else found
        raise _unanswered(address, f"it is a {what}")


def _unanswered(address: str, why: object) -> AlphaError:
    told = str(why).partition("\n")[0] or type(why).__name__
    return AlphaError(f"--scheduler {address}: no dask scheduler answers there ({told}): start one")


def _count(address: str) -> int:
    name, _, number = address.partition(":")
    if name != "local" or (number and not (number.isascii() and number.isdigit() and 1 <= int(number) <= 1024)):
        raise AlphaError(f"--scheduler takes local, local:N or tcp://HOST:PORT, not {address!r}")
    return int(number) if number else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    distributed = need("distributed", "dist")
    with tempfile.TemporaryDirectory(prefix="alpha-dask-") as scratch:
        try:
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # as without a cluster
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
            )
        except RuntimeError as exc:  # each worker imports the script that is running
            raise AlphaError(
                f"the worker processes could not be started: {exc} A script that starts some must do so below  "
                'if __name__ == "__main__":'
            ) from None
        with cluster, distributed.Client(cluster, set_as_default=False) as client:
            yield client


def _roomy() -> contextlib.AbstractContextManager[Any]:
    """Rows go with their tasks, so that a dead worker loses none; dask would rather they did not."""
    return need("dask", "dist").config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})  # type: ignore[no-any-return]


def _checked(client: Any, address: str) -> Cluster:
    """The cluster if each worker that is there now is equal; those that come later are asked before their first task."""
    distributed = need("distributed", "dist")
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except (TimeoutError, distributed.TimeoutError):
        raise AlphaError(
            f"--scheduler {address} has no worker: start some, e.g.  dask worker {address} --nthreads 1"
        ) from None
    for worker, threads in client.nthreads().items():
        if threads != 1:  # seeds and thread pools belong to a process
            raise AlphaError(f"worker {worker} runs {threads} tasks at once: start workers with  --nthreads 1")
    try:
        found = client.run(environment)
    except ImportError as exc:
        raise AlphaError(
            f"a worker of {address} cannot import this package ({exc}): install the same wheel there"
        ) from None
    for worker, theirs in found.items():
        _compare(environment(), theirs, worker)
    return Cluster(client)


def _compare(here: dict[str, str], there: dict[str, str], worker: str) -> None:
    other = [name for name in here if there.get(name) != here[name]]
    if other:
        told = ", ".join(f"{name} {there.get(name)} (here {here[name]})" for name in other)
        todo = "set ALPHA_ISA alike" if other == ["isa"] else "install the same wheel and versions"
        raise AlphaError(f"worker {worker} would not give the same bits: it has {told}: {todo}")


def _performed(
    expected: dict[str, str], files: tuple[File, ...], task: Callable[..., Any], item: Any, *before: Any
) -> tuple[tuple[Any, Any], list[str]]:
    """On a worker: ((result, state), warnings)."""
    place = _place()
    _compare(expected, environment(), place)
    for file in files:
        _compare_file(file, place)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", AlphaWarning)
        if before:  # what the step before gave, or None
            out = task(item, before[0] and before[0][0][1])
        else:
            out = (task(item), None)
    return out, [str(w.message) for w in told]


def _compare_file(file: File, place: str) -> None:
    path = Path(file.path)
    try:
        found = _digest(file.path, *_stamp(path))
    except DataError as exc:
        raise DataError(f"worker {place}: {exc}: workers must see the data by the same path") from None
    if found != file.sha256:
        raise DataError(
            f"worker {place} sees another file at {path}: sha256 {found[:12]}…, here {file.sha256[:12]}…: workers must "
            "see the same data by the same path"
        )


def _place() -> str:
    with contextlib.suppress(Exception):  # not on a worker
        return str(need("distributed", "dist").get_worker().address)
    return platform.node()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
    return found.st_size, found.st_mtime_ns


@cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    """sha256 of a file that has not changed since it was read last."""
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None


def _build() -> str:
    """16 hex digits over all that computes: modules, native code and tables of both packages."""
    digest = hashlib.sha256()
    for package in _OURS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(p for p in root.rglob("*") if p.suffix in _COMPUTES):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
