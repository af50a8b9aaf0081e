"""Reads the cached runs with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.corpus.judge import Verdict, effects, first_nonfinite, judge, spreads, stays_healthy
from benchmarks.corpus.store import CACHE, Store

__all__ = ["Label", "load_labels", "load_runs"]


class Label(TypedDict):
    """What is known of one run.

    ``kind`` is ``fault``, ``unknown``, ``pair``, ``mild``, ``odd``, ``plain`` or ``twin``; ``verdict`` is
    what the fault did (``hurts``, ``unclear``, ``harmless``, ``healthy``, ``no_twin``); ``gap`` its size.
    ``onset`` is settled: where only the run can tell, the first non-finite loss did.
    ``injected`` lists every fault of a pair by itself, with its own layers and onset.
    ``learned`` says whether a healthy run learned its task.
    """

    id: str
    family: str
    kind: str
    title: str
    mechanisms: list[str]
    layers: list[str] | None
    onset: int | tuple[int, int] | None
    symptom: str
    injected: list[dict[str, Any]]
    verdict: Verdict
    gap: float
    learned: bool
    effects: list[str]
    first_nonfinite: int | None
    crashed: str | None
    steps: int
    seed: int
    number: int
    program: dict[str, Any]
    skill: float
    twin_skill: float | None
    versions: dict[str, str]


def load_runs(cache: Path = CACHE, *, all_runs: bool = False) -> Iterator[tuple[Label, Any]]:
    """Yield label and recording of every cached run that can be learned from.

    Left out unless ``all_runs``: runs without a recording, faulty runs whose twin did not learn (or is
    missing), and plain runs and twins that did not learn themselves.
    """
    store = Store(cache)
    for label in load_labels(cache):
        usable = label["verdict"] != "no_twin" and label["learned"]
        if not (usable or all_runs):
            continue
        try:
            recording = store.recording(label["id"])
        except FileNotFoundError:
            continue
        yield label, recording


def load_labels(cache: Path = CACHE) -> list[Label]:
    """Return the labels of all cached runs, in order of their names."""
    store = Store(cache)
    bodies = {run_id: store.read(run_id) for run_id in store.ids()}
    spread = spreads(bodies.values())
    return [_label(body, bodies, spread) for body in bodies.values()]


def _label(body: dict[str, Any], bodies: dict[str, Any], spread: dict[str, float]) -> Label:
    twin = bodies.get(body["twin"]) if body["twin"] else None
    verdict, gap = judge(body, twin, spread.get(body["family"], 0.03))
    losses, truth = body["outcome"]["losses"], body["truth"]
    first = first_nonfinite(losses)
    healthy = body["kind"] in {"plain", "twin", "odd"}
    return Label(
        id=body["id"],
        family=body["family"],
        kind=body["kind"],
        title=body["title"],
        mechanisms=truth["mechanisms"],
        layers=truth.get("layers"),
        onset=_onset(truth, first),
        symptom=truth.get("symptom", ""),
        injected=[{**f, "onset": _onset(f, first)} for f in body["injected"]],
        verdict=verdict,
        gap=gap,
        learned=stays_healthy(body, gap) if healthy else True,
        effects=effects(losses, twin["outcome"]["losses"]) if twin else [],
        first_nonfinite=first,
        crashed=body["outcome"]["crashed"],
        steps=len(losses),
        seed=body["seed"],
        number=body["number"],
        program=body["program"],
        skill=body["outcome"]["skill"],
        twin_skill=twin["outcome"]["skill"] if twin else None,
        versions=body["versions"],
    )


def _onset(truth: dict[str, Any], first: int | None) -> int | tuple[int, int] | None:
    """Return when the fault began; an unguarded operation acts at the step of, or before, the first bad loss."""
    onset = truth.get("onset")
    if onset is None and truth.get("mechanisms", truth.get("mechanism")):
        return (max(first - 1, 0), first) if first is not None else None
    return tuple(onset) if isinstance(onset, list) else onset
