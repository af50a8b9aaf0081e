"""What recurrences that are fed data pass back to it, worked out beside the loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg import NeuralDbg
from neuraldbg.capture.along import gradual_fall
from neuraldbg.capture.reduce import is_own_gradient, own_gradients
from neuraldbg.records.recording import Recording
from neuraldbg.signals.view import layer_series

TIME, WIDTH = 40, 12


class Reader(nn.Module):
    """A recurrence and a head on what it ends with."""

    def __init__(self, make: type[nn.RNNBase], read: str = "last", **how: object) -> None:
        super().__init__()
        self.rnn = make(3, WIDTH, **how)
        self.read = read
        self.head = nn.LazyLinear(1)

    def forward(self, x: Tensor, state: object = None) -> Tensor:
        out, last = self.rnn(x) if state is None else self.rnn(x, state)
        if self.read == "state":
            hidden = last[0] if isinstance(last, tuple) else last
            return self.head(hidden[-1])
        along = out if self.rnn.batch_first else out.transpose(0, 1)
        return self.head(along[:, -1] if self.read == "last" else along)


def batch(model: Reader, examples: int = 8, time: int = TIME) -> Tensor:
    x = torch.randn(examples, time, 3, generator=torch.Generator().manual_seed(0))
    return x if model.rnn.batch_first else x.transpose(0, 1).contiguous()


def recorded(model: nn.Module, loss: Callable[[], Tensor], *, steps: int) -> Recording:
    """Return what is recorded of a loop that hardly moves the weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    with NeuralDbg(model) as dbg:
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    assert not dbg.recording.facts.get("disarmed")
    # What we differentiate, the loop did not.
    assert not dbg.recording.facts.get("differentiates")
    return dbg.recording


def measured(recording: Recording) -> list[float]:
    """Return the falls of the first layer, step by step."""
    found = layer_series(recording, "time_grad_fall_in")
    return found.values[found.observed[:, 0], 0].tolist()


def falls(model: Reader, *inputs: object, steps: int = 8) -> list[float]:
    """Return what was measured of a model that is asked for small outputs."""
    model(*inputs)
    return measured(recorded(model, lambda: model(*inputs).square().mean(), steps=steps))


def asked_for(model: Reader, x: Tensor, *more: object) -> float:
    """Return the same number from an input that asks for its gradient: the oracle."""
    few = x[:4] if model.rnn.batch_first else x[:, :4]
    few = few.clone().requires_grad_()
    # The mean is over all examples of the loop, which changes the size of the gradient and not its fall.
    model(few, *more).square().mean().backward()
    assert few.grad is not None
    along = few.grad.transpose(0, 1) if model.rnn.batch_first else few.grad
    return float(gradual_fall(along.abs().amax((1, 2))[None])[0])


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    ("read", "how"),
    [
        pytest.param("last", {"batch_first": True}, id="the last output"),
        pytest.param("last", {}, id="time first"),
        pytest.param("state", {"batch_first": True}, id="the last state"),
        pytest.param("all", {"batch_first": True}, id="every position"),
        pytest.param("last", {"batch_first": True, "num_layers": 2, "bidirectional": True}, id="deep, both ways"),
        pytest.param("state", {"batch_first": True, "bias": False}, id="without biases"),
    ],
)  # fmt: skip
def test_the_fall_is_that_of_the_gradient_of_the_input(make, read, how) -> None:
    torch.manual_seed(0)
    model = Reader(make, read, **how)
    x = batch(model)
    found = falls(model, x)
    assert found[0] == pytest.approx(asked_for(model, x), abs=0.02)
    # A recurrence drawn as usual forgets within a few steps, unless all are read.
    assert (found[0] > 2) is (read != "all")


def test_a_recurrence_that_keeps_what_it_saw_passes_its_gradient_on() -> None:
    torch.manual_seed(0)
    model = Reader(nn.LSTM, batch_first=True)
    with torch.no_grad():
        model.rnn.bias_ih_l0[WIDTH : 2 * WIDTH] = 6.0
    assert falls(model, batch(model))[0] < 1


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM])
def test_a_state_that_is_handed_in_counts(make) -> None:
    torch.manual_seed(0)
    model = Reader(make, batch_first=True)
    x, state = batch(model), 2 * torch.randn(1, 8, WIDTH)
    given = (state, state) if make is nn.LSTM else state
    few = (state[:, :4],) * 2 if make is nn.LSTM else state[:, :4]
    assert falls(model, x, given)[0] == pytest.approx(asked_for(model, x, few), abs=0.02)


def test_the_first_sampled_steps_are_looked_at_and_then_few() -> None:
    torch.manual_seed(0)
    model = Reader(nn.GRU, batch_first=True)
    assert len(falls(model, batch(model), steps=14)) == 5


@pytest.mark.parametrize(
    ("time", "asks"),
    [
        pytest.param(5, False, id="too short to fade"),
        pytest.param(1500, False, id="too long to be run again"),
        pytest.param(TIME, True, id="an input that asks for its gradient"),
    ],
)
def test_what_is_not_run_again(time: int, asks: bool) -> None:
    torch.manual_seed(0)
    model = Reader(nn.RNN, batch_first=True)
    assert falls(model, batch(model, 2, time).requires_grad_(asks), steps=3) == []


def test_a_recurrence_that_another_layer_feeds_is_known_by_that_one() -> None:
    torch.manual_seed(0)
    inner = Reader(nn.RNN, batch_first=True)
    model = nn.Sequential(nn.Linear(3, 3), inner)
    model(batch(inner))
    recording = recorded(model, lambda: model(batch(inner)).sum(), steps=3)
    assert "time_grad_fall_in" not in recording.layer
    assert recording.layer["time_grad_fall"].observed.any()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_loop_draws_the_same_numbers(dropout: float) -> None:
    def train(*, watched: bool) -> tuple[list[float], Tensor]:
        torch.manual_seed(0)
        model = Reader(nn.LSTM, batch_first=True, num_layers=2, dropout=dropout)
        x, y = batch(model), torch.randn(8, 1)
        model(x)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []

        def loop() -> None:
            for _ in range(10):
                optimizer.zero_grad()
                loss = F.mse_loss(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())

        if watched:
            with NeuralDbg(model):
                loop()
        else:
            loop()
        return losses, torch.get_rng_state()

    plain, seen = train(watched=False), train(watched=True)
    assert plain[0] == seen[0]
    assert torch.equal(plain[1], seen[1])


def test_a_gradient_that_is_not_finite_is_a_number_where_the_loop_checks_its_own() -> None:
    x = torch.zeros(2, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        (found,) = own_gradients((x.sqrt() * 0.0,), (x,), (torch.ones(2),))
        assert torch.is_anomaly_enabled()
    assert found is not None
    assert bool(found.isnan().all())
    assert not is_own_gradient()


def test_of_calls_with_batches_of_several_sizes_the_last_one_counts() -> None:
    torch.manual_seed(0)
    model = Reader(nn.GRU, batch_first=True)
    x = batch(model)
    model(x)
    found = measured(recorded(model, lambda: model(x[:2, :20]).sum() + model(x).sum(), steps=3))
    assert found == pytest.approx([asked_for(model, x)] * 3, abs=0.1)
