"""Where a feature definition comes from: the commit that holds it. Floor 5."""

from __future__ import annotations

import subprocess
from pathlib import Path

from alpha.features import catalog


def definition_commit(folder: Path) -> str:
    """Commit of the repository in which the definition's folder lies; empty outside of git or where git ignores the folder
    (as that of an environment), or if a tracked file of it differs, or if the feature catalogue's own repository does."""

    def git(where: Path, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    try:
        top = Path(git(folder, "rev-parse", "--show-toplevel")).resolve()
        catalogue = Path(catalog.__file__).resolve()
        if (
            subprocess.run(["git", "check-ignore", "-q", "."], cwd=folder, capture_output=True, timeout=30).returncode
            != 1
        ):
            return ""
        changed = git(top, "status", "--porcelain", "--untracked-files=no")
        defines = [p for p in (folder.resolve(), catalogue.parent) if p.is_relative_to(top)]
        changed += git(top, "status", "--porcelain", "--", *map(str, defines))  # new files count where definitions lie
        return "" if changed else git(top, "rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return ""
