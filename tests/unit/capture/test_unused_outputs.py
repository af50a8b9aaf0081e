"""Of an operation with several outputs nobody need use all: to what is not used no gradient comes."""

import pytest
import torch
from torch import nn

from neuraldbg.capture import through_time
from tests.twins import assert_same, twins


class Halves(nn.Linear):
    """Gives two halves, which are views made by one operation."""

    def forward(self, x):
        return super().forward(x).chunk(2, dim=-1)


class Head(nn.Module):
    """Uses one half of two."""

    def __init__(self, used):
        super().__init__()
        self.body, self.last, self.used = Halves(6, 8), nn.Linear(4, 1), used

    def forward(self, x):
        return self.last(self.body(x)[self.used])


def found_in(make, x, read):
    """Train on a loss that reads one output, with and without us; return what was recorded."""

    def program(watch):
        model, losses = make(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with watch(model):
            for _ in range(6):
                optimizer.zero_grad()
                loss = read(model(x)).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, watched, found = twins(program)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    return found


@pytest.mark.parametrize("used", [0, 1])
def test_a_layer_of_which_one_output_is_used_trains_as_without_us(used):
    found = found_in(lambda: Head(used), torch.randn(8, 6), lambda out: out)
    assert found.step["loss"].observed.all()


class Fused(torch.autograd.Function):
    """One operation that makes two outputs, as the recurrences of a device do."""

    @staticmethod
    def forward(ctx, out, last):
        ctx.set_materialize_grads(False)
        return out.clone(), last.clone()

    @staticmethod
    def backward(ctx, *gradients):
        return gradients


class Recurrence(nn.GRU):
    """Gives its outputs and its last state as a device does."""

    def forward(self, x):
        return Fused.apply(*super().forward(x))


@pytest.mark.parametrize("used", [0, 1])
def test_a_recurrence_whose_outputs_one_operation_makes_trains_as_without_us(monkeypatch, used):
    monkeypatch.setattr(through_time, "KINDS", {*through_time.KINDS, Recurrence})
    found = found_in(
        lambda: Recurrence(3, 4, batch_first=True), torch.randn(8, 16, 3), lambda out: out[used]
    )
    assert found.layer["time_grad_fall_in"].observed.any()
