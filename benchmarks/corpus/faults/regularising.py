"""Weight decay and clipping that take all there is."""

from __future__ import annotations

from benchmarks.corpus.draw import Draw
from benchmarks.corpus.faults.rates import by_layer
from benchmarks.corpus.injection import Fault, Injection
from benchmarks.corpus.program import Program

__all__ = ["FAULTS"]

PLAIN = {"sgd", "momentum", "nesterov"}


def _decay_rate(program: Program, pace: float) -> float:
    """Return the weight decay that shrinks weights by ``pace`` a step."""
    if program.optimizer in {"momentum", "nesterov"}:
        pace *= 0.1
    return float(f"{pace / program.lr:.2g}")


def _decay(program: Program, draw: Draw) -> Injection | None:
    if program.optimizer == "adamw" or program.optimizer in PLAIN:
        pace = draw.log(0.05, 0.3)
        decay = _decay_rate(program, pace)
    else:
        pace, decay = 0.05, draw.log(0.5, 10.0)
    return Injection(
        broken=program.with_options(weight_decay=decay),
        onset=(0, max(5, min(int(2 / pace), program.steps // 3))),
        symptom="loss_plateau",
        strength=f"weight decay {decay:g}",
    )


def _decay_layer(program: Program, draw: Draw) -> Injection | None:
    usual = len(program.turns) == 1 and program.owns is None and program.family != "finetune"
    if not usual or program.optimizer not in PLAIN | {"adamw"}:
        return None
    site = program.sites()
    name, pace = draw.pick([*site.body[-2:], site.head]), draw.log(0.3, 0.9)
    decay = _decay_rate(program, pace)
    return Injection(
        broken=program.but(owns=by_layer([name], weight_decay=decay)),
        layers=(name,),
        onset=(0, max(5, min(int(2 / pace), program.steps // 3))),
        symptom="loss_plateau",
        strength=f"weight decay {decay:g} of one group",
    )


def _clip_norm(program: Program, draw: Draw) -> Injection | None:
    if program.optimizer not in PLAIN:
        return None
    limit = draw.log(1e-4, 3e-3)
    return Injection(
        broken=program.but(clip=("norm", limit)),
        symptom="loss_plateau",
        strength=f"norm clipped at {limit:g}",
    )


def _clip_value(program: Program, draw: Draw) -> Injection | None:
    if program.optimizer not in PLAIN:
        return None
    limit = draw.log(1e-6, 3e-5)
    return Injection(
        broken=program.but(clip=("value", limit)),
        symptom="loss_plateau",
        strength=f"values clipped at {limit:g}",
    )


FAULTS = (
    Fault(mechanism="excessive_weight_decay", variant="global", inject=_decay, weight=3),
    Fault(mechanism="excessive_weight_decay", variant="layer", inject=_decay_layer),
    Fault(mechanism="excessive_gradient_clipping", variant="norm", inject=_clip_norm),
    Fault(mechanism="excessive_gradient_clipping", variant="value", inject=_clip_value),
)
