"""One recording and its report, shared by the tests of what people see."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from neuraldbg import NeuralDbg, load
from neuraldbg.demos import find


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Return a saved run whose learning rate jumped."""
    # Small tensors: a second thread waits for the first.
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("report") / "jump.ndbg"

    @contextmanager
    def observe(model, _optimizer):
        with NeuralDbg(model, save=path):
            yield type("Watch", (), {"loss": lambda self, value: None})()

    find("resnet-learning-rate-jump").train(observe, seed=0)
    return load(path)
