"""Shapes of what a node makes, worked out from the shapes and small constants that it is given. Floor 3.

Made for a bound of a graph's cost, not for running it: a free dimension counts as 1 (one row is served), and what
depends on data is not known. A rule that meets something odd gives up; engines refuse such a node by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from alpha.models.structure import Node, Tensor

Shape = tuple[int, ...]
MAX_RANK = 64
ODD = (LookupError, ValueError, TypeError, ArithmeticError)
"""What a rule meets in a node that is not as its specification says."""


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs of a node: shapes (None: unknown, or left out) and values where they are small constants."""

    node: Node
    shapes: list[Shape | None]
    values: list[Tensor | None]
    opset: int

    def shape(self, i: int) -> Shape:
        found = self.shapes[i]
        if found is None:
            raise LookupError
        return found

    def ints(self, i: int, name: str = "") -> list[int]:
        """Numbers of input ``i``, or of the attribute that older versions have for it."""
        held = self.node.attributes.get(name) if name else None
        if isinstance(held, tuple):
            return [int(v) for v in held]
        value = self.values[i] if i < len(self.values) else None
        if value is None:
            raise LookupError
        return [int(v) for v in value.ravel().tolist()]

    def number(self, name: str, default: int) -> int:
        held = self.node.attributes.get(name, default)
        return held if isinstance(held, int) else default

    def numbers(self, name: str, size: int, default: int) -> list[int]:
        held = self.node.attributes.get(name)
        return [int(v) for v in held] if isinstance(held, tuple) and held else [default] * size


Rule = Callable[[Given], Sequence[Shape | None]]


def shapes_of(given: Given) -> list[Shape | None]:
    """One shape for each output of the node; None where it is not known."""
    node = given.node
    rule = _ML.get(node.op) if node.domain else RULES.get(node.op)
    found: Sequence[Shape | None] = ()
    if rule is not None:
        try:
            found = rule(given)
        except ODD:
            found = ()
    good = [s if s is not None and len(s) <= MAX_RANK and min(s, default=0) >= 0 else None for s in found]
    return (good + [None] * len(node.outputs))[: len(node.outputs)]


def broadcast(shapes: Sequence[Shape]) -> Shape:
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(0 if 0 in dims else max(dims) for dims in zip(*padded, strict=True))


def _axis(value: int, rank: int) -> int:
    if not -rank <= value < max(rank, 1):
        raise ValueError
    return value % max(rank, 1)


def _same(g: Given) -> list[Shape | None]:
    return [g.shapes[0]] * len(g.node.outputs)


def _broadcast(g: Given) -> list[Shape]:
    return [broadcast([g.shape(i) for i in range(len(g.shapes))])]


def _concat(g: Given) -> list[Shape]:
    parts = [g.shape(i) for i in range(len(g.shapes))]
    axis = _axis(g.number("axis", 1), len(parts[0]))
    return [(*parts[0][:axis], sum(p[axis] for p in parts), *parts[0][axis + 1 :])]


def _expand(g: Given) -> list[Shape]:
    return [broadcast([g.shape(0), tuple(g.ints(1))])]


def _tile(g: Given) -> list[Shape]:
    return [tuple(a * b for a, b in zip(g.shape(0), g.ints(1), strict=True))]


def _pad(g: Given) -> list[Shape]:
    shape, pads = g.shape(0), g.ints(1, "pads" if "pads" in g.node.attributes else "paddings")
    axes = [_axis(a, len(shape)) for a in g.ints(3)] if len(g.shapes) > 3 and g.node.inputs[3] else range(len(shape))
    out = list(shape)
    for k, axis in enumerate(axes):
        out[axis] += pads[k] + pads[k + len(axes)]
    return [tuple(max(0, v) for v in out)]


def _of_shape(g: Given) -> list[Shape]:
    return [tuple(g.ints(0, "shape"))]


def _range(g: Given) -> list[Shape]:
    start, stop, step = (float(v.ravel()[0]) for v in g.values if v is not None)
    return [(max(0, math.ceil((stop - start) / step)),)]


def _reshape(g: Given) -> list[Shape]:
    shape, wanted = g.shape(0), g.ints(1, "shape")
    out = [shape[i] if v == 0 and not g.number("allowzero", 0) else v for i, v in enumerate(wanted)]
    rest = math.prod(v for v in out if v != -1)
    return [tuple(math.prod(shape) // max(rest, 1) if v == -1 else v for v in out)]


def _flatten(g: Given) -> list[Shape]:
    shape, axis = g.shape(0), g.number("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return [(math.prod(shape[:axis]), math.prod(shape[axis:]))]


def _squeeze(g: Given) -> list[Shape]:
    shape = g.shape(0)
    if "axes" not in g.node.attributes and len(g.shapes) < 2:
        return [tuple(v for v in shape if v != 1)]
    gone = {_axis(a, len(shape)) for a in g.ints(1, "axes")}
    return [tuple(v for i, v in enumerate(shape) if i not in gone)]


def _unsqueeze(g: Given) -> list[Shape]:
    shape, axes = g.shape(0), g.ints(1, "axes")
    rank = len(shape) + len(axes)
    new, old = {_axis(a, rank) for a in axes}, iter(shape)
    return [tuple(1 if i in new else next(old, 1) for i in range(rank))]


def _transpose(g: Given) -> list[Shape]:
    shape = g.shape(0)
    perm = g.numbers("perm", 0, 0) or list(range(len(shape)))[::-1]
    return [tuple(shape[p] for p in perm)]


def _gather(g: Given) -> list[Shape]:
    shape = g.shape(0)
    axis = _axis(g.number("axis", 0), len(shape))
    return [(*shape[:axis], *g.shape(1), *shape[axis + 1 :])]


def _gather_nd(g: Given) -> list[Shape]:
    where = g.shape(1)
    return [(*where[:-1], *g.shape(0)[g.number("batch_dims", 0) + where[-1] :])]


def _second(g: Given) -> list[Shape]:
    return [g.shape(1)]


def _slice(g: Given) -> list[Shape]:
    """Where the ends are not known the whole is an upper bound."""
    out = list(g.shape(0))
    try:
        starts, ends = g.ints(1, "starts"), g.ints(2, "ends")
        axes = g.ints(3, "axes") if len(g.shapes) > 3 or "axes" in g.node.attributes else list(range(len(starts)))
        steps = g.ints(4) if len(g.shapes) > 4 else [1] * len(starts)
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            out[axis] = len(range(*slice(start, end, step).indices(out[axis])))
    except (LookupError, ValueError):
        pass
    return [tuple(out)]


def _split(g: Given) -> list[Shape]:
    shape, n = g.shape(0), len(g.node.outputs)
    axis = _axis(g.number("axis", 0), len(shape))
    if len(g.shapes) > 1 or "split" in g.node.attributes:
        sizes = g.ints(1, "split")
    else:
        sizes = [-(-shape[axis] // n)] * n
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _product(a: int, b: int) -> Rule:
    def rule(g: Given) -> list[Shape]:
        left, right = g.shape(a), g.shape(b)
        batch = broadcast([left[:-2], right[:-2]])
        return [(*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))]

    return rule


def _gemm(g: Given) -> list[Shape]:
    a, b = g.shape(0), g.shape(1)
    return [(a[1 if g.number("transA", 0) else 0], b[0 if g.number("transB", 0) else 1])]


def _window(g: Given, size: Shape, kernel: Sequence[int]) -> Shape:
    """Spatial axes behind a convolution or pooling window."""
    n = len(size)
    auto = g.node.attributes.get("auto_pad", b"NOTSET")
    strides, dilations = g.numbers("strides", n, 1), g.numbers("dilations", n, 1)
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        return tuple(-(-v // s) for v, s in zip(size, strides, strict=True))
    pads = g.numbers("pads", 2 * n, 0) if auto != b"VALID" else [0] * 2 * n
    room = [v + pads[i] + pads[i + n] - dilations[i] * (kernel[i] - 1) - 1 for i, v in enumerate(size)]
    up = g.number("ceil_mode", 0)
    return tuple(max(0, (-(-r // s) if up else r // s) + 1) for r, s in zip(room, strides, strict=True))


def _conv(x: int, w: int) -> Rule:
    def rule(g: Given) -> list[Shape]:
        shape, weights = g.shape(x), g.shape(w)
        return [(shape[0], weights[0], *_window(g, shape[2:], weights[2:]))]

    return rule


def _conv_transpose(g: Given) -> list[Shape]:
    shape, weights = g.shape(0), g.shape(1)
    n = len(shape) - 2
    channels = weights[1] * g.number("group", 1)
    if said := g.numbers("output_shape", 0, 0):
        return [(shape[0], channels, *said[-n:])]
    strides, dilations = g.numbers("strides", n, 1), g.numbers("dilations", n, 1)
    pads, more = g.numbers("pads", 2 * n, 0), g.numbers("output_padding", n, 0)
    return [
        (
            shape[0],
            channels,
            *(
                max(0, strides[i] * (v - 1) + more[i] + dilations[i] * (weights[i + 2] - 1) + 1 - pads[i] - pads[i + n])
                for i, v in enumerate(shape[2:])
            ),
        )
    ]


def _pool(g: Given) -> list[Shape]:
    shape = g.shape(0)
    out = (*shape[:2], *_window(g, shape[2:], g.numbers("kernel_shape", 0, 0)))
    return [out, out]


def _global_pool(g: Given) -> list[Shape]:
    shape = g.shape(0)
    return [(*shape[:2], *(1 for _ in shape[2:]))]


def _unpool(g: Given) -> list[Shape]:
    shape = g.shape(0)
    if len(g.shapes) > 2:
        return [tuple(g.ints(2))]
    n = len(shape) - 2
    kernel, strides, pads = g.numbers("kernel_shape", n, 1), g.numbers("strides", n, 1), g.numbers("pads", 2 * n, 0)
    return [(*shape[:2], *((v - 1) * strides[i] - pads[i] - pads[i + n] + kernel[i] for i, v in enumerate(shape[2:])))]


def _reduce(g: Given) -> list[Shape]:
    shape, keep = g.shape(0), g.number("keepdims", 1)
    axes: set[int] = set(range(len(shape)))
    if "axes" in g.node.attributes or (len(g.shapes) > 1 and g.node.inputs[1]):
        axes = {_axis(a, len(shape)) for a in g.ints(1, "axes")} or axes
    return [tuple(1 if i in axes else v for i, v in enumerate(shape) if keep or i not in axes)]


def _arg(g: Given) -> list[Shape]:
    shape, keep = g.shape(0), g.number("keepdims", 1)
    axis = _axis(g.number("axis", 0), len(shape))
    return [tuple(1 if i == axis else v for i, v in enumerate(shape) if keep or i != axis)]


def _recurrent(g: Given) -> list[Shape]:
    steps, batch = g.shape(0)[:2]
    if g.number("layout", 0):
        steps, batch = batch, steps
    ways, hidden = g.shape(2)[0], g.shape(2)[-1]
    return [(steps, ways, batch, hidden), (ways, batch, hidden), (ways, batch, hidden)]


def _top_k(g: Given) -> list[Shape]:
    shape = g.shape(0)
    axis = _axis(g.number("axis", -1), len(shape))
    try:
        k = min(shape[axis], g.number("k", -1) if "k" in g.node.attributes else g.ints(1)[0])
    except LookupError:
        k = shape[axis]
    return [(*shape[:axis], k, *shape[axis + 1 :])] * 2


def _one_hot(g: Given) -> list[Shape]:
    shape, axis = g.shape(0), g.number("axis", -1)
    axis += len(shape) + 1 if axis < 0 else 0
    return [(*shape[:axis], g.ints(1)[0], *shape[axis:])]


def _resize(g: Given) -> list[Shape]:
    shape = g.shape(0)
    upsample = g.node.op == "Upsample" or g.opset < 11
    if len(g.values) > 3 and g.node.inputs[3]:
        sizes = g.ints(3)
    else:
        held = g.node.attributes.get("scales")
        at = 1 if upsample else 2
        value = g.values[at]
        if held is None and value is None:
            raise LookupError
        scales = held if isinstance(held, tuple) else np.asarray(value).ravel().tolist()
        sizes = [math.floor(v * float(s)) for v, s in zip(shape, scales, strict=False)]
    axes = g.numbers("axes", 0, 0) or range(len(shape))
    out = list(shape)
    for axis, size in zip(axes, sizes, strict=False):
        out[axis] = size
    return [tuple(out)]


def _depth_to_space(g: Given) -> list[Shape]:
    n, c, h, w = g.shape(0)
    b = g.number("blocksize", 1)
    return [(n, c // (b * b), h * b, w * b)] if g.node.op == "DepthToSpace" else [(n, c * b * b, h // b, w // b)]


def labels(g: Given) -> tuple[dict[str, int], str]:
    """Size of each letter of an Einsum, and the letters of its result; LookupError for an ellipsis."""
    equation = g.node.attributes.get("equation", b"")
    text = equation.decode().replace(" ", "") if isinstance(equation, bytes) else ""
    if "." in text:
        raise LookupError
    left, arrow, right = text.partition("->")
    sizes: dict[str, int] = {}
    for i, term in enumerate(left.split(",")):
        for letter, size in zip(term, g.shape(i), strict=True):
            sizes[letter] = max(size, sizes.get(letter, 0))
    return sizes, right if arrow else "".join(sorted(c for c in sizes if left.count(c) == 1))


def _einsum(g: Given) -> list[Shape]:
    sizes, right = labels(g)
    return [tuple(sizes[c] for c in right)]


def _shape(g: Given) -> list[Shape]:
    return [(len(g.shape(0)),)]


def _non_zero(g: Given) -> list[Shape]:
    return [(len(g.shape(0)), math.prod(g.shape(0)))]


def _crop(g: Given) -> list[Shape]:
    shape = list(g.shape(0))
    for axis, size in zip(g.numbers("axes", 0, 0) or range(len(shape)), g.ints(1), strict=True):
        shape[axis] = size
    return [tuple(shape)]


def _col2im(g: Given) -> list[Shape]:
    n, c, _ = g.shape(0)
    return [(n, c // max(1, math.prod(g.ints(2))), *g.ints(1))]


def _grid_sample(g: Given) -> list[Shape]:
    return [(*g.shape(0)[:2], *g.shape(1)[1:-1])]


def _roi(g: Given) -> list[Shape]:
    at = g.numbers("pooled_shape", 0, 0) or [g.number("output_height", 1), g.number("output_width", 1)]
    return [(g.shape(1)[0], g.shape(0)[1], *at)]


def _affine_grid(g: Given) -> list[Shape]:
    n, _, *size = g.ints(1)
    return [(n, *size, len(size))]


def _dft(g: Given) -> list[Shape]:
    shape = list(g.shape(0))
    shape[-1] = 2
    axis = g.ints(2)[0] if len(g.shapes) > 2 else g.number("axis", 1 if g.opset < 20 else -2)
    if len(g.shapes) > 1 and g.node.inputs[1]:
        shape[axis] = g.ints(1)[0]
    return [tuple(shape)]


def _stft(g: Given) -> list[Shape]:
    batch, signal = g.shape(0)[:2]
    step = max(1, g.ints(1)[0])
    size = g.shape(2)[0] if len(g.shapes) > 2 and g.node.inputs[2] else g.ints(3)[0]
    return [(batch, max(0, signal - size) // step + 1, size, 2)]


def _single(g: Given) -> list[Shape]:
    return [(g.ints(0)[0],)]


def _mel(g: Given) -> list[Shape]:
    return [(g.ints(1)[0] // 2 + 1, g.ints(0)[0])]


def _scalar(g: Given) -> list[Shape]:
    return [()]


def _columns(g: Given) -> list[Shape | None]:
    """[rows] labels and [rows, classes or targets] scores."""
    rows = g.shape(0)[0] if len(g.shape(0)) > 1 else 1
    attributes = g.node.attributes
    lists = [attributes.get(f"classlabels_{kind}", ()) for kind in ("int64s", "ints", "strings")]
    classes = max(1, *(len(v) for v in lists if isinstance(v, (tuple, np.ndarray))))
    if g.node.op.endswith("Classifier"):
        return [(rows,), (rows, classes)]
    return [(rows, max(1, g.number("n_targets", g.number("targets", 1))))]


def _extract(g: Given) -> list[Shape]:
    return [(*(g.shape(0)[:-1] or (1,)), math.prod(g.shape(1)))]


def _join(g: Given) -> list[Shape]:
    return [(g.shape(0)[0], sum(g.numbers("inputdimensions", 0, 0)))]


def _one_hot_encoder(g: Given) -> list[Shape]:
    lists = [g.node.attributes.get(name, ()) for name in ("cats_int64s", "cats_strings")]
    return [(*g.shape(0), max(len(v) for v in lists if isinstance(v, tuple)))]


def _table(rules: dict[Rule, str]) -> dict[str, Rule]:
    return {op: rule for rule, ops in rules.items() for op in ops.split()}


RULES = _table(
    {
        _same: "Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh "
        "CumSum DequantizeLinear Dropout DynamicQuantizeLinear Elu Erf Exp EyeLike Floor Gelu GroupNormalization HardSigmoid "
        "HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax "
        "LpNormalization MeanVarianceNormalization Mish Neg Not QuantizeLinear RMSNormalization Reciprocal Relu "
        "ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softmax "
        "Softplus Softsign Sqrt Swish Tan Tanh TensorScatter ThresholdedRelu Trilu Attention",
        _broadcast: "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max "
        "Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor",
        _concat: "Concat",
        _expand: "Expand",
        _tile: "Tile",
        _pad: "Pad",
        _of_shape: "ConstantOfShape",
        _range: "Range",
        _reshape: "Reshape",
        _flatten: "Flatten",
        _squeeze: "Squeeze",
        _unsqueeze: "Unsqueeze",
        _transpose: "Transpose",
        _gather: "Gather",
        _gather_nd: "GatherND",
        _second: "GatherElements",
        _slice: "Slice",
        _split: "Split",
        _product(0, 1): "MatMul MatMulInteger",
        _product(0, 3): "QLinearMatMul",
        _gemm: "Gemm",
        _conv(0, 1): "Conv ConvInteger DeformConv",
        _conv(0, 3): "QLinearConv",
        _conv_transpose: "ConvTranspose",
        _pool: "AveragePool LpPool MaxPool",
        _global_pool: "GlobalAveragePool GlobalLpPool GlobalMaxPool",
        _unpool: "MaxUnpool",
        _reduce: "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare",
        _arg: "ArgMax ArgMin",
        _recurrent: "GRU LSTM RNN",
        _top_k: "TopK",
        _one_hot: "OneHot",
        _resize: "Resize Upsample",
        _depth_to_space: "DepthToSpace SpaceToDepth",
        _einsum: "Einsum",
        _shape: "Shape",
        _scalar: "Size Det",
        _non_zero: "NonZero",
        _crop: "CenterCropPad",
        _col2im: "Col2Im",
        _grid_sample: "GridSample",
        _roi: "RoiAlign MaxRoiPool",
        _affine_grid: "AffineGrid",
        _dft: "DFT",
        _stft: "STFT",
        _single: "BlackmanWindow HammingWindow HannWindow",
        _mel: "MelWeightMatrix",
    }
)
_ML = _table(
    {
        _same: "Binarizer CategoryMapper Imputer LabelEncoder Normalizer Scaler",
        _columns: "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsemble TreeEnsembleClassifier "
        "TreeEnsembleRegressor",
        _extract: "ArrayFeatureExtractor",
        _join: "FeatureVectorizer",
        _one_hot_encoder: "OneHotEncoder",
    }
)
