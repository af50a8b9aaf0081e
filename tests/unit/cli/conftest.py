"""Recordings to ask: a failed run, its healthy twin, and a run of another kind."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from neuraldbg import NeuralDbg
from neuraldbg.demos import find

RUNS = {
    "jump": ("resnet-learning-rate-jump", False),
    "twin": ("resnet-learning-rate-jump", True),
    "nan": ("cnn-nonfinite-data", False),
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Return a folder with one recording a run."""
    # Small tensors: a second thread waits for the first.
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    for name, (case, fixed) in RUNS.items():

        @contextmanager
        def observe(model, _optimizer, name=name):
            with NeuralDbg(model, save=folder / f"{name}.ndbg"):
                yield type("Watch", (), {"loss": lambda self, value: None})()

        find(case).train(observe, seed=0, fixed=fixed)
    return folder
