"""What the engine claims of the runs of a table, and how right it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.learning.table import Label, Row
from neuraldbg.explain.claims import UNKNOWN, Claim, claims
from neuraldbg.inference import infer
from neuraldbg.records.catalogue import Catalogue

__all__ = ["Verdict", "ece", "figures", "judge", "tolerance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was claimed of one run.

    ``p_healthy`` and ``surprise`` are the posterior's; ``claims`` are most probable first.
    """

    label: Label
    p_healthy: float
    surprise: float
    claims: tuple[Claim, ...]

    @property
    def first(self) -> Claim | None:
        """The leading claim."""
        return self.claims[0] if self.claims else None

    @property
    def hit(self) -> bool:
        """Whether the leading mechanism is an acceptable one."""
        return self.first is not None and self.first.mechanism in self._right()

    @property
    def in_three(self) -> bool:
        """Whether an acceptable mechanism is among the first three."""
        return any(c.mechanism in self._right() for c in self.claims[:3])

    def _right(self) -> tuple[str, ...]:
        return (*self.label.mechanisms, *self.label.second)

    @property
    def place(self) -> bool:
        """Whether the leading claim's layer is right; claims without a true layer are right anywhere."""
        if self.label.layers is None or self.first is None or self.label.second:
            return True
        return self.first.told in self.label.layers

    @property
    def onset(self) -> bool | None:
        """Whether the onset is within 5 steps or 5 %; None where the truth does not say."""
        if self.label.onset is None or self.first is None:
            return None
        low, high = self.label.onset
        slack = tolerance(low)
        return low - slack <= self.first.step <= high + slack

    @property
    def correct(self) -> bool:
        """Whether the joint claim, mechanism and layer, is right."""
        return bool(self.label.mechanisms) and self.hit and self.place

    @property
    def accused(self) -> bool:
        """Whether some known mechanism is claimed with at least even odds."""
        return any(c.probability >= 0.5 for c in self.claims)


def tolerance(step: int) -> float:
    """Return how far an onset may lie from the true step."""
    return max(5.0, 0.05 * step)


def judge(rows: Iterable[Row], catalogue: Catalogue) -> list[Verdict]:
    """Return the verdict on every run."""
    out = []
    for row in rows:
        posterior = infer(row.evidence, catalogue, engine="numpy")
        out.append(
            Verdict(
                label=row.label,
                p_healthy=posterior.p_healthy,
                surprise=posterior.surprise,
                claims=claims(posterior, row.evidence, catalogue),
            )
        )
    return out


def ece(probabilities: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal mass."""
    p, y = np.asarray(probabilities, float), np.asarray(right, float)
    if p.size == 0:
        return float("nan")
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, p.size))
    return float(sum(part.size * abs(p[part].mean() - y[part].mean()) for part in parts) / p.size)


def _share(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def figures(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return the figures of a set of verdicts; see the columns of the README's table."""
    faulty = [v for v in verdicts if v.label.mechanisms and v.label.hurts and not _unknown(v.label)]
    healthy = [v for v in verdicts if not v.label.mechanisms]
    unknown = [v for v in verdicts if _unknown(v.label) and v.label.hurts]
    # The layers of a pair belong to one of its faults: they do not say where the other sits.
    placed = [v for v in faulty if v.hit and v.label.layers is not None and not v.label.second]
    timed = [v.onset for v in faulty if v.hit and v.onset is not None]
    judged = [v for v in (*faulty, *healthy, *unknown) if v.first is not None]
    stated = [v.claims[0].probability for v in judged]
    right = [v.correct for v in judged]
    return {
        "faulty": len(faulty),
        "healthy": len(healthy),
        "unknown": len(unknown),
        "top1": _share([v.hit for v in faulty]),
        "top3": _share([v.in_three for v in faulty]),
        "layer": _share([v.place for v in placed]),
        "onset": _share([bool(t) for t in timed]),
        "missed": _share([v.p_healthy >= 0.5 for v in faulty]),
        "false_alarms": _share([v.accused for v in healthy]),
        "unknown_blamed": _share(
            [
                any(c.probability >= 0.5 and c.mechanism != UNKNOWN for c in v.claims)
                for v in unknown
            ]
        ),
        "ece": ece(stated, right),
        "brier": float(np.mean((np.array(stated) - np.array(right)) ** 2))
        if stated
        else float("nan"),
        "claimed": float(np.mean(stated)) if stated else float("nan"),
    }


def _unknown(label: Label) -> bool:
    return label.mechanisms[:1] == (UNKNOWN,)
