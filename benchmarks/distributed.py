"""Several ranks: what merging the recordings of 1,024 of them costs and says, and what watching costs each.

``python -m benchmarks.distributed`` writes ``results/distributed.json``.

Merging. One real run is recorded, and every simulated rank is that run with noise of its own in what depends on
its batches (losses, activations); what replicas share (gradients, weights) stays the same on all. In the faulty
run one rank reads a bad batch, whose NaN reaches all others with the gradients of the same step, and another
one has stopped to exchange gradients long before. The child process that merges is measured alone: seconds,
and peak memory over that of a process which has read one recording only.

Watching. Two real processes over gloo, DDP and FSDP2; blocks of plain, watched and again plain steps as in
``benchmarks.overhead``, CPU time of each rank, so that waiting for the other one does not count.

What one machine cannot show, and what was done about it in the design. *NCCL and devices*: nothing of ours
exchanges anything, so no collective can be out of order; that sampled steps add no synchronisation is measured
on one device only. *Many machines*: ranks never talk, so the cost per rank does not depend on their number; a
thousand processes that append to one network filesystem were not tried, and write one file each, append only.
*Elastic restarts*: a restarted rank opens a new file under its new rank; files of before are to be kept apart by
the name given to ``save``. *Pipelines*: stages hold different layers, are refused together, and merge stage by
stage. *Hybrid and tensor sharding*: shards that are kept twice count once (tested by hand-written recordings),
with DTensor as the only thing relied on. *Clocks*: ranks are aligned by optimizer step, never by time.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import write
from neuraldbg import merge
from neuraldbg.recording import read_recording, write_recording
from neuraldbg.records.recording import Column, Recording

COUNTS = (8, 64, 256, 1024)
STEPS, BAD_STEP, DRIFT_STEP = 1000, 700, 300
BAD_RANK, DRIFTING = 5, 3
BLOCK, BLOCKS, RHYTHMS = 80, 20, (10, 80)
OWN = ("loss", "input_mean", "input_std", "input_absmax")


# -- simulated ranks -----------------------------------------------------------------------------


def recorded(fault: str = "") -> Recording:
    """Return the recording of a real run of a small residual network.

    Parameters
    ----------
    fault
        ``"batch"``: it reads a NaN; ``"exchange"``: its batches are fine, and a NaN comes with the gradients.
    """
    import torch
    import torch.nn.functional as F

    from neuraldbg.capture import Capture
    from neuraldbg.demos.models import ResNet

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ResNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randn(1024, 64)
    y = (x @ torch.randn(64, 10)).argmax(1)
    capture = Capture(model)
    capture.start()
    for step in range(STEPS):
        rows = slice(step * 32 % 1024, step * 32 % 1024 + 32)
        batch = x[rows].clone()
        batch[0, 0] *= math.nan if fault == "batch" and step == BAD_STEP else 1.0
        optimizer.zero_grad()
        F.cross_entropy(model(batch), y[rows]).backward()
        if fault == "exchange" and step == BAD_STEP:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(math.nan)
        optimizer.step()
    capture.stop()
    return capture.recording()


def simulated(base: Mapping[str, Recording], rank: int, count: int, *, faulty: bool) -> Recording:
    """Return what one rank of the run would have seen."""
    rng = np.random.default_rng(rank)

    def own(column: Column) -> Column:
        noise = np.exp(0.03 * rng.standard_normal(column.values.shape)).astype(np.float32)
        return Column(column.values * noise, column.observed)

    seen = ("batch" if rank == BAD_RANK else "exchange") if faulty else ""
    found = base[seen]
    found = replace(
        found,
        facts={**found.facts, "rank": rank, "ranks": count},
        step={k: own(c) if k in OWN else c for k, c in found.step.items()},
        layer={k: own(c) for k, c in found.layer.items()},
    )
    return _alone(found, rng) if faulty and rank == DRIFTING else found


def _alone(found: Recording, rng: np.random.Generator) -> Recording:
    """Return what a rank would have seen that exchanges no gradients from a step on."""
    grad, weight = found.grad["grad_norm"], found.param["weight_norm"]
    late = found.steps[:, None] >= DRIFT_STEP
    own = np.exp(0.2 * rng.standard_normal(grad.values.shape)) ** late
    gone = 1 + 0.1 * np.maximum(found.sampled[:, None] - DRIFT_STEP, 0) / STEPS
    columns = (
        Column((column.values * factor).astype(np.float32), column.observed)
        for column, factor in ((grad, own), (weight, gone))
    )
    return replace(
        found,
        grad={"grad_norm": next(columns)},
        param={**found.param, "weight_norm": next(columns)},
    )


def merging() -> list[dict[str, Any]]:
    """Return one row per number of ranks, healthy and faulty."""
    base, rows = {fault: recorded(fault) for fault in ("", "batch", "exchange")}, []
    with tempfile.TemporaryDirectory() as folder:
        for faulty in (False, True):
            place = Path(folder) / str(faulty)
            place.mkdir()
            for count in COUNTS:
                for rank in range(count):
                    path = place / f"run.rank{rank}.ndbg"
                    write_recording(simulated(base, rank, count, faulty=faulty), path)
                size = sum(p.stat().st_size for p in place.glob("*.ndbg"))
                row = _child("merge", str(place))
                row |= {"ranks": count, "faulty": faulty, "file_kib": round(size / count / 1024, 1)}
                print(row, file=sys.stderr, flush=True)
                rows.append(row)
    return rows


def _child(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.distributed", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def merge_here(folder: str) -> dict[str, Any]:
    """Merge the recordings of a folder in this process; return what it cost and what it says."""
    read_recording(next(Path(folder).glob("*.ndbg")))
    before = _peak()
    start = time.perf_counter()
    run = merge(folder)
    merged = time.perf_counter()
    peak = _peak()
    diagnosis = run.diagnose()
    first = run.ranks.first
    return {
        "merge_s": round(merged - start, 3),
        "diagnose_s": round(time.perf_counter() - merged, 3),
        "memory_mib": round((peak - before) / 1024, 1),
        "p_healthy": round(diagnosis.p_healthy, 3),
        "mechanisms": [e.hypothesis.mechanism for e in diagnosis.explanations],
        "first": None if first is None else [list(first.ranks), first.step],
        "drifts": [[d.what, list(d.ranks)[:4], d.step] for d in run.ranks.drifts],
    }


def _peak() -> int:
    """Return the largest memory of this process so far, KiB; what its parent used before does not count."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


# -- watching a rank -----------------------------------------------------------------------------


def cost() -> list[dict[str, Any]]:
    """Return the ratio of watched to plain CPU time of both ranks of two ways to train."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", "-m", "benchmarks.distributed", "rank", folder]
        subprocess.run(command, check=True)
        return [
            json.loads(line)
            for path in sorted(Path(folder).glob("*.jsonl"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]


def rank_here(folder: str) -> None:
    """Measure in one of the processes that torchrun started."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with (Path(folder) / f"rank{rank}.jsonl").open("w", encoding="utf-8") as file:
        for row in _costs():
            file.write(json.dumps({"rank": rank, **row}) + "\n")
    dist.destroy_process_group()


def _costs() -> Iterator[dict[str, Any]]:
    import torch
    from torch import nn
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    from neuraldbg.demos.models import Decoder, plain_mlp

    ids, labels = torch.randint(0, 64, (16, 32)), torch.randint(0, 10, (64,))
    programs: tuple[tuple[str, Callable[[], nn.Module], Any, Any], ...] = (
        ("mlp 4x256, batch 64", lambda: plain_mlp(nn.ReLU, 4, 256), torch.randn(64, 64), labels),
        ("transformer 2x48, batch 16", Decoder, ids, ids),
    )
    for way, wrap in (("DDP", DistributedDataParallel), ("FSDP2", fully_shard)):
        for name, make, x, y in programs:
            torch.manual_seed(0)
            model: Any = wrap(make())
            yield {"way": way, "program": name, **_ratios(model, _stepper(model, x, y))}


def _ratios(model: Any, run: Callable[[], float]) -> dict[str, float]:
    """Return step time, and the ratio of watched to plain blocks for two rhythms, with a control."""
    from neuraldbg.capture import Capture, Schedule

    run()
    out: dict[str, float] = {}
    for every in RHYTHMS:
        capture = Capture(model, schedule=Schedule(dense=3, every=every, sparsest=every))
        capture.start()
        run()
        ratios, controls, plain = [], [], []
        for _ in range(BLOCKS):
            capture.pause()
            before = run()
            capture.resume()
            watched = run()
            capture.pause()
            after = run()
            capture.resume()
            ratios.append(2 * watched / (before + after))
            controls.append(after / before)
            plain.append(before)
        capture.stop()
        out["step_ms"] = round(1e3 * statistics.median(plain), 3)
        out[f"every {every}"] = round(statistics.median(ratios), 4)
        out["control"] = round(statistics.median(controls), 4)
    return out


def _stepper(model: Any, x: Any, y: Any) -> Callable[[], float]:
    """Return a function that trains a block of steps and returns the CPU seconds of one."""
    import torch
    import torch.nn.functional as F

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run() -> float:
        start = time.process_time()
        for _ in range(BLOCK):
            optimizer.zero_grad()
            F.cross_entropy(model(x).flatten(0, -2), y.flatten()).backward()
            optimizer.step()
        return (time.process_time() - start) / BLOCK

    return run


# -- tables --------------------------------------------------------------------------------------


def tables(merged: list[dict[str, Any]], watched: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return both results as tables."""
    return [
        {
            "title": "Merging the recordings of many ranks",
            "columns": ["ranks", "run", "KiB a rank", "merge, s", "memory, MiB", "answer"],
            "rows": [
                [
                    row["ranks"],
                    "one bad batch, one drifting rank" if row["faulty"] else "healthy",
                    row["file_kib"],
                    row["merge_s"],
                    row["memory_mib"],
                    _answer(row),
                ]
                for row in merged
            ],
            "note": f"A residual network of 1,000 steps; rank {BAD_RANK} reads a NaN at step {BAD_STEP}, rank "
            f"{DRIFTING} exchanges no gradients from step {DRIFT_STEP} on. Memory is the peak over that of a "
            "process that has read one recording.",
            "readme": False,
        },
        {
            "title": "What watching costs a rank",
            "columns": ["way", "program", "rank", "step, ms", "every 10", "every 80", "control"],
            "rows": [
                [
                    *(
                        row[k]
                        for k in ("way", "program", "rank", "step_ms", "every 10", "every 80")
                    ),
                    row["control"],
                ]
                for row in watched
            ],
            "note": "Two processes over gloo on one machine; CPU time of a rank, watched over plain.",
            "readme": False,
        },
    ]


def _answer(row: dict[str, Any]) -> str:
    if not row["mechanisms"]:
        return f"healthy, p = {row['p_healthy']}"
    first = row["first"]
    who = f"; rank {', '.join(map(str, first[0]))} first, step {first[1]}" if first else ""
    drifts = "".join(f"; {what} of rank {ranks[0]}, step {s}" for what, ranks, s in row["drifts"])
    return f"{', '.join(row['mechanisms'][:2])}{who}{drifts}"


def main(words: list[str]) -> None:
    """Measure everything and write the result, or do what a child process was asked for."""
    if words[:1] == ["merge"]:
        print(json.dumps(merge_here(words[1])))
    elif words[:1] == ["rank"]:
        rank_here(words[1])
    else:
        found = tables(merging(), cost())
        print(write("distributed", {"tables": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
