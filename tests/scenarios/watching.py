"""Demo runs watched once and shared by every test that asks about them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from neuraldbg import Diagnosis, NeuralDbg
from neuraldbg.demos import CASES, Case

BY_ID: dict[str, Case] = {case.id: case for case in CASES}


class _Deaf:
    def loss(self, value: float) -> None:
        """Take a loss; NeuralDbg is told nothing."""


@cache
def diagnosis_of(case_id: str, *, fixed: bool = False, seed: int = 0) -> Diagnosis:
    """Train a demo case and return the diagnosis of what was seen."""
    torch.set_num_threads(1)
    watched: list[NeuralDbg] = []

    @contextmanager
    def observe(model: Any, _optimizer: Any) -> Iterator[_Deaf]:
        with NeuralDbg(model) as dbg:
            watched.append(dbg)
            yield _Deaf()

    with warnings.catch_warnings():
        # The faults themselves warn: PyTorch sees the broadcast shapes too. Ours must not be silenced.
        warnings.filterwarnings("ignore", message="Using a target size")
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True")
        BY_ID[case_id].train(observe, seed=seed, fixed=fixed)
    return watched[0].diagnose()
