"""The runner and its cache."""

import json

import pytest

from benchmarks.corpus.run import jobs, perform, run
from benchmarks.corpus.store import Store
from benchmarks.corpus.table import load_labels, load_runs


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def test_a_run_is_made_once(store, capsys):
    assert run(["bag_text"], limit=2, workers=1, store=store) == 2
    assert run(["bag_text"], limit=3, workers=1, store=store) == 3
    assert len(list(store.ids())) == 5
    assert "2/2" in capsys.readouterr().err


def test_a_recording_comes_back_with_its_label(store):
    job = jobs(["bag_text"])[2]
    perform(job, store)
    (label, recording), *rest = load_runs(store.folder)
    assert rest == []
    assert (label["id"], label["seed"]) == (job[0], job[4])
    assert label["verdict"] == "healthy"
    assert label["mechanisms"] == []
    assert recording.topology.layers


def test_an_unwatched_run_ends_as_a_watched_one(store, tmp_path):
    job = jobs(["bag_text"])[1]
    plain = perform(job, store, watched=False)["outcome"]
    seen = perform(job, Store(tmp_path / "other"))["outcome"]
    assert plain["losses"] == seen["losses"]
    assert plain["metric"] == seen["metric"]


def test_onset_of_a_singular_operation_is_read_from_the_first_bad_loss(store):
    chosen = [j for j in jobs(["tabular"]) if "numerical_singularity.root-" in j[0]]
    chosen += [j for j in jobs(["autoencoder"]) if "numerical_singularity.root-" in j[0]]
    for job in chosen[:2]:
        perform(job, store, watched=False)
    (label,) = [x for x in load_labels(store.folder) if x["kind"] == "fault"]
    first = label["first_nonfinite"]
    assert first is not None
    assert label["onset"] == (max(first - 1, 0), first)


def test_a_half_written_run_does_not_count(store):
    perform(jobs(["bag_text"])[0], store, watched=False)
    name = next(store.ids())
    (store.folder / f"{name}.json").rename(store.folder / f"{name}.tmp")
    assert not store.has(name)
    assert list(store.ids()) == []


def test_what_is_stored_says_where_it_came_from(store):
    body = perform(jobs(["bag_text"])[0], store, watched=False)
    text = json.dumps(body)
    assert {"torch", "neuraldbg", "corpus"} <= set(body["versions"])
    assert str(store.folder) not in text
