"""Parameters that the loss depends on and nobody holds: layers in a plain list."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.catalogue import EXPERTS
from tests.loops import clusters, train


class Stack(nn.Module):
    """Hidden layers in a list that PyTorch may know or not."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(8, 16), nn.Linear(16, 4)
        hidden = [nn.Linear(16, 16) for _ in range(2)]
        self.hidden = nn.ModuleList(hidden) if registered else hidden

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.head(x)


def count(dbg: NeuralDbg) -> object:
    return dbg.recording.facts.get("strangers")


@pytest.mark.parametrize(("registered", "number"), [(False, 4), (True, 0)])
def test_layers_in_a_plain_list_are_counted(registered: bool, number: int) -> None:
    model = Stack(registered=registered)
    with NeuralDbg(model) as dbg:
        train(model, steps=12)
    assert count(dbg) == number


def test_they_are_told_as_parameters_that_are_never_updated() -> None:
    model = Stack(registered=False)
    with NeuralDbg(model, catalogue=EXPERTS) as dbg:
        train(model, steps=60, lr=0.01)
    first = dbg.get_causal_hypotheses()[0]
    assert first.mechanism == "parameters_not_updated"
    assert "ModuleList" in first.remedy


def test_a_second_network_with_an_optimizer_of_its_own_is_no_stranger() -> None:
    one, two = nn.Linear(8, 8), nn.Linear(8, 4)
    first = torch.optim.SGD(one.parameters(), lr=0.1)
    second = torch.optim.SGD(two.parameters(), lr=0.1)
    with NeuralDbg(one) as dbg:
        for step in range(6):
            x, y = clusters(step)
            F.cross_entropy(two(one(x)), y).backward()
            for optimizer in (first, second):
                optimizer.step()
                optimizer.zero_grad()
    assert count(dbg) == 0
    assert dbg.recording.facts["rivals"] == 2


def test_one_that_is_frozen_on_purpose_is_none_either() -> None:
    one, judge = nn.Linear(8, 8), nn.Linear(8, 4).requires_grad_(requires_grad=False)
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    with NeuralDbg(one) as dbg:
        for step in range(6):
            x, y = clusters(step)
            optimizer.zero_grad()
            F.cross_entropy(judge(one(x)), y).backward()
            optimizer.step()
    assert count(dbg) == 0


def test_registered_they_are_not_accused() -> None:
    model = Stack(registered=True)
    with NeuralDbg(model, catalogue=EXPERTS) as dbg:
        train(model, steps=60, lr=0.2)
    accused = {h.mechanism for h in dbg.get_causal_hypotheses() if h.probability >= 0.1}
    assert "parameters_not_updated" not in accused


def grown(*, told: bool, lr: float = 0.2) -> NeuralDbg:
    """Train a model whose last layer is replaced at step 40; the optimizer is told of it or not."""
    model = Stack(registered=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with NeuralDbg(model, catalogue=EXPERTS) as dbg:
        for step in range(120):
            if step == 40:
                model.head.weight = nn.Parameter(torch.randn(4, 16) / 4)
                if told:
                    optimizer.param_groups[0]["params"] = list(model.parameters())
            x, y = clusters(step)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return dbg


def test_a_weight_put_into_the_model_that_no_optimizer_steps_is_told_with_its_layer_and_step() -> (
    None
):
    dbg = grown(told=False)
    (found,) = [o for o in dbg.recording.occurrences if o.kind == "unheard"]
    assert dbg.recording.topology.layers[found.layer].name == "head"
    assert 40 <= found.step <= 48
    (event,) = [e for e in dbg.events if e.name == "parameters_orphaned"]
    assert (event.layer, event.span.first) == ("head", found.step)


def test_one_that_the_optimizer_is_handed_is_none() -> None:
    dbg = grown(told=True)
    assert [o for o in dbg.recording.occurrences if o.kind == "unheard"] == []
    assert [e for e in dbg.events if e.name == "parameters_orphaned"] == []


def test_a_weight_that_is_made_anew_in_every_step_is_none() -> None:
    model = Stack(registered=True)
    optimizer = torch.optim.SGD(model.stem.parameters(), lr=0.1)
    with NeuralDbg(model) as dbg:
        for step in range(30):
            model.head.weight = nn.Parameter(torch.ones(4, 16))
            x, y = clusters(step)
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert [o for o in dbg.recording.occurrences if o.kind == "unheard"] == []


class Tied(nn.Module):
    """Looks words up in a table and scores all words with what it makes of it."""

    def __init__(self, score) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.body, self.score = nn.Embedding(20, 16), nn.Linear(16, 16), score

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.body(self.words(x)), self.words.weight)


def test_a_table_that_is_multiplied_later_is_no_longer_as_it_was_drawn() -> None:
    steps = iter(range(9))
    model = Tied(lambda h, table: h @ (table.T if next(steps) else torch.ones(16, 20)))
    with NeuralDbg(model) as dbg:
        train(model, steps=4, batch=lambda step: (torch.arange(20), torch.arange(20)))
    at = [p.name for p in dbg.recording.topology.params].index("words.weight")
    assert not dbg.recording.param["init_gain"].observed[:, at].any()


@pytest.mark.parametrize(
    ("score", "scale"),
    [
        (lambda h, table: h @ table.T, 4.0),
        (lambda h, table: h.mm(table.transpose(0, 1)), 4.0),
        (F.linear, 4.0),
        (lambda h, table: h @ F.normalize(table, dim=1).T, None),
        (lambda h, table: h @ torch.ones(16, 20), None),
    ],
    ids=["turned", "transposed", "linear", "of unit length", "only looked up"],
)
def test_the_scale_of_a_table_that_is_multiplied_by_hand_is_measured(score, scale) -> None:
    model = Tied(score)
    with NeuralDbg(model) as dbg:
        train(model, steps=4, batch=lambda step: (torch.arange(20), torch.arange(20)))
    gain = dbg.recording.param["init_gain"]
    at = [p.name for p in dbg.recording.topology.params].index("words.weight")
    assert gain.observed[0, at] == (scale is not None)
    if scale is not None:
        # Entries of deviation one, of which sixteen are added up.
        assert gain.values[0, at] == pytest.approx(scale, rel=0.1)
        assert not gain.observed[1:, at].any()
