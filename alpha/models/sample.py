"""Rows of features from a Parquet file, compared with a feature set by name and order. Floor 3."""

from __future__ import annotations

from pathlib import Path

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
        raise ModelError(f"sample {file} does not exist")
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
        rows = None if batch is None else [batch.column(batch.schema.names.index(n)).to_numpy(False) for n in names]
    except (OSError, ValueError, TypeError) as exc:  # pyarrow's own errors are ValueErrors
        raise ModelError(f"sample {file} cannot be read: {str(exc).splitlines()[0]}") from None
    if rows is None or not len(rows[0]):
        raise ModelError(f"sample {file} has no rows")
    wrong = next((n for n, column in zip(names, rows, strict=True) if column.dtype.kind not in "iufb"), None)
    if wrong is not None:
        raise ModelError(f"sample {file}: column {wrong!r} holds no numbers")
    x = np.column_stack([column.astype(np.float32) for column in rows])
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        i, j = (int(v) for v in bad[0])
        raise ModelError(
            f"sample {file}: row {i} of {names[j]!r} is {x[i, j]}: a model never sees such a row, leave it out"
        )
    return x
