"""A callback for the Trainer of Hugging Face's transformers.

::

    watching = NeuralDbgCallback(save="run.ndbg")
    trainer = transformers.Trainer(model, args, train_dataset=data, callbacks=[watching])
    with watching:
        trainer.train()
    print(watching.dbg.explain_failure()[0])

The ``with`` may be left out. That trainer tells a callback nothing when it dies of an exception, so only the
block can note which one it was; without it, watching goes on until the next training or ``watching.end()``.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from neuraldbg.integrations.watching import Watching

__all__ = ["NeuralDbgCallback"]


class NeuralDbgCallback(Watching, TrainerCallback):
    """Watches every ``trainer.train``, with the trainer's own count of steps and its own loss.

    Parameters
    ----------
    **options
        Handed to ``NeuralDbg``: ``save``, ``schedule``, ``priors``, ``catalogue``.

    Attributes
    ----------
    dbg
        The ``NeuralDbg`` of the last training.
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Begin, once checkpoints are restored."""
        model: nn.Module = kwargs["model"]
        self.begin(model, first_step=state.global_step)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Stop watching."""
        self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(error)
