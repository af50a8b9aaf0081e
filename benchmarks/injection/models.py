"""Small architectures in the styles that people write them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "ACTS", "BagText", "CnnBn", "Contrast", "Denoiser", "Encoder", "Forecaster", "Game", "GraphNet", "LanguageModel",
    "LoRA", "Mixer", "Net", "PlainCnn", "Rater", "Recurrent", "ResNet", "ResidualMlp", "Seq2Class", "Sine", "UNet",
    "Vae",
]  # fmt: skip

ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "leaky": nn.LeakyReLU,
    "elu": nn.ELU,
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "leaky": F.leaky_relu,
    "elu": F.elu,
}


def he(model: nn.Module) -> None:
    """Initialise linear and convolution layers as He et al. 2015 do."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Net(nn.Module):
    """A stack of linear layers; ``style`` decides modules or functions, ``norm`` what lies between."""

    def __init__(
        self, sizes: Sequence[int], act: str, *, functional: bool, norm: bool, drop: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes[:-1]))
        self.norms = nn.ModuleList(nn.LayerNorm(b) for b in sizes[1:-1]) if norm else None
        self.act = None if functional else ACTS[act]()
        self.fn = FUNCTIONS[act]
        self.drop = nn.Dropout(drop) if drop else None
        self.out = nn.Linear(sizes[-2], sizes[-1])

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if self.norms is not None:
                x = self.norms[i](x)
            x = self.act(x) if self.act is not None else self.fn(x)
            if self.drop is not None:
                x = self.drop(x)
        return self.out(x)


class PlainCnn(nn.Module):
    """Convolutions without normalization."""

    def __init__(self, width: int, depth: int, act: str) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), ACTS[act]()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1), ACTS[act]()]
        self.features = nn.Sequential(*layers, nn.MaxPool2d(2))
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(width * 16, 32), ACTS[act](), nn.Linear(32, 10)
        )
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class CnnBn(nn.Module):
    """Convolution, batch normalization, nonlinearity."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(1 if i == 0 else width, width, 3, padding=1, bias=False) for i in range(depth)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(depth))
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            x = torch.relu(bn(conv(x)))
            if i == 0:
                x = F.avg_pool2d(x, 2)
        return self.fc(x.mean((2, 3)))


class _Residual(nn.Module):
    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width) if norm == "bn" else nn.GroupNorm(2, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width) if norm == "bn" else nn.GroupNorm(2, width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(y)) + x)


class ResNet(nn.Module):
    """Residual blocks with batch or group normalization."""

    def __init__(self, width: int, blocks: int, norm: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(*(_Residual(width, norm) for _ in range(blocks)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer1(F.relu(self.stem(x))).mean((-2, -1)))


class Vae(nn.Module):
    """A variational autoencoder; the output is the reconstruction, mean and log variance."""

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.enc1 = nn.Linear(64, hidden)
        self.mu = nn.Linear(hidden, latent)
        self.logvar = nn.Linear(hidden, latent)
        self.dec1 = nn.Linear(latent, hidden)
        self.dec2 = nn.Linear(hidden, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.enc1(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.dec2(F.relu(self.dec1(z))), mu, logvar


class Recurrent(nn.Module):
    """A digit read row by row; ``kind`` is rnn, cell, lstm or gru."""

    def __init__(
        self, kind: str, hidden: int, layers: int, *, inputs: int = 8, outputs: int = 10
    ) -> None:
        super().__init__()
        self.kind = kind
        if kind == "cell":
            self.i2h = nn.Linear(inputs, hidden)
            self.h2h = nn.Linear(hidden, hidden)
        else:
            made = {
                "rnn": nn.RNN,
                "lstm": nn.LSTM,
                "gru": nn.GRU,
                "lstmcell": nn.LSTMCell,
                "rnncell": nn.RNNCell,
            }[kind]
            self.rnn = (
                made(inputs, hidden)
                if kind.endswith("cell")
                else made(inputs, hidden, layers, batch_first=True)
            )
        self.hidden = hidden
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.hidden)
        if self.kind == "cell":
            for t in range(x.shape[1]):
                h = torch.tanh(self.i2h(x[:, t]) + self.h2h(h))
        elif self.kind == "rnncell":
            for t in range(x.shape[1]):
                h = self.rnn(x[:, t], h)
        elif self.kind == "lstmcell":
            c = torch.zeros_like(h)
            for t in range(x.shape[1]):
                h, c = self.rnn(x[:, t], (h, c))
        else:
            out, _ = self.rnn(x)
            h = out[:, -1]
        return self.head(h)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.c_attn = nn.Linear(width, 3 * width) if fused else None
        if not fused:
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (
            self.c_attn(x).chunk(3, -1)
            if self.c_attn is not None
            else (self.query(x), self.key(x), self.value(x))
        )
        q, k, v = (z.view(b, t, self.heads, c // self.heads).transpose(1, 2) for z in (q, k, v))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            att = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            mask = torch.ones(t, t, dtype=torch.bool).tril()
            y = F.softmax(att.masked_fill(~mask, float("-inf")), dim=-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool, drop: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads, fused=fused)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width), nn.Dropout(drop)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class LanguageModel(nn.Module):
    """A pre-norm decoder over 48 characters."""

    def __init__(
        self, width: int, heads: int, depth: int, length: int, *, fused: bool, drop: float
    ) -> None:
        super().__init__()
        self.wte = nn.Embedding(48, width)
        self.wpe = nn.Embedding(length, width)
        self.h = nn.ModuleList(_Block(width, heads, fused=fused, drop=drop) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, 48, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Encoder(nn.Module):
    """A post-norm encoder of PyTorch's own layers, classifying token sequences."""

    def __init__(self, width: int, heads: int, depth: int, classes: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.cls = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        return self.cls(self.encoder(self.embed(ids)).mean(1))


class Seq2Class(nn.Module):
    """Cross-attention of learned queries over an encoded sequence (``nn.MultiheadAttention``)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.query = nn.Parameter(torch.randn(2, width) * 0.5)
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc = nn.Linear(2 * width, 4)

    def forward(self, ids: Tensor) -> Tensor:
        memory, _ = self.rnn(self.embed(ids))
        q = self.query.expand(ids.shape[0], -1, -1)
        out, _ = self.cross(q, memory, memory, need_weights=False)
        return self.fc(out.flatten(1))


class _MixBlock(nn.Module):
    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token = nn.Sequential(
            nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches)
        )
        self.channel = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel(self.norm2(x))


class Mixer(nn.Module):
    """An MLP-mixer on 2 x 2 patches of a digit."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.blocks = nn.Sequential(*(_MixBlock(16, width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2))).mean(1))


class GraphNet(nn.Module):
    """Message passing over a dense adjacency."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Linear(8 if i == 0 else width, width) for i in range(depth))
        self.readout = nn.Linear(width, 3)

    def forward(self, x: Tensor, link: Tensor) -> Tensor:
        degree = link.sum(-1, keepdim=True).clamp_min(1.0)
        for conv in self.convs:
            x = F.relu(conv(x + link @ x / degree.sqrt()))
        return self.readout(x.sum(1) / 4.0)


class Rater(nn.Module):
    """Ratings from embeddings, with biases."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(100, size), nn.Embedding(60, size)
        self.fc1 = nn.Linear(3 * size, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        u, i = self.users(users), self.items(items)
        return self.fc2(F.relu(self.fc1(torch.cat([u, i, u * i], dim=-1))))


class Contrast(nn.Module):
    """Two digits through one encoder; the logit is a scaled distance."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, size),
        )
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(1.0))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        gap = (self.encoder(a) - self.encoder(b)).square().mean(-1)
        return self.shift - self.scale * gap


class Game(nn.Module):
    """Generator and discriminator of digits."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gen = nn.Sequential(nn.Linear(12, hidden), nn.ReLU(), nn.Linear(hidden, 64))
        self.dis = nn.Sequential(nn.Linear(64, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))


class LoRA(nn.Module):
    """A frozen linear layer with a low-rank correction that starts at zero."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        base.requires_grad_(requires_grad=False)
        self.lora_a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.lora_a.t() @ self.lora_b.t()


class Sine(nn.Module):
    """A coordinate network; trained with its own derivative it solves an equation."""

    def __init__(self, hidden: int, depth: int) -> None:
        super().__init__()
        sizes = [1] + [hidden] * depth
        self.net = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.final = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = torch.tanh(layer(x))
        return self.final(x)


class UNet(nn.Module):
    """Down, up, and a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down1 = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.down2 = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.fuse = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU())
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down1(x)
        return self.out(self.fuse(torch.cat([self.up(self.down2(skip)), skip], dim=1)))


class BagText(nn.Module):
    """A bag of word vectors and a small classifier."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(512, size, mode="mean")
        self.fc1 = nn.Linear(size, hidden)
        self.drop = nn.Dropout(0.2)
        self.fc2 = nn.Linear(hidden, 6)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc2(self.drop(F.relu(self.fc1(self.bag(ids)))))


class Forecaster(nn.Module):
    """Dilated causal convolutions over a series."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.inp = nn.Conv1d(1, width, 1)
        self.blocks = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(depth))
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for conv in self.blocks:
            x = x + F.relu(conv(F.pad(x, (conv.dilation[0], 0))))
        return self.out(x[..., -1])


class ResidualMlp(nn.Module):
    """Residual linear blocks without normalization, each branch scaled down."""

    def __init__(
        self, inputs: int, width: int, depth: int, outputs: int, *, scale: float | None = None
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, outputs)
        he(self)
        self.scale = 1.0 / math.sqrt(depth) if scale is None else scale

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + self.scale * block(F.relu(x))
        return self.head(x)


class Denoiser(nn.Module):
    """Predicts the noise in a digit, given its level."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.time = nn.Linear(1, hidden)
        self.inp = nn.Linear(64, hidden)
        self.mid = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 64)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = F.silu(self.inp(x) + self.time(level))
        return self.out(F.silu(self.mid(h)) + h)
