"""The cases of the reliability note through the whole path, each named after its number. Those that have a file of their
own (06, 11, 18, 23 to 30) are in it; ``test_every_case_has_a_test`` finds all of them."""

from __future__ import annotations

import re
import signal
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models
import pytest
from c_program import run_c
from onnx import TensorProto, helper

import alpha
from alpha._core.ring import Ring
from alpha.errors import AlphaError, InstrumentError, ModelError, RegistryError
from alpha.events import EVENT_DTYPE, Flag, Kind, Reason, Status
from alpha.features.feature_set import FeatureSet
from alpha.models.verify import verify_model
from alpha.registry import load

T = 1_700_000_000 * 10**9
SECOND = 10**9
NAN, INF = float("nan"), float("inf")
GOOD = (100.0, 100.1, 5.0, 6.0)


def quote(t: int, v: tuple[float, ...] = GOOD, seq: float = 0.0, **more: int) -> Any:
    event = np.zeros(1, EVENT_DTYPE)
    event["kind"], event["ts_event_ns"], event["flags"] = Kind.QUOTE, t, Flag.LAST
    event["v"][0] = (*v, seq)
    for name, value in more.items():
        event[name] = value
    return event


def status(t: int, code: Status) -> Any:
    event = np.zeros(1, EVENT_DTYPE)
    event["kind"], event["ts_event_ns"] = Kind.STATUS, t
    event["v"][0, 0] = code
    return event


def features(**stream: Any) -> FeatureSet:
    return FeatureSet.from_dict(
        {"stream": stream, "features": {"fast": "ema(mid, span=3)", "slow": "mean(mid, 4)", "bid": "bid_qty"}}
    )


def reasons(rt: alpha.Runtime, *events: Any) -> list[str]:
    return [Reason(int(r)).name for r in rt.run(np.concatenate(events))["reason"]]


def refused(bad: list[Any], why: str, **stream: Any) -> None:
    """Bad events among good ones: counted under their reason, and everything else as if they had never come."""
    good = [quote(T + k * SECOND, (100.0 + k, 100.1 + k, 5.0, 6.0)) for k in range(12)]
    mixed = [*good[:6], *bad, *good[6:]]
    fs = features(**stream)
    with (
        alpha.Runtime.from_features(fs, instruments=["X"]) as clean,
        alpha.Runtime.from_features(fs, instruments=["X"]) as rt,
    ):
        want = reasons(clean, *good)
        got = rt.run(np.concatenate(mixed))
        assert [Reason(int(r)).name for r in got["reason"]][6 : 6 + len(bad)] == [why] * len(bad)
        assert not got["action"].any() and rt.stats()["rejected_by"] == {why: len(bad)}
        kept = [Reason(int(r)).name for r in got["reason"] if r < Reason.NON_FINITE]
        assert kept == want
        a, b = clean.feature_vector("X"), rt.feature_vector("X")
        assert a is not None and b is not None and a.tobytes() == b.tobytes()


def test_case_01_not_finite() -> None:
    bad = [
        quote(T + 6 * SECOND, v)
        for v in ((NAN, 100.1, 5, 6), (100.0, INF, 5, 6), (100.0, 100.1, -INF, 6), (100.0, 100.1, 5, NAN))
    ]
    refused(bad, "NON_FINITE")
    fs = FeatureSet.from_dict({"features": {"m": "mid"}})
    with alpha.Runtime.from_features(fs, instruments=["X"]) as rt:  # sizes that the source does not have
        assert reasons(rt, quote(T, (100.0, 100.1, NAN, NAN), flags=Flag.NO_QTY | Flag.LAST)) == ["NO_MODEL"]


def test_case_02_prices_and_sizes_below_zero() -> None:
    refused(
        [quote(T + 6 * SECOND, v) for v in ((0.0, 100.1, 5, 6), (-1.0, 100.1, 5, 6), (100.0, 100.1, -1.0, 6))], "PRICE"
    )
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:
        assert reasons(rt, quote(T, (100.0, 100.1, 0.0, 6.0))) == ["NOT_WARM"]  # an empty side is none of them


def test_case_03_crossed() -> None:
    crossed = (100.2, 100.1, 5.0, 6.0)
    refused([quote(T + 6 * SECOND, crossed)], "CROSSED")
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:
        signal = rt.run(quote(T, crossed, flags=Flag.AUCTION | Flag.LAST))
        assert signal["reason"][0] == Reason.NOT_WARM and signal["flags"][0] & Flag.CROSSED


def test_case_04_locked_is_accepted_and_flagged() -> None:
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:
        signal = rt.run(quote(T, (100.0, 100.0, 5.0, 6.0)))
        assert signal["reason"][0] == Reason.NOT_WARM and signal["flags"][0] & Flag.LOCKED


def test_case_05_a_sequence_number_twice_is_dropped_once() -> None:
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:
        assert reasons(rt, *(quote(T + k, seq=s) for k, s in enumerate((1.0, 2.0, 2.0, 3.0)))) == [
            "NOT_WARM", "NOT_WARM", "DUPLICATE", "NOT_WARM",
        ]  # fmt: skip


def test_case_07_earlier_is_refused_equal_is_not() -> None:
    refused([quote(T + 4 * SECOND)], "BACKWARDS")
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:
        assert reasons(rt, quote(T), quote(T)) == ["NOT_WARM", "NOT_WARM"]


def test_case_08_no_wall_clock_is_read(project_root: Path) -> None:
    """A clock that jumps cannot change what nobody reads: the native floor knows the monotonic clock alone."""
    wall = re.compile(r"CLOCK_REALTIME|gettimeofday|[^_\w]time\(NULL\)|localtime|timespec_get|CLOCK_TAI")
    files = [
        p
        for ext in ("*.h", "*.c", "*.pyx")
        for p in (project_root / "alpha/_core").rglob(ext)
        if "kernels.c" in p.name or p.parent.name in ("include", "_core")
    ]
    sources = [p for p in files if not (p.suffix == ".c" and p.with_suffix(".pyx").exists())]
    assert len(sources) > 40
    assert [p.name for p in sources if wall.search(p.read_text())] == []
    for name in ("runtime.py", "reload.py", "bundle.py", "replay.py"):
        assert not re.search(r"time\.time\(|time_ns\(\)|datetime\.now", (project_root / "alpha" / name).read_text()), (
            name
        )


def test_case_09_the_future() -> None:
    t = T + 6 * SECOND
    refused([quote(t + 11 * SECOND, ts_recv_ns=t)], "FUTURE")
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:  # untested without a receipt time
        assert reasons(rt, quote(T), quote(T + 3600 * SECOND)) == ["NOT_WARM", "NOT_WARM"]


def test_case_10_a_price_a_hundred_times_off_is_quarantined_then_believed() -> None:
    off = (10_000.0, 10_000.1, 5.0, 6.0)
    refused([quote(T + 6 * SECOND, off)], "OUTLIER", guard={"outlier": 3.0})
    refused(
        [quote(T + 6 * SECOND, (v, v + 0.1, 5.0, 6.0)) for v in (1e4, 1.0, 1e4, 1.0, 1e4)],
        "OUTLIER",
        guard={"outlier": 3.0},
    )
    with alpha.Runtime.from_features(features(guard={"outlier": 3.0}), instruments=["X"]) as rt:
        said = reasons(rt, quote(T), *(quote(T + k, off) for k in range(1, 8)), quote(T + 9))
        assert said == ["NOT_WARM", *["OUTLIER"] * 4, "NOT_WARM", "NOT_WARM", "NO_MODEL", "OUTLIER"]
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:  # nobody asked
        assert reasons(rt, quote(T), quote(T + 1, off)) == ["NOT_WARM", "NOT_WARM"]
    plain, asked = features(), features(guard={"outlier": 3.0})
    assert plain.definition_hash != asked.definition_hash
    assert FeatureSet.from_dict(asked.definition()).definition_hash == asked.definition_hash
    assert "outlier" not in plain.canonical()


def test_case_12_a_halt_resets_what_is_not_told_to_go_on() -> None:
    for reset, after in (("session", "NOT_WARM"), ("never", "NO_MODEL")):
        fs = FeatureSet.from_dict(
            {"stream": {"session_break": "session"}, "features": {"a": f'mean(mid, 3, reset="{reset}")'}}
        )
        with alpha.Runtime.from_features(fs, instruments=["X"]) as rt:
            assert reasons(rt, *(quote(T + k) for k in range(4)))[-1] == "NO_MODEL"
            halted = reasons(rt, status(T + 5, Status.HALT), quote(T + 6))
            assert halted == ["HALTED"]
            assert reasons(rt, status(T + 7, Status.RESUME), quote(T + 8)) == [after]


def test_case_13_an_unknown_instrument() -> None:
    with alpha.Runtime.from_features(features(), instruments=["X"]) as rt:
        with pytest.raises(InstrumentError, match="NOPE"):
            rt.instrument("NOPE")
        assert reasons(rt, quote(T), quote(T + 1, instrument_id=7)) == ["NOT_WARM"]
        assert rt.stats()["rejected_by"] == {"INSTRUMENT": 1}


@pytest.mark.parametrize("capacity", [0, 1, 3, 100])
def test_case_14_a_rings_capacity(capacity: int) -> None:
    with pytest.raises(AlphaError, match="power of two"):
        Ring(capacity)


def test_case_15_a_ring_keeps_its_order_when_it_wraps() -> None:
    ring, sent, model = Ring(8, overrun="refuse"), 0, deque[int]()
    rng = np.random.default_rng(15)
    for _ in range(2000):
        some = np.concatenate([quote(sent + k + 1) for k in range(int(rng.integers(1, 6)))])
        took = ring.push_many(some)
        model.extend(range(sent + 1, sent + 1 + took))
        sent += took
        out = ring.pop_many(int(rng.integers(1, 6)))["ts_event_ns"].tolist()
        assert out == [model.popleft() for _ in out]
    assert sent > 2000


def test_case_16_a_stalled_consumer_loses_what_is_counted() -> None:
    ring = Ring(4)
    assert ring.push_many(np.concatenate([quote(T + k) for k in range(10)])) == 4
    assert ring.dropped == 6
    refusing = Ring(4, overrun="refuse")
    assert refusing.push_many(np.concatenate([quote(T + k) for k in range(10)])) == 4 and refusing.dropped == 0


TWO_PRODUCERS = r"""
#include "alpha_ring.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static alpha_ring *r;
static void *produce(void *e) { for (long i = 0; i < 200000000; i++) alpha_ring_push(r, 7, e); return 0; }
int main(void)
{
    alpha_event e = {.ts_event_ns = 1};
    e.kind = ALPHA_QUOTE;
    r = aligned_alloc(64, alpha_ring_bytes(8));
    memset(r, 0, alpha_ring_bytes(8));
    r->capacity = 8;
    for (int k = 0; k < 20; k++)
        alpha_ring_push(r, 7, &e);
    pid_t child = fork();
    if (child == 0) {
        pthread_t other;
        pthread_create(&other, 0, produce, &e);
        produce(&e);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%llu %d", (unsigned long long)r->head, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return 0;
}
"""


def test_case_17_a_second_producer_ends_a_debug_build(tmp_path: Path) -> None:
    said = run_c(tmp_path, TWO_PRODUCERS, options=("-O1", "-DALPHA_DEBUG", "-pthread"))
    assert said.decode().split() == ["8", str(int(signal.SIGABRT))]


def outside(location: str) -> bytes:
    """A model whose weights lie in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    return onnx_models.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [onnx_models.value("x", 1, 2)],
        [onnx_models.value("y", 1, 3)],
        {"w": weights},
    )


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link", "weights.bin"])
def test_case_19_weights_in_another_file(location: str) -> None:
    with pytest.raises(ModelError, match="external"):
        verify_model(outside(location), 2)


def test_case_20_dimensions_and_depth_within_limits() -> None:
    huge = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 31, 1 << 31], raw_data=b"1234")
    data = onnx_models.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [onnx_models.value("x", 1, 2)],
        [onnx_models.value("y", 1, 3)],
        {"w": huge},
    )
    with pytest.raises(ModelError):
        verify_model(data, 2)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [onnx_models.value("y", 1, 2)])
    for k in range(28):  # as deep as the library that writes it allows
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph if k == 0 else None)
        graph = helper.make_graph([node], "g", [], [onnx_models.value("y", 1, 2)])
    deep = onnx_models.model(list(graph.node), [onnx_models.value("x", 1, 2)], [onnx_models.value("y", 1, 2)])
    with pytest.raises(ModelError):
        verify_model(deep, 2)


@pytest.mark.parametrize(("op", "domain"), [("Magic", "mine"), ("Relu", "com.microsoft"), ("RandomNormalLike", "")])
def test_case_21_operators_that_are_not_allowed(op: str, domain: str) -> None:
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    data = onnx_models.model([node], [onnx_models.value("x", 1, 2)], [onnx_models.value("y", 1, 2)])
    with pytest.raises(ModelError, match=r"refused|random"):
        verify_model(data, 2)


def test_case_22_a_pickle_that_is_called_onnx() -> None:
    pickled = b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
    with pytest.raises(ModelError):
        verify_model(pickled, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"models": [], "models": []}', "twice"),
        ('{"models": [{"checks": [{"value": NaN}]}]}', "contains NaN"),
        ('{"models": ' + "[" * 60 + "]" * 60 + "}", "deep"),
        ('{"schema_version": 1, "models": [{"status": "retired"}]}', "retired"),
    ],
)
def test_case_25_a_registry_in_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "registry.json"
    file.write_text(text)
    with pytest.raises(RegistryError, match=message):
        load(file)


def test_every_case_has_a_test(project_root: Path) -> None:
    found = {
        int(number)
        for path in (project_root / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_case_\w+)\(", path.read_text(), re.M)
        for number in re.findall(r"(?<=_)(\d\d)(?=_)", name)
    }
    assert set(range(1, 31)) - found == set()
