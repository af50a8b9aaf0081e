"""What one optimizer step does to the parameters: norms, updates, and how they lie to one another.

Samples of all parameters are laid side by side in one bank, so that the number of tensor operations does
not grow with the number of parameters; views of parameters and optimizer state are kept between steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neuraldbg.capture.amp import grad_scale
from neuraldbg.capture.bank import Rows, flat_view, lay
from neuraldbg.capture.reduce import stack_together
from neuraldbg.capture.shards import local

__all__ = ["NARROW", "WIDE", "Updates", "lost", "norms"]

NARROW = frozenset({torch.float16, torch.bfloat16})
# What float32 does not hold.
WIDE = frozenset({torch.float64, torch.complex32, torch.complex64, torch.complex128})


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of every tensor as float32, on its device."""
    if not tensors:
        return []
    mine = [*map(local, tensors)]
    if any(x.dtype in WIDE for x in mine):
        # The batched norm adds up in the type that it is asked for, and refuses a narrower one.
        return [torch.linalg.vector_norm(x).float() for x in mine]
    return list(torch._foreach_norm(mine, 2.0, dtype=torch.float32))  # noqa: SLF001 - the batched norm that optimizers use


def lost(params: Sequence[Tensor]) -> dict[int, float]:
    """Return the places of parameters that are not finite, with their norms."""
    sizes = norms([p.detach() for p in params])
    return {i: x for i, x in enumerate(map(Tensor.item, sizes)) if not math.isfinite(x)}


class _Views:
    """Flat views of the samples of long-lived tensors, made again only where a tensor was replaced."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, int, Tensor]] = {}

    def of(self, key: int, tensor: Tensor) -> Tensor:
        """Return the sample of a tensor."""
        tensor = local(tensor)
        known = self._known.get(key)
        address = tensor.data_ptr()
        if known is not None and known[0] is tensor and known[1] == address:
            return known[2]
        view = flat_view(tensor)
        if tensor.is_contiguous() and address:
            self._known[key] = (tensor, address, view)
        return view


@dataclass(slots=True)
class _Before:
    """Samples of weights and gradients just before an optimizer step, and Adam's view of them."""

    indices: list[int]
    params: list[nn.Parameter]
    weights: Tensor
    gradients: Tensor
    missing: list[int]
    optimizer: torch.optim.Optimizer | None
    surprise: list[Rows] = field(default_factory=list)


class Updates:
    """Measures the steps of one optimizer.

    Parameters
    ----------
    indices, params
        The watched parameters that the optimizer owns.
    axes
        How many axes each of them has; of a flat piece, how many the whole has.
    """

    def __init__(
        self, indices: Sequence[int], params: Sequence[nn.Parameter], axes: Sequence[int]
    ) -> None:
        held = [(i, p) for i, p in zip(indices, params, strict=True) if local(p).numel()]
        matrices = {i for i, n in zip(indices, axes, strict=True) if n >= 2}
        # Matrices tell everything that is asked; vectors count where there is nothing else.
        wide = [(i, p) for i, p in held if i in matrices]
        pairs = wide or held
        self.indices = list(indices)
        self._are_matrices = bool(wide)
        self._measured = [i for i, _ in pairs]
        self._params = [p for _, p in pairs]
        self._views = _Views()
        self._moments = _Views()
        self._before: _Before | None = None
        self._last: Tensor | None = None

    @torch.no_grad()
    def before(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Take samples of the parameters that the optimizer, or the loop itself, is about to change."""
        if not self._params:
            return
        samples: list[Tensor] = []
        missing = []
        for place, parameter in enumerate(self._params):
            gradient = parameter.grad
            if gradient is None or gradient.is_sparse:
                missing.append(place)
                samples.append(torch.zeros_like(self._views.of(place, parameter)))
            else:
                samples.append(flat_view(gradient))
        bank, _ = lay(samples)
        scale = None if optimizer is None else grad_scale(optimizer)
        if scale is not None:
            bank /= scale
        self._before = _Before(
            self._measured,
            self._params,
            self._weights(),
            bank,
            missing,
            optimizer,
            [] if optimizer is None else self._surprise(optimizer, bank),
        )

    def _weights(self) -> Tensor:
        bank, _ = lay([self._views.of(i, p) for i, p in enumerate(self._params)])
        return bank

    def _surprise(self, optimizer: torch.optim.Optimizer, gradients: Tensor) -> list[Rows]:
        """Return RMS of the gradient over the root of Adam's corrected second moment, and epsilon's share."""
        if not self._are_matrices:
            return []
        place_of = {id(p): i for i, p in enumerate(self._params)}
        out = []
        for group in optimizer.param_groups:
            places = [place_of[id(p)] for p in group["params"] if id(p) in place_of]
            found = [i for i in places if self._has_gradient(i)]
            states = [optimizer.state.get(self._params[i]) or {} for i in found]
            name, memory = _memory(group)
            if not found or not name or any(name not in s for s in states):
                continue
            step = states[0].get("step", 0.0)
            # On a device it is not read; there it counts from one on where there are moments.
            far = isinstance(step, Tensor) and step.is_cuda
            if far or float(step) >= 1.0:
                correction = 1.0 - memory ** (step if far else float(step))
                moments = [self._moments.of(i, s[name]) for i, s in zip(found, states, strict=True)]
                mine = gradients if len(found) == len(gradients) else gradients[found]
                eps = float(group.get("eps", 1e-8))
                out.append(self._relative(found, mine, moments, correction, eps))
        return out

    def _has_gradient(self, place: int) -> bool:
        gradient = self._params[place].grad
        return gradient is not None and not gradient.is_sparse

    def _relative(
        self,
        places: list[int],
        gradients: Tensor,
        moments: list[Tensor],
        correction: Tensor | float,
        eps: float,
    ) -> Rows:
        bank, count = lay(moments)
        root = (bank / correction).sqrt_()
        relative = gradients[:, : bank.shape[1]] / root.clamp_min(eps)
        surprise = ((relative * relative).sum(1) / count).sqrt_()
        # Padding counts as below epsilon and is taken off again.
        tiny = ((root < eps).sum(1) - (bank.shape[1] - count)) / count
        indices = [self._measured[i] for i in places]
        return Rows(indices, ("grad_rms_over_v", "eps_share"), torch.stack((surprise, tiny)))

    @torch.no_grad()
    def after(self) -> list[Rows]:
        """Return what the step did."""
        before, self._before = self._before, None
        if before is None:
            return []
        new, old, gradient = self._weights(), before.weights, before.gradients
        previous, self._last = self._last, gradient
        if new.shape != old.shape:
            return []
        delta = new - old
        size, weight, slope = (torch.linalg.vector_norm(x, dim=1) for x in (delta, old, gradient))
        active = gradient != 0
        everywhere = (
            torch.where(weight > 0, size / weight, torch.nan),
            -(delta * old).sum(1) / (size * weight),
            stack_together(norms([p.detach() for p in self._params])),
        )
        sloped = [
            -(delta * gradient).sum(1) / (size * slope),
            ((delta == 0) & active).sum(1) / active.sum(1),
        ]
        # What is rounded away in a copy is kept where it was rounded from.
        for place, parameter in enumerate(self._params):
            for copied in _is_a_copy(parameter, before.optimizer):
                sloped[1][place].masked_fill_(copied, torch.nan)
        names = ["update_cos_grad", "unchanged_share"]
        if previous is not None and previous.shape == gradient.shape:
            names.append("grad_cos_prev")
            before_slope = torch.linalg.vector_norm(previous, dim=1)
            sloped.append((gradient * previous).sum(1) / (slope * before_slope))
        rows = [
            Rows(
                before.indices,
                ("update_ratio", "update_cos_weight", "weight_norm"),
                torch.stack(everywhere),
            ),
            _without(before.missing, Rows(before.indices, tuple(names), torch.stack(sloped))),
        ]
        return [*rows, *before.surprise]


def _is_a_copy(parameter: Tensor, optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    """Return flags one of which holds if a weight in half precision is rounded from one that its optimizer keeps."""
    if optimizer is None or parameter.dtype not in NARROW or type(parameter.data) is not Tensor:
        return []
    weights = parameter.detach()
    return [
        (kept.to(weights.dtype) == weights).all()
        for kept in (optimizer.state.get(parameter) or {}).values()
        if type(kept) is Tensor
        and kept.dtype is torch.float32
        and (kept.shape, kept.device) == (weights.shape, weights.device)
    ]


def _without(places: list[int], rows: Rows) -> Rows:
    """Return rows without the parameters at these places: they had no gradient."""
    if not places:
        return rows
    gone = set(places)
    keep = [i for i in range(len(rows.indices)) if i not in gone]
    return Rows([rows.indices[i] for i in keep], rows.names, rows.values[:, keep])


def _memory(group: Mapping[str, Any]) -> tuple[str, float]:
    """Return where an optimizer keeps its second moment, and how much of it each step keeps; empty if none.

    RMSprop starts its average at zero and does not correct for it; corrected, it means the same as Adam's.
    """
    if group.get("amsgrad"):
        # What it divides by: the largest that the average ever was.
        return "max_exp_avg_sq", float(group["betas"][1])
    if "betas" in group:
        return "exp_avg_sq", float(group["betas"][1])
    return ("square_avg", float(group["alpha"])) if "alpha" in group else ("", 0.0)
