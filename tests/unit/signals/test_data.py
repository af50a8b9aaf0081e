"""Inputs, targets, odd batches, and how the loss was called."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import LossCall, Occurrence
from neuraldbg.signals.data import data_signals, fed_layers, worst_fed
from tests import builders

NAN = float("nan")
APART = replace(builders.chain("a", "b"), edges=())


def inputs(**columns):
    steps = len(next(iter(columns.values())))
    return data_signals(
        builders.recording(steps=steps, step={f"input_{k}": v for k, v in columns.items()})
    )


def calls(*facts, function="cross_entropy"):
    losses = tuple(LossCall(step=i, function=function, facts=f) for i, f in enumerate(facts))
    sgd = (builders.sgd(),)
    return data_signals(builders.recording(steps=max(len(facts), 1), losses=losses, optimizers=sgd))


class TestScale:
    def test_the_scale_is_the_root_mean_square(self) -> None:
        found = inputs(mean=[3.0] * 5, std=[4.0] * 5)
        assert found["input_scale"].values[0] == pytest.approx(5.0)
        assert found["input_scale_small"].values[0] == pytest.approx(0.2)

    def test_the_offset_is_in_standard_deviations(self) -> None:
        assert inputs(mean=[-6.0] * 5, std=[2.0] * 5)["input_offset"].values[0] == pytest.approx(
            3.0
        )

    def test_a_constant_input_has_no_offset(self) -> None:
        assert inputs(mean=[1.0] * 5, std=[0.0] * 5)["input_offset"].values[0] == 0.0

    def test_one_bad_batch_is_not_the_scale(self) -> None:
        found = inputs(mean=[0.0] * 5, std=[1.0, 1.0, 900.0, 1.0, NAN])
        assert found["input_scale"].values[0] == pytest.approx(1.0)

    def test_the_spread_of_features_is_typical_of_the_run(self) -> None:
        found = inputs(mean=[0.0] * 3, std=[1.0] * 3, feature_spread=[10.0, 500.0, 20.0])
        assert found["input_feature_spread"].values[0] == pytest.approx(20.0)

    def test_integers_have_no_scale(self) -> None:
        assert data_signals(builders.recording(steps=5)) == {}

    def test_non_finite_inputs_are_exact(self) -> None:
        found = inputs(nonfinite=[0.0, 0.25])
        assert found["input_nonfinite"].values.tolist() == [0.0, 0.25]


class TestFed:
    """What layers are fed counts before what the model is called with."""

    def found(self, topology=None, **layers):
        names = ("fed_mean", "fed_std", "fed_spread")
        layer = {
            name: {k: v[i] for k, v in layers.items() if len(v) > i} for i, name in enumerate(names)
        }
        raw = {"input_mean": [99.0] * 4, "input_std": [30.0] * 4}
        return data_signals(
            builders.recording(topology or APART, steps=4, sampled=[0, 1], step=raw, layer=layer)
        )

    def test_the_worst_layer_is_judged(self) -> None:
        found = self.found(a=(0.0, 2.0, 5.0), b=(3.0, 4.0))
        assert found["input_scale"].values[0] == pytest.approx(5.0)
        assert found["input_offset"].values[0] == pytest.approx(0.75)
        assert found["input_feature_spread"].values[0] == pytest.approx(5.0)

    def test_a_normalization_takes_any_scale(self) -> None:
        norm = replace(APART, layers=(replace(APART.layers[0], kind="norm"), *APART.layers[1:]))
        assert not {"input_scale", "input_offset"} & self.found(norm, a=(99.0, 30.0)).keys()

    def test_what_is_normalized_at_once_may_have_any_scale_and_no_offset(self) -> None:
        chain = builders.chain("a", "b")
        norm = replace(chain, layers=(chain.layers[0], replace(chain.layers[1], kind="norm")))
        found = self.found(norm, a=(90.0, 30.0))
        assert (found["input_scale"].values[0], found["input_scale_small"].values[0]) == (1.0, 1.0)
        assert found["input_offset"].values[0] == pytest.approx(3.0)

    def test_who_is_fed_the_worst_is_told_of_every_signal(self) -> None:
        layer = {"fed_mean": {"a": 0.0, "b": 3.0}, "fed_std": {"a": 9.0, "b": 0.5}}
        run = builders.recording(APART, steps=4, sampled=[0, 1], layer=layer)
        worst = worst_fed(run, fed_layers(run))
        assert {name: layer for name, (_, layer) in worst.items()} == {
            "input_scale": "a",
            "input_scale_small": "b",
            "input_offset": "b",
        }

    def test_layers_that_others_feed_are_left_out(self) -> None:
        found = self.found(builders.chain("a", "b"), a=(0.0, 1.0), b=(0.0, 50.0))
        assert found["input_scale"].values[0] == pytest.approx(1.0)

    def test_where_none_was_seen_the_call_is_judged(self) -> None:
        assert self.found()["input_scale"].values[0] > 99.0


class TestAnomaly:
    def noise(self, steps=60):
        return list(np.random.default_rng(1).normal(1.0, 0.05, steps))

    def test_a_batch_of_another_scale_stands_out(self) -> None:
        std = self.noise()
        std[40] = 30.0
        found = inputs(mean=[0.0] * 60, std=std)["input_anomaly"]
        assert int(np.argmax(found.values)) == 40
        assert found.values[40] > 8.0

    def test_batches_as_they_come_do_not(self) -> None:
        found = inputs(mean=[0.0] * 60, std=self.noise())["input_anomaly"]
        assert found.values.max() < 6.0

    def test_a_short_run_has_no_usual_batch(self) -> None:
        assert "input_anomaly" not in inputs(mean=[0.0] * 8, std=[1.0] * 7 + [90.0])

    def test_a_share_that_is_usually_zero_is_judged_by_its_own_spread(self) -> None:
        share = [0.0] * 50 + [0.9] + [0.0] * 9
        found = inputs(zero_share=share)["input_anomaly"]
        assert int(np.argmax(found.values)) == 50

    def test_a_nan_batch_is_not_an_odd_batch(self) -> None:
        std = self.noise()
        std[40] = NAN
        assert inputs(mean=[0.0] * 60, std=std)["input_anomaly"].values[40] == 0.0


class TestTargets:
    def test_the_scale_of_regression_targets(self) -> None:
        found = calls({"target_mean": 30.0, "target_std": 40.0}, function="mse_loss")
        assert found["target_scale"].values[0] == pytest.approx(50.0)
        assert found["target_scale_small"].values[0] == pytest.approx(0.02)

    def test_labels_have_no_scale(self) -> None:
        assert "target_scale" not in calls({"target_mean": 4.5, "target_std": 2.9})

    def test_a_shift_of_the_labels_is_a_deviation_from_the_labels_before(self) -> None:
        facts = [{"label_entropy": 2.2}] * 20 + [{"label_entropy": 0.1}]
        found = calls(*facts)["label_anomaly"]
        assert found.values[20] == pytest.approx(21.0)

    def test_a_few_calls_show_no_shift(self) -> None:
        assert "label_anomaly" not in calls(*[{"label_entropy": 2.2}] * 11)

    def test_confident_errors_are_judged_at_the_end(self) -> None:
        facts = [{"confident_wrong": 0.5}] * 3 + [{"confident_wrong": 0.1}] * 5
        assert calls(*facts)["confident_wrong"].values[0] == pytest.approx(0.1)

    def test_contradicting_labels_are_judged_at_their_worst(self) -> None:
        facts = [{"label_conflict": 0.0}, {"label_conflict": 0.4}]
        assert calls(*facts)["label_conflict"].values[0] == pytest.approx(0.4)

    def wild(self, function="mse_loss", later=2.0):
        sizes = {0: 2.0, 1: 2.0, 2: 2.0, 32: 10.0, 50: later}
        usual = tuple(
            LossCall(step=k, function=function, facts={"target_mean": 0.0, "target_std": v})
            for k, v in sizes.items()
        )
        facts = {"target_mean": 6.0, "target_std": 8.0}
        spike = Occurrence(step=30, kind="loss_spike", facts=facts)
        run = builders.recording(steps=60, losses=usual, occurrences=(spike,))
        return data_signals(run).get("target_anomaly")

    def test_targets_where_the_loss_stands_out_are_compared_with_the_usual_ones(self) -> None:
        found = self.wild()
        assert found.steps.tolist() == [0, 30]
        assert found.values.tolist() == pytest.approx([1.0, 5.0])

    def test_targets_that_grow_for_good_are_usual(self) -> None:
        assert self.wild(later=10.0).values.tolist() == pytest.approx([1.0, 1.0])

    @pytest.mark.parametrize("function", ["difference", "l1_loss"])
    def test_a_loss_whose_graph_keeps_no_target_says_nothing(self, function) -> None:
        assert self.wild(function) is None

    def test_non_finite_targets(self) -> None:
        found = calls({"target_nonfinite": 0.0}, {"target_nonfinite": 1.0})["target_nonfinite"]
        assert found.values.tolist() == [0.0, 1.0]
