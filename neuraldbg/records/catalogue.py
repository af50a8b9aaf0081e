"""Knowledge as records: detectors, mechanisms, their effects, and the catalogue that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from neuraldbg.records.event import EventKind
from neuraldbg.records.learned import Learned

__all__ = ["NETWORK", "Catalogue", "Detector", "Effect", "Mechanism", "Spread"]

# Where a mechanism sits that is in no layer in particular.
NETWORK = "the whole network"
Spread = Literal["none", "forward", "backward", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One threshold on one derived signal; where it is passed, a semantic event is born.

    Attributes
    ----------
    name
        Event name, the node of the mechanism network.
    kind
        Family of the event.
    reads
        Name of the derived signal (``signals`` stage).
    threshold
        In the signal's own unit.
    side
        ``"above"`` or ``"below"`` the threshold is abnormal.
    scale
        ``"log"``: strength is measured in decades; ``"linear"``: in units of the threshold.
    patience
        Consecutive measured points that must be abnormal.
    until
        Only points with a step below this count (None: all); ``0`` onset facts use ``until=1``.
    since
        Only points with a step of at least this count.
    before, after
        Regime words.
    failure
        Failure kind that users know it by, or None.
    leak
        Probability that the event is seen with none of its listed causes active (healthy runs included).
    limit
        Largest value that the signal can take (a share, a cosine); None if it has none. Evidence that is as
        far past its threshold as the signal can go counts in full.
    reliability
        Confidence of the detection: 1 for an exact invariant.
    deliberate
        Whether people do this on purpose in healthy programs: how often is not for a corpus to say, and the leak
        stays the expert's.
    cumulative
        Whether it builds up over many steps: it says that something is so, not since when.
    unlisted
        Link of a cause that the catalogue does not list; None for what such a cause does to the loss and to the
        network in general.
    fatal
        Whether no healthy run shows it: what no listed cause explains is then unknown, and not healthy.
    meaning
        One clause that completes "because …".
    source
        Where the threshold comes from.
    """

    name: str
    kind: EventKind
    reads: str
    threshold: float
    side: Literal["above", "below"] = "above"
    scale: Literal["log", "linear"] = "log"
    patience: int = 1
    until: int | None = None
    since: int = 0
    before: str = "healthy"
    after: str
    failure: str | None = None
    leak: float = 0.02
    limit: float | None = None
    reliability: float = 0.9
    unlisted: float | None = None
    deliberate: bool = False
    cumulative: bool = False
    fatal: bool = False
    meaning: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One mechanism makes one event likely.

    Attributes
    ----------
    event
        Detector name.
    link
        Noisy-OR link: probability that this mechanism alone produces the event.
    local
        True if the event is expected *at* the layer where the mechanism sits.
    """

    event: str
    link: float
    local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """A declared cause of failure, one variable of the network.

    Attributes
    ----------
    slug
        Public name, design contract.
    variant
        One mechanism may come about in ways that share no evidence (a rate that jumps, a rate that dies):
        each way is a record of its own under the same slug, and a cause of its own in the network.
    claim
        Completes "likely due to …".
    story
        Two sentences: what happens, in which order and direction.
    prior
        Probability among runs that somebody asks to debug.
    effects
        Events that it causes.
    forbids
        Events that it makes *less* likely, with the factor that its odds are multiplied by when the event is
        seen: exact refutations (``link`` is that factor, below 1).
    requires
        Context flags without which the mechanism is impossible (``has_norm``, ``optimizer_adam`` …).
    role
        ``root`` (something a person did) or ``state`` (also caused by others).
    place
        Where it sits when no layer is named: ``the optimizer``, ``the data``, ``the loss`` …
    layered
        True if the claim names a layer.
    stacked
        True if it builds up over a stack of layers: the claim then names the parts of what holds most of them.
    sites
        What happens in a module that is no layer (one that calls an operation, a part of the model) where this
        is at work, or the layer that is fed the data: the claim then names that module. Names of kinds of occurrences, of
        facts of layers, or of events of the data.
    several
        True if it may sit in several layers at once, each of which is then judged by itself.
    p_whole
        Prior probability that it sits in the whole network and not in one layer.
    spread
        Direction in which its consequences travel from its layer.
    remedy
        What to try, a format string over the numbers that ``explain`` computes.
    look_alikes
        Mechanisms that it is confused with.
    equivalents
        Mechanisms that passive evidence cannot tell from it, with the experiment that would.
    source
        Literature.
    """

    slug: str
    claim: str
    story: str
    prior: float
    effects: tuple[Effect, ...]
    forbids: tuple[Effect, ...] = ()
    variant: str = ""
    requires: tuple[str, ...] = ()
    role: Literal["root", "state"] = "root"
    place: str = NETWORK
    layered: bool = False
    stacked: bool = False
    sites: tuple[str, ...] = ()
    several: bool = False
    p_whole: float = 0.15
    spread: Spread = "none"
    remedy: str
    look_alikes: tuple[str, ...] = ()
    equivalents: tuple[tuple[str, str], ...] = ()
    source: str

    @property
    def key(self) -> str:
        """Name of this cause in the network: ``slug`` or ``slug/variant``."""
        return f"{self.slug}/{self.variant}" if self.variant else self.slug

    @property
    def fills(self) -> bool:
        """Whether it may fill a network: where it is at no single layer it is in all, and not outside of them."""
        return self.layered and self.place == NETWORK and not (self.several or self.stacked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Detectors and mechanisms: a value that is passed in, never a global.

    Attributes
    ----------
    detectors, mechanisms
        The knowledge; names and keys are unique.
    p_unknown
        Prior probability that the cause is none of these.
    unknown_link
        Probability with which an unlisted cause produces any one event of the loss.
    weights
        Event to the exponent that discounts it as evidence because it is correlated with others; 1 if absent.
    unknown_links
        Event to the link of an unlisted cause; replaces ``unknown_link`` where present.
    version
        Of the signals and the event stage: what a detector's threshold is compared with.
    learned
        What the numbers were learned from; None for the experts' own.
    """

    detectors: tuple[Detector, ...]
    mechanisms: tuple[Mechanism, ...]
    p_unknown: float = 0.02
    unknown_link: float = 0.25
    weights: Mapping[str, float] = field(default_factory=dict)
    unknown_links: Mapping[str, float] = field(default_factory=dict)
    version: str = "0"
    learned: Learned | None = None

    @property
    def calibrated(self) -> bool:
        """Whether the probabilities were learned for exactly these detectors and mechanisms."""
        learned = self.learned
        if learned is None or learned.detectors != self.fingerprint():
            return False
        return {m.key for m in self.mechanisms} == set(learned.priors) - {"unknown_cause"}

    def detector(self, name: str) -> Detector:
        """Return the detector with this name."""
        return next(d for d in self.detectors if d.name == name)

    def mechanism(self, key: str) -> Mechanism:
        """Return the mechanism with this key, or the first variant of this slug."""
        return next(m for m in self.mechanisms if key in {m.key, m.slug})

    def slugs(self) -> tuple[str, ...]:
        """Return every slug once, in order."""
        return tuple(dict.fromkeys(m.slug for m in self.mechanisms))

    def with_(
        self,
        *,
        detectors: Iterable[Detector] = (),
        mechanisms: Iterable[Mechanism] = (),
    ) -> Catalogue:
        """Return a catalogue with these entries added; an entry of the same name is replaced."""
        by_name = {d.name: d for d in (*self.detectors, *detectors)}
        by_slug = {m.key: m for m in (*self.mechanisms, *mechanisms)}
        return replace(self, detectors=tuple(by_name.values()), mechanisms=tuple(by_slug.values()))

    def unlisted_link(self, detector: Detector) -> float | None:
        """Return how likely, by the experts, a cause that is not listed shows as an event; None if it does not.

        It is known by what it does to the loss; it predicts no particular state of the network.
        """
        if detector.unlisted is not None:
            return detector.unlisted
        if detector.failure is None:
            return None
        return self.unknown_link if detector.kind == "loss_dynamics" else self.unknown_link / 4

    def fingerprint(self) -> str:
        """Return a hash of everything that decides when a detector fires."""
        parts = [
            (d.name, d.reads, d.threshold, d.side, d.scale, d.patience, d.until, d.since, d.limit)
            for d in self.detectors
        ]
        text = repr(
            (
                self.version,
                [(*part, d.reliability) for part, d in zip(parts, self.detectors, strict=True)],
            )
        )
        return sha256(text.encode()).hexdigest()[:16]

    def refined(self, learned: Learned) -> Catalogue:
        """Return the catalogue with learned numbers in place of the experts' wherever there are any."""
        return replace(
            self,
            detectors=tuple(
                replace(d, leak=learned.leaks.get(d.name, d.leak)) for d in self.detectors
            ),
            mechanisms=tuple(_refined(m, learned) for m in self.mechanisms),
            p_unknown=learned.priors.get("unknown_cause", self.p_unknown),
            weights=learned.weights,
            unknown_links=learned.links.get("unknown_cause", {}),
            learned=learned,
        )


def _refined(mechanism: Mechanism, learned: Learned) -> Mechanism:
    links = learned.links.get(mechanism.key)
    if links is None:
        return mechanism
    local = {e.event for e in mechanism.effects if e.local}
    factors = learned.factors.get(mechanism.key, {})
    return replace(
        mechanism,
        prior=learned.priors.get(mechanism.key, mechanism.prior),
        effects=tuple(Effect(event=e, link=p, local=e in local) for e, p in links.items()),
        forbids=tuple(Effect(event=e, link=p) for e, p in factors.items()),
        p_whole=learned.location.whole.get(mechanism.slug, mechanism.p_whole),
    )
