"""A backtest as a folder: report.html, pictures, summary.json; and two of them side by side. Floor 7.

``summary.json`` holds ``summary`` (the same from run to run), ``judged`` (likewise) and ``measured`` (latency of this run on
this machine).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alpha.documents import plain, read_json, write_atomically
from alpha.errors import DataError
from alpha.report import trading_figures as draw
from alpha.report.figures import DOWN, FLAT
from alpha.report.page import write_page

SCHEMA = "alpha/backtest-summary/1"
NONE = "–"


def percent(x: float | None, digits: int = 2) -> str:
    """A share in percent."""
    return NONE if x is None else f"{100.0 * x:,.{digits}f} %"


def number(x: Any, digits: int = 2) -> str:
    """A number with thousands, or a dash."""
    if x is None:
        return NONE
    return f"{x:,}" if isinstance(x, int) else f"{x:,.{digits}f}"


def duration(ns: float | None) -> str:
    """A time span in a readable unit."""
    if ns is None:
        return NONE
    for unit, size in (("h", 3.6e12), ("min", 6e10), ("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def notices(s: Mapping[str, Any]) -> list[str]:
    """What a reader has to know before believing a figure."""
    out = ["A backtest on recorded data. Costs, latency and fills are modelled; nothing was traded."]
    data, days = s["data"], s["data"]["days"]
    inside = data["in_sample_decisions"]
    if inside:
        out.append(
            f"{inside:,} of {s['decisions']:,} decisions lie inside the period the model was trained on: "
            "what they earned proves nothing. Begin later with --from."
        )
    if data["missing_days"]:
        held = "positions ended at the last price before each gap, costs paid"
        if data["carried"]:
            held = f"a position was held across them, and {data['profit_across_missing_days']:+,.2f} of the result come from there"
        out.append(f"The data lack {data['missing_days']:,} sessions between their days: {held}.")
    if data["partial_days"]:
        out.append(f"{data['partial_days']} of {days} days are incomplete; each still counts as a day.")
    if days < 60:
        out.append(f"{days} days are too few for annual figures to mean much.")
    for m in s["models"]:
        if m["floor"] is not None:
            out.append(f"{m['name']} decided from a confidence of {m['floor']:g} on, which is not what was approved.")
        if m["why"]:
            out.append(f"{m['name']} did not decide: {m['why']}")
    return out


def facts(s: Mapping[str, Any], judged: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top."""
    p = s["performance"]
    return [
        ("equity at the end", number(s["equity_end"])),
        ("total return", percent(p["total_return"])),
        ("annual return", percent(p["annual_return"])),
        ("Sharpe ratio", number(p["sharpe"])),
        ("largest drawdown", percent(s["max_drawdown"])),
        ("round trips", number(s["trades"])),
        ("of them won", percent(s["win_rate"], 1)),
        ("turnover a day", percent(s["turnover_per_day"], 0)),
        ("fees paid", number(s["fees"])),
        ("probabilistic Sharpe", percent(p["probabilistic_sharpe"], 1)),
        (f"deflated Sharpe, {p['tried']} tried", percent(p["deflated_sharpe"], 1)),
        ("information coefficient", number(judged["information_coefficient"], 4)),
        (f"hit rate after {duration(judged['horizon_ns'])}", percent(judged["hit_rate"], 1)),
        ("half-life of the signal", duration(judged["half_life_ns"])),
        ("mean exposure", percent(s["mean_exposure"], 1)),
        ("calibration error", number(judged["calibration_error"], 3)),
    ]


def write_report(
    folder: Path,
    summary: Mapping[str, Any],
    judged: Mapping[str, Any],
    measured: Mapping[str, Any],
    points: Mapping[str, Any],
    fills: Sequence[Any],
) -> Path:
    """``report.html`` and its pictures into ``folder``; the page's path."""
    s = summary
    pictures: list[tuple[Path, str, bool]] = []
    if len(points["ts"]) > 1:
        path = draw.equity(points, s["equity_start"], folder / "equity.png")
        pictures.append((path, "equity, drawdown and exposure over time", True))
        if fills:
            path = draw.trades(
                points,
                fills,
                fills[0].symbol if s["symbols"][0] not in {f.symbol for f in fills} else s["symbols"][0],
                folder / "trades.png",
            )
            pictures.append((path, "fills on the price", True))
    if s["monthly"]:
        pictures.append((draw.monthly(s["monthly"], folder / "monthly.png"), "return by month", False))
    if judged["hits"]:
        pictures.append((draw.hits(judged, folder / "hits.png"), "hit rate by confidence", False))
    if judged["calibration"]:
        pictures.append((draw.calibration(judged, folder / "calibration.png"), "calibration", False))
    if any(r["ic"] is not None for r in judged["decay"]):
        pictures.append((draw.decay(judged, folder / "decay.png"), "alpha decay against latency", False))
    holds = {k: v for k, v in s["reasons"].items() if k != "MODEL"}
    holds["the model itself"] = max(s["grades"].get("HOLD", 0) - sum(holds.values()), 0)
    holds = dict(sorted(((k, v) for k, v in holds.items() if v), key=lambda item: -item[1])[:10])
    if holds:
        pictures.append(
            (
                draw.bars(holds, "Why it held still", "decisions", folder / "reasons.png", FLAT),
                "reasons for HOLD",
                False,
            )
        )
    pictures.append(
        (draw.bars(s["costs"], "What trading cost", "money", folder / "costs.png", DOWN), "cost split", False)
    )
    return write_page(
        folder / "report.html",
        title=f"{s['strategy']} on {', '.join(s['symbols'])}",
        subtitle=f"{s['events']:,} events, {s['data']['days']} days, {', '.join(m['name'] for m in s['models'])}; "
        + ", ".join(f"{k} = {v}" for k, v in s["params"].items() if v is not None),
        notice="\n".join(notices(s)),
        facts=facts(s, judged),
        figures=pictures,
        tables=_tables(s, judged, measured),
    )


def write_summary(
    folder: Path, summary: Mapping[str, Any], judged: Mapping[str, Any], measured: Mapping[str, Any]
) -> Path:
    """``summary.json`` into ``folder``; its path."""
    whole = {"schema": SCHEMA, "summary": summary, "judged": judged, "measured": measured}
    text = json.dumps(plain(whole), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", text.encode())
    return folder / "summary.json"


def _tables(
    s: Mapping[str, Any], judged: Mapping[str, Any], measured: Mapping[str, Any]
) -> list[tuple[str, Sequence[str], list[Any]]]:
    p, lat = s["performance"], s["latency"]
    performance = [
        ("annual volatility", percent(p["annual_volatility"])),
        ("monthly return", percent(p["monthly_return"])),
        ("Sortino ratio", number(p["sortino"])),
        ("Calmar ratio", number(p["calmar"])),
        ("best and worst day", f"{percent(p['best_day'])} and {percent(p['worst_day'])}"),
        ("days with a profit", percent(p["positive_days"], 1)),
        ("fills a day", number(p["fills_per_day"])),
        ("profit factor of round trips", number(s["profit_factor"])),
        ("mean round trip", number(s["mean_trade"])),
        ("time in the market", percent(s["time_in_market"], 1)),
        ("positions open at the end", number(s["open_positions"])),
        ("result overnight", number(s["data"]["profit_overnight"])),
        ("result across missing sessions", number(s["data"]["profit_across_missing_days"])),
    ]
    latency = [
        ("fixed part", duration(lat["fixed_ns"]) if lat["fixed_ns"] else "0"),
        ("measured histogram, sha256", lat["histogram_sha256"] or NONE),
        ("largest that an order met", duration(lat["largest_ns"]) if lat["largest_ns"] else "0"),
        *((f"event to signal, {k}", duration(v)) for k, v in measured.get("latency_ns", {}).items()),
    ]
    counted = [
        *((f"orders: {k}", number(v)) for k, v in s["orders"].items()),
        *((f"blocked by risk: {k}", number(v)) for k, v in s["blocked"].items()),
        *((f"route fell back: {k}", number(v)) for k, v in s["fallbacks"].items()),
        *((f"not sized: {k}", number(v)) for k, v in s["unsized"].items()),
        *((f"events rejected: {k}", number(v)) for k, v in s["data"]["rejected"].items()),
        *((f"graded {k}", number(v)) for k, v in s["grades"].items()),
    ]
    models = [
        (
            m["name"],
            "yes" if m["governed"] else "no",
            number(m["threshold"]),
            m["sha256"][:16] or NONE,
            m["definition_hash"][:16],
        )
        for m in s["models"]
    ]
    decay = [
        (
            duration(r["latency_ns"]) if r["latency_ns"] else "0",
            number(r["ic"], 4),
            number(r["error"], 4),
            number(r["n"]),
        )
        for r in judged["decay"]
    ]
    months = [(month, percent(value)) for month, value in s["monthly"].items()]
    out: list[tuple[str, Sequence[str], list[Any]]] = [
        ("Performance", ("what", "value"), performance),
        ("Return by month", ("month", "return"), months),
        ("Latency", ("what", "value"), latency),
        ("Information left after a latency", ("latency", "coefficient", "standard error", "decisions"), decay),
        ("Counted", ("what", "how often"), counted),
        ("Models", ("model", "governed", "threshold", "sha256", "definition"), models),
    ]
    return [t for t in out if t[2]]


def read_summary(path: str | Path) -> dict[str, Any]:
    """``summary.json`` of a report's folder, or the file itself; DataError for anything else."""
    file = Path(path)
    if file.is_dir():
        file = file / "summary.json"
    try:
        told = read_json(file.read_bytes(), str(file), DataError)
    except OSError as exc:
        raise DataError(f"report {path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise DataError(f"{file} is no summary of a backtest")
    return told


def side_by_side(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the figures of several summaries, each with its name in front."""
    columns = [
        [
            ("strategy", r["summary"]["strategy"]),
            ("parameters", ", ".join(f"{k}={v}" for k, v in r["summary"]["params"].items() if v is not None)),
            ("symbols", ", ".join(r["summary"]["symbols"])),
            ("models", ", ".join(m["name"] for m in r["summary"]["models"])),
            ("events", number(r["summary"]["events"])),
            *[(name.split(", ")[0], value) for name, value in facts(r["summary"], r["judged"])],
            *((f"cost: {k}", number(v)) for k, v in r["summary"]["costs"].items()),
        ]
        for r in reports
    ]
    return [(rows[0][0], *(value for _, value in rows)) for rows in zip(*columns, strict=True)]


def write_comparison(path: Path, names: Sequence[str], reports: Sequence[Mapping[str, Any]]) -> Path:
    """A page with the figures of several reports side by side."""
    return write_page(
        path,
        title="Backtests side by side",
        subtitle=", ".join(names),
        notice="",
        facts=[],
        figures=[],
        tables=[("Figures", ("what", *names), [list(r) for r in side_by_side(reports)])],
    )
