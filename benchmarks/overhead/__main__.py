"""Measure everything and write the result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.machine import RESULTS, write
from benchmarks.overhead.far import far_costs, far_programs
from benchmarks.overhead.programs import Program, compiled, eager
from benchmarks.overhead.records import answer_time, import_time, memory
from benchmarks.overhead.rivals import compare
from benchmarks.overhead.timing import STEADY, Costs, costs, row

TIMES = (
    "CPU time of a step with watching over without, one thread, the kinds of step timed apart and put together "
    f"as the default schedule has them: every {STEADY}th step sampled late in a run, more densely before that, and "
    "whole runs from their first step on. Control: two runs that are both without."
)
COMPILED = (
    "The same with `torch.compile` and its default backend. A traced step runs the compiled part once more, "
    "forward and backward, without the compiler."
)
DEVICE = "Step time on a device"
FAR = (
    "Time of a step on a device with watching over without: blocks of steps in turn, the device waited for at the "
    "end of each; what watched blocks leave on the device is fetched now and then, and what that takes is spread "
    "over them. Control: two blocks that are both without."
)
RIVALS = (
    "CPU time of a step under each tool over that of the plain loop, all tools in turn in one process; the last "
    "row is the Python memory that a step leaves behind. The others look at every step."
)


def main() -> None:
    """Measure; with ``--only`` some programs, and nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="programs whose name holds this word")
    parser.add_argument("--no-rivals", action="store_true", help="leave the other tools out")
    parser.add_argument(
        "--rest",
        action="store_true",
        help="measure all but the times of steps, which stay as they are",
    )
    parser.add_argument(
        "--budget", type=float, default=14.0, help="seconds for either half of a program's row"
    )
    parser.add_argument(
        "--device", default="", help="time programs on a device, for example cuda, and nothing else"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.device:
        far = _rows(far_programs(args.only, args.device), args.budget, far_costs)
        if not args.only:
            print(write(f"overhead_{args.device}", {"tables": [_table(DEVICE, far, FAR)]}))
        return
    if args.rest:
        times = json.loads((RESULTS / "overhead.json").read_text(encoding="utf-8"))["tables"][:2]
    else:
        plain = _rows(eager(args.only), args.budget)
        fast = _rows(compiled(args.only), args.budget)
        times = [
            _table("Step time with and without watching", plain, TIMES),
            _table("Step time of compiled models", fast, COMPILED),
        ]
    if args.only:
        return
    others = [] if args.no_rivals else compare()
    tables = [
        *times,
        _table("Step time under other tools", others, RIVALS),
        _facts({"memory": memory(), "answer": answer_time(), "import": import_time()}),
    ]
    print(write("overhead", {"tables": [t for t in tables if t["rows"]]}))


def _rows(
    programs: Iterator[Program],
    budget_s: float,
    measure: Callable[[Program, float], Costs] = costs,
) -> list[dict[str, Any]]:
    rows = []
    for program in programs:
        rows.append(row(program.name, measure(program, budget_s)))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _table(title: str, rows: list[dict[str, Any]], note: str) -> dict[str, Any]:
    return {
        "title": title,
        "columns": list(rows[0]) if rows else [],
        "rows": rows,
        "note": note,
        "readme": True,
    }


def _facts(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    rows = [
        [name.replace("_", " "), value] for facts in found.values() for name, value in facts.items()
    ]
    return {
        "title": "Memory, answers and imports",
        "columns": ["what", "measured"],
        "rows": rows,
        "readme": True,
    }


if __name__ == "__main__":
    main()
