"""Run the peers on cases: ``python -m benchmarks.peers --cases benchmarks.real_bugs``.

Builds the environment of the peers when it is missing, runs each tool in a process of its own inside it, and
writes ``results/peers_<name>.json``. ``--cases`` takes a module, a package or a folder with the case interface.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import write
from benchmarks.peers.environment import PINNED, PINNED_NAMESAKE, build
from benchmarks.peers.score import summarise
from benchmarks.peers.worker import TOOLS

ROOT = Path(__file__).parents[2]


def run(tool: str, cases: str, seed: int) -> list[dict[str, Any]]:
    """Run one tool on all cases in the peers' environment; its files go to a folder that is thrown away."""
    where = str(Path(cases).resolve()) if Path(cases).is_dir() else cases
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.jsonl"
        command = [str(build()), "-m", "benchmarks.peers.worker"]
        options = ["--tool", tool, "--cases", where, "--seed", str(seed), "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, *options], cwd=folder, env=environment, check=True)
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the figures as a Markdown table."""
    columns = (
        "detected",
        "top1",
        "any",
        "layer_given_hit",
        "onset_given_hit",
        "false_alarms",
        "crashed",
    )
    lines = ["| tool | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for tool, rows in found.items():
        figures = summarise(rows)
        cells = ("–" if figures[c] is None else str(figures[c]) for c in columns)
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the tools asked for and write the results."""
    parser = argparse.ArgumentParser(description="Run other tools on cases with our interface.")
    parser.add_argument("--cases", default="benchmarks.real_bugs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--name", help="name of the result; by default the last part of --cases")
    args = parser.parse_args()
    found = {tool: run(tool, args.cases, args.seed) for tool in args.tools}
    name = args.name or Path(args.cases).name.rpartition(".")[2]
    body = {
        "cases": args.cases,
        "seed": args.seed,
        "peers": [*PINNED[3:], PINNED_NAMESAKE],
        "summary": {tool: summarise(rows) for tool, rows in found.items()},
        "runs": found,
    }
    path = write(f"peers_{name}", body)
    sys.stdout.write(f"{table(found)}\n\n{path}\n")


if __name__ == "__main__":
    main()
