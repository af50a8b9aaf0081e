"""One launch of two real processes for all tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed

ROOT = Path(__file__).parents[3]
SECONDS = 180


@pytest.fixture(scope="session")
def launched(tmp_path_factory):
    """Run every program on two ranks and return the folder of what they left."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    out = tmp_path_factory.mktemp("ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        # An error of ours in a hook is an error of the program.
        [*torchrun, "-m", "tests.scenarios.distributed.programs", str(out)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "error:NeuralDBG",
        },
        capture_output=True,
        text=True,
        check=False,
        # A collective of ours would hang as soon as two ranks look at different steps.
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def seen(launched):
    """Return what both ranks saw of the unwatched and the watched runs."""
    return [json.loads((launched / f"rank{r}.json").read_text()) for r in (0, 1)]
