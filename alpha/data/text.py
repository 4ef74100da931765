"""Delimited text in blocks of whole lines, every value as text, every row with its line number. Floor 2.

Reading values as text first makes a value that is no number a counted row instead of a failed file.
A field may not contain a line break.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from alpha.data.build import Tally, shown
from alpha.errors import DataError, need

LINE = "\0line"
"""Column with the line number of a row; no file can have a column of this name."""

_LONGEST_LINE_BYTES = 1 << 24
_READ_BYTES = 1 << 20


class Lines:
    """Whole lines from a binary stream, a given number at a time."""

    def __init__(self, stream: IO[bytes], label: str) -> None:
        self._stream, self._label = stream, label
        self._rest = b""
        self._ended = False

    def take(self, count: int) -> bytes:
        """Up to ``count`` lines with their line ends; empty at the end of the stream."""
        parts, have, size = [self._rest], self._rest.count(b"\n"), len(self._rest)
        while have < count and not self._ended:
            try:
                part = self._stream.read(_READ_BYTES)
            except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as exc:
                raise DataError(f"{self._label}: cannot be decompressed: {exc}") from None
            self._ended = not part
            parts.append(part)
            have, size = have + part.count(b"\n"), size + len(part)
            if have == 0 and size > _LONGEST_LINE_BYTES:
                raise DataError(f"{self._label}: no line break in the first {size} bytes: not a text table")
        block = b"".join(parts)
        if have <= count and self._ended:
            self._rest = b""
            return block
        cut = int(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10)[count - 1]) + 1
        self._rest = block[cut:]
        return block[:cut]


def _fields(text: str, separator: str) -> list[str]:
    """The fields of one line; none if it is no delimited text, e.g. holds a bare carriage return."""
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:
        return []


def _shape(block: bytes, separator: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Per line: number of separators, and length without the line end."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(data == 10)
    if data[-1] != 10:
        ends = np.append(ends, len(data))
    before = np.concatenate(([-1], ends[:-1]))
    total = np.concatenate(([0], np.cumsum(data == ord(separator))))
    counts = np.diff(total[ends], prepend=0)
    if b'"' in block:  # a separator may stand inside quotes
        lines = block.split(b"\n")
        for row in range(len(counts)):
            if b'"' in lines[row]:
                text = lines[row].decode("utf-8", "replace")
                counts[row] = len(_fields(text, separator)) - 1
    return counts.astype(np.int64), (ends - before - 1).astype(np.int64)


def parse_lines(block: bytes, names: Sequence[str], separator: str) -> tuple[Any, npt.NDArray[np.int8]]:
    """Lines as a polars frame of text (nothing written: null), one row per line.

    The int8 array says per line: 0 sound, 1 a wrong number of fields, 2 empty; 1 and 2 are rows of nulls.
    """
    pl = need("polars", "data")
    block = block.replace(b"\r\n", b"\n")
    counts, lengths = _shape(block, separator)
    fault = np.where(lengths == 0, 2, np.where(counts != len(names) - 1, 1, 0)).astype(np.int8)
    if fault.any():
        lines = block.split(b"\n")[: len(counts)]
        for row in np.flatnonzero(fault):
            lines[row] = separator.encode() * (len(names) - 1)
        block = b"\n".join(lines)
    frame = pl.read_csv(
        io.BytesIO(block),
        has_header=False,
        new_columns=list(names),
        infer_schema=False,
        separator=separator,
        quote_char='"' if b'"' in block else None,
        encoding="utf8-lossy",
    )
    if frame.height != len(counts):
        raise DataError(f"{len(counts)} lines of text were parsed into {frame.height} rows: a quote is not closed")
    return frame, fault


_MAGIC = {b"PAR1": ("Parquet", "parquet"), b"PK\3\4": ("zip", "lobster-zip")}


def _check_magic(path: Path, head: bytes) -> None:
    """A file whose name says text and whose first bytes say something else."""
    if head in _MAGIC:
        what, name = _MAGIC[head]
        raise DataError(
            f"{path} is a {what} file by its first bytes, not CSV: rename it, or say --format {name} "
            f"(Python: format={name!r})"
        )


def _width(block: bytes, first: int, separator: str, wanted: int) -> Callable[[int], str]:
    def tell(row: int) -> str:
        text = block.split(b"\n")[row - first].decode("utf-8", "replace").strip("\r")
        return f"{len(_fields(text, separator))} instead of {wanted} in {shown(text)}"

    return tell


def csv_frames(path: Path, tally: Tally, chunk: int, on_rows: Callable[[int], None]) -> Iterator[Any]:
    """A CSV file with a header (plain or gzipped; separated by comma, semicolon or tab) as polars frames of text.

    Lines of another width are bad rows, empty lines are ignored. Each frame carries :data:`LINE`; ``on_rows`` is told
    of the lines that are in none.
    """
    pl = need("polars", "data")
    with path.open("rb") as raw:
        _check_magic(path, raw.read(4))
        raw.seek(0)
        stream: Any = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw
        lines = Lines(stream, str(path))
        header = lines.take(1).decode("utf-8-sig", "replace").strip("\r\n")
        if "\0" in header:
            raise DataError(f"{path}:1: the first line holds zero bytes: this is no text table")
        separator = max(",;\t", key=header.count)
        names = [name.strip() for name in _fields(header, separator)]
        if len(names) < 2 or len(set(names)) != len(names):
            raise DataError(
                f"{path}:1: the first line must name at least two columns, each once; it is {header[:80]!r}"
            )
        if all(name.replace(".", "").replace("-", "").isdigit() for name in names):
            raise DataError(f"{path}:1: the first line holds numbers; it must name the columns")
        number = 2
        while block := lines.take(chunk):
            try:
                frame, fault = parse_lines(block, names, separator)
            except (DataError, pl.exceptions.PolarsError) as exc:
                said = str(exc).partition("\n")[0]
                raise DataError(f"{path}: after line {number - 1}: {said}") from None
            place = np.arange(number, number + len(fault), dtype=np.int64)
            number += len(fault)
            first = number - len(fault)
            tally.add(
                "wrong_number_of_columns", str(path), place[fault == 1], _width(block, first, separator, len(names))
            )
            tally.ignore("empty_line", int(np.count_nonzero(fault == 2)))
            on_rows(int(np.count_nonzero(fault)))
            yield frame.with_columns(pl.Series(LINE, place)).filter(pl.Series(fault == 0))
        if number == 2:
            yield pl.DataFrame(schema={**dict.fromkeys(names, pl.String), LINE: pl.Int64})
