"""How right and how honest the diagnosis is.

``python -m benchmarks.diagnosis`` judges the evidence table with architectures held out, learns the numbers that
are shipped, and writes ``results/diagnosis.json``; ``--ablate`` judges it with parts of the engine left out and writes
``results/ablations.json``. ``--cases SOURCE`` runs any cases with the interface (a module
with ``CASES``, or a folder of modules with ``ID``, ``TRUTH`` and ``train``) through the whole engine instead and
writes ``results/cases_NAME.json``; with ``--again`` it judges the recordings that the last such run kept.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reliability as reliability_diagram
from benchmarks.cases import Ran, run_all, with_harm
from benchmarks.first_sight import ROUNDS
from benchmarks.learning.build import evidence_of
from benchmarks.learning.cross import Held, claim_map, held_out, learn_all, restated
from benchmarks.learning.fit import Options
from benchmarks.learning.judge import Verdict, ece, figures, judge
from benchmarks.learning.rounds import PATH as STRANGE
from benchmarks.learning.strangers import CHECKED, read_sights, stranger_map
from benchmarks.learning.strangers import tables as strangers
from benchmarks.learning.table import PATH as CORPUS
from benchmarks.learning.table import Row, digest, read_table
from benchmarks.machine import write
from neuraldbg.catalogue import DEFAULT, EXPERTS, learned
from neuraldbg.explain.claims import claims
from neuraldbg.inference import infer

SHIPPED = Path(learned.__file__).with_name(learned.FILE)
COLUMNS = (
    "top1",
    "top3",
    "layer",
    "onset",
    "missed",
    "false_alarms",
    "unknown_blamed",
    "ece",
    "brier",
)
RESAMPLES = 400
# Groups of families for the comparison of parts left out.
GROUPS = 4
# Groups of rounds of strangers that are held out together.
TOGETHER = 6
HELD_ROUND = (
    "Three rounds at a time judged by numbers learned from the corpus and the other rounds. Detectors were "
    "mended on all of them: what the engine says of programs that nobody looked at is in the table of first sights."
)


def _row(name: str, verdicts: Sequence[Verdict]) -> list[Any]:
    found = figures(verdicts)
    counts = [int(found[c]) for c in ("faulty", "healthy", "unknown")]
    return [name, *counts, *(_short(found[c]) for c in COLUMNS)]


def _short(value: float) -> float | None:
    return None if value != value else round(value, 3)  # noqa: PLR0124 - NaN


def _table(
    title: str, rows: list[list[Any]], note: str = "", *, readme: bool = False
) -> dict[str, Any]:
    columns = ["", "faulty", "healthy", "unknown", *COLUMNS]
    return {"title": title, "columns": columns, "rows": rows, "note": note, "readme": readme}


def by(verdicts: Sequence[Verdict], key: Callable[[Verdict], str]) -> list[list[Any]]:
    """Return one row of figures per group."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(key(verdict), []).append(verdict)
    return [_row(name, groups[name]) for name in sorted(groups)]


def interval(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the calibration error over runs."""
    rng = np.random.default_rng(0)
    told = [v for v in verdicts if v.claims and v.label.hurts is not False]
    p = np.array([v.claims[0].probability for v in told])
    y = np.array([v.correct for v in told])
    found = []
    for _ in range(RESAMPLES):
        index = rng.integers(0, p.size, p.size)
        found.append(ece(p[index].tolist(), y[index].tolist()))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def coverage(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return how many faulty runs get a claim of at least a probability, and how many of those are right."""
    faulty = [v for v in verdicts if v.label.mechanisms and v.label.hurts and v.claims]
    rows = []
    for least in (0.0, 0.5, 0.7, 0.85, 0.95):
        mine = [v for v in faulty if v.claims[0].probability >= least]
        right = float(np.mean([v.correct for v in mine])) if mine else float("nan")
        rows.append([least, round(len(mine) / max(len(faulty), 1), 3), _short(right)])
    return {"title": "Coverage against accuracy", "columns": ["stated at least", "share of faulty runs", "right"],
            "rows": rows, "note": "", "readme": False}  # fmt: skip


def confusion(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return what was said of the faults that were not named."""
    wrong = Counter(
        (v.label.mechanisms[0], v.first.mechanism if v.first and v.p_healthy < 0.5 else "healthy")
        for v in verdicts
        if v.label.mechanisms and v.label.hurts and not v.hit
    )
    rows = [[truth, said, count] for (truth, said), count in wrong.most_common()]
    return {
        "title": "Confusion",
        "columns": ["truth", "said", "runs"],
        "rows": rows,
        "note": "",
        "readme": False,
    }


def _all(held: Sequence[Held]) -> list[Verdict]:
    return [v for h in held for v in h.verdicts]


def ablate() -> None:
    """Judge with parts of the engine left out; a few groups of families are enough to compare them."""
    rows, corpus = list(read_table()), digest()
    hard = [replace(r, evidence=_hardened(r)) for r in rows]
    flat = [replace(r, evidence=replace(r.evidence, edges=())) for r in rows]

    def judged(mine: list[Row], **options: Any) -> list[Verdict]:
        return _all(held_out(mine, EXPERTS, corpus=corpus, count=GROUPS, **options)[0])

    table = [
        _row("everything", judged(rows)),
        _row("no learning: the experts' numbers", judge(rows, EXPERTS)),
        _row("no graph between layers", judged(flat)),
        _row("no learned location", judged(rows, location=False)),
        _row("no soft evidence", judged(hard)),
        _row("only the experts' links", judged(rows, options=Options(new=False))),
    ]
    note = f"Families left out in {GROUPS} groups."
    body = {"corpus": corpus, "tables": [_table("Parts left out", table, note, readme=True)]}
    sys.stdout.write(f"{write('ablations', body)}\n")


def _hardened(row: Row) -> Any:
    findings = {n: replace(f, weight=1.0) for n, f in row.evidence.findings.items()}
    return replace(row.evidence, findings=findings)


def learn(*, groupings: int) -> None:
    """Judge with architectures and with rounds of strangers held out, learn on all, ship, and write the tables."""
    rows, strange = list(read_table()), list(read_table(STRANGE))
    corpus = digest(CORPUS, STRANGE)
    held, _ = held_out(rows, EXPERTS, corpus=corpus)
    met, temperature = held_out(strange, EXPERTS, corpus=corpus, beside=rows, count=TOGETHER)
    raw = [v for h in held for v in h.raw]
    others = claim_map(raw)
    sights = read_sights()
    shipped = stranger_map(sights, usual=others.usual, without=(CHECKED,))
    verdicts = [restated(v, shipped) for v in raw]
    numbers = learn_all(
        [*rows, *strange],
        EXPERTS,
        corpus=corpus,
        temperature=temperature,
        verdicts=raw,
        claim=shipped,
    )
    SHIPPED.write_text(learned.to_json(numbers), encoding="utf-8")
    low, high = interval(verdicts)
    note = f"95 % interval of the calibration error: {low:.3f} to {high:.3f}."
    pooled = [
        _row("all families", verdicts),
        _row("stated through a map of the corpus", _all(held)),
    ]
    for seed in range(1, groupings):
        again, _ = held_out(rows, EXPERTS, corpus=corpus, seed=seed)
        anew = [restated(v, shipped) for h in again for v in h.raw]
        pooled.append(_row(f"grouped anew, seed {seed}", anew))
    if groupings > 1:
        more, _ = held_out(rows, EXPERTS, corpus=corpus, beside=strange)
        pooled.append(
            _row("strangers learned beside", [restated(v, shipped) for h in more for v in h.raw])
        )
    body = {
        "corpus": corpus, "runs": len(rows), "strangers": len(strange), "temperature": round(temperature, 3),
        "onset_interval": {"early": numbers.onset.early, "late": numbers.onset.late, "coverage": numbers.onset.coverage},
        "figures": {k: _short(v) for k, v in figures(verdicts).items()},
        "tables": [
            _table("Held-out architectures", pooled, note, readme=True),
            _table("By architecture family, held out", by(verdicts, lambda v: v.label.family)),
            _table("By mechanism, held out", by(
                [v for v in verdicts if v.label.mechanisms], lambda v: v.label.mechanisms[0])),
            _table("Strangers' programs, their round held out", _by_round(met), HELD_ROUND, readme=True),
            *strangers(sights, others), coverage(verdicts), confusion(verdicts),
        ],
    }  # fmt: skip
    sys.stdout.write(f"{body['figures']}\n{write('diagnosis', body)}\n")
    reliability_diagram.draw()


def _by_round(met: Sequence[Held]) -> list[list[Any]]:
    """Return one row of figures per round, in the order of time, and one of all."""
    found = {name: [v for v in _all(met) if v.label.family == name] for name in ROUNDS}
    rows = [_row(name, mine) for name, mine in found.items() if mine]
    return [*rows, _row("all rounds", _all(met))]


def verdict_of(ran: Ran) -> Verdict:
    """Return the whole engine's verdict on one live run; pgmpy answers."""
    evidence = evidence_of(ran.recording)
    posterior = infer(evidence, DEFAULT)
    return Verdict(
        label=ran.label,
        p_healthy=posterior.p_healthy,
        surprise=posterior.surprise,
        claims=claims(posterior, evidence, DEFAULT),
    )


def run_cases(source: str, seeds: Sequence[int], *, again: bool) -> None:
    """Run cases live and write one row per case and the figures over all."""
    found = [(r, verdict_of(r)) for r in with_harm(run_all(source, seeds, again=again))]
    verdicts = [v for _, v in found]
    rows = []
    for ran, v in found:
        first = v.claims[0] if v.claims else None
        said = (
            [first.mechanism, first.told, first.step, round(first.probability, 3)]
            if first
            else [None] * 4
        )
        truth = "/".join(v.label.mechanisms) or "healthy"
        right = v.correct if v.label.mechanisms else not v.accused
        rows.append(
            [ran.job.case, ran.job.seed, ran.job.fixed, truth, round(v.p_healthy, 3), *said, right]
        )
    columns = [
        "case",
        "seed",
        "fixed",
        "truth",
        "p_healthy",
        "said",
        "layer",
        "step",
        "stated",
        "right",
    ]
    name = f"cases_{Path(source).name.removesuffix('.py').rpartition('.')[2]}"
    body = {
        "source": source, "seeds": list(seeds),
        "figures": {k: _short(v) for k, v in figures(verdicts).items()},
        "tables": [
            _table(f"{source}, {len(seeds)} seeds", [_row("all cases", verdicts)], readme=True),
            {"title": "Every run", "columns": columns, "rows": rows, "note": "", "readme": False},
        ],
    }  # fmt: skip
    sys.stdout.write(f"{body['figures']}\n{write(name, body)}\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="", help="run these cases instead of the evidence table")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of every case")
    parser.add_argument(
        "--again",
        action="store_true",
        help="judge the kept recordings of the last run of the cases",
    )
    parser.add_argument("--ablate", action="store_true", help="judge with parts left out instead")
    parser.add_argument(
        "--groupings", type=int, default=3, help="how often families are grouped and left out anew"
    )
    options = parser.parse_args()
    if options.cases:
        run_cases(options.cases, range(options.seeds), again=options.again)
    elif options.ablate:
        ablate()
    else:
        learn(groupings=options.groupings)


if __name__ == "__main__":
    main()
