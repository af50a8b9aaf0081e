"""Step time and memory under the other tools and under ours, in one process: runs in the peers' environment.

Every tool is told the loss as its README wants it, and so is read the loss in the plain loop. Ours is put back for
each block as it is late in a run, at its sparsest rhythm; the others know no rhythm and look at every step.
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
from functools import partial
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


def _ours(program: Program) -> Callable[[Any, Any], Any]:
    """Return ours as it is late in a run: watching goes on where the block before left it."""
    schedule = Schedule(dense=3, every=STEADY, sparsest=STEADY)
    capture = Capture(program.model, schedule=schedule)
    capture.start()
    capture.pause()

    @contextmanager
    def watch(_model: Any, _optimizer: Any) -> Iterator[Any]:
        capture.resume()
        yield SimpleNamespace(loss=lambda _value: None)
        capture.pause()

    return watch


def _watchers(name: str) -> dict[str, Callable[[], tuple[Program, Any]]]:
    """Return what makes a program and its watcher: anew for every block, for some tools leave hooks behind."""
    kept = _fresh(name)
    ours = _ours(kept)
    found: dict[str, Callable[[], tuple[Program, Any]]] = {
        "plain": lambda: (_fresh(name), _nothing),
        "neuraldbg (ours)": lambda: (kept, ours),
        "naive": lambda: (_fresh(name), _naive),
    }
    for tool, (module, kind) in TOOLS.items():
        if tool != "rules":
            peer = getattr(importlib.import_module(module), kind)
            found[tool] = partial(_with, name, peer)
    return found


def _fresh(name: str) -> Program:
    return next(eager(name))


def _with(name: str, peer: Callable[[], Any]) -> tuple[Program, Any]:
    return _fresh(name), peer()


def _told(program: Program, told: Any) -> Callable[[], None]:
    return lambda: told.loss(program.step().item())


def _times(name: str) -> dict[str, Any]:
    """Return the median ratio of every tool to the plain loop, blocks of all tools in turn."""
    watchers = _watchers(name)
    spent: dict[str, list[float]] = {tool: [] for tool in watchers}
    broken: dict[str, str] = {}
    for _ in range(BLOCKS):
        for tool, make in watchers.items():
            try:
                spent[tool].append(_block(*make()))
            except Exception as error:  # noqa: BLE001 - a tool that breaks the run is a result
                broken[tool] = f"breaks the run ({type(error).__name__})"
    plain = np.array(spent.pop("plain"))
    row: dict[str, Any] = {"program": name, "step, ms": round(float(np.median(plain)) / 1e3, 2)}
    ratios = {t: s for t, s in spent.items() if t not in broken}
    return (
        row
        | {t: round(float(np.median(np.array(s) / plain)), 3) for t, s in ratios.items()}
        | broken
    )


def _block(program: Program, watch: Any) -> float:
    """Return what a step takes in one block."""
    with watch(program.model, program.optimizer) as told:
        step = _told(program, told)
        timed(step, WARM)
        # A step now and then is slow: the mean, but without what a loud neighbour did to the worst.
        block = np.sort(timed(step, TIMED))
    return float(block[: -TIMED // 50].mean())


def _memory(name: str) -> dict[str, Any]:
    """Return the Python memory in bytes that a step leaves behind under every tool."""
    row: dict[str, Any] = {"program": "bytes that a step keeps", "step, ms": None}
    for tool, make in _watchers(name).items():
        program, watch = make()
        with watch(program.model, program.optimizer) as told:
            step = _told(program, told)
            timed(step, MEMORY_STEPS // 4)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            timed(step, MEMORY_STEPS)
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
    rows = [*map(_times, PROGRAMS), _memory(PROGRAMS[0])]
    args.out.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
