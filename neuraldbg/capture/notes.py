"""What the tracer tells of the user's own functions, noted under the layer that it concerns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from torch import Tensor, nn

from neuraldbg.capture.bank import unit_axis
from neuraldbg.capture.compiled import is_compiled_node
from neuraldbg.capture.incidents import Incidents
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.losses import Open, loss_facts, settled
from neuraldbg.capture.norms import STATISTICS, function_sample
from neuraldbg.capture.products import summed
from neuraldbg.capture.provenance import leads_to, nodes_of
from neuraldbg.capture.reduce import Numbers
from neuraldbg.capture.shards import local
from neuraldbg.capture.sites import SINGULAR, may_be_singular
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.recording import LossCall

__all__ = ["Notes"]

MOST_LOSSES = 4096
# What is added to a variance where nothing is said of it.
EPS = 1e-5
# So many operations may lie between a compiled part and a loss.
NEAR = 16


class Notes:
    """Listens to a tracer.

    Parameters
    ----------
    blueprint
        Knows the parameters of the model.
    incidents
        Takes what happened once.
    guard
        Runs work of ours; an error disarms capture.
    """

    watch: LayerWatch

    def __init__(
        self, blueprint: Blueprint, incidents: Incidents, guard: Callable[..., None]
    ) -> None:
        self.step = 0
        self.inside = 0
        self.losses: list[LossCall] = []
        self._open: list[tuple[LossCall, Open]] = []
        self.guard = guard
        self._blueprint, self._incidents = blueprint, incidents

    @property
    def open(self) -> bool:
        """Whether a pass of the loop that trains is under way."""
        return self.watch.open

    def latest(self, layers: frozenset[int]) -> int:
        """Return the layer among these that ran last in this step."""
        if len(layers) == 1:
            return next(iter(layers))
        place = self.watch.place
        return max(layers, key=lambda layer: place.get(layer, -1))

    def on_activation(self, layer: int, name: str, tensor: Tensor, *, direct: bool) -> None:
        """Take the input of a functional nonlinearity."""
        if direct:
            known = self.watch.functional.setdefault(layer, name)
            if known == name and self.watch.reads(layer):
                return
        else:
            self.watch.applied.add(name)
        axis = unit_axis("", tensor)
        self.watch.regimes.take(layer, local(tensor).detach(), axis, name, is_input=True)

    def on_loss(
        self,
        name: str,
        layer: int,
        prediction: Tensor,
        target: Tensor,
        reduction: str,
        *,
        maker: str = "",
        value: Tensor | None = None,
    ) -> None:
        """Take the call of a loss function."""
        # What a rank holds of a distributed prediction need not be whole rows.
        if len(self.losses) + len(self._open) < MOST_LOSSES and local(prediction) is prediction:
            facts = loss_facts(name, prediction, target, reduction, maker)
            if value is not None:
                facts["value"] = value.detach()
            self._open.append((LossCall(step=self.step, function=name, layer=layer), facts))
            if not prediction.is_cuda:
                self.settle()

    def settle(self) -> None:
        """Read the facts of losses that live on a device."""
        waiting, self._open = self._open, []
        plain = settled([facts for _, facts in waiting])
        self.losses += [replace(call, facts=f) for (call, _), f in zip(waiting, plain, strict=True)]

    def on_attention(self, layer: int, numbers: Numbers) -> None:
        """Take attention numbers of one call."""
        self.watch.add(layer, numbers)
        sites, known = self._incidents.sites, self.watch.attends
        if sites is not None and layer >= 0 and layer not in known:
            known[layer] = sites.caller(layer)

    def is_ours(self, tensor: Tensor) -> bool:
        """Return whether the graph of a tensor leads to parameters of the model.

        Of what a compiled part gave that is known once the part was run again.
        """
        node = tensor.grad_fn
        if any(map(is_compiled_node, islice(nodes_of([node]), NEAR))):
            return False
        return leads_to(node, self._blueprint.param_of)

    def on_taken_out(self, parameter: Tensor) -> None:
        """Take a parameter that was taken out of the graph before it was used, inside the model."""
        layer = self._blueprint.layer_with(id(parameter))
        if self.inside and layer is not None:
            self.watch.flow.detached.add(layer)

    def on_cut(self, layers: frozenset[int]) -> None:
        """Take a cut of the graph behind some layers, inside the model or in the loop."""
        self.watch.flow.severed |= layers
        if self.inside:
            self._incidents.note(self.step, "detached", self.latest(layers), {})

    def on_meeting(self, layers: frozenset[int]) -> None:
        """Take layers whose output has no gradient and went into an operation with one that has."""
        self.watch.flow.met |= layers

    def on_choice(self, layers: frozenset[int]) -> None:
        """Take layers by whose output it was chosen, inside the model, what an operation with a gradient works on."""
        if self.inside:
            self.watch.flow.chose |= layers

    def on_mixing(self, layers: frozenset[int]) -> None:
        """Take layers whose output went on without its gradient, if it was cut off."""
        self.watch.flow.chose |= layers & self.watch.flow.severed

    def on_dropped(self, layer: int, kept: Tensor) -> None:
        """Take the share of its units that a dropout keeps which is no module; a module is read by its output."""
        if layer >= 0 and self._blueprint.layers[layer].kind != "dropout":
            self.watch.add(layer, [("drop_keep", kept)])

    def on_norm(self, layer: int, name: str, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
        """Take a function that normalizes, and a statistic that a normalization takes; elsewhere a mean is none."""
        info = self._blueprint.layers[layer] if layer >= 0 else None
        if info is not None and (info.kind == "norm" or name not in STATISTICS):
            eps = info.config.get("eps")
            sample = function_sample(name, args, kw, eps if isinstance(eps, float) else EPS)
            self.watch.normalize(layer, sample)

    def on_draw(self) -> None:
        """Take a draw of the loop from what the model gave out."""
        self._incidents.note(self.step, "drawn_from_output", -1, {})

    def on_risky(self, layer: int, name: str) -> None:
        """Take an operation at its singular point."""
        self._incidents.note(self.step, "risky_op", layer, {"op": name})

    def on_product(self, name: str, args: Sequence[Any], kw: Mapping[str, Any]) -> None:
        """Take over how many terms a parameter is added up, where it is a factor."""
        params = self._blueprint.params
        for parameter, terms in summed(name, args, kw):
            index = self._blueprint.param_of.get(id(parameter))
            if index is None or params[index].summed or self._is_torchs(params[index].layer):
                continue
            params[index] = replace(params[index], summed=terms)

    def _is_torchs(self, layer: int) -> bool:
        """Return whether a layer is one of PyTorch's, of which it is known what it adds up; containers are not."""
        kind = self._blueprint.layers[layer].type
        return hasattr(nn, kind) and not kind.startswith("Parameter")

    def on_half(self, layer: int, name: str, args: Sequence[Any], out: Tensor) -> None:
        """Take a function whose result is in float16."""
        self.watch.halves.see(layer, name, args, out)

    def on_operation(self, name: str, args: Sequence[Any], result: object) -> None:
        """Take the result of an operation that may be the first to give what is not finite."""
        sites = self._incidents.sites
        if sites is not None and (name not in SINGULAR or may_be_singular(name, args)):
            sites.see(name, result)
