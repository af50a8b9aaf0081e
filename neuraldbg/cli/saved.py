"""``explain``, ``chain``, ``report`` and ``export``: questions to one saved run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from neuraldbg.answers import Answers
from neuraldbg.cli.say import say, say_diagnosis, say_json, status
from neuraldbg.distributed import MergedRun, merge
from neuraldbg.errors import RecordingError
from neuraldbg.saved import SavedRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TABLES", "chain", "explain", "export", "opened", "opened_run", "report"]

TABLES: dict[str, Callable[[Answers], pd.DataFrame]] = {
    "events": lambda run: run.events_frame(),
    "hypotheses": lambda run: run.hypotheses_frame(),
    "steps": lambda run: run.steps_frame(),
    "layers": lambda run: run.layers_frame(),
}


def opened(path: Path) -> SavedRun:
    """Return a saved run; a name that does not exist is answered with the near ones.

    Raises
    ------
    RecordingError
        If it cannot be read.
    """
    if not path.exists() and path.parent.is_dir():
        names = [p.name for p in path.parent.glob("*.ndbg")]
        near = get_close_matches(path.name, names, n=2, cutoff=0.4)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        msg = f"there is no file {str(path)!r}.{hint}"
        raise RecordingError(msg)
    if path.is_dir():
        msg = f"{str(path)!r} is a folder; for all its recordings say: neuraldbg triage {path}"
        raise RecordingError(msg)
    return SavedRun(path)


def opened_run(*paths: Path) -> Answers:
    """Return the run in a file, or that of several ranks in a folder or in several files.

    Raises
    ------
    RecordingError
        If one cannot be read, or they are not of one run.
    """
    if len(paths) == 1 and not paths[0].is_dir():
        return opened(paths[0])
    if len(paths) > 1:
        return MergedRun(paths)
    try:
        return merge(paths[0])
    except RecordingError as error:
        msg = f"{error} For every recording of a folder by itself say: neuraldbg triage {paths[0]}"
        raise RecordingError(msg) from error


def explain(options: argparse.Namespace) -> int:
    """Print the diagnosis, or why one failure happened."""
    run = opened_run(*options.files)
    diagnosis = run.diagnose()
    if options.failure is None:
        say_diagnosis(diagnosis, as_json=options.json)
        return status(diagnosis, options.fail_on)
    told = run.explain_failure(options.failure)
    if options.json:
        say_json("explanations", {"failure": options.failure, "explanations": told})
    elif not told:
        say(f"no event of the kind {options.failure} was seen in this run")
    for explanation in () if options.json else told:
        say(explanation.sentence)
        say("\n".join(f"    {line}" for line in explanation.details.splitlines()) + "\n")
    return status(diagnosis, options.fail_on)


def chain(options: argparse.Namespace) -> int:
    """Print the path from root to symptom."""
    found = opened_run(options.file).trace_causal_chain(options.failure)
    if options.json:
        say_json("chain", {"chain": found})
    else:
        say(str(found))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the HTML report and print its path."""
    path = options.output or options.file.with_suffix(".html")
    say(str(opened_run(options.file).report(path)))
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a table or the graph and print its path."""
    from neuraldbg.export import FORMATS, FRAMES, unknown_format, write_frame  # noqa: PLC0415 - pandas loads with it

    run, suffix = opened_run(options.file), options.output.suffix.lower()
    if suffix not in {*FORMATS, *FRAMES}:
        raise unknown_format(suffix, "export", (*FORMATS, *FRAMES))
    if suffix in FRAMES:
        say(str(write_frame(TABLES[options.table](run), options.output)))
    else:
        say(str(run.export_graph(options.output)))
    return 0
