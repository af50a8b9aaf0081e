"""Time of a step without watching, and of each kind of step with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.overhead.programs import Program
from neuraldbg.capture import Capture, Schedule
from neuraldbg.capture.compiled import is_optimized
from neuraldbg.capture.schedule import Rhythm

__all__ = ["Costs", "costs", "row"]

# Steps before the first that is timed.
CYCLE = 32
FEW = 5
# Steps that are watched in a row, more than are noted before they are worked out.
STRETCH = 256
NEVER = 10**9
RUN, LONG = 1000, 10_000
# The sparsest rhythm of the default schedule.
STEADY = Schedule().sparsest


@dataclass
class Costs:
    """Microseconds of a plain step, of a second plain block, and of every kind of watched step."""

    plain: float
    control: float
    unsampled: float
    sampled: float
    traced: float
    quartiles: tuple[float, float]
    compiled: bool

    def every(self, steps: int) -> float:
        """Return the ratio to a plain step where every so many steps one is sampled."""
        schedule = Schedule()
        traced = 1 / (schedule.traced_every_compiled if self.compiled else schedule.traced_every)
        close = (1 - traced) * self.sampled + traced * self.traced
        return ((steps - 1) * self.unsampled + close) / steps / self.plain

    def first(self, steps: int) -> float:
        """Return the ratio over the first steps of a run with the default schedule."""
        rhythm, total = Rhythm(Schedule()), self.traced
        for step in range(1, steps):
            sampled, traced = rhythm.next(step, compiled=self.compiled)
            total += self.traced if traced else self.sampled if sampled else self.unsampled
        return total / steps / self.plain


def timed(step: Callable[[], Any], count: int) -> list[float]:
    """Return the CPU microseconds of so many steps."""
    out = []
    for _ in range(count):
        start = time.process_time_ns()
        step()
        out.append((time.process_time_ns() - start) / 1e3)
    return out


def _unsampled(program: Program, rounds: int) -> tuple[float, float, list[float], list[float]]:
    """Return a plain and an unsampled step, the ratios of neighbours, and those of plain neighbours.

    A few steps of each kind in turn, so that a change of the machine meets all of them. In some steps what was noted
    in others is worked out or written, or the next ones are made ready: what that takes is spread over all, in the
    share that they have where watching is not interrupted.
    """
    quiet = Schedule(dense=3, every=NEVER, sparsest=NEVER, armed=0)
    capture = Capture(program.model, schedule=quiet)
    capture.start()
    timed(program.step, CYCLE)
    plain, ratios, control = [], [], []
    for _ in range(rounds):
        capture.pause()
        before = timed(program.step, FEW)
        capture.resume()
        usual, _ = _by_kind(capture, program, 1 + FEW)
        capture.pause()
        after = timed(program.step, FEW)
        capture.resume()
        plain += before + after
        base = (np.median(before) + np.median(after)) / 2
        if usual:
            ratios.append(float(np.median(usual) / base))
        control.append(float(np.median(after) / np.median(before)))
    usual, others = _by_kind(capture, program, STRETCH)
    capture.stop()
    base = float(np.median(plain))
    more = _mean(others) - float(np.median(usual)) if others and usual else 0.0
    # The ratio of neighbours stands where both drift together.
    unsampled = base * float(np.median(ratios)) + max(0.0, more) * len(others) / STRETCH
    return base, unsampled, ratios, control


def _by_kind(capture: Capture, program: Program, count: int) -> tuple[list[float], list[float]]:
    """Return the times of watched steps: those in which nothing was done but to note them, and the others."""
    noted, others = [], []
    for _ in range(count):
        before = _waiting(capture)
        spent = timed(program.step, 1)
        (noted if _waiting(capture) == before + 1 else others).extend(spent)
    # Where nothing is noted all are of one kind, but for those that write.
    return (noted, others) if noted else (others, [])


def _waiting(capture: Capture) -> int:
    """Return how many steps were only noted."""
    return len(capture._quiet.rows)  # noqa: SLF001 - what waits is nobody's business but ours


def _mean(times: list[float]) -> float:
    """Return the mean without the twentieth that loud neighbours made slowest."""
    return float(np.mean(sorted(times)[: max(1, round(0.95 * len(times)))]))


def _sampled(program: Program, rounds: int) -> tuple[float, float]:
    """Return what a sampled step and a traced one take, as multiples of plain ones in between."""
    every = 4
    schedule = Schedule(dense=3, every=every, sparsest=every, traced_every=2, armed=0)
    capture = Capture(program.model, schedule=schedule)
    capture.start()
    timed(program.step, 2 * every)
    ratios: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds * every):
        tick = capture._session._tick  # noqa: SLF001 - which kind of step comes is nobody's business but ours
        spent = timed(program.step, 1)
        if tick.sampled:
            capture.pause()
            ratios[tick.traced].append(spent[0] / float(np.median(timed(program.step, 3))))
            capture.resume()
    capture.stop()
    return float(np.median(ratios[False])), float(np.median(ratios[True]))


def costs(program: Program, budget_s: float = 14.0) -> Costs:
    """Return what one program costs with and without watching; ``budget_s`` of CPU time for either part."""
    once = float(np.median(timed(program.step, 10))) / 1e6
    rounds = min(200, max(24, int(budget_s / (3 * FEW * once))))
    close = min(60, max(12, int(budget_s / (9 * once))))
    base, unsampled, ratios, control = _unsampled(program, rounds)
    sampled, traced = _sampled(program, close)
    return Costs(
        plain=base,
        control=float(np.median(control)),
        unsampled=unsampled,
        sampled=sampled * base,
        traced=traced * base,
        quartiles=(float(np.quantile(ratios, 0.25)), float(np.quantile(ratios, 0.75))),
        compiled=is_optimized(program.model),
    )


def row(name: str, found: Costs) -> dict[str, Any]:
    """Return the row of a table."""
    low, high = found.quartiles
    return {
        "program": name,
        "step, ms": round(found.plain / 1e3, 3),
        f"every {STEADY}th": round(found.every(STEADY), 4),
        f"first {RUN:,} steps": round(found.first(RUN), 4),
        f"first {LONG:,} steps": round(found.first(LONG), 4),
        "unsampled (quartiles)": f"{found.unsampled / found.plain:.3f} ({low:.3f} to {high:.3f})",
        "sampled": round(found.sampled / found.plain, 2),
        "traced": round(found.traced / found.plain, 2),
        "control": round(found.control, 4),
        "unsampled, µs more": round(found.unsampled - found.plain),
    }
