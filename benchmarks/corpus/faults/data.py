"""Inputs and targets: never normalized, not finite, corrupted for a moment, or given to the wrong sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program
from benchmarks.corpus.surgery import change_inputs, randomised
from benchmarks.corpus.task import Batch

__all__ = ["FAULTS", "has_floats"]

NUMBERS = {"regression", "reconstruction"}
LABELS = {"classes", "binary", "tokens", "pixels", "nodes"}


def has_floats(program: Program) -> bool:
    """Return whether the first input holds numbers rather than identities."""
    return program.task.train[0][0].is_floating_point()


def _free_inputs(program: Program) -> bool:
    """Return whether the inputs may be rescaled without changing what the task means."""
    return has_floats(program) and program.task.kind not in {"field", "cloud", "pairs"}


# -- never normalized ------------------------------------------------------------------------------


def _own_target(program: Program) -> bool:
    return program.task.kind == "reconstruction"


def raw(batch: Batch, *, size: float, shift: float, both: bool) -> Batch:
    inputs, target = change_inputs(batch, lambda x: x * size + shift, every=False)
    return inputs, (target * size + shift if both else target)


def _unnormalized(program: Program, draw: Draw) -> Injection | None:
    if not _free_inputs(program):
        return None
    size = draw.log(60, 3000)
    shift = draw.pick([0.0, 0.0, 1.5, 3.0]) * size
    both = _own_target(program)
    return Injection(
        broken=program.plus(pipeline=partial(raw, size=size, shift=shift, both=both)),
        accept=("unnormalized_targets",) if both else (),
        symptom="data_anomaly",
        strength=f"inputs x {size:g} + {shift:g}",
    )


def _offset(program: Program, draw: Draw) -> Injection | None:
    if not _free_inputs(program) or _own_target(program):
        return None
    shift = draw.log(20, 500)
    return Injection(
        broken=program.plus(pipeline=partial(raw, size=1.0, shift=shift, both=False)),
        symptom="data_anomaly",
        strength=f"inputs + {shift:g}",
    )


def _stretched(batch: Batch, *, columns: list[int], size: float) -> Batch:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[..., columns] *= size
        return x

    return change_inputs(batch, change, every=False)


def _spread(program: Program, draw: Draw) -> Injection | None:
    width = program.task.train[0][0].shape[-1]
    if not _free_inputs(program) or _own_target(program) or width < 4:
        return None
    if len(program.task.shape) == 3:
        return None
    columns = draw.some(list(range(width)), draw.whole(1, max(width // 4, 1)))
    size = draw.log(200, 20_000)
    return Injection(
        broken=program.plus(pipeline=partial(_stretched, columns=columns, size=size)),
        symptom="data_anomaly",
        strength=f"{len(columns)} of {width} columns x {size:g}",
    )


def _raw_target(batch: Batch, *, size: float, shift: float) -> Batch:
    inputs, target = batch
    return inputs, target * size + shift


def _targets(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind != "regression":
        return None
    size = draw.log(50, 5000)
    shift = draw.pick([0.0, 2.0, 5.0]) * size
    return Injection(
        broken=program.plus(pipeline=partial(_raw_target, size=size, shift=shift)),
        symptom="loss_plateau",
        strength=f"targets x {size:g} + {shift:g}",
    )


# -- not finite ------------------------------------------------------------------------------------


def _from(
    at: int, count: int, change: Callable[[Batch, torch.Generator], Batch]
) -> Callable[..., Batch]:
    def feed(batch: Batch, step: int, generator: torch.Generator) -> Batch:
        return change(batch, generator) if at <= step < at + count else batch

    return feed


def _poisoned(
    batch: Batch, generator: torch.Generator, *, value: float, rows: int, whole: bool
) -> Batch:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        chosen = torch.randperm(x.shape[0], generator=generator)[:rows]
        if whole:
            x[chosen] = value
        else:
            flat = x.flatten(1)
            flat[chosen, torch.randint(0, flat.shape[1], (1,), generator=generator)] = value
            x = flat.view_as(x)
        return x

    return change_inputs(batch, change, every=False)


def _moment(program: Program, draw: Draw) -> int:
    return draw.whole(5, int(program.steps * 0.8))


def _nan_input(program: Program, draw: Draw) -> Injection | None:
    if not has_floats(program):
        return None
    at = _moment(program, draw)
    value = draw.pick([float("nan"), float("nan"), float("inf")])
    rows = draw.pick([1, 1, 2, 1000])
    change = partial(_poisoned, value=value, rows=rows, whole=draw.chance(0.3))
    return Injection(
        broken=program.plus(feed=_from(at, draw.pick([1, 1, 3]), change)),
        onset=at,
        symptom="nonfinite_values",
        strength=f"{value} in {rows} rows",
    )


def _nan_target(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind not in NUMBERS and program.task.kind != "binary":
        return None
    at = _moment(program, draw)
    rows = draw.pick([1, 2])

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        inputs, target = batch
        target = target.clone()
        target[torch.randperm(target.shape[0], generator=generator)[:rows]] = float("nan")
        return inputs, target

    return Injection(
        broken=program.plus(feed=_from(at, 1, change)),
        onset=at,
        symptom="nonfinite_values",
        strength=f"nan in {rows} targets",
    )


# -- wrong for a moment ----------------------------------------------------------------------------


def _scaled(batch: Batch, _generator: torch.Generator, *, size: float) -> Batch:
    return change_inputs(batch, lambda x: x * size)


def _noise(batch: Batch, generator: torch.Generator, *, size: float) -> Batch:
    return change_inputs(batch, lambda x: size * torch.randn(x.shape, generator=generator))


def _inverted(batch: Batch, _generator: torch.Generator, *, size: float) -> Batch:
    return change_inputs(batch, lambda x: -size * x.flip(-1))


def _garbage(batch: Batch, generator: torch.Generator, *, top: int) -> Batch:
    inputs, target = batch
    junk = [
        torch.randint(0, top, (1, *x.shape[1:]), generator=generator).expand_as(x) for x in inputs
    ]
    same = torch.full_like(target, int(junk[0].flatten()[0])) if target.dim() == 2 else target
    return tuple(junk), same


def _swapped_labels(batch: Batch, _generator: torch.Generator, *, top: int) -> Batch:
    inputs, target = batch
    return inputs, (target + 1 + top // 3) % top


def _wild_target(batch: Batch, _generator: torch.Generator, *, size: float) -> Batch:
    inputs, target = batch
    return inputs, target * size


def _late(program: Program, draw: Draw, count: int) -> int:
    """Return a step from which there is little time to recover: the last tenth, or the last third."""
    if draw.chance(0.6):
        return program.steps - count - draw.whole(2, max(program.steps // 10, 4))
    return draw.whole(int(program.steps * 0.65), program.steps - count - 2)


def _bad_scale(program: Program, draw: Draw) -> Injection | None:
    if program.clip or not has_floats(program) or program.task.kind in {"field", "pairs"}:
        return None
    count = draw.pick([2, 5, 10, 16])
    at, size = _late(program, draw, count), draw.log(500, 50_000)
    change = draw.pick(
        [partial(_scaled, size=size), partial(_noise, size=size), partial(_inverted, size=size)]
    )
    return Injection(
        broken=program.plus(feed=_from(at, count, change)),
        onset=at,
        symptom="loss_spike",
        strength=f"{count} batches, {change.func.__name__} {size:g}",
    )


def _bad_tokens(program: Program, draw: Draw) -> Injection | None:
    if program.clip or has_floats(program) or program.family == "recommender":
        return None
    count = draw.whole(12, 24)
    at = _late(program, draw, count)
    top = program.task.outputs if program.task.kind == "tokens" else 300
    return Injection(
        broken=program.plus(feed=_from(at, count, partial(_garbage, top=top))),
        onset=at,
        symptom="loss_spike",
        strength=f"{count} batches of one repeated line of garbage",
    )


def _bad_labels(program: Program, draw: Draw) -> Injection | None:
    if (
        program.clip
        or program.task.kind not in {"classes", "pixels", "nodes"}
        or program.task.outputs < 3
    ):
        return None
    count = draw.whole(12, 20)
    at = program.steps - count - draw.whole(0, 3)
    return Injection(
        broken=program.plus(
            feed=_from(at, count, partial(_swapped_labels, top=program.task.outputs))
        ),
        onset=at,
        symptom="loss_spike",
        strength=f"{count} mislabelled batches",
    )


def _bad_target(program: Program, draw: Draw) -> Injection | None:
    if program.clip or program.task.kind not in NUMBERS:
        return None
    count, size = draw.pick([1, 3, 6]), draw.log(300, 10_000)
    at = _late(program, draw, count)
    return Injection(
        broken=program.plus(feed=_from(at, count, partial(_wild_target, size=size))),
        onset=at,
        symptom="loss_spike",
        strength=f"{count} batches with targets x {size:g}",
    )


# -- labels of others ------------------------------------------------------------------------------


def mixed(batch: Batch, step: int, generator: torch.Generator, *, share: float, at: int) -> Batch:
    inputs, target = batch
    if step < at:
        return batch
    return inputs, randomised(target, share, generator)


def _shifted(batch: Batch, step: int, _generator: torch.Generator, *, by: int, at: int) -> Batch:
    inputs, target = batch
    return (inputs, target.roll(by, 0)) if step >= at else batch


def _second_view(
    batch: Batch, step: int, _generator: torch.Generator, *, by: int, at: int
) -> Batch:
    (a, b), target = batch
    return ((a, b.roll(by, 0)), target) if step >= at else batch


def _noise_labels(program: Program, draw: Draw) -> Injection | None:
    if program.task.kind not in LABELS | NUMBERS:
        return None
    share = draw.pick([0.6, 0.75, 0.9, 1.0])
    return Injection(
        broken=program.plus(feed=partial(mixed, share=share, at=0)),
        symptom="loss_plateau",
        strength=f"{share:.0%} of the targets are those of others",
    )


def _misaligned(program: Program, draw: Draw) -> Injection | None:
    pairs = program.task.kind == "pairs"
    if program.task.kind not in LABELS | NUMBERS and not pairs:
        return None
    at = draw.whole(program.steps // 3, program.steps * 2 // 3) if draw.chance(0.4) else 0
    change = _second_view if pairs else _shifted
    return Injection(
        broken=program.plus(feed=partial(change, by=draw.whole(1, 7), at=at)),
        onset=at,
        symptom="loss_plateau",
        strength=f"targets shifted against the inputs from step {at}",
    )


FAULTS = (
    Fault(mechanism="unnormalized_inputs", variant="scale", inject=_unnormalized, weight=2),
    Fault(mechanism="unnormalized_inputs", variant="offset", inject=_offset),
    Fault(mechanism="unnormalized_inputs", variant="spread", inject=_spread),
    Fault(mechanism="unnormalized_targets", variant="scale", inject=_targets),
    Fault(mechanism="nonfinite_data", variant="input", inject=_nan_input, weight=2),
    Fault(mechanism="nonfinite_data", variant="target", inject=_nan_target),
    Fault(mechanism="corrupted_batch", variant="inputs", inject=_bad_scale, weight=2),
    Fault(mechanism="corrupted_batch", variant="tokens", inject=_bad_tokens, weight=2),
    Fault(mechanism="corrupted_batch", variant="labels", inject=_bad_labels),
    Fault(mechanism="corrupted_batch", variant="targets", inject=_bad_target),
    Fault(mechanism="label_noise", variant="mixed", inject=_noise_labels),
    Fault(mechanism="label_noise", variant="misaligned", inject=_misaligned),
)
