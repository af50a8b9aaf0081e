"""The families: each draws a healthy program with its own sizes, rates, schedules and habits."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.injection import data
from benchmarks.injection import models as m
from benchmarks.injection.program import Batch, Program

__all__ = ["FAMILIES"]


def _classes(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)


def _tokens(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


def _mse(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target)


def _bce(output: Tensor, target: Tensor) -> Tensor:
    return nn.BCEWithLogitsLoss()(output, target)


def _rate(rng: Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _optimizer(
    rng: Random, program: Program, adaptive: tuple[float, float], plain: tuple[float, float]
) -> Program:
    """Draw an optimizer, its rate within the family's healthy range, and a schedule."""
    kind = rng.choice(["adam", "adam", "adamw", "adamw", "momentum", "sgd", "rmsprop", "nadam"])
    if kind in {"sgd", "momentum"}:
        # A momentum of 0.9 multiplies the rate by ten.
        rate = _rate(rng, *plain) * (0.15 if kind == "momentum" else 1.0)
        options = {"momentum": 0.9, "nesterov": rng.random() < 0.3} if kind == "momentum" else {}
        if rng.random() < 0.3:
            options["weight_decay"] = 1e-4
    else:
        rate, options = _rate(rng, *adaptive), {}
        if kind == "adamw":
            options = {"weight_decay": rng.choice([0.01, 0.05, 0.1])}
            if rng.random() < 0.3:
                options["betas"] = (0.9, 0.95)
    steps = rng.choice([90, 120, 150, 200, 260])
    schedule = rng.choice(
        [None, None, None, _cosine(steps), _warm(steps // 8), _stairs(steps // 2)]
    )
    return program.but(
        optimizer=kind,
        lr=rate,
        options=options,
        steps=steps,
        schedule=schedule,
        size=rng.choice([16, 32, 32, 64]),
    )


def _cosine(steps: int) -> Callable[[int], float]:
    return lambda t: 0.5 * (1 + math.cos(math.pi * min(t / steps, 1.0)))


def _warm(steps: int) -> Callable[[int], float]:
    return lambda t: min(1.0, (t + 1) / steps)


def _stairs(every: int) -> Callable[[int], float]:
    return lambda t: 0.3 ** (t // every)


def _program(
    family: str, build: Callable[[], nn.Module], draw: data.Data, kind: str = "classes"
) -> Program:
    losses = {"classes": _classes, "tokens": _tokens, "regression": _mse, "binary": _bce}
    return Program(family=family, build=build, data=draw, loss=losses[kind], kind=kind)


def _mlp_relu(rng: Random) -> Program:
    width, depth = rng.choice([32, 48, 64, 96]), rng.randint(2, 5)
    sizes = [64, *[width] * depth, 10]
    functional, drop = rng.random() < 0.5, rng.choice([0.0, 0.0, 0.2])

    def build() -> nn.Module:
        net = m.Net(sizes, "relu", functional=functional, norm=False, drop=drop)
        m.he(net)
        return net

    return _optimizer(
        rng, _program("mlp-relu", build, data.images(flat=True)), (5e-4, 4e-3), (0.03, 0.15)
    )


def _mlp_smooth(rng: Random) -> Program:
    act, depth = rng.choice(["tanh", "gelu", "silu", "elu", "tanh"]), rng.randint(1, 3)
    name = rng.choice(["wine", "breast_cancer", "iris"])
    inputs, classes = {"wine": (13, 3), "breast_cancer": (30, 2), "iris": (4, 3)}[name]
    width, norm = rng.choice([24, 32, 48]), rng.random() < 0.3
    functional = rng.random() < 0.5
    sizes = [inputs, *[width] * depth, classes]
    program = _program(
        "mlp-smooth",
        lambda: m.Net(sizes, act, functional=functional, norm=norm, drop=0.0),
        data.tabular(name),
    )
    return _optimizer(rng, program, (1e-3, 6e-3), (0.05, 0.3))


def _cnn(rng: Random) -> Program:
    width, depth, act = (
        rng.choice([8, 12, 16]),
        rng.randint(1, 3),
        rng.choice(["relu", "relu", "leaky"]),
    )
    program = _program("cnn-plain", lambda: m.PlainCnn(width, depth, act), data.images())
    return _optimizer(rng, program, (1e-3, 3e-3), (0.02, 0.06))


def _cnn_bn(rng: Random) -> Program:
    width, depth = rng.choice([8, 12, 16]), rng.randint(2, 4)
    program = _program("cnn-bn", lambda: m.CnnBn(width, depth), data.images())
    return _optimizer(rng, program, (1e-3, 6e-3), (0.05, 0.3))


def _resnet(rng: Random) -> Program:
    width, blocks, norm = rng.choice([8, 12, 16]), rng.randint(1, 3), rng.choice(["bn", "gn"])
    program = _program("resnet", lambda: m.ResNet(width, blocks, norm), data.images())
    return _optimizer(rng, program, (1e-3, 6e-3), (0.05, 0.2))


def _autoencoder(rng: Random) -> Program:
    width, code, act = (
        rng.choice([32, 48, 64]),
        rng.choice([8, 12, 16]),
        rng.choice(["relu", "tanh", "gelu"]),
    )
    sizes = [64, width, code, width, 64]
    program = _program(
        "autoencoder",
        lambda: m.Net(sizes, act, functional=False, norm=False, drop=0.0),
        data.images(flat=True, target="image"),
        "regression",
    )
    return _optimizer(rng, program, (2e-3, 8e-3), (0.5, 1.5))


def _vae(rng: Random) -> Program:
    hidden, latent = rng.choice([48, 64]), rng.choice([8, 12])

    def loss(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
        image, mu, logvar = output
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).mean()
        return F.mse_loss(image, target) + 0.02 * kl

    program = _program(
        "vae", lambda: m.Vae(hidden, latent), data.images(flat=True, target="image"), "regression"
    )
    return _optimizer(rng, program.but(loss=loss), (2e-3, 8e-3), (0.3, 1.0))


def _recurrent(family: str, kinds: list[str]) -> Callable[[Random], Program]:
    def draw(rng: Random) -> Program:
        kind, hidden, layers = rng.choice(kinds), rng.choice([24, 32, 48]), rng.randint(1, 2)
        program = _program(family, lambda: m.Recurrent(kind, hidden, layers), data.rows())
        program = _optimizer(rng, program, (3e-3, 1e-2), (0.1, 0.4))
        return program.but(clip=rng.choice([None, None, 1.0, 5.0]))

    return draw


def _language(rng: Random) -> Program:
    width, heads, depth = rng.choice([32, 48]), rng.choice([2, 4]), rng.randint(1, 3)
    fused, drop = rng.random() < 0.5, rng.choice([0.0, 0.1])
    program = _program(
        "decoder",
        lambda: m.LanguageModel(width, heads, depth, 24, fused=fused, drop=drop),
        data.text(24),
        "tokens",
    )
    program = _optimizer(rng, program, (2e-3, 8e-3), (0.3, 0.8))
    return program.but(size=16, clip=rng.choice([None, 1.0]), steps=rng.choice([120, 160, 200]))


def _encoder(rng: Random) -> Program:
    width, heads, depth = rng.choice([24, 32]), rng.choice([2, 4]), rng.randint(1, 2)
    program = _program("encoder", lambda: m.Encoder(width, heads, depth), data.tokens(12))
    return _optimizer(rng, program, (1e-3, 4e-3), (0.05, 0.15)).but(
        steps=rng.choice([150, 200, 260]), size=32
    )


def _cross(rng: Random) -> Program:
    width, heads = rng.choice([16, 24, 32]), rng.choice([2, 4])
    program = _program("cross-attention", lambda: m.Seq2Class(width, heads), data.tokens(10))
    return _optimizer(rng, program, (4e-3, 1e-2), (0.2, 0.5)).but(
        steps=rng.choice([200, 260]), size=64
    )


def _mixer(rng: Random) -> Program:
    width, depth = rng.choice([24, 32]), rng.randint(1, 3)
    program = _program("mixer", lambda: m.Mixer(width, depth), data.images())
    return _optimizer(rng, program, (1e-3, 5e-3), (0.05, 0.2))


def _graph(rng: Random) -> Program:
    width, depth = rng.choice([24, 32, 48]), rng.randint(2, 3)
    program = _program("graph", lambda: m.GraphNet(width, depth), data.graph())
    return _optimizer(rng, program, (2e-3, 8e-3), (0.03, 0.1)).but(steps=rng.choice([150, 200]))


def _rater(rng: Random) -> Program:
    size, hidden = rng.choice([8, 16]), rng.choice([32, 48])
    program = _program("recommender", lambda: m.Rater(size, hidden), data.ratings(), "regression")
    program = _optimizer(rng, program, (8e-3, 2e-2), (1.0, 2.0))
    return program.but(size=64, steps=rng.choice([200, 300]))


def _contrast(rng: Random) -> Program:
    hidden, size = rng.choice([48, 64]), rng.choice([8, 16])
    program = _program("siamese", lambda: m.Contrast(hidden, size), data.pairs(), "binary")
    return _optimizer(rng, program, (1e-3, 4e-3), (0.15, 0.4)).but(size=32)


def _finetune(rng: Random) -> Program:
    rank, freeze = rng.choice([0, 4, 8]), rng.choice([1, 2])

    def build() -> nn.Module:
        net = m.Net([64, 64, 64, 64, 10], "relu", functional=True, norm=False, drop=0.0)
        m.he(net)
        warm_up(net)
        for i in range(freeze):
            net.layers[i].requires_grad_(requires_grad=False)
            if rank:
                net.layers[i] = m.LoRA(net.layers[i], rank)  # type: ignore[arg-type]
        nn.init.normal_(net.out.weight, std=0.1)
        return net

    program = _program("fine-tuning", build, data.images(flat=True))
    return _optimizer(rng, program, (1e-3, 4e-3), (0.03, 0.1))


def warm_up(net: nn.Module) -> None:
    """Train a network briefly: a start from good weights."""
    draw, generator = data.images(flat=True), torch.Generator().manual_seed(99)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    with torch.enable_grad():
        for _ in range(60):
            (x,), y = draw(generator, 64)
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()


def _physics(rng: Random) -> Program:
    hidden, depth, rate = rng.choice([24, 32]), rng.randint(2, 3), rng.choice([2.0, 3.0])

    def draw(generator: torch.Generator, size: int) -> Batch:
        x = 2 * torch.rand(size, 1, generator=generator) - 1
        return (x.requires_grad_(),), torch.sin(rate * x.detach())

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        value, slope = output
        return (
            F.mse_loss(value, target)
            + 0.1 * (slope.square() + rate**2 * value.square() - rate**2).square().mean() / rate**4
        )

    def call(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        value = model(*inputs)
        (slope,) = torch.autograd.grad(value.sum(), inputs[0], create_graph=True)
        return value, slope

    program = _program("physics", lambda: m.Sine(hidden, depth), draw, "regression")
    return _optimizer(
        rng, program.but(loss=loss, calls=call, kind="physics"), (2e-3, 8e-3), (0.05, 0.2)
    )


def _regression(rng: Random) -> Program:
    inputs, outputs, act = (
        rng.choice([6, 10]),
        rng.choice([1, 3]),
        rng.choice(["relu", "tanh", "silu"]),
    )
    width, depth = rng.choice([32, 64]), rng.randint(1, 3)
    draw = data.tabular("diabetes") if rng.random() < 0.3 else data.teacher(inputs, outputs)
    sizes = (
        [10, *[width] * depth, 1]
        if draw.__qualname__.startswith("tabular")
        else [inputs, *[width] * depth, outputs]
    )
    functional = rng.random() < 0.5
    program = _program(
        "regression",
        lambda: m.Net(sizes, act, functional=functional, norm=False, drop=0.0),
        draw,
        "regression",
    )
    return _optimizer(rng, program, (2e-3, 1e-2), (0.05, 0.2))


def _unet(rng: Random) -> Program:
    width = rng.choice([6, 8, 12])
    program = _program("unet", lambda: m.UNet(width), data.segments(), "binary")
    return _optimizer(rng, program, (2e-3, 8e-3), (0.1, 0.4)).but(
        size=16, steps=rng.choice([80, 120])
    )


def _bag(rng: Random) -> Program:
    size, hidden = rng.choice([24, 32]), rng.choice([32, 48])
    program = _program("bag-of-words", lambda: m.BagText(size, hidden), data.topics())
    return _optimizer(rng, program, (3e-3, 1e-2), (1.5, 4.0)).but(steps=rng.choice([150, 200]))


def _forecast(rng: Random) -> Program:
    width, depth = rng.choice([12, 16, 24]), rng.randint(3, 4)
    program = _program(
        "forecaster", lambda: m.Forecaster(width, depth), data.series(), "regression"
    )
    return _optimizer(rng, program, (2e-3, 8e-3), (0.03, 0.1))


def _residual(rng: Random) -> Program:
    width, depth = rng.choice([32, 48]), rng.randint(4, 10)
    program = _program(
        "residual-mlp", lambda: m.ResidualMlp(64, width, depth, 10), data.images(flat=True)
    )
    return _optimizer(rng, program, (5e-4, 2e-3), (0.02, 0.06))


def _denoise(rng: Random) -> Program:
    hidden, images = rng.choice([64, 96]), data.images(flat=True)

    def draw(generator: torch.Generator, size: int) -> Batch:
        (x,), _ = images(generator, size)
        level = torch.rand(size, 1, generator=generator)
        noise = torch.randn(size, 64, generator=generator)
        return ((1 - level).sqrt() * x + level.sqrt() * noise, level), noise

    program = _program("denoiser", lambda: m.Denoiser(hidden), draw, "regression")
    return _optimizer(rng, program, (1e-3, 5e-3), (0.8, 2.0))


FAMILIES: dict[str, Callable[[Random], Program]] = {
    "mlp-relu": _mlp_relu,
    "mlp-smooth": _mlp_smooth,
    "cnn-plain": _cnn,
    "cnn-bn": _cnn_bn,
    "resnet": _resnet,
    "autoencoder": _autoencoder,
    "vae": _vae,
    "rnn": _recurrent("rnn", ["rnn", "cell", "rnncell"]),
    "lstm": _recurrent("lstm", ["lstm", "lstmcell"]),
    "gru": _recurrent("gru", ["gru"]),
    "decoder": _language,
    "encoder": _encoder,
    "cross-attention": _cross,
    "mixer": _mixer,
    "graph": _graph,
    "recommender": _rater,
    "siamese": _contrast,
    "fine-tuning": _finetune,
    "physics": _physics,
    "regression": _regression,
    "unet": _unet,
    "bag-of-words": _bag,
    "forecaster": _forecast,
    "residual-mlp": _residual,
    "denoiser": _denoise,
}
