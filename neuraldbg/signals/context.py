"""What kind of program this is: flags that gate mechanisms, and numbers that explanations quote."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from neuraldbg.records.recording import Fact, LayerInfo, Recording
from neuraldbg.records.signals import Series
from neuraldbg.signals.data import fed_layers, regressions, worst_fed
from neuraldbg.signals.guess import label_entropy
from neuraldbg.signals.loss import initial_loss
from neuraldbg.signals.view import chain_layers, run_series, table_params

__all__ = ["context_flags", "context_numbers", "is_adversarial"]

# Entropy, in nats, below which the labels of a batch are one.
CONSTANT = 1e-3

NONE: Mapping[str, Series] = MappingProxyType({})
_RECTIFIERS = frozenset({"relu", "relu6"})
_BOUNDED = frozenset({"tanh", "sigmoid", "hardtanh", "hardsigmoid", "softsign"})
_HALF = frozenset({"float16", "bfloat16"})


def is_adversarial(recording: Recording) -> bool:
    """Return whether several objectives pull against one another, so that no loss has to fall.

    They have an optimizer each, of which one may own a model that is not watched and through which the loss of this
    one passes; or one optimizer steps all, and a part judges what another gives and teaches it.
    """
    facts = recording.facts
    return len(recording.optimizers) >= 2 or bool(facts.get("rivals") or facts.get("players"))


def computes_in_float16(recording: Recording) -> bool:
    """Return whether numbers of this program end at 65504; those of a bfloat16 do not.

    A loss, or a layer, may compute in half precision where the weights are not and autocast is off.
    """
    dtypes = {p.dtype for p in recording.topology.params}
    met = any(occurrence.facts.get("half") for occurrence in recording.occurrences)
    met = met or bool(recording.facts.get("float16"))
    return met or "float16" in {*dtypes, recording.facts.get("autocast")}


def context_flags(recording: Recording, series: Mapping[str, Series] = NONE) -> frozenset[str]:
    """Return the flags that hold for a program, given its signals."""
    topology = recording.topology
    kinds = {layer.kind for layer in topology.layers}
    # What is applied to a sum, or to what a product gave, is the nonlinearity of no layer.
    applied = str(recording.facts.get("applied") or "").split()
    activations = {layer.activation for layer in topology.layers} | {*applied}
    families = {o.family for o in recording.optimizers}
    dtypes = {p.dtype for p in topology.params}
    autocast = str(recording.facts.get("autocast") or "")
    flags = {
        "has_norm": "norm" in kinds or "norm_count" in recording.layer,
        "running_statistics": any(map(_keeps_statistics, topology.layers)),
        "has_attention": "attention" in kinds or "attn_entropy_min" in recording.layer,
        "has_dropout": "dropout" in kinds or "dropped" in series,
        "has_recurrent": "recurrent" in kinds or "time_grad_slope" in recording.layer,
        "has_rectifier": bool(activations & _RECTIFIERS),
        # Functions of the user's own, of which nobody knows below what they give nothing.
        "has_threshold": "signal_lost" in series,
        "has_sines": "sine_wrapped" in series,
        "has_tables": bool(table_params(topology)),
        "first_loss": "loss_over_chance" in series,
        # The gates of a recurrent cell are bounded, seen or not.
        "has_bounded": bool(activations & _BOUNDED) or "recurrent" in kinds,
        "optimizer_adam": "adam" in families,
        "adaptive": bool({"adam", "rmsprop"} & families),
        "optimizer_sgd": "sgd" in families,
        "momentum": any(
            float(o.defaults.get(key) or 0.0) > 0
            for o in recording.optimizers
            for key in ("momentum", "beta1")
        ),
        "half_parameters": bool(dtypes & _HALF),
        "fp16": computes_in_float16(recording),
        "half_precision": bool(dtypes & _HALF) or bool(autocast),
        "regression": bool(regressions(recording)),
        "adversarial": is_adversarial(recording),
        "labelled": _is_labelled(recording),
        "float_input": "input_std" in recording.step or "fed_std" in recording.layer,
        "deep": len(chain_layers(topology)) >= 5,
        "weight_decay": _decays(recording),
    }
    return frozenset(name for name, holds in flags.items() if holds)


def _keeps_statistics(layer: LayerInfo) -> bool:
    """Return whether a layer normalizes otherwise in evaluation than in training."""
    return layer.kind == "norm" and ("momentum" in layer.config or "BatchNorm" in layer.type)


def _is_labelled(recording: Recording) -> bool:
    """Return whether something is predicted: a label that is always the same (the first of all pairs) is none."""
    values: set[Fact] = set()
    for call in recording.losses:
        entropy, lowest = call.facts.get("label_entropy"), call.facts.get("target_min")
        if not isinstance(entropy, (int, float)) or entropy > CONSTANT or lowest is None:
            return True
        values.add(lowest)
    return len(values) > 1


def _decays(recording: Recording) -> bool:
    found = recording.group.get("weight_decay")
    return found is not None and bool((found.observed & (found.values > 0)).any())


def context_numbers(recording: Recording, series: dict[str, Series]) -> dict[str, Fact]:
    """Return the scalars that explanations and remedies quote; absent where unknown."""
    numbers: dict[str, Fact] = {}
    loss = run_series(recording, "loss")
    if loss.observed.any():
        values = loss.values[loss.observed]
        numbers["initial_loss"] = initial_loss(values)
        numbers["final_loss"] = float(np.median(values[-5:]))
    entropy = label_entropy(recording.losses)
    if entropy is not None:
        numbers["label_entropy"] = entropy
    rates = recording.group.get("lr")
    if rates is not None and rates.observed.any():
        numbers["learning_rate"] = float(rates.values[rates.observed][0])
        numbers["learning_rate_last"] = float(rates.values[-1][rates.observed[-1]].max(initial=0.0))
    for name in (
        "update_ratio_early",
        "update_ratio_best",
        "input_scale",
        "target_scale",
    ):
        found = series.get(name)
        if found is not None and found.observed.any():
            numbers[name] = float(found.values[found.observed][0])
    fed = fed_layers(recording)
    multiplied = [x for x in fed if x.kind != "norm"]
    if len(multiplied) > 1:
        numbers["input_layer"] = max(multiplied, key=lambda x: x.rms).layer
    numbers |= {f"{name}_at": layer for name, (_, layer) in worst_fed(recording, fed).items()}
    numbers["steps"] = int(recording.steps.size)
    return numbers
