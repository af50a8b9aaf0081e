"""A real device, or none of these tests."""

import os

import pytest
import torch

# Read when the library is loaded: without it sums of products differ from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def _device():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.use_deterministic_algorithms(mode=True)
    with torch.device("cuda"):
        yield
    torch.use_deterministic_algorithms(mode=False)
