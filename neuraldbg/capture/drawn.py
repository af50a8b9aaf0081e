"""What parameters are like as they were drawn: how large, and whether units of theirs are copies of one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from neuraldbg.capture.bank import Rows, as_real
from neuraldbg.capture.params import NARROW, norms
from neuraldbg.capture.reduce import in_full_precision, stack_together
from neuraldbg.capture.shards import local
from neuraldbg.records.recording import ParamInfo

__all__ = ["initial", "initial_gains", "similarity"]

# Units that are compared with all others.
UNITS = 64
# Rows of a table that its columns are compared over, and of a weight that are asked for a copy of theirs.
ENTRIES = 4096
# Units that differ by less, relative to their length, are copies: they are computed in another order at most.
ROUNDING = 1e-5
# A matrix this many times larger than if its rows were all as the middle one was not drawn at random.
UNEVEN = 2.0
# Gates of a recurrence whose hidden state is projected: only an LSTM's can be.
PROJECTED, GATED = 4, (1, 3, 4)


def initial(
    infos: Sequence[ParamInfo], tensors: Sequence[Tensor], multiplied: Collection[int]
) -> tuple[Rows, ...]:
    """Return the scales of all untouched weight matrices and bias vectors.

    Parameters
    ----------
    infos, tensors
        Everything that the model holds.
    multiplied
        Tables that are also the weight of a linear layer.
    """
    by_name = {info.name: info for info in infos}
    pairs = [(i, p, info) for i, (info, p) in enumerate(zip(infos, tensors, strict=True))]
    return (
        *initial_gains(
            [
                (i, p, info.fan_in or info.shape[-1])
                for i, p, info in pairs
                if info.kind == "matrix" or i in multiplied
            ]
        ),
        *_initial_biases(
            [(i, p, _gates(info, by_name)) for i, p, info in pairs if info.kind == "bias"]
        ),
    )


def _gates(bias: ParamInfo, by_name: Mapping[str, ParamInfo]) -> int:
    """Return how many gates of a recurrent cell lie end to end in a bias; 1 where it is no such, or a part of one."""
    name = bias.name.replace("bias_ih", "weight_hh").replace("bias_hh", "weight_hh")
    hidden = by_name.get(name)
    if hidden is None or hidden is bias or bias.shard >= 0:
        return 1
    gates = hidden.shape[0] // max(hidden.shape[1], 1)
    return gates if gates in GATED else PROJECTED


@torch.no_grad()
def initial_gains(chosen: Sequence[tuple[int, Tensor, int]]) -> list[Rows]:
    """Return the scale of untouched weight matrices: root mean square times the root of the fan-in.

    Parameters
    ----------
    chosen
        Index, parameter and fan-in of every matrix.
    """
    if not chosen:
        return []
    weights = [local(p.detach()) for _, p, _ in chosen]
    sizes = stack_together([_usual_size(w) for w in weights])
    factors = [
        (fan_in / max(w.numel(), 1)) ** 0.5
        for w, (_, _, fan_in) in zip(weights, chosen, strict=True)
    ]
    gains = sizes * torch.tensor(factors).to(sizes.device)
    return [Rows([i for i, *_ in chosen], ("init_gain",), gains[None])]


def _usual_size(weight: Tensor) -> Tensor:
    """Return the norm of a matrix; where a few rows make most of it, what it would be if they were as the others.

    Rows that were drawn alike are alike in size. Where some are far larger, the weights were learned: channels of
    outliers, as pretrained transformers have, say nothing of how the others begin.
    """
    if weight.dim() < 2 or not weight.numel():
        return norms([weight])[0]
    wide = torch.float32 if weight.dtype in NARROW else None
    rows = torch.linalg.vector_norm(weight.flatten(1), dim=1, dtype=wide).float()
    whole, usual = torch.linalg.vector_norm(rows), rows.median() * len(rows) ** 0.5
    return torch.where((usual > 0) & (whole > UNEVEN * usual), usual, whole)


@torch.no_grad()
def _initial_biases(chosen: Sequence[tuple[int, Tensor, int]]) -> list[Rows]:
    """Return the root mean square of untouched bias vectors, of several gates that of the largest.

    Parameters
    ----------
    chosen
        Index, parameter and number of gates of every bias.
    """
    # A lazy parameter has no numbers before the first forward pass.
    known = [(i, local(p).detach(), gates) for i, p, gates in chosen if not is_lazy(p)]
    held = [(i, p, gates) for i, p, gates in known if p.numel()]
    if not held:
        return []
    # A bias of one output may have no axis.
    parts = [(place, x) for place, (_, p, n) in enumerate(held) for x in p.reshape(-1).chunk(n)]
    sizes = stack_together(norms([part for _, part in parts]))
    roots = torch.tensor([part.numel() ** 0.5 for _, part in parts]).to(sizes.device)
    places = torch.tensor([place for place, _ in parts]).to(sizes.device)
    largest = torch.zeros(len(held), device=sizes.device).scatter_reduce(
        0, places, sizes / roots, "amax"
    )
    return [Rows([i for i, *_ in held], ("init_bias",), largest[None])]


def similarity(index: int, parameter: nn.Parameter, *, table: bool) -> list[Rows]:
    """Return the mean pairwise cosine of the units of a weight and of its gradient: rows, or columns of a table.

    Of a weight that learns also the share of its units that have an exact copy among the others.
    """
    with torch.no_grad(), in_full_precision(parameter.device):
        units = _units(parameter, table=table)
        found = {"unit_weight_similarity": _row_cosine(units)}
        gradient = parameter.grad
        if gradient is not None and not gradient.is_sparse:
            found["unit_grad_similarity"] = _row_cosine(_units(gradient, table=table))
            found["unit_twins"] = _twins(units)
    return [Rows([index], (name,), v.reshape(1, 1)) for name, v in found.items() if v is not None]


def _units(weight: Tensor, *, table: bool) -> Tensor:
    own = as_real(local(weight).detach())
    while own.dim() > 2 and own.shape[0] == 1:
        # Made to be broadcast over a batch, as seeds and queries are.
        own = own[0]
    return own[:ENTRIES].T if table else own


def _row_cosine(matrix: Tensor) -> Tensor | None:
    # Of a sharded weight nothing may be here.
    if not matrix.numel():
        return None
    rows = matrix.reshape(matrix.shape[0], -1)[:UNITS].float()
    if rows.shape[0] < 3 or rows.shape[1] < 3:
        return None
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit = rows / length.clamp_min(1e-30)
    alive = (length[:, 0] > 0).float()
    count = alive.sum()
    total = (unit @ unit.T).abs().sum() - count
    pairs = count * (count - 1)
    return torch.where(pairs > 2, total / pairs, torch.nan)


def _twins(matrix: Tensor) -> Tensor | None:
    """Return the share of rows that are not zero and have a copy among the others."""
    if not matrix.numel():
        return None
    rows = matrix.reshape(matrix.shape[0], -1)[:ENTRIES].float()
    if rows.shape[0] <= 3:
        return None
    # Copies give one number each, and so they lie side by side in the order of these.
    line = torch.arange(1, rows.shape[1] + 1, device=rows.device, dtype=torch.float32).sqrt().sin()
    rows = rows[(rows @ line).argsort()]
    length = torch.linalg.vector_norm(rows, dim=1)
    apart = torch.linalg.vector_norm(rows[1:] - rows[:-1], dim=1)
    same = (apart <= ROUNDING * length[1:]) & (length[1:] > 0)
    edge = same.new_zeros(1)
    return (torch.cat([edge, same]) | torch.cat([same, edge])).float().mean()
