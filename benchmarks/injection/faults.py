"""Faults by mechanism: each changes a healthy program and says what is now wrong, where and from when."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.injection import models as m
from benchmarks.injection.program import Batch, Program

__all__ = ["FAULTS", "Fault", "Wrong"]


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A program with a fault, and its truth; ``accept`` are answers that mean the same thing."""

    program: Program
    layers: tuple[str, ...] | None = None
    onset: int | tuple[int, int] = 0
    accept: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    symptom: str = "loss_plateau"


Fault = Callable[[Program, Random], Wrong | None]


def _model(program: Program) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return program.build()


def _weights(model: nn.Module) -> list[str]:
    """Return the layers with a trainable weight matrix, in order, attention projections left out."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
        and module.weight.requires_grad
        and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
    ]


def _hidden(program: Program) -> list[str]:
    return _weights(_model(program))[:-1]


def _half_late(rng: Random, program: Program) -> int:
    return rng.randint(program.steps // 4, program.steps * 2 // 3)


def _scale(name: str, factor: float) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        model.get_submodule(name).weight.mul_(factor)  # type: ignore[operator, union-attr]

    return change


def _scale_all(factor: float) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        for name in _weights(model):
            _scale(name, factor)(model)

    return change


def _pick(rng: Random, choices: dict[str, Any]) -> Any:
    return choices[rng.choice(sorted(choices))]


def _plain(program: Program) -> bool:
    return program.optimizer in {"sgd", "momentum"}


# -- the optimizer ------------------------------------------------------------------------------


def _rate_high(program: Program, rng: Random) -> Wrong:
    factor = rng.choice([30.0, 60.0, 150.0]) if _plain(program) else rng.choice([40.0, 80.0, 200.0])
    return Wrong(
        program=program.but(lr=program.lr * factor, clip=None),
        also=("dead_units", "saturated_activations"),
        onset=(0, program.steps // 6 if program.schedule else 3),
        symptom="loss_divergence",
    )


def _rate_low(program: Program, rng: Random) -> Wrong:
    factor = rng.choice([3e-3, 1e-3, 1e-4]) if not _plain(program) else rng.choice([1e-3, 1e-4])
    return Wrong(program=program.but(lr=program.lr * factor))


def _schedule(program: Program, rng: Random) -> Wrong:
    at = _half_late(rng, program)
    gamma = rng.choice([0.5, 0.7, 0.8])
    every = rng.choice([1, 2])
    kind = rng.choice(["jump", "decay", "warm", "zero", "decay", "jump"])
    if kind == "jump":
        factor = rng.choice([50.0, 200.0])
        changed = program.but(schedule=lambda t: 1.0 if t < at else factor)
        also = ("learning_rate_too_high",)
        return Wrong(program=changed, onset=at, accept=also, symptom="loss_divergence")
    if kind == "decay":
        changed = program.but(schedule=lambda t: gamma ** (t // every))
        gone = int(every * math.log(0.01) / math.log(gamma))
        return Wrong(program=changed, onset=(0, gone + 30), accept=("learning_rate_too_low",))
    if kind == "zero":
        early = max(6, program.steps // 12)
        changed = program.but(schedule=lambda t: 1.0 if t < early else 0.0)
        return Wrong(program=changed, onset=early, accept=("parameters_not_updated",))
    slow = 400.0 * program.steps
    changed = program.but(schedule=lambda t: (t + 1) / slow)
    return Wrong(program=changed, accept=("learning_rate_too_low",))


def _uncleared(program: Program, rng: Random) -> Wrong:
    return Wrong(
        program=program.but(clears=False, lr=program.lr * rng.choice([1.0, 2.0])),
        onset=(0, 2),
        symptom="loss_divergence",
    )


def _decay(program: Program, rng: Random) -> Wrong | None:
    if program.optimizer not in {"sgd", "momentum", "adamw", "adam"}:
        return None
    # Decoupled decay of lr * wd a step; for plain SGD the same, for Adam in proportion to the gradient.
    pull = rng.choice([0.02, 0.05, 0.1])
    decay = pull / program.lr if program.optimizer != "adam" else rng.choice([0.5, 2.0])
    gain = 0.1 if program.optimizer == "momentum" else 1.0
    options = {**program.options, "weight_decay": decay * gain}
    return Wrong(program=program.but(options=options, schedule=None), onset=(0, 30))


def _momentum(program: Program, rng: Random) -> Wrong | None:
    if not _plain(program):
        return None
    beta = rng.choice([0.99, 0.995, 0.999])
    rate = program.lr if program.optimizer == "sgd" else program.lr * 4
    changed = program.but(optimizer="momentum", lr=rate, options={"momentum": beta}, schedule=None)
    return Wrong(
        program=changed,
        onset=(0, 60),
        accept=("learning_rate_too_high",),
        symptom="loss_divergence",
    )


def _clipping(program: Program, rng: Random) -> Wrong | None:
    if not _plain(program):
        return None
    if rng.random() < 0.3:
        return Wrong(program=program.but(clip_value=rng.choice([1e-6, 1e-5])))
    return Wrong(program=program.but(clip=rng.choice([1e-4, 1e-3])))


def _stale(program: Program, rng: Random) -> Wrong | None:
    if program.optimizer not in {"adam", "adamw", "nadam"} or program.kind == "game":
        return None
    at, scale = _half_late(rng, program), rng.choice([0.003, 0.01])
    rate = program.lr * rng.choice([1.0, 2.0])

    def loss(output: Any, target: Tensor) -> Tensor:
        clock["step"] += 1
        return program.loss(output, target) * (scale if clock["step"] <= at else 1.0)

    clock = {"step": 0}

    def reset(_model: nn.Module) -> None:
        clock["step"] = 0

    options = {**program.options, "betas": (0.9, rng.choice([0.999, 0.9999]))}
    changed = program.but(loss=loss, options=options, lr=rate, schedule=None, clip=None).plus(
        harm=reset
    )
    return Wrong(program=changed, onset=(at, at + 2), symptom="loss_spike")


# -- what is updated ----------------------------------------------------------------------------


def _not_updated(program: Program, rng: Random) -> Wrong | None:
    names = _weights(_model(program))
    if program.kind in {"game", "physics"} or len(names) < 2:
        return None
    kind = rng.choice(["owns head", "frozen body", "one layer", "replaced", "never"])
    if kind in {"owns head", "one layer"}:
        return _not_owned(program, names, rng, head=kind == "owns head")
    if kind == "frozen body":
        body = tuple(names[:-1])

        def freeze(model: nn.Module) -> None:
            for name in body:
                model.get_submodule(name).requires_grad_(requires_grad=False)

        return Wrong(program=program.plus(harm=freeze), layers=body)
    if kind == "replaced":
        return Wrong(
            program=program.plus(late=lambda model: _renew(model, names[-1])), layers=(names[-1],)
        )
    return Wrong(program=program.but(steps_optimizer=lambda _step: False))


def _not_owned(program: Program, names: list[str], rng: Random, *, head: bool) -> Wrong:
    """Leave one layer, or all but the head, out of the optimizer."""
    modules = dict(_model(program).named_modules())
    trained = {
        n for n, x in modules.items() if any(p.requires_grad for p in x.parameters(recurse=False))
    }
    out = trained - {names[-1]} if head else {rng.choice(names)}

    def owned(model: nn.Module) -> list[nn.Parameter]:
        left = {id(p) for n in out for p in model.get_submodule(n).parameters(recurse=False)}
        return [p for p in model.parameters() if id(p) not in left and p.requires_grad]

    return Wrong(program=program.but(owns=owned), layers=tuple(sorted(out)))


def _renew(model: nn.Module, name: str) -> None:
    """Put a new layer in the place of one that the optimizer holds already."""
    new = copy.deepcopy(model.get_submodule(name))
    new.reset_parameters()  # type: ignore[operator]
    parent = model.get_submodule(name.rpartition(".")[0])
    parent._modules[name.rpartition(".")[2]] = new  # noqa: SLF001 - containers of every kind


def _detached(program: Program, rng: Random) -> Wrong | None:
    if program.kind in {"game", "physics"}:
        return None
    names = _hidden(program)
    if not names:
        return None
    place = rng.randrange(len(names))

    def cut(model: nn.Module) -> None:
        layer = model.get_submodule(names[place])
        plain = layer.forward
        layer.forward = lambda *a, **k: plain(*a, **k).detach()  # type: ignore[method-assign]

    return Wrong(
        program=program.plus(late=cut),
        layers=tuple(names[: place + 1]),
        accept=("parameters_not_updated",),
    )


# -- weights ------------------------------------------------------------------------------------


def _large(program: Program, rng: Random) -> Wrong | None:
    names = _weights(_model(program))
    hidden = names[:-1]
    if rng.random() < 0.5 or not hidden:
        factor = rng.choice([4.0, 8.0, 20.0])
        return Wrong(
            program=program.plus(harm=_scale_all(factor)),
            also=("saturated_activations", "dead_units"),
            symptom="exploding_gradients",
        )
    name, factor = rng.choice(names), rng.choice([15.0, 40.0, 100.0])
    return Wrong(
        program=program.plus(harm=_scale(name, factor)),
        layers=(name,),
        also=("saturated_activations", "attention_entropy_collapse"),
        symptom="exploding_gradients",
    )


def _small(program: Program, rng: Random) -> Wrong | None:
    names = _weights(_model(program))
    if rng.random() < 0.6:
        return Wrong(
            program=program.plus(harm=_scale_all(rng.choice([0.003, 0.01, 0.03]))),
            accept=("depth_attenuation",),
            symptom="vanishing_gradients",
        )
    name = rng.choice(names)
    return Wrong(
        program=program.plus(harm=_scale(name, rng.choice([1e-3, 1e-4]))),
        layers=(name,),
        symptom="vanishing_gradients",
    )


def _symmetric(program: Program, rng: Random) -> Wrong | None:
    names = _hidden(program)
    if not names:
        return None
    chosen = names if rng.random() < 0.6 else [rng.choice(names)]
    value = rng.choice([0.0, 0.02, 0.05, 0.1])

    def fill(model: nn.Module) -> None:
        for name in chosen:
            layer = model.get_submodule(name)
            layer.weight.fill_(value)  # type: ignore[operator, union-attr]
            if layer.bias is not None:
                layer.bias.zero_()  # type: ignore[operator, union-attr]

    one = len(chosen) == 1
    return Wrong(
        program=program.plus(harm=fill),
        layers=(chosen[0],) if one else None,
        accept=("initialization_too_small",) if value == 0.0 else (),
    )


def _dead(program: Program, rng: Random) -> Wrong | None:
    model = _model(program)
    rectified = {
        "mlp-relu",
        "cnn-plain",
        "graph",
        "recommender",
        "vae",
        "bag-of-words",
        "siamese",
        "fine-tuning",
        "residual-mlp",
    }
    if program.family not in rectified:
        return None
    names = [n for n in _weights(model)[:-1] if model.get_submodule(n).bias is not None]
    if program.family == "vae":
        names = ["enc1", "dec1"]
    if program.family == "residual-mlp":
        return None
    if not names:
        return None
    name, depth = rng.choice(names), rng.choice([8.0, 15.0, 30.0])

    def push(model: nn.Module) -> None:
        model.get_submodule(name).bias.fill_(-depth)  # type: ignore[operator, union-attr]

    return Wrong(program=program.plus(harm=push), layers=(name,), symptom="dead_units")


def _saturated(program: Program, rng: Random) -> Wrong | None:
    bounded = {"mlp-smooth": "tanh", "physics": "tanh", "autoencoder": "tanh", "regression": "tanh"}
    if program.family not in bounded:
        return None
    model = _model(program)
    act = getattr(model, "fn", torch.tanh)
    if act is not torch.tanh and not isinstance(getattr(model, "act", None), nn.Tanh):
        return None
    if program.family != "physics" and getattr(model, "fn", None) is not torch.tanh:
        return None
    name, factor = rng.choice(_weights(model)[:-1]), rng.choice([30.0, 80.0])
    return Wrong(
        program=program.plus(harm=_scale(name, factor)),
        layers=(name,),
        accept=("initialization_too_large",),
        symptom="saturated_activations",
    )


def _fades(program: Program, rng: Random) -> Wrong | None:
    """Replace the body by a deep stack whose gradient fades: sigmoid, or PyTorch's default ReLU."""
    depth = rng.randint(8, 16)
    if program.family in {"mlp-relu", "mlp-smooth", "autoencoder", "regression"}:
        model = _model(program)
        sizes = [model.layers[0].in_features, *[32] * depth, model.out.out_features]  # type: ignore[union-attr, index]
        act = rng.choice(["sigmoid", "sigmoid", "tanh", "relu"])
        functional = rng.random() < 0.5
        changed = program.but(
            build=lambda: m.Net(sizes, act, functional=functional, norm=False, drop=0.0)
        )
        if act == "tanh":
            changed = changed.plus(harm=_scale_all(0.5))
        accept = ("initialization_too_small",) if act != "sigmoid" else ()
        return Wrong(program=changed, accept=accept, symptom="vanishing_gradients")
    if program.family == "rnn":
        long = rng.choice([24, 32])

        def stretch(batch: Batch, _step: int) -> Batch:
            (x,), y = batch
            # The digit is seen first, then silence: what is learnt must survive it.
            return (torch.cat([x, torch.zeros(x.shape[0], long, x.shape[2])], dim=1),), y

        def shrink(model: nn.Module) -> None:
            for name, p in model.named_parameters():
                if "hh" in name or "h2h" in name:
                    p.mul_(0.3)

        return Wrong(program=program.plus(feed=stretch, harm=shrink), symptom="vanishing_gradients")
    return None


def _explodes(program: Program, rng: Random) -> Wrong | None:
    if program.family == "residual-mlp":
        depth, width = rng.randint(20, 32), 32
        changed = program.but(build=lambda: m.ResidualMlp(64, width, depth, 10, scale=1.0))
        return Wrong(program=changed, symptom="exploding_gradients")
    if program.family in {"rnn", "lstm", "gru"}:
        factor = rng.choice([4.0, 8.0])

        def grow(model: nn.Module) -> None:
            for name, p in model.named_parameters():
                if ("hh" in name or "h2h" in name) and p.dim() == 2:
                    p.mul_(factor)

        return Wrong(
            program=program.but(clip=None).plus(harm=grow),
            accept=("initialization_too_large", "saturated_activations"),
            symptom="exploding_gradients",
        )
    return None


def _sharp(program: Program, rng: Random) -> Wrong | None:
    factor = rng.choice([30.0, 60.0])
    model = _model(program)
    if program.family == "decoder":
        block = rng.randrange(len(model.h))  # type: ignore[arg-type]
        place = f"h.{block}.attn"

        def sharpen(net: nn.Module) -> None:
            attention = net.get_submodule(place)
            if attention.c_attn is not None:
                width = attention.c_proj.in_features
                attention.c_attn.weight[: 2 * width].mul_(factor)  # type: ignore[index, union-attr]
            else:
                attention.query.weight.mul_(factor)  # type: ignore[operator, union-attr]
                attention.key.weight.mul_(factor)  # type: ignore[operator, union-attr]

        fused = model.get_submodule(place).c_attn is not None
        layers = (place, f"{place}.c_attn") if fused else (place, f"{place}.query", f"{place}.key")
    elif program.family in {"encoder", "cross-attention"}:
        place = "cross" if program.family == "cross-attention" else "encoder.layers.0.self_attn"

        def sharpen(net: nn.Module) -> None:
            attention = net.get_submodule(place)
            attention.in_proj_weight[: 2 * attention.embed_dim].mul_(factor)  # type: ignore[index, operator]

        layers = (place,)
    else:
        return None
    return Wrong(
        program=program.plus(harm=sharpen),
        layers=layers,
        accept=("initialization_too_large",),
        symptom="loss_plateau",
    )


class _Normed(nn.Module):
    """A stack with batch normalization before every rectifier."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.layers, self.out = base.layers, base.out
        self.norms = nn.ModuleList(nn.BatchNorm1d(x.out_features) for x in base.layers)  # type: ignore[union-attr, arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):  # type: ignore[call-overload]
            x = F.relu(norm(layer(x)))
        return self.out(x)  # type: ignore[operator]


def _normal(program: Program, rng: Random) -> Wrong | None:
    if program.family in {"mlp-relu", "mlp-smooth", "regression"}:
        build = program.build
        changed = program.but(build=lambda: _Normed(build()), size=2)
        count = len(_model(program).layers)  # type: ignore[arg-type]
        return Wrong(program=changed, layers=tuple(f"norms.{i}" for i in range(count)))
    kinds = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    norms = tuple(n for n, x in _model(program).named_modules() if isinstance(x, kinds))
    if not norms:
        return None
    large = rng.choice([1e3, 1e4])

    def crush(net: nn.Module) -> None:
        for name in norms:
            net.get_submodule(name).eps = large  # type: ignore[assignment]

    return Wrong(program=program.plus(harm=crush), layers=norms)


def _dropout(program: Program, rng: Random) -> Wrong | None:
    if program.kind in {"game", "physics", "tokens"} or program.family == "encoder":
        return None
    names = _hidden(program)
    if not names:
        return None
    name, p = rng.choice(names), rng.choice([0.93, 0.97, 0.99])

    def drown(model: nn.Module) -> None:
        layer = model.get_submodule(name)
        parent = model.get_submodule(name.rpartition(".")[0])
        parent._modules[name.rpartition(".")[2]] = nn.Sequential(layer, nn.Dropout(p))  # noqa: SLF001

    return Wrong(program=program.plus(harm=drown), layers=(f"{name}.1",))


# -- data and loss ------------------------------------------------------------------------------


def _float_input(program: Program) -> bool:
    (first, *_), _ = program.data(torch.Generator().manual_seed(0), 4)
    return first.is_floating_point() and program.family not in {"physics", "denoiser", "graph"}


def _same_target(program: Program) -> bool:
    return program.family not in {"autoencoder", "vae", "forecaster"}


def _raw(program: Program, rng: Random) -> Wrong | None:
    if not _float_input(program):
        return None
    kind, scale = (
        rng.choice(["scale", "offset", "pixels", "spread"]),
        rng.choice([60.0, 200.0, 1000.0]),
    )

    def spoil(batch: Batch, _step: int) -> Batch:
        (x, *rest), y = batch
        if kind == "scale":
            x = x * scale
        elif kind == "offset":
            x = x + scale
        elif kind == "pixels":
            x = x * 80.0 + 110.0
        else:
            factor = (
                torch.logspace(-1, 3, x.shape[-1])
                if x.dim() == 2
                else torch.full((x.shape[-1],), scale)
            )
            x = x * factor
        more = (
            [z * scale if z.is_floating_point() else z for z in rest] if kind == "scale" else rest
        )
        return (x, *more), y

    return Wrong(
        program=program.plus(feed=spoil),
        also=("dead_units", "saturated_activations"),
        symptom="data_anomaly",
    )


def _raw_targets(program: Program, rng: Random) -> Wrong | None:
    if program.kind != "regression" or not _same_target(program):
        return None
    scale, shift = rng.choice([(100.0, 0.0), (500.0, 2000.0), (50.0, 150.0)])

    def spoil(batch: Batch, _step: int) -> Batch:
        inputs, y = batch
        return inputs, y * scale + shift

    return Wrong(program=program.plus(feed=spoil), symptom="data_anomaly")


def _nonfinite(program: Program, rng: Random) -> Wrong | None:
    at = _half_late(rng, program)
    bad = rng.choice([math.nan, math.inf, math.nan])
    target = (
        program.kind == "regression"
        and _same_target(program)
        and (rng.random() < 0.5 or not _float_input(program))
    )
    if not target and not _float_input(program):
        return None

    def spoil(batch: Batch, step: int) -> Batch:
        if step != at:
            return batch
        (x, *rest), y = batch
        if target:
            y = y.clone()
            y.view(-1)[y.numel() // 2] = math.nan
        else:
            x = x.clone()
            x.view(-1)[x.numel() // 3] = bad
        return (x, *rest), y

    return Wrong(program=program.plus(feed=spoil), onset=at, symptom="nonfinite_values")


def _corrupted(program: Program, rng: Random) -> Wrong | None:
    at, count = _half_late(rng, program), rng.choice([1, 2, 4])
    kind = rng.choice(["scale", "noise", "constant"])
    factor = rng.choice([30.0, 100.0])
    if not _float_input(program):
        return None

    def spoil(batch: Batch, step: int) -> Batch:
        if not at <= step < at + count:
            return batch
        (x, *rest), y = batch
        if kind == "scale":
            x = x * factor
        elif kind == "noise":
            x = x + factor * torch.sin(torch.arange(x.numel()).reshape(x.shape) * 12.9898)
        else:
            x = torch.full_like(x, factor / 2)
        return (x, *rest), y

    return Wrong(program=program.plus(feed=spoil), onset=at, symptom="loss_spike")


def _labels(program: Program, rng: Random) -> Wrong | None:
    if (
        not _same_target(program)
        or program.kind in {"game", "physics"}
        or program.family in {"denoiser", "unet"}
    ):
        return None
    share = rng.choice([1.0, 1.0, 0.8, 0.6])

    def spoil(batch: Batch, _step: int) -> Batch:
        inputs, y = batch
        cut = int(share * y.shape[0])
        return inputs, torch.cat([y[:cut].roll(max(cut // 2, 1), 0), y[cut:]])

    return Wrong(program=program.plus(feed=spoil))


def _softmax_twice(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, -2).softmax(-1), target.flatten())


def _raw_nll(output: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(output.flatten(0, -2).softmax(-1), target.flatten())


def _rectified(output: Tensor, target: Tensor) -> Tensor:
    return nn.CrossEntropyLoss()(F.relu(output.flatten(0, -2)), target.flatten())


def _summed(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, -2), target.flatten(), reduction="sum")


def _wide(output: Tensor, target: Tensor) -> Tensor:
    return (
        F.mse_loss(output.squeeze(-1), target)
        if output.shape == target.shape
        else F.mse_loss(output, target)
    )


def _mismatch(program: Program, rng: Random) -> Wrong | None:
    if program.kind in {"classes", "tokens"}:
        plain = [_softmax_twice, _softmax_twice, _raw_nll, _rectified]
        loss = rng.choice([*plain, _summed] if _plain(program) else plain)
        accept = ("learning_rate_too_high",) if loss is _summed else ()
        return Wrong(program=program.but(loss=loss), accept=accept)
    if program.kind == "binary":
        return Wrong(
            program=program.but(
                loss=lambda o, y: F.binary_cross_entropy_with_logits(o.sigmoid(), y)
            )
        )
    if program.family in {"regression", "recommender"}:
        _, y = program.data(torch.Generator().manual_seed(0), 4)
        return Wrong(program=program.but(loss=_wide)) if y.shape[-1] == 1 else None
    return None


def _singular(program: Program, rng: Random) -> Wrong | None:
    kind = rng.choice(["sqrt", "log", "div", "acos"])
    at = _half_late(rng, program) if rng.random() < 0.6 else 0
    if program.kind in {"game", "physics"}:
        return None
    clock = {"step": 0}

    def reset(_model: nn.Module) -> None:
        clock["step"] = 0

    def loss(output: Any, target: Tensor) -> Tensor:
        clock["step"] += 1
        value = program.loss(output, target)
        if clock["step"] <= at:
            return value
        raw = output[0] if isinstance(output, tuple) else output
        flat = raw.reshape(raw.shape[0], -1)
        if kind == "sqrt":
            return value + 0.01 * (flat[:2] - flat[:2].detach()).square().sum(1).sqrt().mean()
        if kind == "log":
            return value + 0.01 * torch.log((flat - flat.amax()).neg()).clamp_min(-5.0).mean()
        if kind == "div":
            gap = flat[:2] - flat[:2].detach()
            return value + 0.01 * (gap / gap.norm(dim=1, keepdim=True)).sum()
        unit = F.normalize(flat[:2], dim=1)
        return value + 0.01 * torch.acos((unit * unit.detach()).sum(1).clamp(-1, 1)).mean()

    return Wrong(
        program=program.but(loss=loss).plus(harm=reset),
        onset=(at, at + 1),
        symptom="nonfinite_values",
    )


def _absorbed(program: Program, rng: Random) -> Wrong | None:
    if (
        program.kind in {"game", "physics"}
        or _plain(program)
        or program.family in {"gru", "lstm", "rnn", "vae"}
    ):
        return None
    changed = program.but(
        dtype=torch.bfloat16, lr=program.lr * rng.choice([0.02, 0.05, 0.1]), schedule=None
    )
    return Wrong(program=changed, accept=("learning_rate_too_low",))


def _overflow(program: Program, rng: Random) -> Wrong | None:
    if program.kind not in {"classes", "tokens"} or program.family in {
        "gru",
        "lstm",
        "rnn",
        "cross-attention",
        "encoder",
        "bag-of-words",
    }:
        return None
    at, factor = _half_late(rng, program), rng.choice([3e4, 1e5])

    def scaled(output: Tensor, target: Tensor) -> Tensor:
        return program.loss(output.float(), target)

    def grow(model: nn.Module, step: int) -> None:
        if step == at:
            with torch.no_grad():
                name = _weights(model)[0]
                model.get_submodule(name).weight.mul_(factor)  # type: ignore[operator, union-attr]

    changed = program.but(autocast=torch.float16, loss=scaled).plus(each=grow)
    return Wrong(program=changed, onset=(at, at + 2), symptom="nonfinite_values")


# -- causes that are not in the catalogue -------------------------------------------------------


def _unknown(program: Program, rng: Random) -> Wrong | None:
    if program.kind in {"game", "physics"}:
        return None
    kind = rng.choice(["ascent", "blind", "sorted", "reset"])
    if kind == "ascent":
        return Wrong(
            program=program.but(loss=lambda o, y: -program.loss(o, y)), symptom="loss_divergence"
        )
    if kind == "reset":
        at = _half_late(rng, program)
        return Wrong(program=program.plus(each=_forgets(at)), onset=at, symptom="loss_spike")
    if kind == "blind":
        return _blinded(program)
    return Wrong(program=program.plus(feed=_grouped)) if program.kind == "classes" else None


def _forgets(at: int) -> Callable[[nn.Module, int], None]:
    def forget(model: nn.Module, step: int) -> None:
        if step == at:
            for name in _weights(model):
                model.get_submodule(name).reset_parameters()  # type: ignore[operator]

    return forget


def _blinded(program: Program) -> Wrong | None:
    """Let the first layer pass on hardly anything of its input."""
    skips = {"resnet", "residual-mlp", "decoder", "mixer", "forecaster", "encoder", "denoiser"}
    names = _hidden(program)
    if not names or program.family in skips:
        return None

    def blind(model: nn.Module) -> None:
        layer = model.get_submodule(names[0])
        plain = layer.forward
        layer.forward = lambda *a, **k: 0.02 * plain(*a, **k) + 0.5  # type: ignore[method-assign]

    return Wrong(program=program.plus(late=blind))


def _grouped(batch: Batch, step: int) -> Batch:
    """Show one class at a time, a dozen batches each."""
    inputs, y = batch
    keep = torch.nonzero(y == (step // 12) % (int(y.max()) + 1))[:, 0]
    if keep.numel() == 0:
        return batch
    index = keep[torch.arange(y.shape[0]) % keep.numel()]
    return tuple(x[index] for x in inputs), y[index]


FAULTS: dict[str, Fault] = {
    "learning_rate_too_high": _rate_high,
    "learning_rate_too_low": _rate_low,
    "learning_rate_schedule_bug": _schedule,
    "gradients_not_cleared": _uncleared,
    "excessive_weight_decay": _decay,
    "excessive_momentum": _momentum,
    "excessive_gradient_clipping": _clipping,
    "stale_second_moment": _stale,
    "parameters_not_updated": _not_updated,
    "parameters_not_updated/detached": _detached,
    "initialization_too_large": _large,
    "initialization_too_small": _small,
    "symmetric_initialization": _symmetric,
    "dead_units": _dead,
    "saturated_activations": _saturated,
    "depth_attenuation": _fades,
    "depth_amplification": _explodes,
    "attention_entropy_collapse": _sharp,
    "degenerate_normalization": _normal,
    "excessive_dropout": _dropout,
    "unnormalized_inputs": _raw,
    "unnormalized_targets": _raw_targets,
    "nonfinite_data": _nonfinite,
    "corrupted_batch": _corrupted,
    "label_noise": _labels,
    "loss_output_mismatch": _mismatch,
    "numerical_singularity": _singular,
    "low_precision_update_absorption": _absorbed,
    "half_precision_overflow": _overflow,
    "unknown_cause": _unknown,
}
