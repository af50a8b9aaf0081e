"""The rules, in their order of rank. Each returns alarms named after a mechanism."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn

from benchmarks.peers.alarm import Alarm
from benchmarks.peers.gauges import Gauges, leaves

__all__ = ["RULES"]

HALF = (torch.float16, torch.bfloat16)
EARLY = 20
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Rule = Callable[[Gauges], list[Alarm]]


def _say(kind: str, layer: str | None = None, step: int | None = None) -> list[Alarm]:
    return [Alarm(kind=kind, layer=layer, step=step)]


def _first(values: Sequence[float], wrong: Callable[[float], bool]) -> int | None:
    return next((i for i, v in enumerate(values) if wrong(v)), None)


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _ratios(gauges: Gauges) -> list[float]:
    return [median(row.values()) if row else 0.0 for row in gauges.ratios]


def nonfinite_input(g: Gauges) -> list[Alarm]:
    """NaN in the input (SageMaker ExplodingTensor)."""
    return [] if g.bad_input is None else _say("nonfinite_data", step=g.bad_input)


def wild_input(g: Gauges) -> list[Alarm]:
    """Root mean square above 10, or a mean of three deviations (UMLAUT and SageMaker ask for less)."""
    wild = g.input_rms > 10 or g.input_mean_over_std > 3
    return _say("unnormalized_inputs", step=0) if wild else []


def not_held(g: Gauges) -> list[Alarm]:
    """Trainable parameters that the optimizer does not hold."""
    held = {id(p) for group in g.optimizer.param_groups for p in group["params"]}
    lost = [n for n, p in g.model.named_parameters() if p.requires_grad and id(p) not in held]
    return [Alarm(kind="parameters_not_updated", layer=_owner(n), step=0) for n in lost[:3]]


def unchanged(g: Gauges) -> list[Alarm]:
    """Trainable parameters bit-identical from start to end (SageMaker UnchangedTensor), or nothing trainable."""
    parameters = dict(g.model.named_parameters())
    trainable = [n for n, p in parameters.items() if p.requires_grad]
    if not trainable:
        return [Alarm(kind="parameters_not_updated", layer=_owner(n), step=0) for n in parameters]
    same = [n for n in trainable if bool((parameters[n].detach() == g.start[n]).all())]
    same = [n for n in same if parameters[n].dtype not in HALF and g.step >= EARLY]
    return [Alarm(kind="parameters_not_updated", layer=_owner(n), step=0) for n in same]


def uncleared(g: Gauges) -> list[Alarm]:
    """A gradient left over when the first backward after a step arrives, in half of the steps."""
    parameters = max(len(g.names), 1)
    return _say("gradients_not_cleared", step=1) if g.uncleared > 0.5 * parameters * g.step else []


def probabilities(g: Gauges) -> list[Alarm]:
    """The model's output is non-negative: probabilities or rectified values (UMLAUT's softmax check)."""
    o = g.output
    if o is None or o.dim() < 1 or not torch.isfinite(o).all():
        return []
    rows = o.dim() > 1 and o.shape[-1] > 1
    softmax = rows and bool((o >= 0).all()) and bool(((o.sum(-1) - 1).abs() < 1e-3).all())
    squashed = bool((o > 0).all()) and bool((o < 1).all())
    rectified = bool((o >= 0).all()) and float((o == 0).float().mean()) > 0.2
    return _say("loss_output_mismatch", step=0) if softmax or squashed or rectified else []


def negative_loss(g: Gauges) -> list[Alarm]:
    """A loss below zero."""
    step = _first(g.losses, lambda v: v < -1e-3)
    return [] if step is None else _say("loss_output_mismatch", step=step)


def dropout(g: Gauges) -> list[Alarm]:
    """A Dropout of 0.7 or more."""
    high = [n for n, m in leaves(g.model).items() if isinstance(m, nn.Dropout) and m.p >= 0.7]
    return [Alarm(kind="excessive_dropout", layer=n, step=0) for n in high]


def norm_settings(g: Gauges) -> list[Alarm]:
    """Batch normalisation with fewer than four rows, or a momentum that never or wholly forgets."""
    found = {
        n: m
        for n, m in leaves(g.model).items()
        if isinstance(m, BATCH_NORMS) and m.track_running_stats
    }
    odd = [n for n, m in found.items() if m.momentum is not None and not 0 < m.momentum < 0.9]
    odd += [n for n in found if 0 < g.batch < 4]
    return [Alarm(kind="degenerate_normalization", layer=n, step=0) for n in odd]


def decay(g: Gauges) -> list[Alarm]:
    """Coupled decay of 0.01, decoupled of 1, or more."""
    limit = 1.0 if isinstance(g.optimizer, torch.optim.AdamW) else 0.01
    high = any(group.get("weight_decay", 0) >= limit for group in g.optimizer.param_groups)
    return _say("excessive_weight_decay", step=0) if high else []


def momentum(g: Gauges) -> list[Alarm]:
    """Momentum of 0.98 or more."""
    high = any(group.get("momentum", 0) >= 0.98 for group in g.optimizer.param_groups)
    return _say("excessive_momentum", step=0) if high else []


def schedule(g: Gauges) -> list[Alarm]:
    """The rate jumps threefold in a step, or has fallen a thousandfold by half of the run."""
    jump = next((i for i in range(1, g.step) if g.rates[i] > 3 * g.rates[i - 1] > 0), None)
    if jump is not None:
        return _say("learning_rate_schedule_bug", step=jump)
    half = g.rates[: g.step // 2]
    gone = _first(half, lambda v: v < 1e-3 * max(g.rates))
    return [] if gone is None else _say("learning_rate_schedule_bug", step=gone)


def clipping(g: Gauges) -> list[Alarm]:
    """The norm at the optimizer is the same in all steps, and small."""
    tail = [t for t in g.totals if math.isfinite(t) and t > 0]
    if len(tail) < EARLY:
        return []
    spread = (max(tail) - min(tail)) / max(tail)
    return _say("excessive_gradient_clipping", step=0) if spread < 0.02 and max(tail) < 0.1 else []


def absorbed(g: Gauges) -> list[Alarm]:
    """Half-precision weights of which more than half are where they started."""
    shares = [
        float((p.detach() == g.start[n]).float().mean())
        for n, p in g.model.named_parameters()
        if p.dtype in HALF and torch.isfinite(p).all()
    ]
    return _say("low_precision_update_absorption", step=0) if shares and max(shares) > 0.5 else []


def twins(g: Gauges) -> list[Alarm]:
    """All rows of a weight alike at the start, and at the end as well."""
    now = dict(g.model.named_parameters())
    alike = [n for n, w in g.start.items() if _alike(w) and _alike(now[n].detach())]
    return [Alarm(kind="symmetric_initialization", layer=_owner(n), step=0) for n in alike]


def _alike(w: torch.Tensor) -> bool:
    return w.dim() == 2 and w.shape[0] > 1 and bool(torch.allclose(w, w[:1], atol=1e-7))


def first_weights(g: Gauges) -> list[Alarm]:
    """Gain of a matrix below 0.1 or above 4 (SageMaker PoorWeightInitialization compares variances)."""
    found = []
    tables = {n for n, m in leaves(g.model).items() if isinstance(m, nn.Embedding)}
    for name, w in g.start.items():
        if w.dim() < 2 or _owner(name) in tables or name not in g.weights:
            continue
        gain = float(w.float().std()) * math.sqrt(w[0].numel())
        if 0 < gain < 0.1:
            found.append(Alarm(kind="initialization_too_small", layer=_owner(name), step=0))
        elif gain > 4:
            found.append(Alarm(kind="initialization_too_large", layer=_owner(name), step=0))
    return found[:3]


def nonfinite_loss(g: Gauges) -> list[Alarm]:
    """The loss is not finite: half precision, else growth before, else a singular operation."""
    step = _first(g.losses, lambda v: not math.isfinite(v))
    if step is None:
        return []
    if any(p.dtype == torch.float16 for p in g.model.parameters()):
        return _say("half_precision_overflow", step=step)
    grown = any(t > 1e3 for t in g.totals[: step + 1] if math.isfinite(t))
    return _say("learning_rate_too_high" if grown else "numerical_singularity", step=step)


def big_updates(g: Gauges) -> list[Alarm]:
    """Update over weight above 0.1 early on (Karpathy asks for 1e-3; SageMaker alarms at 10)."""
    step = _first(_ratios(g)[:EARLY], lambda v: v > 0.1)
    return [] if step is None else _say("learning_rate_too_high", step=step)


def small_updates(g: Gauges) -> list[Alarm]:
    """Update over weight below 1e-5 in all of the first steps (SageMaker: 1e-8)."""
    early = _ratios(g)[:EARLY]
    return _say("learning_rate_too_low", step=0) if early and max(early) < 1e-5 else []


def _ends(g: Gauges) -> tuple[float, float, str]:
    """Median gradient norm of the first and the last matrix."""
    matrices = [n for n, p in g.model.named_parameters() if p.dim() >= 2]
    if len(matrices) < 2 or not g.norms:
        return 1.0, 1.0, ""
    first = median(row.get(matrices[0], 0.0) for row in g.norms)
    return first, median(row.get(matrices[-1], 0.0) for row in g.norms), _owner(matrices[0])


def vanishing(g: Gauges) -> list[Alarm]:
    """First over last gradient norm below 1e-3 and the first below 1e-4 (AutoTrainer)."""
    first, last, layer = _ends(g)
    small = last > 0 and first / last < 1e-3 and first < 1e-4
    return _say("depth_attenuation", layer, 0) if small else []


def exploding(g: Gauges) -> list[Alarm]:
    """First over last gradient norm above 70 (AutoTrainer)."""
    first, last, layer = _ends(g)
    return _say("depth_amplification", layer, 0) if last > 0 and first / last > 70 else []


def dead(g: Gauges) -> list[Alarm]:
    """Half of the units of a ReLU silent in a whole window (SageMaker DeadRelu)."""
    found = [n for n, alive in g.alive.items() if float(alive.float().mean()) < 0.5]
    return [Alarm(kind="dead_units", layer=n) for n in found]


def saturated(g: Gauges) -> list[Alarm]:
    """Half of a bounded layer in its flat parts (SageMaker SaturatedActivation, at a usable distance)."""
    found = [n for n, share in g.flat.items() if share > 0.5]
    return [Alarm(kind="saturated_activations", layer=n) for n in found]


def huge_loss(g: Gauges) -> list[Alarm]:
    """A loss above 100 from the first step on."""
    return _say("unnormalized_targets", step=0) if g.losses and g.losses[0] > 100 else []


def growing_loss(g: Gauges) -> list[Alarm]:
    """The last losses above 1.2 times the first."""
    if len(g.losses) < 2 * EARLY:
        return []
    first, last = median(g.losses[:5]), median(g.losses[-EARLY:])
    return _say("learning_rate_too_high") if math.isfinite(last) and last > 1.2 * abs(first) else []


def spike(g: Gauges) -> list[Alarm]:
    """One loss above six times the median of the twenty before it, and above half of the first loss."""
    for i in range(EARLY, len(g.losses)):
        usual = median(g.losses[i - EARLY : i])
        if g.losses[i] > max(6 * usual, 0.5 * g.losses[0]) > 0:
            return _say("corrupted_batch", step=i)
    return []


def no_progress(g: Gauges) -> list[Alarm]:
    """The loss fell by less than two per cent (AutoTrainer's slow convergence)."""
    if len(g.losses) < 2 * EARLY:
        return []
    first, last = median(g.losses[:EARLY]), median(g.losses[-EARLY:])
    return _say("unknown_cause") if math.isfinite(last) and last > 0.98 * first else []


RULES: tuple[Rule, ...] = (
    nonfinite_input, not_held, twins, unchanged, uncleared, negative_loss, dropout, norm_settings, decay,
    momentum, wild_input, schedule, clipping, absorbed, nonfinite_loss, probabilities, first_weights, huge_loss,
    big_updates, small_updates, vanishing, exploding, dead, saturated, spike, growing_loss, no_progress,
)  # fmt: skip
