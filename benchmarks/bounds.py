"""Sizes and times of what outlives a run: reading and diagnosing a long one, the bound of a file, reports, live looks."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.overhead.records import large_recording
from neuraldbg import NeuralDbg, load
from neuraldbg.catalogue import DEFAULT
from neuraldbg.demos import find
from neuraldbg.keeper import Keeper
from neuraldbg.pipeline import diagnose
from neuraldbg.recording import read_recording, write_recording
from neuraldbg.records.diagnosis import CausalEdge, Diagnosis, EventGraph
from neuraldbg.records.event import SemanticEvent, StepSpan
from neuraldbg.records.recording import Column, Recording, Topology
from neuraldbg.report import mimebundle, to_page

__all__ = ["bounded_file", "live_looks", "names", "read_and_diagnose", "report_sizes"]

REPORTED = ("resnet-learning-rate-jump", "transformer-attention-collapse", "cnn-nonfinite-data")


def read_and_diagnose(
    folder: Path, layers: int = 500, steps: int = 10_000, times: int = 3
) -> dict[str, Any]:
    """Return seconds from file to diagnosis for a long run of a deep model, the imports paid for.

    Of several measurements the shortest: what other programs do to this one is none of its cost.
    """
    diagnose(Recording())
    path = write_recording(large_recording(layers, steps), folder / "large.ndbg")
    read, done = min((_timed(path) for _ in range(times)), key=sum)
    return {
        "layers": layers,
        "steps": steps,
        "file_mib": round(path.stat().st_size / 2**20, 1),
        "load_s": round(read, 2),
        "diagnose_s": round(done, 2),
        "load_and_diagnose_s": round(read + done, 2),
    }


def _timed(path: Path) -> tuple[float, float]:
    start = time.perf_counter()
    run = load(path)
    read = time.perf_counter()
    run.diagnose()
    return read - start, time.perf_counter() - read


class _Steps:
    """Stands for capture: every step is sampled, in all layers; the loss jumps now and then."""

    def __init__(self, layers: int) -> None:
        whole = large_recording(layers, 20)
        self.graph, self.optimizers = whole.topology, whole.optimizers
        self._size = {
            family: {k: float(np.median(c.values)) for k, c in getattr(whole, family).items()}
            for family in ("layer", "param", "grad")
        }
        self._rng = np.random.default_rng(0)
        self._step = 0
        self.waiting = False

    @property
    def pending(self) -> tuple[int, int, int]:
        return int(self.waiting), int(self.waiting), 0

    def part(self) -> Recording:
        """Return the part of the step that waits."""
        if not self.waiting:
            return Recording(topology=self.graph, optimizers=self.optimizers)
        self.waiting = False
        step, self._step = self._step, self._step + 1
        one = {name: self._noise(1.0, 1) for name in ("loss", "input_std")}
        if step % 997 == 0:
            one["loss"] = Column(np.array([50.0], np.float32), np.ones(1, bool))
        width = len(self.graph.layers)
        return Recording(
            topology=self.graph,
            optimizers=self.optimizers,
            steps=np.array([step]),
            sampled=np.array([step]),
            step=one,
            **{
                family: {name: self._noise(size, 1, width) for name, size in sizes.items()}
                for family, sizes in self._size.items()
            },  # type: ignore[arg-type]
        )

    def _noise(self, size: float, *shape: int) -> Column:
        values = size * np.exp(0.1 * self._rng.standard_normal(shape, np.float32))
        return Column(values.astype(np.float32), np.ones(shape, bool))


def bounded_file(folder: Path, layers: int = 500, steps: int = 12_000) -> dict[str, Any]:
    """Write a run in which every step is a sampled one; return the largest that its file ever was, and what it keeps."""
    source, path = _Steps(layers), folder / "bounded.ndbg"
    keeper = Keeper(source, path)  # type: ignore[arg-type]
    largest, slowest = 0, 0.0
    for _ in range(steps):
        source.waiting = True
        start = time.perf_counter()
        keeper.on_rows()
        slowest = max(slowest, time.perf_counter() - start)
        largest = max(largest, path.stat().st_size)
    keeper.close()
    found = read_recording(path)
    # Spikes of one kind are one event from the first to the last: all losses stay, and the layers at its onset.
    spikes = [s for s in range(997, steps, 997) if s not in set(found.steps.tolist())]
    return {
        "layers": layers,
        "steps_sampled": steps,
        "largest_mib": round(largest / 2**20, 2),
        "rows_kept": int(found.sampled.size),
        "last_at_full_rate": bool((np.diff(found.sampled[-64:]) == 1).all()),
        "spikes_of_the_loss_lost": len(spikes),
        "layers_at_the_first_spike": bool(np.isin(997, found.sampled)),
        "slowest_step_s": round(slowest, 2),
    }


def watched(name: str, **options: Any) -> NeuralDbg:
    """Train a demo case and return what watched it."""
    import torch

    found: list[NeuralDbg] = []

    @contextmanager
    def observe(model: Any, _optimizer: Any) -> Any:
        with NeuralDbg(model, **options) as dbg:
            found.append(dbg)
            yield type("Watch", (), {"loss": lambda _self, _value: None})()

    torch.set_num_threads(1)
    find(name).train(observe, seed=0)
    return found[0]


def report_sizes() -> dict[str, Any]:
    """Return KB of the report of three small runs, and of a run of 10 000 steps and 500 layers full of events."""
    sizes = {}
    for name in REPORTED:
        dbg = watched(name)
        sizes[name] = len(to_page(dbg.diagnose(), dbg.recording, DEFAULT).encode()) // 1000
    large = large_recording()
    found = _full_of_events(large)
    return {
        **{f"{name}_kb": size for name, size in sizes.items()},
        "largest_kb": len(to_page(found, large, DEFAULT).encode()) // 1000,
        "largest_events": len(found.events),
    }


def _full_of_events(run: Recording, count: int = 2000, arrows: int = 6) -> Diagnosis:
    """Return a diagnosis with several events in every layer, each with arrows to those that follow."""
    names = [layer.name for layer in run.topology.layers]
    events = tuple(
        SemanticEvent(
            id=f"gradient_vanishing@{names[i % len(names)]}#{i}",
            name="gradient_vanishing",
            kind="gradient_health",
            before="healthy",
            after="gradient vanished",
            layer=names[i % len(names)],
            span=StepSpan(i, i + 9),
        )
        for i in range(count)
    )
    edges = tuple(
        CausalEdge(source=a.id, target=b.id, probability=0.5, lag=lag, direction="backward")
        for lag in range(1, 1 + arrows)
        for a, b in zip(events, events[lag:], strict=False)
    )
    graph = EventGraph(events=events, edges=edges, layers=tuple(names))
    return replace(diagnose(run), events=events, graph=graph, explanations=())


# -- names that are markup ---------------------------------------------------------------------------

PIECES = (
    "<script>alert(1)</script>", "</script>", "<img src=x onerror=alert(1)>", "]]>", "-->", "<!--",
    "</svg>", "<style>", "</title>", '"', "'", "&", "&lt;", "\\u003c", "javascript:alert(1)", "\u2028",
    "\x00", "\x1b[31m", "\u202e", "{{", "${x}", "a", ".", "层", "\r\n", "onload=alert(1)", "<a href=//x>",
)  # fmt: skip


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.wrong += [n for n, _ in attrs if n.startswith("on") or n in {"href", "src"}]


def names(times: int, seed: int = 0) -> dict[str, int]:
    """Name layers, parameters and facts with markup; return how often a page had another shape than with plain names."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    run = watched("mlp-dead-units").recording
    wanted = [_Tags(text).tags for text in _pages(run)]
    changed = 0
    for _ in range(times):
        found = [_Tags(text) for text in _pages(_renamed(run, rng))]
        changed += any(f.wrong for f in found) or [f.tags for f in found] != wanted
    return {"renamed": times, "pages_that_changed_shape": changed}


def _pages(run: Recording) -> list[str]:
    found = diagnose(run)
    return [to_page(found, run, DEFAULT), mimebundle(found)["text/html"]]


def _renamed(run: Recording, rng: random.Random) -> Recording:
    def name() -> str:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 6)))

    topology = Topology(
        layers=tuple(replace(x, name=f"{name()}{i}") for i, x in enumerate(run.topology.layers)),
        # What comes after the last dot is the role of a parameter in its layer, which the engine asks for.
        params=tuple(
            replace(x, name=f"{name()}{i}.{x.name.rpartition('.')[2]}")
            for i, x in enumerate(run.topology.params)
        ),
        edges=run.topology.edges,
        inputs=run.topology.inputs,
        outputs=run.topology.outputs,
    )
    facts = {"model": name(), "torch": name(), "device": name()}
    return replace(run, topology=topology, facts={**run.facts, **facts})


# -- live looks --------------------------------------------------------------------------------------


def live_looks(steps: int = 3000) -> dict[str, Any]:
    """Return what looking at a run while it trains costs: the share of the time, and a step without a look."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten()
    )
    model.append(nn.Linear(32 * 28 * 28, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))
    looks, spent = [0], 0.0

    def never(found: Diagnosis) -> bool:
        looks.append(found.coverage.steps)
        return False

    with NeuralDbg(model, stop_when=never) as dbg:
        start = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        total = time.perf_counter() - start
        live = dbg._live  # noqa: SLF001 - the clock of the looks is nobody else's business
        spent = 0.0 if live is None else live.spent
    return {
        "steps": steps,
        "step_ms": round(1e3 * (total - spent) / steps, 2),
        "looks": len(looks) - 1,
        "seconds_in_looks": round(spent, 2),
        "allowed_s": round(1.0 + 0.02 * total, 2),
    }
