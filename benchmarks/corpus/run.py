"""Trains the corpus under observation, on all cores, resumable."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.corpus.cases import CorpusCase
from benchmarks.corpus.loop import null_observe
from benchmarks.corpus.plan import plan
from benchmarks.corpus.store import CACHE, Store, corpus_hash

__all__ = ["Job", "jobs", "perform", "run"]

SPREAD_DRAWS = 4
"""Plain draws of each family that are run a second time with another seed."""

Job = tuple[str, str, int, bool, int]
"""Run id, family, index in the family's plan, whether it is the twin, seed."""


def jobs(families: Sequence[str] = ()) -> list[Job]:
    """Return every run of the corpus once: cases, twins of their own, and second seeds."""
    found: dict[str, Job] = {}
    by_family: dict[str, int] = {}
    for case in plan(families):
        index = by_family.get(case.family, 0)
        by_family[case.family] = index + 1
        found[case.id] = (case.id, case.family, index, False, case.number)
        if not case.base:
            found[case.twin_id] = (case.twin_id, case.family, index, True, case.number)
        if case.kind == "plain" and case.number < SPREAD_DRAWS:
            again = f"{case.id}@2"
            found[again] = (again, case.family, index, False, case.number + 1000)
    return list(found.values())


def run(
    families: Sequence[str] = (),
    *,
    limit: int = 0,
    workers: int = 0,
    fresh: bool = False,
    spread: bool = False,
    store: Store | None = None,
) -> int:
    """Train what is missing and return how many runs were made.

    Parameters
    ----------
    limit
        At most so many runs; 0 for all.
    fresh
        Run again what is stored.
    spread
        Take the runs in a shuffled order (with their twins), so that a limit sees all families.
    """
    store = store or Store(CACHE)
    todo = [job for job in jobs(families) if fresh or not store.has(job[0])]
    if spread:
        todo = _with_twins(_shuffled(todo), todo, limit)
    todo = todo[:limit] if limit and not spread else todo
    bar = _Bar(len(todo))
    arguments = [(job, str(store.folder)) for job in todo]
    count = workers or os.cpu_count() or 1
    if count == 1:
        torch.set_num_threads(1)
        results: Any = map(_work, arguments)
        for done in results:
            bar.step(done)
    else:
        with multiprocessing.get_context("spawn").Pool(count, _start) as pool:
            for done in pool.imap_unordered(_work, arguments, chunksize=1):
                bar.step(done)
    bar.close()
    return len(todo)


def _shuffled(todo: list[Job]) -> list[Job]:
    generator = torch.Generator().manual_seed(1)
    return [todo[i] for i in torch.randperm(len(todo), generator=generator).tolist()]


def _with_twins(order: list[Job], todo: list[Job], limit: int) -> list[Job]:
    known = {job[0]: job for job in todo}
    chosen: dict[str, Job] = {}
    for job in order:
        if limit and len(chosen) >= limit:
            break
        case = _case(job)
        for name in (job[0], case.twin_id):
            if name in known:
                chosen[name] = known[name]
    return list(chosen.values())


def _start() -> None:
    torch.set_num_threads(1)


def _case(job: Job) -> CorpusCase:
    _, family, index, _, _ = job
    return plan([family])[index]


def _work(argument: tuple[Job, str]) -> tuple[str, float, str | None]:
    job, folder = argument
    started = time.perf_counter()
    try:
        perform(job, Store(folder_path(folder)))
    except Exception:  # noqa: BLE001 - one bad run must not end the others; it is reported
        return job[0], time.perf_counter() - started, traceback.format_exc(limit=-3)
    return job[0], time.perf_counter() - started, None


def folder_path(folder: str) -> Any:
    """Return a folder as a path."""
    return CACHE.__class__(folder)


def perform(job: Job, store: Store, *, watched: bool = True) -> dict[str, Any]:
    """Run one job, store it, and return what was stored beside the recording."""
    run_id, _, _, fixed, seed = job
    case = _case(job)
    seen: list[Any] = []
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = case.train(_observer(seen) if watched else null_observe, seed, fixed=fixed)
    body = {
        "id": run_id,
        "family": case.family,
        "kind": "twin" if fixed else case.kind,
        "title": "healthy twin" if fixed else case.title,
        "truth": {"mechanisms": []} if fixed else case.truth,
        "injected": [] if fixed else list(case.injected),
        "twin": None if fixed or case.kind == "plain" else case.twin_id,
        "number": case.number,
        "seed": seed,
        "program": _facts(case, fixed=fixed),
        "outcome": outcome,
        "seconds": round(time.process_time() - started, 3),
        "versions": {
            "torch": version("torch").split("+")[0],
            "neuraldbg": version("neuraldbg"),
            "corpus": corpus_hash(),
        },
    }
    recording = _recording(seen)
    body["capture_failed"] = isinstance(recording, str) and recording
    store.write(run_id, body, None if isinstance(recording, str) else recording)
    return body


def _facts(case: CorpusCase, *, fixed: bool) -> dict[str, Any]:
    program = case.healthy if fixed else case.broken
    return {
        "task": program.task.name,
        "optimizer": program.optimizer,
        "lr": program.lr,
        "schedule": program.schedule_name,
        "steps": program.steps,
        "batch": program.size,
        "precision": program.precision,
        "config": {
            k: v for k, v in program.config.items() if isinstance(v, (int, float, str, bool))
        },
    }


def _observer(seen: list[Any]) -> Any:
    from neuraldbg import NeuralDbg

    @contextmanager
    def observe(model: Any, _optimizer: Any) -> Iterator[Any]:
        dbg = NeuralDbg(model)
        seen.append(dbg)
        with null_observe(model, None) as watch, dbg:
            yield watch

    return observe


def _recording(seen: list[Any]) -> Any:
    """Return the recording, or the text of the error that kept it from being made."""
    if not seen:
        return None
    try:
        return seen[0].recording
    except Exception as error:  # noqa: BLE001 - a failure of capture is a finding, not an end
        return f"{type(error).__name__}: {error}"


class _Bar:
    """A progress bar on the error stream."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self.started = time.perf_counter()

    def step(self, result: tuple[str, float, str | None]) -> None:
        run_id, _, error = result
        self.done += 1
        if error:
            self.failed += 1
            sys.stderr.write(f"\n{run_id} failed: {error}\n")
        if sys.stderr.isatty() or self.done % 25 == 0 or self.done == self.total:
            self._draw()

    def _draw(self) -> None:
        spent = time.perf_counter() - self.started
        left = spent / self.done * (self.total - self.done)
        filled = "#" * (30 * self.done // max(self.total, 1))
        end = "\r" if sys.stderr.isatty() else "\n"
        sys.stderr.write(
            f"[{filled:<30}] {self.done}/{self.total}  {spent / self.done:.2f} s each, "
            f"{left / 60:.1f} min left, {self.failed} failed{end}"
        )
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\n")
