"""Stands in for the linker while a tree is built for ``bench/against.py``: does the work and writes it down.

``link_order.py RECORD linker args…``: the command line goes into RECORD as one JSON list, to be repeated later with
the objects in another order.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    record, command = Path(sys.argv[1]), sys.argv[2:]
    with record.open("a") as out:
        out.write(json.dumps(command) + "\n")
    sys.exit(subprocess.run(command).returncode)
