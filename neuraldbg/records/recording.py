"""What capture saw of one run: facts, the module graph, and columns of numbers by step, layer and parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Column",
    "Fact",
    "LayerInfo",
    "LossCall",
    "Occurrence",
    "OptimizerInfo",
    "ParamInfo",
    "Recording",
    "Topology",
    "Unobserved",
    "behind_parameters",
]

Fact = bool | int | float | str | None


class Column(NamedTuple):
    """Measured numbers and whether each was measured at all.

    Attributes
    ----------
    values
        float32; the first axis is time. A measured NaN or infinity stays as it is: it is a symptom.
    observed
        Same shape, bool; False where nothing was measured, whatever ``values`` holds there.
    """

    values: NDArray[np.float32]
    observed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """One module that holds parameters of its own or has no children.

    Attributes
    ----------
    name
        Dotted path in ``named_modules()``; the first one for a shared module.
    type
        Class name, for example ``"Linear"``.
    kind
        ``linear``, ``conv``, ``norm``, ``activation``, ``dropout``, ``embedding``, ``recurrent``,
        ``attention``, ``loss`` or ``other``.
    order
        Place in the first step's execution order; -1 if the module was not called there.
    activation
        Nonlinearity: for an activation module its own name; for any other layer the one that the first
        step applied directly to its output (module or function): ``relu``, ``tanh``, ``sigmoid``,
        ``gelu``, ``softmax`` …; None if none was seen.
    params
        Indices into ``Topology.params`` of the parameters that it owns.
    calls
        Calls in the first step (a recurrent cell has many).
    config
        What matters to a diagnosis: ``eps``, ``p``, ``momentum``, ``in_features`` …, ``attends_in``, the module in
        which attention is made of its output, and ``without_gradient``, if it only ran without gradients and feeds
        layers that did not, or ``severed``, if what it gave was taken out of the graph (``detach``, ``data``),
        ``chooses``, if what it gave is used where nothing comes back by it (to choose, or cut off beside others), and ``detached``, if a parameter of it was taken
        out of the graph before it was used.
    """

    name: str
    type: str
    kind: str
    order: int = -1
    activation: str | None = None
    params: tuple[int, ...] = ()
    calls: int = 0
    config: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamInfo:
    """One parameter tensor; a tied parameter appears once, under its first name.

    Attributes
    ----------
    name
        Dotted name in ``named_parameters()``.
    layer
        Index into ``Topology.layers`` of the module that owns it.
    shape, dtype
        As PyTorch prints them; dtype without ``torch.``.
    kind
        ``matrix`` (two or more axes, not an embedding), ``embedding``, ``bias`` or ``scale``.
    trainable
        ``requires_grad`` before the first step.
    group
        Index of the optimizer parameter group (over all optimizers) that owns it; -1 if none does.
    fan_in
        Inputs of one unit (``shape[1:]`` product of a matrix), 0 where it has no meaning.
    shard
        Entries of it that this process holds and measured, where it is sharded over several; -1 where it
        is whole.
    summed
        How many of its entries a product that it was seen in adds up; 0 where it was seen in none. Of ``nn`` layers that
        is the fan-in, and is not noted.
    """

    name: str
    layer: int
    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: str = "matrix"
    trainable: bool = True
    group: int = -1
    fan_in: int = 0
    shard: int = -1
    summed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerInfo:
    """One optimizer that stepped parameters of the model.

    ``family`` is ``sgd``, ``adam`` (Adam, AdamW, NAdam, RAdam, Adamax …), ``rmsprop``, ``adagrad``,
    ``lbfgs`` or ``other``; ``groups`` are its indices among all groups; ``defaults`` its numbers at
    the first step (``lr``, ``momentum``, ``beta1``, ``beta2``, ``eps``, ``weight_decay``).
    """

    type: str
    family: str
    groups: tuple[int, ...]
    defaults: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The model as a graph of layers.

    Attributes
    ----------
    layers
        In ``named_modules()`` order.
    params
        In ``named_parameters()`` order.
    edges
        ``(source, target)`` layer indices: data flowed from one to the other in the first step without
        another layer between; acyclic with respect to ``LayerInfo.order``.
    inputs, outputs
        Layers that read the model's input and layers whose output reached the loss.
    """

    layers: tuple[LayerInfo, ...] = ()
    params: tuple[ParamInfo, ...] = ()
    edges: tuple[tuple[int, int], ...] = ()
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def behind_parameters(layers: Sequence[LayerInfo], edges: Iterable[tuple[int, int]]) -> set[int]:
    """Return the layers that others with parameters feed, directly or through others.

    Parameters
    ----------
    layers
        Of the model.
    edges
        Pairs of their indices, of which the first feeds the second.
    """
    ahead = [i for i, layer in enumerate(layers) if layer.params]
    fed: dict[int, set[int]] = {}
    for source, target in edges:
        fed.setdefault(source, set()).add(target)
    behind: set[int] = set()
    while ahead:
        new = fed.get(ahead.pop(), set()) - behind
        behind |= new
        ahead += new
    return behind


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCall:
    """One call of a loss function, seen with its arguments on a sampled step.

    Attributes
    ----------
    step
        Optimizer step.
    function
        ``cross_entropy``, ``nll_loss``, ``mse_loss``, ``binary_cross_entropy_with_logits`` …
    layer
        Index of the layer that produced the prediction; -1 if unknown.
    facts
        ``reduction``, ``classes``, ``rows``, ``input_rows_sum_to_one``, ``input_log_probabilities``,
        ``input_min``, ``input_max``, ``input_std``, ``target_min``, ``target_max``, ``target_mean``,
        ``target_std``, ``target_nonfinite``, ``label_entropy`` (nats), ``shape_mismatch`` (broadcast),
        ``accuracy``, ``value``, ``made_by`` (the operation that made the prediction); a key is absent where it has no meaning.
    """

    step: int
    function: str
    layer: int = -1
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """Something that happened once, with its step, for example the first non-finite value.

    ``kind`` is one of ``nonfinite_input``, ``nonfinite_target``, ``nonfinite_parameter``,
    ``nonfinite_forward`` (``op`` and ``layer`` where it was born), ``nonfinite_loss``,
    ``nonfinite_gradient`` (``layer`` nearest the loss whose gradient is bad; of both, ``module``, whose ``forward``
    called the operation that made it, where that is certain), ``step_skipped``,
    ``uncleared`` (``module``, whose gradients alone are left from step to step), ``exception``, ``detached``
    (an op cut the graph after ``layer``), ``risky_op``, ``unheard`` (a weight that was put into ``layer`` in mid-run
    and that no optimizer steps), ``loss_spike`` (``target_mean`` and ``target_std`` of the batch; noted for every
    early one).
    """

    step: int
    kind: str
    layer: int = -1
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Unobserved(NamedTuple):
    """One thing that could not be measured and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Everything that later stages may know of a run.

    ``T`` optimizer steps, ``S`` sampled steps, ``L`` layers, ``P`` parameters, ``G`` parameter groups.

    Attributes
    ----------
    facts
        Run, machine and program facts: ``torch``, ``device``, ``dtype``, ``autocast``, ``finished``,
        ``exception``, ``model`` (class name), ``optimizers`` (count), ``compiled``.
    topology
        The module graph.
    optimizers
        Optimizers seen.
    steps
        Shape ``(T,)``; the optimizer step of every row of ``step``, ``group`` and ``grad``.
    step
        Columns ``(T,)``, see ``capture``.
    group
        Columns ``(T, G)``: ``lr``, ``weight_decay``, ``momentum``.
    grad
        Columns ``(T, P)``: ``grad_norm``.
    sampled
        Shape ``(S,)``; the optimizer step of every row of ``layer`` and ``param``.
    layer
        Columns ``(S, L)``.
    param
        Columns ``(S, P)``.
    losses
        Loss-function calls seen on sampled steps.
    occurrences
        In order of time.
    unobserved
        What could not be measured.
    """

    facts: Mapping[str, Fact] = field(default_factory=dict)
    topology: Topology = field(default_factory=Topology)
    optimizers: tuple[OptimizerInfo, ...] = ()
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    step: Mapping[str, Column] = field(default_factory=dict)
    group: Mapping[str, Column] = field(default_factory=dict)
    grad: Mapping[str, Column] = field(default_factory=dict)
    sampled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    layer: Mapping[str, Column] = field(default_factory=dict)
    param: Mapping[str, Column] = field(default_factory=dict)
    losses: tuple[LossCall, ...] = ()
    occurrences: tuple[Occurrence, ...] = ()
    unobserved: tuple[Unobserved, ...] = ()
