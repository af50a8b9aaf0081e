"""The same faults through every way of running: is the right mechanism first, and did watching change a bit?

``python -m benchmarks.case_matrix`` trains one small classifier, healthy and with three faults, through plain and
compiled loops, mixed precision, accumulation, several optimizers, closures and steps by hand, two processes under DDP, FSDP2 and FSDP1,
and the trainers (which need the extra ``trainers``), three seeds each, and writes ``results/case_matrix.json``.
The programs of the trainers and of two processes are those that the tests train.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import write
from neuraldbg import NeuralDbg, merge
from neuraldbg.records.diagnosis import Diagnosis
from tests.scenarios.trainers import programs
from tests.scenarios.trainers.programs import Net
from tests.twins import digits_like

SEEDS = (0, 1, 2)
# Ways of two processes.
TOGETHER = ("ddp", "fsdp2", "fsdp1")
# Fault to what an expert would say, and the layer; "" is the healthy twin.
TRUTH: dict[str, tuple[str, str | None]] = {
    "": ("", None),
    "rate": ("learning_rate_too_high", None),
    "dead": ("dead_units", "fc2"),
    "detached": ("parameters_not_updated", "fc1"),
}
NAMES = {
    "": "healthy: not accused",
    "rate": "learning rate too high",
    "dead": "dead units",
    "detached": "detached layer",
}
Loop = Callable[..., tuple[nn.Module, list[float]]]


class Ran(NamedTuple):
    """What one run came to."""

    right: bool
    said: str


# -- loops ---------------------------------------------------------------------------------------


def batches(steps: int = programs.STEPS) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same batches for every loop."""
    x, y = digits_like(256)
    for step in range(steps):
        rows = slice(step * 32 % 256, step * 32 % 256 + 32)
        yield x[rows], y[rows]


def adam(parameters: Any, fault: str) -> torch.optim.Optimizer:
    """Return the optimizer of every loop that does not bring its own."""
    return torch.optim.Adam(parameters, lr=programs.rate(fault))


def plain(watch: Any, *, fault: str, compiled: bool = False, scaled: bool = False) -> Any:
    """Train in a hand-written loop: compiled, or in bfloat16 with a gradient scaler, if asked."""
    net = Net(fault)
    model = torch.compile(net, backend="aot_eager") if compiled else net
    optimizer, losses = adam(net.parameters(), fault), []
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    with watch(model):
        for x, y in batches():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=scaled):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
    return net, losses


def accumulated(watch: Any, *, fault: str) -> Any:
    """Train with four micro-batches a step."""
    net = Net(fault)
    optimizer, losses = adam(net.parameters(), fault), []
    with watch(net):
        for number, (x, y) in enumerate(batches(4 * programs.STEPS)):
            loss = F.cross_entropy(net(x), y)
            (loss / 4).backward()
            losses.append(loss.item())
            if number % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    return net, losses


def by_hand(watch: Any, *, fault: str) -> Any:
    """Train without an optimizer object, as courses begin."""
    net, losses = Net(fault), []
    rate = 30.0 if fault == "rate" else 0.1
    with watch(net):
        for x, y in batches():
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            with torch.no_grad():
                for p in net.parameters():
                    if p.grad is not None:
                        p.sub_(rate * p.grad)
                        p.grad.zero_()
            losses.append(loss.item())
    return net, losses


def closures(watch: Any, *, fault: str) -> Any:
    """Train with L-BFGS, which evaluates a closure several times a step."""
    net = Net(fault)
    net.drop.p = 0.0
    optimizer = torch.optim.LBFGS(net.parameters(), lr=3.0 if fault == "rate" else 0.5, max_iter=4)
    x, y = digits_like(128)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss

    with watch(net):
        losses = [optimizer.step(closure).item() for _ in range(16)]
    return net, losses


def several(watch: Any, *, fault: str) -> Any:
    """Train body and head with an optimizer each."""
    net = Net(fault)
    body = adam([*net.fc1.parameters(), *net.fc2.parameters()], fault)
    head, losses = adam(net.head.parameters(), fault), []
    with watch(net):
        for x, y in batches():
            body.zero_grad()
            head.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            body.step()
            head.step()
            losses.append(loss.item())
    return net, losses


def hugging_face(watch: Any, *, fault: str) -> Any:
    """Train with the Trainer of transformers."""
    with tempfile.TemporaryDirectory() as folder:
        return programs.transformers(watch, fault=fault, folder=folder)


LOOPS: dict[str, Loop] = {
    "plain loop": plain,
    "torch.compile (aot_eager)": partial(plain, compiled=True),
    "bfloat16 autocast, GradScaler": partial(plain, scaled=True),
    "accumulation of 4": accumulated,
    "L-BFGS closures": closures,
    "steps by hand": by_hand,
    "two optimizers": several,
    "Lightning": programs.lightning,
    "Hugging Face Trainer": hugging_face,
    "Accelerate": programs.accelerate,
}


# -- judging -------------------------------------------------------------------------------------


def judged(diagnosis: Diagnosis, fault: str) -> Ran:
    """Return whether the first claim is right, at the right layer; for a healthy run that there is none."""
    first = diagnosis.hypotheses[0]
    slug, layer = TRUTH[fault]
    if not slug:
        return Ran(first.probability < 0.5, f"{first.mechanism} {first.probability:.2f}")
    right = first.mechanism == slug and (layer is None or str(first.layer).endswith(layer))
    return Ran(right, f"{first.mechanism} in {first.layer}")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' remarks on small data out of the output."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def _trained(loop: Loop, fault: str, seed: int, *, watched: bool) -> Any:
    torch.compiler.reset()
    torch.manual_seed(seed)
    kept: list[NeuralDbg] = []

    def watch(model: nn.Module) -> Any:
        if not watched:
            return nullcontext()
        kept.append(NeuralDbg(model))
        return kept[0]

    net, losses = loop(watch, fault=fault)
    return [p.detach().clone() for p in net.parameters()], losses, kept


def identical(
    one: tuple[list[Tensor], list[float]], other: tuple[list[Tensor], list[float]]
) -> bool:
    """Return whether two runs left the same bits, NaN or not."""
    bits = [[w.contiguous().view(torch.int32) for w in run[0]] for run in (one, other)]
    return repr(one[1]) == repr(other[1]) and all(map(torch.equal, *bits))


def in_this_process(name: str, loop: Loop) -> dict[str, Any]:
    """Return the row of one way of running."""
    row: dict[str, Any] = {"way": name, "runs": {}}
    same = True
    with quiet():
        _trained(loop, "", 0, watched=False)
        for fault in TRUTH:
            for seed in SEEDS:
                (dbg,) = _trained(loop, fault, seed, watched=True)[2]
                row["runs"].setdefault(fault, []).append(judged(dbg.diagnose(), fault))
            pair = (_trained(loop, fault, 0, watched=watched)[:2] for watched in (True, False))
            same &= identical(*pair)
    row["identical"] = same
    return row


def in_two_processes() -> list[dict[str, Any]]:
    """Return the rows of DDP, FSDP2 and the first FSDP."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node=2", "-m", "benchmarks.case_matrix", folder]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=env)
        rows = []
        for way in TOGETHER:
            row: dict[str, Any] = {"way": f"{way.upper()}, two processes", "runs": {}}
            for fault in TRUTH:
                for seed in SEEDS:
                    run = merge(Path(folder) / f"{way}-{fault}-{seed}")
                    row["runs"].setdefault(fault, []).append(judged(run.diagnose(), fault))
            found = [json.loads(p.read_text()) for p in Path(folder).glob("rank*.json")]
            row["identical"] = all(x[way] for x in found)
            rows.append(row)
    return rows


def one_of_two(folder: Path) -> None:
    """Train every case in one of the processes that torchrun started."""
    import torch.distributed as dist

    from tests.scenarios.distributed.programs import WRAPPED, program, unwatched

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {}
    for way in TOGETHER:
        wrap, same = WRAPPED[way], True
        for fault in TRUTH:
            for seed in SEEDS:
                place = folder / f"{way}-{fault}-{seed}"
                place.mkdir(exist_ok=True)
                watch = partial(NeuralDbg, save=place / "run.ndbg")
                watched = program(watch, wrap, fault, seed=seed)
                if seed == 0:
                    other = program(unwatched, wrap, fault, seed=seed)
                    same &= identical(watched, other)
        found[way] = same
    (folder / f"rank{dist.get_rank()}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


# -- the table -----------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the matrix as a table."""
    return {
        "title": "The same faults through every way of running",
        "columns": ["way of running", *NAMES.values(), "bit-identical"],
        "rows": [
            [row["way"], *(_share(row["runs"][fault]) for fault in NAMES), row["identical"]]
            for row in rows
        ],
        "note": "Runs of three seeds in which the right mechanism, at the right layer, is the first claim; healthy "
        "runs that are accused of nothing. Bit-identical: weights and losses with and without us.",
        "readme": True,
    }


def _share(runs: list[Ran]) -> str:
    wrong = sorted({run.said for run in runs if not run.right})
    said = f" ({'; '.join(wrong)})" if wrong else ""
    return f"{sum(run.right for run in runs)} of {len(runs)}{said}"


def main(words: list[str]) -> None:
    """Run the matrix and write it, or be one of two processes."""
    if words:
        one_of_two(Path(words[0]))
        return
    torch.set_num_threads(1)
    rows = []
    for name, loop in LOOPS.items():
        rows.append(in_this_process(name, loop))
        print(rows[-1], file=sys.stderr, flush=True)
    # Before the trainers, which come last.
    place = list(LOOPS).index("Lightning")
    rows[place:place] = in_two_processes()
    print(write("case_matrix", {"tables": [table(rows)]}))


if __name__ == "__main__":
    main(sys.argv[1:])
