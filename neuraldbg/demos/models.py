"""Small real architectures with the names and habits of ordinary code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.demos.data import VOCABULARY

__all__ = [
    "AutoEncoder",
    "ConvNet",
    "Decoder",
    "LowRank",
    "Mlp",
    "Recommender",
    "ResNet",
    "SequenceNet",
    "plain_mlp",
]


class Mlp(nn.Module):
    """Three hidden layers with a functional nonlinearity."""

    def __init__(self, inputs: int = 64, width: int = 64, outputs: int = 10) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {
                "fc1": nn.Linear(inputs, width),
                "fc2": nn.Linear(width, width),
                "fc3": nn.Linear(width, width),
            }
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        for layer in self.encoder.values():
            x = F.relu(layer(x))
        return self.head(x)


def plain_mlp(
    activation: type[nn.Module],
    depth: int = 3,
    width: int = 64,
    inputs: int = 64,
    outputs: int = 10,
) -> nn.Sequential:
    """Return a plain stack of linear layers and activation modules."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class ConvNet(nn.Module):
    """Two convolutions with batch normalization, for 8 x 8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(24)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(24 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.pool(torch.relu(self.bn1(self.conv1(x.view(-1, 1, 8, 8)))))
        x = self.pool(torch.relu(self.bn2(self.conv2(x))))
        return self.fc(x.flatten(1))


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(4, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.act(self.norm(self.conv1(x))))
        y += x
        return F.relu(y, inplace=True)


class ResNet(nn.Module):
    """A small residual network with group normalization and in-place operations."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.Sequential(_Block(channels), _Block(channels))
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.blocks(F.relu(self.stem(x.view(-1, 1, 8, 8))))
        return self.fc(x.mean((2, 3)))


class SequenceNet(nn.Module):
    """A digit read row by row by a recurrent layer, or by an own loop over a cell."""

    def __init__(self, kind: str = "lstm", hidden: int = 48) -> None:
        super().__init__()
        self.kind = kind
        layers = {"lstm": nn.LSTM, "gru": nn.GRU}
        if kind == "cell":
            self.cell = nn.RNNCell(8, hidden)
        else:
            self.rnn = layers[kind](8, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        rows = x.view(-1, 8, 8)
        if self.kind != "cell":
            out, _ = self.rnn(rows)
            return self.head(out[:, -1])
        h = rows.new_zeros(rows.shape[0], self.cell.hidden_size)
        for t in range(8):
            h = self.cell(rows[:, t], h)
        return self.head(h)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class _DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.Dropout(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Decoder(nn.Module):
    """A two-layer pre-norm character language model."""

    def __init__(self, width: int = 48, heads: int = 4, length: int = 32) -> None:
        super().__init__()
        self.tok = nn.Embedding(VOCABULARY, width)
        self.pos = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.ModuleList(_DecoderLayer(width, heads) for _ in range(2))
        self.ln = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return next-character logits, shape ``(batch, length, vocabulary)``."""
        x = self.tok(ids) + self.pos[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.ln(x))


class AutoEncoder(nn.Module):
    """A digit squeezed through eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 8))
        self.decoder = nn.Sequential(nn.Linear(8, 48), nn.Tanh(), nn.Linear(48, 64))

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction."""
        return self.decoder(self.encoder(x))


class Recommender(nn.Module):
    """Ratings from user and item embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Embedding(120, 16)
        self.item = nn.Embedding(80, 16)
        self.mlp = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return one rating per pair, shape ``(batch, 1)``."""
        return self.mlp(torch.cat([self.user(users), self.item(items)], dim=1))


class LowRank(nn.Module):
    """A frozen linear layer with a low-rank correction that starts at zero (LoRA)."""

    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base = base.requires_grad_(requires_grad=False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Return the corrected output."""
        return self.base(x) + x @ self.a.t() @ self.b.t()
