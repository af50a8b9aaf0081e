"""A callback for Lightning.

::

    watching = NeuralDbgCallback(save="run.ndbg")
    trainer = lightning.Trainer(callbacks=[watching])
    trainer.fit(module)
    print(watching.dbg.explain_failure()[0])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuraldbg.integrations.watching import Watching

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        # The same library under its older name.
        from pytorch_lightning import Callback

__all__ = ["NeuralDbgCallback"]


class NeuralDbgCallback(Watching, Callback):
    """Watches every ``trainer.fit``, with the trainer's own count of steps.

    Parameters
    ----------
    **options
        Handed to ``NeuralDbg``: ``save``, ``schedule``, ``priors``, ``catalogue``.

    Attributes
    ----------
    dbg
        The ``NeuralDbg`` of the last training.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, once checkpoints are restored."""
        self.begin(pl_module, first_step=trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop watching."""
        self.end()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop watching, with what ended the training."""
        self.end(exception)
