"""The same look as Prometheus metrics, made when somebody scrapes. Floor 7.

Base units (seconds), ``_total`` for counters. Labels are bounded: models by the desk, instruments by ``instruments=`` of
:func:`alpha.watch.serve`, reasons by their table. Names: docs/watch.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from alpha.errors import need
from alpha.watch.look import LATENCY_NS, Looker, Turns

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ACTIONS = {"SELL": -1, "HOLD": 0, "BUY": 1}
STATUSES = ("candidate", "production", "archived")


class Exporter:
    """Reads the Runtime when it is asked, and keeps nothing in between."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker

    def collect(self) -> Iterator[Metric]:
        """Every family; the GIL is offered between two of them."""
        told, pause = self._looker.look(), Turns()
        for family in families(told):
            yield family
            pause()

    def describe(self) -> list[Metric]:
        """None beforehand: registering must not look."""
        return []


def exposition(looker: Looker) -> Callable[[str], tuple[str, bytes]]:
    """A function from an Accept header to content type and text. MissingExtraError without prometheus_client."""
    choose_encoder = need("prometheus_client.exposition", "ops").choose_encoder
    registry = need("prometheus_client.registry", "ops").CollectorRegistry(auto_describe=False)
    registry.register(Exporter(looker))

    def encoded(accept: str) -> tuple[str, bytes]:
        encoder, kind = choose_encoder(accept)
        return kind, encoder(registry)

    return encoded


def _core() -> Any:
    return need("prometheus_client.core", "ops")


def families(told: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of one look."""
    yield from _service(told)
    yield from _stream(told)
    yield from _latency(told["latency"])
    yield from _models(told["models"])
    yield from _instruments(told["instruments"])
    if told["worker"] is not None:
        yield from _worker(told["worker"])
    yield _gauge("alpha_audit_configured", "Whether an audit log is written", told["audit"] is not None)
    if told["audit"] is not None:
        yield from _audit(told["audit"])
    if told["registry"] is not None and told["registry"]["revision"] is not None:
        yield _gauge("alpha_registry_revision", "Revision of the registry file", told["registry"]["revision"])
    yield _gauge("alpha_watch_look_seconds", "Time that this look at the runtime took", told["took_s"])


def _service(told: Mapping[str, Any]) -> Iterator[Metric]:
    build = _core().InfoMetricFamily("alpha_build", "Version of the package, instruction set of the kernels")
    build.add_metric([], dict(told["build"]))
    yield build
    yield _gauge("alpha_watched_seconds", "Time since the runtime is watched", told["up_s"])
    yield _gauge("alpha_open", "0 once the runtime is closed", told["mode"] != "closed")
    yield _gauge("alpha_killed", "Whether all is silenced, here or by the latch", told["kill"]["killed"])
    reload = told["reload"]
    yield _counter("alpha_reload_swaps_total", "Versions that took over while serving", reload["swaps"])
    yield _gauge("alpha_reload_pending", "Whether a version is warming up", bool(reload["pending"]))
    yield _gauge("alpha_reload_failed", "Whether the last reload failed", bool(reload["failed"]))


def _stream(told: Mapping[str, Any]) -> Iterator[Metric]:
    c = told["counters"]
    yield _counter("alpha_events_total", "Events processed", c["events"])
    yield _counter("alpha_rows_total", "Rows of features made", c["rows"])
    yield _by("alpha_signals_total", "Signals that were emitted, by action", "action", c["actions"])
    yield _by(
        "alpha_signal_reasons_total",
        "Signals that were emitted, by reason",
        "reason",
        {r["name"]: r["count"] for r in told["reasons"]},
    )
    yield _by("alpha_rejected_events_total", "Events that the guard refused", "reason", c["rejected_by"])
    yield _by("alpha_bad_rows_total", "Rows of files that could not become events", "reason", c["bad_rows"])
    yield _by("alpha_unlike_rows_total", "Rows beyond a limit of the training data", "check", c["unlike"])
    yield _counter("alpha_window_growths_total", "Time windows that had to be enlarged", c["window_growths"])
    yield _gauge("alpha_quiet_seconds", "Time since a look found a new event", told["quiet_s"])


def _latency(told: Mapping[str, Any]) -> Iterator[Metric]:
    if not told["measured"]:
        return
    out = _core().HistogramMetricFamily("alpha_decision_seconds", "Time of an event that made a Signal")
    buckets = [(repr(ns / 1e9), n) for ns, n in zip(LATENCY_NS, told["buckets"], strict=True)]
    out.add_metric([], [*buckets, ("+Inf", told["count"])], sum_value=told["sum_ns"] / 1e9)
    yield out
    if told["max"] is not None:
        yield _gauge("alpha_decision_max_seconds", "The longest so far", told["max"] / 1e9)


def _models(models: list[Mapping[str, Any]]) -> Iterator[Metric]:
    info = _core().InfoMetricFamily("alpha_model", "What serves in each place", labels=["model"])
    status = _core().GaugeMetricFamily(
        "alpha_model_status", "1 for its status in the registry", labels=["model", "status"]
    )
    decisions = _core().CounterMetricFamily(
        "alpha_model_decisions_total", "Decisions by action", labels=["model", "action"]
    )
    reasons = _core().CounterMetricFamily(
        "alpha_model_reasons_total", "Decisions by reason", labels=["model", "reason"]
    )
    emitted = _core().CounterMetricFamily("alpha_model_emitted_total", "Decisions that were emitted", labels=["model"])
    trips = _core().CounterMetricFamily("alpha_breaker_trips_total", "How often the breaker tripped", labels=["model"])
    gauges = {
        "alpha_model_killed": "Whether this model is silenced",
        "alpha_model_loaded": "Whether there is a model that can decide",
        "alpha_model_inactive": "Whether the registry forbids that it decides",
        "alpha_threshold": "Threshold in force",
        "alpha_threshold_declared": "Threshold that the model declares",
        "alpha_breaker_open": "Whether the model is not listened to",
    }
    families = {name: _core().GaugeMetricFamily(name, text, labels=["model"]) for name, text in gauges.items()}
    until = _core().GaugeMetricFamily(
        "alpha_model_valid_until_timestamp_seconds", "Stream time after which it holds", labels=["model"]
    )
    for m in models:
        seat = [m["seat"]]
        info.add_metric(
            seat,
            {
                "name": m["name"],
                "sha256": m["sha256"],
                "definition": m["definition"],
                "engine": m["engine"],
                "precision": m["precision"],
                "mode": m["mode"],
                "governed": str(m["governed"]).lower(),
            },
        )
        if m["status"]:
            for s in STATUSES:
                status.add_metric([*seat, s], float(m["status"] == s))
        for action, n in m["actions"].items():
            decisions.add_metric([*seat, action], n)
        for reason, n in m["reasons"].items():
            reasons.add_metric([*seat, reason], n)
        emitted.add_metric(seat, m["emitted"])
        trips.add_metric(seat, m["breaker"]["trips"])
        values = (
            m["killed"],
            m["loaded"],
            bool(m["inactive"]),
            m["threshold"]["in_force"],
            m["threshold"]["declared"],
            bool(m["breaker"]["tripped"]),
        )
        for family, value in zip(families.values(), values, strict=True):
            family.add_metric(seat, float(value))
        if m["valid_until_ns"] is not None:
            until.add_metric(seat, m["valid_until_ns"] / 1e9)
    yield from (info, status, decisions, reasons, emitted, trips, *families.values(), until)


def _instruments(instruments: list[Mapping[str, Any]]) -> Iterator[Metric]:
    one = {
        "alpha_instrument_halted": "Whether the venue or a CONTROL event halted it",
        "alpha_instrument_killed": "Whether its decisions are silenced",
        "alpha_last_action": "Last emitted action: -1 SELL, 0 HOLD, 1 BUY",
        "alpha_last_confidence": "Confidence of the last emitted Signal",
        "alpha_last_signal_timestamp_seconds": "Exchange time of the last emitted Signal",
    }
    families = {name: _core().GaugeMetricFamily(name, text, labels=["instrument"]) for name, text in one.items()}
    rows = _core().CounterMetricFamily("alpha_instrument_rows_total", "Rows of features made", labels=["instrument"])
    two = {
        "psi": (
            "alpha_psi",
            "Population stability index of the worst feature; of one whose training windows reach more than the limit, its share of that times the limit",
        ),
        "distance": ("alpha_distance", "Mean of z squared of the last row, where the gate computes it"),
        "outside": ("alpha_out_of_range", "Whether the last row left its ranges, where the gate looks"),
    }
    checks = {k: _core().GaugeMetricFamily(n, text, labels=["model", "instrument"]) for k, (n, text) in two.items()}
    for i in instruments:
        who = [i["symbol"]]
        if i["rows"] is not None:
            families["alpha_instrument_halted"].add_metric(who, float(i["halted"]))
            families["alpha_instrument_killed"].add_metric(who, float(i["killed"]))
            rows.add_metric(who, i["rows"])
        last = i["latest"]
        if last is not None:
            families["alpha_last_action"].add_metric(who, ACTIONS[last["action"]])
            families["alpha_last_confidence"].add_metric(who, last["confidence"])
            families["alpha_last_signal_timestamp_seconds"].add_metric(who, last["ts_event_ns"] / 1e9)
        for seat, seen in i["checks"].items():
            for key, family in checks.items():
                if seen[key] is not None:
                    family.add_metric([seat, *who], float(seen[key]))
    yield from (*families.values(), rows, *checks.values())


def _worker(told: Mapping[str, Any]) -> Iterator[Metric]:
    yield _gauge("alpha_worker_running", "Whether the worker thread runs", told["running"])
    yield _gauge("alpha_ring_backlog", "Events that were pushed and not taken yet", told["backlog"])
    yield _gauge("alpha_ring_capacity", "Events that the ring holds", told["capacity"])
    yield _counter("alpha_ring_dropped_events_total", "Events lost because the ring was full", told["dropped"])
    yield _counter("alpha_lost_signals_total", "Signals lost because nobody polled", told["lost_signals"])
    yield _counter("alpha_stale_signals_total", "Signals that were too old when polled", told["stale_signals"])


def _audit(told: Mapping[str, Any]) -> Iterator[Metric]:
    yield _gauge("alpha_audit_healthy", "0 if the log failed, blocks, or has dropped records", told["healthy"])
    yield _gauge("alpha_audit_blocked", "Whether decisions are held because the log cannot be written", told["blocked"])
    yield _gauge("alpha_audit_failed", "Whether writing failed", bool(told["failed"]))
    yield _counter("alpha_audit_dropped_total", "Records that did not enter the log", told["dropped"])
    yield _gauge("alpha_audit_written", "Number of the last record on the disk", told["synced"])
    yield _gauge("alpha_audit_acknowledged", "Number of the last record handed to the log", told["acknowledged"])


def _gauge(name: str, text: str, value: float) -> Any:
    return _core().GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Any:
    return _core().CounterMetricFamily(name, text, value=float(value))


def _by(name: str, text: str, label: str, counts: Mapping[str, float]) -> Any:
    out = _core().CounterMetricFamily(name, text, labels=[label])
    for key, n in counts.items():
        out.add_metric([key], n)
    return out
