"""A copy of the sources, without what was built or lies beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = (".git", ".venv*", "build", "dist", "runs", "*.so", "*.egg-info", "__pycache__", ".*_cache", "_shipped")


def copy(to: Path) -> Path:
    """The tree in the folder ``to``, which must not be there yet."""
    return Path(shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*NOT_SOURCE), symlinks=True))
