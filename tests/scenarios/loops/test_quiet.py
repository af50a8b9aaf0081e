"""Steps of which the least is noted: nearly all in between are, and nothing is lost or told later than it was."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuraldbg.capture import Schedule
from neuraldbg.capture.quietly import Quietly
from neuraldbg.capture.shortcut import Shortcut
from tests.scenarios.loops.programs import Net
from tests.scenarios.loops.test_shortcut import CHANGES, TABLES, both
from tests.twins import Watched, recorded, run

# The first of them begins at the second sampled step that is not among the dense ones.
RHYTHM = Schedule(dense=4, every=32, sparsest=32, armed=0)
STEPS, FROM = 200, 150
SMALL, LARGE = 16, 4096


def loop(width=SMALL, **at):
    """Return a loop over a linear regression that does something else at one step."""

    def program(watch):
        torch.manual_seed(0)
        model, losses = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 1)), []
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        with watch(model) as watched:
            for step in range(STEPS):
                x = torch.randn(32, width) / width**0.5
                if step == FROM:
                    x = at.get("batch", lambda x: x)(x)
                if "every" in at:
                    at["every"](optimizer)
                optimizer.zero_grad()
                loss = F.mse_loss(model(x), x[:, :1])
                if step == FROM:
                    at.get("called", lambda _: None)(watched)
                loss.backward()
                if step == FROM:
                    at.get("gradient", lambda _: None)(model)
                optimizer.step()
                losses.append(loss.nan_to_num().item())
                if step == FROM:
                    at.get("after", lambda _: None)(watched)
        return model, losses

    return program


def decay(optimizer):
    optimizer.param_groups[0]["lr"] *= 0.999


@pytest.mark.parametrize(
    "program",
    [loop(), loop(LARGE), loop(every=decay)],
    ids=["small batches", "large batches and gradients", "a rate that changes in every step"],
)
def test_nearly_all_steps_in_between_are_only_noted(monkeypatch, program):
    noted = []
    inner = Quietly._put

    def counted(self, row, entry):
        noted.append(self.steps)
        inner(self, row, entry)

    monkeypatch.setattr(Quietly, "_put", counted)
    taken = recorded(program, RHYTHM)
    assert len(taken.steps) == STEPS
    # Before the second sampled step it is not known yet what such steps are like.
    late = [step for step in range(32, STEPS) if step not in set(taken.sampled)]
    assert len(noted) > 0.85 * len(late)


def in_a_corner(x):
    x[-1, -1] = float("nan")
    return x


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_one_bad_entry_of_a_batch_is_told_at_its_step(width):
    found = recorded(loop(width, batch=in_a_corner), RHYTHM)
    assert (found.occurrences[0].kind, found.occurrences[0].step) == ("nonfinite_input", FROM)


def spoil(layer):
    def work(model):
        model[layer].weight.grad[0, 0] = float("inf")

    return work


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("width", [SMALL, LARGE])
@pytest.mark.parametrize("layer", [0, 2])
def test_a_bad_gradient_is_told_at_its_step_and_layer(width, layer):
    found = recorded(loop(width, gradient=spoil(layer)), RHYTHM)
    first = found.occurrences[0]
    where = found.topology.layers[first.layer].name
    assert (first.kind, first.step, where) == ("nonfinite_gradient", FROM, str(layer))


def spoil_all(model):
    for parameter in model.parameters():
        parameter.grad.fill_(float("inf"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_of_gradients_that_are_bad_everywhere_the_last_layer_is_told():
    first = recorded(loop(gradient=spoil_all), RHYTHM).occurrences[0]
    assert (first.kind, first.step, first.layer) == ("nonfinite_gradient", FROM, 2)


@pytest.mark.parametrize("width", [SMALL, LARGE])
@pytest.mark.parametrize(("when", "ended"), [("called", FROM), ("after", FROM + 1)])
def test_a_recording_in_between_has_every_step_so_far_and_changes_nothing(width, when, ended):
    middle = []
    look = {when: lambda w: middle.append((w.capture.steps, w.capture.recording()))}
    found, plain = recorded(loop(width, **look), RHYTHM), recorded(loop(width), RHYTHM)
    steps, so_far = middle[0]
    assert steps == len(so_far.steps) == ended
    assert found.facts["disarmed"] == ""
    for table in ("step", "group", "grad"):
        for name, column in getattr(plain, table).items():
            assert np.array_equal(getattr(found, table)[name].values, column.values), name
            seen = getattr(so_far, table)[name]
            assert np.array_equal(seen.values, column.values[:ended]), name
            assert np.array_equal(seen.observed, column.observed[:ended]), name


def test_what_is_recorded_is_what_is_recorded_step_by_step(monkeypatch):
    quiet = recorded(loop(LARGE), RHYTHM)
    monkeypatch.setattr(Quietly, "_close_as_usual", Shortcut._close_as_usual)
    usual = recorded(loop(LARGE), RHYTHM)
    assert list(quiet.sampled) == list(usual.sampled)
    for table in ("step", "group", "grad", "layer", "param"):
        for name, column in getattr(usual, table).items():
            assert np.array_equal(getattr(quiet, table)[name].values, column.values), name


def test_who_follows_is_told_after_every_step():
    told = []

    class Followed(Watched):
        def __enter__(self):
            entered = super().__enter__()
            self.capture.follow(lambda: told.append(self.capture.steps))
            return entered

    run(loop(), lambda model: Followed(model, RHYTHM))
    assert told == list(range(1, STEPS + 1))


def test_taken_away_and_put_back_it_goes_on():
    steps = []

    def program(watch):
        torch.manual_seed(0)
        model = nn.Linear(SMALL, 8)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        with watch(model) as watched:
            for step in range(STEPS):
                if step == FROM:
                    watched.capture.pause()
                if step == FROM + 10:
                    watched.capture.resume()
                optimizer.zero_grad()
                model(torch.randn(32, SMALL)).square().mean().backward()
                optimizer.step()
            steps.append(watched.capture.steps)
        return model, []

    found = recorded(program, RHYTHM)
    assert steps == [STEPS - 10]
    assert list(found.steps) == list(range(STEPS - 10))
    assert found.step["loss"].observed.all()


# What one step may do otherwise than those around it; what lasts, or is told later the short way, is left to others.
ONCE = sorted(
    CHANGES.keys()
    - {
        "nothing",
        "a gradient that is not finite",
        "batches with a NaN",
        "large batches with a NaN",
        "a loss that is not finite",
        "gradients are cleared to zeros",
        "gradients are put in place by hand",
        "a rate that is a tensor",
        "another optimizer steps too",
        "layers are frozen",
        "a group is added",
    }
)


def eventful(seed):
    """Return a loop in which some steps, drawn at random, do something else."""
    drawn = np.random.default_rng(seed)
    often = drawn.choice([0.02, 0.08, 0.3])
    plan = {s: str(drawn.choice(ONCE)) for s in range(12, 130) if drawn.random() < often}

    def program(watch):
        torch.manual_seed(seed)
        model, losses = Net(), []
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        with watch(model):
            for step in range(130):
                act = partial(_act, CHANGES[plan[step]] if step in plan else {})
                act("first", model, optimizer)
                x, y = torch.randn(32, 16), torch.randint(0, 4, (32,))
                x, y = act("batch", x, y, usually=lambda *batch: batch)
                act("clear", model, optimizer, usually=lambda _, o: o.zero_grad())
                loss = act("scale", F.cross_entropy(model(x), y), usually=lambda z: z)
                act("backward", loss, usually=torch.Tensor.backward)
                act("clip", model, optimizer)
                act("step", model, optimizer, usually=lambda _, o: o.step())
                losses.append(loss.item())
        return model, losses

    return program


def _act(change, name, *args, usually=lambda *_: None):
    return change.get(name, usually)(*args)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_a_step_does_the_recording_is_that_of_the_long_way(monkeypatch, seed):
    quiet, long = both(monkeypatch, eventful(seed), RHYTHM)
    assert quiet.facts == long.facts
    assert quiet.occurrences == long.occurrences
    assert list(quiet.sampled) == list(long.sampled)
    for table in TABLES:
        for name, column in getattr(long, table).items():
            mine = getattr(quiet, table)[name]
            assert np.array_equal(mine.observed, column.observed), name
            assert np.array_equal(mine.values, column.values, equal_nan=True), name
