"""Several runs side by side, and a run that is followed while it is written."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from neuraldbg.cli import main
from neuraldbg.recording import RecordingLog, RecordingWriter, read_recording, write_recording
from neuraldbg.recording.parts import split
from neuraldbg.records.recording import Column, Recording
from neuraldbg.saved import SavedRun
from neuraldbg.sweep import Verdict, common_settings, difference


def test_compare_tells_where_a_run_left_its_twin(capsys, runs):
    assert main(["compare", str(runs / "jump.ndbg"), str(runs / "twin.ndbg")]) == 0
    out = capsys.readouterr().out
    assert (
        out.splitlines()[0] == "the runs part at step 60: learning rate is 0.6 in A and 0.002 in B"
    )
    assert "identical   until step 60" in out
    assert "looks healthy" in out


def test_compare_tells_that_a_run_does_not_part_from_itself(capsys, runs):
    main(["compare", str(runs / "jump.ndbg"), str(runs / "jump.ndbg")])
    assert capsys.readouterr().out.startswith("the runs do not part")


def saved(tmp_path, name, loss):
    loss = np.array(loss, np.float32)
    run = Recording(
        steps=np.arange(loss.size), step={"loss": Column(loss, np.ones(loss.size, bool))}
    )
    return SavedRun(write_recording(run, tmp_path / f"{name}.ndbg"))


@pytest.mark.parametrize(
    ("other", "step", "same_until"),
    [
        ([2, 1, 1, 9, 9, 9], 3, 3),
        ([2, 1, 1, 9, 1, 1], None, 3),
        ([2.2, 1.1, 1.2, 9, 9, 9], 3, None),
        ([2, 1, 1, 2, 2, 2], None, 3),
        ([2, 1, 1, np.nan, np.nan, np.nan], 3, 3),
        ([2, 1, 1, 1, 1, 1], None, None),
    ],
    ids=["parts", "one-outlier", "noisy-start", "within-a-factor-of-three", "nan", "same"],
)
def test_runs_part_where_they_differ_lastingly_by_more_than_a_factor_of_three(
    tmp_path, other, step, same_until
):
    found = difference(saved(tmp_path, "a", [2, 1, 1, 1, 1, 1]), saved(tmp_path, "b", other))
    assert (found.step, found.same_until) == (step, same_until)


def with_rate(tmp_path, name, rate, loss):
    loss = np.array(loss, np.float32)
    seen = np.ones(loss.size, bool)
    rates = Column(np.full((loss.size, 1), rate, np.float32), seen[:, None])
    run = Recording(
        facts={"model": name},
        steps=np.arange(loss.size),
        step={"loss": Column(loss, seen)},
        group={"lr": rates},
    )
    return SavedRun(write_recording(run, tmp_path / f"{name}.ndbg"))


def test_a_setting_that_differs_from_the_start_is_no_parting(tmp_path):
    a, b = (
        with_rate(tmp_path, name, rate, [2, 1, last, last, last])
        for name, rate, last in (("a", 0.1, 1), ("b", 10.0, 9))
    )
    found = difference(a, b)
    assert (found.step, found.what) == (2, "loss")


def test_compare_says_that_different_models_have_little_in_common(capsys, tmp_path):
    for name in ("Mlp", "Decoder"):
        with_rate(tmp_path, name, 0.1, [1, 1, 1])
    main(["compare", str(tmp_path / "Mlp.ndbg"), str(tmp_path / "Decoder.ndbg")])
    out = capsys.readouterr().out
    assert "the models differ; only what both have is compared" in out
    assert "setting     model: Mlp in A, Decoder in B" in out


def test_triage_tells_first_what_most_runs_died_of(capsys, runs, tmp_path):
    for name, count in (("nan", 2), ("jump", 1), ("twin", 3)):
        for i in range(count):
            (tmp_path / f"{name}{i}.ndbg").write_bytes((runs / f"{name}.ndbg").read_bytes())
    main(["triage", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    groups = [line.partition(":")[0] for line in lines[1:] if line and not line.startswith(" ")]
    assert groups == ["nonfinite_data", "learning_rate_schedule_bug", "healthy"]


def test_triage_groups_the_runs_of_a_sweep(capsys, runs, tmp_path):
    for path in runs.glob("*.ndbg"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.ndbg").write_bytes(b"oh")
    assert main(["triage", str(tmp_path), "--fail-on", "0.5"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 4 runs failed"
    groups = [line for line in lines if line and not line.startswith(" ")][1:]
    assert groups == [
        "learning_rate_schedule_bug: 1 run",
        "nonfinite_data: 1 run",
        "unreadable: 1 run",
        "healthy: 1 run",
    ]


def test_triage_of_several_workers_says_the_same(capsys, runs):
    main(["triage", str(runs), "--json"])
    alone = json.loads(capsys.readouterr().out)
    main(["triage", str(runs), "--json", "--jobs", "2"])
    assert json.loads(capsys.readouterr().out) == alone


def test_triage_of_a_folder_without_recordings_is_refused(capsys, tmp_path):
    assert main(["triage", str(tmp_path)]) == 2
    assert "no recording" in capsys.readouterr().err


def test_settings_that_only_the_failed_runs_have_are_told():
    def run(mechanism, **settings):
        return Verdict(name="", mechanism=mechanism, settings=settings)

    sweep = [
        run("dead_units", lr="1", wd="0", model="Net"),
        run("dead_units", lr="1", wd="0.1", model="Net"),
        run("healthy", lr="0.1", wd="0", model="Net"),
    ]
    assert common_settings(sweep) == {"dead_units": {"lr": "1"}}


def test_watch_tells_events_and_the_end_of_a_run(capsys, runs):
    assert main(["watch", str(runs / "nan.ndbg"), "--once"]) == 0
    out = capsys.readouterr().out
    assert "step     70" in out
    assert "the run has ended" in out


def test_watch_follows_a_file_that_grows_and_tells_every_event_once(capsys, runs, tmp_path):
    recording, path = read_recording(runs / "nan.ndbg"), tmp_path / "live.ndbg"
    log = RecordingLog()

    def grow():
        time.sleep(0.2)
        writer = RecordingWriter(path)
        for part in split(recording):
            writer.append(log.append(part) or b"")
            time.sleep(0.3)
        writer.close()

    thread = threading.Thread(target=grow)
    thread.start()
    # The file need not be there yet.
    assert main(["watch", str(path), "--every", "0.1"]) == 0
    thread.join()
    out = capsys.readouterr().out
    assert out.count("(loss_nonfinite)") == 1
    assert out.rstrip().splitlines()[-2] == "the run has ended"


def test_watch_prints_a_line_of_json_a_look(capsys, runs):
    assert main(["watch", str(runs / "nan.ndbg"), "--once", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    body = json.loads(line)
    assert body["ended"] is True
    assert body["causes"][0]["mechanism"] == "nonfinite_data"
    assert {e["name"] for e in body["events"]} >= {"input_nonfinite", "loss_nonfinite"}


def test_watch_of_nothing_is_refused_if_it_may_not_wait(capsys, tmp_path):
    assert main(["watch", str(tmp_path / "none.ndbg"), "--once"]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_watch_ends_quietly_on_ctrl_c(capsys, tmp_path, monkeypatch):
    def interrupt(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("neuraldbg.cli.watch.time.sleep", interrupt)
    assert main(["watch", str(tmp_path / "none.ndbg")]) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("waiting for ")
