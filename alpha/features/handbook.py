"""The operators as a page: ``docs/operators.md`` is what :func:`page` returns. Floor 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from alpha.features.macros import Macro, builtin_macros
from alpha.features.operators import BAR_FIELDS, BAR_SOURCES, CLOCK_BARS, FEED_FIELDS, OPERATORS, Operator, Param

COMMAND = "alpha features --operators --markdown > docs/operators.md"

FIELD_MEANINGS: Mapping[str, tuple[str, str]] = {
    "open": ("first price", "px"),
    "high": ("highest price", "px"),
    "low": ("lowest price", "px"),
    "close": ("last price", "px"),
    "volume": ("sum of the sizes in whole lots; missing if a trade had no size, and in bars of the mid", "qty"),
    "vwap": ("mean price weighed with size, in whole ticks and lots; missing like the volume", "px"),
    "count": ("number of trades, in bars of the mid of quotes", "ratio"),
}
"""Field of a bar -> meaning and unit."""

_BAR_MEANINGS = {
    "feed": '`bar(interval)` or `bar(interval, "feed")`: BAR events of the stream itself, at one interval in a set; fields {feed}',
    "trade": '`bar(interval, "trade")`: built from trades between multiples of the interval (UTC)',
    "mid": '`bar(interval, "mid")`: built from the mid of each quote between multiples of the interval (UTC)',
}
_PARAM_TYPES = {
    "count": "a whole number",
    "duration": 'a time such as `"5s"`',
    "window": 'a whole number of updates, or a time such as `"5s"`',
    "number": "a number",
    "choice": "one of the texts named",
    "name": "a text of 1 to 64 printable characters, such as a symbol",
}
_UNITS = {"same": "of x", "square": "of x, squared", "product": "of x times y", "beta": "of x over y", "ratio": "a number",
          "count": "a number", "any": "whatever"}  # fmt: skip
_SECTIONS = {
    "quote": ("Quotes", "Updated by every QUOTE event."),
    "trade": ("Trades", "Updated by every TRADE event."),
    "depth": ("Levels", "Updated by every DEPTH event of that level; level 0 is the quote."),
    "input": ("External series", "Updated by INPUT events; through gaps and sessions it keeps its value."),
    "time": ("Time", "Read when looked at; updates nothing, so what remembers needs something else beside it."),
}


def page() -> str:
    """The whole page as Markdown."""
    parts = [
        "# Operators",
        f"Made from the operator table by `{COMMAND}`; not written by hand. "
        "The exact meaning, the order of work and the rules whose numbers are given stand in [numerics](numerics.md).",
        "A *source* is written without brackets unless it has parameters. x, y and c are expressions. Parameters may "
        "be given by name; those with `=` may be left out, `=…` has no default. They are:",
        *_bullets(f"**{name}**: {text}" for name, text in _used_types()),
        '`reset` says what a session break does to an operator that remembers: `"session"` starts it again, '
        '`"never"` lets it run through; left out, it starts again if what it looks at does (quotes, trades and levels '
        "do, bars and inputs do not). Every operator that remembers takes it; the tables leave it out.",
        "What updates by different events may be mixed (rules 36 and 37): quotes with trades, bars of two intervals, bars "
        "by time with bars by trades. An operator of several operands updates when any of them does, and takes the present "
        "value of each, which for the others is their last. So `corr(mid, px, 20)` holds the last 20 quotes and trades "
        "together, each with the newest mid and price of that moment, not 20 pairs of a quote and its trade; a pair is "
        "taken only once both are finite. What should move by one clock is written by one: `bar(…).close` of the same bar "
        "on both sides. Bars of the feed at two intervals are an error, because events do not tell them apart.",
    ]
    sources = [op for op in OPERATORS.values() if op.kind == "source"]
    for group, (title, text) in _SECTIONS.items():
        parts += [f"## {title}", text, _table(op for op in sources if op.group == group)]
    parts += [
        "## At once",
        "Functions of the present values; ready when all operands are. Arithmetic and comparisons are written as usual.",
        _table(op for op in OPERATORS.values() if op.kind == "pointwise"),
        "## With a memory",
        "They take an operand in when it passes an update and is finite. Windows of a time hold (t − w, t].",
        _table(op for op in OPERATORS.values() if op.kind == "stateful"),
        "## Bars",
        *_bars(),
        "## Macros",
        "Composite features, expanded where they stand; a set may add its own in a `[macros]` table.",
        _macros(builtin_macros().values()),
    ]
    return "\n\n".join(parts) + "\n"


def signature(op: Operator) -> str:
    """``mean(x, window)``: how the operator is written, without ``reset``."""
    letters = ("c", "x", "y") if op.operands == 3 else ("x", "y")
    params = [_written(op, p) for p in op.params if p.name != "reset"]
    given = [p for p in params if "=" not in p] + [p for p in params if "=" in p]
    if op.name == "of":
        return "of(symbol, x)"
    inside = ", ".join([*letters[: op.operands], *given])
    return f"{op.name.removesuffix('_at')}({inside})" if inside else op.name


def _written(op: Operator, p: Param) -> str:
    if p.required:
        return p.name
    if p.name in op.one_of or p.default is None:
        return f"{p.name}=…"
    return f'{p.name}="{p.default}"' if isinstance(p.default, str) else f"{p.name}={p.default}"


def _used_types() -> list[tuple[str, str]]:
    """Parameter name -> what it takes, each name once; a name that means two things is listed with both."""
    found: dict[str, list[str]] = {}
    for op in OPERATORS.values():
        for p in op.params:
            text = _PARAM_TYPES[p.type]
            if p.choices:
                text = "one of " + ", ".join(f'`"{c}"`' for c in p.choices)
            least = 1 if p.type == "count" and p.minimum is None else p.minimum
            if least is not None:
                text += f" from {least:g}" + (f" to {p.maximum:g}" if p.maximum is not None else "")
            if not any(text in known for known in found.setdefault(p.name, [])):
                found[p.name].append(text)
    return [(name, "; or ".join(texts)) for name, texts in sorted(found.items())]


def _bullets(lines: Iterable[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _grid(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _table(operators: Iterable[Operator]) -> str:
    head = ("write", "meaning", "ready after", "unit", "cost of an update", "example", "from")
    return _grid(head, (_row(op) for op in operators))


def _row(op: Operator) -> tuple[str, ...]:
    meaning = op.meaning + ("; not under NO_QTY" if op.needs_qty else "")
    unit = _UNITS.get(op.unit, op.unit)
    example = f"`{op.example}`" if op.example != op.name else ""
    warm_up = op.warm_up.removeprefix("ready at ")
    return f"`{signature(op)}`", meaning, warm_up, unit, op.cost, example, op.source


def _bars() -> list[str]:
    kinds = [_BAR_MEANINGS[source].format(feed=", ".join(FEED_FIELDS)) for source in BAR_SOURCES]
    kinds += [
        f"`{name}(size)`: built from trades, closes with every further `size` of {what}"
        for name, what in CLOCK_BARS.items()
    ]
    fields = ((f"`.{name}`", FIELD_MEANINGS[name][0], _UNITS.get(FIELD_MEANINGS[name][1], FIELD_MEANINGS[name][1])) for name in BAR_FIELDS)  # fmt: skip
    return [
        'A bar is named with one of its fields: `bar("1m", "trade").close`. Its leaves update when it closes; it is '
        "ready from the first close on, and since a GAP. A session break leaves it alone.",
        *_bullets(kinds),
        _grid(("field", "meaning", "unit"), fields),
    ]


def _macros(macros: Iterable[Macro]) -> str:
    rows = ((f"`{m.signature()}`", m.doc, f"`{' '.join(m.expr.split())}`", m.source) for m in macros)
    return _grid(("write", "meaning", "stands for", "from"), rows)
