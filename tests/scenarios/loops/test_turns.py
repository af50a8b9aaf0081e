"""Which thread of a loop is followed, turn by turn: one trains the model, or the model is left alone."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from neuraldbg import NeuralDbg
from neuraldbg.errors import CaptureWarning
from tests.twins import is_untouched

TURNS = 6


class Loop:
    """A model of two parts that is trained turn by turn."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2)
        )
        self.optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in self.model]
        self.other = nn.Linear(6, 3)
        self.x = torch.randn(16, 6)

    def asks(self, part=0):
        """Call a part with gradients on, for no training."""
        return self.model[part](self.x).square().mean()

    def learns(self, part=0):
        """Accumulate the gradients of a part."""
        self.optimizers[part].zero_grad()
        self.asks(part).backward()

    def steps(self, part=0):
        """Step a part."""
        self.optimizers[part].step()

    def trains(self, part=0):
        """Do a whole step of a part."""
        self.learns(part)
        self.steps(part)

    def trains_another(self):
        """Do a step of a model that is not watched."""
        self.other.zero_grad()
        self.other(self.x).square().mean().backward()
        torch.optim.SGD(self.other.parameters(), lr=0.1).step()


def by_a_pool(loop, there):
    """Every step in the same worker."""
    for _ in range(TURNS):
        there(loop.trains)


def by_threads_that_end(loop, _):
    """Every step in a thread of its own."""
    for _ in range(TURNS):
        thread = threading.Thread(target=loop.trains)
        thread.start()
        thread.join()


def after_a_look(loop, there):
    """The thread that watches calls the model, another one trains it."""
    loop.asks()
    for _ in range(TURNS):
        there(loop.trains)


def beside_another_model(loop, there):
    """The thread that watches trains something else."""
    for _ in range(TURNS):
        loop.trains_another()
        there(loop.trains)


def with_questions(loop, there):
    """A worker calls the model with gradients on, and trains something else."""
    for _ in range(TURNS):
        loop.trains()
        there(loop.asks)
        there(loop.trains_another)


def with_steps_elsewhere(loop, there):
    """A worker does the optimizer's part."""
    for _ in range(TURNS):
        loop.learns()
        there(loop.steps)


def in_turns(loop, there):
    """Two threads train a part each."""
    for _ in range(TURNS):
        loop.trains(0)
        there(lambda: loop.trains(1))


def in_turns_from_the_middle(loop, there):
    """A second thread begins when the first has stepped often."""
    for turn in range(TURNS):
        loop.trains(0)
        if turn > 2:
            there(lambda: loop.learns(1))
    loop.steps(1)


FOLLOWED = (
    by_a_pool,
    by_threads_that_end,
    after_a_look,
    beside_another_model,
    with_questions,
    with_steps_elsewhere,
)
LEFT_ALONE = (in_turns, in_turns_from_the_middle)


def plays(play, watch):
    """Return what a play leaves of the model, and the watch."""
    loop = Loop()
    dbg = NeuralDbg(loop.model) if watch else None
    with ThreadPoolExecutor(1) as pool:
        there = lambda work: pool.submit(work).result()
        if dbg is None:
            play(loop, there)
        else:
            with dbg:
                play(loop, there)
    return [p.detach().clone() for p in loop.model.parameters()], dbg


def alone():
    """Return the losses of the first part, trained by one thread."""
    loop, losses = Loop(), []
    for _ in range(TURNS):
        losses.append(loop.asks().item())
        loop.trains()
    return losses


def assert_unharmed(play, watched):
    plain, _ = plays(play, watch=False)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert is_untouched()


@pytest.mark.parametrize("play", FOLLOWED, ids=lambda play: play.__name__)
def test_one_thread_that_trains_is_followed(play):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        watched, dbg = plays(play, watch=True)
    recording = dbg.recording
    assert recording.facts["disarmed"] == ""
    assert recording.steps.size == TURNS
    assert recording.step["loss"].values == pytest.approx(alone(), rel=1e-6)
    assert recording.step["backwards"].values.tolist() == [1] * TURNS
    assert_unharmed(play, watched)


@pytest.mark.parametrize("play", LEFT_ALONE, ids=lambda play: play.__name__)
def test_a_model_that_several_threads_train_is_left_alone(play):
    with pytest.warns(CaptureWarning, match="several threads"):
        watched, dbg = plays(play, watch=True)
    recording = dbg.recording
    assert "several threads" in recording.facts["disarmed"]
    assert 0 < recording.steps.size <= TURNS
    assert_unharmed(play, watched)
