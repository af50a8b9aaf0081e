"""When a run is looked at while it trains, what is told, and when the loop is ended: without torch."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field

import pytest

from neuraldbg.errors import CaptureWarning, TrainingStopped, UsageError
from neuraldbg.live import Live
from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.records.event import SemanticEvent, StepSpan


def event(name="loss_spike", first=3, stop=5, layer=None, failure=None):
    return SemanticEvent(
        id=f"{name}@{layer}#{first}",
        name=name,
        kind="loss_dynamics",
        before="healthy",
        after=name,
        layer=layer,
        span=StepSpan(first, stop),
        failure=failure,
    )


@dataclass
class Run:
    """Stands for a watched run: the test says what a look finds and how long it takes."""

    steps: int = 0
    incidents: int = 0
    now: float = 0.0
    step_s: float = 0.01
    look_s: float = 0.0
    found: Diagnosis = field(default_factory=lambda: failing(0.0))

    def __post_init__(self):
        self.looked = []

    def ask(self):
        self.looked.append(self.steps)
        self.now += self.look_s
        return self.found

    def live(self, **options):
        live = Live(self, self.ask, clock=lambda: self.now, **options)
        live.begin()
        return live

    def go(self, live, steps):
        for _ in range(steps):
            self.steps += 1
            self.now += self.step_s
            live.after_step()


def told(run, **options):
    """Return a list that fills with the ids of the events told, and what tells them."""
    ids = []
    return ids, run.live(on_event=lambda e: ids.append(e.id), **options)


def failing(p=0.97, *events):
    return Diagnosis(p_healthy=1.0 - p, p_unknown=0.0, events=events)


# -- when --------------------------------------------------------------------------------------------


def test_a_look_waits_for_sixteen_new_steps():
    run = Run()
    run.go(run.live(stop_when=0.9), 50)
    assert run.looked == [16, 32, 48]


def test_the_user_may_say_how_often():
    run = Run(look_s=99.0)
    run.go(run.live(stop_when=0.9, every=5), 17)
    assert run.looked == [5, 10, 15]


@pytest.mark.parametrize("look_s", [0.05, 0.4, 3.0])
def test_looks_take_a_second_and_two_percent_of_the_time(look_s):
    run = Run(look_s=look_s, step_s=0.02)
    run.go(run.live(stop_when=0.9), 20_000)
    spent = len(run.looked) * look_s
    assert spent <= 1.0 + 0.02 * run.now + look_s
    assert spent > 0.5 * (0.02 * run.now)


def test_what_happens_once_is_looked_at_in_the_very_step():
    run = Run(look_s=99.0)
    live = run.live(stop_when=0.9)
    run.go(live, 20)
    run.incidents += 1
    run.go(live, 20)
    assert run.looked == [16, 21]


def test_a_flood_of_incidents_is_not_looked_at_one_by_one():
    run = Run(look_s=99.0)
    live = run.live(stop_when=0.9)
    for _ in range(100):
        run.incidents += 1
        run.go(live, 1)
    assert len(run.looked) < 12


# -- what is told ------------------------------------------------------------------------------------


def test_an_event_is_told_once_however_long_it_lasts():
    run = Run()
    ids, live = told(run)
    run.found = failing(0.0, event(first=3, stop=16))
    run.go(live, 16)
    run.found = failing(0.0, event(first=3, stop=32), event(first=20, stop=21, layer="fc"))
    run.go(live, 16)
    assert ids == ["loss_spike@None#3", "loss_spike@fc#20"]


def test_the_same_thing_happening_again_is_told_again():
    run = Run()
    ids, live = told(run)
    run.found = failing(0.0, event(first=3, stop=5))
    run.go(live, 16)
    run.found = failing(0.0, event(first=3, stop=5), event(first=30, stop=31))
    run.go(live, 16)
    assert ids == ["loss_spike@None#3", "loss_spike@None#30"]


def test_what_was_not_told_is_told_at_the_end():
    run = Run(found=failing(0.0, event()))
    ids, live = told(run)
    run.go(live, 7)
    live.finish()
    assert ids == ["loss_spike@None#3"]


def test_an_error_of_the_users_function_ends_the_calls_and_not_the_training():
    run = Run(found=failing(0.0, event(), event(layer="fc")))
    asked = []

    def broken(found):
        asked.append(found)
        raise OSError(28, "No space left on device")

    live = run.live(on_event=broken)
    with pytest.warns(CaptureWarning, match="stopped looking .* OSError: .*No space left"):
        run.go(live, 16)
    run.go(live, 100)
    live.finish()
    assert len(asked) == 1
    assert run.looked == [16]


def test_ctrl_c_in_the_users_function_goes_through():
    def interrupt(_event):
        raise KeyboardInterrupt

    run = Run(found=failing(0.0, event()))
    live = run.live(on_event=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.go(live, 16)


def test_an_error_of_the_engine_ends_the_looks_and_not_the_training():
    run = Run()
    run.ask = lambda: 1 / 0
    with pytest.warns(CaptureWarning, match="ZeroDivisionError"):
        run.go(run.live(stop_when=0.5), 64)


# -- when the loop is ended --------------------------------------------------------------------------


def test_a_failure_must_be_as_probable_at_the_next_look():
    run = Run(found=failing(0.97))
    with pytest.raises(TrainingStopped) as stopped:
        run.go(run.live(stop_when=0.9), 100)
    assert run.looked == [16, 32, 48, 64]
    assert stopped.value.step == 64
    assert stopped.value.probability == pytest.approx(0.97)
    assert stopped.value.diagnosis is run.found


def test_a_young_run_is_not_judged_yet():
    run = Run(found=failing(0.99))
    live = run.live(stop_when=0.9)
    run.go(live, 47)
    run.found = failing(0.1)
    run.go(live, 500)


def test_a_doubt_in_between_starts_the_count_again():
    run = Run()
    live = run.live(stop_when=0.9)
    for p in (0.97, 0.97, 0.97, 0.2, 0.97):
        run.found = failing(p)
        run.go(live, 16)
    with pytest.raises(TrainingStopped):
        run.go(live, 16)


def test_a_value_that_is_not_finite_needs_no_second_look():
    run = Run(found=failing(0.97, event(failure="nonfinite_values")))
    with pytest.raises(TrainingStopped):
        run.go(run.live(stop_when=0.9), 16)


@pytest.mark.parametrize(("p", "limit"), [(0.89, 0.9), (0.0, 0.01)])
def test_a_less_probable_failure_does_not_end_the_loop(p, limit):
    run = Run(found=failing(p))
    run.go(run.live(stop_when=limit), 100)


def test_a_function_decides_by_itself_and_at_once():
    run = Run(found=failing(0.3, event()))
    with pytest.raises(TrainingStopped, match="stop_when said so"):
        run.go(run.live(stop_when=lambda d: len(d.events) == 1), 16)


def test_whoever_goes_on_is_not_stopped_again():
    run = Run(found=failing())
    live = run.live(stop_when=0.9)
    with pytest.raises(TrainingStopped):
        run.go(live, 64)
    run.go(live, 500)


def test_events_are_told_before_the_loop_is_ended():
    run = Run(found=failing(0.99, event(failure="nonfinite_values")))
    ids, live = told(run, stop_when=0.9)
    with pytest.raises(TrainingStopped):
        run.go(live, 16)
    assert ids == ["loss_spike@None#3"]


@pytest.mark.parametrize("wrong", [0, 1.5, -0.1, float("nan"), "0.9", True])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(UsageError, match=r"probability in \(0, 1\].*stop_when=0.95"):
        Run().live(stop_when=wrong)


@pytest.mark.parametrize("wrong", [0, -3, 2.5, True])
def test_what_is_no_number_of_steps_is_refused(wrong):
    with pytest.raises(UsageError, match="look_every"):
        Run().live(stop_when=0.9, every=wrong)


def test_the_error_goes_through_a_pickle():
    error = TrainingStopped(32, 0.9, failing())
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.step, again.probability) == (str(error), 32, error.probability)
