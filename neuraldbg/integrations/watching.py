"""What the callbacks of all trainers have in common."""

from __future__ import annotations

from typing import Any

from torch import nn

from neuraldbg.debugger import NeuralDbg
from neuraldbg.errors import UsageError

__all__ = ["Watching"]


class Watching:
    """Watches one training after the other.

    Parameters
    ----------
    **options
        Handed to ``NeuralDbg``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self._dbg: NeuralDbg | None = None

    @property
    def dbg(self) -> NeuralDbg:
        """The ``NeuralDbg`` of the last training.

        Raises
        ------
        UsageError
            If no training has begun.
        """
        if self._dbg is None:
            msg = "no training has begun yet. Give this callback to a trainer and start it."
            raise UsageError(msg)
        return self._dbg

    def begin(self, model: nn.Module, *, first_step: int = 0) -> None:
        """Watch a model from here on; a training before that was not ended is.

        Parameters
        ----------
        model
            What the trainer trains.
        first_step
            Optimizer steps that the trainer has taken so far.
        """
        self.end()
        # Trainers divide the losses of accumulated batches, each in its way: shares of that of the step.
        self._dbg = NeuralDbg(model, first_step=first_step, summed=True, **self._options).start()

    def end(self, error: BaseException | None = None) -> None:
        """Stop watching; safe to call more than once.

        Parameters
        ----------
        error
            What ended the training, if anything did.
        """
        if self._dbg is not None:
            self._dbg.stop(error)
