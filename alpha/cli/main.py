"""Entry point of ``alpha``: finds the verb, maps errors to exit codes. Floor 8.

Exit codes: 0 ok, 1 a check failed, 2 bad input or an output that cannot be written, 130 interrupted, 141 whoever read the
output hung up (as of a process that SIGPIPE ended).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from alpha.cli import show
from alpha.errors import AlphaError, printable

# verb -> (module, one line). Modules are imported only when their verb is called.
VERBS = {
    "demo": ("alpha.cli.demo", "simulate, train, run and report, in one go"),
    "data": ("alpha.cli.data", "look at a market data file: events, bad rows, what the guard rejects"),
    "features": ("alpha.cli.features", "list, show and check feature sets and operators"),
    "sessions": ("alpha.cli.sessions", "show a market's sessions, or write its table"),
    "parity": ("alpha.cli.parity", "prove that live features equal training features on your data"),
    "lookahead": ("alpha.cli.lookahead", "prove that no feature sees the future: alter it, compare the past"),
    "import": ("alpha.cli.import_", "turn your own ONNX file into a registered candidate"),
    "registry": ("alpha.cli.registry", "list, promote, roll back, verify and sign models"),
    "validate": ("alpha.cli.validate", "judge a model's fused plan against ONNX Runtime over your data"),
    "run": ("alpha.cli.run", "stream data through a registered model"),
    "watch": ("alpha.cli.watch", "the page of a running model: signals, features, latency, reasons"),
    "top": ("alpha.cli.top", "the same in the terminal"),
    "backtest": ("alpha.cli.backtest", "trade a strategy on recorded data: report, and a log that replays"),
    "report": ("alpha.cli.report", "backtests side by side"),
    "audit": ("alpha.cli.audit", "verify an audit log, show, explain and export what it holds"),
    "replay": ("alpha.cli.replay", "replay an audit log and demand the same decisions, byte for byte"),
    "compare": ("alpha.cli.compare", "two models over the same data: flips, calibration, result"),
    "kill": ("alpha.cli.kill", "silence all models, one model or one instrument, or take it back"),
    "explain": ("alpha.cli.explain", "take the last decision of a stream apart"),
    "bench": ("alpha.cli.bench", "measure this machine"),
    "doctor": ("alpha.cli.doctor", "what this installation has and lacks"),
}
EXTRA_GROUP = "alpha.verbs"
# verbs of the training package, which this package never imports: found by their entry points when called
TRAINING_VERBS = {
    "train": "train, audit and register the models of a recipe",
    "walkforward": "retrain a recipe's models fold after fold, judge each on what came next",
    "learn": "let a served model learn from its audit log, as a candidate",
    "mlflow": "log runs and register models in an MLflow store, import one back as a candidate",
}


def _extra_verbs() -> dict[str, Any]:
    """Verbs that other packages register, by name."""
    from importlib.metadata import entry_points

    return {e.name: e for e in entry_points(group=EXTRA_GROUP)}


def _usage() -> str:
    lines = ["usage: alpha VERB [options]", "", "Machine-learned trading signals, from Python. Advisory only.", ""]
    lines += [f"  {name:<11} {text}" for name, (_, text) in VERBS.items()]
    lines += [f"  {name:<11} {text}" for name, text in TRAINING_VERBS.items()]
    lines += ["", "alpha VERB --help tells more; --json prints exactly one JSON object."]
    return "\n".join(lines)


class _UsageError(AlphaError):
    """A command line that argparse does not understand."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise _UsageError(f"{message}; {self.prog} --help tells more")


class _OutputError(OSError):
    """Standard output failed; a file that fails raises plain OSError."""


class _Output:
    """Standard output whose failures can be told from those of any other file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as exc:
            raise _OutputError(exc.errno, exc.strerror) from exc

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as exc:
            raise _OutputError(exc.errno, exc.strerror) from exc

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # print(file=None) would write into the output
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (as long as the process)
    if sys.stdout is None:
        print("alpha: standard output is closed, so nothing could be printed: open it, e.g. > FILE", file=sys.stderr)
        return 2
    who = f"alpha {args[0]}" if args and not args[0].startswith("-") else "alpha"
    try:
        with contextlib.redirect_stdout(cast(TextIO, _Output(sys.stdout))):
            code = _dispatch(args)
            sys.stdout.flush()
        return code
    except _OutputError as exc:
        return _undelivered(who, exc)
    except KeyboardInterrupt:
        return _fail(who, "interrupted", 130, args)
    except AlphaError as exc:
        # what the system says comes with its number, which helps nobody
        return _fail(who, re.sub(r"\[[Ee]rrno \d+\] ", "", str(exc)), 2, args)
    except OSError as exc:
        return _fail(who, show.sentence(exc), 2, args)


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if args[0] in ("-V", "--version"):
        from alpha import __version__

        print(f"alpha {__version__}")
        return 0
    name = args[0]
    if name in VERBS:
        verb: Any = importlib.import_module(VERBS[name][0])
    else:
        extra = _extra_verbs()
        if name not in extra:
            raise _UsageError(f"unknown verb {name!r}; known: {', '.join([*VERBS, *extra])}")
        verb = extra[name].load()
    parser = _Parser(prog=f"alpha {name}", description=verb.__doc__)
    verb.configure(parser)
    try:
        options = parser.parse_args(args[1:])
    except SystemExit as exc:  # --help has printed
        return int(exc.code or 0)
    return int(verb.run(options))


def _fail(who: str, text: str, code: int, args: list[str]) -> int:
    """The one sentence: on stderr, and as the one JSON object where that was asked for."""
    # a message that points at a place of an expression has several lines
    print(f"{who}: {printable(text, keep=chr(10))}", file=sys.stderr)
    if "--json" in args:
        try:
            show.print_json("error", {"error": text})
            sys.stdout.flush()
        except OSError as exc:
            _undelivered(who, exc)
    return code


def _undelivered(who: str, exc: OSError) -> int:
    """What was printed did not arrive: nobody may take the silence for success."""
    # what stdout still holds goes nowhere, or the interpreter would fail on it once more at its end
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if exc.errno == errno.EPIPE:
        # alpha … | head: the reader has what it wanted, and the code still says that it is not all
        return 141
    print(f"{who}: the output could not be delivered: standard output: {show.why(exc)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
