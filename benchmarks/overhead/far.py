"""Time of a step on a device: wall-clock time of blocks, the device waited for at their ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.overhead.programs import EAGER, Program, training
from benchmarks.overhead.timing import Costs
from neuraldbg.capture import Capture, Schedule
from neuraldbg.capture.compiled import is_optimized

__all__ = ["far_costs", "far_programs"]

NEVER = 10**9
# Steps that are looked at closely before the first that is not: what is known by then takes the short way.
BEGINNING = Schedule().dense
CLIPPED, COMPILED = ", clipped", ", compiled"
# Seconds of a block, steps of one that is looked at closely, and steps whose numbers are fetched together.
BLOCK_S, CLOSE, TOGETHER = 0.04, 2, 64
# Those whose time is spent by the processor that starts kernels.
SMALL = (
    "mlp 4x256, batch 64",
    "lstm 48, batch 64",
    "residual cnn, batch 64",
    "100 layers of 32, batch 64",
)


class _Block(nn.Module):
    """One layer of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in self.qkv(self.ln1(x)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class _Transformer(nn.Module):
    """A language model of the size of the smallest ones that people train."""

    def __init__(self, width: int = 768, layers: int = 12, words: int = 8192) -> None:
        super().__init__()
        self.tok, self.pos = nn.Embedding(words, width), nn.Embedding(512, width)
        self.blocks = nn.ModuleList(_Block(width, width // 64) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok(ids) + self.pos.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def _convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for inner, outer in ((3, 64), (64, 128), (128, 256), (256, 256)):
        for a in (inner, outer):
            layers += [nn.Conv2d(a, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def _images() -> tuple[Tensor, Tensor]:
    return torch.randn(512, 3, 32, 32), torch.randint(0, 10, (512,))


def _text() -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 8192, (16, 512))
    return ids, ids


def far_programs(only: str, device: str) -> Iterator[Program]:
    """Yield programs on a device, smallest first."""
    makers: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, Tensor]]]] = {
        **{name: EAGER[name] for name in SMALL},
        "8 convolutions, batch 512": lambda: (_convolutions(), _images()),
    }
    text = "transformer 12x768, batch 16x512, bfloat16"
    makers |= {
        f"{text}{kind}": lambda: (_Transformer(), _text()) for kind in ("", CLIPPED, COMPILED)
    }
    for name, make in makers.items():
        if only not in name:
            continue
        torch.manual_seed(0)
        torch.compiler.reset()
        model, (x, y) = make()
        model = model.to(device)
        if name.endswith(COMPILED):
            model = torch.compile(model)  # type: ignore[assignment]
        clip = 1.0 if name.endswith(CLIPPED) else None
        yield training(name, model, (x.to(device), y.to(device)), half=text in name, clip=clip)


def _wait() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _block(step: Callable[[], object], count: int) -> float:
    """Return the microseconds of a step, over a block of them."""
    _wait()
    start = time.perf_counter_ns()
    for _ in range(count):
        step()
    _wait()
    return (time.perf_counter_ns() - start) / count / 1e3


def _watched(
    program: Program, schedule: Schedule, count: int, rounds: int
) -> tuple[float, list[float], list[float]]:
    """Return a plain step, the ratios of watched blocks to their plain neighbours, and of these to one another.

    What watched blocks leave on the device is fetched once in so many steps; what that takes is spread over them.
    """
    capture = Capture(program.model, schedule=schedule)
    capture.start()
    for _ in range(2 * BEGINNING):
        program.step()
    plain, ratios, control, fetched, since = [], [], [], [], 0
    for _ in range(rounds):
        capture.pause()
        before = _block(program.step, count)
        capture.resume()
        spent = _block(program.step, count)
        since += count
        if since >= TOGETHER:
            flush = capture._session._flush  # noqa: SLF001 - what is left on the device belongs to these steps
            fetched.append(_block(flush, 1) / since)
            since = 0
        capture.pause()
        after = _block(program.step, count)
        capture.resume()
        plain += [before, after]
        ratios.append(2 * spent / (before + after))
        control.append(after / before)
    capture.stop()
    if failed := capture.recording().facts["disarmed"]:
        raise RuntimeError(failed)
    base = float(np.median(plain))
    late = float(np.median(fetched)) / base if fetched else 0.0
    return base, [ratio + late for ratio in ratios], control


def far_costs(program: Program, budget_s: float) -> Costs:
    """Return what one program costs with and without watching; ``budget_s`` of time for all."""
    for _ in range(8):
        program.step()
    once = _block(program.step, 8) / 1e6
    count = max(2, min(16, int(BLOCK_S / once)))
    rounds = max(16, min(100, int(0.6 * budget_s / (3 * count * once))))
    close = max(4, min(20, int(0.2 * budget_s / (5 * CLOSE * once))))
    quiet = Schedule(dense=BEGINNING, every=NEVER, sparsest=NEVER)
    base, ratios, control = _watched(program, quiet, count, rounds)
    never = {"traced_every": NEVER, "traced_every_compiled": NEVER}
    _, sampled, _ = _watched(program, Schedule(dense=3, sparsest=1, **never), CLOSE, close)
    _, traced, _ = _watched(program, Schedule(dense=NEVER, traced=NEVER), CLOSE, close)
    return Costs(
        plain=base,
        control=float(np.median(control)),
        unsampled=base * float(np.median(ratios)),
        sampled=base * float(np.median(sampled)),
        traced=base * float(np.median(traced)),
        quartiles=(float(np.quantile(ratios, 0.25)), float(np.quantile(ratios, 0.75))),
        compiled=is_optimized(program.model),
    )
