"""DDP and both FSDPs on two real processes: nothing changes, nothing is exchanged, and one diagnosis names the rank."""

import json

import numpy as np
import pytest

from neuraldbg import load, merge
from neuraldbg.cli import main
from tests.scenarios.distributed.programs import BAD_STEP, STEPS

WAYS = ("ddp", "fsdp2", "fsdp1")
# Where the first FSDP hides the parameters, a unit of it has one.
ALL = (*WAYS, "fsdp1-hidden")
SHARDED = ("fsdp2", "fsdp1")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("way", ALL)
@pytest.mark.parametrize("watched", ["watched", "watched by one rank"])
def test_watching_changes_no_bit_and_adds_no_collective(seen, rank, way, watched):
    assert seen[rank][way][watched] == {"weights": True, "losses": True, "collectives": True}
    # The count itself works: one exchange a step at the least.
    assert seen[rank][way]["collectives of the plain run"] >= STEPS


@pytest.mark.parametrize("way", ALL)
def test_every_rank_writes_a_recording_of_its_own(launched, way):
    for rank, name in enumerate(("run.ndbg", "run.rank1.ndbg")):
        run = load(launched / way / name)
        assert run.ended
        assert (run.recording.facts["rank"], run.recording.facts["ranks"]) == (rank, 2)
        assert run.about["rank"] == rank
        assert run.recording.steps.size == STEPS
        assert run.recording.facts["disarmed"] == ""


@pytest.mark.parametrize("way", WAYS)
def test_layers_and_parameters_have_the_names_of_the_model(launched, way):
    topology = load(launched / way / "run.ndbg").recording.topology
    assert [layer.name for layer in topology.layers] == ["fc1", "fc2", "drop", "head"]
    assert topology.params[0].name == "fc1.weight"
    assert topology.params[0].shape == (32, 16)
    assert topology.edges == ((0, 1), (1, 2), (2, 3))


def test_shards_are_said_to_be_shards_and_whole_ones_are_not(launched):
    shard, whole = (load(launched / way / "run.ndbg").recording for way in ("fsdp2", "ddp"))
    assert [p.shard for p in shard.topology.params] == [256, 16, 512, 16, 64, 2]
    assert "whole parameters" in {x.what for x in shard.unobserved}
    assert {p.shard for p in whole.topology.params} == {-1}
    assert "whole parameters" not in {x.what for x in whole.unobserved}


def test_pieces_of_a_row_are_shards_that_may_be_empty(launched):
    # A unit of 544 entries is cut in two without regard to where its weight ends.
    first, second = (
        load(launched / "fsdp1" / name).recording.topology.params
        for name in ("run.ndbg", "run.rank1.ndbg")
    )
    assert [p.shard for p in first] == [272, 0, 528, 0, 66, 0]
    assert [p.shard for p in second] == [240, 32, 496, 32, 62, 4]
    hidden = load(launched / "fsdp1-hidden" / "run.ndbg").recording
    assert [(p.shape, p.shard) for p in hidden.topology.params] == [
        ((544,), 272),
        ((1056,), 528),
        ((132,), 66),
    ]
    assert "whole parameters" in {x.what for x in hidden.unobserved}


@pytest.mark.parametrize("way", SHARDED)
def test_shards_joined_after_the_run_are_the_whole(launched, way):
    # All ways train the same model on the same batches, so DDP knows the norms of the whole.
    shards = merge(launched / way).recording
    whole = merge(launched / "ddp").recording
    for family, name in (
        ("grad", "grad_norm"),
        ("param", "weight_norm"),
        ("param", "init_gain"),
        ("param", "init_bias"),
    ):
        mine, other = getattr(shards, family)[name], getattr(whole, family)[name]
        assert (mine.observed == other.observed).all()
        first = slice(0, 8)
        assert mine.values[first] == pytest.approx(other.values[first], rel=2e-3), name
    mine, other = (run.param["update_ratio"] for run in (shards, whole))
    assert (mine.observed == other.observed).all()
    seen = other.observed[:8]
    ratio = mine.values[:8][seen] / other.values[:8][seen]
    assert np.median(ratio) == pytest.approx(1.0, rel=0.02)
    raw = shards.step["grad_norm_raw"].values[:8] / whole.step["grad_norm_raw"].values[:8]
    assert raw == pytest.approx(1.0, rel=2e-3)
    assert {p.shard for p in shards.topology.params} == {-1}
    assert shards.unobserved == ()


@pytest.mark.parametrize("way", ALL)
def test_a_healthy_run_is_not_accused_and_its_ranks_agree(launched, way):
    run = merge(launched / way)
    assert run.explain_failure() == []
    assert run.diagnose().p_healthy >= 0.9
    assert run.ranks.first is None
    assert run.ranks.drifts == ()
    assert run.ranks.missing == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "mechanism"), [("rate", "learning_rate_too_high"), ("dead", "dead_units")]
)
def test_a_fault_of_all_ranks_is_found_and_blamed_on_none(launched, way, fault, mechanism):
    run = merge(launched / f"{way}-{fault}")
    assert run.explain_failure()[0].hypothesis.mechanism == mechanism
    assert run.ranks.first is None
    assert run.ranks.drifts == ()


@pytest.mark.parametrize("way", ALL)
def test_the_rank_with_the_bad_batch_is_first(launched, way):
    run = merge(launched / f"{way}-nan")
    first = run.explain_failure()[0]
    assert first.hypothesis.mechanism == "nonfinite_data"
    assert first.hypothesis.step == BAD_STEP
    assert str(first).endswith(f"; rank 1 first, step {BAD_STEP}")
    assert run.ranks.first.ranks == (1,)
    assert run.ranks.first.kind == "nonfinite_input"
    # The other rank saw no bad batch: what reached it came with the gradients.
    other = load(launched / f"{way}-nan" / "run.ndbg").recording
    assert "nonfinite_input" not in {x.kind for x in other.occurrences}


@pytest.mark.parametrize("way", WAYS)
def test_the_layer_in_which_one_rank_bore_a_nan_is_named_though_its_weights_are_gone(launched, way):
    run = merge(launched / f"{way}-singular")
    assert (run.ranks.first.ranks, run.ranks.first.step) == ((1,), BAD_STEP)
    born = next(x for x in run.recording.occurrences if x.kind == "nonfinite_forward")
    assert run.recording.topology.layers[born.layer].name == "fc2"
    first = run.explain_failure()[0].hypothesis
    assert (first.mechanism, first.step) == ("numerical_singularity", BAD_STEP)


def test_ranks_that_do_not_exchange_gradients_drift_apart(launched):
    run = merge(launched / "ddp-unsynchronized")
    assert [d.what for d in run.ranks.drifts] == ["gradients", "weights"]
    assert {d.ranks for d in run.ranks.drifts} == {(0, 1)}
    assert {d.step for d in run.ranks.drifts} == {0}
    first = run.explain_failure()[0].hypothesis
    assert first.mechanism == "unsynchronized_replicas"
    assert not first.calibrated
    assert not run.diagnose().healthy


def test_a_rank_whose_loss_stays_above_the_others_is_named(launched):
    run = merge(launched / "ddp-labels")
    (drift,) = run.ranks.drifts
    assert (drift.what, drift.ranks) == ("losses", (1,))
    assert "losses of rank 1" in run.diagnose().reason


def test_the_command_line_explains_a_folder_of_ranks_and_a_list_of_them(launched, capsys):
    folder = launched / "ddp-nan"
    assert main(["explain", str(folder)]) == 0
    whole = capsys.readouterr().out
    assert "rank 1 first, step 20" in whole
    assert main(["explain", *map(str, sorted(folder.glob("*.ndbg")))]) == 0
    assert capsys.readouterr().out == whole
    assert main(["explain", "--json", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["ranks"]["first"]["ranks"] == [1]
