"""From what was noted during a run to the facts and the module graph of its recording."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from neuraldbg.capture.compiled import anything_compiled, original
from neuraldbg.capture.layers import LayerWatch
from neuraldbg.capture.optim import OptimizerBook
from neuraldbg.capture.rows import Rows
from neuraldbg.capture.shards import rank_and_count
from neuraldbg.capture.topology import Blueprint
from neuraldbg.records.names import label
from neuraldbg.records.recording import Fact, Recording, Topology, Unobserved

__all__ = ["Unseen", "assembled", "placed", "program_facts", "topology", "unobserved"]

MOST_NAMED = 5
COMPILED = "they are compiled and could not be looked into"
SHARDED = (
    "they are sharded over several processes; these are the norms and updates of the local shards"
)
UNBORN = (
    "the operation that made the first NaN",
    "on a device it is looked for in sampled steps only",
)
CAPTURED = ("steps that ran as a CUDA graph", "a graph that is replayed calls nobody")
IN_FUNCTION = "they ran inside a compiled function, where nothing can be watched"


def topology(
    blueprint: Blueprint,
    watch: LayerWatch,
    groups: Mapping[int, int],
    outputs: set[int],
) -> Topology:
    """Return the module graph with execution order, nonlinearities and dataflow as they were seen.

    Parameters
    ----------
    blueprint
        Layers and parameters before anything ran.
    watch
        Order of execution and dataflow.
    groups
        Parameter index to optimizer group.
    outputs
        Layers whose output reached the loss.
    """
    order = {layer: place for place, layer in enumerate(watch.order)}
    apart = watch.flow.without_gradient()
    layers = tuple(
        replace(
            layer,
            order=order.get(i, -1),
            config={**layer.config, **_attends(watch, i), **_apart(watch, i, apart)},
            activation=layer.activation
            or watch.functional.get(i)
            or _next_module(blueprint, watch, i),
        )
        for i, layer in enumerate(blueprint.layers)
    )
    edges = _flow(watch.flow.edges, order)
    fed = {b for _, b in edges}
    last = {i for i, x in enumerate(layers) if x.order == len(order) - 1}
    return Topology(
        layers=layers,
        params=tuple(replace(p, group=groups.get(i, -1)) for i, p in enumerate(blueprint.params)),
        edges=tuple(edges),
        inputs=tuple(i for i, x in enumerate(layers) if x.order >= 0 and i not in fed),
        outputs=tuple(sorted(outputs or last)),
    )


def _attends(watch: LayerWatch, layer: int) -> dict[str, Fact]:
    module = watch.attends.get(layer)
    return {"attends_in": module} if module else {}


def _apart(watch: LayerWatch, layer: int, apart: Collection[int]) -> dict[str, Fact]:
    found: dict[str, Fact] = {"detached": True} if layer in watch.flow.detached else {}
    if layer not in watch.place:
        return found | ({"without_gradient": True} if layer in apart else {})
    found |= {"severed": True} if layer in watch.flow.severed else {}
    return found | ({"chooses": True} if layer in watch.flow.chose else {})


def _flow(edges: Collection[tuple[int, int]], order: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the arrows that point down the order of execution.

    A loop (a cell that feeds itself) has no place in a graph of layers. A layer that is called again further
    down (one pooling or activation module for several places) is passed through: what feeds its later call
    feeds whatever comes later of what it feeds.
    """
    down = {(a, b) for a, b in edges if order.get(a, -1) < order.get(b, -1)}
    after: dict[int, list[int]] = {}
    for a, b in down:
        after.setdefault(a, []).append(b)
    again = {(a, b) for a, b in edges if (a, b) not in down}
    through = {
        (a, c) for a, b in again for c in after.get(b, ()) if order.get(a, -1) < order.get(c, -1)
    }
    return sorted(down | through)


def _next_module(blueprint: Blueprint, watch: LayerWatch, layer: int) -> str | None:
    """Return the nonlinearity that is the only module reading a layer's output."""
    readers = [blueprint.layers[b] for a, b in watch.flow.edges if a == layer]
    names = {r.activation for r in readers}
    only = len(names) == 1 and all(r.kind == "activation" for r in readers)
    return names.pop() if only else None


@dataclass(frozen=True, slots=True)
class Unseen:
    """What limits how much of a run could be seen.

    Attributes
    ----------
    steps
        Optimizer steps so far.
    by_hand
        What is not seen of weights that were changed without an optimizer; empty if none were.
    hidden
        Layers that could not be looked into, and why.
    unborn
        Whether a loss was not finite on a device, in a step in which nobody could look where that came from.
    captured
        Whether steps ran as a graph that was captured before.
    """

    steps: int
    by_hand: str
    hidden: Mapping[int, str]
    unborn: bool
    captured: bool = False


def assembled(
    facts: Mapping[str, Fact],
    unseen: Unseen,
    *,
    blueprint: Blueprint,
    watch: LayerWatch,
    book: OptimizerBook,
    rows: Rows,
    outputs: set[int],
) -> Recording:
    """Return everything seen so far, or since the last part, as one frozen value.

    Parameters
    ----------
    facts
        What is known of the program and how it went.
    unseen
        What could not be seen.
    blueprint, watch, book
        Layers and parameters, what was seen of the layers, and the optimizers.
    rows
        Numbers of every step, losses, and what happened once.
    outputs
        Layers whose output reached the loss.
    """
    return Recording(
        facts={
            **facts,
            "autocast": watch.autocast,
            "float16": watch.halves.met,
            "players": watch.flow.players(),
            "optimizers": len(book.infos()),
            "applied": " ".join(sorted(watch.applied)),
        },
        topology=topology(blueprint, watch, book.groups(), outputs),
        optimizers=book.infos(),
        **rows.columns(blueprint),
        losses=rows.losses(),
        occurrences=rows.occurrences(),
        unobserved=unobserved(
            blueprint,
            watch,
            unseen,
            stepped=book.any_seen,
            losses=bool(rows.losses()),
            failed=str(facts["disarmed"]),
        ),
    )


def unobserved(
    blueprint: Blueprint,
    watch: LayerWatch,
    unseen: Unseen,
    *,
    stepped: bool,
    losses: bool,
    failed: str,
) -> tuple[Unobserved, ...]:
    """Return what could not be looked at, and why."""
    steps, by_hand, hidden = unseen.steps, unseen.by_hand, unseen.hidden
    seen = set(watch.order)
    missing = [i for i, x in enumerate(blueprint.layers) if i not in seen and x.kind != "loss"]
    plain = [i for i in missing if i not in hidden]
    shown = _names(blueprint, plain)
    why_none = (
        IN_FUNCTION if anything_compiled() else "no module of the model was called in the loop"
    )
    checks = (
        *(
            (bool(steps), f"layers {_names(blueprint, group)}", f"{COMPILED}: {why}")
            for why in dict.fromkeys(hidden.values())
            if (group := [i for i in hidden if hidden[i] == why])
        ),
        (bool(plain and seen), f"layers {shown}", "they were not called in the steps watched"),
        (bool(steps and plain and not seen), "all layers", why_none),
        (
            bool(steps and not stepped and not by_hand),
            "updates",
            "no optimizer of these parameters ever stepped",
        ),
        (
            bool(steps and not stepped and by_hand),
            by_hand,
            "the weights were changed without an optimizer object of PyTorch",
        ),
        (
            bool(steps and not losses),
            "labels and loss kind",
            "the loss was not computed by a known function",
        ),
        (unseen.unborn, *UNBORN),
        (unseen.captured, *CAPTURED),
        (any(p.shard >= 0 for p in blueprint.params), "whole parameters", SHARDED),
        (bool(failed), "the rest of the run", f"capture stopped: {failed}"),
    )
    return tuple(Unobserved(what, why) for holds, what, why in checks if holds)


def _names(blueprint: Blueprint, layers: list[int]) -> str:
    """Return the first few names of layers."""
    names = [label(blueprint.layers[i].name) for i in layers]
    return ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")


def program_facts(model: nn.Module) -> dict[str, Fact]:
    """Return what is known of a program before it runs."""
    first = next(model.parameters(), None)
    return {
        "model": type(original(model)).__name__,
        "torch": str(torch.__version__),
        "device": "cpu" if first is None else first.device.type,
        "dtype": "" if first is None else str(first.dtype).removeprefix("torch."),
        "autocast": "",
        "compiled": False,
    }


def placed(found: Recording, steps: int) -> Recording:
    """Return a recording that says which process it is of, and whose steps count from another first one.

    Parameters
    ----------
    found
        What was seen.
    steps
        The number of the first step: that of a run that was resumed.
    """
    rank, count = rank_and_count()
    if count > 1:
        found = replace(found, facts={**found.facts, "rank": rank, "ranks": count})
    if not steps:
        return found
    return replace(
        found,
        steps=found.steps + steps,
        sampled=found.sampled + steps,
        losses=tuple(replace(x, step=x.step + steps) for x in found.losses),
        occurrences=tuple(replace(x, step=x.step + steps) for x in found.occurrences),
    )
