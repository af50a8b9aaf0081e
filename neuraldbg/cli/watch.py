"""``neuraldbg watch``: follow a recording while it is written, with the posterior as it moves."""

from __future__ import annotations

import argparse
import sys
import time

from neuraldbg.cli.saved import opened
from neuraldbg.cli.say import say
from neuraldbg.records.diagnosis import Diagnosis
from neuraldbg.records.event import SemanticEvent
from neuraldbg.saved import SavedRun

__all__ = ["watch"]

TOLD_AT_ONCE = 12


def watch(options: argparse.Namespace) -> int:
    """Print new events and the posterior whenever the file grew; stop with the run."""
    follower = _Follower()
    size = -1
    while True:
        now = options.file.stat().st_size if options.file.exists() else -2
        if now != size or options.once:
            size = now
            run = opened(options.file)
            follower.tell(run)
            if options.once or run.ended:
                return 0
        time.sleep(max(options.every, 0.1))


class _Follower:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str | None]] = set()

    def tell(self, run: SavedRun) -> None:
        """Print what is new in a run."""
        diagnosis = run.diagnose()
        fresh = [e for e in diagnosis.events if (e.name, e.layer) not in self._told]
        self._told |= {(e.name, e.layer) for e in fresh}
        for event in fresh[:TOLD_AT_ONCE]:
            say(_line(event))
        if len(fresh) > TOLD_AT_ONCE:
            say(f"  … and {len(fresh) - TOLD_AT_ONCE} more events")
        say(_posterior(diagnosis))
        if run.ended:
            say("the run has ended")
            for explanation in diagnosis.explanations[:1]:
                say(explanation.sentence)
        sys.stdout.flush()


def _line(event: SemanticEvent) -> str:
    where = f" in '{event.layer}'" if event.layer else ""
    return f"  step {event.span.first:>6}  {event.before} → {event.after}{where} ({event.name})"


def _posterior(diagnosis: Diagnosis) -> str:
    leading = [h for h in diagnosis.hypotheses if h.p_mechanism >= 0.05][:3]
    causes = "  ".join(
        f"{h.mechanism}{f' in {h.layer}' if h.layer else ''} {h.p_mechanism:.2f}" for h in leading
    )
    return f"step {diagnosis.coverage.steps}: healthy {diagnosis.p_healthy:.2f}  {causes}"
