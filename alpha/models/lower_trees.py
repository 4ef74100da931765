"""Tree ensembles: every comparison becomes x <= threshold, the trees become one of two layouts. Floor 3.

What the sums become (base values, the two scores of a binary classifier, transforms) follows ONNX Runtime, whose
bits are the measure; a combination it treats in a way of its own that is not known here is not covered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpha._core.plan import FOREST_DTYPE, GROUP, NODE_DTYPE, SPLIT_DTYPE
from alpha.models.lowering import Array, Lowering, Node, Unsupported
from alpha.models.trees import AGGREGATE, Trees, read_trees

_TRANSFORM = {"NONE": 0, "LOGISTIC": 1, "SOFTMAX": 2, "SOFTMAX_ZERO": 3, "PROBIT": 4}
_AGGREGATE = {"SUM": 0, "AVERAGE": 1, "MIN": 2, "MAX": 3}
_RAW, _SHARE, _SIGNED, _MIRROR = range(4)
MAX_PADDED_DEPTH = 10
MAX_PADDED_BYTES = 512 * 1024
MAX_VISITS = 1 << 22
MAX_MEMBERS = 1 << 17  # of the sets of a node's branches, all together

assert set(_AGGREGATE) == set(AGGREGATE)


@dataclass(frozen=True)
class _Splits:
    """All trees with one kind of comparison: ``yes`` follows x <= threshold; negative: ~leaf. ``missing``: NaN as yes."""

    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    yes: npt.NDArray[np.int64]
    no: npt.NDArray[np.int64]
    missing: npt.NDArray[np.bool_]
    roots: npt.NDArray[np.int64]
    shared: bool  # two branches lead to one node


def _splits(t: Trees, node: Node) -> _Splits:
    """x < t is x <= the float before t; >= and > are < and <= with the branches exchanged; = is two comparisons, and
    so is each value of a set."""
    mode = t.mode.astype(np.int64)
    value = t.value.astype(np.float32)
    before = np.nextafter(value, np.float32(-np.inf))
    _, lt, gte, gt, eq, neq = range(6)
    if (np.isneginf(value) & np.isin(mode, (lt, gte, eq, neq))).any():
        raise Unsupported(f"node {node}: a comparison that needs the float before -inf")
    yes, no = t.yes.astype(np.int64), t.no.astype(np.int64)
    swap = (mode == gte) | (mode == gt) | (mode == neq)
    first, second = np.where(swap, no, yes), np.where(swap, yes, no)
    # a NaN compares false with everything but !=
    missing = t.missing_yes | (mode == neq)
    missing = np.where(swap, ~missing, missing)
    threshold = np.where((mode == lt) | (mode == gte), before, value).astype(np.float32)
    feature = t.feature.astype(np.int64)
    equal = np.flatnonzero((mode == eq) | (mode == neq))
    if not len(equal) and not t.members:
        return _Splits(feature, threshold, first, second, missing, t.roots.astype(np.int64), t.shared)
    # x == t: x <= t, and then not x <= the float before t; "equal" is `first`, "different" is `second`
    extra = len(mode) + np.arange(len(equal))
    feature = np.concatenate([feature, feature[equal]])
    threshold = np.concatenate([threshold, before[equal]])
    to_equal, to_other = first[equal].copy(), second[equal].copy()
    nan_equal = missing[equal].copy()
    first[equal] = extra
    first = np.concatenate([first, to_other])
    second = np.concatenate([second, to_equal])
    # a NaN that belongs to "equal" passes the first comparison and fails the second
    missing = np.concatenate([missing, ~nan_equal])
    splits = _Splits(feature, threshold, first, second, missing, t.roots.astype(np.int64), True)
    return _with_sets(splits, t, node) if t.members else splits


def _with_sets(s: _Splits, t: Trees, node: Node) -> _Splits:
    """BRANCH_MEMBER: the floats below and at each value of the set cut the line into pieces that belong to it or not,
    and a balanced tree of x <= cut finds the piece. ``node`` itself becomes its root."""
    if sum(map(len, t.members.values())) > MAX_MEMBERS:
        raise Unsupported(f"node {node}: sets of more than {MAX_MEMBERS:,} values in all")
    feature, threshold, first, second, missing = (a.tolist() for a in (s.feature, s.threshold, s.yes, s.no, s.missing))

    def grow(at: int, cuts: list[float], low: int, high: int, goes: tuple[int, int], nan: int) -> None:
        """Node ``at`` tells pieces low .. high apart, of which the odd ones are the set's; a NaN belongs to ``nan``."""
        middle = (low + high) // 2
        threshold[at], missing[at] = cuts[middle], nan <= middle
        for ways, a, b in ((first, low, middle), (second, middle + 1, high)):
            if a == b:
                ways[at] = goes[a % 2]
                continue
            for values in (feature, threshold, first, second, missing):
                values.append(values[at])
            ways[at] = len(feature) - 1
            grow(ways[at], cuts, a, b, goes, nan)

    for at, members in t.members.items():
        values = np.unique(members.astype(np.float32))
        below = np.nextafter(values, np.float32(-np.inf))
        cuts, times = np.unique(np.concatenate([below, values]), return_counts=True)
        cuts = cuts[times == 1]  # the float before one value is another: no piece lies between
        goes = (int(t.no[at]), int(t.yes[at]))
        if not len(cuts):  # of an empty set only a NaN may be said to be a member
            threshold[at], first[at], second[at] = np.inf, goes[0], goes[1]
            missing[at] = not t.missing_yes[at]
            continue
        grow(at, cuts.tolist(), 0, len(cuts), goes, int(t.missing_yes[at]))
    return _Splits(
        np.asarray(feature, np.int64),
        np.asarray(threshold, np.float32),
        np.asarray(first, np.int64),
        np.asarray(second, np.int64),
        np.asarray(missing, np.bool_),
        s.roots,
        True,
    )


def _leaf_values(t: Trees, node: Node) -> tuple[Array, npt.NDArray[np.int64] | None, int]:
    """(values [leaves] or [leaves, sums], the sum each leaf adds to or None, width)."""
    if t.weight.dtype != np.float32 or t.value.dtype != np.float32:
        raise Unsupported(f"node {node}: float64 trees")
    counts = np.diff(t.leaf_start)
    if (counts == 1).all():
        return t.weight, t.target.astype(np.int64), 1
    table = np.zeros((len(counts), t.n_targets), np.float32)
    leaf = np.repeat(np.arange(len(counts)), counts)
    if len(np.unique(leaf * t.n_targets + t.target)) != len(leaf):
        raise Unsupported(f"node {node}: a leaf gives two weights to one output")
    if t.aggregate in ("MIN", "MAX") and (counts != t.n_targets).any():
        raise Unsupported(f"node {node}: {t.aggregate} over leaves that leave outputs out")
    table[leaf, t.target] = t.weight
    return table, None, t.n_targets


def _levels(s: _Splits) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Inner nodes wave by wave from the roots, and the number of waves."""
    waves: list[npt.NDArray[np.int64]] = []
    visits = 0  # a shared node is met once on each of its levels
    wave = s.roots[s.roots >= 0]
    while len(wave):
        waves.append(wave)
        visits += len(wave)
        wave = np.concatenate([s.yes[wave], s.no[wave]])
        wave = np.unique(wave[wave >= 0])
        if len(waves) > 4096:
            raise Unsupported("trees deeper than 4096")
        if visits > MAX_VISITS + len(s.feature):
            raise Unsupported("trees whose branches share nodes over many levels")
    return waves, len(waves)


def _padded(s: _Splits, depth: int, leaf_of_tree: Array) -> dict[str, Array]:
    """Complete trees of one depth, GROUP side by side; a leaf above the bottom stands under every path below it."""
    trees = len(s.roots)
    groups = -(-trees // GROUP)
    nodes = np.zeros((groups * GROUP, 1 << depth), SPLIT_DTYPE)
    missing = np.zeros((groups * GROUP, 1 << depth), np.uint8)
    at = np.full((groups * GROUP, 1), -1, np.int64)  # node or ~leaf at each place of the level
    at[:trees, 0] = s.roots
    for level in range(depth):
        inner = at >= 0
        which = np.where(inner, at, 0)
        left = 1 << level
        nodes[:, left : 2 * left]["threshold"] = np.where(inner, s.threshold[which], 0)
        nodes[:, left : 2 * left]["feature"] = np.where(inner, s.feature[which], 0)
        missing[:, left : 2 * left] = np.where(inner, s.missing[which], 0)
        below = np.stack([np.where(inner, s.yes[which], at), np.where(inner, s.no[which], at)], axis=-1)
        at = below.reshape(len(at), -1)
    leaves = leaf_of_tree[~at]  # [trees, 2^depth] or [trees, 2^depth, sums]

    def side_by_side(a: Array) -> Array:
        return np.ascontiguousarray(np.swapaxes(a.reshape(groups, GROUP, *a.shape[1:]), 1, 2)).reshape(-1)

    return {"nodes": side_by_side(nodes), "missing": side_by_side(missing), "leaves": side_by_side(leaves)}


def _walked(s: _Splits, waves: list[npt.NDArray[np.int64]], leaves: Array) -> dict[str, Array]:
    """Nodes with explicit children, parents first, leaves behind them."""
    order = np.concatenate(waves) if waves else np.zeros(0, np.int64)
    # a node stands where it is reached last, so that every branch leads onward
    _, last = np.unique(order[::-1], return_index=True)
    order = order[np.sort(len(order) - 1 - last)]
    n_inner, n_leaves = len(order), len(leaves)
    place = np.zeros(len(s.feature) + n_leaves, np.int64)
    place[order] = np.arange(n_inner)

    def placed(child: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.where(child >= 0, place[np.where(child >= 0, child, 0)], n_inner + ~child)

    nodes = np.zeros(n_inner + n_leaves, NODE_DTYPE)
    nodes["threshold"][:n_inner] = s.threshold[order]
    nodes["feature"][:n_inner] = s.feature[order]
    nodes["next"][:n_inner, 0] = placed(s.yes[order])
    nodes["next"][:n_inner, 1] = placed(s.no[order])
    nodes["next"][n_inner:] = np.arange(n_inner, n_inner + n_leaves)[:, None]
    missing = np.zeros(len(nodes), np.uint8)
    missing[:n_inner] = s.missing[order]
    roots = placed(s.roots)
    roots = np.concatenate([roots, np.repeat(roots[-1:], -len(roots) % GROUP)])
    return {"nodes": nodes, "missing": missing, "leaves": leaves, "roots": roots.astype(np.uint32)}


def _pair(t: Trees, node: Node) -> tuple[int, int, Array, int]:
    """(what the sums become, scores given, base values of the sums, sums) as ONNX Runtime does it."""
    k = t.n_targets
    base = t.base.astype(np.float32)
    if node.op != "TreeEnsembleClassifier":
        if k == 1 and t.post not in ("NONE", "PROBIT"):
            raise Unsupported(f"node {node}: post_transform {t.post} of one target")
        return _RAW, k, base if len(base) == k else np.zeros(0, np.float32), k
    if k != 2:
        if k == 1:
            raise Unsupported(f"node {node}: one class")
        return _RAW, k, base if len(base) == k else np.zeros(0, np.float32), k
    classes = set(t.target.tolist())
    if classes == {1}:  # then the first score stays as it is
        if (np.diff(t.leaf_start) != 1).any() or len(base):
            raise Unsupported(f"node {node}: leaves or base values of a binary classifier that names one class only")
        return _RAW, 2, base, 2
    if 1 in classes and len(classes) == 2:
        counts = np.diff(t.leaf_start)
        if (counts != 2).any() or len(base) == 1:
            raise Unsupported(f"node {node}: leaves of a binary classifier that name one class only")
        if len(base) == 2:
            return _MIRROR, 2, base, 2
        return _RAW, 2, base, 2
    if len(base) == 2:
        raise Unsupported(f"node {node}: two base values for one score")
    if t.post == "PROBIT":
        raise Unsupported(f"node {node}: PROBIT of one score for two classes")
    positive = bool((t.weight >= 0).all())
    return (_SHARE if positive and t.post != "LOGISTIC" else _SIGNED), 2, base, 1


def _trees(c: Lowering, node: Node) -> None:
    x = c.live(node, 0)
    if x.index.ndim != 2 or x.shape[0] != 1:
        raise Unsupported(f"node {node}: input {x.shape}: one row is planned")
    if not c.builder.exact(x):
        # a last bit of difference is a whole decision where the value is at a threshold
        raise Unsupported(f"node {node}: trees that read a rounded value: ONNX Runtime has to round it itself")
    if node.op == "TreeEnsembleClassifier" and c.uses[node.outputs[0]]:
        raise Unsupported(f"node {node}: its labels are read")
    t = read_trees(node, x.shape[1])
    if t.post not in _TRANSFORM:
        raise Unsupported(f"node {node}: post_transform {t.post}")
    pair, n_out, base, sums = _pair(t, node)
    values, leaf_sum, leaf_width = _leaf_values(t, node)
    s = _splits(t, node)
    waves, depth = _levels(s)
    sum_of = np.zeros(-(-len(s.roots) // GROUP) * GROUP, np.uint32)
    if leaf_width == 1 and sums > 1:
        assert leaf_sum is not None
        own = _sum_of_tree(s, leaf_sum)
        if own is None or t.aggregate in ("MIN", "MAX"):
            if len(base) and node.op != "TreeEnsembleClassifier":
                # ONNX Runtime gives the base value only to outputs that some leaf of the row has named
                raise Unsupported(f"node {node}: base values and leaves that leave outputs out")
            values, leaf_width = _spread(values, leaf_sum, sums), sums
            if t.aggregate in ("MIN", "MAX"):
                raise Unsupported(f"node {node}: {t.aggregate} over several outputs")
        else:
            sum_of[: len(own)] = own
    if leaf_width > 1 and len(base) and pair == _RAW and (np.diff(t.leaf_start) != sums).any() and leaf_sum is None:
        raise Unsupported(f"node {node}: base values and leaves that leave outputs out")
    if leaf_width > 1 and sums == 1:
        raise Unsupported(f"node {node}: leaves with several weights for one score")
    groups = -(-len(s.roots) // GROUP)
    size = groups * (GROUP << depth) * (8 + 4 * leaf_width) if depth <= MAX_PADDED_DEPTH else MAX_PADDED_BYTES + 1
    pad = 0 < depth <= MAX_PADDED_DEPTH and not s.shared and size <= max(MAX_PADDED_BYTES, 2 * 16 * len(s.feature))
    forest = np.zeros((), FOREST_DTYPE)
    arrays = _padded(s, depth, values) if pad else _walked(s, waves, values)
    for name, number in {
        "n_trees": len(s.roots),
        "n_features": x.shape[1],
        "n_sums": sums,
        "n_out": n_out,
        "depth": depth if pad else 0,
        "n_inner": sum(map(len, waves)) if not pad and not s.shared else len(arrays["nodes"]) - len(values),
        "n_leaves": len(values),
        "leaf_width": leaf_width,
        "aggregate": _AGGREGATE[t.aggregate],
        "transform": _TRANSFORM[t.post],
        "pair": pair,
        "has_base": int(len(base) > 0),
    }.items():
        forest[name] = number
    arrays |= {"sum_of": sum_of, "base": np.concatenate([base, np.zeros(2, np.float32)]).astype(np.float32)}
    if x.buffer is c.input_buffer:  # or a choice of its features: which of them the trees call 0, 1, ...
        place = x.index.reshape(-1)
        far = ~np.isinf(t.value)  # no row comes near an infinite threshold
        c.ties += zip(place[t.feature[far]].tolist(), t.value[far].astype(float).tolist(), strict=True)
        c.ties += ((int(place[t.feature[at]]), float(v)) for at, values in t.members.items() for v in values)
    x = c.builder.contiguous(x)
    start = x.start()
    assert start is not None
    out = c.builder.fresh((1, n_out))
    c.builder.add(
        "TREES",
        {"a": (x.buffer, start)},
        {"d": (out.buffer, 0)},
        packed={"forest": forest, **arrays},
        n=x.shape[1],
        m=n_out,
    )
    c.set(node, out, 1 if node.op == "TreeEnsembleClassifier" else 0)


def _sum_of_tree(s: _Splits, leaf_sum: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """The one sum to which all leaves of a tree add, tree by tree; None if a tree adds to several."""
    out = np.full(len(s.roots), -1, np.int64)
    owner = np.arange(len(s.roots))
    wave = s.roots
    while len(wave):
        leaf = wave < 0
        for tree, target in zip(owner[leaf].tolist(), leaf_sum[~wave[leaf]].tolist(), strict=True):
            if out[tree] not in (-1, target):
                return None
            out[tree] = target
        wave, owner = wave[~leaf], owner[~leaf]
        wave, owner = np.concatenate([s.yes[wave], s.no[wave]]), np.concatenate([owner, owner])
        wave, first = np.unique(wave, return_index=True)  # no node belongs to two trees
        owner = owner[first]
    return out


def _spread(values: Array, leaf_sum: npt.NDArray[np.int64], sums: int) -> Array:
    table = np.zeros((len(values), sums), np.float32)
    table[np.arange(len(values)), leaf_sum] = values
    return table


OPERATORS = {("ai.onnx.ml", op): _trees for op in ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")}
