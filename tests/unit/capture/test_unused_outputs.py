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


@pytest.mark.parametrize("used", [0, 1])
def test_a_layer_of_which_one_output_is_used_trains_as_without_us(used):
    def program(watch):
        model, x, losses = Head(used), torch.randn(8, 6), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with watch(model):
            for _ in range(6):
                optimizer.zero_grad()
                loss = model(x).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, watched, found = twins(program)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""


@pytest.mark.parametrize("used", [0, 1])
def test_a_recurrence_whose_outputs_one_operation_makes_trains_as_without_us(monkeypatch, used):
    # As a device has it: there output and last state are made by one operation.
    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx, out, last):
            ctx.set_materialize_grads(False)
            return out.clone(), last.clone()

        @staticmethod
        def backward(ctx, *gradients):
            return gradients

    class Recurrence(nn.GRU):
        def forward(self, x):
            return Fused.apply(*super().forward(x))

    monkeypatch.setattr(through_time, "KINDS", {*through_time.KINDS, Recurrence})

    def program(watch):
        model, x, losses = Recurrence(3, 4, batch_first=True), torch.randn(8, 16, 3), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with watch(model):
            for _ in range(6):
                optimizer.zero_grad()
                loss = model(x)[used].square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return model, losses

    plain, watched, found = twins(program)
    assert_same(plain, watched)
    assert found.facts["disarmed"] == ""
    assert found.layer["time_grad_fall_in"].observed.any()
