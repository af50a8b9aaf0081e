"""A network that writes weights and starts by writing almost none."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.heldout.nets.relational import WRITER
from benchmarks.heldout.program import adam, run
from neuraldbg.demos.case import Observe, Outcome, Truth

ID = "odd-writer-zero-head"
FAMILY = "hypernetwork"
TITLE = "A network that writes weights and starts by writing almost none"
TRUTH: Truth = {"mechanisms": []}
PROGRAM = replace(WRITER, prepare=lambda m: m.write.weight.data.mul_(0.05), optimizer=adam(3e-3))


def train(observe: Observe, seed: int = 0, fixed: bool = False) -> Outcome:
    del fixed
    return run(PROGRAM, observe, seed)
