"""``alpha registry verify|keygen|sign``."""

from __future__ import annotations

import argparse

from alpha.cli import show


def configure(action: str, parser: argparse.ArgumentParser) -> None:
    """Options of one action."""
    if action == "keygen":
        parser.add_argument(
            "--out", required=True, metavar="FILE", help="the private key, e.g. ada.key; ada.pub stands beside it"
        )
    if action == "sign":
        parser.add_argument("--key", required=True, metavar="FILE", help="your private key")
        parser.add_argument(
            "--name", metavar="NAME", help="how your public key is pinned (default: the key file's stem)"
        )


def run(args: argparse.Namespace) -> int:
    """Exit 1 if verify finds a problem."""
    from pathlib import Path

    from alpha.registry import find, keygen, sign, verify

    if args.action == "keygen":
        public = keygen(args.out)
        name = Path(args.out).stem
        if args.json:
            show.print_json("registry-keygen", {"key": args.out, "name": name, "public": public})
        else:
            print(f"{args.out} is your private key: keep it to yourself")
            print(f"pin the public one: copy {name}.pub into the folder of $ALPHA_KEYS, or write into registry.toml")
            print(f'[keys]\n{name} = "{public}"')
        return 0
    path = find(show.registry_file(args.registry))
    if args.action == "sign":
        book = sign(path, args.key, name=args.name)
        signed = [s.key for s in book.document.signatures]
        if args.json:
            show.print_json("registry-sign", {"revision": book.document.revision, "signed_by": signed})
        else:
            print(f"{path}, revision {book.document.revision}: signed by {', '.join(signed)}")
        return 0
    count, problems = verify(path)
    if args.json:
        show.print_json("registry-verify", {"models": count, "problems": problems})
    else:
        print(f"{count} models in {path}: {'all files are what the registry says' if not problems else ''}")
        for problem in problems:
            print(f"PROBLEM {problem}")
    return 1 if problems else 0
