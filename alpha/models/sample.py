"""Rows of features from a Parquet file, compared with a feature set by name and order. Floor 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError, need

MAX_ROWS = 20_000


def read_sample(path: str | Path, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """Raw features float32 [N, F] of the first :data:`MAX_ROWS` rows; ModelError names the column that does not fit.

    The columns of the features must come in the order of the feature set; other columns are not looked at.
    """
    parquet = need("pyarrow.parquet", "data")
    file = Path(path)
    if not file.is_file():
        wrong = "is a folder: name a Parquet file in it" if file.is_dir() else "is no ordinary file"
        raise ModelError(f"sample {file} {wrong if file.exists() else 'does not exist'}")
    try:
        found = parquet.ParquetFile(file)
        columns = list(found.schema_arrow.names)
        missing = [name for name in names if name not in columns]
        if missing:
            raise ModelError(
                f"sample {file} lacks the column {missing[0]!r} ({len(missing)} of {len(names)} features are missing); "
                f"it has: {', '.join(columns[:12])}"
            )
        twice = next((name for name in names if columns.count(name) > 1), None)
        if twice is not None:
            raise ModelError(f"sample {file} has the column {twice!r} twice")
        order = [name for name in columns if name in names]
        if order != list(names):
            i = next(i for i, (a, b) in enumerate(zip(order, names, strict=True)) if a != b)
            raise ModelError(
                f"sample {file}: feature {i} is {order[i]!r} in the file but {names[i]!r} in the feature set: order counts"
            )
        batch = next(found.iter_batches(MAX_ROWS, columns=list(names)), None)
    except (OSError, ValueError, TypeError) as exc:  # pyarrow's own errors are ValueErrors
        raise ModelError(f"sample {file} cannot be read: {str(exc).splitlines()[0]}") from None
    if batch is None or not batch.num_rows:
        raise ModelError(f"sample {file} has no rows")
    columns = [batch.column(batch.schema.names.index(name)) for name in names]
    values = [_numbers(f"sample {file}: column {n!r}", column) for n, column in zip(names, columns, strict=True)]
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is named below
        x = np.column_stack([v.astype(np.float32) for v in values])
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        i, j = (int(v) for v in bad[0])
        value = values[j][i]
        what = "null" if not columns[j][i].is_valid else f"{value:.6g}"
        if np.isfinite(value):
            what += ", which float32 does not hold"
        raise ModelError(
            f"sample {file}: row {i} of {names[j]!r} is {what}: a model never sees such a row, leave it out"
        )
    return x


def _numbers(what: str, column: Any) -> npt.NDArray[Any]:
    """A column of Arrow as numbers, NaN where it is null; ModelError names the type of one that holds none."""
    types = need("pyarrow", "data").types
    try:
        if types.is_decimal(column.type) or types.is_null(column.type):
            column = column.cast("float64")
        values: npt.NDArray[Any] = column.to_numpy(False)
        if types.is_boolean(column.type):  # with nulls: objects
            values = values.astype(np.float64)
    except (ValueError, TypeError, NotImplementedError) as exc:  # pyarrow's own errors are of these
        raise ModelError(f"{what} is {column.type} and cannot be read: {str(exc).splitlines()[0]}") from None
    if values.dtype.kind not in "iufb":
        raise ModelError(f"{what} holds {column.type}, no numbers")
    return values
