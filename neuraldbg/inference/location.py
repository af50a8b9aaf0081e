"""Where a mechanism sits: a small Bayesian network of its origin and what was found at every layer.

Definitions. The *origin* is one layer, or None (the mechanism acts on the whole network). A *finding* is one
event type of the mechanism at one layer. A finding at the origin has the mechanism's link; at a layer that the
origin reaches in the direction in which the mechanism spreads it is a likely consequence; elsewhere it is a
leak. Onset and strength enter as soft evidence on the origin: consequences come later and are weaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.inference.engine import posterior_of_origin
from neuraldbg.inference.noisyor import CLIP
from neuraldbg.records.catalogue import Catalogue, Mechanism
from neuraldbg.records.evidence import Evidence, LocatedFinding
from neuraldbg.records.learned import LocationWeights

__all__ = ["OriginNetwork", "locate", "origin_network", "origin_posterior"]

Array = NDArray[np.float64]

MAX_PLACES = 24
MAX_QUIET = 24
# Judgement, mechanisms.md section 5: a consequence shows with even odds, an unrelated layer rarely.
UNLEARNED = LocationWeights()


class OriginNetwork(NamedTuple):
    """Arrays of the location network.

    Attributes
    ----------
    places
        K candidate origins; None is the whole network.
    prior
        Shape ``(K,)``.
    tables
        Shape ``(F, K)``; P(finding present | origin).
    present
        Shape ``(F,)``.
    """

    places: tuple[str | None, ...]
    prior: Array
    tables: Array
    present: NDArray[np.bool_]


def locate(
    mechanism: Mechanism,
    evidence: Evidence,
    catalogue: Catalogue,
    *,
    engine: Literal["pgmpy", "numpy"] = "pgmpy",
) -> Mapping[str | None, float]:
    """Return P(origin | mechanism, evidence) over the candidate layers and None.

    Of a mechanism that may sit in several layers at once, every candidate layer is judged by itself: the numbers
    are then probabilities that it is among them, and do not sum to 1.
    """
    network = origin_network(mechanism, evidence, catalogue)
    if len(network.places) == 1:
        return {network.places[0]: 1.0}
    answer = posterior_of_origin if engine == "pgmpy" else _summed
    if mechanism.several:
        found = _local(mechanism, evidence)
        return {
            layer: float(answer(*_alone(layer, mechanism, evidence, catalogue, found))[0])
            for layer in network.places
            if layer is not None
        }
    values = answer(network.prior, network.tables, network.present)
    return dict(zip(network.places, map(float, values), strict=True))


def _alone(
    layer: str,
    mechanism: Mechanism,
    evidence: Evidence,
    catalogue: Catalogue,
    found: dict[str, dict[str, LocatedFinding]],
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the network of one layer: whether the mechanism sits there, and what was found there."""
    links = {e.event: e.link for e in mechanism.effects if e.local}
    judged = [e for e in found if layer in evidence.judged.get(e, evidence.layers)]
    leaks = [catalogue.detector(e).leak for e in judged]
    tables = np.array([[links[e], leak] for e, leak in zip(judged, leaks, strict=True)])
    # Of one mechanism's layers the evidence says which: absence here says little where others show it.
    rows = np.array([layer in found[e] for e in judged], bool)
    kept = rows if rows.any() else np.ones(rows.size, bool)
    return np.array([0.5, 0.5]), tables[kept], rows[kept]


def _summed(prior: Array, tables: Array, present: NDArray[np.bool_]) -> Array:
    places = tuple(str(k) for k in range(prior.size))
    return origin_posterior(OriginNetwork(places, prior, tables, present))


def _local(mechanism: Mechanism, evidence: Evidence) -> dict[str, dict[str, LocatedFinding]]:
    """Return what was found where of the events that the mechanism causes at its own layer."""
    local = [e.event for e in mechanism.effects if e.local and e.event in evidence.findings]
    return {e: {f.layer: f for f in evidence.findings[e].at} for e in local}


def origin_posterior(network: OriginNetwork) -> Array:
    """Return the same posterior by direct summation: the oracle of the tests."""
    rows = np.clip(network.tables, CLIP, 1 - CLIP)
    seen = np.where(network.present[:, None], np.log(rows), np.log1p(-rows)).sum(axis=0)
    score = np.log(network.prior) + seen
    weights = np.exp(score - score.max())
    return np.asarray(weights / weights.sum())


def origin_network(mechanism: Mechanism, evidence: Evidence, catalogue: Catalogue) -> OriginNetwork:
    """Return the location network of one mechanism."""
    local = {e.event: e.link for e in mechanism.effects if e.local and e.event in evidence.findings}
    found = _local(mechanism, evidence)
    layers = _candidates(found, evidence)
    places: tuple[str | None, ...] = (*layers, None)
    if not layers:
        return OriginNetwork((None,), np.ones(1), np.zeros((0, 1)), np.zeros(0, bool))
    reached = _reached(layers, evidence, mechanism.spread)
    numbers = catalogue.learned.location if catalogue.learned is not None else UNLEARNED
    tables, present = [], []
    quiet = _quiet(found, layers, evidence)
    for event, link in local.items():
        spreads = catalogue.detector(event).kind != "parameter_health"
        judged = evidence.judged.get(event, evidence.layers)
        for layer in (*layers, *quiet):
            if layer not in judged:
                continue
            row = [
                link
                if layer == place
                else numbers.propagated
                if spreads and layer in reached[place]
                else numbers.elsewhere
                for place in layers
            ]
            tables.append([*row, numbers.everywhere if link > 0.5 else link])
            present.append(layer in found[event])
    prior = _prior(layers, found, mechanism, numbers)
    return OriginNetwork(places, prior, np.array(tables), np.array(present, bool))


def _candidates(found: dict[str, dict[str, LocatedFinding]], evidence: Evidence) -> list[str]:
    """Return the layers with a finding, those found first and strongest first kept, in flow order."""
    best: dict[str, tuple[int, float]] = {}
    for at in found.values():
        for layer, finding in at.items():
            key = (finding.onset, -finding.strength)
            best[layer] = min(best.get(layer, key), key)
    kept = set(sorted(best, key=lambda layer: best[layer])[:MAX_PLACES])
    return [layer for layer in evidence.layers if layer in kept]


def _quiet(
    found: dict[str, dict[str, LocatedFinding]], layers: list[str], evidence: Evidence
) -> list[str]:
    """Return layers without a finding: they speak against a mechanism of the whole network."""
    judged = {layer for event in found for layer in evidence.judged.get(event, ())}
    return [layer for layer in evidence.layers if layer in judged and layer not in layers][
        :MAX_QUIET
    ]


def _prior(
    layers: list[str],
    found: dict[str, dict[str, LocatedFinding]],
    mechanism: Mechanism,
    numbers: LocationWeights,
) -> Array:
    """Return the prior over origins, tilted by how early and how strong the findings there are."""
    first = min(f.onset for at in found.values() for f in at.values())
    last = max(f.onset for at in found.values() for f in at.values())
    tolerance = max(5.0, 0.1 * (last - first))
    tilt = []
    for rank, layer in enumerate(layers):
        here = [at[layer] for at in found.values() if layer in at]
        late = min(f.onset for f in here) - first
        strong = max(min(f.strength, 3.0) for f in here)
        upstream = {"forward": -rank, "backward": rank}.get(mechanism.spread, 0)
        tilt.append(
            numbers.strength * strong
            - numbers.lateness * min(late / tolerance, 8.0)
            + numbers.flow * upstream / max(len(layers) - 1, 1)
        )
    weights = np.exp(np.array(tilt) - max(tilt))
    whole = mechanism.p_whole
    return np.append(weights * ((1 - whole) / weights.sum()), whole)


def _reached(layers: list[str], evidence: Evidence, spread: str) -> dict[str, set[str]]:
    """Return, for every candidate, the candidates that its consequences reach."""
    after: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    for source, target in evidence.edges:
        after.setdefault(source, set()).add(target)
        before.setdefault(target, set()).add(source)
    ways = {
        "forward": (after,),
        "backward": (before,),
        "both": (after, before),
        "none": (),
    }[spread]
    return {
        layer: set().union(*(_closure(layer, way) for way in ways)) & set(layers)
        for layer in layers
    }


def _closure(start: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    stack = [start]
    while stack:
        for target in arrows.get(stack.pop(), ()):
            if target not in seen:
                seen.add(target)
                stack.append(target)
    return seen - {start}
