"""What one optimizer step does to the parameters: norms, updates, and how they lie to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from neuraldbg.capture.reduce import MAX_SAMPLE

__all__ = [
    "Before",
    "after_step",
    "before_step",
    "initial_numbers",
    "norms",
    "similarity",
]

Cells = list[tuple[str, int, Tensor]]
ROWS = 64


@dataclass(slots=True)
class Before:
    """Samples of parameters and gradients taken just before an optimizer step."""

    indices: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor | None] = field(default_factory=list)
    surprise: Cells = field(default_factory=list)


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of every tensor as float32, on its device."""
    if not tensors:
        return []
    return list(torch._foreach_norm(list(tensors), 2.0, dtype=torch.float32))  # noqa: SLF001 - the batched norm that optimizers use


def _sample(tensor: Tensor) -> Tensor:
    """Return a float32-comparable copy of a strided sample; the dtype is kept for exact comparison."""
    flat = tensor.detach().reshape(-1)
    if flat.numel() > MAX_SAMPLE:
        flat = flat[:: (flat.numel() // MAX_SAMPLE) | 1]
    return flat.clone()


@torch.no_grad()
def before_step(
    indices: Sequence[int],
    params: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Before:
    """Take samples of the parameters that an optimizer is about to change."""
    before = Before()
    for index, parameter in zip(indices, params, strict=True):
        before.indices.append(index)
        before.weights.append(_sample(parameter))
        gradient = parameter.grad
        usable = gradient is not None and not gradient.is_sparse
        before.gradients.append(_sample(gradient) if usable and gradient is not None else None)
    before.surprise = _second_moment(before, params, optimizer)
    return before


def _second_moment(
    before: Before, params: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer
) -> Cells:
    """Return RMS of the gradient over the root of Adam's bias-corrected second moment, and epsilon's share."""
    cells: Cells = []
    for index, parameter, gradient in zip(before.indices, params, before.gradients, strict=True):
        state = optimizer.state.get(parameter)
        if gradient is None or not state or "exp_avg_sq" not in state or parameter.dim() < 2:
            continue
        group = next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
        step = float(state.get("step", 0.0))
        if step < 1.0:
            continue
        correction = 1.0 - float(group["betas"][1]) ** step
        root = (_sample(state["exp_avg_sq"]).float() / correction).sqrt()
        eps = float(group.get("eps", 1e-8))
        relative = gradient.float() / root.clamp_min(eps)
        cells.append(("grad_rms_over_v", index, relative.square().mean().sqrt()))
        cells.append(("eps_share", index, (root < eps).float().mean()))
    return cells


@torch.no_grad()
def after_step(
    before: Before, params: Sequence[nn.Parameter], previous: dict[int, Tensor]
) -> tuple[Cells, dict[int, Tensor]]:
    """Return what the step did, and the gradients to compare the next ones with.

    Parameters
    ----------
    before
        Samples from just before the step.
    params
        The same parameters, now changed.
    previous
        Gradient samples of the sampled step before, by parameter index.
    """
    cells: Cells = list(before.surprise)
    gradients: dict[int, Tensor] = {}
    sizes = norms([p.detach() for p in params])
    for k, (index, parameter) in enumerate(zip(before.indices, params, strict=True)):
        old, gradient = before.weights[k], before.gradients[k]
        new = _sample(parameter)
        if new.shape != old.shape:
            continue
        cells += _update_cells(index, old, new, gradient)
        cells.append(("weight_norm", index, sizes[k]))
        if gradient is not None:
            gradients[index] = gradient
            if index in previous and previous[index].shape == gradient.shape:
                cells.append(("grad_cos_prev", index, _cosine(gradient, previous[index])))
    return cells, gradients


def _update_cells(index: int, old: Tensor, new: Tensor, gradient: Tensor | None) -> Cells:
    delta = new.float() - old.float()
    size, weight = (
        torch.linalg.vector_norm(delta),
        torch.linalg.vector_norm(old.float()),
    )
    cells: Cells = [
        ("update_ratio", index, torch.where(weight > 0, size / weight, torch.nan)),
        ("update_cos_weight", index, _cosine(delta, -old)),
    ]
    if gradient is not None:
        active = gradient != 0
        still = (new == old) & active
        share = still.sum() / active.sum()
        cells += [
            ("update_cos_grad", index, _cosine(-delta, gradient)),
            ("unchanged_share", index, share),
            ("grad_zero_share", index, 1.0 - active.float().mean()),
        ]
    return cells


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    x, y = a.float(), b.float()
    return torch.dot(x, y) / (torch.linalg.vector_norm(x) * torch.linalg.vector_norm(y))


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
    rows = matrix.reshape(matrix.shape[0], -1)[:ROWS].float()
    if rows.shape[0] < 3 or rows.shape[1] < 3:
        return []
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit = rows / length.clamp_min(1e-30)
    alive = (length[:, 0] > 0).float()
    count = alive.sum()
    total = (unit @ unit.T).abs().sum() - count
    pairs = count * (count - 1)
    return [(name, index, torch.where(pairs > 2, total / pairs, torch.nan))]
