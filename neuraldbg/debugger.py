"""The user's object: a context manager around any training loop, and the questions to ask it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from neuraldbg.answers import Answers
from neuraldbg.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from neuraldbg.capture import Schedule
    from neuraldbg.keeper import Keeper
    from neuraldbg.live import Live, OnEvent, StopWhen
    from neuraldbg.records.catalogue import Catalogue
    from neuraldbg.records.recording import Recording
    from neuraldbg.views import DiagnosisView

__all__ = ["NeuralDbg"]


class NeuralDbg(Answers):
    """Watch a training loop and explain why it failed.

    ::

        with NeuralDbg(model) as dbg:
            train()
        print(dbg.explain_failure()[0])

    Parameters
    ----------
    model
        The model; optimizers, losses and data are found by watching.
    save
        Write the recording to this file while the run goes on; ``neuraldbg.load`` reads it, also after a
        crash. An existing file is replaced.
    schedule
        When to look closely; None for the default rhythm.
    catalogue
        Detectors and mechanisms, None for the shipped ones; extend those with ``DEFAULT.with_(…)``.
    priors
        Replaces the prior probability of some mechanisms.
    first_step
        Number of the first optimizer step, for a run that goes on from a checkpoint.
    summed
        Whether the losses of several backward passes of one step are shares that add up to its loss; None
        to find out.
    on_event
        Called inside the loop with every new ``SemanticEvent``, at the latest when watching ends. Inside it
        ``dbg.diagnose()`` is the diagnosis so far, at no further cost. An error of it ends the calls, with a
        warning, and not the training.
    stop_when
        End the loop with ``TrainingStopped`` when the run has failed with at least this probability at two
        looks in a row from step 48 on (at one, at any step, if a value is not finite); or a function of the
        diagnosis that says whether to. It is raised once, from the ``optimizer.step()`` (or ``backward``, or model call) that the look
        followed, on the rank that saw the failure.
    look_every
        Optimizer steps from one such look to the next. None looks as often as takes no more than 2 % of the
        time beside one second in all, and at once after a value that is not finite.

    Raises
    ------
    ModelError
        If ``model`` is not an ``nn.Module``.
    UnknownNameError
        If ``priors`` names an unknown mechanism, or a record of ``catalogue`` an unknown event.
    PriorError
        If a prior lies outside (0, 1).
    UsageError
        If ``stop_when`` or ``look_every`` is no such number, or a record of ``catalogue`` cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        save: str | Path | None = None,
        schedule: Schedule | None = None,
        catalogue: Catalogue | None = None,
        priors: Mapping[str, float] | None = None,
        on_event: OnEvent | None = None,
        stop_when: StopWhen | None = None,
        look_every: int | None = None,
        first_step: int = 0,
        summed: bool | None = None,
    ) -> None:
        super().__init__(catalogue=catalogue, priors=priors)
        # Torch and capture load with the first watcher, and an import of the class costs a script nothing.
        from neuraldbg.capture import Capture  # noqa: PLC0415

        self._capture = Capture(model, schedule=schedule, summed=summed, first_step=first_step)
        self._live: Live | None = None
        if on_event is not None or stop_when is not None:
            from neuraldbg.live import Live  # noqa: PLC0415 - and the records of a diagnosis with it

            self._live = Live(
                self._capture,
                self.diagnose,
                on_event=on_event,
                stop_when=stop_when,
                every=look_every,
            )
        self._save = save
        self._keeper: Keeper | None = None
        self._state = "new"

    # -- watching -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish(error)

    def start(self) -> Self:
        """Begin to watch; for notebooks, where a ``with`` block does not fit.

        Raises
        ------
        UsageError
            If it was started before, the model is watched already, or it has no parameters.
        RecordingError
            If the file to save to cannot be created.
        """
        if self._state != "new":
            msg = (
                f"this NeuralDbg is {self._state} and watches one run only. "
                "Create a new one: NeuralDbg(model)."
            )
            raise UsageError(msg)
        from neuraldbg.keeper import Keeper  # noqa: PLC0415 - needs capture

        self._capture.start()
        try:
            self._keeper = Keeper(self._capture, self._save, catalogue=self._own_catalogue)
        except BaseException:
            self._capture.stop()
            raise
        self._capture.listen(self._keeper.on_rows)
        if self._live is not None:
            self._live.begin()
            self._capture.follow(self._live.after_step)
        self._state = "active"
        return self

    def stop(self, error: BaseException | None = None) -> Self:
        """Stop watching; safe to call more than once. ``error`` is what ended the loop, if anything did."""
        self._finish(error)
        return self

    def _finish(self, error: BaseException | None) -> None:
        if self._state == "active" and self._keeper is not None:
            self._state = "finished"
            self._capture.stop(error)
            self._keeper.close()
            if self._live is not None:
                self._live.finish()

    # -- answers --------------------------------------------------------------------------------

    @property
    def recording(self) -> Recording:
        """What was seen so far."""
        return self._capture.recording() if self._keeper is None else self._keeper.recording()

    def diagnose(self) -> DiagnosisView:
        """Return the whole diagnosis; computed once per state of the run.

        Raises
        ------
        UsageError
            If watching never began.
        """
        if self._state == "new":
            msg = (
                "nothing was watched yet. Put the training loop inside "
                "`with NeuralDbg(model) as dbg:` or call dbg.start() before it."
            )
            raise UsageError(msg)
        return super().diagnose()

    def _state_of_run(self) -> Hashable:
        return self._capture.steps, self._state

    def _repr_mimebundle_(self, **options: Any) -> dict[str, str]:
        if self._state == "new":
            return {"text/plain": "NeuralDbg, nothing watched yet"}
        return super()._repr_mimebundle_(**options)
