"""What to try, with numbers from this run."""

from __future__ import annotations

import numpy as np

from neuraldbg.records.catalogue import Mechanism
from neuraldbg.records.signals import Signals

__all__ = ["remedy_text"]

# Karpathy's rule of thumb for the ratio of update to weight.
IDEAL_RATIO = 1e-3
GAINS = {
    "relu": 2**0.5,
    "relu6": 2**0.5,
    "leaky_relu": 2**0.5,
    "gelu": 2**0.5,
    "tanh": 5 / 3,
}
MISMATCHES = {
    "loss_softmax_twice": "remove the softmax: cross_entropy takes logits",
    "loss_nll_on_raw": "pass log_softmax(output) to nll_loss, or use cross_entropy",
    "loss_sigmoid_twice": "remove the sigmoid: binary_cross_entropy_with_logits takes logits",
    "loss_broadcast": "give prediction and target the same shape (squeeze or view one of them)",
    "loss_rectified": "remove the ReLU before the loss: logits must be free to be negative",
    "loss_sum": "use reduction='mean', or divide the learning rate by the batch size",
}
NOT_UPDATED = {
    "parameters_orphaned": "pass the parameters of '{layer}' to the optimizer (build it after the model is final)",
    "parameters_without_gradient": "look for detach(), .data, no_grad() or an unused branch after '{layer}'",
    "parameters_frozen": "set requires_grad=True on '{layer}', unless it is frozen on purpose",
    "parameters_unmoved": "check the learning rate of the parameter group of '{layer}'",
    "step_missing": "call optimizer.step() after backward()",
    "lr_zero": "give the optimizer a learning rate above zero",
}


def remedy_text(
    mechanism: Mechanism,
    layer: str | None,
    step: int,
    signals: Signals,
    present: frozenset[str],
) -> str:
    """Return the remedy of a mechanism with this run's numbers filled in.

    Parameters
    ----------
    mechanism
        Its ``remedy`` is a format string.
    layer, step
        Of the claim.
    signals
        Source of the numbers.
    present
        Event names that were seen.
    """
    values = {
        "layer": layer or "the network",
        "where": f"'{layer}'" if layer else "all layers",
        "step": step,
        "mismatch": _first(MISMATCHES, present, "make head and loss agree"),
        "not_updated": _first(
            NOT_UPDATED, present, "check which parameters the optimizer owns"
        ).format(layer=layer or "the model"),
        **_rates(signals, mechanism.slug),
        **_clips(signals),
        "gain": _gain(signals, layer),
        "dropout": _config(signals, layer, "p"),
        "input_scale": _number(signals, "input_scale"),
        "target_scale": _number(signals, "target_scale"),
    }
    return mechanism.remedy.format(**values)


def _first(table: dict[str, str], present: frozenset[str], default: str) -> str:
    return next((text for event, text in table.items() if event in present), default)


def _number(signals: Signals, name: str) -> float:
    value = signals.numbers.get(name)
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _rates(signals: Signals, slug: str) -> dict[str, float | str]:
    rate = _number(signals, "learning_rate")
    ratio = signals.series.get("update_ratio")
    worst = float("nan")
    if ratio is not None and ratio.observed.any():
        seen = np.where(ratio.observed & np.isfinite(ratio.values), ratio.values, 0.0)
        early = seen[: max(1, min(20, seen.shape[0]))]
        worst = float(np.median(early, axis=0).max())
    if slug == "learning_rate_too_low":
        worst = _number(signals, "update_ratio_best")
    better = rate * IDEAL_RATIO / worst if worst > 0 else rate
    decay = signals.recording.group.get("weight_decay")
    strength = float(decay.values[decay.observed].max()) if decay and decay.observed.any() else 0.0
    return {
        "learning_rate": rate,
        "better_rate": better,
        "weight_decay": strength,
        "better_decay": min(strength / 100.0, 0.01),
    }


def _clips(signals: Signals) -> dict[str, float | str]:
    raw, used = (signals.recording.step.get(n) for n in ("grad_norm_raw", "grad_norm_used"))
    sizes = raw.values[raw.observed & np.isfinite(raw.values)] if raw else np.zeros(0)
    now = used.values[used.observed & np.isfinite(used.values)] if used else np.zeros(0)
    top = float(np.quantile(sizes, 0.9)) if sizes.size else float("nan")
    text = f", and clip the gradient norm at {np.quantile(sizes, 0.5):.2g}" if sizes.size else ""
    return {
        "clip_90": top,
        "clip_now": float(np.median(now)) if now.size else float("nan"),
        "clip": text,
    }


def _gain(signals: Signals, layer: str | None) -> float:
    for info in signals.recording.topology.layers:
        if info.name == layer:
            return GAINS.get(info.activation or "", 1.0)
    return GAINS["relu"] if "has_rectifier" in signals.context else 1.0


def _config(signals: Signals, layer: str | None, key: str) -> float:
    for info in signals.recording.topology.layers:
        value = info.config.get(key)
        if info.name == layer and isinstance(value, (int, float)):
            return float(value)
    return float("nan")
