"""A file that was cut, killed or tampered with: every whole part is read, the rest is told, nothing else."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from benchmarks import recording as bench
from neuraldbg.errors import RecordingError
from neuraldbg.recording import read_recording
from neuraldbg.recording.frames import FrameKind, frame
from neuraldbg.recording.notes import dump
from neuraldbg.recording.parts import _LENGTH


def part_frame(notes: dict, blob: bytes = b"") -> bytes:
    text = dump(notes)
    return frame(FrameKind.PART, _LENGTH.pack(len(text)) + text + blob)


def test_cut_at_every_byte_of_the_last_frames_the_whole_steps_are_read_and_the_end_is_missed(
    tmp_path,
):
    outcome = bench.truncations(tmp_path)
    assert outcome["cuts"] > 1000
    assert outcome["wrong"] == 0


def test_the_tail_that_was_cut_is_told_with_its_size(tmp_path):
    data = bench.small_file(tmp_path)
    (tmp_path / "cut.ndbg").write_bytes(data[: bench.frame_starts(data)[-3] + 7])
    told = {u.what: u.why for u in read_recording(tmp_path / "cut.ndbg").unobserved}
    assert told["the tail of the recording"] == "cut within a frame (7 bytes)"


def test_steps_after_a_damaged_frame_are_not_read(tmp_path):
    data = bytearray(bench.small_file(tmp_path))
    data[bench.frame_starts(bytes(data))[5] + 40] ^= 1
    (tmp_path / "bad.ndbg").write_bytes(data)
    found = read_recording(tmp_path / "bad.ndbg")
    assert found.steps.tolist() == [0, 1, 2, 3]
    assert any("checksum" in u.why for u in found.unobserved)


def test_damaged_files_give_a_recording_or_a_clear_error(tmp_path):
    outcome = bench.fuzz(tmp_path, 3000)
    assert set(outcome) == {"inputs", "read", "refused", "slowest_s", "peak_rss_mib"}


def test_damaged_files_are_diagnosed_or_refused(tmp_path):
    outcome = bench.fuzz_answers(tmp_path, 60)
    assert outcome["answered"] > 0
    assert set(outcome) <= {"inputs", "answered", "refused"}


@pytest.mark.parametrize(
    "hostile",
    [
        frame(FrameKind.PART, b"")[:4] + b"\xff\xff\xff\xff" + b"\0" * 4,
        part_frame({"rows": {"steps": 2**32}}),
        part_frame(
            {
                "rows": {"sampled": 1},
                "columns": {"layer": [["x", "index", 1, 2**20]] * 300},
            },
            b"\1" + b"\0" * 7 + (b"\0" * 8) * 300,
        ),
        part_frame({"columns": {"layer": [["x", "bits", 0, 2**20]]}, "rows": {"sampled": 1}}),
        part_frame({"state": {"topology": {"edges": [[0, 1]]}}}),
        part_frame({"state": {"weights": 1}}),
        part_frame({"rows": {"steps": True}}),
    ],
    ids=["length", "rows", "wide", "mask", "edges", "unknown-state", "bool"],
)
def test_a_hostile_claim_is_refused_without_the_memory_that_it_asks_for(tmp_path, hostile):
    path = tmp_path / "hostile.ndbg"
    data = bench.small_file(tmp_path)
    path.write_bytes(data[: bench.frame_starts(data)[3]] + hostile)
    tracemalloc.start()
    try:
        found = read_recording(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert found.steps.tolist() == [0, 1]
    assert "the tail of the recording" in {u.what for u in found.unobserved}


def test_a_loss_in_a_layer_that_does_not_exist_is_refused(tmp_path):
    data = bench.small_file(tmp_path)
    path = tmp_path / "hostile.ndbg"
    wrong = part_frame({"losses": [{"step": 0, "function": "f", "layer": 99}]})
    path.write_bytes(data[: bench.frame_starts(data)[3]] + wrong)
    with pytest.raises(RecordingError, match="a layer that does not exist"):
        read_recording(path)


def test_what_a_killed_writer_acknowledged_is_read(tmp_path):
    rng = random.Random(0)  # noqa: S311 - repeatable, not secret
    for _ in range(5):
        told, read = bench.killed(tmp_path, rng)
        assert read >= told > 0
