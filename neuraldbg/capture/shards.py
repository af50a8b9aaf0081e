"""Models spread over several processes: the part of a tensor that is here, the names without wrappers, the rank.

A collective in a hook hangs as soon as two ranks look at different steps, so nothing here ever talks to
another process: what is sharded is measured where it lies, and joined after the run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = [
    "PLAIN",
    "flat_shards",
    "is_row",
    "is_sharded",
    "local",
    "local_gradient",
    "rank_and_count",
    "unwrapped",
]

FSDP1 = "FullyShardedDataParallel"
# Modules that hold the user's model under a name of their own. By name: most of them are never imported.
WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    FSDP1: "_fsdp_wrapped_module",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "DeepSpeedEngine": "module",
}
# Where launchers say which process this is, and how many there are: torchrun, SLURM, MPI, and trainers that
# start their own processes on one machine.
PLACES = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("LOCAL_RANK", "WORLD_SIZE"),
)

PLAIN = frozenset({Tensor, nn.Parameter})


def local(tensor: Tensor) -> Tensor:
    """Return the part of a distributed tensor that lies in this process; a plain tensor as it is."""
    if type(tensor) in PLAIN:
        # A look for an attribute that is not there costs more than all else here.
        return tensor
    # Its public reading goes through autograd, and may wait for an operation of others.
    found: Tensor = getattr(tensor, "_local_tensor", tensor)
    return found


def local_gradient(parameter: Tensor) -> Tensor | None:
    """Return the gradient of a parameter, or of the part of it that lies in this process."""
    gradient = parameter.grad
    return gradient if gradient is None or type(gradient) is Tensor else local(gradient)


def is_sharded(tensor: Tensor) -> bool:
    """Return whether other processes hold other entries of a tensor."""
    return any(place.is_shard() for place in getattr(tensor, "placements", ()))


def flat_shards(model: nn.Module) -> dict[int, tuple[int, ...]]:
    """Return the whole shape of every parameter of which a flat piece is here, by ``id()``.

    The first FSDP lays the parameters of a unit end to end and cuts the row without regard to where one ends: a piece is a
    plain vector, and may be empty. Where it hides the parameters (``use_orig_params=False``) the row itself is the only one.
    ZeRO leaves nothing of a parameter here in its third stage, but for the passes that use it.
    """
    found = {
        id(p): tuple(whole)
        for p in model.parameters()
        if (whole := getattr(p, "ds_shape", ())) and not p.numel()
    }
    for module in model.modules():
        handle = getattr(module, "_handle", None) if type(module).__name__ == FSDP1 else None
        row = getattr(handle, "flat_param", None)
        if row is None or not getattr(handle, "uses_sharded_strategy", False):
            continue
        pieces = getattr(row, "_params", None)
        if pieces is None:
            found[id(row)] = tuple(getattr(row, "_unpadded_unsharded_size", row.shape))
        else:
            shapes = map(tuple, getattr(row, "_shapes", ()))
            found |= {id(p): shape for p, shape in zip(pieces, shapes, strict=False)}
    return found


def is_row(tensor: Tensor) -> bool:
    """Return whether a tensor holds the parameters of a whole unit of the first FSDP end to end."""
    return bool(getattr(tensor, "_is_flat_param", False))


def piece_of(node: torch.autograd.graph.Node, place: int) -> int | None:
    """Return the ``id()`` of the parameter that a node of a graph cut out of such a row as its output of that place."""
    if not node.name().startswith("SplitWithSizesBackward"):
        return None
    row = getattr(node.next_functions[0][0], "variable", None)
    pieces = getattr(row, "_params", None)
    if row is None or pieces is None or not is_row(row):
        return None
    # Between parameters may lie what fills the row up to an even address.
    filling = list(getattr(row, "_is_padding_mask", ()))
    if place < len(filling) and filling[place]:
        return None
    index = place - sum(filling[:place])
    return id(pieces[index]) if index < len(pieces) else None


def unwrapped(model: nn.Module) -> Callable[[str], str]:
    """Return a function from the name of a module or parameter to the one that the user gave it."""
    inner = [
        f"{name}.{WRAPPERS[kind]}".lstrip(".")
        for name, module in model.named_modules()
        if (kind := type(module).__name__) in WRAPPERS
    ]
    # Of wrappers within one another the innermost is taken out first.
    inner.sort(key=len, reverse=True)

    def plain(name: str) -> str:
        for path in inner:
            if name == path or name.startswith(path + "."):
                parts = (path.rpartition(".")[0], name[len(path) + 1 :])
                name = ".".join(part for part in parts if part)
        return name

    return plain


def rank_and_count() -> tuple[int, int]:
    """Return the number of this process among those that train together, and how many they are; (0, 1) alone."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    for place, size in PLACES:
        rank, count = os.environ.get(place, ""), os.environ.get(size, "")
        if rank.isdigit() and count.isdigit() and int(count) > 1:
            return int(rank), int(count)
    return 0, 1
