"""What the events say to the network: every event type, whether it could be seen, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Evidence", "Finding", "LocatedFinding", "Posterior"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFinding:
    """One event type at one layer.

    ``onset`` is its first step, ``strength`` how far past the threshold (decades).
    """

    layer: str
    onset: int
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One event type of one run, all its occurrences folded into one.

    Attributes
    ----------
    event
        Detector name.
    present
        Whether it was seen at all.
    weight
        Reliability in (0, 1] of what was seen: soft evidence; 1 counts in full.
    onset
        First step; None when absent.
    at
        Where it was seen, earliest first; empty for run-wide events.
    """

    event: str
    present: bool
    weight: float = 1.0
    onset: int | None = None
    at: tuple[LocatedFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Findings of the observed event types only; an unobserved type is not in ``findings``.

    Attributes
    ----------
    findings
        Event name to finding.
    context
        Context flags that hold: ``has_norm``, ``has_attention``, ``optimizer_adam``, ``fp16`` …
    layers
        Dotted names in execution order.
    edges
        ``(source, target)`` dataflow between those names.
    judged
        Event name to the layers at which it could have been seen; absent means all of ``layers``.
    sites
        What happened and the layer before it, None for the run, to the dotted name of the module that it happened in.
    """

    findings: Mapping[str, Finding]
    context: frozenset[str] = frozenset()
    layers: tuple[str, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    judged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sites: Mapping[tuple[str, str | None], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Probabilities of every mechanism and pair, and of the places of each.

    Attributes
    ----------
    p_healthy
        Probability that no mechanism is active.
    p_unknown
        Probability that an unlisted cause is active.
    mechanisms
        Slug to the probability that any of its variants is active; a mechanism that the context rules out
        is absent.
    variants
        Slug to the key of its most probable variant.
    pairs
        ``(slug, slug)`` in catalogue order to the probability that both are active.
    places
        Slug to ``{layer or None: P(place | mechanism)}``; only mechanisms with a noticeable posterior.
    bayes_factors
        Slug to P(evidence | active) / P(evidence | not active), all else marginalised.
    surprise
        Minus log probability of the evidence under its best explanation, in nats per event type.
    """

    p_healthy: float
    p_unknown: float
    mechanisms: Mapping[str, float]
    variants: Mapping[str, str] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    places: Mapping[str, Mapping[str | None, float]] = field(default_factory=dict)
    bayes_factors: Mapping[str, float] = field(default_factory=dict)
    surprise: float = 0.0
