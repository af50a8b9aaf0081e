"""Step time and memory under the other tools and under ours, in one process: runs in the peers' environment.

Every tool is told the loss as its README wants it, and so is read the loss in the plain loop. Ours is put back for
each block as it is in a long run, every 160th step sampled; the others know no rhythm and look at every step.
``naive`` is what is found in many notebooks: a forward hook on every layer that reads one number.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import subprocess
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.overhead.programs import Program, eager
from benchmarks.overhead.timing import STEADY, timed
from benchmarks.peers.environment import build
from benchmarks.peers.worker import TOOLS
from neuraldbg.capture import Capture, Schedule

__all__ = ["compare"]

PROGRAMS = (
    "mlp 4x256, batch 64",
    "residual cnn, batch 64",
    "transformer 2x48, batch 16",
    "mlp 6x512, batch 128",
)
WARM, TIMED, BLOCKS = 4, STEADY, 3
MEMORY_STEPS = 200


@contextmanager
def _naive(model: Any, _optimizer: Any) -> Iterator[Any]:
    seen: list[float] = []

    def note(_module: Any, _args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            seen.append(output.detach().norm().item())

    handles = [m.register_forward_hook(note) for m in model.modules() if not any(m.children())]
    yield SimpleNamespace(loss=lambda _value: None)
    for handle in handles:
        handle.remove()


@contextmanager
def _nothing(_model: Any, _optimizer: Any) -> Iterator[Any]:
    yield SimpleNamespace(loss=lambda _value: None)


def _watchers(model: Any) -> dict[str, Callable[[Any, Any], Any]]:
    capture = Capture(model, schedule=Schedule(dense=3, early=0, every=STEADY, sparsest=STEADY))
    capture.start()
    capture.pause()

    @contextmanager
    def ours(_model: Any, _optimizer: Any) -> Iterator[Any]:
        capture.resume()
        yield SimpleNamespace(loss=lambda _value: None)
        capture.pause()

    found: dict[str, Callable[[Any, Any], Any]] = {
        "plain": _nothing,
        "neuraldbg (ours)": ours,
        "naive": _naive,
    }
    for tool, (module, name) in TOOLS.items():
        if tool != "rules":
            found[tool] = getattr(importlib.import_module(module), name)()
    return found


def _told(program: Program, told: Any) -> Callable[[], None]:
    return lambda: told.loss(program.step().item())


def _times(program: Program) -> dict[str, Any]:
    """Return the median ratio of every tool to the plain loop, blocks of all tools in turn."""
    watchers = _watchers(program.model)
    spent: dict[str, list[float]] = {tool: [] for tool in watchers}
    for _ in range(BLOCKS):
        for tool, watch in watchers.items():
            with watch(program.model, program.optimizer) as told:
                step = _told(program, told)
                timed(step, WARM)
                # A step now and then is slow: the mean, but without what a loud neighbour did to the worst.
                block = np.sort(timed(step, TIMED))
                spent[tool].append(float(block[: -TIMED // 50].mean()))
    plain = np.array(spent.pop("plain"))
    row: dict[str, Any] = {
        "program": program.name,
        "step, ms": round(float(np.median(plain)) / 1e3, 2),
    }
    return row | {
        tool: round(float(np.median(np.array(s) / plain)), 3) for tool, s in spent.items()
    }


def _memory(program: Program) -> dict[str, Any]:
    """Return the Python memory in bytes that a step leaves behind under every tool."""
    row: dict[str, Any] = {"program": "bytes a step keeps", "step, ms": None}
    for tool, watch in _watchers(program.model).items():
        with watch(program.model, program.optimizer) as told:
            step = _told(program, told)
            timed(step, MEMORY_STEPS // 4)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(MEMORY_STEPS):
                step()
            row[tool] = round((tracemalloc.get_traced_memory()[0] - before) / MEMORY_STEPS)
            tracemalloc.stop()
    row.pop("plain")
    return row


def compare() -> list[dict[str, Any]]:
    """Return a row per program with the ratio of every tool, measured in the peers' environment."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [str(build()), "-m", "benchmarks.overhead.rivals", "--out", str(out)]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
        found: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Measure, inside the peers' environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    rows = [_times(program) for name in PROGRAMS for program in eager(name)]
    rows.append(_memory(next(eager(PROGRAMS[0]))))
    args.out.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
