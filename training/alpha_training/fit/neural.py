"""Fitting torch networks: cross entropy, Adam, stopped by the validation rows, the same bits for the same seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from alpha.errors import DataError, need
from alpha.models.metadata import Carry
from alpha_training import export
from alpha_training.fit.task import Fitted, Floats, Inputs, Ints, Shape, Task
from alpha_training.recipe import Model

DEFAULTS: dict[str, Any] = {"epochs": 20, "batch": 256, "lr": 2e-3, "weight_decay": 1e-5, "patience": 4}
OWN: dict[str, dict[str, Any]] = {
    "torch_mlp": {"hidden": [64, 32], "dropout": 0.0},
    "lstm": {"hidden": 32},
    "lstm_window": {"hidden": 32, "layers": 1},
    "gru": {"hidden": 32, "layers": 1},
    "cnn": {"channels": 24, "width": 5},
    "deeplob": {"channels": 16, "hidden": 32},
}
SHAPES: dict[str, Shape] = {"torch_mlp": "row", "lstm": "step"}  # all others take windows
_AT_ONCE = 4096


def parameters(spec: Model) -> dict[str, Any]:
    """Defaults with the recipe's values; DataError for a name or a type that the family does not have."""
    known = {**DEFAULTS, **OWN[spec.kind]}
    for name, value in spec.params.items():
        if name not in known:
            raise DataError(
                f"models.params of {spec.id}: {spec.kind} has no parameter {name!r}; it has {', '.join(known)}"
            )
        default = known[name]
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise DataError(f"models.params of {spec.id}: {name} must be a value such as {default!r}, not {value!r}")
    return {**known, **spec.params}


def check(spec: Model) -> None:
    """DataError for parameters that the family does not have, MissingExtraError without the libraries."""
    parameters(spec)
    need("torch", "torch"), need("onnxscript", "torch")


def network(kind: str, p: dict[str, Any], n_in: int, n_out: int) -> Any:
    """An unfitted network; DataError where the inputs do not suit it."""
    from alpha_training.fit import networks as nets

    if kind == "torch_mlp":
        return nets.Perceptron(n_in, n_out, p["hidden"], p["dropout"])
    if kind in ("lstm", "lstm_window", "gru"):
        return nets.Recurrent(n_in, n_out, p["hidden"], p.get("layers", 1), "gru" if kind == "gru" else "lstm")
    if kind == "cnn":
        return nets.Convolution(n_in, n_out, p["channels"], p["width"])
    if n_in % 4:
        raise DataError(
            f"features: deeplob reads levels of ask price, ask size, bid price, bid size: {n_in} is no multiple of 4"
        )
    return nets.DeepBook(n_in, n_out, p["channels"], p["hidden"])


class Network(Fitted):
    """A fitted network over rows, windows or steps."""

    def __init__(self, net: Any, classes: Sequence[int], kind: str, inputs: Inputs, note: str) -> None:
        super().__init__(classes, note)
        self.net, self.shape = net.eval(), SHAPES.get(kind, "window")
        self.n_features, self.length = inputs.n_features, inputs.length
        if self.shape == "step":
            size = (1, net.body.hidden_size)
            self.carry = tuple(Carry(input=n, output=f"{n}_next", shape=size) for n in ("h", "c"))

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        torch = need("torch", "torch")
        with torch.no_grad():
            if self.shape == "step":  # every stream from its first row on, as it is served
                out = np.full((len(inputs.z), len(self.classes)), np.nan)
                for stream in inputs.streams():
                    logits = self.net.every(torch.from_numpy(inputs.rows(stream)[None]))[0]
                    out[stream] = torch.softmax(logits.double(), -1).numpy()
                return out[rows]
            take = inputs.windows if self.shape == "window" else inputs.rows
            parts = [rows[i : i + _AT_ONCE] for i in range(0, len(rows), _AT_ONCE)]
            made = [torch.softmax(self.net(torch.from_numpy(take(p))).double(), -1).numpy() for p in parts]
        return np.concatenate(made) if made else np.zeros((0, len(self.classes)))

    def to_onnx(self, name: str) -> bytes:
        torch = need("torch", "torch")
        from alpha_training.fit import networks as nets

        if self.shape == "step":
            row = torch.zeros(1, self.n_features)
            state = [torch.zeros(*c.shape) for c in self.carry]
            ins, outs = [c.input for c in self.carry], [c.output for c in self.carry]
            return export.torch_to_onnx(
                nets.LstmStep(self.net), (row, *state), name, [export.INPUT, *ins], [export.OUTPUT, *outs]
            )
        shape = (1, self.n_features) if self.shape == "row" else (1, self.length, self.n_features)
        return export.torch_to_onnx(
            nets.Probabilities(self.net), (torch.zeros(*shape),), name, [export.INPUT], [export.OUTPUT]
        )


def fit(spec: Model, task: Task) -> Fitted:
    """A network at its best validation loss; DataError if it cannot be trained on these rows."""
    torch = need("torch", "torch")
    p = parameters(spec)
    classes = task.classes()
    inputs = task.inputs
    shape = SHAPES.get(spec.kind, "window")
    train, valid = (rows[inputs.usable[rows]] for rows in (task.train, task.valid))
    if len(train) < 2 or not len(valid):
        raise DataError(f"window of {spec.id}: no row has {inputs.length} rows behind it in the train or valid part")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums must not depend on how a pool cuts them
    torch.manual_seed(task.seed)
    rng = np.random.default_rng(task.seed)
    try:
        net = network(spec.kind, p, inputs.n_features, len(classes))
        optimiser = torch.optim.Adam(net.parameters(), lr=p["lr"], weight_decay=p["weight_decay"])
        y = torch.from_numpy(task.codes(train, classes))
        w = torch.from_numpy(task.weights(train, spec.class_weight).astype(np.float32))
        y_valid = torch.from_numpy(task.codes(valid, classes))
        w_valid = torch.from_numpy(task.weights(valid, spec.class_weight).astype(np.float32))
        take = inputs.rows if shape == "row" else inputs.windows
        best, best_loss, since = _copy(net), math.inf, 0
        epochs, batch = int(p["epochs"]), int(p["batch"])
        for epoch in range(epochs):
            net.train()
            order = rng.permutation(len(train))
            for i in range(0, len(train), batch):
                at = order[i : i + batch]
                optimiser.zero_grad()
                logits = net(torch.from_numpy(take(train[at])))
                loss = _loss(torch, logits, y[at], w[at])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
            held = _held_out(torch, net, take, valid, y_valid, w_valid)
            task.watch(epoch + 1, epochs, held)
            if not math.isfinite(held):
                raise DataError(
                    f"models.params of {spec.id}: the loss is not finite in epoch {epoch + 1}: a smaller lr"
                )
            if held < best_loss:
                best, best_loss, since = _copy(net), held, 0
            else:
                since += 1
                if since >= p["patience"]:
                    break
        net.load_state_dict(best)
    finally:
        torch.set_num_threads(threads)
    return Network(net, classes, spec.kind, inputs, f"best of {epoch + 1} epochs, validation loss {best_loss:.4f}")


def _copy(net: Any) -> dict[str, Any]:
    return {k: v.clone() for k, v in net.state_dict().items()}


def _loss(torch: Any, logits: Any, y: Any, w: Any) -> Any:
    return (torch.nn.functional.cross_entropy(logits, y, reduction="none") * w).mean()


def _held_out(torch: Any, net: Any, take: Any, rows: Ints, y: Any, w: Any) -> float:
    net.eval()
    total = 0.0
    with torch.no_grad():
        for i in range(0, len(rows), _AT_ONCE):
            part = slice(i, i + _AT_ONCE)
            logits = net(torch.from_numpy(take(rows[part])))
            total += float(_loss(torch, logits, y[part], w[part])) * len(y[part])
    return total / len(rows)
