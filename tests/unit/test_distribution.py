"""Tasks over a real cluster of two processes: results in order, chains, errors, dead workers, unequal workers."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import clusters
import pytest

from alpha import distribution
from alpha.distribution import Cluster, File, connected
from alpha.errors import AlphaError, AlphaWarning, DataError, MissingExtraError

pytest.importorskip("distributed")
# what dask and its event loop leave behind when they end is not ours
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with connected("local:2") as cluster:
        yield cluster


def test_results_come_in_the_order_of_the_items(pair: Cluster) -> None:
    assert pair.workers == 2
    done: list[int] = []
    with pytest.warns(AlphaWarning, match="seven") as told:
        got = list(pair.map(clusters.square, (x for x in range(1, 13)), progress=done.append))
    assert got == [x * x for x in range(1, 13)] and sum(done) == 12 and len(told) == 1
    pids = set(pair.map(clusters.pid, range(40)))
    assert os.getpid() not in pids and len(pids) == 2


def test_each_step_has_the_state_of_the_one_before(pair: Cluster) -> None:
    items = [(chain, n) for n in range(1, 9) for chain in "abc"]
    got = list(pair.chained(clusters.add, items))
    assert got == [n * (n + 1) // 2 for n in range(1, 9) for _ in "abc"]


def test_an_error_of_a_task_is_raised_as_it_was(pair: Cluster) -> None:
    got = pair.map(clusters.square, [1, 13, 2])
    assert next(got) == 1
    with pytest.raises(DataError, match="thirteen is not a number of ours"):
        next(got)
    assert list(pair.map(clusters.square, [3])) == [9]  # the cluster goes on


def test_a_worker_that_sees_another_file_is_refused(pair: Cluster, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("a")
    file = File.of(tmp_path / "day.csv")
    assert list(pair.map(clusters.square, [2], files=[file])) == [4]
    (tmp_path / "day.csv").write_text("bb")
    with pytest.raises(DataError, match=r"worker tcp://.* sees another file at .*day.csv: sha256 .* by the same path"):
        list(pair.map(clusters.square, [2], files=[file]))
    (tmp_path / "day.csv").unlink()
    with pytest.raises(DataError, match=r"day.csv cannot be read: no such file.*by the same path"):
        list(pair.map(clusters.square, [2], files=[file]))


def test_a_worker_of_another_build_is_refused(pair: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, todo in (("isa", "ALPHA_ISA"), ("build", "same wheel"), ("numpy", "same wheel")):
        here = {**distribution.environment(), name: "another"}
        with monkeypatch.context() as patch:
            patch.setattr(distribution, "environment", lambda here=here: here)
            with pytest.raises(AlphaError, match=f"would not give the same bits: it has {name} .*here another.*{todo}"):
                list(pair.map(clusters.square, [2]))


@pytest.mark.parametrize("where", ["remote", "local:0", "local:x", "local:9999", ""])
def test_what_is_no_scheduler_is_said(where: str) -> None:
    with pytest.raises(AlphaError, match=r"--scheduler takes local, local:N or tcp://HOST:PORT"), connected(where):
        pass


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "CONNECT_S", 1)
    with (
        pytest.raises(AlphaError, match=r"no dask scheduler answers there .*: start one"),
        connected("tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize("server", ["silent", "http"])
def test_another_server_behind_the_address_is_nobody(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and then says nothing, or nothing that dask understands."""
    monkeypatch.setattr(distribution, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if server == "http":
            listening.settimeout(60)

            def reply() -> None:
                with contextlib.suppress(OSError), listening.accept()[0] as peer:
                    peer.recv(1)
                    peer.sendall(b"HTTP/1.0 400 Bad request syntax\r\nContent-Type: text/html\r\n\r\n<!DOCTYPE HTML>")
                    peer.recv(1 << 20)

            threading.Thread(target=reply, daemon=True).start()
        with (
            pytest.raises(AlphaError, match=r"no dask scheduler answers there \(.+\): start one"),
            connected(f"tcp://127.0.0.1:{listening.getsockname()[1]}"),
        ):
            pass


@pytest.mark.parametrize("where", ["127.0.0.1", "", ":8786", "127.0.0.1:99999", "127.0.0.1:x", "::1", "a:1/b", "a:0"])
def test_an_address_without_host_and_port_is_refused_before_dask_sees_it(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.Client", None)  # a client that fails complains once more when it is collected
    with pytest.raises(AlphaError, match=r"is no address of a scheduler: write tcp://HOST:PORT"):
        connected(f"tcp://{where}").__enter__()


def test_a_worker_is_no_scheduler(pair: Cluster) -> None:
    worker = next(iter(pair._client.nthreads()))
    with pytest.raises(AlphaError, match=r"no dask scheduler answers there \(it is a Worker\)"), connected(worker):
        pass


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'alpha-runtime\[dist\]'"), connected("local:2"):
        pass


def test_a_killed_worker_takes_nothing_with_it(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with connected("local:2") as cluster:
        got = list(cluster.map(clusters.dies_once, [(str(tmp_path / "a"), x) for x in range(8)]))
        assert got == list(range(8)) and (tmp_path / "a" / "killed").exists()
        items = [(chain, (str(tmp_path / "b"), n)) for n in range(1, 9) for chain in "ab"]
        got = list(cluster.chained(clusters.sum_dies_once, items))
        assert got == [n * (n + 1) // 2 for n in range(1, 9) for _ in "ab"] and (tmp_path / "b" / "killed").exists()


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_given_up() -> None:
    with connected("local:2") as cluster, pytest.raises(AlphaError, match=r"4 workers died while they had it"):
        list(cluster.map(clusters.always_dies, [0]))
