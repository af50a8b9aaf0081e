"""Signals of the module graph itself: places that everything has to pass."""

from __future__ import annotations

from collections.abc import Container, Iterable

from neuraldbg.records.recording import LayerInfo, Recording, Topology
from neuraldbg.records.signals import Series
from neuraldbg.signals.view import Links, links, readers_of, scalar_series

__all__ = ["beyond", "last_layers", "normalized_after", "passed_by", "sources", "structure_signals"]

WEIGHTED = frozenset({"linear", "conv", "recurrent", "attention"})


def structure_signals(recording: Recording) -> dict[str, Series]:
    """Return the width of the narrowest layer that everything passes on its way to the output.

    The last layers are left out, whose width is the task's, and so are convolutions: an image passes them at every
    position. Absent where no such layer is known.
    """
    topology = recording.topology
    follows, weighted = readers_of(topology), _weighted(topology)
    fed = set().union(*follows.values()) if follows else set()
    first = {i for i, x in enumerate(topology.layers) if x.order >= 0 and i not in fed}
    last = _last(follows, weighted)
    passed = [
        width
        for i in weighted - last
        if (width := _width(topology.layers[i])) and not beyond(follows, first, without=i) & last
    ]
    return {"narrowest_passage": scalar_series(0, float(min(passed)))} if passed else {}


def last_layers(topology: Topology) -> frozenset[int]:
    """Return the layers with weights that no other such layer follows; none where it is not known what follows what."""
    follows = readers_of(topology)
    return frozenset(_last(follows, _weighted(topology)) if follows else ())


def sources(topology: Topology, kinds: Container[str] = WEIGHTED) -> Links:
    """Return, by layer, the layers of some kinds that feed it without another such layer between."""
    weighted, found = _weighted(topology, kinds), Links()
    follows = readers_of(topology)
    for layer in weighted:
        ahead, seen = [layer], {layer}
        while ahead:
            for target in follows.get(ahead.pop(), set()) - seen:
                seen.add(target)
                found.setdefault(target, set()).add(layer)
                if target not in weighted:
                    ahead.append(target)
    return found


def passed_by(topology: Topology) -> frozenset[int]:
    """Return the layers that end a branch: wherever their output goes, so does something that fed them.

    It goes where weights are: what a module without them takes from a branch alone, it hands on.
    """
    # Sets of layers as bits: a deep residual stack has as many arrows as pairs of layers.
    before = dict.fromkeys(range(len(topology.layers)), 0)
    for source, target in sorted(topology.edges, key=lambda e: topology.layers[e[0]].order):
        before[target] |= before[source] | 1 << source
    kinds = WEIGHTED | {"embedding"}
    weighted = _weighted(topology, kinds)
    found = {i: feeders for i, feeders in sources(topology, kinds).items() if i in weighted}
    fed = {reader: sum(1 << i for i in feeders) for reader, feeders in found.items()}
    readers = links((layer, reader) for reader, feeders in found.items() for layer in feeders)
    return frozenset(
        layer for layer, ahead in readers.items() if all(fed[r] & before[layer] for r in ahead)
    )


def normalized_after(topology: Topology) -> frozenset[str]:
    """Return the names of layers whose output is normalized and goes nowhere else: its scale does not matter.

    What several read, be they normalizations all, is a stream that branches add to: if it is too large, they count for
    nothing.
    """
    layers = topology.layers
    return frozenset(
        layers[i].name
        for i, readers in readers_of(topology).items()
        if len(readers) == 1 and all(layers[r].kind == "norm" for r in readers)
    )


def _weighted(topology: Topology, kinds: Container[str] = WEIGHTED) -> set[int]:
    return {i for i, x in enumerate(topology.layers) if x.kind in kinds and x.order >= 0}


def _last(follows: Links, weighted: set[int]) -> set[int]:
    return {i for i in weighted if not (beyond(follows, [i]) & weighted)}


def _width(layer: LayerInfo) -> int:
    """Return the units of a layer, 0 where it is not known."""
    width = layer.config.get("out_features", layer.config.get("hidden_size"))
    return width if isinstance(width, int) else 0


def beyond(follows: Links, start: Iterable[int], *, without: int = -1) -> set[int]:
    """Return the layers that can be reached from some without passing one.

    Parameters
    ----------
    follows
        Layer to those that come next, in whichever direction.
    start
        Where to begin; these are in the answer only if they can be reached themselves.
    without
        Not passed, and not in the answer.
    """
    ahead = [i for i in start if i != without]
    seen: set[int] = set()
    while ahead:
        new = follows.get(ahead.pop(), set()) - seen - {without}
        seen |= new
        ahead += new
    return seen
