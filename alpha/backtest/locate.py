"""From a symbol to its files: by instruments.toml, then by the names of files under $ALPHA_DATA. Floor 7.

In a file's name, parts between underscores that are dates, bar lengths or levels are no symbol; of the others the last is:
``QQQ_1m_2022_2023`` is QQQ, ``OANDA_EURUSD_20140501`` is EURUSD. Sources of one symbol are never mixed: where there are
several, the caller has to say which (``OANDA_EURUSD``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from alpha.errors import DataError
from alpha.instruments import Instrument, Instruments

SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv")
_NO_SYMBOL = re.compile(r"\d{4,}(q\d)?|\d{1,2}[smhd]|l\d{1,2}|depth|trades|quotes|bars", re.IGNORECASE)
MAX_FILES = 20_000


@dataclass(frozen=True)
class Located:
    """An instrument and the files of its data, in order of their names."""

    instrument: Instrument
    files: tuple[Path, ...]


def data_root() -> Path | None:
    """$ALPHA_DATA, if it is a folder."""
    folder = os.environ.get("ALPHA_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def source_of(path: Path) -> tuple[str, str]:
    """(symbol, source) by a file's name; the source is what is left of the name without dates and bar lengths."""
    parts = [p for p in _stem(path).split("_") if p]
    words = [p for p in parts if not _NO_SYMBOL.fullmatch(p)] or parts[:1]
    kept = [p for p in parts if not re.fullmatch(r"\d{4,}(q\d)?|\d{1,2}[smhd]", p, re.IGNORECASE)] or parts[:1]
    return words[-1].upper(), "_".join(kept)


def data_files(root: Path) -> list[Path]:
    """Every data file under a folder, in order of their paths."""
    found = sorted(p for p in root.rglob("*") if p.is_file() and p.name.lower().endswith(SUFFIXES))
    return found[:MAX_FILES]


def known(table: Instruments | None, beside: Path | None) -> list[str]:
    """Symbols that :func:`locate` would find, in alphabetical order."""
    root = data_root()
    files = data_files(root) if root is not None else []
    out = {source_of(f)[0] for f in files}
    for item in table or ():
        if item.path and (any(item.owns(f) for f in files) or (beside is not None and list(beside.glob(item.path)))):
            out.add(item.symbol)
    return sorted(out)


def locate(symbol: str, table: Instruments | None = None, beside: Path | None = None) -> Located:
    """The files of a symbol. ``beside``: the folder of instruments.toml. DataError lists the symbols that are known."""
    root = data_root()
    files = data_files(root) if root is not None else []
    if table is not None and symbol in table and table[symbol].path:
        item = table[symbol]
        own = sorted(beside.glob(item.path)) if beside is not None else []
        own = own or [f for f in files if item.owns(f)]
        if own:
            return Located(item, tuple(own))
    by_source: dict[str, list[Path]] = {}
    for f in files:
        found, source = source_of(f)
        if symbol.upper() == found or symbol.lower() == source.lower():
            by_source.setdefault(source, []).append(f)
    if len(by_source) > 1:
        raise DataError(
            f"{symbol} has data of several sources, which are not mixed: say one of {', '.join(sorted(by_source))}"
        )
    if not by_source:
        listed = ", ".join(known(table, beside)) or "none"
        where = f"$ALPHA_DATA ({root})" if root is not None else "$ALPHA_DATA, which is not set"
        raise DataError(
            f"no data of {symbol!r} in instruments.toml or {where}; known: {listed}; or name files with --data"
        )
    (source, own), *_ = by_source.items()
    declared = table[symbol] if table is not None and symbol in table else Instrument(symbol=symbol, source="inferred")
    if len(own) > 1:
        pattern = f"{source}_*"
        declared = msgspec.structs.replace(declared, path=pattern)
    else:
        declared = msgspec.structs.replace(declared, path=own[0].name)
    return Located(declared, tuple(own))
