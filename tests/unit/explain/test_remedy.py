"""What to try, with this run's numbers, and without a NaN where a number is not known."""

from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.explain.remedy import remedy_text
from neuraldbg.records.recording import Column, Occurrence, OptimizerInfo
from neuraldbg.records.signals import Series
from tests import builders

LR = "lower from {learning_rate:.3g} to {better_rate:.1g}{clip}"


def text(
    template,
    *,
    slug="learning_rate_too_high",
    layer=None,
    step=0,
    series=None,
    numbers=None,
    events=(),
    source=None,
) -> str:
    mechanism = builders.mechanism(slug, {}, remedy=template)
    by_name: dict = {}
    for event in events:
        by_name.setdefault(event.name, []).append(event)
    signals = builders.signals(series or {}, numbers=numbers, source=source)
    return remedy_text(mechanism, layer, step, signals, by_name)


def ratios(*rows):
    return {"update_ratio": builders.series(rows, layers=tuple(range(len(rows[0]))))}


class TestRates:
    def test_the_rate_brings_the_worst_layer_to_one_in_a_thousand(self) -> None:
        # Two layers at 0.02 and 0.1: 0.5 x 1e-3 / 0.1
        said = text(LR, series=ratios([0.02, 0.1], [0.02, 0.1]), numbers={"learning_rate": 0.5})
        assert said == "lower from 0.5 to 0.005"

    def test_where_the_early_steps_were_fine_the_largest_counts(self) -> None:
        early = [[1e-3]] * 30
        said = text(LR, series=ratios(*early, [0.5]), numbers={"learning_rate": 0.1})
        assert said == "lower from 0.1 to 0.0002"

    def test_a_rate_that_the_rule_would_keep_is_lowered_by_a_decade(self) -> None:
        said = text(LR, series=ratios([1e-3], [1e-3]), numbers={"learning_rate": 0.05})
        assert said == "lower from 0.05 to 0.005"

    def test_an_unobserved_ratio_gives_a_decade(self) -> None:
        hidden = {"update_ratio": builders.series([[0.5]], [[False]], layers=(0,))}
        assert (
            text(LR, series=hidden, numbers={"learning_rate": 0.05}) == "lower from 0.05 to 0.005"
        )

    def test_a_ratio_that_became_infinite_is_not_the_worst(self) -> None:
        said = text(
            LR, series=ratios([0.1, float("inf")], [0.1, 0.1]), numbers={"learning_rate": 0.1}
        )
        assert "nan" not in said
        assert said == "lower from 0.1 to 0.001"

    def test_an_unknown_rate_is_said_in_words(self) -> None:
        assert text(LR) == "lower from its present value to a tenth of it"

    def test_a_rate_that_is_too_low_is_raised_to_the_ideal_ratio(self) -> None:
        said = text(
            "raise from {learning_rate:.3g} to {better_rate:.1g}",
            slug="learning_rate_too_low",
            numbers={"learning_rate": 1e-7, "update_ratio_best": 1e-6},
        )
        assert said == "raise from 1e-07 to 0.0001"

    def test_a_low_rate_whose_ratio_is_not_known_is_raised_by_a_decade(self) -> None:
        said = text(
            "to {better_rate:.1g}",
            slug="learning_rate_too_low",
            numbers={"learning_rate": 1e-5},
        )
        assert said == "to 0.0001"

    def test_an_unknown_low_rate_is_said_in_words(self) -> None:
        assert text("{better_rate:.1g}", slug="learning_rate_too_low") == "ten times as much"


class TestRatesInForce:
    """With a schedule, a number is the one of its own step."""

    def run(self, *rates):
        return builders.recording(steps=len(rates), group={"lr": list(rates)})

    @pytest.mark.parametrize(
        ("rates", "step", "said"),
        [
            pytest.param([0.5] * 4, 2, "0.5", id="constant"),
            pytest.param([0.1, 0.2, 0.4, 0.8], 2, "0.4", id="warm-up"),
            pytest.param([0.8, 0.4, 0.2, 0.1], 2, "0.2", id="decay"),
            pytest.param([0.01, 0.01, 3.0, 3.0], 2, "3", id="jump"),
            pytest.param([0.0, 0.0, 0.2, 0.4], 0, "0.2", id="a warm-up from zero"),
            pytest.param([0.1, 0.1, 0.0, 0.0], 3, "0", id="a decay to zero"),
            pytest.param([0.1, None, None, 0.4], 2, "0.1", id="not read at that step"),
            pytest.param([None, 0.3, 0.4, 0.4], 0, "0.3", id="not read before"),
            pytest.param([0.1, 0.2], 9, "0.2", id="after the last row"),
        ],
    )
    def test_the_rate_is_that_of_the_onset(self, rates, step, said) -> None:
        first = {"learning_rate": next(rate for rate in rates if rate is not None)}
        found = text("{learning_rate:.3g}", step=step, numbers=first, source=self.run(*rates))
        assert found == said

    def test_of_several_groups_the_largest_rate_is_quoted(self) -> None:
        run = self.run(0.1, 0.1)
        wide = Column(np.array([[0.1, 0.3], [0.1, 0.2]]), np.ones((2, 2), bool))
        said = text("{learning_rate:.3g}", step=1, source=replace(run, group={"lr": wide}))
        assert said == "0.2"

    @pytest.mark.parametrize("last", [0.1, 0.8], ids=["constant", "warm-up"])
    def test_a_ratio_counts_by_the_rate_of_its_own_step(self, last) -> None:
        # One in five at a rate of 0.8, or of 0.1: the rate that brings it to one in a thousand is not the same.
        early, rates = [[1e-4]] * 30, [0.1] * 30 + [last]
        series = ratios(*early, [0.2])
        run, numbers = self.run(*rates), {"learning_rate": 0.1}
        said = text("{better_rate:.2g}", step=30, series=series, numbers=numbers, source=run)
        assert said == f"{last * 1e-3 / 0.2:.2g}"

    def test_so_does_one_of_before_the_rate_was_what_it_is_at_the_onset(self) -> None:
        # One in a hundred at 0.1; at 0.8 it is eight times as much.
        said = text(
            "from {learning_rate:.3g} to {better_rate:.1g}",
            step=30,
            series=ratios(*[[0.01]] * 31),
            source=self.run(*[0.1] * 30, 0.8),
        )
        assert said == "from 0.8 to 0.01"

    @pytest.mark.parametrize("first", [1e-7, 1e-9], ids=["constant", "warm-up"])
    def test_the_best_ratio_is_that_of_the_largest_rate(self, first) -> None:
        said = text(
            "from {learning_rate:.3g} to {better_rate:.1g}",
            slug="learning_rate_too_low",
            numbers={"learning_rate": first, "update_ratio_best": 1e-6},
            source=self.run(first, *[1e-7] * 3),
        )
        assert said == f"from {first:.3g} to 0.0001"

    def test_momentum_is_weighed_against_the_rate_in_force(self) -> None:
        run = replace(self.run(0.1, 0.4), optimizers=(builders.sgd(0.1, momentum=0.99),))
        assert text("{momentum_rate:.1g}", step=1, source=run) == "0.04"


class TestClips:
    def run(self, sizes, used=None):
        step = {"grad_norm_raw": sizes}
        if used is not None:
            step["grad_norm_used"] = used
        return builders.recording(steps=len(sizes), step=step)

    def test_the_clip_is_the_90th_percentile_before_the_trouble(self) -> None:
        sizes = [float(i) for i in range(1, 12)] + [1e9] * 9
        said = text(LR, step=11, numbers={"learning_rate": 1.0}, source=self.run(sizes))
        assert said.endswith(", and clip the gradient norm at 10")

    def test_with_no_history_the_median_serves_and_not_the_explosion(self) -> None:
        said = text(LR, step=0, source=self.run([2.0, 2.0, 2.0, 1e9]))
        assert said.endswith("at 2")

    def test_norms_that_are_not_numbers_are_left_out(self) -> None:
        said = text(LR, source=self.run([float("nan"), 3.0, None, float("inf")]))
        assert said.endswith("at 3")

    def test_norms_near_the_end_of_their_range_are_summed_beyond_it(self) -> None:
        assert text(LR, source=self.run([3e38, 3e38])).endswith("at 3e+38")

    def test_without_norms_nothing_is_said_of_clipping(self) -> None:
        assert "clip" not in text(LR)

    def test_the_clip_value_in_use_is_the_typical_norm_that_reached_the_optimizer(self) -> None:
        said = text(
            "from {clip_now:.2g} to {clip_90:.2g}",
            source=self.run([1.0, 2.0, 3.0, 4.0, 5.0], [0.01] * 5),
        )
        assert said == "from 0.01 to 4.6"

    def test_unknown_clips_are_said_in_words(self) -> None:
        said = text("from {clip_now:.2g} to {clip_90:.2g}")
        assert said == "from its present value to its usual size"


class TestOptimizer:
    def test_weight_decay_is_lowered_a_hundred_times_and_at_least_to_the_usual(self) -> None:
        run = builders.recording(group={"weight_decay": 0.5})
        said = text("from {weight_decay:.3g} to {better_decay:.1g}", source=run)
        assert said == "from 0.5 to 0.005"
        strong = builders.recording(group={"weight_decay": 12.0})
        assert text("{better_decay:.1g}", source=strong) == "0.01"

    def test_unknown_weight_decay_is_said_in_words(self) -> None:
        said = text("from {weight_decay:.3g} to {better_decay:.1g}")
        assert said == "from its present value to 0.01"

    def test_momentum_keeps_the_effective_step_at_nine_tenths(self) -> None:
        run = builders.recording(optimizers=(builders.sgd(0.05, momentum=0.998),))
        said = text(
            "{momentum:.3g}: {momentum_rate:.1g}", source=run, numbers={"learning_rate": 0.05}
        )
        assert said == "0.998: 0.001"

    def test_beta2_is_that_of_the_optimizer(self) -> None:
        adam = OptimizerInfo(type="Adam", family="adam", groups=(0,), defaults={"beta2": 0.999})
        assert text("{beta2:.3g}", source=builders.recording(optimizers=(adam,))) == "0.999"

    def test_unknown_settings_are_said_in_words(self) -> None:
        assert text("{beta2:.3g}, {momentum:.3g}") == "its present value, its present value"


class TestSchedule:
    def run(self, *rates):
        return builders.recording(steps=len(rates), group={"lr": list(rates)})

    def test_a_jump_is_told_with_both_rates(self) -> None:
        jump = builders.event("lr_jumped", "optimizer_stability", first=2)
        said = text("look{schedule}", events=[jump], source=self.run(0.01, 0.01, 3.0, 3.0))
        assert said == "look: at step 2 the learning rate rose from 0.01 to 3"

    def test_a_collapse_is_told_with_the_peak(self) -> None:
        gone = builders.event("lr_collapsed", "optimizer_stability", first=3)
        said = text("look{schedule}", events=[gone], source=self.run(0.01, 0.5, 0.1, 1e-5))
        assert said == "look: from step 3 on the learning rate fell from 0.5 to 1e-05"

    def test_a_rate_that_was_held_at_zero_is_told_with_the_step_that_ends_it(self) -> None:
        held = builders.event("lr_held_back", "optimizer_stability", value=0.75)
        said = text("look{schedule}", events=[held], source=self.run(0.0, 0.0, 0.0, 1e-3))
        assert said == "look: until step 3 the learning rate was next to nothing"

    def test_a_warm_up_that_never_ended_is_told(self) -> None:
        warm = builders.event("lr_still_warming", "optimizer_stability")
        said = text("look{schedule}", events=[warm], source=self.run(1e-6, 1e-5, 1e-4))
        assert said == "look: the learning rate rose from 1e-06 to 0.0001 until the run ended"

    def test_nothing_is_added_where_nothing_stands_out(self) -> None:
        assert text("look{schedule}") == "look"
        assert text("look{schedule}", source=self.run(0.1, 0.1)) == "look"


class TestLayers:
    def test_a_named_layer_is_quoted(self) -> None:
        assert text("mend '{layer}' at {where}", layer="fc") == "mend 'fc' at 'fc'"

    def test_without_a_layer_no_name_is_invented(self) -> None:
        assert text("mend '{layer}'") == "mend all layers"

    @pytest.mark.parametrize(
        ("activation", "gain"),
        [
            pytest.param("relu", "1.41", id="He"),
            pytest.param("tanh", "1.67", id="Xavier"),
            pytest.param(None, "1.00", id="no nonlinearity"),
        ],
    )
    def test_the_gain_is_that_of_the_layers_nonlinearity(self, activation, gain) -> None:
        run = builders.recording(builders.chain("a", "b", activation=activation))
        assert text("{gain:.2f}", layer="a", source=run) == gain

    def test_the_gain_of_the_network_is_that_of_its_commonest_nonlinearity(self) -> None:
        run = builders.recording(
            builders.chain("a", "b", "c", "d", activation=["tanh", "tanh", "relu"])
        )
        assert text("{gain:.2f}", source=run) == "1.67"

    def test_the_dropout_rate_is_quoted(self) -> None:
        run = builders.recording(builders.chain("a", "drop", "b"))
        rates = Series(np.zeros(1, int), np.array([[0.9, 0.2]]), np.ones((1, 2), bool), (1, 2))
        known = {"source": run, "series": {"dropped": rates}}
        assert text("{dropout:.2g}", layer="drop", **known) == "0.9"
        assert text("{dropout:.2g}", layer="a", **known) == "its present value"
        assert text("{dropout:.2g}", layer="drop", source=run) == "its present value"


class TestNotUpdated:
    def event(self, name, layer):
        return builders.event(name, "parameter_health", layer=layer)

    def test_every_layer_left_out_of_the_optimizer_is_named(self) -> None:
        events = [self.event("parameters_orphaned", n) for n in ("a", "b")]
        said = text("{not_updated}", layer="a", events=events)
        assert said.startswith("pass the parameters of 'a', 'b' to the optimizer")

    def test_of_many_layers_three_are_named(self) -> None:
        events = [self.event("parameters_orphaned", f"l{i}") for i in range(6)]
        said = text("{not_updated}", layer="l0", events=events)
        assert "'l0', 'l1', 'l2' and 3 more" in said

    def test_a_missing_step_is_named_as_such(self) -> None:
        events = [builders.event("step_missing", "optimizer_stability")]
        assert text("{not_updated}", events=events).startswith(
            "call optimizer.step() after backward()"
        )

    def test_without_a_reason_the_optimizer_is_to_be_checked(self) -> None:
        assert text("{not_updated}") == "check which parameters the optimizer owns"


class TestRest:
    def test_the_mismatch_found_decides_the_remedy(self) -> None:
        events = [builders.event("loss_softmax_twice", "data_anomaly")]
        assert text("{mismatch}", events=events).startswith("remove the softmax")
        assert text("{mismatch}") == "make head and loss agree"

    def test_the_operation_that_met_its_singular_point_is_named(self) -> None:
        born = Occurrence(step=3, kind="nonfinite_forward", layer=0, facts={"op": "log"})
        run = builders.recording(occurrences=(born,))
        assert text("guard {operation}", source=run) == "guard the operation 'log'"
        assert text("guard {operation}") == "guard the operation"

    def test_the_fall_of_the_gradient_is_told_in_decades(self) -> None:
        fall = {"gradient_decades_below": builders.series([[9.3, 4.0, 0.0]], layers=(0, 1, 2))}
        said = text("mend{gradient_loss}", series=fall)
        assert said == "mend: the gradient falls 9.3 decades over 3 layers"

    @pytest.mark.parametrize(
        "series",
        [
            pytest.param({}, id="not measured"),
            pytest.param(
                {"gradient_decades_below": builders.series([[0.2, 0.0]], layers=(0, 1))},
                id="hardly any",
            ),
            pytest.param(
                {
                    "gradient_decades_below": builders.series(
                        [[9.0, 0.0]], [[False, False]], layers=(0, 1)
                    )
                },
                id="unobserved",
            ),
        ],
    )
    def test_a_fall_that_is_not_there_is_not_told(self, series) -> None:
        assert text("mend{gradient_loss}", series=series) == "mend"

    def test_scales_are_quoted(self) -> None:
        assert text("{input_scale:.3g}", numbers={"input_scale": 150.0}) == "150"
        assert text("input{input_of}", numbers={}) == "input"
        assert text("input{input_of}", numbers={"input_layer": "side"}) == "input of 'side'"
        assert text("{target_scale:.3g}") == "far from 1"


def test_all_layers_of_a_claim_are_to_be_mended() -> None:
    mechanism = builders.mechanism("dead_units", {}, remedy="initialise '{layer}' again")
    found = (builders.signals({}), {})
    assert remedy_text(mechanism, "a", 0, *found, others=("b", "c")) == (
        "initialise 'a' and 2 other layers again"
    )
    assert remedy_text(mechanism, "a", 0, *found) == "initialise 'a' again"
