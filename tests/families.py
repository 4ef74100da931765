"""Ten-line fits of every family that people export, as (ONNX bytes, output, carry) on seeded data."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

F = 20


class Fitted(NamedTuple):
    """A model as it would be exported. ``carry``: names of its recurrent state."""

    model: bytes
    output: str
    carry: tuple[tuple[str, str], ...] = ()


def rows(n: int, seed: int = 0, features: int = F) -> npt.NDArray[np.float32]:
    """Clipped, partly discrete rows, as normalised features of ticks are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, features))
    x[:, ::3] = np.round(x[:, ::3] * 4) / 4
    return np.clip(x, -5, 5).astype(np.float32)


def labels(x: npt.NDArray[np.float32], classes: int = 3) -> npt.NDArray[np.int64]:
    """Classes that depend on the rows, with noise."""
    score = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + np.random.default_rng(9).standard_normal(len(x))
    return np.searchsorted(np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]), score).astype(np.int64)


def _sklearn(model: Any, regression: bool = False) -> Fitted:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    options = {} if regression else {id(model): {"zipmap": False}}
    made = convert_sklearn(
        model,
        initial_types=[("x", FloatTensorType([None, F]))],
        target_opset={"": 18, "ai.onnx.ml": 3},
        options=options,
    )
    return Fitted(made.SerializeToString(), made.graph.output[-1].name)


def logistic(classes: int = 3) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    x = rows(2000)
    return _sklearn(LogisticRegression(max_iter=200).fit(x, labels(x, classes)))


def ridge() -> Fitted:
    from sklearn.linear_model import Ridge

    x = rows(2000)
    return _sklearn(Ridge().fit(x, x @ np.linspace(-0.1, 0.1, F)), regression=True)


def scaled_logistic() -> Fitted:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = rows(2000)
    return _sklearn(make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(x, labels(x)))


def sklearn_mlp(classes: int = 3) -> Fitted:
    from sklearn.neural_network import MLPClassifier

    x = rows(2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _sklearn(MLPClassifier((32, 32), max_iter=15, random_state=0).fit(x, labels(x, classes)))


def forest(classes: int = 3, depth: int | None = 6, trees: int = 50) -> Fitted:
    from sklearn.ensemble import RandomForestClassifier

    x = rows(2000)
    return _sklearn(RandomForestClassifier(trees, max_depth=depth, random_state=0).fit(x, labels(x, classes)))


def forest_regressor() -> Fitted:
    from sklearn.ensemble import RandomForestRegressor

    x = rows(2000)
    return _sklearn(RandomForestRegressor(30, max_depth=7, random_state=0).fit(x, x[:, 0] * x[:, 1]), regression=True)


def boosted_sklearn(classes: int = 2) -> Fitted:
    from sklearn.ensemble import GradientBoostingClassifier

    x = rows(1500)
    return _sklearn(GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, labels(x, classes)))


def _boost(model: Any, kind: str, regression: bool = False) -> Fitted:
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = calculate_linear_regressor_output_shapes if regression else calculate_linear_classifier_output_shapes
    options = {} if regression else {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    if kind == "lightgbm" and regression:
        options = {"split": None}
    update_registered_converter(
        type(model),
        type(model).__name__,
        shapes,
        convert_lightgbm if kind == "lightgbm" else convert_xgboost,
        options=options,
    )
    return _sklearn(model, regression)


def xgboost(classes: int = 3, missing: bool = False) -> Fitted:
    from xgboost import XGBClassifier

    x = rows(2000)
    y = labels(x, classes)
    if missing:
        x = x.copy()
        x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    return _boost(XGBClassifier(n_estimators=20, max_depth=5, n_jobs=1).fit(x, y), "xgboost")


def xgboost_regressor() -> Fitted:
    from xgboost import XGBRegressor

    x = rows(2000)
    return _boost(XGBRegressor(n_estimators=20, max_depth=5, n_jobs=1).fit(x, x[:, 0]), "xgboost", True)


def lightgbm(classes: int = 3) -> Fitted:
    from lightgbm import LGBMClassifier

    x = rows(2000)
    return _boost(LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1).fit(x, labels(x, classes)), "lightgbm")


def lightgbm_regressor() -> Fitted:
    from lightgbm import LGBMRegressor

    x = rows(2000)
    return _boost(LGBMRegressor(n_estimators=20, n_jobs=1, verbose=-1).fit(x, x[:, 0]), "lightgbm", True)


def _torch(module: Any, args: tuple[Any, ...], names: list[str], outputs: list[str]) -> bytes:
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), args, dynamo=True, opset_version=18, input_names=names, output_names=outputs, verbose=False
        )
        program.save(buffer, external_data=False)
    return buffer.getvalue()


def torch_mlp() -> Fitted:
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(F, 64), nn.BatchNorm1d(64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.LayerNorm(64),
        nn.SiLU(), nn.Linear(64, 3), nn.Softmax(dim=-1),
    )  # fmt: skip
    return Fitted(_torch(net, (torch.zeros(1, F),), ["x"], ["p"]), "p")


def _recurrent_net(kind: str, step: bool, layers: int) -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = getattr(nn, kind)(F, 48, layers, batch_first=True)
            self.head = nn.Linear(48, 3)

        def forward(self, x, *state):  # type: ignore[no-untyped-def]
            if not step:
                y, _ = self.core(x)
                return torch.softmax(self.head(y[:, -1]), -1)
            y, new = self.core(x[:, None], state if kind == "LSTM" else state[0])
            p = torch.softmax(self.head(y[:, -1]), -1)
            return (p, *new) if kind == "LSTM" else (p, new)

    torch.manual_seed(0)
    return Net()


def recurrent_step(kind: str, layers: int = 1) -> Fitted:
    """One step with carried state."""
    import torch

    states = 2 if kind == "LSTM" else 1
    args = (torch.zeros(1, F), *(torch.zeros(layers, 1, 48) for _ in range(states)))
    names, outs = [f"s{i}" for i in range(states)], [f"n{i}" for i in range(states)]
    data = _torch(_recurrent_net(kind, True, layers), args, ["x", *names], ["p", *outs])
    return Fitted(data, "p", tuple(zip(names, outs, strict=True)))


def recurrent_window(kind: str, steps: int = 12, layers: int = 2) -> Fitted:
    """A window of rows, from the state of zeros."""
    import torch

    return Fitted(_torch(_recurrent_net(kind, False, layers), (torch.zeros(1, steps, F),), ["x"], ["p"]), "p")


def lstm_cell_step() -> Fitted:
    """An LSTMCell: exported as products and activations, without an LSTM node."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(F, 32)
            self.head = nn.Linear(32, 3)

        def forward(self, x, h, c):  # type: ignore[no-untyped-def]
            h, c = self.cell(x, (h, c))
            return torch.softmax(self.head(h), -1), h, c

    torch.manual_seed(0)
    args = (torch.zeros(1, F), torch.zeros(1, 32), torch.zeros(1, 32))
    return Fitted(_torch(Net(), args, ["x", "h", "c"], ["p", "hn", "cn"]), "p", (("h", "hn"), ("c", "cn")))


def cnn(steps: int = 16) -> Fitted:
    """Convolutions over time."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv1d(F, 32, 3, padding=1), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
                nn.Conv1d(32, 16, 3, dilation=2), nn.LeakyReLU(0.01), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                nn.Linear(16, 3), nn.Softmax(dim=-1),
            )  # fmt: skip

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.body(x.transpose(1, 2))

    torch.manual_seed(0)
    return Fitted(_torch(Net(), (torch.zeros(1, steps, F),), ["x"], ["p"]), "p")


def deep_lob(steps: int = 20) -> Fitted:
    """Two-dimensional convolutions over time and levels, then an LSTM, as DeepLOB-like nets have them."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(1, 8, (1, 2), stride=(1, 2)), nn.LeakyReLU(0.01), nn.Conv2d(8, 8, (4, 1), padding="same"),
                nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, 8, (1, 10)),
            )  # fmt: skip
            self.core = nn.LSTM(8, 16, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x):  # type: ignore[no-untyped-def]
            y = self.conv(x[:, None])
            y, _ = self.core(y.squeeze(-1).transpose(1, 2))
            return torch.softmax(self.head(y[:, -1]), -1)

    torch.manual_seed(0)
    return Fitted(_torch(Net(), (torch.zeros(1, steps, F),), ["x"], ["p"]), "p")


SKLEARN: dict[str, Callable[[], Fitted]] = {
    "logistic": logistic,
    "logistic of two": lambda: logistic(2),
    "ridge": ridge,
    "scaler and logistic": scaled_logistic,
    "sklearn MLP": sklearn_mlp,
    "sklearn MLP of two": lambda: sklearn_mlp(2),
    "forest": forest,
    "forest of two": lambda: forest(2),
    "deep forest": lambda: forest(3, None, 20),
    "forest regressor": forest_regressor,
    "gradient boosting": boosted_sklearn,
    "gradient boosting of three": lambda: boosted_sklearn(3),
}
BOOST: dict[str, Callable[[], Fitted]] = {
    "xgboost": xgboost,
    "xgboost of two": lambda: xgboost(2),
    "xgboost with missing values": lambda: xgboost(2, True),
    "xgboost regressor": xgboost_regressor,
    "lightgbm": lightgbm,
    "lightgbm of two": lambda: lightgbm(2),
    "lightgbm regressor": lightgbm_regressor,
}
TORCH: dict[str, Callable[[], Fitted]] = {
    "torch MLP": torch_mlp,
    "LSTM step": lambda: recurrent_step("LSTM"),
    "LSTM step of two layers": lambda: recurrent_step("LSTM", 2),
    "GRU step": lambda: recurrent_step("GRU"),
    "LSTM window": lambda: recurrent_window("LSTM"),
    "GRU window": lambda: recurrent_window("GRU"),
    "LSTM cell step": lstm_cell_step,
    "CNN": cnn,
    "DeepLOB-like": deep_lob,
}

WINDOWS = ("LSTM window", "GRU window", "CNN", "DeepLOB-like")
