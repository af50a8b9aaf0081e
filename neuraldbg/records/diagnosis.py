"""The answers: hypotheses, chains, couplings, explanations and the diagnosis that holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from neuraldbg.records.event import SemanticEvent, StepSpan
from neuraldbg.records.names import clause, in_words
from neuraldbg.records.recording import Unobserved

__all__ = [
    "CausalChain",
    "CausalEdge",
    "CausalHypothesis",
    "Coupling",
    "Coverage",
    "Diagnosis",
    "EventGraph",
    "Explanation",
]


# Where a cause sits that no layer is to blame for.
DATA = "the data"


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalEdge:
    """An arrow of the event graph: ``source`` may have led to ``target``.

    ``source`` and ``target`` are event ids; ``probability`` is that of the target given the source,
    ``lag`` in optimizer steps, ``direction`` one of ``forward``, ``backward``, ``update``, ``data``,
    ``loss``, ``local``.
    """

    source: str
    target: str
    probability: float
    lag: int
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventGraph:
    """Events and arrows; acyclic, arrows never point back in time.

    ``events`` are in time order; ``layers`` names all layers in the order of execution.
    """

    events: tuple[SemanticEvent, ...] = ()
    edges: tuple[CausalEdge, ...] = ()
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalChain:
    """A path root to symptom in the event graph; ``edges[i]`` leads from ``events[i]`` to the next.

    ``failure`` is what was asked; an empty chain has ``reason``.
    """

    failure: str
    events: tuple[SemanticEvent, ...] = ()
    edges: tuple[CausalEdge, ...] = ()
    probability: float = 0.0
    reason: str = ""

    def __iter__(self) -> Iterator[SemanticEvent]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __str__(self) -> str:
        if not self.events:
            return f"no causal chain to {self.failure}: {self.reason}"
        lines = [_event_line(self.events[0])]
        for edge, event in zip(self.edges, self.events[1:], strict=True):
            unit = "step" if edge.lag == 1 else "steps"
            when = f"+{edge.lag} {unit}" if edge.lag else "same step"
            arrow = f"  └─{edge.direction}, p={edge.probability:.2f}, {when}─▶ "
            lines.append(arrow + _event_line(event))
        return "\n".join(lines)


def _event_line(event: SemanticEvent) -> str:
    # A plateau is known when the run ends; what led to it may have begun at any step before.
    ends = event.failure == "loss_plateau" and event.span.length > 1
    when = f"until step {event.span.stop - 1}" if ends else f"step {event.span.first}"
    return f"{when}: {event.after}{clause(event.layer)} ({event.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalHypothesis:
    """The claim "this mechanism, at this layer, from this step" and what speaks for it.

    Attributes
    ----------
    mechanism
        Slug.
    layer
        Dotted module name, empty for the model itself; None = data, loss, optimizer, or no layer in particular. Of
        inputs that are off scale it is the layer that is fed them, where one was seen.
    others
        Dotted names of further layers that the mechanism sits in, in the order of execution.
    step, steps
        Onset, and the interval that it lies in.
    probability
        Of the joint claim mechanism and layer.
    p_mechanism
        Of the mechanism alone.
    bayes_factor
        How many times likelier the evidence is with the mechanism than without; free of the prior.
    evidence_for, evidence_against, not_observed
        Clauses: what was seen, what was expected and not seen, what could not be looked at.
    remedy
        What to try, with numbers from this run.
    equivalent_to
        Mechanisms that passive evidence cannot tell from it.
    experiment
        The cheapest experiment that would split them; empty if there are none.
    calibrated
        Whether ``probability`` was calibrated, with programs by strangers as they were judged at first sight.
    symptom, failure
        The failure that opens the sentence, in words and as a failure kind.
    place
        Where it sits when no layer is named.
    look_alikes
        Mechanisms that it is confused with.
    event_ids
        Events that speak for it, the most telling first.
    claim
        Clause that completes "likely due to".
    story
        What happens, in which order.
    direction
        The way in which its consequences travel, in words.
    role
        ``root`` (something a person did) or ``state`` (which others can cause).
    """

    mechanism: str
    layer: str | None
    step: int
    steps: StepSpan
    probability: float
    p_mechanism: float
    others: tuple[str, ...] = ()
    bayes_factor: float = 1.0
    evidence_for: tuple[str, ...] = ()
    evidence_against: tuple[str, ...] = ()
    not_observed: tuple[str, ...] = ()
    remedy: str = ""
    equivalent_to: tuple[str, ...] = ()
    experiment: str = ""
    calibrated: bool = False
    symptom: str = ""
    failure: str = ""
    place: str = "the whole network"
    look_alikes: tuple[str, ...] = ()
    claim: str = ""
    event_ids: tuple[str, ...] = ()
    story: str = ""
    direction: str = ""
    role: str = "root"

    @property
    def where(self) -> str:
        """The place in words, further layers counted."""
        if self.layer is None:
            return self.place
        place = in_words(self.layer, self.others)
        return f"{DATA} fed to {place}" if self.place == DATA else place

    def __str__(self) -> str:
        return (
            f"{self.symptom} originated in {self.where} at step {self.step}, "
            f"likely due to {self.claim} (confidence: {self.probability:.2f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One hypothesis told to a person: ``str()`` is the sentence, ``details`` the full text."""

    hypothesis: CausalHypothesis
    sentence: str
    details: str
    chain: CausalChain | None = None

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """Two mechanisms or two events that go together.

    Attributes
    ----------
    first, second
        The one that leads, and the one that follows: mechanism slugs or event ids.
    kind
        ``"mechanisms"`` or ``"events"``.
    joint
        Probability of both.
    lift
        ``joint / (P(first) P(second))``; 1 is independence.
    lag
        Steps from the onset of the first to that of the second.
    """

    first: str
    second: str
    kind: str
    joint: float
    lift: float
    lag: int

    def __str__(self) -> str:
        if self.lag == 0:
            order = f"{self.first} together with {self.second}"
        else:
            unit = "step" if self.lag == 1 else "steps"
            order = f"{self.first} leads {self.second} by {self.lag} {unit}"
        return f"{order} (joint {self.joint:.2f}, lift {self.lift:.1f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was looked at: counts, and what was not observed and why."""

    steps: int = 0
    sampled: int = 0
    layers: int = 0
    layers_seen: int = 0
    events_judged: int = 0
    unobserved: tuple[Unobserved, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything the engine concludes of one run.

    ``reason`` says in one sentence why the verdict is what it is, also when nothing is wrong.
    """

    p_healthy: float
    p_unknown: float
    hypotheses: tuple[CausalHypothesis, ...] = ()
    events: tuple[SemanticEvent, ...] = ()
    graph: EventGraph = field(default_factory=EventGraph)
    couplings: tuple[Coupling, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    explanations: tuple[Explanation, ...] = ()
    reason: str = ""
    calibrated: bool = False
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether the run is more likely healthy than not."""
        return self.p_healthy >= 0.5
