"""A run that was saved is diagnosed like the live one, byte for byte."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from neuraldbg import NeuralDbg, load
from neuraldbg.demos import find
from neuraldbg.recording import write_recording
from neuraldbg.report import to_json


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
