"""Several feature sets over one stream as one: equal expressions once, so that one program serves them all. Floor 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alpha.errors import DefinitionError
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, canonical

_STREAM = ("clock", "calendar", "session_break")
_GUARD = ("crossed", "future_tolerance", "duplicates", "outlier")


@dataclass(frozen=True)
class Union:
    """``feature_set`` holds what any set asks for; ``columns``: per set, where its features stand there, in its order."""

    feature_set: FeatureSet
    columns: Mapping[str, tuple[int, ...]]


def union_of(sets: Mapping[str, FeatureSet]) -> Union:
    """One set of all; DefinitionError that names what differs if their streams or triggers do, or if it grows too large.

    A row of it holds the same bits as the rows of each set alone: an expression means the same beside others.
    """
    if not sets:
        raise DefinitionError("there is no feature set to unite")
    (first_name, first), *others = sets.items()
    for name, fs in others:
        _check_stream(first_name, first, name, fs)
    features: dict[str, Expr] = {}
    at: dict[str, int] = {}
    columns: dict[str, tuple[int, ...]] = {}
    for name, fs in sets.items():
        own = []
        for label, e in fs.features.items():
            text = canonical(e)
            if text not in at:
                at[text] = len(features)
                features[_free(label, features)] = e
            own.append(at[text])
        columns[name] = tuple(own)
    label = "+".join(dict.fromkeys(fs.name for fs in sets.values()))
    return Union(FeatureSet(label, features, first.trigger, first.stream), columns)


def _free(label: str, taken: Mapping[str, Expr]) -> str:
    """The feature's own name, or one like it where another model calls something else so."""
    n, name = 2, label
    while name in taken:
        name, n = f"{label[:58]}~{n}", n + 1
    return name


def _check_stream(first_name: str, first: FeatureSet, name: str, fs: FeatureSet) -> None:
    differences = [("trigger", str(first.trigger), str(fs.trigger))]
    differences += [(f"stream.{k}", getattr(first.stream, k), getattr(fs.stream, k)) for k in _STREAM]
    differences += [
        (f"stream.guard.{k}", str(getattr(first.stream.guard, k)), str(getattr(fs.stream.guard, k))) for k in _GUARD
    ]
    for what, one, other in differences:
        if one != other:
            raise DefinitionError(
                f"models {first_name!r} and {name!r} cannot share a runtime: {what} is {one} for the one and {other} for "
                "the other; give each its own runtime"
            )
