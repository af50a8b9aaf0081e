"""Look at a run while it trains: tell what is new, and stop the loop when a failure is probable enough."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from numbers import Real
from typing import NoReturn, Protocol, TypeVar

from neuraldbg.errors import CaptureWarning, TrainingStopped, UsageError
from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.records.event import SemanticEvent

__all__ = ["Live", "OnEvent", "StopWhen"]

OnEvent = Callable[[SemanticEvent], object]
StopWhen = float | Callable[[Diagnosis], bool]
T = TypeVar("T")

# Looks take no more than this share of the time, beside a second in all that short runs are looked at with.
SHARE, GRACE_S = 0.02, 1.0
# A look needs new steps; something that happened once is looked at in the very step, so many times a run.
FEWEST_STEPS, MOST_AT_ONCE = 16, 8
# A young run has little to compare with, and a warm-up looks like a plateau: a failure counts from this step
# on, and must be as probable at the next look, unless a value that is not finite settles it.
YOUNG, LOOKS = 48, 2


class Source(Protocol):
    """What a live look asks of capture."""

    @property
    def steps(self) -> int:
        """Optimizer steps so far."""

    @property
    def incidents(self) -> int:
        """How many things that happen once have happened."""


class Live:
    """Asks for the diagnosis now and then inside the user's loop.

    Parameters
    ----------
    source
        Counts steps and incidents.
    ask
        Returns the diagnosis of what was seen so far.
    on_event
        Called with every event that is new since the last look.
    stop_when
        Probability of a failure, in (0, 1], or a function of the diagnosis that says whether to stop.
    every
        Optimizer steps from look to look; None: as often as the budget of time allows.
    clock
        Returns seconds; for tests.

    Attributes
    ----------
    spent
        Seconds that looks have taken so far.

    Raises
    ------
    UsageError
        If ``stop_when`` or ``every`` is no such number.
    """

    def __init__(
        self,
        source: Source,
        ask: Callable[[], Diagnosis],
        *,
        on_event: OnEvent | None = None,
        stop_when: StopWhen | None = None,
        every: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        _check(stop_when, every)
        self._source, self._ask = source, ask
        self._on_event, self._stop_when, self._every = on_event, stop_when, every
        self._clock, self._began = clock, 0.0
        self.spent = self._last = 0.0
        self._step = self._incidents = self._at_once = self._passed = 0
        # Of every event by name and layer the first step at which it would be a new one.
        self._told: dict[tuple[str, str | None], int] = {}

    def begin(self) -> None:
        """Load the engine, which takes a second, before the loop rather than inside it."""
        import_module("neuraldbg.pipeline")
        import_module("neuraldbg.inference")
        self._began = self._clock()

    def after_step(self) -> None:
        """Look, if it is time; called inside the loop after every step.

        Raises
        ------
        TrainingStopped
            If a failure is probable enough.
        """
        if self._on_event is None and self._stop_when is None:
            return
        step, incidents = self._source.steps, self._source.incidents
        urgent = incidents > self._incidents and self._at_once < MOST_AT_ONCE
        if not (urgent or self._is_due(step)):
            return
        self._at_once += urgent
        self._step, self._incidents = step, incidents
        self._look()

    def _is_due(self, step: int) -> bool:
        if self._every is not None:
            return step - self._step >= self._every
        if step - self._step < FEWEST_STEPS:
            return False
        return self.spent + self._last <= SHARE * (self._clock() - self._began) + GRACE_S

    def _look(self) -> None:
        start = self._clock()
        diagnosis = self._guarded(self._ask)
        self._last = self._clock() - start
        self.spent += self._last
        if diagnosis is not None:
            self._tell(diagnosis)
            self._judge(diagnosis)

    def finish(self) -> None:
        """Tell what is new at the end of the run; nothing is stopped any more."""
        self._stop_when = None
        if self._on_event is not None and (diagnosis := self._guarded(self._ask)) is not None:
            self._tell(diagnosis)

    def _tell(self, diagnosis: Diagnosis) -> None:
        for event in diagnosis.events:
            key = event.name, event.layer
            new = event.span.first >= self._told.get(key, 0)
            self._told[key] = max(self._told.get(key, 0), event.span.stop)
            if new and (tell := self._on_event) is not None:
                self._guarded(partial(tell, event))

    def _judge(self, diagnosis: Diagnosis) -> None:
        wanted = self._stop_when
        if wanted is None:
            return
        if callable(wanted):
            if self._guarded(lambda: wanted(diagnosis)):
                self._stop(diagnosis, None)
            return
        if 1.0 - diagnosis.p_healthy < wanted:
            self._passed = 0
            return
        self._passed += self._step >= YOUNG
        certain = any(e.failure == "nonfinite_values" for e in diagnosis.events)
        if certain or self._passed >= LOOKS:
            self._stop(diagnosis, wanted)

    def _stop(self, diagnosis: Diagnosis, limit: float | None) -> NoReturn:
        # Whoever goes on after this has decided so: it is raised once.
        self._stop_when = None
        raise TrainingStopped(self._step, limit, diagnosis)

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """Run work that must not end the training; an error of it ends the live looks, with a warning."""
        try:
            return work()
        except TrainingStopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the training is worth more
            self._on_event = self._stop_when = None
            warnings.warn(
                f"NeuralDBG stopped looking at the run while it trains, after "
                f"{type(error).__name__}: {error}. Training, recording and diagnosis go on.",
                CaptureWarning,
                stacklevel=2,
            )
            return None


def _check(stop_when: object, every: object) -> None:
    if stop_when is not None and not callable(stop_when):
        number = isinstance(stop_when, Real) and not isinstance(stop_when, bool)
        if not number or not 0.0 < float(stop_when) <= 1.0:  # type: ignore[arg-type]
            msg = (
                f"stop_when is a probability in (0, 1] or a function of the diagnosis, got {stop_when!r}. "
                "For example stop_when=0.95."
            )
            raise UsageError(msg)
    if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        msg = f"look_every is a number of optimizer steps, at least 1, got {every!r}."
        raise UsageError(msg)
