"""What kind of program it is, and all signals together."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import (
    LayerInfo,
    LossCall,
    Occurrence,
    OptimizerInfo,
    Recording,
    Topology,
)
from neuraldbg.signals import derive
from neuraldbg.signals.context import context_flags, is_adversarial
from tests import builders

NAN = float("nan")


def kinds(*names: str) -> Topology:
    return Topology(
        layers=tuple(LayerInfo(name=n, type="X", kind=n, order=i) for i, n in enumerate(names))
    )


@pytest.mark.parametrize(
    ("run", "flag"),
    [
        pytest.param(builders.recording(kinds("norm")), "has_norm", id="normalization"),
        pytest.param(
            builders.recording(
                Topology(layers=(LayerInfo(name="n", type="BatchNorm1d", kind="norm"),))
            ),
            "running_statistics",
            id="statistics of evaluation",
        ),
        pytest.param(builders.recording(kinds("attention")), "has_attention", id="attention"),
        pytest.param(builders.recording(kinds("dropout")), "has_dropout", id="dropout"),
        pytest.param(builders.recording(kinds("recurrent")), "has_recurrent", id="recurrent"),
        pytest.param(
            builders.recording(layer={"attn_entropy_min": {"a": 0.5}}),
            "has_attention",
            id="attention by function",
        ),
        pytest.param(
            builders.recording(builders.chain("a", "b", activation="relu")),
            "has_rectifier",
            id="rectifier",
        ),
        pytest.param(
            builders.recording(facts={"applied": "gelu relu"}),
            "has_rectifier",
            id="rectifier of a sum",
        ),
        pytest.param(
            builders.recording(facts={"applied": "sigmoid"}), "has_bounded", id="bounded sum"
        ),
        pytest.param(
            builders.recording(layer={"norm_count": {"a": 8.0}}),
            "has_norm",
            id="normalization by function",
        ),
        pytest.param(
            builders.recording(builders.chain("a", "b", activation="tanh")),
            "has_bounded",
            id="bounded",
        ),
        pytest.param(
            builders.recording(optimizers=(builders.sgd(momentum=0.9),)), "momentum", id="momentum"
        ),
        pytest.param(
            builders.recording(group={"weight_decay": 0.1}), "weight_decay", id="weight decay"
        ),
        pytest.param(
            builders.recording(builders.chain("a", dtype="float16")), "fp16", id="half weights"
        ),
        pytest.param(builders.recording(facts={"autocast": "float16"}), "fp16", id="autocast"),
        pytest.param(
            builders.recording(
                occurrences=(Occurrence(step=3, kind="nonfinite_forward", facts={"half": True}),)
            ),
            "fp16",
            id="a loss in half precision that overflowed",
        ),
        pytest.param(
            builders.recording(losses=(LossCall(step=0, function="mse_loss"),)),
            "regression",
            id="regression",
        ),
        pytest.param(
            builders.recording(losses=(LossCall(step=0, function="difference"),)),
            "regression",
            id="a difference by hand",
        ),
        pytest.param(
            builders.recording(losses=(LossCall(step=0, function="cross_entropy"),)),
            "labelled",
            id="a target",
        ),
        pytest.param(
            builders.recording(step={"input_std": [1.0] * 40}), "float_input", id="float input"
        ),
        pytest.param(builders.recording(builders.chain(*"abcdef")), "deep", id="deep"),
    ],
)
def test_a_flag_holds_where_its_program_has_the_thing_and_not_in_a_bare_one(run, flag) -> None:
    assert flag in context_flags(run)
    assert flag not in context_flags(builders.recording(builders.chain("a", activation=None)))


@pytest.mark.parametrize(
    ("labels", "entropy", "labelled"),
    [
        pytest.param([0.0, 0.0, 0.0], 0.0, False, id="always the first of all pairs"),
        pytest.param([0.0, 3.0, 1.0], 0.0, True, id="batches of one"),
        pytest.param([0.0, 0.0, 0.0], 1.6, True, id="labels that differ in a batch"),
    ],
)
def test_a_label_that_is_always_the_same_is_none(labels, entropy, labelled) -> None:
    losses = tuple(
        LossCall(
            step=i, function="cross_entropy", facts={"label_entropy": entropy, "target_min": y}
        )
        for i, y in enumerate(labels)
    )
    assert ("labelled" in context_flags(builders.recording(losses=losses))) is labelled


def test_bfloat16_is_half_precision_but_not_fp16() -> None:
    flags = context_flags(builders.recording(builders.chain("a", dtype="bfloat16")))
    assert {"half_parameters", "half_precision"} <= flags
    assert "fp16" not in flags


def test_two_optimizers_play_against_one_another() -> None:
    two = (builders.sgd(), OptimizerInfo(type="Adam", family="adam", groups=(1,)))
    assert is_adversarial(builders.recording(optimizers=two))
    assert not is_adversarial(builders.recording(optimizers=two[:1]))


def test_the_other_player_may_belong_to_a_model_that_is_not_watched() -> None:
    assert is_adversarial(builders.recording(optimizers=(builders.sgd(),), facts={"rivals": 4}))
    assert not is_adversarial(builders.recording(optimizers=(builders.sgd(),), facts={"rivals": 0}))


@pytest.mark.parametrize(("players", "expected"), [(1, True), (0, False)])
def test_one_optimizer_may_step_both(players: int, expected: bool) -> None:
    run = builders.recording(optimizers=(builders.sgd(),), facts={"players": players})
    assert is_adversarial(run) is expected


class TestNumbers:
    def test_they_are_those_that_explanations_quote(self) -> None:
        run = builders.recording(
            steps=40,
            step={
                "loss": [2.0] * 20 + [1.0] * 20,
                "input_mean": [0.0] * 40,
                "input_std": [5.0] * 40,
            },
            group={"lr": [0.1] * 39 + [0.01]},
            optimizers=(builders.sgd(),),
            losses=(LossCall(step=0, function="cross_entropy", facts={"label_entropy": 2.2}),),
        )
        numbers = derive(run).numbers
        assert numbers["initial_loss"] == 2.0
        assert numbers["final_loss"] == 1.0
        assert numbers["learning_rate"] == pytest.approx(0.1)
        assert numbers["learning_rate_last"] == pytest.approx(0.01)
        assert numbers["label_entropy"] == pytest.approx(2.2)
        assert numbers["input_scale"] == pytest.approx(5.0)
        assert numbers["steps"] == 40

    def test_what_is_not_known_is_absent(self) -> None:
        assert dict(derive(builders.recording(steps=3)).numbers) == {"steps": 3}


class TestDerive:
    def test_an_empty_recording_gives_no_signal_and_no_error(self) -> None:
        found = derive(Recording())
        assert dict(found.series) == {}

    def test_a_run_in_which_nothing_was_measured_shows_only_what_was_watched_for(self) -> None:
        found = derive(builders.recording(steps=30))
        assert {n for n, s in found.series.items() if (s.values * s.observed).any()} == set()

    def test_every_series_has_matching_shapes(self) -> None:
        run = builders.recording(
            builders.chain("a", "b", "c", "d"),
            steps=30,
            step={"loss": list(np.linspace(2, 1, 30))},
            layer={
                "out_grad_norm": dict.fromkeys("abcd", 1.0),
                "act_std": dict.fromkeys("abcd", 1.0),
            },
            grad={"a.weight": 1.0},
        )
        for name, series in derive(run).series.items():
            assert series.values.shape == series.observed.shape, name
            assert series.values.shape[0] == series.steps.size, name
            if series.layers is not None:
                assert series.values.shape[1] == len(series.layers), name

    def test_a_run_that_is_all_nan_is_neither_healthy_nor_vanishing(self) -> None:
        names = [f"{n}.weight" for n in "abcd"]
        run = builders.recording(
            builders.chain("a", "b", "c", "d"),
            steps=30,
            step={"loss": [NAN] * 30},
            layer={
                "out_grad_norm": dict.fromkeys("abcd", NAN),
                "act_std": dict.fromkeys("abcd", NAN),
            },
            grad=dict.fromkeys(names, NAN),
            param={"update_ratio": dict.fromkeys(names, NAN)},
        )
        series = derive(run).series
        assert series["loss_nonfinite"].values.all()
        assert series["gradient_nonfinite"].values.all()
        claims_health = {
            "loss_remaining",
            "gradient_decades_below",
            "gradient_zero",
            "gradient_decay",
        }
        assert not claims_health & set(series)

    def test_recordings_are_not_changed(self) -> None:
        loss = [float(v) for v in np.linspace(2, 1, 30)]
        run = builders.recording(steps=30, step={"loss": loss})
        derive(run)
        assert run.step["loss"].values.tolist() == pytest.approx(loss)

    def test_a_layer_without_a_name_does_not_matter(self) -> None:
        topology = builders.chain("a", "b")
        root = replace(topology.layers[0], name="")
        unnamed = replace(topology, layers=(root, topology.layers[1]))
        found = derive(builders.recording(unnamed, steps=5, layer={"dead_share": {"": 1.0}}))
        assert found.series["dead_share"].values[0, 0] == 1.0


@pytest.mark.parametrize(
    ("signal", "flag"),
    [
        pytest.param("signal_lost", "has_threshold", id="functions of the user's own"),
        pytest.param("loss_over_chance", "first_loss", id="a first loss to compare"),
    ],
)
def test_a_flag_holds_where_its_signal_could_be_derived(signal, flag) -> None:
    run = builders.recording()
    assert flag in context_flags(run, {signal: builders.series([0.0])})
    assert flag not in context_flags(run)


def test_what_has_a_momentum_and_is_no_norm_keeps_no_statistics() -> None:
    codebook = LayerInfo(name="c", type="Codebook", kind="other", config={"momentum": 0.9})
    assert "running_statistics" not in context_flags(
        builders.recording(Topology(layers=(codebook,)))
    )
