"""A recording that was written is the recording that is read, and what is not whole is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.errors import RecordingError
from neuraldbg.recording import head_of, read_recording, write_recording
from neuraldbg.recording.frames import PREFIX, FrameKind, frame
from neuraldbg.records.recording import (
    Column,
    LayerInfo,
    LossCall,
    Occurrence,
    OptimizerInfo,
    ParamInfo,
    Recording,
    Topology,
    Unobserved,
)

NAN = float("nan")


def column(values, observed=None):
    values = np.array(values, np.float32)
    mask = np.ones(values.shape, bool) if observed is None else np.array(observed, bool)
    return Column(values, mask)


@pytest.fixture
def recording():
    return Recording(
        facts={"model": "Net", "finished": True, "autocast": "", "device": None, "odd": 0.1},
        topology=Topology(
            layers=(
                LayerInfo(name="enc.0", type="Linear", kind="linear", order=0, params=(0,)),
                LayerInfo(
                    name="<b>&\"'", type="BatchNorm1d", kind="norm", order=1, config={"eps": 1e-5}
                ),
            ),
            params=(ParamInfo(name="enc.0.weight", layer=0, shape=(4, 3), fan_in=3, group=0),),
            edges=((0, 1),),
            inputs=(0,),
            outputs=(1,),
        ),
        optimizers=(OptimizerInfo(type="SGD", family="sgd", groups=(0,), defaults={"lr": 0.1}),),
        steps=np.arange(5),
        step={
            "loss": column([1.0, NAN, np.inf, -0.0, 1e-42]),
            "residual": column([0, 0, 7, 0, 0], [0, 0, 1, 0, 0]),
        },
        group={"lr": column([[0.1], [0.1], [0.2], [0.1], [0.1]])},
        grad={"grad_norm": column([[1], [2], [3], [0], [0]], [[1], [1], [1], [0], [0]])},
        sampled=np.array([0, 3]),
        layer={"act_rms": column([[1, 0], [3, 4]], [[1, 0], [1, 1]])},
        param={"weight_norm": column([[2.5], [NAN]])},
        losses=(LossCall(step=0, function="mse_loss", layer=1, facts={"value": NAN, "rows": 64}),),
        occurrences=(Occurrence(step=2, kind="nonfinite_loss", facts={"value": "nan"}),),
        unobserved=(Unobserved("updates", "because"),),
    )


def same(a: Recording, b: Recording) -> bool:
    """Compare bit by bit: a NaN equals itself, 0 and -0 differ."""

    def known(r):
        return repr((r.facts, r.topology, r.optimizers, r.losses, r.occurrences, r.unobserved))

    def columns(r):
        return {
            (family, name): (c.values.tobytes(), c.observed.tobytes(), c.values.shape)
            for family in ("step", "group", "grad", "layer", "param")
            for name, c in getattr(r, family).items()
        }

    rows = [(r.steps.tolist(), r.sampled.tolist()) for r in (a, b)]
    return known(a) == known(b) and columns(a) == columns(b) and rows[0] == rows[1]


def test_what_is_read_is_what_was_written(recording, tmp_path):
    assert same(read_recording(write_recording(recording, tmp_path / "a.ndbg")), recording)


def test_columns_keep_their_order(recording, tmp_path):
    again = read_recording(write_recording(recording, tmp_path / "a.ndbg"))
    assert list(again.step) == list(recording.step)


def test_an_empty_recording_is_read_as_empty(tmp_path):
    assert same(read_recording(write_recording(Recording(), tmp_path / "a.ndbg")), Recording())


def test_a_long_recording_is_cut_into_parts_and_joined_again(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9001, 7)).astype(np.float32)
    seen = rng.random((9001, 7)) < 0.01
    long = Recording(
        steps=np.arange(9001) * 3,
        step={"loss": column(rng.normal(size=9001))},
        grad={"grad_norm": Column(np.where(seen, values, 0), seen)},
        topology=Topology(
            layers=(LayerInfo(name="a", type="A", kind="other"),),
            params=tuple(ParamInfo(name=f"p{i}", layer=0, shape=(1,)) for i in range(7)),
        ),
    )
    path = write_recording(long, tmp_path / "a.ndbg")
    assert path.read_bytes().count(b"grad_norm") > 1
    assert same(read_recording(path), long)


def test_the_head_tells_machine_and_version(recording, tmp_path):
    about = head_of(write_recording(recording, tmp_path / "a.ndbg"))
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))
    assert about["ranks"] == 1


def test_a_recording_without_an_end_says_that_the_run_did_not_finish(recording, tmp_path):
    path = write_recording(recording, tmp_path / "a.ndbg")
    whole = path.read_bytes()
    end = whole.rindex(frame(FrameKind.END, b"")[:4])  # type, flags, reserved
    path.write_bytes(whole[:end])
    read = read_recording(path)
    assert read.facts["finished"] is False
    assert [u.what for u in read.unobserved] == ["updates", "the end of the run"]
    assert same(replace(read, facts=recording.facts, unobserved=recording.unobserved), recording)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "does not begin like a recording"),
        (b"PK\x03\x04 a zip file of some sort", "does not begin like a recording"),
        (PREFIX[:9], "does not begin like a recording"),
        (PREFIX[:-4] + b"\x09\0\0\0", "format version 9, and this NeuralDBG reads version 1"),
    ],
)
def test_another_file_is_refused_with_a_sentence(tmp_path, content, told):
    path = tmp_path / "other.ndbg"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=told) as caught:
        read_recording(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(tmp_path / "none.ndbg")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecordingError, match="cannot write"):
        write_recording(Recording(), tmp_path / "none" / "a.ndbg")


def test_loading_needs_no_torch(recording, tmp_path):
    path = write_recording(recording, tmp_path / "a.ndbg")
    code = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch': raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "from neuraldbg import load\n"
        f"run = load({str(path)!r})\n"
        "print(len(run.diagnose().coverage.unobserved), 'torch' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["1", "False"]
