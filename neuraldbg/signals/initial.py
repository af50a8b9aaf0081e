"""Signals of the untouched weights: their scale over the one recommended, and over that of the other layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.recording import ParamInfo, Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.robust import any_row
from neuraldbg.signals.structure import last_layers, passed_by
from neuraldbg.signals.view import (
    ParamReader,
    is_weight,
    layer_max,
    layer_series,
    matrix_params,
    table_params,
)

__all__ = ["RECOMMENDED_GAIN", "initial_signals"]

Array = NDArray[np.float64]
# He et al. 2015, eq. 14: the variance that keeps gradients as they are is 2 over the fan-out; a sample is a little off.
HE_GAIN, ROUNDED = 2**0.5, 1.1
# A signal that grows by a decade in one layer is too large however the weight was drawn.
HUGE = 10.0
# Modules whose weight is a convolution kernel, or an expert's own kind of one.
KERNELS = re.compile(r"conv(?:transpose)?([123])d", re.IGNORECASE)
# He et al. 2015 (ReLU family), Glorot & Bengio 2010 and the PyTorch gain table (bounded ones).
RECOMMENDED_GAIN = {
    "relu": 2**0.5,
    "relu6": 2**0.5,
    "leaky_relu": 2**0.5,
    "elu": 1.25,
    "gelu": 2**0.5,
    "silu": 2**0.5,
    "tanh": 5 / 3,
    "sigmoid": 1.0,
}


def initial_signals(recording: Recording) -> dict[str, Series]:
    """Return the signals of weights, biases and tables before the first step."""
    return {**_weights(recording), **_biases(recording), **_tables(recording)}


def _tables(recording: Recording) -> dict[str, Series]:
    """Return one over the size of an entry of every table at the first step; 0 where a normalization follows it.

    No fan-in says how large the entries of a table are to be: they are given on as they are.
    """
    tables = table_params(recording.topology)
    size, seen = ParamReader(recording, tables)("weight_norm")
    if not tables or not seen[:1].any():
        return {}
    params = [recording.topology.params[i] for i in tables]
    entries = [max(p.shard if p.shard >= 0 else int(np.prod(p.shape)), 1) for p in params]
    owner = np.array([p.layer for p in params])
    held = seen[:1] & (size[:1] > 0) & np.isfinite(size[:1])
    inverse = np.sqrt(entries) / np.where(held, size[:1], 1.0)
    free = _scale_free(recording)[owner]
    return {
        "table_small": layer_max(recording.sampled[:1], np.where(free, 0.0, inverse), held, owner)
    }


def _weights(recording: Recording) -> dict[str, Series]:
    """Return the initial scale of every matrix over the one recommended for its nonlinearity.

    Of tables it is known where they are the weight of a linear layer, too.
    """
    topology, start = recording.topology, recording.sampled[:1]
    tables = table_params(topology)
    params = matrix_params(topology) + tables
    if not params:
        return {}
    gains, known = ParamReader(recording, params)("init_gain")
    surplus = [_surplus(topology, topology.params[i]) for i in params]
    gain, seen = gains[:1] / np.sqrt(surplus), known[:1]
    gain = _by_either_fan(gain, [topology.params[i] for i in params])
    owner = np.array([topology.params[i].layer for i in params])
    layers = [topology.layers[i] for i in owner]
    recommended = np.array([RECOMMENDED_GAIN.get(x.activation or "linear", 1.0) for x in layers])
    table, kappa = np.isin(params, tables), gain / recommended
    typical = np.ma.median(np.ma.masked_array(gain, ~(seen & ~table & (gain > 0))))
    outlier = gain / max(float(np.ma.filled(typical, 1.0)), 1e-12)
    # A parameter of a user's own module may be anything (positions, queries): only weights have a fan-in.
    names = [topology.params[i].name.rpartition(".")[2] for i in params]
    weight = [
        x.kind in {"linear", "conv"} and is_weight(n) for x, n in zip(layers, names, strict=True)
    ]
    judged = seen & (weight | table)
    # What a last layer gives is scaled by its loss, what ends a residual branch is added to what it began with:
    # policies, heads and branches begin near zero on purpose.
    on_purpose = list(last_layers(topology) | passed_by(topology))
    inner = judged & ~table & (gain > 0) & ~np.isin(owner, on_purpose)
    inner &= [_has_fan_in(topology, topology.params[i]) for i in params]
    inverse = layer_max(start, 1.0 / np.maximum(kappa, 1e-12), inner, owner)
    small = np.where(_scale_free(recording)[list(inverse.layers or ())], 0.0, 1.0)
    return {
        "init_gain": layer_max(start, kappa, judged, owner),
        "init_gain_small": inverse._replace(values=inverse.values * small),
        "init_outlier_large": layer_max(start, outlier, judged & ~table, owner),
        "init_outlier_small": layer_max(start, 1.0 / np.maximum(outlier, 1e-12), inner, owner),
    }


def _has_fan_in(topology: Topology, param: ParamInfo) -> bool:
    """Return whether it is known what a unit of a weight adds up.

    Of more axes than two in a module of one's own it is where a product was seen that it is a factor of.
    Spectral and other layers of that kind stand beside a path of another sort, and begin near zero on purpose.
    """
    kernel = KERNELS.search(topology.layers[param.layer].type)
    is_kernel = kernel is not None and len(param.shape) == int(kernel[1]) + 2
    known = len(param.shape) <= 2 or is_kernel or param.summed > 0
    return known and (len(param.shape) <= 2 or not param.dtype.startswith("complex"))


def _by_either_fan(gain: Array, params: Sequence[ParamInfo]) -> Array:
    """Return gains; that of the gradient where a weight was drawn by its fan-out, as is recommended as well.

    Of a layer with many inputs and few outputs the gain of the signal is then large on purpose; a huge one hurts all the
    same.
    """
    backward = gain * np.sqrt([_fan_out(p) / max(p.summed or p.fan_in, 1) for p in params])
    chosen = (backward < gain) & (backward <= ROUNDED * HE_GAIN) & (gain < HUGE)
    return np.where(chosen, backward, gain)


def _fan_out(param: ParamInfo) -> float:
    """Return how many terms the gradient of an input of a weight adds up; of a stack of weights, how many at most."""
    if param.summed and len(param.shape) > 2:
        return float(max(param.shape))
    if param.summed:
        return float(np.prod(param.shape) / param.summed)
    return float(np.prod(param.shape) / max(param.shape[1], 1))


def _surplus(topology: Topology, param: ParamInfo) -> float:
    """Return by how much the fan-in is overrated; where it is not known it may be no more than the channels."""
    if param.summed and param.fan_in and not param.dtype.startswith("complex"):
        return float(param.fan_in / param.summed)
    if _has_fan_in(topology, param) or not param.fan_in:
        return 1.0
    return max(float(param.fan_in / min(param.shape[:2])), 1.0)


def _biases(recording: Recording) -> dict[str, Series]:
    """Return how large biases are that feed a nonlinearity which they can hold at one end."""
    layers = recording.topology.layers
    held = {"sigmoid", "tanh", "relu", "relu6", "hardtanh", "hardsigmoid"}
    chosen = [
        i
        for i, p in enumerate(recording.topology.params)
        if p.kind == "bias"
        and (layers[p.layer].activation in held or layers[p.layer].kind == "recurrent")
    ]
    size, seen = ParamReader(recording, chosen)("init_bias")
    if not chosen or not seen[:1].any():
        return {}
    owner = np.array([recording.topology.params[i].layer for i in chosen])
    return {"init_bias": layer_max(recording.sampled[:1], size[:1], seen[:1], owner)}


def _scale_free(recording: Recording) -> NDArray[np.bool_]:
    """Return which layers are followed by a normalization, or by a sine with a frequency in it, shape ``(L,)``.

    The scale of the former does not matter, that of the latter is one over the frequency.
    """
    topology = recording.topology
    free = any_row(layer_series(recording, "wrapped_share").observed.T)
    for source, target in topology.edges:
        free[source] |= topology.layers[target].kind == "norm"
    return free
