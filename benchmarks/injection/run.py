"""Draw, run and keep: ``python -m benchmarks.injection.run`` fills a local cache, resumable, on all cores."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from random import Random
from typing import Any

import torch

from benchmarks.injection.families import FAMILIES
from benchmarks.injection.faults import FAULTS, Wrong
from benchmarks.injection.kept import CACHE, Kept
from benchmarks.injection.odd import ODD
from benchmarks.injection.program import Program, Result, train, worse
from benchmarks.learning.table import Label

__all__ = ["jobs", "main"]

# A twin that does no better than this knows nothing, and its faults cannot be seen to hurt.
LEARNS = 0.93


@dataclass(frozen=True)
class Job:
    """``what`` is a fault or an oddity of ``family``, drawn for the ``number``-th time."""

    family: str
    what: str
    number: int

    @property
    def id(self) -> str:
        """Name of the run, and of its file."""
        return f"{self.family}--{self.what.replace('/', '_')}--{self.number}"


def jobs(draws: int) -> Iterator[Job]:
    """Yield all jobs, widest first: every family and fault once, then again."""
    for number in range(draws):
        for what in (*FAULTS, *ODD):
            for family in FAMILIES:
                if (what == "gan") == (family == "mlp-relu") or what != "gan":
                    yield Job(family, what, number)


def _watched(program: Program, seed: int) -> tuple[Result | None, Any]:
    from neuraldbg.debugger import NeuralDbg

    seen: list[Any] = []

    class Told:
        def loss(self, value: float) -> None:
            """Take a loss that we see for ourselves."""

    @contextmanager
    def observe(model: Any, _optimizer: Any) -> Iterator[Any]:
        with NeuralDbg(model) as dbg:
            seen.append(dbg)
            yield Told()

    try:
        result = train(program, observe, seed)
    except (RuntimeError, ValueError, FloatingPointError) as error:
        if not seen or seen[0].recording.steps.size == 0:
            sys.stderr.write(f"\n{program.family}: {error}\n")
            return None, None
        result = Result(losses=(float("nan"),), error=float("nan"))
    return result, seen[0].recording


def _work(job: Job) -> str:
    torch.set_num_threads(1)
    path = CACHE / f"{job.id}.pkl"
    if path.exists():
        return job.id
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kept = _make(job)
        except Exception as error:  # noqa: BLE001 - one draw that cannot run must not end the others
            sys.stderr.write(f"\n{job.id}: {type(error).__name__}: {error}\n")
            kept = []
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(pickle.dumps(kept, protocol=5))
    temporary.rename(path)
    return job.id


def _make(job: Job) -> list[Kept]:
    rng = Random(job.id)  # noqa: S311 - drawing programs, not secrets
    program = FAMILIES[job.family](rng)
    seed = rng.randrange(1000)
    if job.what in ODD:
        odd = ODD[job.what](program, rng)
        if odd is None:
            return []
        result, recording = _watched(odd, seed)
        if result is None or result.error > LEARNS:
            return []
        label = Label(id=job.id, family=odd.family, seed=seed)
        return [Kept(label=label, result=result, recording=recording, optimizer=odd.optimizer)]
    wrong = FAULTS[job.what](program, rng)
    return [] if wrong is None else _pair(job, program, wrong, seed)


def _pair(job: Job, program: Program, wrong: Wrong, seed: int) -> list[Kept]:
    """Run a fault and its twin; nothing is kept where the twin does not learn."""
    twin, quiet = _watched(program, seed)
    if twin is None or twin.error > LEARNS:
        return []
    faulty, recording = _watched(wrong.program, seed)
    if faulty is None:
        return []
    onset = (wrong.onset, wrong.onset) if isinstance(wrong.onset, int) else wrong.onset
    label = Label(
        id=job.id,
        family=program.family,
        seed=seed,
        mechanisms=(job.what.split("/")[0], *wrong.accept),
        also=wrong.also,
        layers=wrong.layers,
        onset=onset,
        hurts=worse(faulty, twin, onset[0], program.kind),
    )
    calm = Label(id=f"{job.id}--twin", family=program.family, seed=seed)
    return [
        Kept(label=label, result=faulty, recording=recording, optimizer=program.optimizer),
        Kept(label=calm, result=twin, recording=quiet, optimizer=program.optimizer),
    ]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--draws", type=int, default=3, help="how often every family and fault is drawn"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="a part of the names to run")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = [j for j in jobs(options.draws) if options.only in j.id]
    with get_context("spawn").Pool(options.workers) as pool:
        for done, name in enumerate(pool.imap_unordered(_work, wanted, chunksize=4), start=1):
            sys.stderr.write(f"\r{done}/{len(wanted)} {name:<60}")
    sys.stderr.write("\n")


if __name__ == "__main__":
    main()
