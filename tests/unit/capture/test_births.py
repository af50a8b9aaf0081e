"""Where a NaN was born is told apart: in the target, on the way into the first layer, or in a layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.records.recording import Occurrence, Recording
from tests.loops import Batch, clusters, train


class Scaled(nn.Module):
    """Divides each sample by its length on the way into its first layer."""

    def __init__(self, eps: float = 0.0) -> None:
        super().__init__()
        self.first, self.last, self.eps = nn.Linear(8, 16), nn.Linear(16, 4), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x / (x.norm(dim=1, keepdim=True) + self.eps))))


class Pooled(nn.Module):
    """One pooling module for two places."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
        self.pool, self.head = nn.MaxPool1d(2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.one(x[:, None])))
        return self.head(self.pool(torch.relu(self.two(x))).flatten(1))


def blank(step: int) -> Batch:
    """Return a batch with an empty sample at step 5."""
    x, y = clusters(step)
    if step == 5:
        x[0] = 0.0
    return x, y


def watched(model: nn.Module, **options: Any) -> Recording:
    with NeuralDbg(model) as dbg:
        train(model, steps=12, **options)
    return dbg.recording


def birth(recording: Recording) -> tuple[int, str, str | None]:
    """Return step, kind and layer of the first occurrence of a non-finite value."""
    found: Occurrence = next(o for o in recording.occurrences if o.kind.startswith("nonfinite"))
    layer = recording.topology.layers[found.layer].name if found.layer >= 0 else None
    return found.step, found.kind, layer


def test_data_that_went_bad_on_their_way_into_a_layer_are_told_at_that_layer() -> None:
    assert birth(watched(Scaled(), batch=blank)) == (5, "nonfinite_forward", "first")


def test_its_twin_with_an_epsilon_has_no_birth() -> None:
    recording = watched(Scaled(eps=1e-3), batch=blank)
    assert not any(o.kind.startswith("nonfinite") for o in recording.occurrences)


@pytest.mark.parametrize("hidden", [0, 1], ids=["a single layer", "two layers"])
def test_a_bad_target_is_told_as_a_target(hidden: int) -> None:
    torch.manual_seed(0)
    body = [nn.Linear(8, 8), nn.Tanh()] * hidden
    model = nn.Sequential(*body, nn.Linear(8, 1))

    def batch(step: int) -> Batch:
        x, _ = clusters(step)
        return x, torch.full((len(x), 1), float("nan") if step == 5 else 1.0)

    step, kind, _ = birth(watched(model, batch=batch, loss=F.mse_loss, lr=0.01))
    assert (step, kind) == (5, "nonfinite_target")


def test_what_feeds_the_second_call_of_a_shared_module_feeds_what_comes_after_it() -> None:
    recording = watched(Pooled())
    names = [layer.name for layer in recording.topology.layers]
    edges = {(names[a], names[b]) for a, b in recording.topology.edges}
    assert ("two", "head") in edges
    assert ("one", "head") not in edges
    assert ("head", "two") not in edges


def test_initial_biases_are_measured_before_the_first_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].bias.fill_(-20.0)
        model[2].bias.zero_()
    column = watched(model).param["init_bias"]
    held = {p.name: i for i, p in enumerate(watched(model).topology.params)}
    assert column.values[0, held["0.bias"]] == pytest.approx(20.0)
    assert column.values[0, held["2.bias"]] == 0.0
    assert not column.observed[0, held["0.weight"]]
