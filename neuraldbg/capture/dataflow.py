"""Which layer feeds which, as it was seen: with a gradient or without, once or in every step of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from neuraldbg.capture.topology import OUTSIDE, has_cycle, leading_out

__all__ = ["Dataflow"]

# A part of the steps from which on what runs beside their passes belongs to them.
OFTEN = 0.5


class Dataflow:
    """Collects, over the sampled steps, from which layers every layer is fed."""

    def __init__(self) -> None:
        self.edges: set[tuple[int, int]] = set()
        # Layers that only ran without gradients, and feed others; those whose output was cut off from the graph, or
        # went into an operation with one that has a gradient.
        self.apart, self.severed, self.met = set[int](), set[int](), set[int]()
        # Layers by whose output it was chosen what others work on, or that was cut off and went into what has a gradient.
        self.chose = set[int]()
        # Layers of which a parameter was taken out of the graph before it was used.
        self.detached = set[int]()
        # Edges by which one layer alone feeds another: taken with a gradient, and where one was asked for and is cut off.
        self._with, self._without = set[tuple[int, int]](), set[tuple[int, int]]()
        # How often a layer is called within one step, at most; in how many steps it ran beside the passes that train.
        self._calls: dict[int, int] = {}
        self._beside, self._steps = Counter[int](), 0
        # Whether some layer is fed by what it gave before, directly or through others; how many edges said so.
        self._itself, self._looked, self._recurs = False, 0, False

    def link(self, sources: Collection[int], layer: int, *, cut: bool, wanted: bool) -> None:
        """Note which layers feed one.

        Parameters
        ----------
        sources
            Layers that a tensor came from.
        layer
            The one that takes it.
        cut
            Whether a gradient was asked for, and cannot come back through that tensor.
        wanted
            Whether a gradient can.
        """
        new = {(source, layer) for source in sources if source != layer}
        self.edges |= new
        self._itself = self._itself or layer in sources
        if cut:
            self.severed.update(sources)
        if len(sources) == 1 and cut:
            self._without |= new
        elif len(sources) == 1 and wanted:
            self._with |= new

    def count(self, calls: Mapping[int, int], aside: Collection[int]) -> None:
        """Take how often every layer was called in a step, and which ran without gradients outside of its passes."""
        self._steps += 1
        self._beside.update(aside)
        for layer, number in calls.items():
            self._calls[layer] = max(number, self._calls.get(layer, 0))

    def without_gradient(self) -> set[int]:
        """Return the layers that only ran without gradients, if they feed others or ran so for most of the steps.

        What a loop evaluates now and then runs in few of them.
        """
        often = {i for i, steps in self._beside.items() if steps > OFTEN * self._steps}
        return self.apart | (often - self._calls.keys())

    def forget(self, layers: set[int]) -> None:
        """Take layers out that were never seen to train, and keep which of them feed others."""
        self.apart |= leading_out(layers, [*self.edges, *((i, OUTSIDE) for i in self.met)])
        self.edges -= {edge for edge in self.edges if not layers.isdisjoint(edge)}

    def is_recurrent(self) -> bool:
        """Return whether calls of a layer are steps of time: views, pairs and triplets of inputs are not.

        Where no dataflow was seen, as in a part that was compiled, they are taken for it.
        """
        if len(self.edges) != self._looked:
            self._looked, self._recurs = len(self.edges), has_cycle(self.edges)
        return self._itself or self._recurs or not self.edges

    def players(self) -> int:
        """Return how many layers hand what they give to another both ways, to be taught by it and to teach it.

        A generator does so under the optimizer that also steps its judge: the judge learns from an output that is
        cut off from the graph, the generator from the same one that is not; nothing else is in it. The judge is called
        more often, since it judges what is real as well. A state that is cut off every so many steps of time is handed
        on both ways, too, and asks its cell as often as it is asked.
        """
        both = self._with & self._without
        return len({a for a, b in both if self._calls.get(b, 0) > self._calls.get(a, 0) > 0})
