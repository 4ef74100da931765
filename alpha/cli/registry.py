"""``alpha registry``: look at models, move them, check and sign. Each group of actions has its own file."""

from __future__ import annotations

import argparse
from types import ModuleType

from alpha.cli import show

_LOOK = {
    "list": "all models",
    "show": "one model with its checks",
    "diff": "what differs between two versions",
    "history": "who moved what when",
    "schema": "the JSON Schema of registry.json",
}
_MOVE = {
    "promote": "make a version the production one",
    "rollback": "bring back the version that served before",
    "archive": "take a version out of service",
    "revalidate": "show a changed feature definition to be right, and approve it",
}
_TRUST = {
    "verify": "hash every artifact again, check history and signatures",
    "keygen": "make a key pair",
    "sign": "sign the registry and all its artifacts",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha registry``."""
    from alpha.cli import registry_look, registry_move, registry_trust

    actions = parser.add_subparsers(dest="action", required=True)
    for module, verbs in ((registry_look, _LOOK), (registry_move, _MOVE), (registry_trust, _TRUST)):
        for name, text in verbs.items():
            sub = actions.add_parser(name, help=text, description=text)
            module.configure(name, sub)
            if name not in ("schema", "keygen"):
                sub.add_argument("--registry", metavar="FILE")
            show.add_json(sub)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if verify or revalidate finds a problem, 2 for anything refused."""
    from alpha.cli import registry_look, registry_move, registry_trust

    module: ModuleType = registry_trust
    if args.action in _LOOK:
        module = registry_look
    elif args.action in _MOVE:
        module = registry_move
    code: int = module.run(args)
    return code
