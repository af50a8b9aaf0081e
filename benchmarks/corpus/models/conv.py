"""Convolutional networks: plain, normalized, residual, U-shaped, dilated in time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.corpus.models.blocks import activation, functional, initialise, norm
from benchmarks.corpus.program import Sites

__all__ = ["ConvNet", "Dilated", "ResNet", "UNet"]


class ConvNet(nn.Module):
    """Convolutions, pooling, and one or two linear layers.

    ``style`` is ``features`` (one sequential, as in VGG) or ``named`` (conv1, bn1, … with functions).
    """

    def __init__(
        self,
        outputs: int,
        side: int = 8,
        width: int = 8,
        depth: int = 2,
        act: str = "relu",
        norm: str = "none",
        drop: float = 0.0,
        init: str = "default",
        style: str = "features",
        pool: str = "max",
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.act, self.style, self.depth, self.skip = act, style, depth, skip
        self.pool = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
        build = self._features if style == "features" else self._named
        channels = build(width, depth, norm)
        pooled = side // 2 if depth < 2 else side // 4
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.fc1 = nn.Linear(channels * pooled * pooled, 32)
        self.fc2 = nn.Linear(32, outputs)
        initialise(self, init, act)
        self.sites = self._sites(norm, act, drop)

    def _pools(self, i: int) -> bool:
        """Pool after the first and after the last convolution."""
        return i == 0 or i == self.depth - 1

    def _features(self, width: int, depth: int, kind: str) -> int:
        self.features = nn.Sequential()
        channels = 1
        for i in range(depth):
            self.features.append(nn.Conv2d(channels, width * min(i + 1, 2), 3, padding=1))
            channels = width * min(i + 1, 2)
            if kind != "none":
                self.features.append(norm(kind, channels))
            self.features.append(activation(self.act))
            if self._pools(i):
                self.features.append(self.pool)
        return channels

    def _named(self, width: int, depth: int, kind: str) -> int:
        channels = 1
        for i in range(depth):
            following = width * min(i + 1, 2)
            setattr(self, f"conv{i + 1}", nn.Conv2d(channels, following, 3, padding=1))
            setattr(self, f"bn{i + 1}", norm(kind, following))
            channels = following
        return channels

    def _sites(self, kind: str, act: str, drop: float) -> Sites:
        convs = [n for n, m in self.named_modules() if isinstance(m, nn.Conv2d)]
        norms = [
            n
            for n, m in self.named_modules()
            if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d))
        ]
        hidden = ["fc1"] if kind != "none" else [*convs, "fc1"]
        return Sites(
            hidden=hidden,
            act=act,
            body=[*convs, "fc1"],
            head="fc2",
            norms=norms,
            drops=["dropout"] if drop else [],
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self._run_features(x) if self.style == "features" else self._run_named(x)
        x = functional(self.act, self.fc1(x.flatten(1)))
        return self.fc2(self.dropout(x))

    def _run_features(self, x: Tensor) -> Tensor:
        for part in self.features:
            y = part(x)
            x = x + y if self.skip and isinstance(part, nn.Conv2d) and y.shape == x.shape else y
        return x

    def _run_named(self, x: Tensor) -> Tensor:
        for i in range(self.depth):
            y = getattr(self, f"bn{i + 1}")(getattr(self, f"conv{i + 1}")(x))
            y = functional(self.act, y)
            x = x + y if self.skip and y.shape == x.shape else y
            if self._pools(i):
                x = self.pool(x)
        return x


class _BasicBlock(nn.Module):
    def __init__(self, channels: int, kind: str, act: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=kind == "none")
        self.norm1 = norm(kind, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=kind == "none")
        self.norm2 = norm(kind, channels)
        self.act = nn.ReLU(inplace=True) if act == "relu" else activation(act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.act(y + x)


class ResNet(nn.Module):
    """A residual network with batch or group normalization."""

    def __init__(
        self,
        outputs: int,
        width: int = 8,
        depth: int = 2,
        act: str = "relu",
        norm_kind: str = "batch",
        drop: float = 0.0,
        init: str = "default",
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), norm(norm_kind, width), nn.ReLU()
        )
        self.layer1 = nn.Sequential(*(_BasicBlock(width, norm_kind, act) for _ in range(depth)))
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.layer2 = _BasicBlock(2 * width, norm_kind, act)
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.fc = nn.Linear(2 * width, outputs)
        initialise(self, init, act)
        if zero:
            for block in (*self.layer1, self.layer2):
                nn.init.zeros_(block.norm2.weight)  # type: ignore[union-attr, arg-type]
        convs = [n for n, m in self.named_modules() if isinstance(m, nn.Conv2d)]
        norms = [
            n for n, m in self.named_modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))
        ]
        drops = ["dropout"] if drop else []
        self.sites = Sites(hidden=[], act=act, body=convs, head="fc", norms=norms, drops=drops)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.stem(x))
        x = self.layer2(self.down(x))
        return self.fc(self.dropout(x.mean((2, 3))))


class _Double(nn.Sequential):
    def __init__(self, a: int, b: int, kind: str, act: str) -> None:
        parts: list[nn.Module] = [nn.Conv2d(a, b, 3, padding=1)]
        if kind != "none":
            parts.append(norm(kind, b))
        super().__init__(*parts, activation(act))


class UNet(nn.Module):
    """Two levels down, two levels up, with skip connections."""

    def __init__(
        self,
        outputs: int,
        width: int = 8,
        act: str = "relu",
        norm_kind: str = "batch",
        drop: float = 0.0,
        init: str = "default",
        up: str = "nearest",
    ) -> None:
        super().__init__()
        self.up_kind = up
        self.enc1 = _Double(1, width, norm_kind, act)
        self.enc2 = _Double(width, 2 * width, norm_kind, act)
        self.bottleneck = _Double(2 * width, 2 * width, norm_kind, act)
        self.dec2 = _Double(4 * width, width, norm_kind, act)
        self.dec1 = _Double(2 * width, width, norm_kind, act)
        self.drop = nn.Dropout2d(drop) if drop else nn.Identity()
        self.final = nn.Conv2d(width, outputs, 1)
        initialise(self, init, act)
        convs = [n for n, m in self.named_modules() if isinstance(m, nn.Conv2d) and n != "final"]
        norms = [
            n for n, m in self.named_modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))
        ]
        self.sites = Sites(
            hidden=convs if norm_kind == "none" else [],
            act=act,
            body=convs,
            head="final",
            norms=norms,
            drops=["drop"] if drop else [],
        )

    def forward(self, x: Tensor) -> Tensor:
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        c = self.bottleneck(F.max_pool2d(b, 2))
        d = self.dec2(torch.cat([self._grow(c), b], 1))
        e = self.dec1(torch.cat([self._grow(d), a], 1))
        return self.final(self.drop(e))

    def _grow(self, x: Tensor) -> Tensor:
        if self.up_kind == "nearest":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class _TimeBlock(nn.Module):
    def __init__(self, channels: int, dilation: int, act: str, kind: str) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.Conv1d(channels, channels, 3, dilation=dilation)
        self.norm = norm(kind, channels, dims=1)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.norm(self.conv(F.pad(x, (self.pad, 0)))))


class Dilated(nn.Module):
    """A temporal convolutional forecaster with growing dilation."""

    def __init__(
        self,
        outputs: int,
        width: int = 12,
        depth: int = 3,
        act: str = "relu",
        norm_kind: str = "none",
        drop: float = 0.0,
        init: str = "default",
    ) -> None:
        super().__init__()
        self.input_proj = nn.Conv1d(1, width, 1)
        self.tcn = nn.ModuleList(_TimeBlock(width, 2**i, act, norm_kind) for i in range(depth))
        self.dropout = nn.Dropout(drop) if drop else nn.Identity()
        self.readout = nn.Linear(width, outputs)
        initialise(self, init, act)
        convs = [f"tcn.{i}.conv" for i in range(depth)]
        norms = [f"tcn.{i}.norm" for i in range(depth)] if norm_kind != "none" else []
        self.sites = Sites(
            hidden=[] if norms else convs,
            act=act,
            body=["input_proj", *convs],
            head="readout",
            norms=norms,
            drops=["dropout"] if drop else [],
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_proj(x)
        for block in self.tcn:
            x = block(x)
        return self.readout(self.dropout(x[..., -1]))
