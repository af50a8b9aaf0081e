"""Events and hypotheses as pandas frames, one row each."""

from __future__ import annotations

import pandas as pd

from neuraldbg.records.diagnosis import Diagnosis

__all__ = ["events_frame", "hypotheses_frame"]


def events_frame(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return the events in causal order, indexed by event id."""
    rows = [
        {
            "event_id": e.id,
            "event": e.name,
            "kind": e.kind,
            "layer": e.layer,
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
            "origin_layer": h.layer,
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
