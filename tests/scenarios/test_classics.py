"""Mistakes that everybody makes once, on handwritten digits, each with its healthy twin."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.demos.data import digits

STEPS = 200
ADAM = partial(torch.optim.Adam, lr=1e-3)


def pixels(scale: float = 1.0):
    """Pixels from 0 to ``scale``, and labels."""
    images, labels = digits()
    flat = images.reshape(len(images), -1)
    return scale * (flat - flat.min()) / (flat.max() - flat.min()), labels


def network(outputs: int = 10, last: nn.Module | None = None) -> nn.Sequential:
    parts = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs)]
    return nn.Sequential(*parts, *([] if last is None else [last]))


def is_high(labels):
    return (labels > 4).float()[:, None]


def told(model, loss, *, scale=1.0, optimizer=ADAM, between=lambda _stepper: None, rate=None):
    """Train, and return the diagnosis; ``between`` is called with the optimizer after ``backward``."""
    torch.manual_seed(0)
    for part in model:
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    stepper, (x, y) = optimizer(model.parameters()), pixels(scale)
    with NeuralDbg(model) as dbg:
        for step in range(STEPS):
            rows = torch.randint(len(y), (64,))
            stepper.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            between(stepper)
            if rate is not None:
                stepper.param_groups[0]["lr"] = rate(step)
            stepper.step()
    return dbg.diagnose()


def yes_or_no(out, labels):
    return F.binary_cross_entropy(out, is_high(labels))


@pytest.mark.parametrize(
    ("wrong", "right", "mechanism", "layer"),
    [
        pytest.param(
            lambda: told(network(), F.cross_entropy, scale=1 / 255),
            lambda: told(network(), F.cross_entropy),
            "unnormalized_inputs",
            "0",
            id="pixels divided by 255 twice",
        ),
        pytest.param(
            lambda: told(network(1, nn.Softmax(dim=1)), yes_or_no),
            lambda: told(network(1, nn.Sigmoid()), yes_or_no),
            "loss_output_mismatch",
            "5",
            id="a softmax over one unit",
        ),
        pytest.param(
            lambda: told(network(10, nn.Softmax(dim=1)), F.cross_entropy),
            lambda: told(network(), F.cross_entropy),
            "loss_output_mismatch",
            "5",
            id="a softmax before cross entropy",
        ),
        pytest.param(
            lambda: told(
                network(),
                F.cross_entropy,
                optimizer=partial(torch.optim.Adam, lr=1e-3, betas=(0.999, 0.9)),
            ),
            lambda: told(network(), F.cross_entropy),
            "excessive_momentum",
            None,
            id="betas swapped",
        ),
        *(
            pytest.param(
                lambda clear=clear: told(network(), F.cross_entropy, between=clear),
                lambda: told(network(), F.cross_entropy),
                "parameters_not_updated",
                None,
                id=f"gradients cleared before the step, {name}",
            )
            for name, clear in (
                ("to None", lambda stepper: stepper.zero_grad()),
                ("to zero", lambda stepper: stepper.zero_grad(set_to_none=False)),
            )
        ),
        pytest.param(
            lambda: told(network(), F.cross_entropy, rate=lambda step: 1e-5 * (step % 20 + 0.01)),
            lambda: told(network(), F.cross_entropy, rate=lambda step: 1e-5 * (step + 0.01)),
            "learning_rate_schedule_bug",
            None,
            id="a warm-up that begins again with every epoch",
        ),
    ],
)
def test_a_classic_is_told_and_its_twin_is_healthy(wrong, right, mechanism, layer) -> None:
    found = wrong()
    first = found.hypotheses[0]
    assert not found.healthy
    assert (first.mechanism, first.layer) == (mechanism, layer)
    assert right().healthy
