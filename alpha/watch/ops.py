"""The Grafana dashboard and the example alert rules that come with the package. Floor 7.

Both are made here from one list of panels, so that their expressions can be held against what is exported.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

SELECT = '{job="$job",instance=~"$instance"}'


class Panel(NamedTuple):
    """``expressions``: PromQL and legend; ``$S`` is the choice of job and instance."""

    title: str
    unit: str
    expressions: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    text: str = ""


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "At a glance",
        (
            Panel("Killed", "bool_yes_no", (("max(alpha_killed$S)", "all"),), "stat", 4),
            Panel("Breaker open", "bool_yes_no", (("max(alpha_breaker_open$S)", "any"),), "stat", 4),
            Panel("Audit log well", "bool_yes_no", (("min(alpha_audit_healthy$S)", "all"),), "stat", 4),
            Panel("Models loaded", "short", (("sum(alpha_model_loaded$S)", "models"),), "stat", 4),
            Panel("Since the last new event", "s", (("max(alpha_quiet_seconds$S)", "quiet"),), "stat", 4),
            Panel("Reload failed", "bool_yes_no", (("max(alpha_reload_failed$S)", "any"),), "stat", 4),
        ),
    ),
    (
        "Signals",
        (
            Panel("Events a second", "eps", (("sum by (instance) (rate(alpha_events_total$S[$__rate_interval]))", "{{instance}}"),)),
            Panel("Signals by action", "ops", (("sum by (action) (rate(alpha_signals_total$S[$__rate_interval]))", "{{action}}"),)),
            Panel("Signals by reason", "ops", (("sum by (reason) (rate(alpha_signal_reasons_total$S[$__rate_interval]))", "{{reason}}"),)),
            Panel("Last confidence", "percentunit", (("alpha_last_confidence$S", "{{instrument}}"),)),
            Panel("Last action", "none", (("alpha_last_action$S", "{{instrument}}"),), text="-1 SELL, 0 HOLD, 1 BUY"),
            Panel("Rejected events by reason", "ops", (("sum by (reason) (rate(alpha_rejected_events_total$S[$__rate_interval]))", "{{reason}}"),)),
        ),
    ),
    (
        "Latency",
        (
            Panel(
                "Event to signal",
                "s",
                tuple(
                    (f"histogram_quantile({q}, sum by (le) (rate(alpha_decision_seconds_bucket$S[$__rate_interval])))", name)
                    for q, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))
                ),
                width=12,
            ),
            Panel("The longest so far", "s", (("alpha_decision_max_seconds$S", "{{instance}}"),), width=12),
        ),
    ),
    (
        "Models",
        (
            Panel("What serves", "none", (("alpha_model_info$S", "{{model}} {{name}} {{engine}} {{sha256}}"),), "table", 16),
            Panel("Status in the registry", "none", (("alpha_model_status$S == 1", "{{model}} {{status}}"),), "table"),
            Panel("Decisions by model", "ops", (("sum by (model, action) (rate(alpha_model_decisions_total$S[$__rate_interval]))", "{{model}} {{action}}"),)),
            Panel(
                "Threshold",
                "none",
                (("alpha_threshold$S", "{{model}} in force"), ("alpha_threshold_declared$S", "{{model}} declared")),
            ),
            Panel("Breaker trips", "short", (("alpha_breaker_trips_total$S", "{{model}}"),)),
            Panel("PSI of the worst feature", "none", (("alpha_psi$S", "{{model}} {{instrument}}"),)),
            Panel("Distance from the training rows", "none", (("alpha_distance$S", "{{model}} {{instrument}}"),)),
            Panel("Rows unlike training", "ops", (("sum by (check) (rate(alpha_unlike_rows_total$S[$__rate_interval]))", "{{check}}"),)),
        ),
    ),
    (
        "Threads and log",
        (
            Panel(
                "Waiting in the ring",
                "short",
                (("alpha_ring_backlog$S", "waiting"), ("alpha_ring_capacity$S", "capacity")),
            ),
            Panel(
                "Lost",
                "ops",
                (
                    ("rate(alpha_ring_dropped_events_total$S[$__rate_interval])", "events"),
                    ("rate(alpha_lost_signals_total$S[$__rate_interval])", "signals"),
                    ("rate(alpha_audit_dropped_total$S[$__rate_interval])", "log records"),
                ),
            ),
            Panel("Log records not on the disk yet", "short", (("alpha_audit_acknowledged$S - alpha_audit_written$S", "{{instance}}"),)),
            Panel("Takeovers", "short", (("alpha_reload_swaps_total$S", "{{instance}}"), ("alpha_reload_pending$S", "warming up"))),
            Panel("Time of a look", "s", (("alpha_watch_look_seconds$S", "{{instance}}"),)),
        ),
    ),
)  # fmt: skip


class Alert(NamedTuple):
    """``wait``: how long the expression must hold."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str


ALERTS = (
    Alert("AlphaGone", "up{job=\"alpha\"} == 0", "30s", "page", "Nobody answers at {{ $labels.instance }}."),
    Alert("AlphaKilled", "max by (instance) (alpha_killed) == 1", "0s", "page", "All is killed on {{ $labels.instance }}."),
    Alert(
        "AlphaModelKilled",
        "alpha_model_killed == 1",
        "0s",
        "ticket",
        "{{ $labels.model }} is killed on {{ $labels.instance }}.",
    ),
    Alert(
        "AlphaBreakerOpen",
        "alpha_breaker_open == 1",
        "0s",
        "page",
        "{{ $labels.model }} failed too often or was too slow, and is not listened to.",
    ),
    Alert(
        "AlphaNoDecision",
        "sum by (instance) (increase(alpha_signals_total[1m])) == 0",
        "1m",
        "page",
        "No decision for two minutes on {{ $labels.instance }}: outside of sessions silence this rule.",
    ),
    Alert(
        "AlphaAuditUnwell",
        "alpha_audit_healthy == 0",
        "0s",
        "page",
        "The audit log of {{ $labels.instance }} failed, blocks, or lost records.",
    ),
    Alert(
        "AlphaLosesEvents",
        "increase(alpha_ring_dropped_events_total[5m]) > 0",
        "0s",
        "ticket",
        "The ring of {{ $labels.instance }} was full: features restarted their warm-up.",
    ),
    Alert(
        "AlphaReloadFailed",
        "alpha_reload_failed == 1",
        "5m",
        "ticket",
        "{{ $labels.instance }} could not take up what the registry says; the page says why.",
    ),
    Alert(
        "AlphaDrift",
        "max by (instance, model, instrument) (alpha_psi) > 0.25",
        "5m",
        "ticket",
        "{{ $labels.model }} on {{ $labels.instrument }}: over its last rows a feature is distributed otherwise than in training, more than its training windows were.",
    ),
    Alert(
        "AlphaModelExpires",
        "alpha_model_valid_until_timestamp_seconds - time() < 7 * 86400",
        "1h",
        "ticket",
        "{{ $labels.model }} holds in less than a week: promote a newer version.",
    ),
)  # fmt: skip


def dashboard() -> str:
    """The Grafana dashboard, JSON for Dashboards, New, Import; it asks for the Prometheus data source."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": _place(0, y, 24, 1), "panels": []}
        )
        y, x = y + 1, 0
        for panel in row:
            height = 4 if panel.kind == "stat" else 8
            if x + panel.width > 24:
                x, y = 0, y + height
            panels.append(_panel(panel, len(panels) + 1, _place(x, y, panel.width, height)))
            x += panel.width
        y += 4 if row[-1].kind == "stat" else 8
    out = {
        "__inputs": [
            {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus"}
        ],
        "title": "alpha",
        "uid": "alpha-runtime",
        "tags": ["alpha"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                _variable("job", "label_values(alpha_build_info, job)", several=False),
                _variable("instance", 'label_values(alpha_build_info{job="$job"}, instance)', several=True),
            ]
        },
        "panels": panels,
    }  # fmt: skip
    return json.dumps(out, indent=2) + "\n"


def alerts() -> str:
    """Example alert rules, YAML for Prometheus; its job is called ``alpha``."""
    lines = ["# Examples: choose the times that fit your market, and silence them outside of its sessions.", "groups:", "  - name: alpha", "    rules:"]  # fmt: skip
    for a in ALERTS:
        lines += [
            f"      - alert: {a.name}",
            f"        expr: {json.dumps(a.expression)}",
            f"        for: {a.wait}",
            "        labels:",
            f"          severity: {a.severity}",
            "        annotations:",
            f"          summary: {json.dumps(a.summary)}",
        ]
    return "\n".join(lines) + "\n"


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    table = panel.kind == "table"
    targets = [
        {
            "refId": chr(65 + k),
            "datasource": source,
            "expr": expression.replace("$S", SELECT),
            "legendFormat": legend,
            **({"format": "table", "instant": True} if table else {}),
        }
        for k, (expression, legend) in enumerate(panel.expressions)
    ]
    out: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": source,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": None}, "overrides": []},
    }
    if panel.kind == "stat":
        out["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return out


def _variable(name: str, query: str, *, several: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${DS_PROMETHEUS}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": several,
        "multi": several,
        "current": {},
    }
