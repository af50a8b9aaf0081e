"""Normalizations that are no modules of PyTorch's: functions, and what a layer of the user's own takes of its input."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.catalogue import EXPERTS
from neuraldbg.events import find_events
from neuraldbg.signals import derive
from tests.twins import assert_same, recorded, twins

ROWS, WIDTH = 12, 8


def layer_norm(h):
    return F.layer_norm(h, (WIDTH,))


def layer_norm_of_one(h):
    return F.layer_norm(h[..., None], (1,))[..., 0]


def group_norm(h):
    return F.group_norm(h, 2)


def group_norm_of_one(h):
    return F.group_norm(h, num_groups=WIDTH)


def instance_norm(h):
    return F.instance_norm(h.unflatten(1, (2, 4)), eps=1e-5).flatten(1)


def batch_norm(h):
    return F.batch_norm(h, None, None, training=True)


def batch_norm_at_rest(h):
    return F.batch_norm(h, torch.zeros(WIDTH), torch.ones(WIDTH))


def by_hand(axis):
    def norm(h):
        mean = h.mean(axis, keepdim=True)
        return (h - mean) / (((h - mean) ** 2).mean(axis, keepdim=True) + 1e-5).sqrt()

    return norm


def by_variance(h):
    var, mean = torch.var_mean(h, dim=-1, keepdim=True)
    return (h - mean) / (var + 1e-5).sqrt()


def by_std(h):
    return (h - h.mean()) / h.std(unbiased=False)


def by_squares(h):
    return h / (h.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def twice(h):
    return group_norm(layer_norm(h))


def flat(h):
    return F.layer_norm(1e-6 * h, (WIDTH,))


class Normed(nn.Module):
    def __init__(self, work):
        super().__init__()
        self.weight, self.eps, self.work = nn.Parameter(torch.ones(1)), 1e-5, work

    def forward(self, h):
        return self.weight * self.work(h)


class UsersNorm(Normed):
    """A normalization, by its name."""


class Scaled(Normed):
    """Takes a mean as well, and is none."""


class Net(nn.Module):
    def __init__(self, norm):
        super().__init__()
        # One that a run before this one has trained is another one.
        self.fc, self.norm, self.head = nn.Linear(6, WIDTH), deepcopy(norm), nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.head(self.norm(self.fc(x)))


def program(norm, rows=ROWS):
    def train(watch):
        torch.manual_seed(3)
        net = Net(norm)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        losses = []
        with watch(net):
            for _ in range(12):
                x = torch.randn(rows, 6)
                loss = F.mse_loss(net(x), x[:, :2])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return net, losses

    return train


def counted(norm, rows=ROWS):
    """Return how many values stand behind a statistic of the first step, by layer."""
    found = recorded(program(norm, rows))
    column = found.layer.get("norm_count")
    if column is None:
        return {}
    names = [x.name for x in found.topology.layers]
    return {
        n: int(column.values[0, i]) for i, n in enumerate(names) if column.observed[0, i]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("work", "count"),
    [
        (layer_norm, WIDTH),
        (layer_norm_of_one, 1),
        (group_norm, WIDTH // 2),
        (group_norm_of_one, 1),
        (instance_norm, 4),
        (batch_norm, ROWS),
        (twice, WIDTH),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_values_behind_a_statistic_of_a_function_are_counted(work, count) -> None:
    assert counted(work) == {"fc": count}
    assert counted(Normed(work)) == {"norm": count}


@pytest.mark.parametrize(
    ("work", "count"),
    [
        (by_hand(0), ROWS),
        (by_hand(-1), WIDTH),
        (by_hand((0, 1)), ROWS * WIDTH),
        (by_variance, WIDTH),
        (by_std, ROWS * WIDTH),
    ],
    ids=["over the batch", "over a row", "over both", "variance", "over all"],
)
def test_so_are_those_of_a_layer_that_is_called_a_normalization(work, count) -> None:
    assert counted(UsersNorm(work)) == {"norm": count}


@pytest.mark.parametrize(
    "norm",
    [
        by_hand(0),
        Scaled(by_hand(0)),
        UsersNorm(by_squares),
        batch_norm_at_rest,
        nn.Identity(),
    ],
    ids=[
        "in the loop's own function",
        "in a layer of another name",
        "of something else than the input",
        "at rest",
        "none",
    ],
)
def test_elsewhere_a_mean_is_no_normalization(norm) -> None:
    assert counted(norm) == {}


class Maps(nn.Module):
    """An instance normalization, which PyTorch does by a function that is like no other of its modules."""

    def __init__(self):
        super().__init__()
        self.inner = nn.InstanceNorm1d(2)

    def forward(self, h):
        return self.inner(h.unflatten(1, (2, 4))).flatten(1)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(nn.LayerNorm(WIDTH), {"norm": WIDTH}), (Maps(), {"norm.inner": 4})],
    ids=["layer", "instance"],
)
def test_modules_of_pytorch_are_read_as_well(norm, expected) -> None:
    assert counted(norm) == expected


@pytest.mark.parametrize(
    ("norm", "rows", "layer"),
    [
        (group_norm_of_one, ROWS, "fc"),
        (UsersNorm(by_hand(0)), 1, "norm"),
        (UsersNorm(by_hand(0)), ROWS, None),
        (layer_norm, ROWS, None),
    ],
    ids=["a group of one", "a batch of one", "a batch of twelve", "a row of eight"],
)
def test_too_few_values_are_told_with_their_layer(norm, rows, layer) -> None:
    events = find_events(derive(recorded(program(norm, rows))), EXPERTS)
    assert [e.layer for e in events if e.name == "normalization_few"] == [layer] * (
        layer is not None
    )


def test_a_variance_of_the_size_of_epsilon_is_told() -> None:
    events = find_events(derive(recorded(program(flat))), EXPERTS)
    assert [e.layer for e in events if e.name == "normalization_flat"] == ["fc"]


@pytest.mark.parametrize("norm", [layer_norm, UsersNorm(by_hand(0))], ids=["function", "by hand"])
def test_the_run_is_unchanged(norm) -> None:
    plain, watched, recording = twins(program(norm))
    assert_same(plain, watched)
    assert recording.facts["disarmed"] == ""
