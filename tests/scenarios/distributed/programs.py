"""Two ranks train the same small classifier; started by torchrun, one after the other in one launch.

``python -m torch.distributed.run --nproc-per-node 2 -m tests.scenarios.distributed.programs OUT`` leaves the
recordings of every program in a folder of its own, and what it saw itself in ``rank0.json`` and ``rank1.json``.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from neuraldbg import NeuralDbg
from tests.scenarios.trainers.programs import Net
from tests.twins import digits_like

STEPS, ROWS, BAD_STEP = 40, 32, 20


class Singular(Net):
    """Divides zero by zero behind ``fc2`` when told to."""

    now = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.fc2(F.relu(self.fc1(x)))
        if self.now:
            z = (0.0 * z) / (0.0 * z)
        return self.head(F.relu(z))


def replicated(net: nn.Module) -> nn.Module:
    # Without it DDP itself refuses a model of which a part is cut off.
    return DistributedDataParallel(net, find_unused_parameters=net.cut)


def sharded(net: nn.Module) -> nn.Module:
    for layer in (net.fc1, net.fc2, net.head):
        fully_shard(layer)
    return fully_shard(net)


def flat(net: nn.Module, *, named: bool = True) -> nn.Module:
    """Wrap in the first FSDP, as trainers still do; ``named`` leaves the parameters visible under their names."""
    kept = partial(FullyShardedDataParallel, use_orig_params=named, device_id=torch.device("cpu"))
    for name in ("fc1", "fc2", "head"):
        setattr(net, name, kept(getattr(net, name)))
    return kept(net)


WRAPPED = {
    "ddp": replicated,
    "fsdp2": sharded,
    "fsdp1": flat,
    "fsdp1-hidden": partial(flat, named=False),
}


def program(
    watch: Any, wrap: Any, fault: str = "", *, seed: int = 0
) -> tuple[list[torch.Tensor], list[float]]:
    """Train, and return what this rank holds of the weights and the losses that it saw."""
    torch.manual_seed(seed)
    rank, count = dist.get_rank(), dist.get_world_size()
    net = Singular() if fault == "singular" else Net(fault)
    model = wrap(net)
    torch.manual_seed(seed + rank)
    optimizer = torch.optim.Adam(model.parameters(), lr=5.0 if fault == "rate" else 5e-3)
    x, y = digits_like(256)
    losses = []
    # A loop that accumulates and forgets to leave ``no_sync`` before its last backward pass.
    exchange = model.no_sync if fault == "unsynchronized" else nullcontext
    with watch(model):
        for step in range(3 * STEPS if fault == "labels" else STEPS):
            start = (step * count + rank) * ROWS % 256
            batch, labels = x[start : start + ROWS], y[start : start + ROWS]
            if fault == "nan" and rank == 1 and step == BAD_STEP:
                batch = batch.clone()
                batch[3, 5] = float("nan")
            if fault == "labels" and rank == 1:
                labels = torch.randint(0, 4, (ROWS,))
            net.now = fault == "singular" and rank == 1 and step == BAD_STEP
            optimizer.zero_grad()
            with exchange():
                loss = F.cross_entropy(model(batch), labels)
                loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            losses.append(loss.item())
    return [getattr(p, "_local_tensor", p).detach().clone() for p in model.parameters()], losses


def collectives() -> int:
    """Return how many collective operations this process has taken part in."""
    return dist.distributed_c10d._get_default_group()._get_sequence_number_for_group()


def counted(watch: Any, run: Any) -> tuple[list[torch.Tensor], list[float], int]:
    before = collectives()
    weights, losses = run(watch)
    return weights, losses, collectives() - before


def unwatched(_model: nn.Module) -> Any:
    return nullcontext()


def harmless(out: Path) -> dict[str, Any]:
    """Train each way unwatched, watched, and watched by rank 0 only; say what became different."""
    found: dict[str, Any] = {}
    for way, wrap in WRAPPED.items():
        run = partial(program, wrap=wrap)
        plain = counted(unwatched, run)
        watched = counted(lambda m, way=way: NeuralDbg(m, save=out / way / "run.ndbg"), run)
        alone = counted(NeuralDbg if dist.get_rank() == 0 else unwatched, run)
        found[way] = {
            name: {
                "weights": all(map(torch.equal, plain[0], other[0])),
                "losses": plain[1] == other[1],
                "collectives": plain[2] == other[2],
            }
            for name, other in (("watched", watched), ("watched by one rank", alone))
        }
        found[way]["collectives of the plain run"] = plain[2]
    return found


FAULTS = {
    "ddp": ("rate", "dead", "nan", "singular", "unsynchronized", "labels"),
    "fsdp2": ("rate", "dead", "nan", "singular"),
    "fsdp1": ("rate", "dead", "nan", "singular"),
    "fsdp1-hidden": ("rate", "nan"),
}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for name in (*WRAPPED, *(f"{way}-{fault}" for way, some in FAULTS.items() for fault in some)):
        (out / name).mkdir(parents=True, exist_ok=True)
    found = harmless(out)
    for way, faults in FAULTS.items():
        for fault in faults:
            path = out / f"{way}-{fault}" / "run.ndbg"
            program(partial(NeuralDbg, save=path), WRAPPED[way], fault)
    (out / f"rank{dist.get_rank()}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
