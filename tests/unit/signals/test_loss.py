"""Shapes of the loss curve."""

import math
from dataclasses import replace

import numpy as np
import pytest

from neuraldbg.records.recording import LossCall, Occurrence
from neuraldbg.signals.guess import label_entropy
from neuraldbg.signals.loss import gradual_fall, initial_loss, loss_signals
from tests import builders

NAN, INF = float("nan"), float("inf")


def derived(loss, *, adversarial=False, losses=()):
    run = builders.recording(steps=len(loss), step={"loss": loss}, losses=losses)
    return loss_signals(run, adversarial=adversarial)


def falling(steps=100, start=2.0, end=0.5):
    return list(np.linspace(start, end, steps))


def call(function="cross_entropy", step=0, **facts) -> LossCall:
    return LossCall(step=step, function=function, facts=facts)


class TestStepUp:
    SOLVED = (*np.linspace(2.0, 0.5, 60), *[0.5] * 20)

    def risen(self, after):
        return derived([*self.SOLVED, *after])["loss_step_up"]

    def test_a_level_that_rose_at_one_step_and_stayed_shows_with_its_step(self) -> None:
        found = self.risen([1.5] * 60)
        assert found.steps.tolist() == [80]
        assert found.values[0] > 10.0

    @pytest.mark.parametrize(
        "after",
        [
            pytest.param([1.5] + [0.5] * 59, id="one bad batch"),
            pytest.param([1.5] * 6 + [0.5] * 54, id="weights that mend"),
            pytest.param(list(np.geomspace(1.5, 0.7, 60)), id="a new task"),
            pytest.param(list(np.geomspace(1.5, 500.0, 60)), id="weights that get worse"),
            pytest.param(list(np.linspace(0.5, 1.5, 60)), id="a slow rise"),
            pytest.param([0.5] * 60, id="nothing"),
        ],
    )
    def test_what_was_done_to_the_weights_or_passes_does_not(self, after) -> None:
        assert self.risen(after).values[0] < 2.0

    def test_a_short_run_says_nothing(self) -> None:
        assert "loss_step_up" not in derived([1.0] * 47)
        assert "loss_step_up" in derived([1.0] * 48)

    def test_what_is_not_finite_is_left_out(self) -> None:
        found = self.risen([NAN, INF, *[1.5] * 60])
        assert found.steps.tolist() == [82]

    def test_what_was_known_is_unlearned_until_nothing_but_a_guess_is_left(self) -> None:
        chance = math.log(10)
        curve = [
            *np.linspace(chance, 0.3, 60),
            *[0.3] * 20,
            *np.geomspace(6.0, chance, 40),
            *[chance] * 40,
        ]
        calls = [call(step=k, classes=10, label_entropy=chance, value=curve[k]) for k in range(4)]
        assert derived(curve)["loss_step_up"].values[0] == 0.0
        assert derived(curve, losses=calls)["loss_step_up"].values[0] > 2.0


class TestLifts:
    """Another task begins: the loss is compared with itself from there on."""

    BEFORE = (*np.linspace(2.0, 0.5, 60), *[0.5] * 20)

    def shapes(self, *after):
        found = derived([*self.BEFORE, *after])
        return [float(found[name].values.max()) for name in ("loss_jump", "loss_regressed")]

    def test_what_is_lifted_and_learned_down_again_lost_nothing(self) -> None:
        again = [*[1.5] * 10, *np.linspace(1.5, 0.5, 40), *[0.5] * 20]
        jump, regressed = self.shapes(*again, *again)
        assert jump < 0.5
        assert regressed < 0.5
        assert derived([*self.BEFORE, *again])["loss_remaining"].values[0] < 0.4

    @pytest.mark.parametrize(
        "after",
        [
            pytest.param([1.5] + [0.5] * 69, id="one bad batch"),
            pytest.param([1.5] * 10 + [0.5] * 60, id="bad batches in a row"),
            pytest.param([1.5] * 70, id="what is never learned"),
            pytest.param(
                [*np.linspace(1.5, 3.0, 8), *np.linspace(3.0, 0.5, 62)], id="weights that go on"
            ),
        ],
    )
    def test_what_is_no_other_task_shows(self, after) -> None:
        assert max(self.shapes(*after)) > 0.5


class TestInitialLoss:
    def test_it_is_the_first_one(self) -> None:
        assert initial_loss(np.array([2.0, 2.1, 2.2])) == 2.0

    def test_a_lucky_first_batch_is_tempered_by_the_next_only_downward(self) -> None:
        assert initial_loss(np.array([5.0, 2.0, 2.0])) == 2.0

    def test_a_run_that_begins_with_nan_has_none(self) -> None:
        assert math.isnan(initial_loss(np.array([NAN, 2.0, 2.0])))


class TestGradualFall:
    def fall(self, loss, at=None):
        run = builders.recording(steps=len(loss), step={"loss": loss})
        return gradual_fall(run, np.array([len(loss) - 1] if at is None else at))

    def test_what_is_learned_counts(self) -> None:
        assert self.fall([8.0 * 0.9**k for k in range(60)])[0] == pytest.approx(
            0.9**-55.5, rel=0.01
        )

    @pytest.mark.parametrize("stroke", [1, 2, 10])
    def test_what_falls_at_one_stroke_does_not(self, stroke) -> None:
        assert self.fall([900.0] * stroke + [2.0] * 40)[0] == 1.0

    def test_after_the_stroke_the_count_begins_anew(self) -> None:
        assert self.fall([900.0] * 5 + [2.0] * 20 + [1.0] * 20)[0] == 2.0

    def test_one_lucky_batch_is_no_stroke(self) -> None:
        assert self.fall([8.0] * 20 + [0.1] + [8.0] * 3 + [1.0] * 20)[0] == 8.0

    def test_each_step_has_its_own(self) -> None:
        assert self.fall([4.0] * 20 + [1.0] * 20, [0, 19, 39]).tolist() == [1.0, 1.0, 4.0]

    @pytest.mark.parametrize("loss", [[2.0] * 40 + [-1.0] * 40, [2.0, 0.1]])
    def test_a_loss_without_a_scale_and_a_short_run_tell_nothing(self, loss) -> None:
        assert self.fall(loss)[0] == 1.0

    def test_values_that_are_not_finite_are_passed_over(self) -> None:
        assert self.fall([4.0] * 20 + [NAN, INF] + [1.0] * 20)[0] == 4.0


class TestOtherTerms:
    def share(self, total, part, *, missing=()):
        losses = tuple(call(step=i, value=v) for i, v in enumerate(part) if i not in missing)
        found = derived(total, losses=losses)
        return float(found["loss_other_share"].values[0]) if "loss_other_share" in found else None

    FALLING = (2.0, 1.6, 1.3, 1.1, 1.0, 0.9)

    def test_a_penalty_is_what_no_loss_function_gave(self) -> None:
        assert self.share([v + 9.0 for v in self.FALLING], self.FALLING) == pytest.approx(
            1 - 1.2 / 10.2, abs=0.01
        )

    @pytest.mark.parametrize("scale", [1.0, 784.0], ids=["as it is", "scaled"])
    def test_a_multiple_holds_no_other_term(self, scale) -> None:
        assert self.share([scale * v for v in self.FALLING], self.FALLING) == 0.0

    def test_shares_of_accumulated_batches_are_none_either(self) -> None:
        assert self.share([v / 4 for v in self.FALLING], self.FALLING) == 0.0

    def test_terms_that_lower_the_loss_do_not_count(self) -> None:
        assert self.share([v - 0.5 for v in self.FALLING], self.FALLING) == 0.0

    def test_several_loss_functions_of_a_step_are_summed(self) -> None:
        losses = tuple(call(step=i, value=v / 2) for i, v in enumerate(self.FALLING) for _ in "ab")
        assert derived(self.FALLING, losses=losses)["loss_other_share"].values[0] == 0.0

    def test_stages_may_weigh_their_loss_differently(self) -> None:
        stages = [("mse_loss", 1000.0)] * 6 + [("cross_entropy", 1.0)] * 6
        values = [v for v in self.FALLING for _ in range(2)]
        losses = tuple(
            call(f, step=i, value=v)
            for i, ((f, _), v) in enumerate(zip(stages, values, strict=True))
        )
        total = [w * v for (_, w), v in zip(stages, values, strict=True)]
        assert derived(total, losses=losses)["loss_other_share"].values[0] == 0.0

    def test_a_few_calls_say_nothing(self) -> None:
        assert self.share([9.0] * 6, self.FALLING, missing=(0, 2, 4)) is None

    def test_losses_without_a_single_number_say_nothing(self) -> None:
        found = derived([2.0] * 20, losses=tuple(call(step=i) for i in range(20)))
        assert "loss_other_share" not in found

    def test_beside_one_that_is_worked_on_entry_by_entry_nothing_is_known_of_the_rest(self) -> None:
        parts = tuple(call(step=i, value=v) for i, v in enumerate(self.FALLING))
        whole = [v + 9.0 for v in self.FALLING]
        assert "loss_other_share" in derived(whole, losses=parts)
        both = (*parts, *(call("difference", step=i) for i in range(len(self.FALLING))))
        assert "loss_other_share" not in derived(whole, losses=both)

    def test_a_loss_at_zero_or_below_says_nothing(self) -> None:
        assert self.share([-v for v in self.FALLING], self.FALLING) is None


class TestNotMeasured:
    def test_without_a_loss_there_is_no_signal(self) -> None:
        assert loss_signals(builders.recording(steps=20), adversarial=False) == {}

    def test_gaps_are_skipped(self) -> None:
        loss = [2.0, None] * 20
        found = derived(loss)["loss_nonfinite"]
        assert found.steps.tolist() == list(range(0, 40, 2))

    def test_a_short_run_shows_neither_progress_nor_its_absence(self) -> None:
        assert "loss_remaining" not in derived(falling(15))
        assert "loss_remaining" in derived(falling(16))

    def test_a_loss_that_goes_up_and_down_around_zero_has_no_level(self) -> None:
        hovering = [-2.0] * 10 + [0.1, -0.1] * 15
        assert set(derived(hovering)) == {"loss_nonfinite"}
        # What is never negative is only a part of it, weighted by advantages for example.
        weighted = (call("binary_cross_entropy_with_logits"),)
        assert set(derived(hovering, losses=weighted)) == {"loss_nonfinite"}
        # A likelihood with targets has one, and so has one that passes zero.
        assert "loss_remaining" in derived(hovering, losses=(call("gaussian_nll_loss"),))
        assert "loss_remaining" in derived(falling(40, start=2.0, end=-2.0))

    def test_a_loss_with_ever_more_classes_is_not_the_same_loss(self) -> None:
        rising = falling(40, start=0.1, end=5.0)
        growing = [call("cross_entropy", step=i, classes=5 * (i + 1)) for i in (0, 8, 39)]
        assert "loss_rise" not in derived(rising, losses=tuple(growing))
        # Far below a guess among as many as there are at the end it is solved all the same.
        assert "loss_remaining" not in derived(rising, losses=tuple(growing))
        low = derived(falling(40, start=0.1, end=0.5), losses=tuple(growing))
        assert low["loss_remaining"].values[0] == pytest.approx(0.42 / np.log(200), rel=0.05)
        constant = [call("cross_entropy", step=i, classes=5) for i in (0, 8, 39)]
        assert derived(rising, losses=tuple(constant))["loss_rise"].values.max() > 1.0

    def test_a_loop_that_draws_from_the_output_has_no_level(self) -> None:
        drawn = (Occurrence(step=0, kind="drawn_from_output"),)
        loss = [-0.01] * 20 + list(-0.3 * np.geomspace(1.0, 1e-3, 60))
        run = builders.recording(steps=80, step={"loss": loss}, occurrences=drawn)
        assert set(loss_signals(run, adversarial=False)) == {"loss_nonfinite"}
        # With labels it has one: what was drawn is fed back, or is one term of several.
        labelled = replace(run, losses=(call("cross_entropy"),))
        assert "loss_rise" in loss_signals(labelled, adversarial=False)
        # A critic's regression is no label: alone it would never be negative.
        critic = replace(run, losses=(call("mse_loss"),))
        assert "loss_rise" not in loss_signals(critic, adversarial=False)
        alone = builders.recording(steps=80, step={"loss": [1.0] * 80}, occurrences=drawn)
        alone = replace(alone, losses=(call("mse_loss"),))
        assert "loss_rise" in loss_signals(alone, adversarial=False)
        # A policy that is sure of itself asks for nothing, and the gradient falls with that.
        assert gradual_fall(run, np.array([79]))[0] > 100.0
        assert gradual_fall(replace(run, occurrences=()), np.array([79]))[0] == 1.0

    def test_games_of_several_objectives_have_no_curve_to_judge(self) -> None:
        assert set(derived([2.0] * 40, adversarial=True)) == {"loss_nonfinite"}

    def test_a_curve_that_begins_with_nan_is_not_judged(self) -> None:
        assert set(derived([NAN] + [1.0] * 30)) == {"loss_nonfinite"}


class TestProgress:
    def test_what_is_left_is_a_share_of_the_start(self) -> None:
        loss = [2.0] * 10 + [0.5] * 90
        assert derived(loss)["loss_remaining"].values[0] == pytest.approx(0.25)

    def test_a_flat_curve_has_everything_left(self) -> None:
        assert derived([2.3] * 50)["loss_remaining"].values[0] == pytest.approx(1.0)

    def test_a_loss_that_crosses_zero_is_judged_by_how_far_it_fell(self) -> None:
        loss = list(np.linspace(2.0, -4.0, 50))
        assert derived(loss)["loss_remaining"].values[0] == 0.0

    def test_a_nan_at_the_end_does_not_count_as_progress(self) -> None:
        loss = [2.0] * 40 + [NAN] * 20
        assert derived(loss)["loss_remaining"].values[0] == pytest.approx(1.0)


class TestDivergence:
    def test_rise_is_in_units_of_the_start(self) -> None:
        loss = [2.0] * 30 + [6.0] * 30
        assert derived(loss)["loss_rise"].values[-1] == pytest.approx(2.0)

    def test_a_falling_curve_does_not_rise(self) -> None:
        assert derived(falling())["loss_rise"].values.max() < 0.02

    def test_progress_given_back_is_in_units_of_the_progress(self) -> None:
        loss = falling(60, 2.0, 0.5) + [1.25] * 30
        assert derived(loss)["loss_regressed"].values[-1] == pytest.approx(0.5, abs=0.1)

    def test_nothing_is_given_back_where_nothing_was_achieved(self) -> None:
        assert derived([2.0] * 30 + [2.1] * 30)["loss_regressed"].values.max() == 0.0


class TestSpike:
    def test_a_sudden_rise_is_in_units_of_the_progress(self) -> None:
        loss = falling(20, 2.0, 0.5) + [0.5] * 40
        loss[55] = 2.0
        found = derived(loss)["loss_jump"]
        assert int(np.argmax(found.values)) == 55
        # From 0.5 back to 2.0: all of the progress since the start.
        assert found.values[55] == pytest.approx(1.0, rel=0.1)

    def test_noise_of_the_usual_size_is_no_spike(self) -> None:
        noise = np.random.default_rng(0).normal(1.0, 0.1, 200)
        assert derived(list(noise))["loss_jump"].values.max() == 0.0

    def test_a_nan_is_not_a_spike(self) -> None:
        loss = falling(60)
        loss[50] = NAN
        found = derived(loss)
        assert found["loss_jump"].values[50] == 0.0
        assert found["loss_nonfinite"].values[50] == 1.0

    def test_a_loss_that_can_be_negative_is_judged_in_its_own_unit(self) -> None:
        loss = list(np.linspace(1.0, -2.0, 60))
        loss[50] = 4.0
        assert int(np.argmax(derived(loss)["loss_jump"].values)) == 50

    @pytest.mark.parametrize(
        ("first", "last", "left"),
        [
            pytest.param(-5.0, -7.0, None, id="how far a density falls is not known"),
            pytest.param(-1.0, -9.0, 0.0, id="a great fall"),
            pytest.param(-5.0, -4.0, 1.2, id="none at all"),
            pytest.param(4.0, 3.0, 0.75, id="a loss that is positive"),
        ],
    )
    def test_what_is_left_of_a_loss_that_begins_below_zero(self, first, last, left) -> None:
        found = derived([first] * 4 + [last] * 60).get("loss_remaining")
        assert (None if found is None else round(float(found.values[0]), 2)) == left


class TestNonFinite:
    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    def test_nan_and_infinity_are_exact(self, bad) -> None:
        found = derived([1.0, bad, 1.0])["loss_nonfinite"]
        assert found.values.tolist() == [0.0, 1.0, 0.0]
        assert found.observed.all()


class TestAgainstLabels:
    def test_the_first_loss_is_compared_with_chance(self) -> None:
        found = derived([4.605] * 20, losses=(call(classes=10),))
        assert found["loss_over_chance"].values[0] == pytest.approx(2.0, abs=1e-3)

    def test_the_end_is_compared_with_the_entropy_of_the_labels(self) -> None:
        calls = (call(classes=10, label_entropy=2.0), call(classes=10, label_entropy=2.2))
        found = derived([2.1] * 20, losses=calls)
        assert found["loss_above_prior"].values[0] == pytest.approx(0.0, abs=1e-6)

    @pytest.mark.parametrize(
        ("facts", "loss", "ratio"),
        [
            pytest.param({"target_mean": 3.0, "target_std": 1.0, "value": 10.0}, 10.0, 1.0, id="small outputs"),
            pytest.param({"target_mean": 0.0, "target_std": 0.5, "value": 5.0}, 5.0, 20.0, id="loud outputs"),
            pytest.param({"target_mean": 0.0, "target_std": 0.5, "value": 5.0}, 7.0, None, id="other terms"),
            pytest.param({"target_mean": 0.0, "target_std": 0.0, "value": 5.0}, 5.0, None, id="targets of zero"),
            pytest.param(
                {"target_mean": 0.0, "target_std": 0.5, "value": 5.0, "shape_mismatch": True}, 5.0, None,
                id="pairs that do not belong together",
            ),
        ],
    )  # fmt: skip
    def test_the_first_loss_of_a_regression_is_compared_with_an_answer_of_zero(
        self, facts, loss, ratio
    ) -> None:
        found = derived([loss] * 20, losses=(call("mse_loss", **facts),)).get("loss_over_chance")
        assert (None if found is None else found.values[0]) == (
            None if ratio is None else pytest.approx(ratio, rel=1e-6)
        )

    def test_a_regression_has_no_chance_level(self) -> None:
        found = derived([1.0] * 20, losses=(call("mse_loss", target_mean=0.0),))
        assert "loss_over_chance" not in found
        assert "loss_above_prior" not in found

    def test_labels_of_one_class_have_no_prior_to_sit_at(self) -> None:
        found = derived([0.1] * 20, losses=(call(classes=2, label_entropy=0.0),))
        assert "loss_above_prior" not in found


def test_the_entropy_of_labels_is_a_mean_over_calls() -> None:
    assert label_entropy((call(label_entropy=1.0), call(label_entropy=2.0), call())) == 1.5
    assert label_entropy((call(),)) is None
