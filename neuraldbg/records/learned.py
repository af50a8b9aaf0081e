"""Parameters learned on the fault-injection corpus, and what they were learned for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ClaimMap", "Learned", "LocationWeights", "OnsetError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationWeights:
    """Parameters that every location network shares.

    Attributes
    ----------
    propagated, elsewhere, everywhere
        Probability of a finding at a layer that the origin reaches, at one that it does not reach, and at any
        layer when the mechanism acts on the whole network.
    lateness
        Nats that a layer loses per tolerance by which its first finding comes later than the earliest.
    strength
        Nats that a layer gains per decade of its strongest finding.
    flow
        Nats that a layer gains for lying first in the direction in which the mechanism spreads.
    whole
        Slug to the prior probability that the mechanism acts on the whole network; others use their record's.
    """

    propagated: float = 0.5
    elsewhere: float = 0.05
    everywhere: float = 0.85
    lateness: float = 1.0
    strength: float = 1.0
    flow: float = 0.0
    whole: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMap:
    """Logistic map from the network's log odds of a claim to its stated probability.

    ``p = cap * sigmoid(slope * logit(posterior) + offset - novelty * excess)``, where ``excess`` is by how much
    the surprise passes ``usual`` (nats per event type), the 95th percentile of the corpus. Fitted on what was said of
    programs by strangers at first sight (``benchmarks/learning/strangers.py``).
    """

    slope: float = 1.0
    offset: float = 0.0
    novelty: float = 0.0
    usual: float = 1.0
    cap: float = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class OnsetError:
    """How far the stated onset lies from the true one: quantiles in steps and as a share of the step.

    ``coverage`` is the share of held-out runs whose true onset lay in the stated interval.
    """

    early: int = 0
    late: int = 0
    share: float = 0.0
    coverage: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Noisy-OR parameters refined by conditional likelihood; replaces the experts' numbers.

    Attributes
    ----------
    detectors
        ``Catalogue.fingerprint()`` of the detectors that they were learned for.
    corpus
        Hash of the evidence table that they were learned on.
    links, factors
        Cause key to event to noisy-OR link, and to the factor on the prior odds when the event is seen.
    priors
        Cause key to prior probability; ``unknown_cause`` too.
    leaks, weights
        Event to leak, and to the exponent that discounts correlated evidence.
    location, claim, onset
        Of the later stages.
    """

    detectors: str
    corpus: str
    links: Mapping[str, Mapping[str, float]]
    factors: Mapping[str, Mapping[str, float]]
    priors: Mapping[str, float]
    leaks: Mapping[str, float]
    weights: Mapping[str, float]
    location: LocationWeights = field(default_factory=LocationWeights)
    claim: ClaimMap = field(default_factory=ClaimMap)
    onset: OnsetError = field(default_factory=OnsetError)
