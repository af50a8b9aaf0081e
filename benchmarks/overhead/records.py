"""What the recording of a run takes: memory a step, time to an answer, time to import."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.capture import Capture, Schedule
from neuraldbg.capture.schedule import Rhythm
from neuraldbg.demos.models import plain_mlp
from neuraldbg.pipeline import diagnose
from neuraldbg.records.recording import (
    Column,
    LayerInfo,
    OptimizerInfo,
    ParamInfo,
    Recording,
    Topology,
)

__all__ = ["answer_time", "import_time", "large_recording", "memory"]


def memory(steps: int = 2000) -> dict[str, Any]:
    """Return Python memory a step of watching beyond the recording's own columns."""
    model = plain_mlp(nn.ReLU, 2, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(8, 64), torch.randint(0, 10, (8,))
    capture = Capture(model)
    capture.start()
    sizes = []
    tracemalloc.start()
    for step in range(2 * steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step in (steps - 1, 2 * steps - 1):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    capture.stop()
    columns = _bytes(capture.recording()) / (2 * steps)
    return {
        "bytes_per_step": round((sizes[1] - sizes[0]) / steps, 1),
        "recording_bytes_per_step": round(columns, 1),
    }


def _bytes(recording: Recording) -> int:
    families = (recording.step, recording.group, recording.grad, recording.layer, recording.param)
    return sum(c.values.nbytes + c.observed.nbytes for family in families for c in family.values())


def large_recording(layers: int = 500, steps: int = 10_000) -> Recording:
    """Return a recording of this size with plausible noise and no fault."""
    rng = np.random.default_rng(0)
    rhythm = Rhythm(Schedule())
    sampled = np.array([0, *(step for step in range(1, steps) if rhythm.next(step)[0])])
    infos = tuple(
        LayerInfo(
            name=f"block{i}.fc",
            type="Linear",
            kind="linear",
            order=i,
            activation="relu",
            params=(i,),
        )
        for i in range(layers)
    )
    params = tuple(
        ParamInfo(name=f"block{i}.fc.weight", layer=i, shape=(64, 64), group=0, fan_in=64)
        for i in range(layers)
    )
    edges = tuple((i, i + 1) for i in range(layers - 1))

    def noisy(center: float, *shape: int) -> Column:
        values = (center * np.exp(0.1 * rng.standard_normal(shape))).astype(np.float32)
        return Column(values, np.ones(shape, bool))

    n, size = steps, (sampled.size, layers)
    return Recording(
        topology=Topology(layers=infos, params=params, edges=edges, inputs=(0,), outputs=(layers - 1,)),
        optimizers=(OptimizerInfo(type="Adam", family="adam", groups=(0,), defaults={"lr": 1e-3}),),
        steps=np.arange(n),
        step={
            "loss": Column(noisy(1.0, n).values * np.exp(-np.arange(n) / 4000).astype(np.float32), np.ones(n, bool)),
            "input_mean": noisy(0.1, n), "input_std": noisy(1.0, n), "stepped": noisy(1.0, n),
        },
        group={"lr": Column(np.full((n, 1), 1e-3, np.float32), np.ones((n, 1), bool))},
        grad={"grad_norm": noisy(0.1, n, layers)},
        sampled=sampled,
        layer={k: noisy(v, *size) for k, v in {
            "act_rms": 1.0, "act_std": 0.8, "act_absmax": 4.0, "dead_share": 0.02, "out_grad_norm": 0.05,
        }.items()},
        param={k: noisy(v, *size) for k, v in {
            "update_ratio": 1e-3, "weight_norm": 8.0, "update_cos_grad": 0.2, "update_cos_weight": 0.01,
            "grad_cos_prev": 0.1, "unchanged_share": 0.001, "grad_rms_over_v": 1.0, "init_gain": 1.4,
        }.items()},
    )  # fmt: skip


def answer_time() -> dict[str, Any]:
    """Return seconds of ``diagnose`` on 500 layers and 10,000 steps, after all imports."""
    recording = large_recording()
    diagnose(large_recording(5, 100))
    start = time.perf_counter()
    diagnose(recording)
    return {"layers": 500, "steps": 10_000, "diagnose_s": round(time.perf_counter() - start, 3)}


def import_time() -> dict[str, float]:
    """Return the median CPU seconds that the public name costs on top of torch, and the first watcher after it."""
    code = (
        "import time, torch; model = torch.nn.Linear(2, 1)\n"
        "a = time.process_time()\nfrom neuraldbg import NeuralDbg\nb = time.process_time()\n"
        "with NeuralDbg(model): pass\nprint(b - a, time.process_time() - b)"
    )
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
        )
        times.append([float(x) for x in done.stdout.split()])
    name, first = (round(statistics.median(x), 4) for x in zip(*times, strict=True))
    return {"import_over_torch_s": name, "first_watcher_s": first}
