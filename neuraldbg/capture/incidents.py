"""What happened once: the first non-finite value and where it was born, spikes that call for a closer look."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from neuraldbg.capture.losses import regressed_on
from neuraldbg.capture.params import lost
from neuraldbg.capture.provenance import find_birth
from neuraldbg.capture.sites import FINITE_VALUES, Sites
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.names import common, holds
from neuraldbg.records.recording import Fact, Occurrence

__all__ = ["Incidents"]

# A loss this many robust deviations off its recent median arms the next steps (mechanisms.md L4).
SPIKE_Z = 6.0
HISTORY, SHORTEST = 32, 8
# So many losses are judged by one look at those before them. With twice as many the look is out of date where a loss
# falls: spikes of a healthy value network were missed, and the others then looked like targets from elsewhere.
CALM = 4
# So many spikes have their targets looked at.
SPIKES = 16
# Kinds that say where a loss that is not finite came from.
BIRTHS = (
    "nonfinite_input",
    "nonfinite_parameter",
    "nonfinite_target",
    "nonfinite_forward",
    "nonfinite_gradient",
)


@dataclass(slots=True)
class RecentLosses:
    """The losses before one that is looked at, and a band in which none stands out from them.

    Attributes
    ----------
    values
        The last ones, oldest first.
    low, high
        What lies in between, ends included, stands out from none of them …
    left
        … and may be asked so many times again before that is worked out anew.
    """

    values: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    low: float = 0.0
    high: float = 0.0
    left: int = 0

    def stands_out(self, value: float) -> bool:
        """Return whether a finite loss is far from these."""
        if self.left and self.low <= value <= self.high:
            self.left -= 1
            return False
        count = len(self.values)
        if count < SHORTEST:
            return False
        ordered = sorted(self.values)
        center = ordered[count // 2]
        # The nearer quartile is no further off than the median deviation, the farther one no nearer.
        near = min(center - ordered[count // 4], ordered[-1 - count // 4] - center)
        usual = SPIKE_Z * max(0.02 * abs(center), 1e-12, 1.4826 * near)
        self.low, self.high, self.left = center - usual, center + usual, CALM
        far = abs(value - center)
        # Most losses are settled by that; only then is the real spread worked out.
        if far <= usual:
            return False
        return far > SPIKE_Z * 1.4826 * statistics.median(abs(x - center) for x in ordered)


class Incidents:
    """Notes the first occurrence of every kind at every layer, in order of time."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.occurrences: list[Occurrence] = []
        # Whether the model's inputs are looked at: then a bad one would have been noted.
        self.inputs_seen = False
        self.sites: Sites | None = None
        # Layers in the order of execution, as far as it is known.
        self.order: Sequence[int] = ()
        self._blueprint = blueprint
        self._seen: set[tuple[str, int]] = set()
        self.recent = RecentLosses()
        self._spikes = SPIKES
        # The last step whose gradients were finite as far as they were measured, and of which parameters they were.
        self._well: tuple[int, Collection[int]] = (-1, ())

    def note(self, step: int, kind: str, layer: int, facts: Mapping[str, Fact]) -> None:
        """Note an occurrence unless the same was noted before."""
        if (kind, layer) not in self._seen:
            self._seen.add((kind, layer))
            self.occurrences.append(
                Occurrence(step=step, kind=kind, layer=layer, facts=dict(facts))
            )

    def note_if(self, holds: object, step: int, kind: str) -> None:
        """Note an occurrence of the whole run, if there was one."""
        if holds:
            self.note(step, kind, -1, {})

    def has(self, kind: str) -> bool:
        """Return whether something of this kind was noted."""
        return any(k == kind for k, _ in self._seen)

    @property
    def unborn(self) -> bool:
        """Whether a loss was not finite and nothing is known of where that came from."""
        return self.has("nonfinite_loss") and not any(self.has(kind) for kind in BIRTHS)

    def bad_input(self, step: int) -> None:
        """Note a non-finite input."""
        self.note(step, "nonfinite_input", -1, {})

    def judge_loss(self, step: int, value: float, loss: Tensor | None) -> bool:
        """Look at a loss before its graph is gone, None if it is; return whether it calls for a closer look."""
        if not math.isfinite(value):
            if not self.has("nonfinite_loss"):
                if loss is not None:
                    self._trace(step, loss)
                self.note(step, "nonfinite_loss", -1, {"value": str(value)})
            return True
        recent = self.recent
        spike = recent.stands_out(value)
        if spike and loss is not None and value > max(recent.values):
            self._note_target(step, loss)
        recent.values.append(value)
        return spike

    def _note_target(self, step: int, loss: Tensor) -> None:
        """Keep what a loss that stands out was asked for; often enough to know the first such batch."""
        if self._spikes and (facts := regressed_on(loss)):
            self._spikes -= 1
            self.occurrences.append(Occurrence(step=step, kind="loss_spike", facts=facts))

    def _trace(self, step: int, loss: Tensor) -> None:
        """Say where the first non-finite loss came from: input, parameters, target or an operation."""
        if self.has("nonfinite_input") or self.has("nonfinite_gradient"):
            return
        bad = lost(self._blueprint.tensors)
        if bad:
            # After one step only weights whose gradient was not finite are lost, and some are left: a rectifier
            # hides a bad gradient from the layers before it, and from the probe. Where it was finite the step did it.
            well = self._well[1] if self._well[0] == step - 1 else ()
            first = (
                bool(self.recent.values)
                and len(bad) < len(self._blueprint.tensors)
                and not {*bad} & {*well}
            )
            if not (first and self.judge_gradients(step - 1, bad, self.order)):
                self.note(step, "nonfinite_parameter", self._blueprint.params[min(bad)].layer, {})
            return
        birth = find_birth(loss)
        if birth is None:
            return
        near = [x for p in birth.params if (x := self._blueprint.layer_with(p)) is not None]
        layer = near[0] if near else -1
        # Data that were finite when the model got them went bad on their way into its first layer.
        outside = birth.target and not (birth.entrance and self.inputs_seen)
        kind = "nonfinite_target" if outside else "nonfinite_forward"
        # What was made of data, on their way into a layer, left no trace of how.
        op = "" if birth.target and not outside else birth.op
        facts = {"op": op, "rows": birth.rows, "half": birth.half}
        self.note(step, kind, layer, {**facts, **self._site([op] if op else [], layer)})

    def _site(self, ops: Collection[str], layer: int) -> Mapping[str, Fact]:
        """Return who called one of these operations, where that is known."""
        return self.sites.site_of(ops, layer) if self.sites is not None else {}

    def left_over(self, step: int, forgotten: Iterable[Tensor]) -> None:
        """Note what of the model has its gradients left while others were cleared: one part, or the first of a few layers."""
        drawn = self._blueprint
        found = {drawn.layer_with(id(p)) for p in forgotten}
        layers = {i for i in found if i is not None}
        part = common(drawn.layers[i].name for i in layers)
        # Whether a parameter is in that part, and whether a gradient is left in it.
        left = {
            (holds(part, info.name) if part else info.layer in layers, p.grad is not None)
            for p, info in zip(drawn.tensors, drawn.params, strict=True)
            if p.requires_grad
        }
        few = 2 * len(layers) <= len({info.layer for info in drawn.params})
        if (part or few) and left == {(True, True), (False, False)}:
            first = part or drawn.layers[min(layers)].name
            self.note(step, "uncleared", -1, {"module": first})

    def judge_kept(self, step: int, index: int, size: float, order: Sequence[int]) -> bool:
        """Judge the bad gradient of one parameter: the step that used it has left its mark on all that it came to."""
        return self.judge_gradients(step, {index: size, **lost(self._blueprint.tensors)}, order)

    def judge_gradients(
        self, step: int, sizes: Mapping[int, float], order: Sequence[int] | None
    ) -> bool:
        """Find where a gradient first became non-finite while the loss was finite.

        Parameters
        ----------
        step
            Optimizer step.
        sizes
            Parameter index to gradient norm.
        order
            Layers in execution order; None where nothing is known of the layers behind that of these gradients.

        Returns
        -------
        bool
            Whether it calls for a closer look.
        """
        bad = [i for i, size in sizes.items() if not math.isfinite(size)]
        self._well = self._well if bad else (step, sizes.keys())
        if not bad or self.has("nonfinite_gradient") or self.has("nonfinite_loss"):
            return False
        if order is None:
            self.note(step, "nonfinite_gradient", -1, {})
            return True
        place = {layer: i for i, layer in enumerate(order)}
        layers = [self._blueprint.params[i].layer for i in bad]
        nearest = max(layers, key=lambda layer: place.get(layer, -1))
        self.note(step, "nonfinite_gradient", nearest, self._site(FINITE_VALUES, nearest))
        return True
