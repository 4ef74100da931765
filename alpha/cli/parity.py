"""Compare the native and the batch twin on your data, value by value, and write the certificate."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha parity``."""
    parser.add_argument("--features", required=True, metavar="NAME|FILE", help="a catalogued set or a TOML file")
    parser.add_argument("--out", metavar="FILE", help="write the certificate (parity.json) here")
    show.add_data(parser)
    show.add_inputs(parser)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if the twins disagree beyond rule 31 (FAIL), or a feature could not be compared (INCOMPLETE)."""
    from alpha.cli import silence
    from alpha.documents import to_json
    from alpha.features import catalog, parity

    fs = catalog.find(args.features)
    show.check_output("--out", args.out, args.data)
    with show.opened(args, "reading", clock=fs.stream.clock) as source:
        inputs = show.take_inputs(args, source, fs)
        result = {
            **parity.check(fs, source, source.instruments),
            "data_sha256": source.data_sha256(),
            "inputs_sha256": inputs,
            "features_name": fs.name,
        }
    if args.out:
        Path(args.out).write_bytes(to_json(result))
    if args.json:
        show.print_json("parity", result)
    else:
        show.table(
            f"parity of {fs.name} ({result['definition_hash'][:12]}…) on {', '.join(args.data)}: {result['verdict']}",
            ("feature", "values", "mismatch ppm", "max ulp", "readiness", "pass"),
            [
                (
                    f["name"],
                    f["values"],
                    f["mismatch_ppm"],
                    f["max_ulp"],
                    f["ready_mismatch"],
                    f["pass"] if f["values"] else "not compared",
                )
                for f in result["features"]
            ],
        )
        print(
            f"{result['values']:,} values, share equal {result['share']:.8f}, largest distance {result['max_ulp']} ulp, worst: {result['worst']}"
        )
        if lacking := silence.of_data(fs, source):
            print(lacking)
    return 0 if result["pass"] else 1
