"""Events and hypotheses as pandas frames, one row each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.records.names import label
from neuraldbg.records.recording import Column, Recording

__all__ = ["events_frame", "hypotheses_frame", "layers_frame", "steps_frame"]


def events_frame(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return the events in causal order, indexed by event id."""
    rows = [
        {
            "event_id": e.id,
            "event": e.name,
            "kind": e.kind,
            "layer": None if e.layer is None else label(e.layer),
            "step_onset": e.span.first,
            "step_end": e.span.stop - 1,
            "before": e.before,
            "after": e.after,
            "strength": e.strength,
            "value": e.value,
            "confidence": e.confidence,
            "failure": e.failure,
        }
        for e in diagnosis.events
    ]
    columns = list(rows[0]) if rows else ["event_id", "event", "kind", "layer", "step_onset"]
    return pd.DataFrame(rows, columns=columns).set_index("event_id")


def hypotheses_frame(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return the hypotheses, most probable first, indexed by rank from 1."""
    rows = [
        {
            "rank": i,
            "mechanism": h.mechanism,
            "origin_layer": None if h.layer is None else label(h.layer),
            "other_layers": list(h.others),
            "origin_step": h.step,
            "probability": h.probability,
            "p_mechanism": h.p_mechanism,
            "bayes_factor": h.bayes_factor,
            "calibrated": h.calibrated,
            "remedy": h.remedy,
            "evidence": list(h.event_ids),
        }
        for i, h in enumerate(diagnosis.hypotheses, start=1)
    ]
    columns = list(rows[0]) if rows else ["rank", "mechanism", "origin_layer", "probability"]
    return pd.DataFrame(rows, columns=columns).set_index("rank")


def steps_frame(recording: Recording) -> pd.DataFrame:
    """Return run-wide numbers, one row per optimizer step; what was not measured is missing (NA).

    A measured NaN or infinity stays as it is.
    """
    columns = {name: _nullable(column) for name, column in recording.step.items()}
    for name, column in recording.group.items():
        values, observed = column
        for group in range(values.shape[1]):
            part = Column(values[:, group], observed[:, group])
            columns[f"{name}_{group}"] = _nullable(part)
    return pd.DataFrame(columns, index=pd.Index(recording.steps, name="step"))


def layers_frame(recording: Recording) -> pd.DataFrame:
    """Return numbers of layers, one row per sampled step and layer at which anything was measured."""
    names = [label(layer.name) for layer in recording.topology.layers]
    index = pd.MultiIndex.from_product([recording.sampled, names], names=["step", "layer"])
    columns = {
        name: _nullable(Column(values.reshape(-1), observed.reshape(-1)))
        for name, (values, observed) in recording.layer.items()
    }
    return pd.DataFrame(columns, index=index).dropna(how="all").reset_index()


def _nullable(column: Column) -> pd.arrays.FloatingArray:
    # pandas' own float columns cannot tell "not measured" from a measured NaN.
    values, observed = column
    return pd.arrays.FloatingArray(values.astype(np.float64), ~observed)
