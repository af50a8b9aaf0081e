"""The case interface: a small real training run with a known fault and its healthy twin."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Protocol, TypedDict

__all__ = ["Case", "Observe", "Outcome", "Truth", "Watch"]


class Truth(TypedDict):
    """What is wrong with a case; ``mechanisms == []`` is a healthy run.

    ``mechanisms`` lists the primary mechanism first, then acceptable answers; ``also`` the effects it
    has; ``layers`` the dotted module names where it began (None: it has no layer); ``onset`` the
    optimizer step, or an inclusive range of steps, at which it began.
    """

    mechanisms: list[str]
    also: NotRequired[list[str]]
    layers: NotRequired[list[str] | None]
    onset: NotRequired[int | tuple[int, int] | None]
    symptom: NotRequired[str]


class Outcome(TypedDict):
    """How a run ended: a quality metric, which direction is better, and the final training loss."""

    metric: float
    better: Literal["higher", "lower"]
    loss: float


class Watch(Protocol):
    """What ``observe`` yields; tools that cannot see the loss by themselves are told it here."""

    def loss(self, value: float) -> None:
        """Take the training loss of one optimizer step."""


class Observe(Protocol):
    """A tool under test: wraps the training loop of one model."""

    def __call__(self, model: Any, optimizer: Any) -> AbstractContextManager[Watch]:
        """Return a context manager around the loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training program with a known fault (or none) and a healthy twin.

    Attributes
    ----------
    id
        Unique slug, for example ``"mlp-learning-rate-too-high"``.
    truth
        What a right diagnosis says.
    train
        ``train(observe, seed=0, fixed=False)`` runs the loop inside ``observe(model, optimizer)``;
        ``fixed=True`` trains the twin without the fault on the same seed and data.
    family
        Architecture family, the unit of every split in evaluation.
    title
        One line for people.
    """

    id: str
    truth: Truth
    train: Callable[..., Outcome]
    family: str
    title: str
