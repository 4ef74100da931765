"""List feature sets and operators, show or check a set."""

from __future__ import annotations

import argparse

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha features``."""
    parser.add_argument("set", nargs="?", metavar="NAME|FILE", help="show this set: canonical text, hash, warm-ups")
    parser.add_argument("--operators", action="store_true", help="list the operators")
    parser.add_argument("--markdown", action="store_true", help="with --operators: as the page docs/operators.md")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0, or 2 with the place of the error."""
    from alpha.errors import DataError
    from alpha.features import catalog
    from alpha.features.language import canonical
    from alpha.features.operators import OPERATORS

    if args.markdown:
        from alpha.features.handbook import page

        if not args.operators or args.json:
            raise DataError("--markdown goes with --operators alone: alpha features --operators --markdown")
        print(page(), end="")
        return 0
    if args.operators:
        rows = [(o.name, o.kind, o.example, o.meaning, o.warm_up) for o in OPERATORS.values()]
        if args.json:
            names = ("name", "kind", "example", "meaning", "warm_up")
            show.print_json("operators", {"operators": [dict(zip(names, r, strict=True)) for r in rows]})
        else:
            show.table("operators", ("name", "kind", "example", "meaning", "ready after"), rows)
        return 0
    if args.set is None:
        sets = [catalog.get(n) for n in catalog.names()]
        if args.json:
            show.print_json(
                "features",
                {
                    "sets": [
                        {"name": s.name, "features": len(s.names), "definition_hash": s.definition_hash} for s in sets
                    ]
                },
            )
        else:
            show.table(
                "feature sets",
                ("name", "features", "trigger", "hash"),
                [(s.name, len(s.names), str(s.trigger), s.definition_hash[:12]) for s in sets],
            )
        return 0
    from alpha.features.compile import compile_program

    fs = catalog.find(args.set)
    program = compile_program(fs)
    if args.json:
        show.print_json(
            "features",
            {
                "name": fs.name,
                "definition_hash": fs.definition_hash,
                **fs.definition(),
                "bytes_per_instrument": program.block_bytes,
            },
        )
        return 0
    show.table(
        f"{fs.name}: trigger {fs.trigger}",
        ("feature", "expression"),
        [(n, canonical(e)) for n, e in fs.features.items()],
    )
    print(f"definition hash {fs.definition_hash}; {program.block_bytes:,} bytes per instrument beyond time windows")
    return 0
