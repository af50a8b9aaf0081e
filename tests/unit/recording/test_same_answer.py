"""A run that was saved is diagnosed like the live one, byte for byte."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from neuraldbg import NeuralDbg, load
from neuraldbg.demos import find
from neuraldbg.recording import write_recording
from neuraldbg.report import to_json


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    # Small tensors: a second thread waits for the first.
    torch.set_num_threads(1)


def watched(name, **options):
    found = []

    @contextmanager
    def observe(model, _optimizer):
        with NeuralDbg(model, **options) as dbg:
            found.append(dbg)
            yield type("Watch", (), {"loss": lambda self, value: None})()

    find(name).train(observe, seed=0)
    return found[0]


@pytest.mark.parametrize("name", ["resnet-learning-rate-jump", "mlp-dead-units"])
def test_the_saved_run_gives_the_diagnosis_of_the_live_one(tmp_path, name):
    live = watched(name)
    saved = load(write_recording(live.recording, tmp_path / "run.ndbg"))
    assert to_json(saved.diagnose()) == to_json(live.diagnose())
    assert [str(e) for e in saved.explain_failure()] == [str(e) for e in live.explain_failure()]


def test_a_run_that_saves_itself_gives_the_same_diagnosis(tmp_path):
    live = watched("mlp-dead-units", save=tmp_path / "run.ndbg")
    saved = load(tmp_path / "run.ndbg")
    assert to_json(saved.diagnose()) == to_json(live.diagnose())
    assert saved.recording.facts["finished"] is True


def test_a_run_taken_over_in_pieces_gives_the_diagnosis_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("neuraldbg.keeper.UNSAVED", (10**9, 10**9))
    whole = watched("cnn-nonfinite-data")
    pieces = watched("cnn-nonfinite-data", save=tmp_path / "run.ndbg")
    assert to_json(pieces.diagnose()) == to_json(whole.diagnose())


def test_asking_while_the_loop_runs_changes_nothing(tmp_path):
    calm = watched("mlp-dead-units")

    @contextmanager
    def asked(model, _optimizer):
        with NeuralDbg(model, save=tmp_path / "run.ndbg") as dbg:
            found.append(dbg)
            steps = iter(range(10**6))
            ask = lambda self, value: next(steps) % 20 or dbg.recording
            yield type("Watch", (), {"loss": ask})()

    found = []
    find("mlp-dead-units").train(asked, seed=0)
    assert to_json(found[0].diagnose()) == to_json(calm.diagnose())
