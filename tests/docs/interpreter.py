"""One Python session per page: takes blocks of code as lines of JSON, answers each with what went wrong, or with null.

Not a test. ``stage.py`` starts it in the page's folder, with the file that its output goes to as its argument.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import traceback
from typing import Any


def main(output: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    sys.path.insert(0, "")  # as of `python -c`: the page's own modules
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        told = None
        where, code = asked["where"], asked["code"]
        linecache.cache[where] = (len(code), None, code.splitlines(keepends=True), where)
        try:
            exec(compile(code, where, "exec"), namespace)
        except BaseException as exc:  # also SystemExit: the page's next block still wants an answer
            told = {"kind": type(exc).__name__, "text": str(exc), "trace": traceback.format_exc()}
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
