"""The model as layers and parameters, before anything ran."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.parametrize import (
    ParametrizationList,
    is_parametrized,
    type_before_parametrizations,
)

from neuraldbg.capture.compiled import is_optimized
from neuraldbg.capture.shards import flat_shards, is_sharded, local, unwrapped
from neuraldbg.records.recording import Fact, LayerInfo, ParamInfo

__all__ = [
    "ACTIVATIONS",
    "OUTSIDE",
    "Blueprint",
    "activation_name",
    "draw",
    "fan_in",
    "has_cycle",
    "leading_out",
    "redraw",
]

_NORMS = (
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001 - the only common base of BatchNorm and SyncBatchNorm
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.instancenorm._InstanceNorm,  # noqa: SLF001 - likewise
)
_DROPOUTS = nn.modules.dropout._DropoutNd  # noqa: SLF001 - the only common base of dropout modules
_CONVS = nn.modules.conv._ConvNd  # noqa: SLF001 - the only common base of convolutions

# Where PyTorch keeps what a weight is worked out from, and how it calls the lengths that weight normalization takes
# out of one, in its newer form and in the older.
RULES, LENGTHS = "parametrizations", frozenset({"original0", "weight_g"})

# Module class name (lower case) or function name to the name used in the catalogue.
ACTIVATIONS = {
    "relu": "relu",
    "relu_": "relu",
    "relu6": "relu6",
    "leakyrelu": "leaky_relu",
    "leaky_relu": "leaky_relu",
    "leaky_relu_": "leaky_relu",
    "prelu": "leaky_relu",
    "elu": "elu",
    "selu": "elu",
    "celu": "elu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "silu",
    "hardswish": "silu",
    "tanh": "tanh",
    "tanh_": "tanh",
    "hardtanh": "hardtanh",
    "softsign": "softsign",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    "hardsigmoid": "hardsigmoid",
    "softplus": "softplus",
    "softmax": "softmax",
    "logsoftmax": "log_softmax",
    "log_softmax": "log_softmax",
    "sin": "sine",
}


def activation_name(name: str) -> str | None:
    """Return the catalogue's name of a nonlinearity from a module class or function name."""
    return ACTIVATIONS.get(name.lower())


@dataclass(slots=True)
class Blueprint:
    """Layers and parameters of a model with the identities by which capture finds them again.

    ``layer_of`` and ``param_of`` map ``id()`` to an index; a module or tensor registered under several
    names has one entry, under its first name. ``lazy`` says that some parameters have no shape yet;
    ``gathered`` maps ``id()`` of what a sharded parameter is while its layer runs to that layer; ``opened`` are layers
    that call others besides what they do with their own parameters: what happens in them is looked at.
    """

    layers: list[LayerInfo] = field(default_factory=list)
    params: list[ParamInfo] = field(default_factory=list)
    tensors: list[nn.Parameter] = field(default_factory=list)
    layer_of: dict[int, int] = field(default_factory=dict)
    param_of: dict[int, int] = field(default_factory=dict)
    lazy: bool = False
    gathered: dict[int, int] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)

    def layer_with(self, parameter: int) -> int | None:
        """Return the layer that owns the parameter of this ``id()``, None if none does."""
        index = self.param_of.get(parameter)
        return self.gathered.get(parameter) if index is None else self.params[index].layer

    def shapes(self, layer: int) -> list[tuple[int, ...]]:
        """Return the shapes of the parameters of a layer."""
        return [self.params[i].shape for i in self.layers[layer].params]

    def axes(self, params: Iterable[int]) -> list[int]:
        """Return how many axes parameters have; of a flat piece, how many the whole has."""
        return [max(self.tensors[i].dim(), len(self.params[i].shape)) for i in params]

    def multiplied(self) -> set[int]:
        """Return the tables that a linear layer has for its weight: the output is tied to the embedding."""
        by_linear = {i for layer in self.layers if layer.kind == "linear" for i in layer.params}
        return {i for i in by_linear if self.params[i].kind == "embedding"}


def draw(model: nn.Module) -> Blueprint:
    """Return the layers (modules with own parameters or without children) and parameters of a model."""
    blueprint = Blueprint()
    plain = unwrapped(model)
    names = {id(p): plain(name) for name, p in model.named_parameters()}
    flat = flat_shards(model)
    for wrapped, module in model.named_modules():
        name = plain(wrapped)
        own = _own(module)
        if is_optimized(module) or (not own and any(True for _ in module.children())):
            continue
        if isinstance(module, ParametrizationList) or (not own and f".{RULES}." in f".{name}"):
            continue
        index = len(blueprint.layers)
        blueprint.layer_of[id(module)] = index
        mine = []
        for parameter in own:
            blueprint.lazy |= isinstance(parameter, UninitializedParameter)
            if id(parameter) not in blueprint.param_of:
                blueprint.param_of[id(parameter)] = len(blueprint.params)
                blueprint.params.append(
                    _param(names[id(parameter)], parameter, index, module, flat.get(id(parameter)))
                )
                blueprint.tensors.append(parameter)
            mine.append(blueprint.param_of[id(parameter)])
        if name and _is_opened(module):
            blueprint.opened.add(index)
        shapes = [blueprint.params[i].shape for i in mine]
        blueprint.layers.append(_layer(name, module, tuple(mine), shapes))
    return blueprint


def _own(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module itself, those among them that a weight of it is worked out from."""
    own = list(module.parameters(recurse=False))
    if is_parametrized(module):
        for rule in module.get_submodule(RULES).children():
            own += rule.parameters(recurse=False)
    return own


def redraw(old: Blueprint, model: nn.Module) -> None:
    """Take over what was added to or replaced in a model since it was drawn; indices stay what they were."""
    new = draw(model)
    layer_at = {layer.name: i for i, layer in enumerate(old.layers)}
    param_at = {param.name: i for i, param in enumerate(old.params)}
    layer_map = [layer_at.setdefault(x.name, len(layer_at)) for x in new.layers]
    param_map = [param_at.setdefault(x.name, len(param_at)) for x in new.params]
    for i, layer in zip(layer_map, new.layers, strict=True):
        params = tuple(param_map[j] for j in layer.params)
        old.layers[i : i + 1] = [replace(layer, params=params)]
    for i, param, tensor in zip(param_map, new.params, new.tensors, strict=True):
        before = old.params[i] if i < len(old.params) else param
        owner, trainable, terms = layer_map[param.layer], before.trainable, before.summed
        old.params[i : i + 1] = [replace(param, layer=owner, trainable=trainable, summed=terms)]
        old.tensors[i : i + 1] = [tensor]
    old.lazy = new.lazy
    old.opened.clear()
    old.opened |= {layer_map[i] for i in new.opened}
    # In place: others hold on to these.
    for known, found, places in (
        (old.layer_of, new.layer_of, layer_map),
        (old.param_of, new.param_of, param_map),
    ):
        known.clear()
        known |= {key: places[i] for key, i in found.items()}


def _layer(
    name: str, module: nn.Module, params: tuple[int, ...], shapes: list[tuple[int, ...]]
) -> LayerInfo:
    kind, of = _kind(module, shapes), type_before_parametrizations(module).__name__
    own = activation_name(of) if kind == "activation" else None
    return LayerInfo(
        name=name,
        type=of,
        kind=kind,
        activation=own,
        params=params,
        config=_config(module),
    )


def _kind(module: nn.Module, shapes: list[tuple[int, ...]]) -> str:
    for kind, classes in _KINDS:
        if isinstance(module, classes):
            return kind
    name = type_before_parametrizations(module).__name__
    if activation_name(name) is not None:
        return "activation"
    if name.endswith("Loss"):
        return "loss"
    return _kind_by_shape(name, shapes)


def _is_opened(module: nn.Module) -> bool:
    """Return whether a module has parts with weights and is none of PyTorch's, as attention or a layer with a rule for its own.

    One whose parts have none, as a graph convolution with its activation, does with its own what counts.
    """
    known = _is_known(module) or type_before_parametrizations(module).__module__.startswith(
        "torch."
    )
    parts = (part for name, part in module.named_children() if name != RULES)
    return not known and any(True for part in parts for _ in part.parameters())


def _is_known(module: nn.Module) -> bool:
    return any(isinstance(module, classes) for _, classes in _KINDS)


def _kind_by_shape(name: str, shapes: list[tuple[int, ...]]) -> str:
    # A user's own module: its name and the shape of its parameters say what it most likely is.
    if "Norm" in name:
        return "norm"
    return "linear" if any(map(_is_wide, shapes)) else "other"


def _is_wide(shape: tuple[int, ...]) -> bool:
    """Return whether two axes are longer than one: a factor for every head or channel, laid out to fit, is a vector."""
    return sum(length > 1 for length in shape) >= 2


_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("linear", (nn.Linear, nn.Bilinear)),
    ("conv", (_CONVS,)),
    ("norm", _NORMS),
    ("dropout", (_DROPOUTS,)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    ("recurrent", (nn.RNNBase, nn.RNNCellBase)),
    ("attention", (nn.MultiheadAttention,)),
)


def _config(module: nn.Module) -> dict[str, Fact]:
    wanted = (
        "eps",
        "p",
        "momentum",
        "in_features",
        "out_features",
        "hidden_size",
        "num_heads",
        "num_groups",
    )
    found: dict[str, Fact] = {}
    for key in wanted:
        value = getattr(module, key, None)
        if isinstance(value, (bool, int, float)):
            found[key] = value
    return found


def _shape(parameter: torch.Tensor) -> tuple[int, ...]:
    # A lazy parameter has no shape before the first forward pass.
    return () if isinstance(parameter, UninitializedParameter) else tuple(parameter.shape)


def _param(
    name: str,
    parameter: nn.Parameter,
    layer: int,
    module: nn.Module,
    whole: tuple[int, ...] | None,
) -> ParamInfo:
    """Describe a parameter; ``whole`` is its shape where only a flat piece is here."""
    shape = _shape(parameter) if whole is None else whole
    cut = whole is not None or is_sharded(parameter)
    return ParamInfo(
        name=name,
        layer=layer,
        shape=shape,
        dtype=str(parameter.dtype).removeprefix("torch."),
        kind=_param_kind(name, shape, module),
        trainable=parameter.requires_grad,
        fan_in=fan_in(shape, module),
        shard=local(parameter).numel() if shape and cut else -1,
    )


def _param_kind(name: str, shape: tuple[int, ...], module: nn.Module) -> str:
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    own = name.rsplit(".", 1)[-1]
    # A layer may have one input, or one unit.
    slim = _is_known(module) or (len(shape) == 2 and "weight" in own)
    matrix = len(shape) >= 2 and (_is_wide(shape) or slim)
    if matrix and own not in LENGTHS and not isinstance(module, _NORMS):
        return "matrix"
    return "bias" if "bias" in own else "scale"


def fan_in(shape: tuple[int, ...], module: nn.Module) -> int:
    """Return the inputs of one unit of a weight matrix of this shape; 0 for vectors and scalars.

    A transposed convolution spreads its kernel over the output: with stride s a unit sees one in s of its taps
    along every axis.
    """
    if len(shape) < 2:
        return 0
    if isinstance(module, nn.modules.conv._ConvTransposeNd):  # noqa: SLF001 - common base
        taps = math.prod((shape[0] // module.groups, *shape[2:]))
        return max(1, taps // math.prod(module.stride))
    return math.prod(shape[1:])


# What layers lead to that is none.
OUTSIDE = -1


def leading_out(part: set[int], edges: Iterable[tuple[int, int]]) -> set[int]:
    """Return the layers of a part that feed others, directly or through layers of that part."""
    feeders: dict[int, set[int]] = {}
    for source, target in edges:
        if source in part:
            feeders.setdefault(target, set()).add(source)
    ahead, found = [target for target in feeders if target not in part], set[int]()
    while ahead:
        new = feeders.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found


def has_cycle(edges: Iterable[tuple[int, int]]) -> bool:
    """Return whether some layer is reached by what it gave itself."""
    order: TopologicalSorter[int] = TopologicalSorter()
    for source, layer in edges:
        order.add(layer, source)
    try:
        order.prepare()
    except CycleError:
        return True
    return False
