"""What to try, with numbers from this run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from neuraldbg.records.catalogue import Mechanism
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.names import and_others, label, quoted
from neuraldbg.records.signals import Signals

__all__ = ["remedy_text"]

# Karpathy's rule of thumb for the ratio of update to weight.
IDEAL_RATIO = 1e-3
# A rate that the rule would hardly change is moved by one decade: the customary next experiment.
DECADE = 10.0
EARLY = 20
SHORTEST_HISTORY = 8
GAINS = {
    "relu": 2**0.5,
    "relu6": 2**0.5,
    "leaky_relu": 2**0.5,
    "gelu": 2**0.5,
    "tanh": 5 / 3,
}
MISMATCHES = {
    "loss_softmax_twice": "remove the softmax: cross_entropy takes logits",
    "loss_nll_on_raw": "pass log_softmax(output) to the loss (nll_loss, ctc_loss), or use cross_entropy; "
    "poisson_nll_loss takes logarithms of rates unless it is told log_input=False",
    "loss_sigmoid_twice": "remove the sigmoid: binary_cross_entropy_with_logits takes logits",
    "loss_broadcast": "give prediction and target the same shape (squeeze or view one of them)",
    "loss_rectified": "remove the ReLU before the loss: logits must be free to be negative",
    "loss_unsigned": "give the loss labels of -1 and 1: a label of 0 means nothing to it",
    "loss_of_one": "give the output a unit for every class, or one unit and binary_cross_entropy_with_logits",
    "loss_bounded": "remove the last nonlinearity, or scale the target into its range",
    "loss_sum": "use reduction='mean', or divide the learning rate by the batch size",
}
NOT_UPDATED = {
    "parameters_unregistered": "keep layers in nn.ModuleList or nn.ModuleDict (not a plain list or dict), so that "
    "model.parameters() and the optimizer get them; freeze what is meant to stay with requires_grad_(False)",
    "parameters_orphaned": "pass the parameters of {layers} to the optimizer (build it after the model is final)",
    "gradient_cut": "look for detach(), .data, no_grad(), numpy() or item() between {layers} and the loss, or a softmax over an axis of one entry",
    "parameters_without_gradient": "look for detach(), .data, no_grad() or an unused branch after {layers}",
    "parameters_frozen": "set requires_grad=True on {layers}, unless that is frozen on purpose",
    "gradient_stopped": "look for round(), sign(), argmax() or a comparison between the weights of {layers} and their use; pass the "
    "gradient straight through it",
    "parameters_unmoved": "check the learning rate of the parameter group of {layers}",
    "step_missing": "call optimizer.step() after backward(), of an optimizer that was built on the model's present "
    "parameters (a layer that was replaced since then is not among them)",
    "gradients_thrown_away": "call zero_grad() before backward() or after step(), not between them",
    "lr_zero": "give the optimizer a learning rate above zero",
}


Events = Mapping[str, Sequence[SemanticEvent]]


class _Number(float):
    """A number of this run that is said in words where it is not known."""

    words: str

    def __new__(cls, value: float, words: str) -> Self:
        """Return the number with its words."""
        self = super().__new__(cls, value)
        self.words = words
        return self

    def __format__(self, spec: str) -> str:
        return super().__format__(spec) if math.isfinite(self) else self.words


def remedy_text(
    mechanism: Mechanism,
    layer: str | None,
    step: int,
    signals: Signals,
    events: Events,
    *,
    others: Sequence[str] = (),
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
    events
        What was seen, by event name.
    others
        Further layers of the claim.
    """
    rate = _rate_at(signals, step)
    values = {
        "layer": label(layer, "the network"),
        "where": "all layers" if layer is None else quoted(layer) + and_others(len(others)),
        "step": step,
        "mismatch": _first(MISMATCHES, events, "make head and loss agree"),
        "not_updated": _not_updated(events, layer),
        **_rates(signals, mechanism.slug, rate),
        **_clips(signals, step),
        **_optimizer(signals, rate),
        "schedule": _schedule(signals, events),
        "operation": _operation(signals),
        "gradient_loss": _gradient_loss(signals),
        "gain": _gain(signals, layer),
        "dropout": _dropout(signals, layer),
        "input_of": _input_of(signals),
        "input_scale": _number(signals, "input_scale", "far from 1"),
        "target_scale": _number(signals, "target_scale", "far from 1"),
    }
    return mechanism.remedy.replace("'{layer}'", "{where}").format(**values)


def _first(table: dict[str, str], events: Events, default: str) -> str:
    return next((text for event, text in table.items() if event in events), default)


def _input_of(signals: Signals) -> str:
    """Return whose input is meant, where data is fed to several layers."""
    layer = signals.numbers.get("input_layer")
    return f" of {quoted(layer)}" if isinstance(layer, str) else ""


def _not_updated(events: Events, layer: str | None) -> str:
    """Return what keeps parameters from moving, with every layer that it concerns."""
    text = _first(NOT_UPDATED, events, "check which parameters the optimizer owns")
    event = next((name for name in NOT_UPDATED if name in events), "")
    seen = [e.layer for e in events.get(event, ()) if e.layer is not None]
    named = [quoted(name) for name in (seen or ([] if layer is None else [layer]))]
    shown = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return text.format(layers=shown or "the model")


def _dropout(signals: Signals, layer: str | None) -> _Number:
    """Return the share of its units that a layer drops, or a function or mask behind it."""
    series, layers = signals.series.get("dropped"), signals.recording.topology.layers
    rate = math.nan
    if series is not None and series.layers is not None:
        pairs = zip(series.layers, series.values[0].tolist(), strict=True)
        rates: dict[str | None, float] = {layers[i].name: x for i, x in pairs}
        rate = rates.get(layer, rate)
    return _Number(rate, "its present value")


def _number(signals: Signals, name: str, words: str) -> _Number:
    value = signals.numbers.get(name)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return _Number(float(value) if known and value is not None else math.nan, words)


def _rates(signals: Signals, slug: str, rate: _Number) -> dict[str, _Number]:
    low = slug == "learning_rate_too_low"
    better = IDEAL_RATIO / (_best_push(signals, rate) if low else _worst_push(signals, rate))
    if low and not better > 2 * rate:
        better = rate * DECADE
    elif not low and not better < rate / 2:
        better = rate / DECADE
    decay = signals.recording.group.get("weight_decay")
    seen = decay.values[decay.observed] if decay is not None else np.zeros(0)
    strength = float(seen.max()) if seen.size else math.nan
    words = "ten times as much" if low else "a tenth of it"
    return {
        "learning_rate": rate,
        "better_rate": _Number(better, words),
        "weight_decay": _Number(strength, "its present value"),
        "better_decay": _Number(min(strength / 100.0, 0.01), "0.01"),
    }


def _rate_at(signals: Signals, step: int) -> _Number:
    """Return the learning rate in force at a step: where groups differ the largest, as a schedule is told.

    A warm-up that begins at zero does nothing there: the first rate that does something is meant.
    """
    steps, rates = _schedule_of(signals)
    if not steps.size:
        return _number(signals, "learning_rate", "its present value")
    row = int(_rows(steps, np.array([step]))[0])
    later = rates[row:][rates[row:] > 0]
    return _Number(float(later[0] if later.size else rates[row]), "its present value")


def _schedule_of(signals: Signals) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the steps whose learning rate is known, and the largest of all groups at each."""
    column = signals.recording.group.get("lr")
    if column is None:
        return np.zeros(0, np.int64), np.zeros(0)
    rates = np.where(column.observed, column.values, 0.0).max(axis=1, initial=0.0)
    known = column.observed.any(axis=1)
    return signals.recording.steps[known], rates[known]


def _rows(steps: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return for each step the last row that is not after it."""
    return np.maximum(np.searchsorted(steps, at, side="right") - 1, 0)


def _best_push(signals: Signals, rate: float) -> float:
    """Return the update ratio for each unit of the rate where it was best: that is at the largest rate."""
    best = _number(signals, "update_ratio_best", "")
    largest = float(_schedule_of(signals)[1].max(initial=0.0)) or rate
    return best / largest if best > 0 and largest > 0 else math.nan


def _worst_push(signals: Signals, rate: float) -> float:
    """Return the update ratio for each unit of the rate in the worst layer.

    That is its early level, or its peak if the early one is fine. A ratio counts by the rate at its own step.
    """
    ratio = signals.series.get("update_ratio")
    if ratio is None or not ratio.observed.any():
        return math.nan
    steps, rates = _schedule_of(signals)
    then = rates[_rows(steps, ratio.steps)] if steps.size else np.full(ratio.steps.size, rate)
    usable = ratio.observed & np.isfinite(ratio.values) & (then > 0)[:, None]
    push = np.where(usable, ratio.values, 0.0) / np.where(then > 0, then, 1.0)[:, None]
    early = float(np.median(push[:EARLY], axis=0).max())
    worst = early if early * rate > 2 * IDEAL_RATIO else float(push.max())
    return worst if worst > 0 else math.nan


def _clips(signals: Signals, step: int) -> dict[str, _Number | str]:
    """Return the clip value in use and the one to use: the 90th percentile of the norms before the trouble.

    With too few norms before it the median over the run has to serve: it is not moved by an explosion.
    """
    sizes, steps = _sampled(signals, "grad_norm_raw")
    now, _ = _sampled(signals, "grad_norm_used")
    quiet = sizes[steps < step]
    enough = quiet.size >= SHORTEST_HISTORY
    size = math.nan
    if sizes.size:
        size = float(np.quantile(quiet, 0.9)) if enough else float(np.median(sizes))
    return {
        "clip_90": _Number(
            float(np.quantile(sizes, 0.9)) if sizes.size else math.nan, "its usual size"
        ),
        "clip_now": _Number(float(np.median(now)) if now.size else math.nan, "its present value"),
        "clip": f", and clip the gradient norm at {size:.2g}" if math.isfinite(size) else "",
    }


def _sampled(signals: Signals, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    column = signals.recording.step.get(name)
    if column is None:
        return np.zeros(0), np.zeros(0, np.int64)
    usable = column.observed & np.isfinite(column.values)
    # Sums of large float32 are beyond its range.
    return column.values[usable].astype(np.float64), signals.recording.steps[usable]


def _optimizer(signals: Signals, rate: float) -> dict[str, _Number]:
    """Return momentum, the rate that it would stand at the usual effective step, and beta2."""
    momentum, beta1, beta2 = (_default(signals, k) for k in ("momentum", "beta1", "beta2"))
    momentum = max(momentum, beta1) if math.isfinite(momentum) else beta1
    # lr / (1 - beta) is the effective step; 0.9 is the momentum that rates are usually tuned for.
    return {
        "momentum": _Number(momentum, "its present value"),
        "momentum_rate": _Number(rate * (1.0 - momentum) / 0.1, "less"),
        "beta2": _Number(beta2, "its present value"),
    }


def _default(signals: Signals, key: str) -> float:
    found = [o.defaults.get(key) for o in signals.recording.optimizers]
    return max((float(v) for v in found if isinstance(v, (int, float))), default=math.nan)


def _schedule(signals: Signals, events: Events) -> str:
    """Return what the schedule did, with its numbers, to follow the remedy; empty if nothing stands out."""
    steps, rate = _schedule_of(signals)
    if not steps.size:
        return ""
    if "lr_jumped" in events:
        row = int(np.searchsorted(steps, events["lr_jumped"][0].span.first))
        change = f"from {rate[max(row - 1, 0)]:.2g} to {rate[row]:.2g}"
        return f": at step {int(steps[row])} the learning rate rose {change}"
    if "lr_collapsed" in events:
        first, change = events["lr_collapsed"][0].span.first, f"{rate.max():.2g} to {rate[-1]:.2g}"
        return f": from step {first} on the learning rate fell from {change}"
    if "lr_held_back" in events:
        # What is seen is the share of the run for which it was held.
        every = signals.recording.steps
        begins = int(every[round((events["lr_held_back"][0].value or 0.0) * every.size)])
        return f": until step {begins} the learning rate was next to nothing"
    if "lr_still_warming" in events:
        return f": the learning rate rose from {rate[0]:.2g} to {rate[-1]:.2g} until the run ended"
    return ""


def _operation(signals: Signals) -> str:
    """Return the operation that met its singular point, where it is known."""
    kinds = ("nonfinite_forward", "nonfinite_gradient", "risky_op")
    for kind in kinds:
        for occurrence in signals.recording.occurrences:
            name = occurrence.facts.get("op")
            if occurrence.kind == kind and name:
                return f"the operation '{name}'"
    return "the operation"


def _gradient_loss(signals: Signals) -> str:
    """Return by how much the gradient falls over the network at its start; empty if unknown."""
    series = signals.series.get("gradient_decades_below")
    if series is None or not series.observed[:1].any():
        return ""
    decades = float(np.where(series.observed[0], series.values[0], 0.0).max())
    layers = int(series.observed[0].sum())
    return (
        f": the gradient falls {decades:.1f} decades over {layers} layers" if decades >= 1 else ""
    )


def _gain(signals: Signals, layer: str | None) -> float:
    """Return the gain for a layer's nonlinearity, or for the commonest of the network."""
    layers = signals.recording.topology.layers
    mine = [info.activation for info in layers if info.name == layer]
    if layer is None:
        counts = Counter(info.activation for info in layers if info.params and info.activation)
        mine = [name for name, _ in counts.most_common(1)]
    return GAINS.get((mine[0] if mine else None) or "", 1.0)
