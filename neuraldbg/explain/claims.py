"""From the posterior to claims: mechanism, layer, onset and probability, without words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neuraldbg.records.catalogue import Catalogue, Detector, Effect, Mechanism
from neuraldbg.records.event import StepSpan
from neuraldbg.records.evidence import Evidence, Posterior
from neuraldbg.records.learned import ClaimMap, OnsetError
from neuraldbg.records.names import holds

__all__ = ["UNKNOWN", "Claim", "claims", "stack_of", "stated_probability", "telling"]

UNKNOWN = "unknown_cause"
FLOOR = 1e-3
# Fewer layers than this are no stack.
FEW = 3
PLATEAU = "loss_plateau"
# Layers whose probabilities are no further apart are taken for equally likely.
ALIKE = 0.01
# A layer that is judged by itself is told beside the likeliest from here on.
EVEN = 0.5
# Evidence of at least this share of the most telling counts for the onset.
TELLING = 0.6
# A change between two sampled steps is seen at the second: steps are at most 3 % of the run apart.
UNLEARNED = OnsetError(early=4, late=0, share=0.03)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One mechanism at its likeliest place.

    Attributes
    ----------
    mechanism
        Slug.
    variant
        Key of its most probable variant; the slug itself for an unknown cause.
    layer
        Dotted name; None for the data, the loss, the optimizer, or a network in which no layer stands out.
    others
        Dotted names of further layers that it sits in, in the order of execution.
    stack
        Of a mechanism that builds up over many layers, the dotted name of the first part of the stack that holds most of
        them (the other parts are ``others``), or of the layer at which it is worst.
    site
        Of an operation that is fed by ``layer``, the dotted name of the module that calls it; of a fault of a part
        that is no layer, that of the part; of data, that of the layer that is fed it.
    step, steps
        Onset, and the interval that it lies in.
    p_mechanism
        Of the mechanism at any place, as stated to the user.
    probability
        Of mechanism and layer together, as stated to the user; never above ``p_mechanism``.
    """

    mechanism: str
    variant: str
    layer: str | None
    others: tuple[str, ...] = ()
    stack: str | None = None
    site: str | None = None
    step: int
    steps: StepSpan
    p_mechanism: float
    probability: float

    @property
    def told(self) -> str | None:
        """Where it sits, as the user is told."""
        return self.site or (self.stack if self.layer is None else self.layer)


def claims(posterior: Posterior, evidence: Evidence, catalogue: Catalogue) -> tuple[Claim, ...]:
    """Return the claims worth making, most probable mechanism first.

    Parameters
    ----------
    posterior, evidence
        Of the inference stage.
    catalogue
        Its learned claim map, where there is one, turns posteriors into stated probabilities.
    """
    found = [
        _claim(catalogue.mechanism(posterior.variants[slug]), posterior, evidence, catalogue)
        for slug, p in posterior.mechanisms.items()
        if p >= FLOOR
    ]
    if posterior.p_unknown >= FLOOR:
        found.append(_unknown(posterior, evidence, catalogue))
    return tuple(sorted(found, key=lambda c: (-c.p_mechanism, c.mechanism)))


def stated_probability(p: float, surprise: float, learned: ClaimMap) -> float:
    """Return the probability of a claim as stated: the network's, corrected by how often such claims came true.

    Parameters
    ----------
    p
        Posterior of mechanism and layer together.
    surprise
        Nats per event type under the best explanation; evidence unlike any seen lowers the claim.
    learned
        The map.
    """
    odds = math.log(max(p, 1e-9)) - math.log(max(1.0 - p, 1e-9))
    excess = max(surprise - learned.usual, 0.0)
    z = learned.slope * odds + learned.offset - learned.novelty * excess
    return learned.cap / (1.0 + math.exp(-max(min(z, 50.0), -50.0)))


def telling(effect: Effect, catalogue: Catalogue) -> float:
    """Return how much an effect says for its mechanism: link times log of link over leak."""
    leak = catalogue.detector(effect.event).leak
    weight = catalogue.weights.get(effect.event, 1.0)
    return weight * effect.link * max(math.log(effect.link / leak), 0.0)


def _claim(
    mechanism: Mechanism, posterior: Posterior, evidence: Evidence, catalogue: Catalogue
) -> Claim:
    p = posterior.mechanisms[mechanism.slug]
    seat = _seat(mechanism, posterior.places.get(mechanism.slug, {None: 1.0}))
    seat = seat._replace(layer=_worst(mechanism, seat, posterior, evidence, catalogue))
    alone = None if seat.everywhere else seat.layer
    step = _onset(mechanism, alone, evidence, catalogue)
    parts = _spread_over(mechanism, evidence) if seat.layer is None and mechanism.stacked else ()
    return Claim(
        mechanism=mechanism.slug,
        variant=mechanism.key,
        layer=seat.layer,
        others=parts[1:] or _others(mechanism, seat, posterior, evidence),
        stack=parts[0] if parts else None,
        site=next((x for k in mechanism.sites if (x := evidence.sites.get((k, alone)))), None),
        step=step,
        steps=_interval(step, catalogue),
        p_mechanism=_state(p, posterior, catalogue),
        probability=_state(p * seat.share, posterior, catalogue),
    )


class _Seat(NamedTuple):
    """The likeliest layer, how likely the mechanism sits there, and whether it rather sits in all layers."""

    layer: str | None
    share: float
    everywhere: bool


def _seat(mechanism: Mechanism, places: Mapping[str | None, float]) -> _Seat:
    """Return where a mechanism sits; what sits in all layers sits in the likeliest of them too."""
    whole = places.get(None, 0.0)
    named = {place: p for place, p in places.items() if place is not None}
    layer = max(named, key=lambda place: named[place], default=None)
    if layer is not None and mechanism.fills:
        return _Seat(layer, min(named[layer] + whole, 1.0), named[layer] < whole)
    if layer is None or named[layer] < whole:
        return _Seat(None, whole, everywhere=True)
    return _Seat(layer, named[layer], everywhere=False)


def _worst(
    mechanism: Mechanism,
    seat: _Seat,
    posterior: Posterior,
    evidence: Evidence,
    catalogue: Catalogue,
) -> str | None:
    """Return, of layers that are as good as certain to share a fault, the one that shows most of it."""
    if seat.layer is None or not mechanism.several:
        return seat.layer
    places = posterior.places[mechanism.slug]
    alike = {x for x, p in places.items() if x is not None and p >= places[seat.layer] - ALIKE}
    shown = dict.fromkeys((x for x in evidence.layers if x in alike), 0.0)
    for effect in mechanism.effects:
        if effect.local and effect.event in evidence.findings:
            for finding in evidence.findings[effect.event].at:
                if finding.layer in shown:
                    shown[finding.layer] += telling(effect, catalogue) * min(finding.strength, 1.0)
    return max(shown, key=lambda x: shown[x], default=seat.layer)


def _others(
    mechanism: Mechanism, seat: _Seat, posterior: Posterior, evidence: Evidence
) -> tuple[str, ...]:
    """Return the layers beside the likeliest: those that were judged alike, or all that show it."""
    if seat.layer is None or not (mechanism.several or seat.everywhere):
        return ()
    places = posterior.places[mechanism.slug]
    shown = {
        finding.layer
        for effect in mechanism.effects
        if effect.local and effect.event in evidence.findings
        for finding in evidence.findings[effect.event].at
    }
    # More layers may show it than were judged.
    return tuple(
        layer
        for layer in evidence.layers
        if layer in shown
        and layer != seat.layer
        and (seat.everywhere or places.get(layer, 1.0) >= EVEN)
    )


def _spread_over(mechanism: Mechanism, evidence: Evidence) -> tuple[str, ...]:
    """Return the parts of what holds most layers; where they have nothing in common, the layer at which it is worst."""
    held = stack_of(evidence.layers)
    if held is not None:
        inside = (
            x.removeprefix(f"{held}.") for x in evidence.layers if holds(held, x) and x != held
        )
        return tuple(dict.fromkeys(f"{held}.{x.partition('.')[0]}" for x in inside))
    expected = [
        e.event for e in mechanism.effects if e.link >= 0.5 and e.event in evidence.findings
    ]
    found = [finding for event in expected for finding in evidence.findings[event].at]
    return (max(found, key=lambda finding: finding.strength).layer,) if found else ()


def stack_of(layers: Sequence[str]) -> str | None:
    """Return the container of numbered parts that holds most layers, None if it holds few or is the model itself.

    Parameters
    ----------
    layers
        Dotted names.
    """
    held: Counter[str] = Counter()
    for name in layers:
        parts = name.split(".")
        held.update(".".join(parts[:i]) for i, part in enumerate(parts) if i and part.isdigit())
    # Of a stack within a stack the outer one holds at least as many.
    best = max(held, key=lambda name: (held[name], -len(name)), default=None)
    return best if best and held[best] >= max(FEW, len(layers) / 2) else None


def _unknown(posterior: Posterior, evidence: Evidence, catalogue: Catalogue) -> Claim:
    failures = {d.name for d in catalogue.detectors if d.failure}
    onsets = [
        f.onset for n, f in evidence.findings.items() if n in failures and f.onset is not None
    ]
    step = min(onsets, default=0)
    return Claim(
        mechanism=UNKNOWN,
        variant=UNKNOWN,
        layer=None,
        step=step,
        steps=_interval(step, catalogue),
        p_mechanism=_state(posterior.p_unknown, posterior, catalogue),
        probability=_state(posterior.p_unknown, posterior, catalogue),
    )


def _state(p: float, posterior: Posterior, catalogue: Catalogue) -> float:
    if catalogue.learned is None:
        return p
    return stated_probability(p, posterior.surprise, catalogue.learned.claim)


def _onset(
    mechanism: Mechanism, layer: str | None, evidence: Evidence, catalogue: Catalogue
) -> int:
    """Return the first step of the most telling evidence at the claim's layer.

    A plateau is a fact of the whole run and has no onset of its own, and what builds up shows late: they count
    where there is nothing else.
    """
    seen = [
        (telling(e, catalogue), _first(e.event, layer, evidence), e.event)
        for e in mechanism.effects
        if e.event in evidence.findings and evidence.findings[e.event].present
    ]
    dated = [x for x in seen if _dates(catalogue.detector(x[2]))] or seen
    known = [(weight, step) for weight, step, _ in dated if step is not None]
    if not known:
        return 0
    top = max(weight for weight, _ in known)
    return min(step for weight, step in known if weight >= TELLING * top)


def _dates(detector: Detector) -> bool:
    return detector.failure != PLATEAU and not detector.cumulative


def _first(event: str, layer: str | None, evidence: Evidence) -> int | None:
    found = evidence.findings[event]
    here = [f.onset for f in found.at if f.layer == layer]
    return min(here) if here else found.onset


def _interval(step: int, catalogue: Catalogue) -> StepSpan:
    error = catalogue.learned.onset if catalogue.learned is not None else UNLEARNED
    early = max(error.early, math.ceil(error.share * step))
    return StepSpan(max(step - early, 0), step + max(error.late, 0) + 1)
