"""Runs inside the environment of the peers: one tool on all cases, a JSON line a case."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.alarm import Alarm, Peer
from benchmarks.peers.collect import collect
from benchmarks.peers.score import judge
from neuraldbg.demos.case import Case

TOOLS = {
    "torchmortem": ("benchmarks.peers.adapters.torchmortem", "Torchmortem"),
    "training-doctor": ("benchmarks.peers.adapters.training_doctor", "TrainingDoctor"),
    "pytscope": ("benchmarks.peers.adapters.pytscope", "Pytscope"),
    "traintools": ("benchmarks.peers.adapters.traintools", "Traintools"),
    "namesake": ("benchmarks.peers.adapters.namesake", "Namesake"),
    "rules": ("benchmarks.peers.rules", "Rules"),
}


def watch(tool: str, case: Case, seed: int, *, fixed: bool) -> tuple[list[Alarm], str]:
    """Train under the tool; return its alarms and, when it broke the run, the name of the error."""
    module, name = TOOLS[tool]
    peer: Peer = getattr(importlib.import_module(module), name)()
    try:
        case.train(peer, seed=seed, fixed=fixed)
        return peer.alarms(), ""
    except Exception as error:  # noqa: BLE001 - a tool that breaks the run is a result
        return [], type(error).__name__


def row(tool: str, case: Case, seed: int) -> dict[str, Any]:
    """Return the line of one case: the faulty run judged, and whether the healthy one was accused."""
    begun = time.process_time()
    alarms, crashed = watch(tool, case, seed, fixed=False)
    faulty = bool(case.truth["mechanisms"])
    accused, twin_crashed = watch(tool, case, seed, fixed=True) if faulty else (alarms, crashed)
    return {
        "id": case.id,
        "family": case.family,
        "mechanisms": case.truth["mechanisms"],
        **judge(tool, case.truth, alarms),
        "alarmed_when_healthy": None if twin_crashed else bool(accused),
        "crashed": crashed or twin_crashed,
        "alarms": _short(alarms),
        "alarms_when_healthy": _short(accused),
        "cpu_s": round(time.process_time() - begun, 1),
    }


def _short(alarms: list[Alarm]) -> list[str]:
    """Return the first five different alarms, readable."""
    told = dict.fromkeys(f"{a.kind} @{a.layer or '-'}" for a in alarms)
    return list(told)[:5]


def main() -> None:
    """Run one tool."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True, choices=sorted(TOOLS))
    parser.add_argument("--cases", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with args.out.open("w", encoding="utf-8") as file:
        for case in collect(args.cases):
            line = row(args.tool, case, args.seed)
            file.write(json.dumps(line) + "\n")
            file.flush()
            sys.stderr.write(
                f"{args.tool:16s} {case.id:34s} top1={line['top1']} {line['crashed']}\n"
            )


if __name__ == "__main__":
    main()
