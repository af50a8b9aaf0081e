"""Evidence and a catalogue in, posterior out: a numpy screen prunes, pgmpy answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuraldbg.inference.engine import joint_of_causes
from neuraldbg.inference.location import locate
from neuraldbg.inference.noisyor import (
    UNKNOWN,
    Network,
    build,
    enumerate_sets,
    joint_by_enumeration,
)
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.evidence import Evidence, Posterior

__all__ = ["infer", "marginals", "screen"]

Array = NDArray[np.float64]

# Three causes at once cover what one run shows; inference.md section 1 measured the difference to five.
LARGEST_SET = 3
KEEP_ABOVE, KEEP_MOST = 1e-4, 8
LOCATE_ABOVE = 0.01
# Of "nothing is wrong" so much is left where something was seen that no healthy run shows.
LEFT_HEALTHY = 1e-3


def infer(
    evidence: Evidence,
    catalogue: Catalogue,
    *,
    priors: Mapping[str, float] | None = None,
    engine: Literal["pgmpy", "numpy"] = "pgmpy",
) -> Posterior:
    """Return the probabilities of every mechanism, pair and place.

    Parameters
    ----------
    evidence
        Findings of the observed event types; a type that is not there was not observed and says nothing.
    catalogue
        Mechanisms, detectors and their noisy-OR parameters.
    priors
        Replaces the prior of some mechanisms (``unknown_cause`` too).
    engine
        ``"pgmpy"`` answers; ``"numpy"`` sums the same tables directly, for benchmarks over thousands of runs.

    Raises
    ------
    UnknownNameError
        If ``priors`` names a mechanism that does not exist.
    PriorError
        If a prior lies outside (0, 1).
    """
    network = build(evidence, catalogue, priors)
    members, weights, surprise = screen(network)
    rough = weights @ members
    pruned = network.keep(_prune(rough))
    joint = joint_of_causes(pruned) if engine == "pgmpy" else joint_by_enumeration(pruned)
    if any(f.present and catalogue.detector(n).fatal for n, f in evidence.findings.items()):
        joint = _never_healthy(joint, pruned.causes)
    single = dict(zip(network.causes, map(float, rough), strict=True))
    single |= dict(zip(pruned.causes, map(float, marginals(joint)), strict=True))
    slugs = [s for s in catalogue.slugs() if any(_slug(c) == s for c in network.causes)]
    variants = {
        s: max((c for c in single if _slug(c) == s), key=lambda c: single[c]) for s in slugs
    }
    probability = {s: _any(joint, pruned.causes, [s], single) for s in (*slugs, UNKNOWN)}
    return Posterior(
        p_healthy=float(joint.reshape(-1)[0]),
        p_unknown=probability.pop(UNKNOWN),
        mechanisms=probability,
        variants=variants,
        pairs=_pairs(joint, pruned.causes),
        places={
            slug: locate(catalogue.mechanism(variants[slug]), evidence, catalogue, engine=engine)
            for slug in slugs
            if probability[slug] > LOCATE_ABOVE and catalogue.mechanism(variants[slug]).layered
        },
        bayes_factors=_bayes_factors(network, single),
        surprise=surprise,
    )


def _never_healthy(joint: Array, causes: tuple[str, ...]) -> Array:
    """Return the joint with what "nothing is wrong" held given to the unknown cause."""
    none = (0,) * joint.ndim
    alone = tuple(int(cause == UNKNOWN) for cause in causes)
    moved = joint.copy()
    moved[alone] += joint[none] * (1 - LEFT_HEALTHY)
    moved[none] = joint[none] * LEFT_HEALTHY
    return moved


def screen(network: Network) -> tuple[NDArray[np.bool_], Array, float]:
    """Return sets of causes, their posterior weights, and the surprise in nats per event type."""
    members, score = enumerate_sets(network, LARGEST_SET)
    weights = np.exp(score - score.max())
    surprise = -float(score.max()) / max(len(network.events), 1)
    return members, weights / weights.sum(), surprise


def marginals(joint: Array) -> Array:
    """Return P(on) of every axis of a joint table."""
    return np.array([float(joint.take(1, axis).sum()) for axis in range(joint.ndim)])


def _slug(cause: str) -> str:
    return cause.split("/", 1)[0]


def _any(
    joint: Array, causes: tuple[str, ...], slugs: list[str], single: Mapping[str, float]
) -> float:
    """Return the probability that at least one variant of every slug is active."""
    total = joint
    for axis, cause in reversed(list(enumerate(causes))):
        if _slug(cause) not in slugs:
            total = total.sum(axis=axis, keepdims=True)
    kept = [s for s in slugs if any(_slug(c) == s for c in causes)]
    if len(kept) < len(slugs):
        return sum(single[c] for c in single if _slug(c) in slugs) if len(slugs) == 1 else 0.0
    # Inclusion and exclusion over the slugs: 1 - P(all variants of one are off) and so on.
    mask = np.ones(total.shape, bool)
    for slug in slugs:
        active = np.zeros(total.shape, bool)
        for axis, cause in enumerate(causes):
            if _slug(cause) == slug:
                on = [slice(None)] * total.ndim
                on[axis] = slice(1, None)
                active[tuple(on)] = True
        mask &= active
    return float(total[mask].sum())


def _prune(rough: Array) -> list[int]:
    """Return the causes worth keeping, in their order; unknown_cause, the last, always."""
    last = rough.size - 1
    ranked = [int(i) for i in np.argsort(-rough, kind="stable") if i != last]
    kept = [i for i in ranked[:KEEP_MOST] if rough[i] > KEEP_ABOVE] or ranked[:1]
    return [*sorted(kept), last]


def _pairs(joint: Array, causes: tuple[str, ...]) -> dict[tuple[str, str], float]:
    slugs = list(dict.fromkeys(_slug(c) for c in causes))
    return {
        (a, b): _any(joint, causes, [a, b], {}) for i, a in enumerate(slugs) for b in slugs[i + 1 :]
    }


def _bayes_factors(network: Network, single: Mapping[str, float]) -> dict[str, float]:
    """Return posterior odds over prior odds of the most favoured variant of every slug."""
    factors: dict[str, float] = {}
    for cause, prior in zip(network.causes, network.asked, strict=True):
        p = min(max(single[cause], 1e-12), 1 - 1e-12)
        factor = (p / (1 - p)) / (prior / (1 - prior))
        factors[_slug(cause)] = max(factor, factors.get(_slug(cause), 0.0))
    return factors
