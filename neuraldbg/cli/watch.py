"""``neuraldbg watch``: follow a recording while it is written, with the posterior as it moves."""

from __future__ import annotations

import argparse
import sys
import time

from neuraldbg.cli.saved import opened
from neuraldbg.cli.say import say, say_json
from neuraldbg.recording.frames import PREFIX
from neuraldbg.records.diagnosis import CausalHypothesis, Diagnosis
from neuraldbg.records.event import SemanticEvent
from neuraldbg.records.names import clause
from neuraldbg.saved import SavedRun

__all__ = ["watch"]

TOLD_AT_ONCE = 12


def watch(options: argparse.Namespace) -> int:
    """Print new events and the posterior whenever the file grew; stop with the run."""
    follower = _Follower(as_json=options.json)
    size = 0
    if not (options.once or options.file.exists()):
        sys.stderr.write(f"waiting for {str(options.file)!r}; Ctrl-C ends\n")
    while True:
        now = options.file.stat().st_size if options.file.exists() else 0
        # A file that was only just created does not say yet what it is.
        if options.once or (now != size and now >= len(PREFIX)):
            size = now
            run = opened(options.file)
            follower.tell(run)
            if options.once or run.ended:
                return 0
        time.sleep(max(options.every, 0.1))


class _Follower:
    """Remembers what was told."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._told: dict[tuple[str, str | None], int] = {}

    def tell(self, run: SavedRun) -> None:
        """Print what is new in a run."""
        diagnosis = run.diagnose()
        fresh = [e for e in diagnosis.events if self._is_new(e)]
        if self._as_json:
            body = {
                "steps": diagnosis.coverage.steps,
                "p_healthy": diagnosis.p_healthy,
                "causes": _leading(diagnosis),
                "events": fresh,
                "ended": run.ended,
            }
            say_json("watch", body, indent=None)
        else:
            self._say(diagnosis, fresh, ended=run.ended)
        sys.stdout.flush()

    def _is_new(self, event: SemanticEvent) -> bool:
        """Whether it begins after what was told of the same thing in the same place."""
        key = event.name, event.layer
        known = self._told.get(key, 0)
        self._told[key] = max(known, event.span.stop)
        return event.span.first >= known

    def _say(self, diagnosis: Diagnosis, fresh: list[SemanticEvent], *, ended: bool) -> None:
        for event in fresh[:TOLD_AT_ONCE]:
            say(_line(event))
        if len(fresh) > TOLD_AT_ONCE:
            say(f"  … and {len(fresh) - TOLD_AT_ONCE} more events")
        say(_posterior(diagnosis))
        if ended:
            say("the run has ended")
            told = [e.sentence for e in diagnosis.explanations[:1]] or [diagnosis.reason]
            say(told[0])


def _line(event: SemanticEvent) -> str:
    what = f"{event.before} → {event.after}{clause(event.layer)}"
    return f"  step {event.span.first:>6}  {what} ({event.name})"


def _posterior(diagnosis: Diagnosis) -> str:
    causes = "".join(
        f"  {h.mechanism}{clause(h.layer)} {h.p_mechanism:.2f}" for h in _leading(diagnosis)
    )
    return f"after {diagnosis.coverage.steps} steps: healthy {diagnosis.p_healthy:.2f}{causes}"


def _leading(diagnosis: Diagnosis) -> list[CausalHypothesis]:
    return [h for h in diagnosis.hypotheses if h.p_mechanism >= 0.05][:3]
