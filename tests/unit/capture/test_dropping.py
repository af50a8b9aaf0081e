"""Dropout that is no module: by a function, by a mask of the user's own; and masks that drop nothing."""

import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.signals import derive
from tests.twins import assert_same, digits_like, recorded, twins

STEPS, RATE = 24, 0.75


def function(h):
    return F.dropout(h, RATE)


def low_level(h):
    return torch.dropout(h, RATE, True)


def in_evaluation(h):
    return torch.dropout(h, RATE, False)


def flag_off(h):
    return F.dropout(h, RATE, training=False)


def compared(h):
    return h * (torch.rand_like(h) > RATE) / (1 - RATE)


def the_other_way_round(h):
    return ((torch.rand(h.shape) > RATE) / (1 - RATE)) * h


def drawn(h):
    return h * torch.bernoulli(torch.full_like(h, 1 - RATE)).div(1 - RATE)


def drawn_in_place(h):
    return h.div(1 - RATE) * torch.empty_like(h).bernoulli_(1 - RATE)


def rounded_down(h):
    return h.div(1 - RATE) * (1 - RATE + torch.rand(h.shape)).floor_()


def uniform(h):
    return h * torch.empty_like(h).uniform_()


def jittered(h):
    return h * (1 + 0.1 * torch.rand_like(h))


def mixed(h):
    keep = (torch.rand_like(h) > RATE).float()
    return h * keep + h.flip(1) * (1 - keep)


def used_twice(h):
    keep = (torch.rand_like(h) > RATE).float()
    return h * keep + h.flip(1) * keep


def a_few(h):
    return h * (torch.rand(8, 1).repeat(4, 1) > RATE)[:1]


def added(h):
    return h + torch.rand_like(h)


class Dropped(nn.Module):
    """A module of the user's own that drops as it is told."""

    def __init__(self, drop):
        super().__init__()
        self.drop = drop

    def forward(self, h):
        return self.drop(h) if self.training else h


class Net(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.fc, self.drop, self.head = nn.Linear(16, 32), drop, nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.drop(F.relu(self.fc(x))))


class Denoising(Net):
    """Drops what it is given as data."""

    def forward(self, x):
        return self.head(F.relu(self.fc(self.drop(x))))


def program(drop, evaluates=False, compiled=False, kind=Net):
    def train(watch):
        torch.manual_seed(3)
        net = kind(drop)
        if compiled:
            net.compile(backend="eager")
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        x, y = digits_like(256)
        losses = []
        with watch(net):
            for step in range(STEPS):
                if evaluates:
                    with torch.no_grad():
                        net(x)
                rows = slice(32 * step % 256, 32 * step % 256 + 32)
                loss = F.cross_entropy(net(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return net, losses

    return train


def dropped(drop, **given):
    """Return the share that is dropped, by the name of the layer."""
    signals = derive(recorded(program(drop, **given)))
    series = signals.series.get("dropped")
    if series is None:
        return {}
    names = [signals.recording.topology.layers[i].name for i in series.layers]
    return dict(zip(names, series.values[0].tolist(), strict=True))


@pytest.mark.parametrize(
    "drop",
    [function, low_level, compared, the_other_way_round, drawn, drawn_in_place, rounded_down, used_twice],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_what_is_dropped_without_a_module_is_told_at_the_layer_before(drop) -> None:
    assert dropped(drop) == {"fc": pytest.approx(RATE, abs=0.02)}


@pytest.mark.parametrize(
    "drop",
    [in_evaluation, flag_off, uniform, jittered, mixed, a_few, added],
    ids=lambda f: f.__name__,
)
def test_what_drops_nothing_is_none(drop) -> None:
    assert dropped(drop) == {}


@pytest.mark.parametrize("drop", [function, compared], ids=["a function", "a mask"])
def test_in_a_module_of_the_users_own_it_is_told_there(drop) -> None:
    assert dropped(Dropped(drop)) == {"drop": pytest.approx(RATE, abs=0.02)}


@pytest.fixture
def _forgotten():
    """What was compiled before, here or in another test, changes when layers are looked at."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize("drop", [function, compared, mixed], ids=lambda f: f.__name__)
def test_in_a_compiled_part_it_is_told_as_well(drop) -> None:
    expected = {} if drop is mixed else {"fc": pytest.approx(RATE, abs=0.02)}
    assert dropped(drop, compiled=True) == expected


def test_data_that_is_masked_is_no_dropout() -> None:
    assert dropped(Dropped(compared), kind=Denoising) == {}


def test_a_module_of_pytorch_is_told_by_its_own_rate() -> None:
    assert dropped(nn.Dropout(0.3)) == {"drop": 0.3}
    kept = recorded(program(nn.Dropout(0.3))).layer["drop_keep"]
    # Read by what it gives, which holds zeros of the rectifier as well.
    assert (kept.values[kept.observed] < 0.6).all()


def in_passing(h):
    with torch.no_grad():
        function(h)
    return h


def test_what_is_dropped_without_gradients_is_none() -> None:
    assert dropped(in_passing) == {}


@pytest.mark.parametrize("drop", [function, compared, mixed], ids=lambda f: f.__name__)
def test_the_run_is_unchanged(drop) -> None:
    plain, watched, recording = twins(program(drop, evaluates=True))
    assert_same(plain, watched)
    assert recording.facts["disarmed"] == ""


@pytest.mark.parametrize(
    ("rate", "mechanisms"), [(0.96, ["excessive_dropout"]), (0.1, [])], ids=["strong", "light"]
)
def test_a_mask_that_leaves_next_to_nothing_is_the_cause(rate, mechanisms) -> None:
    torch.manual_seed(0)
    net = Net(lambda h: h * (torch.rand_like(h) > rate) / (1 - rate))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    x, y = digits_like(256)
    with NeuralDbg(net) as dbg:
        for step in range(200):
            rows = slice(32 * step % 256, 32 * step % 256 + 32)
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    found = [e.hypothesis for e in dbg.explain_failure()]
    assert [h.mechanism for h in found] == mechanisms
    assert [h.layer for h in found] == ["fc"] * len(found)
    assert all("from 0.96 to 0.2" in h.remedy for h in found)
