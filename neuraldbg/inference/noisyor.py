"""The mechanism network as arrays: leaky noisy-OR parameters of the observed events, and exact enumeration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from neuraldbg.errors import PriorError, UnknownNameError
from neuraldbg.records.catalogue import Catalogue, Detector, Mechanism
from neuraldbg.records.evidence import Evidence

__all__ = [
    "UNKNOWN",
    "Network",
    "build",
    "enumerate_sets",
    "event_log_likelihood",
    "joint_by_enumeration",
    "prior_table",
]

Array = NDArray[np.float64]

UNKNOWN = "unknown_cause"
# No probability of the network is closer to 0 or 1 than this: a certain table cannot be argued with.
CLIP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Noisy-OR parameters for one run's evidence.

    Attributes
    ----------
    causes
        Keys of mechanism variants, ``unknown_cause`` last; the first axis of ``links``.
    prior
        Shape ``(M,)``; prior probability of each cause, refutations already applied.
    asked
        Shape ``(M,)``; prior before refutations, for Bayes factors.
    events
        Names of the observed event types.
    links
        Shape ``(M, E)``.
    leak, weight, present
        Shape ``(E,)``.
    """

    causes: tuple[str, ...]
    prior: Array
    asked: Array
    events: tuple[str, ...]
    links: Array
    leak: Array
    weight: Array
    present: NDArray[np.bool_]

    def keep(self, chosen: list[int]) -> Network:
        """Return the network of a choice of causes."""
        return Network(
            causes=tuple(self.causes[i] for i in chosen),
            prior=self.prior[chosen],
            asked=self.asked[chosen],
            events=self.events,
            links=self.links[chosen],
            leak=self.leak,
            weight=self.weight,
            present=self.present,
        )


def build(evidence: Evidence, catalogue: Catalogue, priors: Mapping[str, float] | None) -> Network:
    """Return the network of the mechanisms that the context allows and the events that were observed.

    Raises
    ------
    UnknownNameError
        If ``priors`` names a mechanism that the catalogue does not hold.
    PriorError
        If a prior lies outside (0, 1).
    """
    table = prior_table(catalogue, priors or {})
    allowed = [m for m in catalogue.mechanisms if set(m.requires) <= evidence.context]
    observed = [d for d in catalogue.detectors if d.name in evidence.findings]
    column = {d.name: j for j, d in enumerate(observed)}
    links = np.zeros((len(allowed) + 1, len(observed)))
    for i, mechanism in enumerate(allowed):
        for effect in mechanism.effects:
            if effect.event in column:
                links[i, column[effect.event]] = effect.link
    links[-1] = [_unknown_link(d, catalogue) for d in observed]
    asked = np.array([*(table[m.key] for m in allowed), table[UNKNOWN]])
    refuted = np.array([*(_refutation(m, evidence) for m in allowed), 1.0])
    odds = asked / (1 - asked) * refuted
    findings = [evidence.findings[d.name] for d in observed]
    return Network(
        causes=(*(m.key for m in allowed), UNKNOWN),
        prior=np.clip(odds / (1 + odds), 1e-9, 1 - CLIP),
        asked=asked,
        events=tuple(column),
        links=np.clip(links, 0.0, 1 - CLIP),
        leak=np.clip(np.array([d.leak for d in observed]), CLIP, 1 - CLIP),
        weight=np.array([f.weight * catalogue.weights.get(f.event, 1.0) for f in findings]),
        present=np.array([f.present for f in findings], bool),
    )


def _unknown_link(detector: Detector, catalogue: Catalogue) -> float:
    """Return how likely a cause outside the catalogue shows as this event."""
    if catalogue.unknown_links:
        return catalogue.unknown_links.get(detector.name, 0.0)
    return catalogue.unlisted_link(detector) or 0.0


def prior_table(catalogue: Catalogue, overrides: Mapping[str, float]) -> dict[str, float]:
    """Return the prior of every cause by key, with these slugs or keys replaced.

    Raises
    ------
    UnknownNameError
        If a name is no mechanism of the catalogue.
    PriorError
        If a prior lies outside (0, 1).
    """
    table = {m.key: m.prior for m in catalogue.mechanisms} | {UNKNOWN: catalogue.p_unknown}
    for slug, value in overrides.items():
        keys = [m.key for m in catalogue.mechanisms if m.slug == slug] or [slug]
        if keys[0] not in table:
            raise UnknownNameError(slug, "mechanism", (*catalogue.slugs(), UNKNOWN))
        if not 0.0 < value < 1.0:
            msg = f"the prior of {slug!r} must lie between 0 and 1 (exclusive), got {value!r}"
            raise PriorError(msg)
        total = sum(table[key] for key in keys)
        table |= {key: float(value) * table[key] / total for key in keys}
    return table


def _refutation(mechanism: Mechanism, evidence: Evidence) -> float:
    factor = 1.0
    for effect in mechanism.forbids:
        finding = evidence.findings.get(effect.event)
        if finding is not None and finding.present:
            factor *= effect.link**finding.weight
    return factor


def event_log_likelihood(members: NDArray[np.bool_], network: Network) -> Array:
    """Return the log-likelihood of the evidence under sets of active causes.

    An event of weight w counts as soft evidence: ``P(what was seen | causes)^w``.

    Parameters
    ----------
    members
        Shape ``(N, M)``; which causes are active.
    network
        Holds links, leaks, weights and what was seen.

    Returns
    -------
    ndarray
        Shape ``(N,)``.
    """
    active = members.astype(float)
    quiet, blocked = np.log1p(-network.leak), np.log1p(-network.links)
    seen, weight = network.present, network.weight
    # Absent events factorise over causes: one number a cause holds all of them.
    absent = active @ (blocked[:, ~seen] @ weight[~seen]) + quiet[~seen] @ weight[~seen]
    silent = quiet[seen] + active @ blocked[:, seen]
    return np.asarray(absent + np.log(-np.expm1(silent)) @ weight[seen])


@lru_cache(maxsize=32)
def _sets(count: int, largest: int) -> NDArray[np.bool_]:
    """Return every choice of at most ``largest`` among ``count``, shape ``(N, count)``, smallest first."""
    parts = [np.zeros((1, count), bool)]
    for size in range(1, min(largest, count) + 1):
        chosen = np.array(list(combinations(range(count), size)))
        part = np.zeros((len(chosen), count), bool)
        np.put_along_axis(part, chosen, values=True, axis=1)
        parts.append(part)
    found = np.concatenate(parts)
    found.flags.writeable = False
    return found


def enumerate_sets(network: Network, largest: int) -> tuple[NDArray[np.bool_], Array]:
    """Return every set of at most ``largest`` active causes and its log joint with the evidence.

    Returns
    -------
    members
        Shape ``(N, M)``, bool, read-only.
    score
        Shape ``(N,)``; log P(set, evidence), exact for each set.
    """
    members = _sets(len(network.causes), largest)
    log_odds = np.log(network.prior) - np.log1p(-network.prior)
    prior = members @ log_odds + np.log1p(-network.prior).sum()
    return members, prior + event_log_likelihood(members, network)


def joint_by_enumeration(network: Network) -> Array:
    """Return P(causes | evidence) over all on/off states, shape ``(2,) * M``, by direct summation.

    The same table that pgmpy answers with: the oracle of the tests, and fast enough for thousands of runs.
    """
    members, score = enumerate_sets(network, len(network.causes))
    joint = np.zeros((2,) * len(network.causes))
    joint[tuple(members.T.astype(np.intp))] = np.exp(score - score.max())
    return np.asarray(joint / joint.sum())
