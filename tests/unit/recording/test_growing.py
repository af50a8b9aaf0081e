"""A recording that grows: the same in memory and in the file, readable at any time, and bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.recording import part, topology
from neuraldbg.errors import CaptureWarning
from neuraldbg.keeper import Keeper
from neuraldbg.recording import RecordingLog, read_recording, thinned
from neuraldbg.records.recording import Column, Occurrence, Recording
from tests.unit.recording.test_files import same


class Source:
    """Stands for capture: hands over the parts that a test puts in."""

    def __init__(self):
        self.waiting = []

    @property
    def pending(self):
        return (
            sum(p.steps.size for p in self.waiting),
            sum(p.sampled.size for p in self.waiting),
            sum(len(p.occurrences) for p in self.waiting),
        )

    def part(self):
        assert len(self.waiting) <= 1
        return self.waiting.pop() if self.waiting else Recording(topology=GRAPH)


GRAPH = topology(50)


def calm(step):
    return replace(part(step, GRAPH), occurrences=(), losses=())


def grown(steps, path, **options):
    source = Source()
    keeper = Keeper(source, path, **options)
    for step in range(steps):
        source.waiting.append(calm(step))
        keeper.on_rows()
    return keeper


def test_the_file_of_a_running_loop_can_be_read(tmp_path):
    grown(7, tmp_path / "run.ndbg")
    found = read_recording(tmp_path / "run.ndbg")
    assert found.steps.tolist() == list(range(7))
    assert found.facts["finished"] is False


def test_memory_and_file_hold_the_same(tmp_path):
    keeper = grown(7, tmp_path / "run.ndbg")
    keeper.close()
    assert same(read_recording(tmp_path / "run.ndbg"), keeper.recording())


def test_parts_say_the_module_graph_once(tmp_path):
    grown(7, tmp_path / "run.ndbg")
    assert (tmp_path / "run.ndbg").read_bytes().count(b'"block.7"') == 1


@pytest.mark.parametrize("steps", [600, 2400])
def test_a_long_run_stays_below_its_bound(tmp_path, steps):
    limit = 400_000
    keeper = grown(steps, tmp_path / "run.ndbg", limit=limit)
    keeper.close()
    assert (tmp_path / "run.ndbg").stat().st_size < 1.05 * limit
    assert same(read_recording(tmp_path / "run.ndbg"), keeper.recording())
    assert not (tmp_path / "run.ndbg.new").exists()


def test_a_thinned_run_keeps_its_beginning_its_end_and_a_grid_between(tmp_path):
    keeper = grown(2400, tmp_path / "run.ndbg", limit=400_000)
    rows = keeper.recording().sampled
    assert rows[:12].tolist() == list(range(12))
    assert rows[-12:].tolist() == list(range(2388, 2400))
    assert np.diff(rows).max() <= 128


def long_run(rows=4000):
    loss = np.linspace(1, 0.5, rows).astype(np.float32)
    loss[1777] = 90.0
    loss[2222] = 0.01
    return Recording(
        steps=np.arange(rows),
        sampled=np.arange(rows),
        step={"loss": Column(loss, np.ones(rows, bool))},
        topology=GRAPH,
    )


@pytest.mark.parametrize("again", [1, 3], ids=["once", "again-and-again"])
def test_thinning_keeps_peaks_and_moments(again):
    found = long_run()
    for _ in range(again):
        found = thinned(found, [3001], steps=len(found.steps) // 2, sampled=len(found.sampled) // 2)
    assert found.steps.size == 4000 // 2**again
    assert {1777, 2222, 3000, 3001, 3002} <= set(found.steps.tolist())


def test_what_is_few_enough_is_not_thinned():
    run = long_run(3000)
    assert same(thinned(run, [], steps=3000, sampled=3000), run)


def test_more_moments_than_room_leave_the_ends_whole():
    found = thinned(long_run(), range(4000), steps=400, sampled=400)
    assert found.steps.size == 400
    assert found.steps[-1] == 3999
    assert found.steps[0] == 0


def test_a_full_disk_ends_the_saving_and_not_the_training(tmp_path, monkeypatch):
    source = Source()
    keeper = Keeper(source, tmp_path / "run.ndbg")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper._writer, "append", full)
    source.waiting.append(calm(0))
    with pytest.warns(CaptureWarning, match="stopped saving the recording .No space left"):
        keeper.on_rows()
    source.waiting.append(calm(1))
    keeper.on_rows()
    assert keeper.recording().steps.tolist() == [0, 1]


def test_a_failure_reaches_the_disk_at_once(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    source = Source()
    keeper = Keeper(source, tmp_path / "run.ndbg")
    source.waiting.append(calm(0))
    keeper.on_rows()
    assert not synced
    source.waiting.append(
        replace(calm(1), occurrences=(Occurrence(step=1, kind="nonfinite_loss"),))
    )
    keeper.on_rows()
    assert len(synced) == 1


def test_every_rank_but_the_first_writes_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    Keeper(Source(), tmp_path / "run.ndbg").close()
    assert [p.name for p in tmp_path.iterdir()] == ["run.rank1.ndbg"]


def test_a_part_that_says_nothing_new_is_not_written():
    log = RecordingLog()
    assert log.append(calm(0)) is not None
    assert log.append(Recording(facts={"model": "Chain"}, topology=GRAPH)) is None
