"""Names without wrappers, the rank by whatever launcher, and whether a tensor is sharded."""

import pytest
import torch
from torch import nn

from neuraldbg.capture import rank_and_count
from neuraldbg.capture.shards import is_sharded, local, unwrapped
from neuraldbg.capture.topology import draw


def body():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


class Outer(nn.Module):
    """A user's own wrapper, whose attribute happens to be called like that of DataParallel."""

    def __init__(self, module):
        super().__init__()
        self.module = module


class OptimizedModule(nn.Module):
    """Stands for what ``torch.compile`` returns, whose import is slow and warns."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module


class CheckpointWrapper(nn.Module):
    """Stands for PyTorch's own, whose import warns too."""

    def __init__(self, module):
        super().__init__()
        self._checkpoint_wrapped_module = module


class DeepSpeedEngine(Outer):
    """Stands for that of DeepSpeed, which is no part of the tests."""


@pytest.mark.parametrize(
    ("model", "first"),
    [
        (nn.DataParallel(body()), "0"),
        (OptimizedModule(nn.DataParallel(body())), "0"),
        (nn.DataParallel(Outer(body())), "module.0"),
        (Outer(nn.DataParallel(body())), "module.0"),
        (nn.Sequential(nn.ReLU(), CheckpointWrapper(body())), "1.0"),
        (DeepSpeedEngine(body()), "0"),
    ],
    ids=["wrapped", "wrapped twice", "own name kept", "inside", "a part wrapped", "DeepSpeed"],
)
def test_layers_and_parameters_have_the_names_that_the_user_gave(model, first):
    drawn = draw(model)
    names = [layer.name for layer in drawn.layers]
    assert first in names
    assert drawn.params[0].name == f"{first}.weight"
    assert not [n for n in names if "_orig_mod" in n or "_checkpoint_wrapped" in n]


def test_parameters_that_zero_put_away_are_shards_of_what_they_were():
    model = body()
    weight = model[0].weight
    weight.ds_shape = weight.shape
    kept = draw(model).params[0]
    weight.data = torch.empty(0)
    gone = draw(model).params[0]
    assert (kept.shape, kept.shard) == ((3, 2), -1)
    assert (gone.shape, gone.shard) == ((3, 2), 0)


def test_a_model_without_wrappers_keeps_its_names():
    assert unwrapped(body())("module.0.weight") == "module.0.weight"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, (2, 4)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, (0, 1)),
        ({"RANK": "none", "WORLD_SIZE": "2"}, (0, 1)),
    ],
    ids=["alone", "torchrun", "SLURM", "MPI", "a trainer's own", "one task", "nonsense"],
)
def test_the_rank_is_what_the_launcher_says(monkeypatch, environment, expected):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rank_and_count() == expected


def test_a_plain_tensor_is_all_here():
    tensor = torch.ones(3)
    assert local(tensor) is tensor
    assert not is_sharded(tensor)
