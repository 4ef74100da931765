"""Tree ensembles: the attributes of ai.onnx.ml checked, and turned into arrays that can be walked. Floor 3.

Understands TreeEnsembleClassifier and TreeEnsembleRegressor (versions 1 and 3) and TreeEnsemble (version 5). What
comes out is a forest: every child exists, no path is a circle, each number of a feature and of a target lies in its
range: a walk over the arrays ends, and never leaves them. In versions 1 and 3 several branches of one tree may lead to
one node (LightGBM's categories are written so); version 5 has sets for that, and engines copy what is shared there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError
from alpha.models.structure import Node

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
POST = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
AGGREGATE = ("AVERAGE", "SUM", "MIN", "MAX")
MAX_DEPTH = 1_000
MAX_TARGETS = 4_096
MAX_UNCOUNTED = 200_000
Ints = npt.NDArray[np.int64]
_NO_INTS: Ints = np.zeros(0, np.int64)
_NO_FLOATS = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Trees:
    """A checked forest: N inner nodes, L leaves, T trees, M weights, in the order of the file.

    ``mode`` int8 [N]: index into :data:`MODES`; ``feature`` int32 [N]; ``value`` float32 or float64 [N] (what the
    feature is compared with; may be infinite, unused for BRANCH_MEMBER). ``yes``, ``no`` int32 [N]: the node that follows, or
    ``~leaf`` (negative). ``missing_yes`` bool [N]: a NaN goes to ``yes``. ``members``: node -> its set of values.
    ``roots`` int32 [T]: like ``yes``. Leaf ``l`` adds ``weight[k]`` to ``target[k]`` for k in
    ``leaf_start[l] : leaf_start[l + 1]``; ``leaf_start`` int32 [L + 1], ``target`` int32 [M], ``weight`` like value.
    ``base``: [0], [n_targets], or [1] for a classifier of two classes. ``labels``: of a classifier, else empty.
    ``depth``: the most comparisons on one path. ``shared``: two branches lead to one node somewhere. ``width``:
    features that were declared, or 0.
    """

    mode: npt.NDArray[np.int8]
    feature: npt.NDArray[np.int32]
    value: npt.NDArray[Any]
    yes: npt.NDArray[np.int32]
    no: npt.NDArray[np.int32]
    missing_yes: npt.NDArray[np.bool_]
    members: dict[int, npt.NDArray[Any]]
    roots: npt.NDArray[np.int32]
    leaf_start: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    weight: npt.NDArray[Any]
    n_targets: int
    base: npt.NDArray[Any]
    aggregate: str
    post: str
    labels: tuple[int, ...] | tuple[bytes, ...]
    depth: int
    shared: bool
    width: int


def read_trees(node: Node, width: int = 0) -> Trees:
    """The forest of a tree node; ``width``: how many features its input has, 0 if unknown. ModelError names the node."""
    return _Fields(node, width).flat() if node.op == "TreeEnsemble" else _Fields(node, width).by_ids()


class _Fields:
    """Typed access to the attributes of one node."""

    def __init__(self, node: Node, width: int) -> None:
        self.node = node
        self.width = width

    def fail(self, message: str) -> ModelError:
        return ModelError(f"node {self.node}: {message}")

    def ints(self, name: str, size: int | None = None, *, optional: bool = False) -> Ints:
        out = self.node.attributes.get(name, _NO_INTS)
        if not isinstance(out, np.ndarray) or out.dtype != np.int64 or out.ndim != 1:
            raise self.fail(f"{name} must be a list of integers")
        return self.sized(name, out, size, optional)

    def floats(
        self, name: str, size: int | None = None, *, optional: bool = False, infinite: bool = False
    ) -> npt.NDArray[Any]:
        out = self.node.attributes.get(name, _NO_FLOATS)
        tensor = self.node.attributes.get(name + "_as_tensor")
        if tensor is not None and name in self.node.attributes:
            raise self.fail(f"{name} is given twice, as a list and as a tensor")
        if tensor is not None:
            out = tensor
        if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64) or out.ndim != 1:
            raise self.fail(f"{name} must be a list of floats or a tensor of floats with one dimension")
        good = ~np.isnan(out) if infinite else np.isfinite(out)
        if not good.all():
            i = int(np.flatnonzero(~good)[0])
            must = "thresholds must be numbers" if infinite else "weights must be finite"
            raise self.fail(f"element {i} of {name} is {out[i]}: {must}")
        return self.sized(name, out, size, optional)

    def sized(self, name: str, out: npt.NDArray[Any], size: int | None, optional: bool) -> npt.NDArray[Any]:
        if size is not None and len(out) != size and not (optional and not len(out)):
            raise self.fail(f"{name} has {len(out):,} values, there are {size:,} of its kind")
        return out

    def word(self, name: str, default: str, known: tuple[str, ...]) -> str:
        value = self.node.attributes.get(name, default.encode())
        text = value.decode("latin-1") if isinstance(value, bytes) else repr(value)[:40]
        if text not in known:
            raise self.fail(f"{name} {text!r} is unknown; it may be {', '.join(known)}")
        return text

    def number(self, name: str, default: int | None, low: int, high: int) -> int:
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int) or not low <= value <= high:
            raise self.fail(f"{name} must be a number from {low} to {high:,}, not {str(value)[:40]}")
        return value

    def inside(self, name: str, values: npt.NDArray[Any], high: int, what: str) -> None:
        """Every value is from 0 to below ``high``."""
        wrong = np.flatnonzero((values < 0) | (values >= high))
        if len(wrong):
            i = int(wrong[0])
            raise self.fail(f"element {i} of {name} is {int(values[i])}, but there are {high:,} {what}")

    # -- the two forms

    def by_ids(self) -> Trees:
        """Versions 1 and 3: nodes are named by (tree, number), leaves stand among them."""
        classifier = self.node.op == "TreeEnsembleClassifier"
        tree = self.ints("nodes_treeids")
        size = len(tree)
        if not size:
            raise self.fail("it has no nodes")
        number = self.ints("nodes_nodeids", size)
        feature = self.ints("nodes_featureids", size)
        # a histogram's split of missing from present values has an infinite threshold
        value = self.floats("nodes_values", size, infinite=True)
        yes_id, no_id = self.ints("nodes_truenodeids", size), self.ints("nodes_falsenodeids", size)
        missing = self.ints("nodes_missing_value_tracks_true", size, optional=True)
        self.floats("nodes_hitrates", size, optional=True)
        mode = self.modes(size)
        leaf = mode < 0
        for name, ids in (("nodes_treeids", tree), ("nodes_nodeids", number)):
            self.inside(name, ids, 1 << 31, "possible numbers")
        # a tree stands in one piece, its root first: engines take the first node of a run as its root
        first = np.flatnonzero(np.concatenate(([True], tree[1:] != tree[:-1])))
        find = self.finder(tree, number, first)
        inner = np.flatnonzero(~leaf)
        self.features(feature[inner])
        place = np.empty(size, np.int64)  # of a node among the inner ones, or ~ its place among the leaves
        place[inner] = np.arange(len(inner))
        leaves = np.flatnonzero(leaf)
        place[leaves] = ~np.arange(len(leaves))
        yes = place[find("nodes_truenodeids", tree[inner], yes_id[inner])]
        no = place[find("nodes_falsenodeids", tree[inner], no_id[inner])]
        roots = place[first]
        depth, shared = self.forest(roots, yes, no, len(leaves), sharing=True)
        kind = "class" if classifier else "target"
        labels = self.labels() if classifier else ()
        n_targets = len(labels) if classifier else self.number("n_targets", None, 1, MAX_TARGETS)
        target = self.ints(f"{kind}_ids")
        weight = self.floats(f"{kind}_weights", len(target))
        at_tree, at_node = (self.ints(f"{kind}_{what}", len(target)) for what in ("treeids", "nodeids"))
        self.inside(f"{kind}_ids", target, n_targets, "classes" if classifier else "targets")
        self.inside(f"{kind}_treeids", at_tree, 1 << 31, "possible numbers")
        holder = place[find(f"{kind}_nodeids", at_tree, at_node)]
        if (holder >= 0).any():
            i = int(np.flatnonzero(holder >= 0)[0])
            raise self.fail(
                f"{kind}_nodeids gives a weight to node {at_node[i]} of tree {at_tree[i]}, which is no leaf"
            )
        holder = ~holder
        by_leaf = np.argsort(holder, kind="stable")
        start = np.searchsorted(holder[by_leaf], np.arange(len(leaves) + 1))
        if value.dtype != weight.dtype:
            raise self.fail("thresholds and weights have different types")
        return self.trees(
            mode=mode[inner],
            feature=feature[inner],
            value=value[inner],
            yes=yes,
            no=no,
            missing=missing[inner] if len(missing) else np.zeros(len(inner), np.int64),
            members={},
            roots=roots,
            start=start,
            target=target[by_leaf],
            weight=weight[by_leaf],
            n_targets=n_targets,
            base=self.base(n_targets, classifier),
            aggregate="SUM" if classifier else self.word("aggregate_function", "SUM", AGGREGATE),
            post=self.word("post_transform", "NONE", POST),
            labels=labels,
            depth=depth,
            shared=shared,
        )

    def flat(self) -> Trees:
        """Version 5: inner nodes and leaves in lists of their own, children by index."""
        mode = self.node.attributes.get("nodes_modes")
        if not isinstance(mode, np.ndarray) or mode.dtype != np.uint8 or mode.ndim != 1:
            raise self.fail("nodes_modes must be a tensor of uint8 with one dimension")
        size = len(mode)
        self.inside("nodes_modes", mode.astype(np.int64), len(MODES), "modes")
        feature = self.ints("nodes_featureids", size)
        value = self.floats("nodes_splits", size, infinite=True)
        weight = self.floats("leaf_weights")
        target = self.ints("leaf_targetids", len(weight))
        n_targets = self.number("n_targets", None, 1, MAX_TARGETS)
        self.inside("leaf_targetids", target, n_targets, "targets")
        self.features(feature)
        missing = self.ints("nodes_missing_value_tracks_true", size, optional=True)
        self.floats("nodes_hitrates", size, optional=True)
        children = []
        for side in ("true", "false"):
            ids, is_leaf = self.ints(f"nodes_{side}nodeids", size), self.ints(f"nodes_{side}leafs", size)
            self.inside(f"nodes_{side}leafs", is_leaf, 2, "possible answers")
            self.inside(f"nodes_{side}nodeids", ids[is_leaf == 0], size, "nodes")
            self.inside(f"nodes_{side}nodeids", ids[is_leaf == 1], len(weight), "leaves")
            children.append(np.where(is_leaf == 1, ~ids, ids))
        roots = self.ints("tree_roots")
        self.inside("tree_roots", roots, size, "nodes")
        if not len(roots):
            raise self.fail("it has no trees")
        # a tree that is one leaf is written as a node whose two sides are that leaf; nothing else may share
        same = (children[0] == children[1]) & (children[0] < 0)
        depth, shared = self.forest(
            roots, children[0], np.where(same, -1 << 40, children[1]), len(weight), sharing=False
        )
        if value.dtype != weight.dtype:
            raise self.fail("thresholds and weights have different types")
        return self.trees(
            mode=mode,
            feature=feature,
            value=value,
            yes=children[0],
            no=children[1],
            missing=missing if len(missing) else np.zeros(size, np.int64),
            members=self.members(mode),
            roots=roots,
            start=np.arange(len(weight) + 1),
            target=target,
            weight=weight,
            n_targets=n_targets,
            base=np.zeros(0, weight.dtype),
            aggregate=AGGREGATE[self.number("aggregate_function", 1, 0, len(AGGREGATE) - 1)],
            post=POST[self.number("post_transform", 0, 0, len(POST) - 1)],
            labels=(),
            depth=depth,
            shared=shared,
        )

    # -- parts

    def trees(self, *, missing: Ints, start: Ints, **more: Any) -> Trees:
        self.inside("nodes_missing_value_tracks_true", missing, 2, "possible answers")
        for name in ("feature", "yes", "no", "roots", "target"):
            more[name] = more[name].astype(np.int32)
        more["mode"] = more["mode"].astype(np.int8)
        return Trees(missing_yes=missing.astype(np.bool_), leaf_start=start.astype(np.int32), width=self.width, **more)

    def modes(self, size: int) -> npt.NDArray[np.int8]:
        """int8 [size]: index into MODES, -1 for a leaf."""
        value = self.node.attributes.get("nodes_modes", ())
        if not isinstance(value, tuple) or len(value) != size:
            raise self.fail(f"nodes_modes must list {size:,} modes")
        codes: dict[Any, int] = {text.encode(): i for i, text in enumerate(MODES[:6])}
        codes[b"LEAF"] = 255  # -1 as int8
        unknown = set(value) - codes.keys()
        if unknown:
            worst = str(min(unknown, key=str))[:40]
            raise self.fail(f"mode {worst} is unknown; it may be {', '.join(MODES[:6])} or LEAF")
        return np.frombuffer(bytes(map(codes.__getitem__, value)), np.int8)

    def finder(self, tree: Ints, number: Ints, first: Ints) -> Callable[[str, Ints, Ints], Ints]:
        """``find(name, trees, numbers)``: places of nodes among all; ModelError for one that does not exist or is double.

        Writers count trees and nodes from 0: then two tables answer. Anything else is sorted and searched, which is
        slow where memory is read in no order, so there it is only done for smaller forests.
        """
        size, sizes = len(tree), np.diff(np.append(first, len(tree)))
        counted = np.array_equal(tree[first], np.arange(len(first))) and bool((number < np.repeat(sizes, sizes)).all())
        if counted:
            table = np.full(size, -1, np.int64)
            table[first[tree] + number] = np.arange(size)
            if (table < 0).any():  # some number is missing, so another one is there twice
                raise self.double(tree, number)

            def place(trees: Ints, ids: Ints) -> Ints:
                known = (trees < len(first)) & (ids < sizes[np.minimum(trees, len(first) - 1)])
                return np.where(known, table[np.where(known, first[np.minimum(trees, len(first) - 1)] + ids, 0)], -1)

        else:
            if size > MAX_UNCOUNTED:
                raise self.fail(f"it has more than {MAX_UNCOUNTED:,} nodes that are not counted from 0 in each tree")
            roots = np.sort(tree[first])
            if (roots[1:] == roots[:-1]).any():
                raise self.fail("the nodes of one tree stand apart in nodes_treeids")
            keys = tree << 31 | number
            order = np.argsort(keys, kind="stable")
            ranked = keys[order]
            if (ranked[1:] == ranked[:-1]).any():
                raise self.double(tree, number)

            def place(trees: Ints, ids: Ints) -> Ints:
                wanted = trees << 31 | ids
                at = np.minimum(np.searchsorted(ranked, wanted), size - 1)
                return np.where(ranked[at] == wanted, order[at], -1)

        def find(name: str, trees: Ints, ids: Ints) -> Ints:
            self.inside(name, ids, 1 << 31, "possible numbers")
            found = place(trees, ids)
            wrong = np.flatnonzero(found < 0)
            if len(wrong):
                i = int(wrong[0])
                raise self.fail(f"{name} points at node {ids[i]} of tree {trees[i]}, which does not exist")
            return found

        return find

    def double(self, tree: Ints, number: Ints) -> ModelError:
        order = np.lexsort((number, tree))
        same = (np.diff(tree[order]) == 0) & (np.diff(number[order]) == 0)
        i = int(order[1:][same][0])
        return self.fail(f"node {number[i]} of tree {tree[i]} is listed twice")

    def features(self, feature: Ints) -> None:
        self.inside("nodes_featureids", feature, self.width or 1 << 20, "features")

    def labels(self) -> tuple[int, ...] | tuple[bytes, ...]:
        numbers = self.ints("classlabels_int64s")
        strings = self.node.attributes.get("classlabels_strings", ())
        if not isinstance(strings, tuple) or not all(isinstance(v, bytes) for v in strings):
            raise self.fail("classlabels_strings must be a list of strings")
        if bool(len(numbers)) == bool(strings) or max(len(numbers), len(strings)) > MAX_TARGETS:
            raise self.fail(f"it must list from 1 to {MAX_TARGETS:,} class labels, as integers or as strings")
        labels = tuple(numbers.tolist()) or strings
        if len(set(labels)) < len(labels):
            raise self.fail("a class label is listed twice")
        return labels  # type: ignore[return-value]

    def base(self, n_targets: int, classifier: bool) -> npt.NDArray[Any]:
        base = self.floats("base_values")
        if len(base) not in (0, n_targets) and not (classifier and n_targets == 2 and len(base) == 1):
            raise self.fail(f"base_values has {len(base):,} values for {n_targets:,} outputs")
        return base

    def members(self, mode: npt.NDArray[Any]) -> dict[int, npt.NDArray[Any]]:
        """Sets of BRANCH_MEMBER nodes in their order; a NaN ends each set."""
        nodes = np.flatnonzero(mode == MODES.index("BRANCH_MEMBER"))
        value = self.node.attributes.get("membership_values")
        if value is None and not len(nodes):
            return {}
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype not in (np.float32, np.float64):
            raise self.fail("membership_values must be a tensor of floats with one dimension")
        ends = np.flatnonzero(np.isnan(value))
        if len(ends) != len(nodes) or (len(ends) and ends[-1] != len(value) - 1) or np.isinf(value).any():
            raise self.fail(f"membership_values holds {len(ends):,} sets for {len(nodes):,} nodes that ask for one")
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        return {int(n): value[a:b] for n, a, b in zip(nodes, starts, ends, strict=True)}

    def forest(self, roots: Ints, yes: Ints, no: Ints, leaves: int, *, sharing: bool) -> tuple[int, bool]:
        """(most comparisons on one path, two branches lead to one node); ModelError for a circle, for what no branch
        reaches, and without ``sharing`` for two branches to one node. Each node is taken once, when all that lead to it
        were. A child below every leaf (see :meth:`flat`) is none.
        """
        inner = len(yes)

        def places(children: Ints) -> Ints:
            held = children[children >= -leaves]
            return np.where(held < 0, inner + ~held, held)

        wave = places(roots)
        waits = np.bincount(wave, minlength=inner + leaves)
        for side in (yes, no):
            waits += np.bincount(places(side), minlength=inner + leaves)
        shared = bool((waits > 1).any())
        if shared and not sharing:
            raise self.fail("two branches lead to one node: its trees have a circle or share a part")
        if lost := int((waits == 0).sum()):
            raise self.fail(f"{lost:,} of its nodes are reached by no branch")
        depth, left = 0, inner + leaves
        while True:
            if shared:
                np.subtract.at(waits, wave, 1)
                wave = np.unique(wave)
                wave = wave[waits[wave] == 0]
            left -= len(wave)
            wave = wave[wave < inner]
            if not len(wave):
                break
            depth += 1
            if depth > MAX_DEPTH:
                raise self.fail(f"a tree is deeper than {MAX_DEPTH:,}")
            wave = places(np.concatenate((yes[wave], no[wave])))
        if left:
            raise self.fail(f"its branches have a circle: {left:,} of its nodes are never done")
        return depth, shared
