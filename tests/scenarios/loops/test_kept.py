"""Batches and gradients that are measured later are those of their step, whoever writes to their memory meanwhile."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.capture import Schedule
from tests.twins import recorded

RHYTHM = Schedule(dense=10, every=64, sparsest=64, armed=0)
STEPS, ROWS, WIDTH = 60, 8, 6


def batches():
    """Yield batches whose mean is the number of their step."""
    drawn = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        yield torch.randn(ROWS, WIDTH, generator=drawn) + step


def afresh():
    yield from batches()


def in_one_buffer():
    buffer = torch.empty(ROWS, WIDTH)
    for x in batches():
        yield buffer.copy_(x)


def in_one_buffer_behind_the_back():
    buffer = torch.empty(ROWS, WIDTH)
    for x in batches():
        buffer.data.copy_(x)
        yield buffer


def in_one_array():
    array = np.empty((ROWS, WIDTH), np.float32)
    for x in batches():
        array[:] = x.numpy()
        yield torch.from_numpy(array)


def views_of_all_data():
    data = torch.cat([*batches()])
    for step in range(STEPS):
        yield data[step * ROWS : (step + 1) * ROWS]


def views_of_data_that_is_normalized_meanwhile():
    data = torch.cat([*batches()])
    for step in range(STEPS):
        yield data[step * ROWS : (step + 1) * ROWS]
        if step == 40:
            data.mul_(2.0)


def in_shared_memory():
    for x in batches():
        yield x.share_memory_()


def numbers():
    for x in batches():
        yield x.round().long().abs() % WIDTH


SOURCES = (
    afresh, in_one_buffer, in_one_buffer_behind_the_back, in_one_array, views_of_all_data,
    views_of_data_that_is_normalized_meanwhile, in_shared_memory, numbers,
)  # fmt: skip


class Greedy(torch.optim.Optimizer):
    """Writes its weight decay into the gradients, as optimizers once did, where nobody counts it."""

    def __init__(self, params):
        super().__init__(params, {"lr": 1e-3})

    @torch.no_grad()
    def step(self, closure=None):
        del closure
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.data.add_(p.data, alpha=0.5)
                p.add_(p.grad, alpha=-group["lr"])


class Taking(Greedy):
    """Clears gradients while it steps."""

    def step(self, closure=None):
        super().step(closure)
        self.zero_grad()


def sgd(params):
    return torch.optim.SGD(params, lr=1e-3)


class InPlace(nn.Module):
    """Changes what it is given."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.fc(x.mul_(3.0))


class Plain(InPlace):
    """Does not."""

    def forward(self, x):
        return self.fc(F.one_hot(x, WIDTH).float().mean(1) if x.dtype == torch.long else x)


def looped(source=afresh, model=Plain, make=sgd, buffers=False):
    """Return a loop, and what it itself saw: the means of batches, and the norms of gradients, when it had them."""
    seen = {"input_mean": [], "grad_norm": []}

    def loop(watch):
        torch.manual_seed(0)
        net, losses = model(), []
        store = torch.empty(4, WIDTH)
        optimizer = make(net.parameters())
        for values in seen.values():
            values.clear()
        with watch(net):
            for x in source():
                seen["input_mean"].append(x.float().mean().item())
                optimizer.zero_grad()
                loss = net(x).square().mean() * 1e-3
                loss.backward()
                if buffers:
                    # As where all gradients lie in one bucket, which is filled anew in every step.
                    store.data.copy_(net.fc.weight.grad)
                    net.fc.weight.grad = store.view(4, WIDTH)
                seen["grad_norm"].append(net.fc.weight.grad.norm().item())
                optimizer.step()
                losses.append(loss.item())
        return net, losses

    return loop, seen


def told(found, name):
    """Return a column of the recording, NaN where nothing was observed."""
    table = found.step if name in found.step else found.grad
    column = table[name]
    values = np.where(column.observed, column.values, np.nan)
    return (
        values if values.ndim == 1 else values[:, list(found.topology.params).index(weight(found))]
    )


def weight(found):
    return next(p for p in found.topology.params if p.name == "fc.weight")


def close(values, wanted):
    return np.isclose(values, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__.replace("_", " "))
@pytest.mark.parametrize("model", [Plain, InPlace], ids=["model", "model that writes to its input"])
def test_moments_are_those_of_the_batch_as_it_came(source, model):
    if source is numbers and model is InPlace:
        pytest.skip("multiplies floats only")
    loop, seen = looped(source, model)
    found = recorded(loop, RHYTHM)
    name = "input_int_mean" if source is numbers else "input_mean"
    values = told(found, name)
    right = close(values, seen["input_mean"])
    assert (right | np.isnan(values)).all()
    # Only what was kept while somebody wrote is lost.
    lost = 41 if source is views_of_data_that_is_normalized_meanwhile else 0
    assert np.isnan(values).sum() <= lost


@pytest.mark.parametrize("make", [sgd, Greedy, Taking])
@pytest.mark.parametrize("buffers", [False, True], ids=["own memory", "one bucket"])
def test_norms_are_those_of_the_gradients_before_the_step(make, buffers):
    loop, seen = looped(make=make, buffers=buffers)
    found = recorded(loop, RHYTHM)
    values = told(found, "grad_norm")
    assert (close(values, seen["grad_norm"]) | np.isnan(values)).all()
    # What lies in one bucket is found out once, when it is measured together for the first time.
    assert np.isnan(values).sum() <= (STEPS - 10 if buffers else 0)


def test_nothing_is_kept_when_the_run_is_over():
    held = []

    def source():
        for x in batches():
            held.append(torch.utils.weak.WeakTensorKeyDictionary({x: None}))
            yield x

    recorded(looped(source)[0], RHYTHM)
    assert sum(len(one) for one in held) <= 1
