"""One self-contained HTML page: pictures inside, nothing fetched. Floor 7."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha.errors import need

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { --ink: #1d2733; --soft: #5b6877; --line: #dfe5ec; --accent: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #f6f8fa; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; }
h2 { font-size: 1.1rem; margin: 32px 0 12px; }
p { margin: 0 0 12px; color: var(--soft); }
.notice { border-left: 4px solid #c98a10; background: #fff8e6; padding: 8px 12px; color: var(--ink); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0; }
.fact { background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px; }
.fact b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.fact span { color: var(--soft); font-size: .85rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 16px; }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 8px; }
figure.wide { grid-column: 1 / -1; }
img { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: #fff; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: 6px 10px; text-align: left; font-size: .9rem; overflow-wrap: anywhere; }
th { background: #eef2f6; overflow-wrap: normal; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
<p>{{ subtitle }}</p>
{% for line in notices %}<p class="notice">{{ line }}</p>
{% endfor %}
<div class="facts">
{% for name, value in facts %}<div class="fact"><b>{{ value }}</b><span>{{ name }}</span></div>
{% endfor %}</div>
<div class="figures">
{% for f in figures %}<figure{% if f.wide %} class="wide"{% endif %}><picture>{% if f.narrow %}<source media="(max-width: 700px)" srcset="data:image/png;base64,{{ f.narrow }}">{% endif %}<img alt="{{ f.alt }}" src="data:image/png;base64,{{ f.data }}"></picture></figure>
{% endfor %}</div>
{% for t in tables %}<h2>{{ t.title }}</h2>
<div class="scroll"><table><thead><tr>{% for c in t.columns %}<th>{{ c }}</th>{% endfor %}</tr></thead><tbody>
{% for row in t.rows %}<tr>{% for c in row %}<td>{{ c }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}</main>
</body>
</html>
"""


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    notice: str,
    facts: Sequence[tuple[str, str]],
    figures: Sequence[tuple[Path, str, bool]],
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]],
) -> Path:
    """``figures``: (PNG, alternative text, whether it takes the whole width); ``tables``: (title, columns, rows).

    A picture ``x.png`` beside which ``x-narrow.png`` stands shows that one on a phone. ``notice``: several lines become
    several notices.
    """
    jinja2 = need("jinja2", "report")
    page = jinja2.Environment(autoescape=True).from_string(_TEMPLATE)
    html = page.render(
        title=title,
        subtitle=subtitle,
        notices=[line for line in notice.splitlines() if line],
        facts=facts,
        figures=[
            {"data": _encoded(p), "narrow": _encoded(_narrow(p)), "alt": alt, "wide": wide} for p, alt, wide in figures
        ],
        tables=[{"title": t, "columns": c, "rows": r} for t, c, r in tables],
    )
    path.write_text(html, encoding="utf-8")
    return path


def _narrow(path: Path) -> Path:
    return path.with_name(f"{path.stem}-narrow.png")


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
