"""Networks of torch: what each family computes. All end in probabilities.

Windows are [B, T, F]. The step form of the LSTM takes one row and its state (h, c) and gives the next state, so that
a stream needs one step per row instead of a window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Perceptron(nn.Module):  # type: ignore[misc]
    """F -> hidden -> … -> K, ReLU between."""

    def __init__(self, n_in: int, n_out: int, hidden: list[int], dropout: float) -> None:
        super().__init__()
        layers: list[Any] = []
        for width in hidden:
            layers += [nn.Linear(n_in, width), nn.ReLU()]
            if dropout > 0.0:
                layers.append(nn.Dropout(dropout))
            n_in = width
        self.body = nn.Sequential(*layers, nn.Linear(n_in, n_out))

    def forward(self, x: Any) -> Any:
        """Logits [B, K] of [B, F]."""
        return self.body(x)


class Recurrent(nn.Module):  # type: ignore[misc]
    """LSTM or GRU over a window; the last state decides."""

    def __init__(self, n_in: int, n_out: int, hidden: int, layers: int, cell: str) -> None:
        super().__init__()
        make = nn.LSTM if cell == "lstm" else nn.GRU
        self.body = make(n_in, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, n_out)

    def forward(self, x: Any) -> Any:
        """Logits [B, K] of [B, T, F]."""
        return self.head(self.body(x)[0][:, -1])

    def every(self, x: Any) -> Any:
        """Logits [B, T, K] after each row."""
        return self.head(self.body(x)[0])


class Convolution(nn.Module):  # type: ignore[misc]
    """One-dimensional convolutions over time, then the mean and the newest column."""

    def __init__(self, n_in: int, n_out: int, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(n_in, channels, width, padding=width // 2),
            nn.ReLU(),
            nn.Conv1d(channels, channels, width, padding=width // 2),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * channels, n_out)

    def forward(self, x: Any) -> Any:
        """Logits [B, K] of [B, T, F]."""
        h = self.body(x.transpose(1, 2))
        return self.head(torch.cat([h.mean(dim=2), h[:, :, -1]], dim=1))


class DeepBook(nn.Module):  # type: ignore[misc]
    """After Zhang, Zohren and Roberts, DeepLOB (2019), smaller: convolutions that join price with size, then the two sides,
    then the levels; an inception block over time; an LSTM.

    F = 4 * levels, each level as ask price, ask size, bid price, bid size.
    """

    def __init__(self, n_in: int, n_out: int, channels: int, hidden: int) -> None:
        super().__init__()
        c = channels
        act = nn.LeakyReLU(0.01)

        def block(n: int, width: int) -> list[Any]:
            # normalised: through this many layers the signal would vanish, and the loss stay at that of a guess
            return [nn.Conv2d(n, c, (1, width), (1, width)), nn.BatchNorm2d(c), act]

        def over_time() -> list[Any]:
            return [nn.Conv2d(c, c, (3, 1), padding=(1, 0)), nn.BatchNorm2d(c), act]

        self.sizes = nn.Sequential(*block(1, 2), *over_time())
        self.sides = nn.Sequential(*block(c, 2), *over_time())
        self.levels = nn.Sequential(*block(c, n_in // 4))
        self.short = nn.Sequential(nn.Conv1d(c, c, 1), act, nn.Conv1d(c, c, 3, padding=1), act)
        self.long = nn.Sequential(nn.Conv1d(c, c, 1), act, nn.Conv1d(c, c, 5, padding=2), act)
        self.pool = nn.Sequential(nn.MaxPool1d(3, 1, padding=1), nn.Conv1d(c, c, 1), act)
        self.body = nn.LSTM(3 * c, hidden, batch_first=True)
        self.head = nn.Linear(hidden, n_out)

    def forward(self, x: Any) -> Any:
        """Logits [B, K] of [B, T, F]."""
        h = self.levels(self.sides(self.sizes(x.unsqueeze(1)))).squeeze(3)
        h = torch.cat([self.short(h), self.long(h), self.pool(h)], dim=1)
        return self.head(self.body(h.transpose(1, 2))[0][:, -1])


class Probabilities(nn.Module):  # type: ignore[misc]
    """Softmax behind a network: what is exported."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Any) -> Any:
        """Probabilities [B, K]."""
        return torch.softmax(self.network(features), dim=-1)


class LstmStep(nn.Module):  # type: ignore[misc]
    """One step of a :class:`Recurrent` LSTM of one layer: [1, F], h [1, H], c [1, H] -> probabilities, next h, next c."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.body, self.head = network.body, network.head

    def forward(self, features: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
        """Probabilities [1, K] and the state for the next row."""
        out, (h1, c1) = self.body(features.unsqueeze(1), (h.unsqueeze(0), c.unsqueeze(0)))
        return torch.softmax(self.head(out[:, -1]), dim=-1), h1.squeeze(0), c1.squeeze(0)
