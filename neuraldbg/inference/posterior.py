"""Evidence and a catalogue in, posterior out: a numpy screen prunes, pgmpy answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neuraldbg.inference.engine import joint_of_causes
from neuraldbg.inference.location import locate
from neuraldbg.inference.noisyor import UNKNOWN, Network, build, enumerate_sets
from neuraldbg.records.catalogue import Catalogue
from neuraldbg.records.evidence import Evidence, Posterior

__all__ = ["infer", "marginals", "screen"]

Array = NDArray[np.float64]

# Three causes at once cover what one run shows; inference.md section 1 measured the difference to five.
LARGEST_SET = 3
KEEP_ABOVE, KEEP_MOST = 1e-4, 8
LOCATE_ABOVE = 0.01


def infer(
    evidence: Evidence, catalogue: Catalogue, *, priors: Mapping[str, float] | None = None
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
    chosen = _prune(rough)
    pruned = network.keep(chosen)
    joint = joint_of_causes(pruned)
    on, pairs = marginals(joint)
    probability = dict(zip(network.causes, map(float, rough), strict=True))
    probability |= dict(zip(pruned.causes, map(float, on), strict=True))
    names = [m.slug for m in catalogue.mechanisms if m.slug in probability]
    return Posterior(
        p_healthy=float(joint.reshape(-1)[0]),
        p_unknown=probability[UNKNOWN],
        mechanisms={slug: probability[slug] for slug in names},
        pairs=_pair_table(pruned.causes, pairs),
        places={
            slug: locate(catalogue.mechanism(slug), evidence, catalogue)
            for slug in names
            if probability[slug] > LOCATE_ABOVE and catalogue.mechanism(slug).layered
        },
        bayes_factors=_bayes_factors(network, probability),
        surprise=surprise,
    )


def screen(network: Network) -> tuple[NDArray[np.bool_], Array, float]:
    """Return sets of causes, their posterior weights, and the surprise in nats per event type."""
    members, score = enumerate_sets(network, LARGEST_SET)
    weights = np.exp(score - score.max())
    surprise = -float(score.max()) / max(len(network.events), 1)
    return members, weights / weights.sum(), surprise


def marginals(joint: Array) -> tuple[Array, Array]:
    """Return P(on) of every axis and P(both on) of every pair of axes of a joint table."""
    count = joint.ndim
    both = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            place = tuple(1 if axis in (i, j) else slice(None) for axis in range(count))
            both[i, j] = float(np.sum(joint[place]))
    return np.diag(both).copy(), both


def _prune(rough: Array) -> list[int]:
    """Return the causes worth keeping, in their order; unknown_cause, the last, always."""
    last = rough.size - 1
    ranked = [int(i) for i in np.argsort(-rough, kind="stable") if i != last]
    kept = [i for i in ranked[:KEEP_MOST] if rough[i] > KEEP_ABOVE] or ranked[:1]
    return [*sorted(kept), last]


def _pair_table(causes: tuple[str, ...], both: Array) -> dict[tuple[str, str], float]:
    return {
        (a, b): float(both[i, j])
        for i, a in enumerate(causes)
        for j, b in enumerate(causes)
        if i < j
    }


def _bayes_factors(network: Network, probability: Mapping[str, float]) -> dict[str, float]:
    factors = {}
    for cause, prior in zip(network.causes, network.asked, strict=True):
        p = min(max(probability[cause], 1e-12), 1 - 1e-12)
        factors[cause] = (p / (1 - p)) / (prior / (1 - prior))
    return factors
