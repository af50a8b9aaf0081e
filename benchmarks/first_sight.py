"""What the engine said of programs by strangers when it saw them first, before anything was mended for them.

``python -m benchmarks.first_sight`` checks the engine out as it was at every round, in a worktree, and has it judge
the programs of that round; ``learning/first_sight.json`` is what the stated probabilities are calibrated with. The
engine of today is no witness: it was mended on these programs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["ROUNDS", "collect"]

FOUND = Path(__file__).with_name("learning") / "first_sight.json"
# Folder of programs to the last commit before they were looked at.
ROUNDS = {
    "outsiders": "864782a53c15d1b06a7e59d8cf0715b99c3d3285",
    "newcomers": "afd9137a4e2b0c780ea6a957e4e5b26089ac9aba",
    "visitors": "93ca43e44f4e5855322ed7dea748bca0ca2b1c8c",
    "travellers": "97179149577b5b7e6f15b52da6141bb3004a0744",
    "wayfarers": "8ffa2d6bf289e7e5d1935b86d1e397eab33a020e",
    "voyagers": "64de7cd28237377720fd67aa7b5d3ffd1b67af63",
    "explorers": "65e41a89c5b2b2bb10d822ba3a687fb3f284fb6b",
    "settlers": "a8877885e53f652d30d996b5111a60c2a5aa857e",
    "pilgrims": "2655b6f347c7f00d441e0264a29e9b16a160b15d",
    "nomads": "673327d004529fa8c6fe2c87e59354d1ff8dd41a",
    "wanderers": "255d9552eca3ec54788a7e5ec1c1899ea4846ac1",
    "roamers": "2a50840ceca9cef5543a7f2fdf5e25e4cce92458",
    "rovers": "41b7de0d08fb8d11a05b05306a47a7ecd7a8813c",
    "drifters": "abe99b37cff83aea3dcc956ac50ecf902cec3a97",
    "rangers": "c8d220255253786cf0024316b2b2b5bab5c06841",
    "keepers": "a706d816438f37a538fabef6ad81fdd5188f7d8f",
    "seekers": "4905c728f7a8e00301c44f49fa2316a7eccb3556",
    "questers": "5c4a566787281cf93f75902c5ea51067e922c6c3",
    "trekkers": "faae90123f65606d62262196ff83038854f7adc9",
    "hikers": "30cfa3b3a3f232a25062bc62df94beeeab6f7d20",
    "ramblers": "ae14ae1ed3e7da108236ac3c37056f06ccfdcddd",
    "strollers": "b182f9b85dfdd6dfbea3c3e76c0f2f6d7a686b67",
    "sojourners": "e41fe0bf4e05bff15817cd35dea6622ba6001883",
    "peddlers": "fcb53b44eee0a016063d26674181d6c81032ee1f",
}
# How a child is told from the command itself.
JUDGE = "--judge"


def judged(folder: str) -> list[dict[str, Any]]:
    """Return what the engine on the path says of every program and twin in a folder; posteriors as they are.

    Parameters
    ----------
    folder
        A folder of cases.
    """
    from dataclasses import replace

    from benchmarks.cases import hurts, run_all
    from benchmarks.learning.build import evidence_of
    from benchmarks.learning.judge import Verdict
    from neuraldbg.catalogue import DEFAULT
    from neuraldbg.explain.claims import claims
    from neuraldbg.inference import infer
    from neuraldbg.records.learned import ClaimMap

    network = DEFAULT
    if DEFAULT.learned is not None:
        network = replace(DEFAULT, learned=replace(DEFAULT.learned, claim=ClaimMap(cap=1.0)))
    runs = [ran for ran in run_all(folder, (0,)) if ran.recording is not None]
    twins = {ran.job.case: ran.outcome for ran in runs if ran.job.fixed}
    rows = []
    for ran in runs:
        label, twin = ran.label, twins.get(ran.job.case)
        if label.mechanisms:
            label = replace(label, hurts=twin is None or hurts(ran.outcome, twin))
        evidence = evidence_of(ran.recording)
        posterior = infer(evidence, network)
        found = claims(posterior, evidence, network)
        verdict = Verdict(
            label=label, p_healthy=posterior.p_healthy, surprise=posterior.surprise, claims=found
        )
        rows.append(
            {
                "case": ran.job.case,
                "fixed": ran.job.fixed,
                "truth": "/".join(label.mechanisms),
                "hurts": label.hurts,
                "p_healthy": round(posterior.p_healthy, 6),
                "surprise": round(posterior.surprise, 5),
                "said": found[0].mechanism if found else "",
                "p_mechanism": round(found[0].p_mechanism, 6) if found else 0.0,
                "p": round(found[0].probability, 6) if found else 0.0,
                "hit": verdict.hit,
                "correct": verdict.correct,
            }
        )
    return rows


def collect(name: str, root: Path) -> list[dict[str, Any]]:
    """Return the rows of one round.

    Parameters
    ----------
    name
        Of the round.
    root
        The repository.
    """
    with tempfile.TemporaryDirectory() as scratch:
        there = Path(scratch) / "then"
        git = ["git", "-C", str(root), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(there), ROUNDS[name]], check=True)
        try:
            command = [sys.executable, "-P", "-W", "ignore", __file__, JUDGE]
            found = subprocess.run(
                [*command, str(root / "benchmarks" / name)],
                env={**os.environ, "PYTHONPATH": str(there)},
                cwd=there,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        finally:
            subprocess.run([*git, "remove", "--force", str(there)], check=True)
    return [{"round": name, **row} for row in json.loads(found.stdout.splitlines()[-1])]


def main() -> None:
    """Run the command line."""
    if JUDGE in sys.argv:
        sys.stdout.write(f"\n{json.dumps(judged(sys.argv[-1]))}\n")
        return
    root = Path(__file__).resolve().parents[1]
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(ROUNDS, 1):
        sys.stderr.write(f"{number}/{len(ROUNDS)} {name}\n")
        rows += collect(name, root)
    lines = ",\n".join(json.dumps(row) for row in rows)
    FOUND.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    sys.stdout.write(f"{FOUND.name}: {len(rows)} runs\n")


if __name__ == "__main__":
    main()
