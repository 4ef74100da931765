"""Strategies: from signals to suggestions. What they suggest is sized, routed and approved elsewhere; nothing here trades.

A strategy is a class with declared parameters and hooks. It is found by its name: one of the supplied ones, one
registered with :func:`register`, or one that a package offers under the entry-point group ``alpha.strategies``.
"""

from __future__ import annotations

from alpha.strategies.base import Grade, ModelRequest, Output, Strategy, StrategySignal, Suggestion, View
from alpha.strategies.parameters import Parameter
from alpha.strategies.registration import find, make, names, register

__all__ = [
    "Grade",
    "ModelRequest",
    "Output",
    "Parameter",
    "Strategy",
    "StrategySignal",
    "Suggestion",
    "View",
    "find",
    "make",
    "names",
    "register",
]
