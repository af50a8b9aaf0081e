"""Random topologies, events and networks for the laws."""

from __future__ import annotations

from hypothesis import strategies as st

from neuraldbg.records.event import EVENT_KINDS, FAILURE_KINDS
from neuraldbg.records.recording import LayerInfo, Topology
from tests import builders

NAMES = tuple("abcdefgh")
EVENTS = tuple("uvwxyz")
DETECTORS = [
    builders.detector(
        name,
        kind="loss_dynamics" if name in "uv" else "activation_regime",
        failure="loss_spike" if name in "uvw" else None,
        leak=leak,
    )
    for name, leak in zip(EVENTS, (0.001, 0.02, 0.05, 0.1, 0.2, 0.01), strict=True)
]
probability = st.floats(0.01, 0.99)


@st.composite
def topologies(draw) -> Topology:
    """Return up to eight layers in execution order with forward edges only."""
    count = draw(st.integers(1, len(NAMES)))
    layers = tuple(
        LayerInfo(name=NAMES[i], type="Linear", kind="linear", order=i) for i in range(count)
    )
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    fed = {b for _, b in edges}
    outputs = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=2))
    return Topology(
        layers=layers,
        edges=tuple(sorted(edges)),
        inputs=tuple(i for i in range(count) if i not in fed),
        outputs=tuple(outputs),
    )


@st.composite
def events(draw, topology: Topology, most: int = 14):
    """Return events anywhere in the network, or run-wide, at any time; no two share an id."""
    made = {}
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(EVENT_KINDS))
        layer = draw(st.sampled_from([None, *(x.name for x in topology.layers)]))
        first = draw(st.integers(0, 60))
        event = builders.event(
            draw(st.sampled_from(EVENTS)) + kind[:2],
            kind,
            layer=layer,
            first=first,
            last=first + draw(st.integers(0, 30)),
            failure=draw(st.sampled_from([None, *FAILURE_KINDS])),
            confidence=draw(st.sampled_from([0.3, 0.9, 1.0])),
            strength=draw(st.floats(0, 5)),
        )
        made[event.id] = event
    return tuple(made.values())


@st.composite
def small_networks(draw):
    """Return a catalogue of at most five mechanisms over six events, and evidence of some of them."""
    mechanisms = []
    for i in range(draw(st.integers(1, 5))):
        chosen = draw(st.lists(st.sampled_from(EVENTS), min_size=1, unique=True))
        links = {event: draw(probability) for event in chosen}
        refuting = draw(st.lists(st.sampled_from(EVENTS), max_size=1))
        mechanisms.append(
            builders.mechanism(
                f"m{i}",
                links,
                prior=draw(st.floats(0.01, 0.5)),
                forbids=builders.mechanism("x", dict.fromkeys(refuting, 0.2)).effects,
            )
        )
    findings = []
    for name in draw(st.lists(st.sampled_from(EVENTS), unique=True)):
        weight = draw(st.one_of(st.just(1.0), st.floats(0.05, 1.0)))
        findings.append(builders.finding(name, draw(st.booleans()), weight=weight))
    catalogue = builders.catalogue(DETECTORS, mechanisms, p_unknown=draw(st.floats(0.01, 0.3)))
    return catalogue, builders.evidence(*findings)
