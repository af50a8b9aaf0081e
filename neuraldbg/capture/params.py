"""What one optimizer step does to the parameters: norms, updates, and how they lie to one another.

Samples of all parameters are laid end to end in one flat tensor (a bank), so that the number of tensor
operations does not grow with the number of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

__all__ = ["Before", "Rows", "after_step", "before_step", "initial_numbers", "norms", "similarity"]

Cells = list[tuple[str, int, Tensor]]
ENTRIES = 1024
UNITS = 64


@dataclass(slots=True)
class Rows:
    """Named numbers of the same parameters: ``values[name]`` has one entry per index."""

    indices: list[int] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class _Bank:
    """Samples of many tensors end to end; ``lengths`` has one entry per tensor."""

    flat: Tensor
    lengths: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum over every tensor's own stretch, shape ``(tensors,)``."""
        return torch.segment_reduce(values, "sum", lengths=self.lengths, unsafe=True)


@dataclass(slots=True)
class Before:
    """Samples of weights and gradients just before an optimizer step, and Adam's view of them."""

    indices: list[int]
    weights: _Bank
    gradients: Tensor
    has_gradient: list[bool]
    surprise: list[Rows] = field(default_factory=list)


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of every tensor as float32, on its device."""
    if not tensors:
        return []
    return list(torch._foreach_norm(list(tensors), 2.0, dtype=torch.float32))  # noqa: SLF001 - the batched norm that optimizers use


def _sample(tensor: Tensor) -> Tensor:
    """Return a flat view of at most ``ENTRIES`` entries, evenly spread."""
    flat = tensor.detach().reshape(-1)
    if flat.numel() > ENTRIES:
        # An odd stride does not fall on one column of a power-of-two layout again and again.
        flat = flat[:: (flat.numel() // ENTRIES) | 1]
    return flat


def _lay(tensors: Sequence[Tensor]) -> _Bank:
    samples = [_sample(t) for t in tensors]
    lengths = torch.tensor([s.numel() for s in samples], device=samples[0].device)
    return _Bank(torch.cat(samples).float(), lengths)


@torch.no_grad()
def before_step(
    indices: Sequence[int], params: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> Before | None:
    """Take samples of the parameters that an optimizer is about to change; None if it owns nothing."""
    chosen = [(i, p) for i, p in zip(indices, params, strict=True) if p.numel()]
    if not chosen:
        return None
    weights = [p for _, p in chosen]
    usable = [p.grad is not None and not p.grad.is_sparse for p in weights]
    gradients = [
        p.grad if ok and p.grad is not None else torch.zeros_like(p)
        for p, ok in zip(weights, usable, strict=True)
    ]
    bank = _lay(gradients)
    return Before(
        indices=[i for i, _ in chosen],
        weights=_lay(weights),
        gradients=bank.flat,
        has_gradient=usable,
        surprise=_second_moment(chosen, optimizer),
    )


def _second_moment(
    chosen: list[tuple[int, nn.Parameter]], optimizer: torch.optim.Optimizer
) -> list[Rows]:
    """Return RMS of the gradient over the root of Adam's corrected second moment, and epsilon's share."""
    out = []
    for group in optimizer.param_groups:
        mine = {id(p) for p in group["params"]}
        found = [
            (i, p)
            for i, p in chosen
            if id(p) in mine and p.dim() >= 2 and p.grad is not None and not p.grad.is_sparse
        ]
        states = [optimizer.state.get(p) or {} for _, p in found]
        if not found or any("exp_avg_sq" not in s or "betas" not in group for s in states):
            continue
        step = float(states[0].get("step", 0.0))
        if step >= 1.0:
            correction = 1.0 - float(group["betas"][1]) ** step
            out.append(_relative(found, states, correction, float(group.get("eps", 1e-8))))
    return out


def _relative(
    found: list[tuple[int, nn.Parameter]],
    states: list[dict[str, Tensor]],
    correction: float,
    eps: float,
) -> Rows:
    gradients = _lay([p.grad for _, p in found if p.grad is not None])
    root = (_lay([s["exp_avg_sq"] for s in states]).flat / correction).sqrt()
    count = gradients.lengths
    relative = gradients.flat / root.clamp_min(eps)
    return Rows(
        [i for i, _ in found],
        {
            "grad_rms_over_v": (gradients.sums(relative * relative) / count).sqrt(),
            "eps_share": gradients.sums((root < eps).float()) / count,
        },
    )


@torch.no_grad()
def after_step(
    before: Before, params: Sequence[nn.Parameter], previous: Tensor | None
) -> tuple[list[Rows], Tensor]:
    """Return what the step did, and the gradients to compare the next ones with.

    Parameters
    ----------
    before
        Samples from just before the step.
    params
        The same parameters, now changed.
    previous
        The gradients of the sampled step before; None if there was none.
    """
    weights = [p for p in params if p.numel()]
    new = _lay(weights)
    bank, old, gradient = before.weights, before.weights.flat, before.gradients
    if new.flat.shape != old.shape:
        return [], gradient
    delta = new.flat - old
    size, weight = bank.sums(delta * delta).sqrt(), bank.sums(old * old).sqrt()
    slope = bank.sums(gradient * gradient).sqrt()
    active = gradient != 0
    count = bank.sums(active.float())
    everywhere = {
        "update_ratio": torch.where(weight > 0, size / weight, torch.nan),
        "update_cos_weight": -bank.sums(delta * old) / (size * weight),
        "weight_norm": torch.stack(norms([p.detach() for p in weights])),
    }
    sloped = {
        "update_cos_grad": -bank.sums(delta * gradient) / (size * slope),
        "unchanged_share": bank.sums(((delta == 0) & active).float()) / count,
    }
    if previous is not None and previous.shape == gradient.shape:
        before_slope = bank.sums(previous * previous).sqrt()
        sloped["grad_cos_prev"] = bank.sums(gradient * previous) / (slope * before_slope)
    keep = torch.tensor(before.has_gradient, device=old.device)
    known = [i for i, ok in zip(before.indices, before.has_gradient, strict=True) if ok]
    rows = [
        Rows(before.indices, everywhere),
        Rows(known, {name: value[keep] for name, value in sloped.items()}),
    ]
    return [*rows, *before.surprise], gradient


@torch.no_grad()
def initial_numbers(index: int, parameter: Tensor, fan_in: int) -> Cells:
    """Return the scale of an untouched weight matrix: root mean square times the root of its fan-in."""
    flat = parameter.detach().float()
    return [("init_gain", index, flat.square().mean().sqrt() * fan_in**0.5)]


@torch.no_grad()
def similarity(index: int, parameter: nn.Parameter) -> Cells:
    """Return the mean pairwise cosine of the rows of a matrix and of its gradient."""
    cells = _row_cosine("unit_weight_similarity", index, parameter.detach())
    gradient = parameter.grad
    if gradient is not None and not gradient.is_sparse:
        cells += _row_cosine("unit_grad_similarity", index, gradient.detach())
    return cells


def _row_cosine(name: str, index: int, matrix: Tensor) -> Cells:
    rows = matrix.reshape(matrix.shape[0], -1)[:UNITS].float()
    if rows.shape[0] < 3 or rows.shape[1] < 3:
        return []
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit = rows / length.clamp_min(1e-30)
    alive = (length[:, 0] > 0).float()
    count = alive.sum()
    total = (unit @ unit.T).abs().sum() - count
    pairs = count * (count - 1)
    return [(name, index, torch.where(pairs > 2, total / pairs, torch.nan))]
