"""``compare`` and ``triage``: questions to several saved runs."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from neuraldbg.cli.saved import opened
from neuraldbg.cli.say import EXIT_FAILURE, say, say_json
from neuraldbg.errors import NeuralDBGError, UsageError
from neuraldbg.records.names import clause, label
from neuraldbg.sweep import (
    Difference,
    Verdict,
    common_settings,
    difference,
    in_words,
    verdict,
)

__all__ = ["compare", "triage"]


def compare(options: argparse.Namespace) -> int:
    """Print where two runs part and what the engine says of each."""
    found = difference(opened(options.first), opened(options.second))
    if options.json:
        say_json("comparison", {"comparison": found})
    else:
        say(_told(found, str(options.first), str(options.second)))
    return 0


def _told(found: Difference, first: str, second: str) -> str:
    lines = [_headline(found)]
    if found.same_until is not None:
        lines.append(f"    identical   until step {found.same_until}")
    if found.also:
        lines.append(f"    also there  {', '.join(found.also)}")
    if any(name.endswith("model") for name, _, _ in found.settings):
        lines.append("    note        the models differ; only what both have is compared")
    for name, a, b in found.settings:
        lines.append(f"    setting     {name}: {a} in A, {b} in B")
    for letter, path, sentence in zip("AB", (first, second), found.sentences, strict=True):
        lines += ["", f"{letter}: {path}", f"    {sentence}"]
    return "\n".join(lines)


def _headline(found: Difference) -> str:
    if found.step is None:
        return "the runs do not part by more than a factor of three anywhere"
    sizes = f"{found.first:.3g} in A and {found.second:.3g} in B"
    return f"the runs part at step {found.step}{clause(found.layer)}: {in_words(found.what)} is {sizes}"


def triage(options: argparse.Namespace) -> int:
    """Print one table of a folder's recordings, grouped by what they died of."""
    if not options.folder.is_dir():
        msg = f"there is no folder {str(options.folder)!r}"
        raise UsageError(msg)
    paths = sorted(options.folder.rglob("*.ndbg"))
    if not paths:
        msg = f"no recording (*.ndbg) lies in {str(options.folder)!r}"
        raise UsageError(msg)
    verdicts = _judged(paths, options.folder, options.jobs)
    shared = common_settings(verdicts)
    if options.json:
        say_json("triage", {"runs": verdicts, "settings": shared})
    else:
        say(_table(verdicts, shared))
    worst = max((v.p_failure for v in verdicts), default=0.0)
    return EXIT_FAILURE if options.fail_on is not None and worst >= options.fail_on else 0


def _judged(paths: list[Path], folder: Path, jobs: int) -> list[Verdict]:
    # joblib comes with pgmpy; under its Dask or Ray backend the same line uses a cluster.
    from joblib import Parallel, delayed  # noqa: PLC0415

    work = (delayed(_verdict)(path, str(path.relative_to(folder))) for path in paths)
    return list(Parallel(n_jobs=jobs)(work))


def _verdict(path: Path, name: str) -> Verdict:
    try:
        return verdict(opened(path), name)
    except NeuralDBGError as error:
        return Verdict(name=name, mechanism="unreadable", sentence=str(error))


def _table(verdicts: list[Verdict], shared: dict[str, dict[str, str]]) -> str:
    failed = [v for v in verdicts if v.p_failure >= 0.5]
    lines = [f"{len(failed)} of {len(verdicts)} runs failed"]
    count = Counter(v.mechanism for v in verdicts)
    # What most runs died of comes first, what needs nobody's attention last.
    groups = sorted(count, key=lambda m: (m == "healthy", m == "unreadable", -count[m], m))
    width = max(len(v.name) for v in verdicts)
    for group in groups:
        runs = [v for v in verdicts if v.mechanism == group]
        settings = ", ".join(f"{k} = {v}" for k, v in shared.get(group, {}).items())
        lines += ["", f"{group}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}"]
        who = "only this run has" if len(runs) == 1 else "only these runs have"
        lines += [f"    {who} {settings}"] if settings else []
        lines += [f"    {v.name:<{width}}  {_row(v)}" for v in runs]
    return "\n".join(lines)


def _row(found: Verdict) -> str:
    if found.mechanism == "unreadable":
        return found.sentence
    where = label(found.layer, "–")
    step = "–" if found.step is None else str(found.step)
    loss = "–" if found.final_loss is None else f"{found.final_loss:.4g}"
    return f"p = {found.probability:.2f}  from step {step:>5}  final loss {loss:>9}  {where}"
