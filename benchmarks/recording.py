"""The recording file under attack and under load: SIGKILL, truncation, damaged bytes, cost of appending.

``python -m benchmarks.recording`` runs everything and writes ``benchmarks/results/recording.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.machine import write
from neuraldbg.errors import NeuralDBGError, RecordingError
from neuraldbg.recording import RecordingLog, RecordingWriter, read_recording
from neuraldbg.recording.frames import HEADER_SIZE, PREFIX
from neuraldbg.records.recording import (
    Column,
    LayerInfo,
    LossCall,
    Occurrence,
    ParamInfo,
    Recording,
    Topology,
)

COLUMNS = 16


def topology(layers: int) -> Topology:
    """Return a chain of layers with one parameter each."""
    return Topology(
        layers=tuple(
            LayerInfo(name=f"block.{i}", type="Linear", kind="linear", order=i, params=(i,))
            for i in range(layers)
        ),
        params=tuple(
            ParamInfo(name=f"block.{i}.weight", layer=i, shape=(4, 4)) for i in range(layers)
        ),
        edges=tuple((i, i + 1) for i in range(layers - 1)),
    )


def part(step: int, graph: Topology, *, columns: int = COLUMNS) -> Recording:
    """Return the part of one sampled step; its numbers tell its step."""
    width = len(graph.layers)
    values = np.full((1, width), step, np.float32)
    seen = np.ones((1, width), bool)
    return Recording(
        facts={"model": "Chain"},
        topology=graph,
        steps=np.array([step]),
        sampled=np.array([step]),
        step={"loss": Column(np.array([step], np.float32), np.array([True]))},
        layer={f"column{i}": Column(values, seen) for i in range(columns)},
        losses=(LossCall(step=step, function="mse_loss", facts={"value": float(step)}),),
        occurrences=(Occurrence(step=step, kind="risky_op", facts={"op": "sqrt"}),),
    )


# -- killed while writing ----------------------------------------------------------------------------

CHILD = """
import sys
from benchmarks.recording import part, topology
from neuraldbg.recording import RecordingLog, RecordingWriter
graph, log = topology(64), RecordingLog()
writer = RecordingWriter(sys.argv[1])
for step in range(10**6):
    writer.append(log.append(part(step, graph)))
    sys.stdout.write(f"{step}\\n")
    sys.stdout.flush()
"""


def killed(folder: Path, rng: random.Random) -> tuple[int, int]:
    """Kill a writer at a random moment; return the steps that it acknowledged and those that are read."""
    path = folder / "killed.ndbg"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE)
    out = child.stdout
    if out is None or not out.readline():
        msg = "the writer did not start"
        raise AssertionError(msg)
    time.sleep(rng.uniform(0.0, 0.15))
    os.kill(child.pid, signal.SIGKILL)
    # A whole line is an acknowledged step; the first was read above.
    told = 1 + child.communicate()[0].count(b"\n")
    recording = read_recording(path)
    steps = recording.steps.size
    loss = recording.step["loss"].values
    if not np.array_equal(loss, np.arange(steps, dtype=np.float32)):
        msg = "a step was read that was not written"
        raise AssertionError(msg)
    if recording.facts.get("finished") is not False:
        msg = "the recording does not say that the run did not finish"
        raise AssertionError(msg)
    return told, steps


def kills(times: int, seed: int = 0) -> dict[str, int]:
    """Return how many kills lost an acknowledged step."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    lost = steps = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(times):
            told, read = killed(Path(folder), rng)
            lost += read < told
            steps += read
    return {"kills": times, "kills_that_lost_a_step": lost, "steps_read": steps}


# -- damaged files -----------------------------------------------------------------------------------


def small_file(folder: Path, steps: int = 12) -> bytes:
    """Return the bytes of a small recording."""
    path, graph, log = folder / "small.ndbg", topology(3), RecordingLog()
    with RecordingWriter(path) as writer:
        for step in range(steps):
            writer.append(log.append(part(step, graph, columns=3)) or b"")
    return path.read_bytes()


def frame_starts(data: bytes) -> list[int]:
    """Return where the frames of a file begin, and its end."""
    starts = [len(PREFIX)]
    while starts[-1] < len(data):
        (length,) = struct.unpack_from("<I", data, starts[-1] + 4)
        starts.append(starts[-1] + HEADER_SIZE + length)
    return starts


def truncations(folder: Path, last: int = 4) -> dict[str, int]:
    """Cut a file at every byte of its last frames; return how many cuts gave another recording."""
    data = small_file(folder)
    starts = frame_starts(data)
    path = folder / "cut.ndbg"
    wrong = 0
    for end in range(starts[-1 - last], len(data)):
        path.write_bytes(data[:end])
        # Head and end are frames too, and neither holds a step.
        whole = sum(start <= end for start in starts[1:]) - 1
        found = read_recording(path)
        told = any(u.what == "the end of the run" for u in found.unobserved)
        wrong += found.steps.tolist() != list(range(whole)) or not told
    return {"cuts": len(data) - starts[-1 - last], "wrong": wrong}


Mutation = Callable[[bytearray, random.Random], None]


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _noise(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start : start + rng.randint(1, 64)] = rng.randbytes(rng.randint(0, 64))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _length(data: bytearray, rng: random.Random) -> None:
    """Claim another length of a frame."""
    start = rng.choice(frame_starts(bytes(data))[:-1])
    struct.pack_into(
        "<I", data, start + 4, rng.choice([0, 1, 2**31, 2**32 - 1, rng.randrange(2**20)])
    )


def _random(data: bytearray, rng: random.Random) -> None:
    data[len(PREFIX) :] = rng.randbytes(rng.randint(0, 512))


def _resealed(data: bytearray, rng: random.Random) -> None:
    """Damage the inside of one frame and give it a right checksum: what a hostile writer would do."""
    starts = frame_starts(bytes(data))
    index = rng.randrange(len(starts) - 1)
    start, end = starts[index] + HEADER_SIZE, starts[index + 1]
    payload = bytearray(data[start:end])
    for _ in range(rng.randint(1, 6)):
        _hurt(payload, rng)
    head = data[starts[index] : starts[index] + 4] + struct.pack("<I", len(payload))
    check = struct.pack("<I", zlib.crc32(payload, zlib.crc32(head)))
    data[starts[index] : end] = head + check + payload


HOSTILE = [
    b"-1", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b'"\\ud800"', b"NaN", b"true",
    b"[" * 3000, b'"<script>alert(1)</script>"', b"9" * 5000, b'{"float":"x"}', b"4294967295",
]  # fmt: skip


def _hurt(payload: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.4:
        _flip(payload, rng)
        return
    # Put a hostile value where a value stands in the notes.
    places = [i for i, byte in enumerate(payload) if byte in b":,[" and i > 4]
    if not places:
        return
    start = rng.choice(places) + 1
    end = start
    while end < len(payload) and payload[end] not in b",]}":
        end += 1
    new = rng.choice(HOSTILE)
    payload[start:end] = new
    (length,) = struct.unpack_from("<I", payload)
    if length < 2**31:
        struct.pack_into("<I", payload, 0, max(length + len(new) - (end - start), 0))


MUTATIONS: tuple[Mutation, ...] = (_flip, _noise, _cut, _length, _random, _resealed, _resealed)


def damaged(data: bytes, times: int, seed: int = 0) -> Iterator[bytes]:
    """Yield damaged copies of a file."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for _ in range(times):
        copy = bytearray(data)
        rng.choice(MUTATIONS)(copy, rng)
        yield bytes(copy)


def fuzz(folder: Path, times: int, seed: int = 0) -> dict[str, Any]:
    """Read damaged files; return what came of it: anything but a recording or a clear error is a failure."""
    path, outcomes = folder / "fuzz.ndbg", Counter[str]()
    slowest = 0.0
    for data in damaged(small_file(folder), times, seed):
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            read_recording(path)
            outcomes["read"] += 1
        except RecordingError:
            outcomes["refused"] += 1
        except Exception as error:  # noqa: BLE001 - any other error is the finding
            outcomes[f"{type(error).__name__}: {error}"[:80]] += 1
        slowest = max(slowest, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"inputs": times, **outcomes, "slowest_s": round(slowest, 3), "peak_rss_mib": peak}


def fuzz_answers(folder: Path, times: int, seed: int = 1) -> dict[str, Any]:
    """Diagnose and report damaged recordings that can be read; return what came of it."""
    from neuraldbg import load

    path, outcomes = folder / "fuzz.ndbg", Counter[str]()
    for data in damaged(small_file(folder), times, seed):
        path.write_bytes(data)
        try:
            load(path).diagnose()
            outcomes["answered"] += 1
        except NeuralDBGError:
            outcomes["refused"] += 1
        except Exception as error:  # noqa: BLE001 - any other error is the finding
            outcomes[f"{type(error).__name__}: {error}"[:80]] += 1
    return {"inputs": times, **outcomes}


# -- cost ----------------------------------------------------------------------------------------------


def cost(folder: Path, layers: int = 500, steps: int = 300) -> dict[str, float]:
    """Return milliseconds and KiB of appending one sampled step, and seconds of reading all."""
    graph, log = topology(layers), RecordingLog()
    path, times = folder / "cost.ndbg", []
    with RecordingWriter(path) as writer:
        for step in range(steps):
            new = part(step, graph)
            start = time.perf_counter()
            writer.append(log.append(new) or b"")
            times.append(1e3 * (time.perf_counter() - start))
        size = writer.size
    start = time.perf_counter()
    read_recording(path)
    return {
        "append_ms_median": round(float(np.median(times)), 3),
        "append_ms_p99": round(float(np.quantile(times, 0.99)), 3),
        "kib_per_step": round(size / steps / 1024, 1),
        "read_s": round(time.perf_counter() - start, 3),
    }


def table(result: dict[str, Any]) -> dict[str, Any]:
    """Return the figures as one table of what was asked for and what was measured."""
    cost, long, file = result["cost"], result["long_run"], result["file"]
    fuzzed, reports, live = result["fuzz"], result["reports"], result["live"]
    kills_, cuts, renamed = result["sigkill"], result["truncation"], result["names"]
    odd = sum(v for k, v in fuzzed.items() if k not in FUZZ_FIGURES)
    typical = max(v for k, v in reports.items() if k not in {"largest_kb", "largest_events"})
    rows = [
        ["appending one step of 500 layers, ms (p99)", "", f"{cost['append_ms_median']} ({cost['append_ms_p99']})"],
        ["acknowledged steps lost by a SIGKILL", "0", f"{kills_['kills_that_lost_a_step']} of {kills_['kills']} kills"],
        ["files cut at every byte of the last frames, read wrongly", "0", f"{cuts['wrong']} of {cuts['cuts']}"],
        ["damaged files that gave anything but a recording or a clear error", "0", f"{odd} of {fuzzed['inputs']}"],
        ["pages whose shape changed with markup in names", "0", f"{renamed['pages_that_changed_shape']} of {renamed['renamed']}"],
        ["load and diagnose 10 000 steps of 500 layers, s", "3", long["load_and_diagnose_s"]],
        [f"largest file of {file['steps_sampled']} sampled steps of 500 layers, MiB", "64", file["largest_mib"]],
        ["report of a small run, kB", "300", typical],
        [f"report of a run with {reports['largest_events']} events, kB", "2000", reports["largest_kb"]],
        [f"live looks at {live['steps']} steps, s", live["allowed_s"], live["seconds_in_looks"]],
    ]  # fmt: skip
    return {
        "title": "The recording, the report and live looks",
        "columns": ["what", "at most", "measured"],
        "rows": rows,
        "note": "Live looks may take one second in all and 2 % of the time.",
        "readme": True,
    }


FUZZ_FIGURES = {"inputs", "read", "refused", "slowest_s", "peak_rss_mib"}


def _bounds() -> ModuleType:
    # torch loads here, after the memory of reading damaged files was measured.
    return import_module("benchmarks.bounds")


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--fuzz", type=int, default=100_000)
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument("--names", type=int, default=300)
    parser.add_argument("--sampled", type=int, default=12_000)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The fuzz first: its peak of memory is that of the process.
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "fuzz": lambda: fuzz(folder, options.fuzz),
            "fuzz_answers": lambda: fuzz_answers(folder, options.answers),
            "cost": lambda: cost(folder),
            "truncation": lambda: truncations(folder),
            "sigkill": lambda: kills(options.kills),
            "names": lambda: _bounds().names(options.names),
            "long_run": lambda: _bounds().read_and_diagnose(folder),
            "reports": lambda: _bounds().report_sizes(),
            "live": lambda: _bounds().live_looks(),
            "file": lambda: _bounds().bounded_file(folder, steps=options.sampled),
        }
        for part_name, measure in parts.items():
            result[part_name] = measure()
            sys.stderr.write(f"{part_name}: {json.dumps(result[part_name])}\n")
    write("recording", {"tables": [table(result)], **result})


if __name__ == "__main__":
    main()
