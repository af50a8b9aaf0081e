"""Everything that NeuralDBG raises or warns with on purpose.

::

    NeuralDBGError
    ├── UsageError (RuntimeError)      the tool was used in a way that cannot work
    ├── ModelError (TypeError)         the object to watch is not a PyTorch model
    ├── UnknownNameError (KeyError)    no layer, failure, mechanism … of that name
    ├── PriorError (ValueError)        a prior outside (0, 1)
    ├── ExportError (ValueError)       a file format that is not known
    ├── RecordingError (ValueError)    a file that cannot be read or written as a recording
    └── TrainingStopped                a failure passed the probability that was asked for
    CaptureWarning (UserWarning)       capture disarmed itself; training went on unchanged
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuraldbg.records.diagnosis import Diagnosis, Explanation

__all__ = [
    "CaptureWarning",
    "ExportError",
    "ModelError",
    "NeuralDBGError",
    "PriorError",
    "RecordingError",
    "TrainingStopped",
    "UnknownNameError",
    "UsageError",
]


class NeuralDBGError(Exception):
    """Base of every error raised on purpose."""


class UsageError(NeuralDBGError, RuntimeError):
    """The tool was used in a way that cannot work; the sentence says what to do instead."""


class ModelError(NeuralDBGError, TypeError):
    """The object to watch is not a PyTorch model."""


class PriorError(NeuralDBGError, ValueError):
    """A prior probability lies outside the open interval (0, 1)."""


class ExportError(NeuralDBGError, ValueError):
    """A file format that is not known."""


class RecordingError(NeuralDBGError, ValueError):
    """A file that cannot be read, or written, as a recording."""


class TrainingStopped(NeuralDBGError):  # noqa: N818 - it tells what happened, and the user asked for it
    """The loop was ended by ``NeuralDbg(model, stop_when=…)``.

    Parameters
    ----------
    step
        Optimizer step after which the loop was ended.
    limit
        The probability that was asked for; None where a function decided.
    diagnosis
        What was known then.

    Attributes
    ----------
    probability
        That anything is wrong with the run.
    """

    def __init__(self, step: int, limit: float | None, diagnosis: Diagnosis) -> None:
        self.step = step
        self.limit = limit
        self.diagnosis = diagnosis
        self.probability = 1.0 - diagnosis.p_healthy
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        why = "stop_when said so" if self.limit is None else f"stop_when={self.limit:g}"
        told = str(self.explanation) if self.explanation else self.diagnosis.reason
        return (
            f"training was stopped after {self.step} steps ({why}), "
            f"p of a failure = {self.probability:.2f}: {told}"
        )

    @property
    def explanation(self) -> Explanation | None:
        """The leading explanation; None if nothing is accused."""
        found = self.diagnosis.explanations
        return found[0] if found else None

    def __reduce__(self) -> tuple[object, ...]:
        # Workers hand exceptions on by pickle, which would call us with the sentence alone.
        return type(self), (self.step, self.limit, self.diagnosis)


class CaptureWarning(UserWarning):
    """Capture met an error of its own, or what it cannot follow, and disarmed itself; training goes on unchanged."""


class UnknownNameError(NeuralDBGError, KeyError):
    """No layer, failure, mechanism or event has that name.

    Parameters
    ----------
    name
        The name asked for.
    noun
        What was asked for, singular: ``"failure"``.
    known
        The names that exist.
    """

    def __init__(self, name: str, noun: str, known: Iterable[str]) -> None:
        self.noun = noun
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        close = get_close_matches(self.name, self.known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "None is similar."
        listing = ", ".join(self.known[:12]) + (" …" if len(self.known) > 12 else "")
        return f"no {self.noun} is named {self.name!r}. {hint} Known: {listing}."

    def __str__(self) -> str:
        # KeyError prints repr(args[0]); a sentence must print as a sentence.
        return str(self.args[0])
