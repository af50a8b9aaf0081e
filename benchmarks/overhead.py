"""What watching costs: step time with and without, interleaved, beside an A/A control.

``python -m benchmarks.overhead`` prints ratios of medians and writes ``results/overhead.json``. One capture
is attached once and taken away and put back between blocks of plain, watched and again plain steps of one
model; process CPU time, one thread. The watched blocks run in two rhythms of the default schedule: every
10th step sampled (steps 160 to 660), and every 80th (from step 2,670 on: the steady state). A whole run of
1,000 steps, with its dense start, is timed against a plain one as well.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import write
from neuraldbg.capture import Capture, Schedule
from neuraldbg.demos.models import Decoder, ResNet, SequenceNet, plain_mlp
from neuraldbg.pipeline import diagnose
from neuraldbg.records.recording import (
    Column,
    LayerInfo,
    OptimizerInfo,
    ParamInfo,
    Recording,
    Topology,
)

RHYTHMS = {"every 10": 10, "every 80": 80}
BLOCKS, STEPS, WHOLE_RUNS = 10, 80, 3


class _Wide(nn.Module):
    """A convolutional classifier of ordinary width."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def _programs() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...], Tensor]]:
    torch.manual_seed(0)
    labels = torch.randint(0, 10, (64,))
    yield "mlp 4x256, batch 64", plain_mlp(nn.ReLU, 4, 256), (torch.randn(64, 64),), labels
    yield (
        "mlp 6x512, batch 128",
        plain_mlp(nn.ReLU, 6, 512),
        (torch.randn(128, 64),),
        labels.repeat(2),
    )
    yield "cnn, batch 16", _Wide(), (torch.randn(16, 3, 32, 32),), labels[:16]
    yield "residual cnn, batch 64", ResNet(), (torch.randn(64, 64),), labels
    yield "lstm 48, batch 64", SequenceNet("lstm"), (torch.randn(64, 64),), labels
    yield "rnn cell loop, batch 64", SequenceNet("cell"), (torch.randn(64, 64),), labels
    ids = torch.randint(0, 64, (16, 32))
    yield "transformer 2x48, batch 16", Decoder(), (ids,), ids


def _loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


def _block(
    model: nn.Module,
    optimizer: Any,
    inputs: tuple[Tensor, ...],
    target: Tensor,
    steps: int = STEPS,
) -> float:
    start = time.process_time()
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(model(*inputs), target).backward()
        optimizer.step()
    return (time.process_time() - start) / steps


def measure(
    name: str, model: nn.Module, inputs: tuple[Tensor, ...], target: Tensor
) -> dict[str, Any]:
    """Return the ratios of one program."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def run() -> float:
        return _block(model, optimizer, inputs, target)

    run()
    row: dict[str, Any] = {"program": name}
    for rhythm, every in RHYTHMS.items():
        plain, watched, control = _interleaved(model, every, run)
        pairs = [w / ((a + b) / 2) for w, a, b in zip(watched, plain, control, strict=True)]
        row["step_ms"] = round(1e3 * statistics.median(plain), 3)
        row[rhythm] = round(statistics.median(pairs), 4)
        row[f"{rhythm}, quartiles"] = [round(float(q), 4) for q in np.quantile(pairs, [0.25, 0.75])]
        control_pairs = [b / a for a, b in zip(plain, control, strict=True)]
        row[f"{rhythm}, control"] = round(statistics.median(control_pairs), 4)
    row["first 1,000 steps"] = _whole_run(model, optimizer, inputs, target)
    return row


def _interleaved(
    model: nn.Module, every: int, run: Callable[[], float]
) -> tuple[list[float], list[float], list[float]]:
    """Return seconds a step of plain, watched and again plain blocks, one capture throughout."""
    capture = Capture(model, schedule=Schedule(dense=3, early=0, every=every, sparsest=every))
    capture.start()
    run()
    plain, watched, control = [], [], []
    for _ in range(BLOCKS):
        capture.pause()
        plain.append(run())
        capture.resume()
        watched.append(run())
        capture.pause()
        control.append(run())
        capture.resume()
    capture.stop()
    return plain, watched, control


def _whole_run(
    model: nn.Module, optimizer: Any, inputs: tuple[Tensor, ...], target: Tensor
) -> float:
    """Return the median ratio of 1,000 steps watched from the start to as many plain ones."""
    ratios = []
    for _ in range(WHOLE_RUNS):
        plain = _block(model, optimizer, inputs, target, 500)
        capture = Capture(model)
        start = time.process_time()
        capture.start()
        _block(model, optimizer, inputs, target, 1000)
        capture.stop()
        watched = (time.process_time() - start) / 1000
        plain += _block(model, optimizer, inputs, target, 500)
        ratios.append(2 * watched / plain)
    return round(statistics.median(ratios), 4)


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
    sampled = np.arange(0, steps, 10)
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
    """Return the median CPU seconds that the public name costs on top of torch."""
    code = (
        "import time, torch; t = time.process_time(); from neuraldbg import NeuralDbg; "
        "print(time.process_time() - t)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        times.append(float(done.stdout))
    return {"import_over_torch_s": round(statistics.median(times), 4)}


def main() -> None:
    """Measure everything and write the result."""
    torch.set_num_threads(1)
    rows = []
    for program in _programs():
        rows.append(measure(*program))
        print(rows[-1], file=sys.stderr, flush=True)
    rest = {"memory": memory(), "answer": answer_time(), "import": import_time()}
    print(rest)
    print(write("overhead", {"programs": rows, **rest}))


if __name__ == "__main__":
    main()
