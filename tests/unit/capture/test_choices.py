"""A layer that only chooses what others do, or is cut off: nothing comes back by an index, a comparison or a count."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.catalogue import DEFAULT
from neuraldbg.events import find_events
from neuraldbg.signals import derive
from tests.twins import assert_same, digits_like, recorded, twins

STEPS = 24


def by_index(scores, experts, h):
    chosen = scores.softmax(-1).max(-1).indices
    out = torch.zeros_like(h)
    for number, expert in enumerate(experts):
        rows = (chosen == number).nonzero(as_tuple=True)[0]
        out = out.index_add(0, rows, expert(h[rows]))
    return out


def by_mask(scores, experts, h):
    first = (scores[:, :1] > scores[:, 1:]).float()
    return first * experts[0](h) + (1 - first) * experts[1](h)


def by_where(scores, experts, h):
    return torch.where(scores[:, :1] > scores[:, 1:], experts[0](h), experts[1](h))


def by_one_hot(scores, experts, h):
    weights = F.one_hot(scores.argmax(-1), 2).to(h.dtype)
    return (weights[:, None] @ torch.stack([e(h) for e in experts], 1)).squeeze(1)


def by_rank(scores, experts, h):
    rows = scores[:, 0].topk(16, largest=True).indices
    return experts[0](h[rows]).sum(0) + experts[1](h)


def straight_through(scores, experts, h):
    soft = scores.softmax(-1)
    hard = F.one_hot(soft.argmax(-1), 2) - soft.detach() + soft
    return hard[:, :1] * experts[0](h) + hard[:, 1:] * experts[1](h)


def soft(scores, experts, h):
    weights = scores.softmax(-1)
    return weights[:, :1] * experts[0](h) + weights[:, 1:] * experts[1](h)


def detached(scores, experts, h):
    return soft(scores.detach(), experts, h)


def beside(scores, experts, h):
    # To look at: it changes nothing.
    scores.argmax(-1).bincount(minlength=2).float().mean()
    return experts[0](h) + experts[1](h)


HARD = (by_index, by_mask, by_where, by_one_hot, by_rank, detached)


class Routed(nn.Module):
    def __init__(self, choose):
        super().__init__()
        self.embed, self.router = nn.Linear(16, 32), nn.Linear(32, 2)
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
        self.head, self.choose = nn.Linear(32, 4), choose

    def forward(self, x):
        h = F.relu(self.embed(x))
        return self.head(F.relu(self.choose(self.router(h), self.experts, h)))


def program(choose, steps=STEPS, loss=F.cross_entropy):
    def train(watch):
        torch.manual_seed(3)
        net = Routed(choose)
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        x, y = digits_like(256)
        losses = []
        with watch(net):
            for step in range(steps):
                rows = slice(32 * step % 256, 32 * step % 256 + 32)
                error = loss(net(x[rows]), y[rows])
                optimizer.zero_grad()
                error.backward()
                optimizer.step()
                losses.append(error.item())
        return net, losses

    return train


def named(function):
    return function.__name__


@pytest.mark.parametrize("choose", HARD, ids=named)
def test_a_layer_by_which_others_are_chosen_is_known_and_cut_off(choose) -> None:
    recording = recorded(program(choose))
    chooses = {x.name for x in recording.topology.layers if x.config.get("chooses")}
    assert "router" in chooses
    found = {e.name for e in find_events(derive(recording), DEFAULT) if e.layer == "router"}
    assert {"gradient_cut", "parameters_without_gradient"} <= found


@pytest.mark.parametrize("choose", [straight_through, soft, beside], ids=named)
def test_one_with_a_gradient_or_without_any_use_is_not(choose) -> None:
    events = find_events(derive(recorded(program(choose))), DEFAULT)
    assert "gradient_cut" not in {e.name for e in events}


@pytest.mark.parametrize("choose", [soft, beside], ids=named)
def test_what_is_only_looked_at_chooses_nothing(choose) -> None:
    layers = recorded(program(choose)).topology.layers
    assert not [x.name for x in layers if x.config.get("chooses")]


def test_what_the_loop_chooses_is_its_own_affair() -> None:
    def masked(logits, y):
        # Learns from what is still wrong only.
        return (F.cross_entropy(logits, y, reduction="none") * (logits.argmax(-1) != y)).mean()

    layers = recorded(program(soft, loss=masked)).topology.layers
    assert not [x.name for x in layers if x.config.get("chooses")]


@pytest.mark.parametrize("choose", HARD, ids=named)
def test_the_run_is_unchanged(choose) -> None:
    plain, watched, recording = twins(program(choose))
    assert_same(plain, watched)
    assert recording.facts["disarmed"] == ""


@pytest.mark.parametrize(
    ("choose", "expected"), [(by_index, [("parameters_not_updated", "router")]), (soft, [])], ids=["hard", "soft"]
)  # fmt: skip
def test_a_router_that_learns_nothing_is_the_cause(choose, expected) -> None:
    dbg = None

    def watch(net):
        nonlocal dbg
        dbg = NeuralDbg(net)
        return dbg

    program(choose, steps=200)(watch)
    found = [e.hypothesis for e in dbg.explain_failure()]
    assert [(h.mechanism, h.layer) for h in found] == expected
