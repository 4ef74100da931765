"""One exception tree for the whole project. Floor 0: imports nothing of ours.

Errors are for the doors (building, loading, reading files). The hot path never
raises: it answers HOLD with a counted :class:`alpha.events.Reason`.
"""

from __future__ import annotations

import importlib
import unicodedata
from types import ModuleType
from typing import Any


class AlphaError(Exception):
    """Base of every error this project raises on purpose. The command line maps it to exit code 2.

    ``signals``: what a stream had produced before it failed (:meth:`alpha.Runtime.run`), else None.
    """

    signals: Any = None


class DataError(AlphaError):
    """Market data that cannot be read as declared: missing file, wrong column, naive time, bad row."""


class DefinitionError(AlphaError):
    """A feature expression or feature set that has no meaning; the message points at the place."""


class ModelError(AlphaError):
    """A model artifact that cannot be trusted or served: wrong hash, shape, names or operator."""


class RegistryError(AlphaError):
    """A registry that is missing, malformed, or asked for an illegal transition."""


class StrategyError(AlphaError):
    """A strategy that is unknown or declared twice, or a parameter that is unknown or out of its bounds."""


class InstrumentError(AlphaError):
    """An instrument that is unknown, or declared twice."""


class StateError(AlphaError):
    """A call that is not allowed now: a closed runtime, or an inline call while a worker runs."""


class MissingExtraError(AlphaError, ImportError):
    """An optional dependency is absent; the message prints the pip command that brings it."""


class AlphaWarning(UserWarning):
    """Something is legal but deserves a look, e.g. a model that serves an instrument it was not trained on."""


def printable(text: str, keep: str = "") -> str:
    """Text from a file as it may reach a terminal: what would move the cursor, hide or turn text round is escaped, except
    the characters of ``keep``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in text
    )


def need(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise :class:`MissingExtraError` naming the extra that provides it."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        missing = (exc.name or module).split(".")[0]  # a module of ours may be what fails to find a package
        raise MissingExtraError(
            f"this needs the Python package {missing!r}, which is not installed: run  pip install 'alpha-runtime[{extra}]'"
        ) from exc
