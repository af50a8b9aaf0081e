"""Healthy programs that look odd (mechanisms.md section 6): changes that do no harm."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.injection import data
from benchmarks.injection import models as m
from benchmarks.injection.program import Batch, Program

__all__ = ["ODD"]

Odd = Callable[[Program, Random], Program | None]


def _warm(program: Program, rng: Random) -> Program:
    steps = rng.choice([30, 60])
    return program.but(
        schedule=lambda t: min(1.0, (t + 1) / steps), steps=max(program.steps, 3 * steps)
    )


def _to_zero(program: Program, _rng: Random) -> Program:
    return program.but(
        schedule=lambda t: 0.5 * (1 + math.cos(math.pi * min(t / program.steps, 1.0)))
    )


def _restarts(program: Program, _rng: Random) -> Program:
    return program.but(
        schedule=lambda t: 0.5 * (1 + math.cos(math.pi * (t % 50) / 50)),
        steps=max(program.steps, 150),
    )


def _one_cycle(program: Program, _rng: Random) -> Program:
    third = program.steps // 3
    return program.but(
        schedule=lambda t: 0.1 + 1.2 * min(t / third, max(0.0, (program.steps - t) / (2 * third)))
    )


def _small_batch(program: Program, rng: Random) -> Program | None:
    if program.family in {"cnn-bn", "resnet", "unet", "siamese"}:
        return None
    return program.but(size=rng.choice([4, 6]), steps=2 * program.steps, lr=program.lr * 0.5)


def _accumulate(program: Program, rng: Random) -> Program:
    return program.but(accumulate=rng.choice([2, 4]), size=16, steps=min(program.steps, 120))


def _clipped(program: Program, _rng: Random) -> Program:
    return program.but(clip=1.0)


def _long(program: Program, _rng: Random) -> Program:
    return program.but(
        steps=900 if program.family not in {"decoder", "unet", "mixer", "forecaster"} else 400
    )


def _short(program: Program, rng: Random) -> Program:
    return program.but(steps=rng.choice([40, 60]), schedule=None)


def _tiny_loss(program: Program, rng: Random) -> Program | None:
    if program.optimizer in {"sgd", "momentum", "rmsprop", "nadam"}:
        return None
    scale = rng.choice([1e-4, 1e3])
    return program.but(loss=lambda o, y: program.loss(o, y) * scale)


def _decayed(program: Program, rng: Random) -> Program | None:
    if program.optimizer != "adamw":
        return None
    return program.but(options={**program.options, "weight_decay": rng.choice([0.2, 0.5])})


def _momentum(program: Program, _rng: Random) -> Program | None:
    if program.optimizer not in {"sgd", "momentum"}:
        return None
    rate = program.lr * (0.05 if program.optimizer == "sgd" else 0.5)
    return program.but(optimizer="momentum", lr=rate, options={"momentum": 0.95})


def _smoothed(program: Program, _rng: Random) -> Program | None:
    if program.kind != "classes":
        return None
    return program.but(loss=lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1))


def _some_noise(program: Program, _rng: Random) -> Program | None:
    """Flip a twentieth of the labels: real data is like that."""
    if program.kind != "classes":
        return None

    def flip(batch: Batch, _step: int) -> Batch:
        inputs, y = batch
        cut = max(1, y.shape[0] // 20)
        return inputs, torch.cat([y[:cut].roll(1, 0), y[cut:]])

    return program.plus(feed=flip)


def _imbalanced(program: Program, _rng: Random) -> Program | None:
    if program.kind != "classes" or program.family in {"encoder", "cross-attention", "graph"}:
        return None

    def skew(batch: Batch, _step: int) -> Batch:
        inputs, y = batch
        order = torch.argsort((y != 0).float() + 0.5 * torch.rand(y.shape[0]))
        index = torch.cat([order[: y.shape[0] // 2], torch.arange(y.shape[0] - y.shape[0] // 2)])
        return tuple(x[index] for x in inputs), y[index]

    return program.plus(feed=skew)


def _curriculum(program: Program, _rng: Random) -> Program | None:
    (first, *_), _ = program.data(torch.Generator().manual_seed(0), 4)
    if not first.is_floating_point() or program.family in {
        "physics",
        "graph",
        "denoiser",
        "autoencoder",
        "vae",
        "forecaster",
    }:
        return None

    def grow(batch: Batch, step: int) -> Batch:
        inputs, y = batch
        factor = 0.6 + 0.4 * min(step / 80, 1.0)
        return tuple(x * factor if x.is_floating_point() else x for x in inputs), y

    return program.plus(feed=grow)


def _averaged(program: Program, _rng: Random) -> Program:
    kept: dict[str, nn.Module] = {}

    def average(model: nn.Module, step: int) -> None:
        if step == 0 or "copy" not in kept:
            kept["copy"] = copy.deepcopy(model)
        with torch.no_grad():
            for mean, now in zip(kept["copy"].parameters(), model.parameters(), strict=True):
                mean.lerp_(now, 0.1)

    return program.plus(each=average)


def _evaluated(program: Program, _rng: Random) -> Program | None:
    if program.kind == "physics":
        return None

    def evaluate(model: nn.Module, step: int) -> None:
        if step % 20 == 5:
            model.eval()
            generator = torch.Generator().manual_seed(step)
            with torch.no_grad():
                program.calls(model, program.data(generator, 16)[0])
            model.train()

    return program.plus(each=evaluate)


def _half(program: Program, _rng: Random) -> Program | None:
    if program.kind == "physics" or program.family in {
        "rnn",
        "lstm",
        "gru",
        "vae",
        "cross-attention",
    }:
        return None
    return program.but(autocast=torch.bfloat16)


def _frozen(program: Program, _rng: Random) -> Program | None:
    """Freeze the first layer on purpose: random features are enough."""
    if program.family not in {"mlp-relu", "cnn-plain", "regression"}:
        return None

    def freeze(model: nn.Module) -> None:
        first = next(x for x in model.modules() if isinstance(x, (nn.Linear, nn.Conv2d)))
        first.requires_grad_(requires_grad=False)

    return program.plus(harm=freeze)


def _gated(program: Program, _rng: Random) -> Program | None:
    """Start residual branches at zero."""
    ends = {
        "decoder": ("c_proj", "mlp.2"),
        "mixer": ("token.2", "channel.2"),
        "residual-mlp": ("blocks",),
    }
    if program.family not in ends:
        return None

    def zero(model: nn.Module) -> None:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and any(e in name for e in ends[program.family]):
                nn.init.zeros_(module.weight)

    return program.plus(harm=zero)


def _large_rate(program: Program, _rng: Random) -> Program | None:
    """Take a rate at the upper end of what works."""
    if program.optimizer not in {"sgd", "momentum"} or program.family in {
        "graph",
        "residual-mlp",
        "cnn-plain",
    }:
        return None
    return program.but(lr=program.lr * 2.0)


def _game(_program: Program, rng: Random) -> Program:
    hidden, images = rng.choice([48, 64]), data.images(flat=True)

    def draw(generator: torch.Generator, size: int) -> Batch:
        (x,), _ = images(generator, size)
        return (x, torch.randn(size, 12, generator=generator)), torch.ones(size, 1)

    def call(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        real, seed = inputs
        fake = model.gen(seed)  # type: ignore[operator]
        turn = seed[0, 0] > 0
        judged = model.dis(fake if turn else fake.detach())  # type: ignore[operator]
        return judged, model.dis(real), turn  # type: ignore[operator]

    def loss(output: tuple[Tensor, ...], target: Tensor) -> Tensor:
        fake, real, turn = output
        if turn:
            return F.binary_cross_entropy_with_logits(fake, target)
        zero = torch.zeros_like(target)
        return F.binary_cross_entropy_with_logits(fake, zero) + F.binary_cross_entropy_with_logits(
            real, target
        )

    return Program(
        family="gan",
        build=lambda: m.Game(hidden),
        data=draw,
        loss=loss,
        kind="game",
        calls=call,
        lr=1e-3,
        steps=200,
    )


def _weighted(program: Program, _rng: Random) -> Program | None:
    if program.kind != "classes":
        return None
    return program.but(
        loss=lambda o, y: F.cross_entropy(o, y, weight=torch.linspace(0.5, 1.5, o.shape[1]))
    )


def _plain(program: Program, _rng: Random) -> Program:
    return program


ODD: dict[str, Odd] = {
    "plain": _plain,
    "warm-up": _warm,
    "cosine-to-zero": _to_zero,
    "restarts": _restarts,
    "one-cycle": _one_cycle,
    "small-batch": _small_batch,
    "accumulation": _accumulate,
    "clipping": _clipped,
    "long": _long,
    "short": _short,
    "loss-scale": _tiny_loss,
    "weight-decay": _decayed,
    "momentum-0.95": _momentum,
    "label-smoothing": _smoothed,
    "some-label-noise": _some_noise,
    "imbalanced": _imbalanced,
    "curriculum": _curriculum,
    "ema-copy": _averaged,
    "evaluation": _evaluated,
    "bf16-autocast": _half,
    "frozen-layer": _frozen,
    "zero-init-branch": _gated,
    "large-rate": _large_rate,
    "class-weights": _weighted,
    "gan": _game,
}
