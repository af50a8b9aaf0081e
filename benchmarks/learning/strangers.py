"""What was said of strangers' programs at first sight, and the map that makes what is stated of them come true.

Architectures of the corpus that were left out still share its loops, tasks and hands. Whoever writes programs
without knowing it makes the engine err more often, and more surely: what is stated is calibrated with these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.cross import logistic_map
from benchmarks.learning.judge import ece
from neuraldbg.explain.claims import stated_probability
from neuraldbg.records.learned import ClaimMap

__all__ = ["CHECKED", "read_sights", "stranger_map", "tables"]

FOUND = Path(__file__).with_name("first_sight.json")
# The last round is kept out of what is shipped: it says how well that holds.
CHECKED = "peddlers"
BINS = ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.85), (0.85, 0.95), (0.95, 1.01))
UNLISTED = "unknown_cause"

Sight = dict[str, Any]


def read_sights() -> list[Sight]:
    """Return one record a run that was claimed of; faults that did no harm say nothing and are left out."""
    rows = json.loads(FOUND.read_text(encoding="utf-8"))
    return [row for row in rows if row["said"] and row["hurts"] is not False]


def stranger_map(sights: Iterable[Sight], *, usual: float, without: Sequence[str]) -> ClaimMap:
    """Return the map from the network's posterior to how often strangers' programs proved it right.

    Parameters
    ----------
    sights
        What was said at first sight.
    usual
        As for ``logistic_map``.
    without
        Rounds that are left out.
    """
    mine = [row for row in sights if row["round"] not in without]
    stated, surprise, right = (
        np.array([row[k] for row in mine]) for k in ("p", "surprise", "correct")
    )
    return logistic_map(stated, surprise, right, usual=usual)


def _through(sights: Sequence[Sight], found: ClaimMap) -> NDArray[np.float64]:
    return np.array([stated_probability(row["p"], row["surprise"], found) for row in sights])


def _row(name: str, mine: Sequence[Sight], *, corpus: Any, strangers: Any) -> list[Any]:
    faulty = [row for row in mine if row["truth"] and row["truth"] != UNLISTED]
    right = [bool(row["correct"]) for row in mine]
    numbers = [
        float(np.mean([row["hit"] for row in faulty])),
        float(np.mean(right)),
        float(np.mean(corpus)),
        float(np.mean(strangers)),
        ece(corpus.tolist(), right),
        ece(strangers.tolist(), right),
    ]
    return [name, len(mine), len(faulty), *(round(x, 3) for x in numbers)]


def tables(sights: Sequence[Sight], corpus: ClaimMap) -> list[dict[str, Any]]:
    """Return what was stated against what was right: by round, each through a map of the others, and in bins.

    Parameters
    ----------
    sights
        What was said at first sight.
    corpus
        The map that held-out architectures of the corpus give.
    """
    corpus_said = _through(sights, corpus)
    said = np.zeros(len(sights))
    where = np.array([row["round"] for row in sights])
    rows = []
    for name in dict.fromkeys(where.tolist()):
        mine = np.flatnonzero(where == name)
        some = [sights[i] for i in mine.tolist()]
        others = stranger_map(sights, usual=corpus.usual, without=(name, CHECKED))
        said[mine] = _through(some, others)
        rows.append(_row(name, some, corpus=corpus_said[mine], strangers=said[mine]))
    rows.append(_row("all", sights, corpus=corpus_said, strangers=said))
    right = np.array([bool(row["correct"]) for row in sights])
    return [
        {
            "title": "Strangers' programs at first sight",
            "columns": ["round", "runs", "faulty", "top1", "right", "stated, corpus", "stated, strangers",
                        "ece, corpus", "ece, strangers"],
            "rows": rows,
            "note": "Stated through the map that the corpus gives, and through the one that the other rounds give; "
                    f"{CHECKED} are in none of these.",
            "readme": True,
        },
        {
            "title": "Reliability of the first claim",
            "columns": ["stated", "runs", "said", "right"],
            "rows": _bins(said, right),
            "note": "Mechanism and layer together, of strangers' programs at first sight; each round through a map of the others.",
            "readme": True,
        },
    ]  # fmt: skip


def _bins(said: NDArray[np.float64], right: NDArray[np.bool_]) -> list[list[Any]]:
    rows = []
    for low, high in BINS:
        mine = (said >= low) & (said < high)
        if mine.any():
            label = f"{low:.2f} to {min(high, 1):.2f}"
            numbers = (round(float(said[mine].mean()), 3), round(float(right[mine].mean()), 3))
            rows.append([label, int(mine.sum()), *numbers])
    return rows
