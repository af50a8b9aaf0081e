"""The loss of an answer that ignores its input is the reference of a regression, and of yes and no."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.records.recording import LossCall, Recording
from neuraldbg.signals import derive
from neuraldbg.signals.guess import chance, guessing_loss, unexplained

Loss = Callable[[Tensor, Tensor], Tensor]


def trained(
    loss: Loss,
    target: Callable[[Tensor, int], Tensor],
    *,
    steps: int = 120,
    blind: bool = False,
) -> Recording:
    """Return the recording of a small network; a blind one is asked for what does not follow from its input."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with NeuralDbg(model) as dbg:
        for step in range(steps):
            x = torch.randn(64, 4)
            y = target(torch.randn(64, 4) if blind else x, step)
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    return dbg.recording


def line(x: Tensor, _step: int) -> Tensor:
    return 30.0 + 3.0 * x[:, :1]


def rare(x: Tensor, _step: int) -> Tensor:
    return (x[:, :1] > 1.28).float()


def weighted(a: Tensor, b: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(a, b, pos_weight=torch.tensor(5.0))


def halved(a: Tensor, b: Tensor) -> Tensor:
    return 0.5 * F.mse_loss(a, b)


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        (F.mse_loss, line, 9.0),
        (F.binary_cross_entropy_with_logits, rare, 0.325),
        (weighted, rare, None),
        (halved, line, None),
        (F.l1_loss, line, None),
        (lambda a, b: F.mse_loss(a, b) + F.l1_loss(a, b), line, None),
    ],
    ids=[
        "the variance of the targets",
        "the entropy of their mean",
        "classes that weigh differently",
        "half of the square",
        "a loss whose guess is not known",
        "a sum of two",
    ],
)
def test_the_loss_of_a_guess(loss: Loss, target: Callable, expected: float | None) -> None:
    found = guessing_loss(trained(loss, target, steps=40))
    assert found == (None if expected is None else pytest.approx(expected, rel=0.3))


def signal(recording: Recording, name: str) -> float:
    return float(derive(recording).series[name].values[0])


def test_a_mean_that_was_found_is_no_progress() -> None:
    recording = trained(F.mse_loss, line, steps=600, blind=True)
    assert recording.step["loss"].values[0] > 80 * recording.step["loss"].values[-1]
    assert signal(recording, "loss_remaining") == pytest.approx(1.0, abs=0.15)
    assert signal(recording, "loss_above_prior") < 0.15


def test_its_twin_that_sees_its_input_has_learned() -> None:
    recording = trained(F.mse_loss, line, steps=600)
    assert signal(recording, "loss_remaining") < 0.2
    assert signal(recording, "loss_above_prior") > 0.8


def grown(first: float, last: float, error: float) -> Recording:
    """Return a recording whose targets spread from one to another, of which an error is left at the end."""
    recording = trained(F.smooth_l1_loss, lambda x, _: x[:, :1], steps=40)
    loss = recording.step["loss"].values
    calls = [
        LossCall(
            step=s, function="smooth_l1_loss", facts={"value": float(loss[s]), "target_std": std}
        )
        for s, std in ((0, first), (39, last))
    ]
    loss[39] = error
    calls[1] = replace(calls[1], facts={**calls[1].facts, "value": float(error)})
    return replace(recording, losses=tuple(calls))


@pytest.mark.parametrize(
    ("first", "last", "error", "left"),
    [(0.2, 1.0, 0.1, 0.2), (0.2, 1.0, 0.4, 0.8), (0.9, 1.0, 0.1, None)],
    ids=["values that come apart", "values that are not learned", "targets that stay"],
)
def test_what_is_left_of_targets_that_come_apart(
    first: float, last: float, error: float, left: float | None
) -> None:
    recording = grown(first, last, error)
    assert unexplained(recording) == (None if left is None else pytest.approx(left))
    judged = "loss_rise" in derive(recording).series
    assert judged == (left is None or left > 0.6)


def risk(growing: bool) -> dict[str, object]:
    """Return the signals of a loss that is written by hand and grows with the rows of a batch."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with NeuralDbg(model) as dbg:
        for step in range(80):
            x = torch.randn(16 * (1 + (step >= 40)) if growing else 16, 4)
            optimizer.zero_grad()
            score = model(x)[:, 0]
            (torch.logsumexp(score, 0) - (score * torch.softmax(x[:, 0], 0)).sum()).backward()
            optimizer.step()
    return dict(derive(dbg.recording).series)


@pytest.mark.parametrize("growing", [True, False], ids=["batches that grow", "batches that stay"])
def test_a_loss_over_batches_that_grow_has_no_level(growing: bool) -> None:
    assert ("loss_remaining" in risk(growing)) != growing


def classified(loss: Callable[[Tensor, Tensor], Tensor], *, scale: float) -> Recording:
    """Return the recording of a classifier that is asked for labels at random; ``scale`` of its first answers."""
    torch.manual_seed(0)
    model = nn.Linear(4, 5)
    nn.init.normal_(model.weight, std=scale)
    optimizer = torch.optim.Adam(model.parameters(), lr=3.0 if scale > 1.0 else 1e-2)
    with NeuralDbg(model) as dbg:
        for _ in range(160):
            x, y = torch.randn(64, 4), torch.randint(0, 5, (64,))
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    return dbg.recording


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        (F.cross_entropy, True),
        (lambda a, b: 10.0 * F.cross_entropy(a, b), False),
        (lambda a, b: F.cross_entropy(a, b) + a.square().mean(), False),
    ],
    ids=["alone", "scaled", "with another term"],
)
def test_a_guess_among_classes_is_known_where_the_loss_is_nothing_else(loss, known) -> None:
    found = chance(classified(loss, scale=0.1))
    assert (found == pytest.approx(math.log(5))) is known


def test_who_ends_at_a_guess_has_not_learned_however_wrong_the_start_was() -> None:
    signals = derive(classified(F.cross_entropy, scale=100.0))
    first = signals.series["loss_over_chance"].values[0]
    assert first > 20.0
    # Of what it was at the start a hundredth may be left; of a guess nearly all is.
    assert signals.series["loss_remaining"].values[0] > 0.9
