"""Cases from anywhere with the case interface, and runs of them under watch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.corpus.store import CACHE, Store
from benchmarks.learning.table import Label

__all__ = ["Job", "Ran", "find_cases", "label_of", "run_all", "run_one", "with_harm"]

# The twin counts as clearly better when its metric beats the faulty run's by this share of the larger one.
CLEARLY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run to make: where its case comes from, its id, seed, whether it is the fixed twin, or may be a kept run.

    ``device`` is the one that models are made on; that of PyTorch's defaults where it is empty.
    """

    source: str
    case: str
    seed: int
    fixed: bool
    again: bool = False
    device: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A finished run: label, outcome, diagnosis as plain data, and the recording for later stages."""

    job: Job
    label: Label
    outcome: dict[str, Any]
    recording: Any
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Single:
    """A module per case, seen as a case."""

    id: str
    truth: dict[str, Any]
    train: Callable[..., Any]
    family: str
    title: str = ""


def find_cases(source: str) -> dict[str, Any]:
    """Return the cases of a source by id.

    Parameters
    ----------
    source
        A module with ``CASES``, or a folder of modules that each have ``CASES`` or ``ID``, ``TRUTH``, ``train``.
    """
    path = Path(source)
    if path.is_dir():
        modules = [_load(file) for file in sorted(path.glob("*.py")) if file.name != "__init__.py"]
    elif path.suffix == ".py":
        modules = [_load(path)]
    else:
        modules = [importlib.import_module(source)]
    found = [case for module in modules for case in _cases_of(module)]
    if not found:
        msg = f"no cases in {source!r}: a module with CASES, or a folder of modules with ID, TRUTH and train, was expected"
        raise ValueError(msg)
    return {case.id: case for case in found}


def _load(file: Path) -> ModuleType:
    sys.path.insert(0, str(file.parent.resolve()))
    spec = importlib.util.spec_from_file_location(f"case_{file.stem}", file)
    if spec is None or spec.loader is None:
        msg = f"{file} is not a Python module"
        raise ImportError(msg)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _cases_of(module: ModuleType) -> list[Any]:
    if hasattr(module, "CASES"):
        found = module.CASES
        return list(found.values() if isinstance(found, dict) else found)
    if all(hasattr(module, name) for name in ("ID", "TRUTH", "train")):
        family = getattr(module, "FAMILY", "other")
        return [_Single(id=module.ID, truth=module.TRUTH, train=module.train, family=family)]
    return []


def label_of(case: Any, *, seed: int, fixed: bool, hurts: bool | None) -> Label:
    """Return the label of a run; the fixed twin is a healthy run of its family."""
    truth = case.truth
    healthy = fixed or not truth["mechanisms"]
    onset = truth.get("onset")
    layers = truth.get("layers")
    return Label(
        id=case.id,
        family=getattr(case, "family", "other"),
        seed=seed,
        mechanisms=() if healthy else tuple(truth["mechanisms"]),
        also=() if healthy else tuple(truth.get("also") or ()),
        layers=None if healthy or not layers else tuple(layers),
        onset=None
        if healthy or onset is None
        else (onset, onset)
        if isinstance(onset, int)
        else tuple(onset),
        hurts=None if healthy else hurts,
    )


def run_one(case: Any, *, seed: int, fixed: bool) -> tuple[dict[str, Any], Any, str]:
    """Train a case under watch and return outcome, recording, and the error that ended it, if any."""
    import torch

    from neuraldbg.debugger import NeuralDbg

    torch.set_num_threads(1)
    seen: list[Any] = []

    @contextmanager
    def observe(model: Any, _optimizer: Any = None) -> Iterator[Any]:
        with NeuralDbg(model) as dbg:
            seen.append(dbg)
            yield _Told()

    error, outcome = "", {"metric": float("nan"), "better": "lower", "loss": float("nan")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outcome = dict(case.train(observe, seed=seed, fixed=fixed))
        except Exception as problem:  # noqa: BLE001 - a program that crashes is a result like any other
            error = f"{type(problem).__name__}: {problem}"
    return outcome, seen[0].recording if seen else None, error


class _Told:
    def loss(self, value: float) -> None:
        """Take a loss that we see for ourselves."""


def _work(job: Job) -> Ran:
    case = find_cases(job.source)[job.case]
    store, name = _kept(job)
    if job.again and store.has(name):
        body = store.read(name)
        outcome, error = body["outcome"], body["error"]
        recording = store.recording(name) if body["seen"] else None
    else:
        _on(job.device)
        outcome, recording, error = run_one(case, seed=job.seed, fixed=job.fixed)
        plain = {k: v for k, v in outcome.items() if isinstance(v, (str, int, float))}
        body = {"outcome": plain, "error": error, "seen": recording is not None}
        store.write(name, body, recording)
    label = label_of(case, seed=job.seed, fixed=job.fixed, hurts=None)
    return Ran(job=job, label=label, outcome=outcome, recording=recording, error=error)


def _on(device: str) -> None:
    import torch

    if device:
        torch.set_default_device(device)


def _kept(job: Job) -> tuple[Store, str]:
    folder = CACHE.parent / "cases" / Path(job.source).name
    return Store(folder), f"{job.case}-{job.seed}{'~twin' if job.fixed else ''}"


def run_all(
    source: str,
    seeds: Sequence[int],
    *,
    workers: int = 2,
    again: bool = False,
    device: str = "",
) -> Iterator[Ran]:
    """Yield every run of a source, twins too, in a fixed order; progress goes to stderr.

    Parameters
    ----------
    source, seeds
        The cases and how often to run each.
    workers
        Processes.
    again
        Take the recordings that the last call kept, where there are any: the programs do not train again.
    device
        Where the programs train, those that follow PyTorch's default device.
    """
    cases = find_cases(source)
    jobs = [
        Job(source=source, case=name, seed=seed, fixed=fixed, again=again, device=device)
        for seed in seeds
        for name, case in cases.items()
        for fixed in ((False, True) if case.truth["mechanisms"] else (False,))
    ]
    with get_context("spawn").Pool(workers) as pool:
        for done, ran in enumerate(pool.imap(_work, jobs), start=1):
            sys.stderr.write(f"\r{done}/{len(jobs)} {ran.job.case[:40]:<40}")
            if ran.recording is not None and (broken := ran.recording.facts.get("disarmed")):
                sys.stderr.write(f"\ncapture broke in {ran.job.case}: {broken}\n")
            yield ran
    sys.stderr.write("\n")


def hurts(faulty: dict[str, Any], twin: dict[str, Any]) -> bool:
    """Return whether the twin is clearly better: by a tenth of the larger metric, or the fault broke the run."""
    a, b = float(faulty["metric"]), float(twin["metric"])
    if a != a:  # noqa: PLR0124 - NaN
        return b == b  # noqa: PLR0124
    gain = b - a if twin["better"] == "higher" else a - b
    return gain > CLEARLY * max(abs(a), abs(b), 1e-12)


def with_harm(runs: Iterable[Ran]) -> list[Ran]:
    """Return the runs that were recorded, with labels that say whether their fault did harm.

    A fault without a twin is taken to have done some.
    """
    held = [ran for ran in runs if ran.recording is not None]
    twins = {(ran.job.case, ran.job.seed): ran.outcome for ran in held if ran.job.fixed}
    out = []
    for ran in held:
        twin = twins.get((ran.job.case, ran.job.seed))
        harm = (twin is None or hurts(ran.outcome, twin)) if ran.label.mechanisms else None
        out.append(replace(ran, label=replace(ran.label, hurts=harm)))
    return out
