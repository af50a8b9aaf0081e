"""Apply declared detectors to derived series: semantic events out, and what they say to the network."""

from __future__ import annotations

import math
from collections.abc import Collection, Container
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuraldbg.events.spans import lasting
from neuraldbg.records.catalogue import Catalogue, Detector
from neuraldbg.records.event import SemanticEvent, StepSpan
from neuraldbg.records.evidence import Evidence, Finding, LocatedFinding
from neuraldbg.records.recording import Recording, Topology
from neuraldbg.records.signals import Series, Signals

__all__ = ["find_events", "gather_evidence"]

# Evidence within this distance of its threshold (decades, or units of the threshold) counts in part.
SOFT_EDGE = 0.3


class _Judged(NamedTuple):
    """A detector's reading of its series: ``badness`` >= 0 is abnormal, ``usable`` was measured."""

    badness: NDArray[np.float64]
    usable: NDArray[np.bool_]
    series: Series


def find_events(signals: Signals, catalogue: Catalogue) -> tuple[SemanticEvent, ...]:
    """Return one event per detector and layer whose threshold was passed for long enough.

    Repeated spans of one regime in one layer are folded into one event from the first onset to the last
    abnormal step; ``facts["times"]`` counts them.

    Returns
    -------
    tuple of SemanticEvent
        Ordered by onset, then by layer order and name, so that reports are reproducible.
    """
    found = [
        event
        for detector in catalogue.detectors
        if (judged := _judge(detector, signals)) is not None
        for event in _events(detector, judged, signals)
    ]
    layers = signals.recording.topology.layers
    order: dict[str | None, int] = {layer.name: layer.order for layer in layers}
    return tuple(sorted(found, key=lambda e: (e.span.first, order.get(e.layer, -1), e.name, e.id)))


def gather_evidence(
    signals: Signals, events: tuple[SemanticEvent, ...], catalogue: Catalogue
) -> Evidence:
    """Return every event type that could be judged, with what was found of it."""
    topology = signals.recording.topology
    by_name: dict[str, list[SemanticEvent]] = {}
    for event in events:
        by_name.setdefault(event.name, []).append(event)
    findings: dict[str, Finding] = {}
    places: dict[str, tuple[str, ...]] = {}
    for detector in catalogue.detectors:
        judged = _judge(detector, signals)
        if judged is None:
            continue
        findings[detector.name] = _finding(detector, judged, by_name.get(detector.name, []))
        if judged.series.layers is not None:
            seen = np.asarray(judged.usable.any(axis=0), dtype=bool)
            layers = [topology.layers[i].name for i in judged.series.layers]
            places[detector.name] = tuple(n for n, s in zip(layers, seen, strict=True) if s)
    return Evidence(
        findings=findings,
        context=signals.context,
        layers=_execution_order(topology, {event.layer for event in events}),
        edges=tuple((topology.layers[a].name, topology.layers[b].name) for a, b in topology.edges),
        judged=places,
        sites={**_sites(signals.recording), **_fed(signals, by_name, catalogue)},
    )


def _fed(
    signals: Signals, seen: Container[str], catalogue: Catalogue
) -> dict[tuple[str, str | None], str]:
    """Return, by event of the data, the layer that is fed what it was seen in."""
    return {
        (detector.name, None): str(signals.numbers[f"{detector.reads}_at"])
        for detector in catalogue.detectors
        if detector.name in seen and f"{detector.reads}_at" in signals.numbers
    }


def _sites(recording: Recording) -> dict[tuple[str, str | None], str]:
    """Return the modules in which something happened, by its kind and the layer before it; of several the first."""
    layers = recording.topology.layers
    happened = {
        (x.kind, layers[x.layer].name if x.layer >= 0 else None): str(x.facts["module"])
        for x in reversed(recording.occurrences)
        if "module" in x.facts
    }
    attends: dict[tuple[str, str | None], str] = {
        ("attends_in", x.name): str(x.config["attends_in"])
        for x in layers
        if "attends_in" in x.config
    }
    return {**happened, **attends, **_made_by(recording), **_passed_through(recording)}


def _made_by(recording: Recording) -> dict[tuple[str, str | None], str]:
    """Return the activations that are the last thing before a loss, by the layer before them."""
    layers, edges = recording.topology.layers, recording.topology.edges
    last = {call.layer for call in recording.losses if call.layer >= 0}
    return {
        ("made_by", layers[source].name): layers[target].name
        for source, target in edges
        if target in last and layers[target].kind == "activation" and layers[source].params
    }


def _passed_through(recording: Recording) -> dict[tuple[str, str | None], str]:
    """Return the modules of the user's own, without weights, by the only layer that feeds them; what that is read for is its own."""
    layers, edges = recording.topology.layers, recording.topology.edges
    regimes = [
        recording.layer[k].observed
        for k in ("dead_share", "saturated_share")
        if k in recording.layer
    ]
    return {
        ("passes_through", layers[source].name): layers[target].name
        for source, target in edges
        if layers[target].kind == "other"
        and not layers[target].params
        and layers[source].params
        and not any(observed[:, source].any() for observed in regimes)
    }


def _execution_order(topology: Topology, found: Collection[str | None]) -> tuple[str, ...]:
    """Return the layers that a claim may name: those with parameters, and others in which something was found."""
    # Layers that were not called come last; they can still be named by a claim.
    ranked = sorted(
        (layer.order if layer.order >= 0 else len(topology.layers), index)
        for index, layer in enumerate(topology.layers)
        if layer.params or layer.kind == "dropout" or layer.name in found
    )
    return tuple(topology.layers[index].name for _, index in ranked)


def _judge(detector: Detector, signals: Signals) -> _Judged | None:
    """Return how far past its threshold the series lies, None if nothing of it could be judged."""
    series = signals.series.get(detector.reads)
    if series is None or series.steps.size == 0:
        return None
    within = series.steps >= detector.since
    if detector.until is not None:
        within &= series.steps < detector.until
    usable = series.observed & (within if series.values.ndim == 1 else within[:, None])
    if not usable.any():
        return None
    return _Judged(_badness(detector, series.values), usable, series)


def _badness(detector: Detector, values: NDArray[np.float64]) -> NDArray[np.float64]:
    # A measured NaN or infinity of either sign is beyond every upper threshold and below none.
    sign = 1.0 if detector.side == "above" else -1.0
    numbers = np.where(np.isfinite(values), values, 1e38)
    if detector.scale == "log":
        size = np.log10(np.clip(numbers, 1e-38, 1e38))
        return np.asarray(sign * (size - math.log10(detector.threshold)), dtype=np.float64)
    unit = max(abs(detector.threshold), 1e-12)
    return np.clip(sign * (numbers - detector.threshold) / unit, -1e6, 1e6)


def _events(detector: Detector, judged: _Judged, signals: Signals) -> list[SemanticEvent]:
    length = judged.series.steps.size
    usable = judged.usable.reshape(length, -1)
    abnormal = (judged.badness.reshape(length, -1) >= 0) & usable
    # A series shorter than the patience is judged as a whole: a short run can show a lasting regime too.
    need = min(detector.patience, length)
    found = []
    for k in np.flatnonzero(abnormal.sum(axis=0) >= need):
        # Patience counts measured points: what was not measured neither breaks a regime nor prolongs it.
        measured = np.flatnonzero(usable[:, k])
        rows = measured[lasting(abnormal[measured, k], need)]
        if rows.size:
            found.append(_event(detector, judged, rows, int(k), signals))
    return found


def _event(
    detector: Detector,
    judged: _Judged,
    rows: NDArray[np.intp],
    k: int,
    signals: Signals,
) -> SemanticEvent:
    steps = judged.series.steps
    first, last = int(steps[rows[0]]), _last(detector, judged.series, rows, signals)
    badness = judged.badness.reshape(steps.size, -1)[rows, k]
    values = judged.series.values.reshape(steps.size, -1)[rows, k]
    worst = int(np.argmax(badness))
    layer = _layer_name(judged.series, k, signals.recording.topology)
    measured = np.flatnonzero(judged.usable.reshape(steps.size, -1)[:, k])
    breaks = np.diff(np.searchsorted(measured, rows)) > 1
    return SemanticEvent(
        id=f"{detector.name}@{'run' if layer is None else layer or 'model'}#{first}",
        name=detector.name,
        kind=detector.kind,
        before="start" if rows[0] == measured[0] else detector.before,
        after=detector.after,
        layer=layer,
        span=StepSpan(first, last + 1),
        strength=float(badness[worst]),
        confidence=_weight(detector, float(badness[worst])),
        value=float(values[worst]) if math.isfinite(values[worst]) else None,
        failure=detector.failure,
        facts={
            "times": int(np.count_nonzero(breaks)) + 1,
            "signal": detector.reads,
            "threshold": detector.threshold,
            "whole_run": _is_of_whole_run(detector, judged.series),
        },
    )


def _is_of_whole_run(detector: Detector, series: Series) -> bool:
    """Return whether a series is one number about the run, and not something that happened at a step."""
    return series.steps.size == 1 and series.layers is None and detector.kind != "numerics"


def _last(detector: Detector, series: Series, rows: NDArray[np.intp], signals: Signals) -> int:
    """Return the last abnormal step: that of the run for a number about the whole of it."""
    last = int(series.steps[rows[-1]])
    if _is_of_whole_run(detector, series) and signals.recording.steps.size:
        return max(last, int(signals.recording.steps[-1]))
    return last


def _layer_name(series: Series, k: int, topology: Topology) -> str | None:
    return None if series.layers is None else topology.layers[series.layers[k]].name


def _weight(detector: Detector, badness: float) -> float:
    """Return how much a reading counts: half on the threshold, in full beyond the soft edge."""
    if detector.reliability >= 1.0:
        return 1.0
    edge = SOFT_EDGE
    if detector.limit is not None:
        reach = float(_badness(detector, np.array([detector.limit]))[0])
        edge = min(edge, max(0.8 * reach, 1e-9))
    near = min(abs(badness) / edge, 1.0)
    return detector.reliability * (0.5 + 0.5 * near)


def _finding(detector: Detector, judged: _Judged, events: list[SemanticEvent]) -> Finding:
    if not events:
        nearest = float(np.max(np.where(judged.usable, judged.badness, -np.inf)))
        return Finding(
            event=detector.name,
            present=False,
            weight=_weight(detector, min(nearest, 0)),
        )
    located = tuple(
        LocatedFinding(layer=e.layer, onset=e.span.first, strength=e.strength)
        for e in events
        if e.layer is not None
    )
    return Finding(
        event=detector.name,
        present=True,
        weight=max(e.confidence for e in events),
        onset=min(e.span.first for e in events),
        at=located,
    )
