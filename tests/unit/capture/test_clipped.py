"""A NaN of a backward pass is told at its layer in loops that clip, also on a step that is not sampled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuraldbg.capture.meter import GradientMeter
from neuraldbg.records.recording import Occurrence, Recording
from tests.loops import clusters
from tests.scenarios.loops import programs as loops
from tests.twins import recorded

# A step far from those that the schedule samples.
BAD, STEPS = 21, 24

Clip = Callable[[nn.Module], object]


class Distances(nn.Module):
    """Distances to the first column: that of the first to itself is a root at exactly zero."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.before, self.inner = nn.Linear(8, 16), nn.Linear(16, 16)
        self.after, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
        self.eps, self.late = eps, 1e-3

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(torch.tanh(self.before(x)))
        return self.head(torch.tanh(self.after(torch.sqrt((h - h[:, :1]) ** 2 + self.late))))


def nothing(_model: nn.Module) -> None:
    """Leave gradients as they are."""


def by_norm(most: float) -> Clip:
    return lambda model: nn.utils.clip_grad_norm_(model.parameters(), most)


def replaced(model: nn.Module) -> None:
    """Clip by hand, into new tensors."""
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    for parameter in model.parameters():
        parameter.grad = parameter.grad * (0.1 / total)


def behind_autograd(model: nn.Module) -> None:
    """Clip by hand, where versions of tensors are not counted."""
    total = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    for parameter in model.parameters():
        parameter.grad.data.mul_(0.1 / total)


CLIPS = {
    "always": by_norm(0.1),
    "never so far": by_norm(1e6),
    "into new tensors": replaced,
    "behind autograd": behind_autograd,
}


def trained(clip: Clip, *, eps: float = 0.0, shares: int = 1) -> Recording:
    """Train with a root that is guarded until the bad step, and from then on by ``eps`` only."""

    def program(watch):
        model = Distances(eps)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        with watch(model):
            for step in range(STEPS):
                model.late = model.late if step < BAD else model.eps
                optimizer.zero_grad()
                x, y = clusters(step)
                for part, labels in zip(x.chunk(shares), y.chunk(shares), strict=True):
                    (F.cross_entropy(model(part), labels) / shares).backward()
                clip(model)
                optimizer.step()
        return model, []

    recording = recorded(program)
    assert recording.facts["disarmed"] == ""
    assert BAD not in recording.sampled
    return recording


def births(recording: Recording) -> list[Occurrence]:
    return [o for o in recording.occurrences if o.kind.startswith("nonfinite")]


def is_born_at_the_root(recording: Recording) -> bool:
    first = births(recording)[0]
    where = recording.topology.layers[first.layer].name
    return (first.kind, first.step, where) == ("nonfinite_gradient", BAD, "inner")


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_a_nan_that_clipping_spreads_is_told_where_it_was_born(clip: Clip) -> None:
    assert is_born_at_the_root(trained(clip))


def test_it_is_told_there_where_several_backward_passes_make_a_step() -> None:
    assert is_born_at_the_root(trained(CLIPS["always"], shares=2))


def test_without_clipping_it_is_told_there_as_well() -> None:
    assert is_born_at_the_root(trained(nothing))


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_a_guarded_root_is_no_birth(clip: Clip) -> None:
    assert births(trained(clip, eps=1e-3)) == []


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the steps at which gradients were looked at before clipping though the step is not sampled."""
    found: list[int] = []
    look = GradientMeter.probe_raw

    def counted(self, tick, scale):
        assert not tick.sampled
        found.append(tick.step)
        return look(self, tick, scale)

    monkeypatch.setattr(GradientMeter, "probe_raw", counted)
    return found


@pytest.mark.parametrize(
    "loop",
    [
        loops.plain,
        loops.accumulation,
        loops.lbfgs,
        loops.two_optimizers,
        loops.optimizer_in_backward,
    ],
    ids=lambda loop: loop.__name__,
)
def test_a_run_that_does_not_clip_pays_nothing(loop, looks) -> None:
    recorded(loop)
    assert looks == []


def test_a_run_that_clips_is_looked_at_in_every_step(looks) -> None:
    recording = recorded(loops.clip_norm)
    assert {*looks, *recording.sampled} == {*recording.steps}


def overflowing(watch):
    """Train behind a scaler whose factor is far too large once; then it is clipped as always."""
    model = loops.Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with watch(model):
        for step, (x, y) in enumerate(loops.batches(STEPS)):
            optimizer.zero_grad()
            if step == BAD:
                scaler.update(2.0**127)
            scaler.scale(100.0 * F.cross_entropy(model(x), y)).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update(4.0 if step == BAD else None)
    return model, []


def test_an_overflow_behind_a_gradient_scaler_is_no_birth() -> None:
    recording = recorded(overflowing)
    assert BAD not in recording.sampled
    assert recording.step["skipped"].values[BAD] == 1.0
    assert births(recording) == []
