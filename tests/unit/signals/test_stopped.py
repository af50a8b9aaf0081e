"""Weights whose gradient is exactly zero from some step on, though one comes to their layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.catalogue import EXPERTS
from neuraldbg.events import find_events
from neuraldbg.signals import derive
from neuraldbg.signals.stopped import gradient_stopped
from tests import builders
from tests.twins import digits_like, recorded

STEPS = 10


def stopped(
    gradient, *, output=1.0, spread=0.5, size=1.0, topology=None, other=1.0, sampled=None
):  # fmt: skip
    """Return the signal of the first of two layers by step, None where it is not known."""
    layer = {"out_grad_norm": {"a": output}, "act_std": {"a": spread}, "act_rms": {"a": size}}
    run = builders.recording(
        topology or builders.chain("a", "b"),
        steps=STEPS,
        sampled=sampled,
        layer=layer,
        grad={"a.weight": gradient, "b.weight": other},
    )
    series = gradient_stopped(run)["gradient_stopped"]
    column = series.layers.index(0)
    return [
        value if seen else None
        for value, seen in zip(
            series.values[:, column].tolist(), series.observed[:, column].tolist(), strict=True
        )
    ]


GONE = [1.0] * 4 + [0.0] * 6


def test_it_holds_from_the_step_after_the_last_gradient() -> None:
    assert stopped(GONE) == [0.0] * 4 + [1.0] * 6


@pytest.mark.parametrize(
    ("gradient", "given"),
    [
        (1.0, {}),
        (0.0, {}),
        ([1.0] * 7 + [0.0] * 3, {}),
        ([1.0, 0.0] * 5, {}),
        (GONE, {"output": 0.0}),
        (GONE, {"spread": 1e-6}),
        (GONE, {"output": [1.0] * 8 + [0.0] * 2}),
    ],
    ids=[
        "it is there",
        "it never was",
        "gone for too short",
        "it comes and goes",
        "none comes to the layer",
        "the layer gives a constant",
        "none comes to the layer later on",
    ],
)
def test_what_has_another_reason_is_none(gradient, given) -> None:
    assert set(stopped(gradient, **given)) == {0.0}


def test_where_nothing_is_known_of_the_layer_nothing_is_said() -> None:
    assert set(stopped(GONE, output=None)) == {None}


def test_a_gradient_that_is_not_there_is_not_zero() -> None:
    assert stopped([1.0] * 4 + [None] * 6) == [0.0] * 4 + [None] * 6


def test_between_sampled_steps_nothing_is_asked() -> None:
    sampled = [0, 2, 4, 6, 7, 8, 9]
    assert stopped(GONE, output=[1.0] * 7, spread=[0.5] * 7, size=[1.0] * 7, sampled=sampled) == [
        *(0.0, 0.0),
        *(1.0,) * 5,
    ]


def test_without_weights_there_is_no_signal() -> None:
    assert gradient_stopped(builders.recording(builders.chain())) == {}


class Rounded(nn.Linear):
    """Trained with its weights on a grid from some step on."""

    on, straight = False, False

    def forward(self, x):
        w = self.weight
        if self.on:
            w = (16 * w).round() / 16
            w = self.weight + (w - self.weight).detach() if self.straight else w
        return F.linear(x, w, self.bias)


def rounded(watch, *, straight, steps=200):
    torch.manual_seed(3)
    net = nn.Sequential(Rounded(16, 32), nn.ReLU(), nn.Linear(32, 4))
    net[0].straight = straight
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    x, y = digits_like(256)
    losses = []
    with watch(net):
        for step in range(steps):
            net[0].on = step >= 20
            rows = slice(32 * step % 256, 32 * step % 256 + 32)
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return net, losses


@pytest.mark.parametrize(
    ("straight", "expected"),
    [(False, {("0", 20)}), (True, set())],
    ids=["rounded", "straight through"],
)
def test_weights_that_are_rounded_from_some_step_on_are_told_with_that_step(
    straight, expected
) -> None:
    recording = recorded(lambda watch: rounded(watch, straight=straight))
    events = find_events(derive(recording), EXPERTS)
    found = {(e.layer, e.span.first) for e in events if e.name == "gradient_stopped"}
    assert found == expected


def test_the_cause_is_a_step_without_a_slope() -> None:
    dbg = None

    def watch(net):
        nonlocal dbg
        dbg = NeuralDbg(net)
        return dbg

    rounded(watch, straight=False)
    first = dbg.get_causal_hypotheses()[0]
    assert (first.mechanism, first.layer, first.step) == ("parameters_not_updated", "0", 20)
    assert "straight through" in first.remedy
