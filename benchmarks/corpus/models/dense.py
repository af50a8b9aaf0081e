"""Fully connected networks in the styles that people write them."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from benchmarks.corpus.models.blocks import activation, functional, initialise
from benchmarks.corpus.program import Sites

__all__ = ["AutoEncoder", "DeepResidual", "Mixer", "Mlp", "Vae"]


class Mlp(nn.Module):
    """A stack of linear layers; ``style`` is how the author spelt it.

    ``attributes``: fc1, fc2, … with functional activations. ``sequential``: one ``net``.
    ``dict``: an ``encoder`` module dictionary. ``blocks``: a list of small block modules.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 48,
        depth: int = 3,
        act: str = "relu",
        style: str = "sequential",
        drop: float = 0.0,
        init: str = "default",
        skip: bool = False,
        head: str = "head",
    ) -> None:
        super().__init__()
        self.act, self.skip, self.style, self.depth = act, skip, style, depth
        sizes = [inputs] + [width] * depth
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.p = drop
        self.steps: list[tuple[str, ...]] = []
        getattr(self, f"_{style}")(layers, drop)
        self.head_name = head
        setattr(self, head, nn.Linear(width, outputs))
        initialise(self, init, act)
        names = {id(m): n for n, m in self.named_modules()}
        hidden = [names[id(layer)] for layer in layers]
        drops = [n for n, m in self.named_modules() if isinstance(m, nn.Dropout)]
        self.sites = Sites(hidden=hidden, act=act, body=hidden, head=head, drops=drops)

    def _attributes(self, layers: list[nn.Linear], drop: float) -> None:
        for i, layer in enumerate(layers):
            setattr(self, f"fc{i + 1}", layer)
        if drop:
            self.dropout = nn.Dropout(drop)
        self.steps = [(f"fc{i + 1}",) for i in range(len(layers))]

    def _dict(self, layers: list[nn.Linear], drop: float) -> None:
        self.encoder = nn.ModuleDict({f"fc{i + 1}": layer for i, layer in enumerate(layers)})
        if drop:
            self.drop = nn.Dropout(drop)
        self.steps = [(f"encoder.fc{i + 1}",) for i in range(len(layers))]

    def _sequential(self, layers: list[nn.Linear], drop: float) -> None:
        parts: list[nn.Module] = []
        for layer in layers:
            names = [f"net.{len(parts)}", f"net.{len(parts) + 1}"]
            parts += [layer, activation(self.act)]
            if drop:
                names.append(f"net.{len(parts)}")
                parts.append(nn.Dropout(drop))
            self.steps.append(tuple(names))
        self.net = nn.Sequential(*parts)

    def _blocks(self, layers: list[nn.Linear], drop: float) -> None:
        self.blocks = nn.ModuleList()
        for layer in layers:
            block = nn.Sequential()
            block.add_module("linear", layer)
            block.add_module("act", activation(self.act))
            if drop:
                block.add_module("drop", nn.Dropout(drop))
            self.blocks.append(block)
        self.steps = [(f"blocks.{i}",) for i in range(len(layers))]

    def _step(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        # Looked up at every call: surgery and adapters put other modules in their places.
        for name in names:
            x = self.get_submodule(name)(x)
        if self.style in {"sequential", "blocks"}:
            return x
        x = functional(self.act, x)
        dropout = getattr(self, "dropout", None) or getattr(self, "drop", None)
        return dropout(x) if dropout is not None else x

    def forward(self, x: Tensor) -> Tensor:
        for names in self.steps:
            y = self._step(names, x)
            x = x + y if self.skip and y.shape == x.shape else y
        return getattr(self, self.head_name)(x)


class _Residual(nn.Module):
    def __init__(self, width: int, act: str, scale: float, wide: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, wide * width)
        self.act = activation(act)
        self.down = nn.Linear(wide * width, width)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.down(self.act(self.up(x)))


class DeepResidual(nn.Module):
    """A deep residual network without any normalization; ``scale`` keeps its sum of branches in check."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 32,
        depth: int = 10,
        act: str = "relu",
        scale: float = 0.2,
        wide: int = 1,
        init: str = "he",
        drop: float = 0.0,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(_Residual(width, act, scale, wide) for _ in range(depth))
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.out = nn.Linear(width, outputs)
        initialise(self, init, act)
        if zero:
            for layer in self.layers:
                nn.init.zeros_(layer.down.weight)  # type: ignore[union-attr, arg-type]
        ups = [f"layers.{i}.up" for i in range(depth)]
        both = [f"layers.{i}.{k}" for i in range(depth) for k in ("up", "down")]
        drops = ["dropout"] if drop else []
        self.sites = Sites(hidden=ups, act=act, body=["stem", *both], head="out", drops=drops)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.out(self.dropout(x))


class AutoEncoder(nn.Module):
    """Two stacks with a narrow place between; ``tied`` uses the encoder's weights transposed."""

    def __init__(
        self,
        inputs: int,
        code: int = 8,
        width: int = 48,
        depth: int = 1,
        act: str = "tanh",
        drop: float = 0.0,
        init: str = "default",
        outputs: int = 0,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.skip = skip
        self.noise = nn.Dropout(drop) if drop else nn.Identity()
        sizes = [inputs] + [width] * depth
        self.encoder = self._stack(sizes, act)
        self.encoder.add_module("code", nn.Linear(width, code))
        self.decoder = self._stack([code] + [width] * depth, act)
        self.decoder.add_module("out", nn.Linear(width, outputs or inputs))
        initialise(self, init, act)
        linear = [n for n, m in self.named_modules() if isinstance(m, nn.Linear)]
        body = [n for n in linear if n != "decoder.out"]
        hidden = [n for n in body if n != "encoder.code"]
        drops = ["noise"] if drop else []
        self.sites = Sites(hidden=hidden, act=act, body=body, head="decoder.out", drops=drops)

    def _stack(self, sizes: list[int], act: str) -> nn.Sequential:
        stack = nn.Sequential()
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            stack.add_module(f"fc{i}", nn.Linear(a, b))
            stack.add_module(f"act{i}", activation(act))
        return stack

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self.decoder, self._run(self.encoder, self.noise(x)))

    def _run(self, stack: nn.Sequential, x: Tensor) -> Tensor:
        for name, part in stack.named_children():
            y = part(x)
            x = x + y if self.skip and name.startswith("fc") and y.shape == x.shape else y
        return x


class Vae(nn.Module):
    """A variational autoencoder with a Gaussian code."""

    def __init__(
        self,
        inputs: int,
        code: int = 4,
        width: int = 48,
        depth: int = 1,
        act: str = "relu",
        drop: float = 0.0,
        init: str = "default",
    ) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth
        self.encoder = nn.Sequential()
        self.decoder = nn.Sequential()
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            self.encoder.append(nn.Linear(a, b)).append(activation(act))
            self.decoder.append(nn.Linear(code if i == 0 else b, b)).append(activation(act))
        if drop:
            self.decoder.append(nn.Dropout(drop))
        self.fc_mu = nn.Linear(width, code)
        self.fc_logvar = nn.Linear(width, code)
        self.fc_out = nn.Linear(width, inputs)
        initialise(self, init, act)
        linear = [n for n, m in self.named_modules() if isinstance(m, nn.Linear)]
        drops = [n for n, m in self.named_modules() if isinstance(m, nn.Dropout)]
        hidden = [n for n in linear if not n.startswith("fc_")]
        body = [n for n in linear if n != "fc_out"]
        self.sites = Sites(hidden=hidden, act=act, body=body, head="fc_out", drops=drops)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.fc_mu(h), self.fc_logvar(h)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp() if self.training else mu
        return self.fc_out(self.decoder(z)), mu, logvar


class _MixerBlock(nn.Module):
    def __init__(self, patches: int, width: int, act: str, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.token_mix = nn.Sequential(
            nn.Linear(patches, 2 * patches), activation(act), nn.Linear(2 * patches, patches)
        )
        self.norm2 = nn.LayerNorm(width)
        self.channel_mix = nn.Sequential(
            nn.Linear(width, 2 * width), activation(act), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(drop) if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.token_mix(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.drop(y)
        return x + self.drop(self.channel_mix(self.norm2(x)))


class Mixer(nn.Module):
    """An MLP-mixer over patches of an image."""

    def __init__(
        self,
        side: int,
        outputs: int,
        patch: int = 2,
        width: int = 24,
        depth: int = 2,
        act: str = "gelu",
        drop: float = 0.0,
        init: str = "default",
    ) -> None:
        super().__init__()
        patches = (side // patch) ** 2
        self.embed = nn.Conv2d(1, width, patch, stride=patch)
        self.blocks = nn.ModuleList(_MixerBlock(patches, width, act, drop) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, outputs)
        initialise(self, init, act)
        mixes = [f"blocks.{i}.{k}" for i in range(depth) for k in ("token_mix", "channel_mix")]
        norms = [n for n, m in self.named_modules() if isinstance(m, nn.LayerNorm)]
        drops = [n for n, m in self.named_modules() if isinstance(m, nn.Dropout)]
        self.sites = Sites(
            hidden=[f"{m}.0" for m in mixes],
            act=act,
            body=["embed", *(f"{m}.{i}" for m in mixes for i in (0, 2))],
            head="fc",
            norms=norms,
            drops=drops,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.norm(x).mean(1))
