"""Entry point of ``alpha``: finds the verb, maps errors to exit codes. Floor 8.

Exit codes: 0 ok, 1 a check failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from alpha.errors import AlphaError

# verb -> (module, one line). Modules are imported only when their verb is called.
VERBS = {
    "demo": ("alpha.cli.demo", "simulate, train, run and report, in one go"),
    "data": ("alpha.cli.data", "look at a market data file: events, bad rows, what the guard rejects"),
    "features": ("alpha.cli.features", "list, show and check feature sets and operators"),
    "parity": ("alpha.cli.parity", "prove that live features equal training features on your data"),
    "registry": ("alpha.cli.registry", "list, show, promote and verify models"),
    "run": ("alpha.cli.run", "stream data through a registered model"),
    "explain": ("alpha.cli.explain", "take the last decision of a stream apart"),
    "bench": ("alpha.cli.bench", "measure this machine"),
    "doctor": ("alpha.cli.doctor", "what this installation has and lacks"),
}
EXTRA_GROUP = "alpha.verbs"
# verbs of the training package, which this package never imports: found by their entry points when called
TRAINING_VERBS = {"train": "train, audit and register the models of a recipe"}


def _extra_verbs() -> dict[str, Any]:
    """Verbs that other packages register, by name."""
    from importlib.metadata import entry_points

    return {e.name: e for e in entry_points(group=EXTRA_GROUP)}


def _usage() -> str:
    lines = ["usage: alpha VERB [options]", "", "Machine-learned trading signals, from Python. Advisory only.", ""]
    lines += [f"  {name:<10} {text}" for name, (_, text) in VERBS.items()]
    lines += [f"  {name:<10} {text}" for name, text in TRAINING_VERBS.items()]
    lines += ["", "alpha VERB --help tells more; --json prints exactly one JSON object."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
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
            print(f"alpha: unknown verb {name!r}; known: {', '.join([*VERBS, *extra])}", file=sys.stderr)
            return 2
        verb = extra[name].load()
    parser = argparse.ArgumentParser(prog=f"alpha {name}", description=verb.__doc__)
    verb.configure(parser)
    try:
        options = parser.parse_args(args[1:])
    except SystemExit as exc:  # argparse has printed why
        return int(exc.code or 0)
    try:
        return int(verb.run(options))
    except AlphaError as exc:
        print(f"alpha {name}: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"alpha {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
