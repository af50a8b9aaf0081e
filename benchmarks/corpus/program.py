"""One training program: everything that a person would write down, and the places where a fault can sit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from benchmarks.corpus.task import Batch, Task

__all__ = ["Program", "Sites", "Turn", "call", "dressed", "layer_of"]

# Naming the places of a model means building it once; the same model is asked for many times.
_SITES: dict[Any, Any] = {}

Criterion = Callable[[Any, Any], Tensor]
Forward = Callable[[nn.Module, tuple[Tensor, ...]], Any]
Dress = Callable[[nn.Module], None]
OnBatch = Callable[[Batch, int, torch.Generator], Batch]
OnStep = Callable[[nn.Module, torch.optim.Optimizer, int, dict[str, Any]], None]


@dataclass(kw_only=True)
class Sites:
    """Dotted names of the places of a model that faults ask for.

    Attributes
    ----------
    hidden
        Weight layers whose output goes straight into the nonlinearity.
    act
        Name of that nonlinearity.
    body
        All weight layers before the head, in order.
    head
        The last layer.
    norms, drops, recurrent, embeddings
        Layers of those kinds.
    attention
        Attention module → names of the parameters that make its scores.
    """

    hidden: list[str] = field(default_factory=list)
    act: str = "relu"
    body: list[str] = field(default_factory=list)
    head: str = ""
    norms: list[str] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    recurrent: list[str] = field(default_factory=list)
    embeddings: list[str] = field(default_factory=list)
    attention: dict[str, list[str]] = field(default_factory=dict)


def call(model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Run a model on its inputs."""
    return model(*inputs)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One backward pass and one optimizer; ordinary programs have one turn, a GAN two.

    Attributes
    ----------
    part
        Dotted name of the part that this turn trains; empty for the whole model.
    """

    criterion: Criterion
    part: str = ""
    forward: Forward = call


@dataclass(frozen=True, kw_only=True)
class Program:
    """A training program.

    Attributes
    ----------
    model, config
        Class and its arguments.
    task
        Data and score.
    turns
        Backward passes of one step.
    predict
        What is evaluated on the test inputs.
    optimizer, lr, options
        Kind (``sgd``, ``adam``, …), learning rate and further arguments.
    schedule
        ``schedule(optimizer, steps)``; None for a constant rate. ``schedule_name`` says which.
    precision
        ``float32``, ``bf16`` or ``fp16`` (weights), ``amp-bf16`` or ``amp-fp16`` (autocast).
    loss_scale
        Factor of the loss before backward; ``unscale`` divides the gradients again.
    clip
        Kind (``norm`` or ``value``) and limit.
    clears
        Whether gradients are cleared at a step; ``tidy`` says when: at the ``start`` or the ``end``.
    dress
        Changes to the new model, without gradient, before the optimizer is built.
    late
        Changes after the optimizer was built.
    owns
        ``owns(model)`` gives the optimizer's parameters or groups; None for all of them.
    pipeline
        Changes to data that hold in training and in evaluation.
    feed
        Changes to training batches.
    penalty
        A term of the loss that depends on the model alone.
    weigh
        ``weigh(loss, step)``.
    before_step, after_step
        Called around the optimizer step with a dictionary that lives as long as the run.
    notes
        Marks of the draw that faults and oddities look at.
    """

    family: str
    model: Callable[..., nn.Module]
    config: Mapping[str, Any]
    task: Task
    turns: tuple[Turn, ...]
    predict: Forward = call
    optimizer: str = "adam"
    lr: float = 1e-3
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: Callable[[torch.optim.Optimizer, int], Any] | None = None
    schedule_name: str = "none"
    schedule_every: int = 1
    steps: int = 150
    size: int = 32
    sampling: str = "epochs"
    precision: str = "float32"
    loss_scale: float = 1.0
    unscale: bool = False
    clip: tuple[str, float] | None = None
    accumulate: int = 1
    clears: Callable[[int], bool] = lambda _step: True
    tidy: str = "start"
    evaluates: bool = False
    stays_in_eval: bool = False
    dress: tuple[Dress, ...] = ()
    late: tuple[Callable[[nn.Module, torch.optim.Optimizer], None], ...] = ()
    owns: Callable[[nn.Module], Any] | None = None
    pipeline: tuple[Callable[[Batch], Batch], ...] = ()
    feed: tuple[OnBatch, ...] = ()
    penalty: Callable[[nn.Module], Tensor] | None = None
    weigh: Callable[[Tensor, int], Tensor] = lambda loss, _step: loss
    before_step: tuple[OnStep, ...] = ()
    after_step: tuple[OnStep, ...] = ()
    notes: frozenset[str] = frozenset()

    def but(self, **changes: Any) -> Self:
        """Return the program with some things changed."""
        return replace(self, **changes)

    def configured(self, **changes: Any) -> Self:
        """Return the program with other model arguments."""
        return replace(self, config={**self.config, **changes})

    def plus(self, **additions: Any) -> Self:
        """Return the program with something appended to its tuples (``dress``, ``feed``, …)."""
        return replace(self, **{k: (*getattr(self, k), v) for k, v in additions.items()})

    def judged(self, wrap: Callable[[Criterion], Criterion]) -> Self:
        """Return the program with every criterion wrapped."""
        turns = tuple(replace(turn, criterion=wrap(turn.criterion)) for turn in self.turns)
        return replace(self, turns=turns)

    def with_options(self, **options: Any) -> Self:
        """Return the program with other optimizer arguments."""
        return replace(self, options={**self.options, **options})

    def new_model(self) -> nn.Module:
        """Build and dress the model from the current state of the global generator."""
        model = self.model(**self.config)
        with torch.no_grad():
            for edit in self.dress:
                edit(model)
        if self.precision in {"bf16", "fp16"}:
            model.to(torch.bfloat16 if self.precision == "bf16" else torch.float16)
        return model

    def sites(self) -> Sites:
        """Return the named places of the model."""
        key = (self.model, repr(sorted(self.config.items())))
        if key not in _SITES:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                _SITES[key] = self.model(**self.config).sites
        return _SITES[key]

    @property
    def adaptive(self) -> bool:
        """Whether the optimizer divides by a second moment."""
        return self.optimizer not in {"sgd", "momentum", "nesterov"}

    @property
    def rnn_op(self) -> bool:
        """Whether the model uses a fused recurrent operation, which has no float16 on a CPU."""
        return "fused" in self.notes


def layer_of(model: nn.Module, name: str) -> Any:
    """Return a layer by its dotted name."""
    return model.get_submodule(name)


def dressed(edit: Callable[..., None], *args: Any) -> Dress:
    """Return ``edit(model, *args)`` as a change to a new model."""
    return partial(_call_with, edit, args)


def _call_with(edit: Callable[..., None], args: tuple[Any, ...], model: nn.Module) -> None:
    edit(model, *args)
