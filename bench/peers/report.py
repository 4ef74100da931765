"""What :mod:`bench.side_by_side` measured, as tables in docs/performance.md and as a picture."""

from __future__ import annotations

import io
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "peers.png"
BEGIN, END = "<!-- peers: written by ./dev bench --peers -->", "<!-- peers: end -->"
PACKAGES = (
    "onnxruntime", "lightgbm", "lleaves", "tl2cgen", "treelite", "openvino", "torch", "numba", "river", "talipp",
    "nautilus_trader", "hftbacktest", "flox-py", "lrvx", "pandas", "numpy",
)  # fmt: skip
TITLES = {
    "logistic": "One call: logistic regression, 8 features",
    "mlp": "One call: MLP 32-64-64-3 with softmax",
    "trees": "One call: 100 trees of depth 6, 20 features",
    "lstm": "One step: LSTM of 64 units on 16 inputs, carried state",
    "stacks": "Quote to action: 20 features, MLP 20-64-64-3",
    "slow": "The same, stacks that take milliseconds",
    "book": "Quote to action: 64 features of five levels, MLP 64-32-1",
}


def machine() -> dict[str, Any]:
    """Processor, ISA of our kernels, versions of what is installed."""
    from alpha._core.program import isa

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        by_name = {k.strip(): v.strip() for k, v in fields.items()}
        name = f"{by_name.get('model name', name)}, family {by_name.get('cpu family', '?')}"
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"processor": name, "isa": isa(), "python": platform.python_version(), "versions": versions}


def _time(ns: float) -> str:
    if ns < 0.5:
        return "< 1 ns"
    if ns < 995:
        return f"{ns:.0f} ns"
    us = ns / 1000
    if us < 9.95:
        return f"{us:.2f} µs"
    if us < 995:
        return f"{us:.1f} µs" if us < 99.5 else f"{us:.0f} µs"
    return f"{us / 1000:.2f} ms" if us < 9950 else f"{us / 1000:.1f} ms"


def _factor(ratio: float) -> str:
    if ratio <= 0:
        return "–"
    times = 1 / ratio
    return f"{times:.2f}" if times < 9.95 else f"{times:,.0f}"


def table(section: dict[str, Any]) -> list[str]:
    """Markdown, fastest first within where it is called from; then what is not measured, and why."""
    lines = [
        "| | called from | median of blocks | p50 | p99 | p50 ÷ ours | decisions that differ |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in section["figures"]:
        name = f"**{f['name']}**" if f["name"].startswith("ours") else f["name"]
        times = " | ".join(_time(f[k]) for k in ("median_ns", "p50_ns", "p99_ns"))
        lines.append(
            f"| {name} | {f['where']} | {times} | {_factor(f['ratio'])} | {f['differing']:,} of {f['compared']:,} |"
        )
    if section["missing"]:
        lines += ["", "Not measured: " + "; ".join(f"{n}: {why}" for n, why in section["missing"].items()) + "."]
    return lines


def block(data: dict[str, Any]) -> str:
    """The marked part of docs/performance.md."""
    m = data["machine"]
    out = [
        BEGIN,
        f"{m['processor']}, kernels {m['isa']}, Python {m['python']}, load {data['load'][0]} at the beginning and "
        f"{data['load'][1]} at the end, {data['seconds']} s. "
        + ", ".join(f"{k} {v}" for k, v in m["versions"].items())
        + ".",
        "",
        "![Peers side by side: p50 and p99 of each, logarithmic](images/peers.png)",
        "",
        "| bar, ours / theirs | by blocks | by p50 | at most | holds |",
        "|---|---|---|---|---|",
    ]
    for name, b in data["bars"].items():
        shown = {k: f"{b[k]:.3f}" for k in ("by_blocks", "by_p50")}
        judged = "by_blocks" if b["by"] == "median_ns" else "by_p50"
        shown[judged] = f"**{shown[judged]}**"
        holds = "yes" if b["pass"] else "**no**"
        row = (f"`{name}`: against {b['reference']}", shown["by_blocks"], shown["by_p50"], f"{b['bar']}", holds)
        out.append(f"| {' | '.join(row)} |")
    for name, section in data["sections"].items():
        out += ["", f"**{TITLES[name]}**", "", *table(section)]
    return "\n".join([*out, END])


def write(data: dict[str, Any]) -> None:
    """Replace the block and draw the picture."""
    text = DOCS.read_text()
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"peers: {DOCS.name} has no block between {BEGIN!r} and {END!r}")
    DOCS.write_text(before + block(data) + after)
    draw(data)


def draw(data: dict[str, Any]) -> None:
    """Horizontal bars to p50 on a common logarithmic scale, a whisker to p99; ours in colour."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    sections = {n: s for n, s in data["sections"].items() if n != "slow"}
    if "stacks" in sections and "slow" in data["sections"]:
        ours = ("ours, on_quote", "hand-written Python + IOBinding")
        more = [f for f in data["sections"]["slow"]["figures"] if f["name"] not in ours]
        sections["stacks"] = {**sections["stacks"], "figures": [*sections["stacks"]["figures"], *more]}
    order = [n for n in ("logistic", "mlp", "trees", "lstm", "stacks", "book") if n in sections]
    counts = [len(sections[n]["figures"]) for n in order]
    figure, axes = plt.subplots(
        len(order), 1, figsize=(9.2, 0.27 * sum(counts) + 0.75 * len(order)), sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": counts, "hspace": 0.28},
    )  # fmt: skip
    low = 20.0
    for axis, name in zip(axes[:, 0], order, strict=True):
        rows = sorted(sections[name]["figures"], key=lambda f: -f["p50_ns"])
        for y, f in enumerate(rows):
            mine = f["name"].startswith("ours")
            colour = "#0b6e4f" if mine else "#9aa5b1"
            p50, p99 = max(f["p50_ns"], low), max(f["p99_ns"], f["p50_ns"], low)
            axis.barh(y, p50 - low / 2, left=low / 2, height=0.68, color=colour, zorder=2)
            axis.plot([p50, p99], [y, y], color="#3d4852", lw=1.0, zorder=3)
            axis.plot([p99], [y], marker="|", color="#3d4852", ms=7, zorder=3)
            axis.text(p99 * 1.14, y, f"{_time(f['p50_ns'])}  ·  p99 {_time(f['p99_ns'])}", va="center", fontsize=7.5)
        axis.set_yticks(range(len(rows)), [f"{f['name']}" for f in rows], fontsize=8)
        for label, f in zip(axis.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if f["name"].startswith("ours") else "normal")
        axis.set_title(TITLES[name], loc="left", fontsize=9.5, fontweight="bold", pad=4)
        axis.set_xscale("log")
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.grid(axis="x", color="#dfe4ea", lw=0.7, zorder=0)
        axis.tick_params(axis="both", which="both", length=0)
        for side in ("top", "right", "left", "bottom"):
            axis.spines[side].set_visible(False)
    top = max(f["p99_ns"] for s in sections.values() for f in s["figures"])
    last = axes[-1, 0]
    last.set_xlim(low / 2, top * 12)
    words = {2: "100 ns", 3: "1 µs", 4: "10 µs", 5: "100 µs", 6: "1 ms", 7: "10 ms", 8: "100 ms"}
    ticks = [k for k in words if 10**k <= top]
    last.set_xticks([10.0**k for k in ticks], [words[k] for k in ticks], fontsize=8)
    last.minorticks_off()
    last.set_xlabel("bar: p50 of one call (logarithmic); line: to p99", fontsize=8)
    PICTURE.parent.mkdir(exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100, bbox_inches="tight", facecolor="white")
    Image.open(drawn).convert("RGB").quantize(32, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    plt.close(figure)
