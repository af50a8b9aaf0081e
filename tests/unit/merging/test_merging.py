"""Recordings of many ranks written by hand: what is joined how, who was first, who drifts."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg import RecordingError, merge
from neuraldbg.merging import Merger
from neuraldbg.recording import write_recording
from neuraldbg.records.ranks import Drift, named
from neuraldbg.records.recording import Occurrence
from tests.builders import chain, recording

RANKS, STEPS = 8, 40
PARAMS = ("a.weight", "b.weight", "c.weight")


def healthy(rank, **changes):
    """Return what one replica of a healthy run saw: its own batches, everybody's gradients and weights."""
    noise = np.random.default_rng(rank).normal(0, 0.05, STEPS)
    given = {
        "step": {"loss": [float(2.0 / (1 + 0.1 * t) * np.exp(noise[t])) for t in range(STEPS)]},
        "grad": {p: [1.0 / (1 + t) + i for t in range(STEPS)] for i, p in enumerate(PARAMS)},
        "param": {
            "weight_norm": {p: [1.0 + 0.01 * t for t in range(STEPS)] for p in PARAMS},
            "init_gain": {p: [0.5] + [None] * (STEPS - 1) for p in PARAMS},
        },
        "group": {"lr": 0.1},
        "facts": {"finished": True},
    }
    return recording(**(given | changes))


def merged(make=healthy, ranks=range(RANKS), count=RANKS):
    merger = Merger()
    for rank in ranks:
        merger.take(rank, make(rank), count=count)
    return merger


def only(odd, **changes):
    """Return a maker in which these ranks saw something else."""
    return lambda rank: healthy(rank, **(changes if rank in odd else {}))


def grown(values, start, factor):
    return {
        p: [v * (factor(t) if t >= start else 1.0) for t, v in enumerate(values)] for p in PARAMS
    }


GRADIENTS = [1.0 / (1 + t) for t in range(STEPS)]


# -- one of many ---------------------------------------------------------------------------------


def test_replicas_that_agree_have_nothing_to_say():
    ranks = merged().ranks()
    assert (ranks.first, ranks.drifts, ranks.missing, ranks.unfinished) == (None, (), (), ())
    assert str(ranks) == "8 of 8 ranks; they agree"


@pytest.mark.parametrize("odd", [{0}, {5}, {2, 3}], ids=str)
def test_the_replicas_that_left_the_majority_are_named_also_the_first_one(odd):
    differing = {"weight_norm": grown([1.0] * STEPS, 12, lambda t: 1.0 + 0.002 * (t - 11))}
    shared = {"weight_norm": grown([1.0] * STEPS, STEPS, lambda _: 1.0)}
    ranks = merged(lambda r: healthy(r, param=differing if r in odd else shared)).ranks()
    (drift,) = ranks.drifts
    assert (drift.what, drift.ranks, drift.step) == ("weights", tuple(sorted(odd)), 12)
    assert drift.size == pytest.approx(1.056, abs=1e-3)
    assert not drift.apart
    assert ranks.unsynchronized is drift


def test_replicas_of_which_no_two_agree_drift_apart():
    ranks = merged(
        lambda r: healthy(r, grad=grown(GRADIENTS, 4, lambda t: 1.0 + 0.1 * r * (t % 3 + 1)))
    ).ranks()
    (drift,) = ranks.drifts
    assert (drift.what, drift.ranks, drift.step, drift.apart) == (
        "gradients",
        tuple(range(RANKS)),
        4,
        True,
    )


def test_rounding_is_no_drift():
    tiny = {"weight_norm": grown([1.0] * STEPS, 0, lambda t: 1.0 + 1e-7 * t)}
    plain = {"weight_norm": grown([1.0] * STEPS, 0, lambda _: 1.0)}
    assert merged(lambda r: healthy(r, param=tiny if r == 3 else plain)).ranks().drifts == ()


def test_replicas_that_come_together_again_were_meant_to_part():
    local = {"weight_norm": grown([1.0] * STEPS, 0, lambda t: 1.0 + 0.01 * (t % 4))}
    plain = {"weight_norm": grown([1.0] * STEPS, 0, lambda _: 1.0)}
    assert merged(lambda r: healthy(r, param=local if r == 3 else plain)).ranks().drifts == ()


def test_gradients_alone_may_differ_on_purpose():
    ranks = merged(
        lambda r: healthy(r, grad=grown(GRADIENTS, 0, lambda t: 1.0 + 0.1 * r * (t % 3 + 1)))
    ).ranks()
    assert [d.what for d in ranks.drifts] == ["gradients"]
    assert ranks.unsynchronized is None


def test_a_rank_that_began_from_other_weights_is_named():
    other = {"init_gain": {p: [0.6] + [None] * (STEPS - 1) for p in PARAMS}}
    (drift,) = merged(only({6}, param=other)).ranks().drifts
    assert (drift.what, drift.ranks, drift.step) == ("initial weights", (6,), 0)


def test_a_rank_with_another_learning_rate_is_named():
    (drift,) = merged(only({2}, group={"lr": 0.01})).ranks().drifts
    assert (drift.what, drift.ranks) == ("learning rates", (2,))
    assert drift.size == pytest.approx(10.0, rel=1e-4)


def test_a_rank_whose_losses_stay_above_the_others_is_named():
    loss = [2.0 / (1 + 0.1 * t) * (3.0 if t >= 10 else 1.0) for t in range(STEPS)]
    (drift,) = merged(only({4}, step={"loss": loss})).ranks().drifts
    assert (drift.what, drift.ranks) == ("losses", (4,))
    assert drift.step == 10
    assert drift.size == pytest.approx(3.0, rel=0.1)


def test_shards_of_parameters_are_not_compared():
    topology = chain("a", "b", "c")
    parts = replace(topology, params=tuple(replace(p, shard=8) for p in topology.params))
    ranks = merged(
        lambda r: replace(healthy(r, grad=grown(GRADIENTS, 0, lambda _: 1.0 + r)), topology=parts)
    ).ranks()
    assert ranks.sharded
    assert ranks.drifts == ()


# -- who was first -------------------------------------------------------------------------------


def bad(kind, step, **facts):
    return Occurrence(step=step, kind=kind, facts=facts)


def test_the_rank_that_saw_the_bad_batch_tells_the_story_and_the_others_keep_silent():
    spread = (bad("nonfinite_gradient", 20), bad("nonfinite_loss", 21), bad("risky_op", 3))

    def make(rank):
        mine = (bad("nonfinite_input", 20), bad("nonfinite_loss", 20))
        return healthy(rank, occurrences=mine if rank == 5 else spread)

    merger = merged(make)
    first = merger.ranks().first
    assert (first.ranks, first.step, first.kind) == ((5,), 20, "nonfinite_input")
    assert str(first) == "rank 5 first, step 20: a batch with non-finite values"
    told = [(x.step, x.kind, x.facts["rank"]) for x in merger.recording().occurrences]
    assert told == [(3, "risky_op", 0), (20, "nonfinite_input", 5), (20, "nonfinite_loss", 5)]


def test_what_all_ranks_saw_in_the_same_step_blames_none():
    assert (
        merged(lambda r: healthy(r, occurrences=(bad("nonfinite_loss", 7),))).ranks().first is None
    )


def test_an_exception_is_blamed_on_the_rank_that_raised_it_and_not_on_its_echoes():
    def make(rank):
        kind = "ValueError" if rank == 3 else "DistBackendError"
        return healthy(rank, occurrences=(bad("exception", 9, type=kind),))

    first = merged(make).ranks().first
    assert (first.ranks, first.step, first.what) == ((3,), 9, "ValueError was raised")


# -- joining -------------------------------------------------------------------------------------


def joined(name, values, family="step"):
    merger = Merger()
    for rank, value in enumerate(values):
        given = [value] * 4
        rows = {"step": {name: given}} if family == "step" else {"layer": {name: {"b": given}}}
        merger.take(rank, recording(steps=4, **rows))
    column = getattr(merger.recording(), family)[name]
    return float(column.values[0] if family == "step" else column.values[0, 1])


@pytest.mark.parametrize(
    ("family", "name", "values", "expected"),
    [
        ("step", "loss", [1.0, 2.0, 6.0], 3.0),
        ("step", "input_nonfinite", [0.0, 1.0, 0.0], 1.0),
        ("step", "input_std", [1.0, 1.0, 1.0, 500.0], 500.0),
        ("step", "input_std", [1.0, 1.1, 0.9, 1.2], 1.188**0.25),
        ("step", "input_std", [1.0, 1.0, 1.0, 1e-4], 1e-4),
        ("step", "input_std", [1.0, 1.0, 0.0, 1.0], 0.0),
        ("layer", "dead_share", [0.9, 0.2, 0.5], 0.2),
        ("layer", "act_absmax", [1.0, 9.0, 2.0], 9.0),
        ("layer", "act_rms", [1.0, 3.0], 2.0),
    ],
)
def test_a_column_is_joined_by_what_it_means(family, name, values, expected):
    assert joined(name, values, family) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["loss", "input_std", "input_nonfinite"])
def test_a_nan_of_one_rank_is_one_of_the_run(name):
    assert np.isnan(joined(name, [1.0, float("nan"), 1.0]))


def test_what_no_rank_measured_stays_unmeasured():
    merger = Merger()
    for rank, rows in enumerate(([1.0, None, None], [3.0, 2.0, None])):
        merger.take(rank, recording(steps=3, step={"loss": rows}))
    values, observed = merger.recording().step["loss"]
    assert observed.tolist() == [True, True, False]
    assert values[:2].tolist() == [2.0, 2.0]


def test_steps_that_only_some_ranks_looked_at_closely_stand_among_the_others():
    merger = Merger()
    for rank, sampled in enumerate(([0, 2], [0, 1, 2, 3], [0, 2])):
        rows = {"act_rms": {"a": [float(10 * rank + t) for t in sampled]}}
        merger.take(rank, recording(steps=4, sampled=sampled, layer=rows))
    found = merger.recording()
    assert found.sampled.tolist() == [0, 1, 2, 3]
    assert found.layer["act_rms"].values[:, 0].tolist() == [10.0, 11.0, 12.0, 13.0]


def sharded(rank, sizes, norms, **columns):
    topology = chain("a", "b", "c")
    first = replace(topology.params[0], shard=sizes[rank])
    parts = replace(topology, params=(first, *topology.params[1:]))
    return recording(
        parts,
        steps=4,
        grad={"a.weight": norms[rank], "b.weight": 7.0},
        param={k: {"a.weight": v[rank]} for k, v in columns.items()},
    )


def test_norms_of_shards_add_up_in_squares_and_whole_parameters_stay():
    merger = Merger()
    for rank in (0, 1):
        merger.take(rank, sharded(rank, (32, 32), (3.0, 4.0)))
    assert merger.recording().grad["grad_norm"].values[0, :2].tolist() == [5.0, 7.0]


def test_shards_that_are_kept_twice_count_once():
    merger = Merger()
    for rank in range(4):
        merger.take(rank, sharded(rank, (32, 32, 32, 32), (3.0, 4.0, 3.0, 4.0)))
    assert merger.recording().grad["grad_norm"].values[0, 0] == pytest.approx(5.0)


def test_a_sum_of_some_shards_only_is_no_norm():
    merger = Merger()
    for rank in (0, 1):
        merger.take(rank, sharded(rank, (32, 32), ([3.0] * 4, [None, 4.0, None, 4.0])))
    assert merger.recording().grad["grad_norm"].observed[:, 0].tolist() == [False, True] * 2


def test_the_size_of_an_update_is_that_of_the_whole():
    merger = Merger()
    for rank in (0, 1):
        columns = {"weight_norm": (3.0, 4.0), "update_ratio": (0.1, 0.2), "init_gain": (1.0, 2.0)}
        merger.take(rank, sharded(rank, (48, 16), (1.0, 1.0), **columns))
    found = merger.recording().param
    # Updates of 0.3 and 0.8 on weights of 3 and 4.
    assert found["update_ratio"].values[0, 0] == pytest.approx(np.hypot(0.3, 0.8) / 5.0)
    assert found["init_gain"].values[0, 0] == pytest.approx(np.sqrt((48 * 1 + 16 * 4) / 64))


# -- files ---------------------------------------------------------------------------------------


def written(folder, make=healthy, ranks=range(3), count=3):
    for rank in ranks:
        found = make(rank)
        facts = {**found.facts, "rank": rank, "ranks": count}
        write_recording(replace(found, facts=facts), folder / f"run.rank{rank}.ndbg")
    return folder


def test_files_of_a_folder_merge_in_any_order(tmp_path):
    paths = sorted(written(tmp_path).glob("*.ndbg"))
    folder, backwards = merge(tmp_path), merge(reversed(paths))
    assert folder.ranks == backwards.ranks
    assert folder.diagnose().p_healthy == pytest.approx(backwards.diagnose().p_healthy)
    assert repr(folder) == "MergedRun(3 of 3 ranks; they agree)"


def test_ranks_without_a_recording_are_named(tmp_path):
    run = merge(written(tmp_path, ranks=(0, 3), count=4))
    assert run.ranks.missing == (1, 2)
    assert "ranks 1, 2" in {x.what for x in run.recording.unobserved}
    assert "no recording of ranks 1, 2" in run.diagnose().reason


def test_a_rank_that_was_killed_is_named(tmp_path):
    written(tmp_path)
    path = tmp_path / "run.rank2.ndbg"
    path.write_bytes(path.read_bytes()[:-4])
    run = merge(tmp_path)
    assert run.ranks.unfinished == (2,)
    assert "the recording of rank 2 has no end" in run.diagnose().reason


def test_recordings_of_several_runs_are_refused(tmp_path):
    written(tmp_path, ranks=(0,), count=1)
    write_recording(healthy(0), tmp_path / "other.ndbg")
    with pytest.raises(RecordingError, match=r"different runs.*triage"):
        merge(tmp_path)


def test_recordings_of_different_models_are_refused(tmp_path):
    written(tmp_path)
    other = replace(recording(chain("x", "y")), facts={"rank": 3, "ranks": 4})
    write_recording(other, tmp_path / "run.rank3.ndbg")
    with pytest.raises(RecordingError, match="another model"):
        merge(tmp_path)


def test_a_folder_without_recordings_says_so(tmp_path):
    with pytest.raises(RecordingError, match="no recording"):
        merge(tmp_path)


def test_many_ranks_are_named_by_a_few():
    assert named((1,)) == "rank 1"
    assert named(tuple(range(9))) == "ranks 0, 1, 2, 3 and 5 more"


@pytest.mark.parametrize(("size", "words"), [(1.042, "4.2 %"), (5.11, "a factor of 5.11")])
def test_a_drift_says_how_far(size, words):
    drift = Drift(what="weights", ranks=(1,), step=3, size=size)
    assert str(drift).endswith(f"from step 3 on, by up to {words}")
