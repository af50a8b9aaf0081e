"""Hand-written recordings, events and evidence: a test says what was measured, and nothing else was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from neuraldbg.records.catalogue import Catalogue, Detector, Effect, Mechanism
from neuraldbg.records.event import SemanticEvent, StepSpan
from neuraldbg.records.evidence import Evidence, Finding, LocatedFinding
from neuraldbg.records.recording import (
    Column,
    LayerInfo,
    LossCall,
    Occurrence,
    OptimizerInfo,
    ParamInfo,
    Recording,
    Topology,
)
from neuraldbg.records.signals import Series, Signals

Measured = Sequence[float | None] | float | None


def column(rows: Sequence[float | None]) -> Column:
    """Return a column; None is "not measured", NaN a measured NaN."""
    values = np.array([0.0 if v is None else v for v in rows], np.float32)
    return Column(values, np.array([v is not None for v in rows], bool))


def table(cells: Mapping[str, Measured], names: Sequence[str], rows: int) -> Column:
    """Return a column by name: one number for all rows, or one per row; what is not named is not measured."""
    unknown = set(cells) - set(names)
    assert not unknown, f"no such column: {unknown}"
    values = np.zeros((rows, len(names)), np.float32)
    observed = np.zeros(values.shape, bool)
    for name, given in cells.items():
        series = list(given) if isinstance(given, Sequence) else [given] * rows
        assert len(series) == rows, f"{name} has {len(series)} rows, {rows} were expected"
        one = column(series)
        values[:, names.index(name)], observed[:, names.index(name)] = one
    return Column(values, observed)


def chain(
    *names: str,
    activation: str | Sequence[str | None] | None = "relu",
    kind: str = "linear",
    bias: bool = False,
    dtype: str = "float32",
    group: int = 0,
) -> Topology:
    """Return a plain stack of layers with one weight matrix each; data enters the first, the last feeds the loss."""
    per_layer = 2 if bias else 1
    hidden = [activation] * (len(names) - 1) if isinstance(activation, str | None) else activation
    acts = [*hidden, None][: len(names)]
    layers = tuple(
        LayerInfo(
            name=name,
            type="Linear",
            kind=kind,
            order=i,
            activation=acts[i],
            params=tuple(range(per_layer * i, per_layer * (i + 1))),
            calls=1,
        )
        for i, name in enumerate(names)
    )
    params = []
    for i, name in enumerate(names):
        params.append(
            ParamInfo(
                name=f"{name}.weight",
                layer=i,
                shape=(8, 8),
                kind="matrix",
                fan_in=8,
                dtype=dtype,
                group=group,
            )
        )
        if bias:
            params.append(
                ParamInfo(name=f"{name}.bias", layer=i, shape=(8,), kind="bias", group=group)
            )
    return Topology(
        layers=layers,
        params=tuple(params),
        edges=tuple((i, i + 1) for i in range(len(names) - 1)),
        inputs=(0,) if names else (),
        outputs=(len(names) - 1,) if names else (),
    )


def sgd(rate: float = 0.1, **defaults: float) -> OptimizerInfo:
    """Return plain SGD over one group."""
    return OptimizerInfo(type="SGD", family="sgd", groups=(0,), defaults={"lr": rate, **defaults})


def recording(
    topology: Topology | None = None,
    *,
    steps: int = 40,
    sampled: Sequence[int] | None = None,
    step: Mapping[str, Sequence[float | None]] | None = None,
    layer: Mapping[str, Mapping[str, Measured]] | None = None,
    param: Mapping[str, Mapping[str, Measured]] | None = None,
    grad: Mapping[str, Measured] | None = None,
    group: Mapping[str, Sequence[float | None] | float] | None = None,
    optimizers: tuple[OptimizerInfo, ...] = (),
    losses: tuple[LossCall, ...] = (),
    occurrences: tuple[Occurrence, ...] = (),
    facts: Mapping[str, bool | int | float | str | None] | None = None,
) -> Recording:
    """Return a recording in which only what is given was measured.

    ``layer`` and ``param`` map quantity to name to rows over the sampled steps, ``grad`` parameter name to rows
    over all steps, ``group`` quantity to the single parameter group.
    """
    topology = topology if topology is not None else chain("a", "b", "c")
    at = list(range(steps)) if sampled is None else list(sampled)
    layer_names = [x.name for x in topology.layers]
    param_names = [p.name for p in topology.params]

    def rows(value: Sequence[float | None] | float) -> Sequence[float | None]:
        return list(value) if isinstance(value, Sequence) else [value] * steps

    return Recording(
        facts=dict(facts or {}),
        topology=topology,
        optimizers=optimizers,
        steps=np.arange(steps, dtype=np.int64),
        step={k: column(v) for k, v in (step or {}).items()},
        group={k: table({"g": rows(v)}, ["g"], steps) for k, v in (group or {}).items()},
        grad={"grad_norm": table(grad, param_names, steps)} if grad else {},
        sampled=np.array(at, np.int64),
        layer={k: table(v, layer_names, len(at)) for k, v in (layer or {}).items()},
        param={k: table(v, param_names, len(at)) for k, v in (param or {}).items()},
        losses=losses,
        occurrences=occurrences,
    )


def series(
    values: ArrayLike,
    observed: ArrayLike | None = None,
    *,
    steps: Sequence[int] | None = None,
    layers: tuple[int, ...] | None = None,
) -> Series:
    """Return a series; everything is observed unless said otherwise."""
    array = np.asarray(values, np.float64)
    seen = np.ones(array.shape, bool) if observed is None else np.asarray(observed, bool)
    at = np.arange(array.shape[0]) if steps is None else np.asarray(steps, np.int64)
    return Series(at, array, seen, layers)


def signals(
    series_by_name: Mapping[str, Series],
    topology: Topology | None = None,
    *,
    steps: int = 40,
    numbers: Mapping[str, float] | None = None,
    context: Sequence[str] = (),
    source: Recording | None = None,
) -> Signals:
    """Return signals with nothing but these series."""
    return Signals(
        series=dict(series_by_name),
        context=frozenset(context),
        numbers=dict(numbers or {}),
        recording=source if source is not None else recording(topology, steps=steps),
    )


def detector(name: str = "high", **changes: object) -> Detector:
    """Return a detector that fires above 1 on the signal ``x``."""
    fields: dict[str, object] = {
        "kind": "optimizer_stability",
        "reads": "x",
        "threshold": 1.0,
        "scale": "linear",
        "after": name,
        "meaning": f"{name} was seen",
        "source": "the test",
    }
    return Detector(name=name, **(fields | changes))  # type: ignore[arg-type]


def mechanism(slug: str, effects: Mapping[str, float], **changes: object) -> Mechanism:
    """Return a mechanism with these links."""
    local = changes.pop("local", ())
    fields: dict[str, object] = {
        "claim": slug.replace("_", " "),
        "story": "A story.",
        "prior": 0.1,
        "remedy": "mend it",
        "source": "the test",
    }
    return Mechanism(
        slug=slug,
        effects=tuple(
            Effect(event=e, link=p, local=e in local)  # type: ignore[operator]
            for e, p in effects.items()
        ),
        **(fields | changes),  # type: ignore[arg-type]
    )


def catalogue(
    detectors: Sequence[Detector], mechanisms: Sequence[Mechanism], **changes: object
) -> Catalogue:
    """Return a small catalogue."""
    return Catalogue(
        detectors=tuple(detectors),
        mechanisms=tuple(mechanisms),
        **changes,  # type: ignore[arg-type]
    )


def event(
    name: str,
    kind: str = "gradient_health",
    *,
    layer: str | None = None,
    first: int = 0,
    last: int | None = None,
    **changes: object,
) -> SemanticEvent:
    """Return an event that lasts for one step, of a detector that is not exact, unless said otherwise."""
    place = "run" if layer is None else layer
    fields: dict[str, object] = {"before": "healthy", "after": name, "confidence": 0.9}
    return SemanticEvent(
        id=f"{name}@{place}#{first}",
        name=name,
        kind=kind,  # type: ignore[arg-type]
        layer=layer,
        span=StepSpan(first, (first if last is None else last) + 1),
        **(fields | changes),  # type: ignore[arg-type]
    )


def finding(
    name: str,
    present: bool,
    *,
    weight: float = 1.0,
    at: Mapping[str, tuple[int, float]] | None = None,
    onset: int | None = None,
) -> Finding:
    """Return a finding; ``at`` maps layer to (onset, strength)."""
    located = tuple(
        LocatedFinding(layer=layer, onset=when, strength=strength)
        for layer, (when, strength) in (at or {}).items()
    )
    first = min((f.onset for f in located), default=onset)
    return Finding(
        event=name,
        present=present,
        weight=weight,
        onset=(first if first is not None else 0) if present else None,
        at=located,
    )


def evidence(*findings: Finding, **fields: object) -> Evidence:
    """Return evidence of these findings; other event types were not observed."""
    return Evidence(
        findings={f.event: f for f in findings},
        **fields,  # type: ignore[arg-type]
    )
