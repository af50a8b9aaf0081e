"""What is recorded the short way is what is recorded the long way, whatever the loop does."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses import FakeTensorMode

from neuraldbg.capture import Schedule, attach
from neuraldbg.capture.quiet import Quiet
from neuraldbg.capture.remote import Remote
from neuraldbg.capture.session import Session
from tests.scenarios.loops.programs import LOOPS, Net, batches
from tests.twins import recorded

# Few sampled steps, and many in between for a loop to change in.
RHYTHM = Schedule(dense=10, every=16, sparsest=16, armed=2)
TABLES = ("step", "group", "grad", "layer", "param")
FROM = 25


class Long(Remote):
    """Takes no short ways."""

    def __init__(self, *args):
        super().__init__(*args)
        self.quiet = Quiet(
            self._listener, self._book, self._inputs, self._incidents.recent, self._hindsight
        )

    def forward_short(self, *_):
        return False

    backward_short = step_short = region_short = note_call = note_region = wake = forward_short


def changing(**at):
    """Return a loop that does something else from a step on, at the points of the loop that are named."""

    def nothing(_model, _optimizer):
        return None

    def loop(watch):
        torch.manual_seed(0)
        model, losses = Net(), []
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        with watch(model):
            for step, batch in enumerate(batches()):
                do = at if step >= FROM else {}
                do.get("first", nothing)(model, optimizer)
                x, y = do.get("batch", lambda x, y: (x, y))(*batch)
                do.get("clear", lambda _, o: o.zero_grad())(model, optimizer)
                loss = do.get("scale", lambda z: z)(F.cross_entropy(model(x), y))
                do.get("backward", lambda z: z.backward())(loss)
                do.get("clip", nothing)(model, optimizer)
                do.get("step", lambda _, o: o.step())(model, optimizer)
                losses.append(loss.item())
        return model, losses

    return loop


def a_rising_rate(_model, optimizer):
    optimizer.param_groups[0]["lr"] *= 1.2


def a_rate_per_step(_model, optimizer):
    optimizer.param_groups[0]["lr"] *= 0.99


def a_rate_as_tensor(_model, optimizer):
    rate = optimizer.param_groups[0]["lr"]
    optimizer.param_groups[0]["lr"] = torch.tensor(float(rate) * 0.99)


def a_group(model, optimizer):
    if not hasattr(model, "more"):
        model.more = nn.Linear(4, 4)
        optimizer.add_param_group({"params": model.more.parameters(), "lr": 1e-4})


def another_optimizer(model, optimizer):
    optimizer.step()
    torch.optim.SGD(model.head.parameters(), lr=1e-4).step()


def another_model(_model, _optimizer):
    nn.Linear(3, 3)(torch.ones(2, 3)).sum().backward()


def a_bad_gradient(model, _optimizer):
    model.fc1.weight.grad[0, 0] = float("nan")


def a_closure(_model, optimizer):
    optimizer.step(lambda: torch.tensor(1.0, requires_grad=True).square().backward())


def evaluated(model, _optimizer):
    with torch.no_grad():
        model(torch.ones(3, 16))


def failing(loss):
    """Raise in the midst of a backward pass, as when memory runs out, and go on."""

    def fail(_gradient):
        msg = "out of memory"
        raise RuntimeError(msg)

    broken = loss * 1.0
    broken.register_hook(fail)
    with pytest.raises(RuntimeError):
        broken.backward(retain_graph=True)
    twice(loss)


def fails_at_the_first_layer(model, _optimizer):
    def fail(_parameter):
        handle.remove()
        msg = "out of memory"
        raise RuntimeError(msg)

    handle = model.fc1.weight.register_post_accumulate_grad_hook(fail)


def raising(loss):
    with pytest.raises(RuntimeError):
        loss.backward()


def twice(loss):
    loss.backward(retain_graph=True)
    loss.backward()


def large(x, y):
    return x.repeat(64, 1), y.repeat(64)


def pretended(model, _optimizer):
    with FakeTensorMode(allow_non_fake_inputs=True):
        model(torch.ones(32, 16))


def by_hand(model, _optimizer):
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)


CHANGES = {
    "nothing": {},
    "gradients are no longer cleared": {"clear": lambda *_: None},
    "a part is no longer cleared": {"clear": lambda m, _: m.fc1.zero_grad()},
    "gradients are cleared to zeros": {"clear": lambda _, o: o.zero_grad(set_to_none=False)},
    "a rate for every step": {"first": a_rate_per_step},
    "a rate that is a tensor": {"first": a_rate_as_tensor},
    "a rate that jumps": {"first": lambda _, o: o.param_groups[0].update(lr=0.1)},
    "a rate that rises by and by": {"first": a_rising_rate},
    "a group is added": {"first": a_group},
    "another optimizer steps too": {"step": another_optimizer},
    "another model is trained too": {"first": another_model},
    "the model is evaluated": {"first": evaluated},
    "the model is called with tensors that hold no numbers": {"first": pretended},
    "gradients are put in place by hand": {"backward": lambda _: None, "clip": by_hand},
    "batches of another size": {"batch": lambda x, y: (x[:7], y[:7])},
    "large batches": {"batch": large},
    "large batches of turned axes": {
        "batch": lambda x, y: (large(x, y)[0].t().clone().t(), large(x, y)[1])
    },
    "large batches with a NaN": {"batch": lambda x, y: (large(x / 0.0, y)[0], large(x, y)[1])},
    "batches of another type": {"batch": lambda x, y: (x.double().float().requires_grad_(), y)},
    "the model is called twice": {"first": lambda m, _: m(torch.zeros(32, 16))},
    "batches with a NaN": {"batch": lambda x, y: (x / 0.0, y)},
    "a loss that is not finite": {"scale": lambda z: z * math.inf},
    "a loss that jumps": {"scale": lambda z: 100.0 * z},
    "two backward passes": {"backward": twice},
    "a backward pass fails and is tried again": {"backward": failing},
    "a backward pass fails in its end and the step is taken": {
        "first": fails_at_the_first_layer,
        "backward": raising,
    },
    "gradients are clipped": {"clip": lambda m, _: nn.utils.clip_grad_norm_(m.parameters(), 0.1)},
    "a gradient that is not finite": {"clip": a_bad_gradient},
    "gradients are thrown away": {"clip": lambda _, o: o.zero_grad()},
    "no step is taken": {"step": lambda *_: None},
    "a step with a closure": {"step": a_closure},
    "layers are frozen": {"first": lambda m, _: m.fc1.requires_grad_(False)},
}
LOSING = [changing(**at) for at in CHANGES.values()]


# What is measured later has been written to by then, at one step; or is bad, and then others are measured as well.
OTHERWISE = {
    "gradients are cleared to zeros": FROM - 1,
    "batches with a NaN": FROM,
    "large batches with a NaN": FROM,
    "a loss that is not finite": FROM,
}
NAMES = {**{loop.__name__: loop for loop in LOOPS}, **dict(zip(CHANGES, LOSING, strict=True))}
LATER = "a gradient that is not finite"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [x for x in NAMES if x != LATER])
def test_the_two_recordings_are_one(monkeypatch, name):
    short, long = both(monkeypatch, NAMES[name])
    assert short.facts == long.facts
    assert short.occurrences == long.occurrences
    assert list(short.sampled) == list(long.sampled)
    except_at = OTHERWISE.get(name)
    for table in TABLES:
        ours, theirs = getattr(short, table), getattr(long, table)
        assert ours.keys() == theirs.keys()
        for column, found in theirs.items():
            rows = np.arange(len(found.observed)) != (except_at if table == "grad" else None)
            assert np.array_equal(ours[column].observed[rows], found.observed[rows]), column
            assert np.array_equal(ours[column].values[rows], found.values[rows], equal_nan=True), (
                column
            )


def both(monkeypatch, loop, rhythm=RHYTHM):
    """Return what is recorded the short way and the long way, alike in all that does not depend on the steps."""
    short = recorded(loop, rhythm)
    with monkeypatch.context() as patch:
        patch.setattr(attach, "Quietly", Long)
        long = recorded(loop, rhythm)
    assert short.facts["disarmed"] == long.facts["disarmed"] == ""
    assert short.topology == long.topology
    assert short.optimizers == long.optimizers
    return short, long


def test_a_backward_pass_that_fails_where_gradients_are_clipped_is_none(monkeypatch):
    def program(watch):
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        with watch(model):
            for step, (x, y) in enumerate(batches()):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                if step == FROM:
                    fails_at_the_first_layer(model, optimizer)
                    raising(loss)
                else:
                    loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                optimizer.step()
        return model, []

    short, long = both(monkeypatch, program)
    assert long.step["backwards"].values[FROM] == 0
    for column, found in long.step.items():
        assert np.array_equal(short.step[column].values, found.values), column


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_bad_gradient_is_found_one_loss_later_and_told_with_its_step_and_layer(monkeypatch):
    short, long = both(monkeypatch, NAMES[LATER])
    assert short.occurrences == long.occurrences
    assert short.occurrences[0].kind == "nonfinite_gradient"
    assert short.occurrences[0].step == FROM
    # The layers of the step after it, whose loss says so, are not looked at.
    assert set(long.sampled) - set(short.sampled) == {FROM + 1}


@pytest.mark.parametrize("name", ["nothing", "the model is called twice"])
def test_a_function_mode_of_the_user_changes_nothing_that_is_recorded(name):
    def moded(watch):
        with torch.device("cpu"):
            return NAMES[name](watch)

    plain, under = recorded(NAMES[name], RHYTHM), recorded(moded, RHYTHM)
    assert under.facts == plain.facts
    for table in TABLES:
        ours, theirs = getattr(under, table), getattr(plain, table)
        assert ours.keys() == theirs.keys()
        for column, found in theirs.items():
            assert np.array_equal(ours[column].values, found.values), (table, column)


def test_nearly_all_steps_in_between_go_the_short_way(monkeypatch):
    long = []
    inner = Session.optimizer_ends

    def counted(self, optimizer):
        long.append(self.steps)
        inner(self, optimizer)

    monkeypatch.setattr(Session, "optimizer_ends", counted)
    taken = recorded(changing(), RHYTHM)
    assert set(long) == set(taken.sampled)
    assert len(taken.sampled) < len(taken.steps) / 2
