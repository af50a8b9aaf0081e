"""Gradients by layer, depth and time."""

import numpy as np
import pytest

from neuraldbg.signals.gradient import gradient_signals, total_gradient
from tests import builders

NAN = float("nan")
DEEP = builders.chain("a", "b", "c", "d", "head")


def by_depth(*sizes, topology=DEEP):
    """Return signals of one sampled step whose output gradients have these sizes."""
    names = [x.name for x in topology.layers]
    cells = {n: [s] for n, s in zip(names, sizes, strict=True)}
    return gradient_signals(
        builders.recording(topology, steps=4, sampled=[0], layer={"out_grad_norm": cells})
    )


class TestDepth:
    def test_decades_are_counted_from_the_largest(self) -> None:
        found = by_depth(1e-5, 1e-3, 1e-2, 1.0, 9.0)["gradient_decades_below"]
        assert found.layers == (0, 1, 2, 3)
        assert found.values[0].tolist() == pytest.approx([5.0, 3.0, 2.0, 0.0])

    def test_a_steady_decay_is_the_rise_over_the_chain_in_nats(self) -> None:
        e = np.e
        found = by_depth(e**-6, e**-4, e**-2, 1.0, 1.0)
        assert found["gradient_decay"].values[0] == pytest.approx(6.0)
        assert found["gradient_amplification"].values[0] == pytest.approx(-6.0)
        assert found["gradient_slope"].values[0] == pytest.approx(2.0)

    def test_gradients_of_one_size_do_not_decay(self) -> None:
        assert by_depth(2.0, 2.0, 2.0, 2.0, 2.0)["gradient_decay"].values[0] == pytest.approx(0.0)

    def test_an_exact_zero_is_told_apart_from_a_small_one(self) -> None:
        found = by_depth(0.0, 1e-30, 1.0, 1.0, 1.0)
        assert found["gradient_zero"].values[0].tolist() == [1.0, 0.0, 0.0, 0.0]
        assert found["gradient_decades_below"].observed[0].tolist() == [False, True, True, True]

    def test_a_nan_is_neither_vanishing_nor_zero(self) -> None:
        found = by_depth(NAN, 1.0, 1.0, 1.0, 1.0)
        assert not found["gradient_decades_below"].observed[0, 0]
        assert not found["gradient_zero"].observed[0, 0]

    def test_where_every_gradient_is_nan_nothing_is_said_of_depth(self) -> None:
        found = by_depth(*[NAN] * 5)
        assert "gradient_decades_below" not in found
        assert "gradient_decay" not in found

    def test_a_layer_that_was_not_seen_is_not_in_the_chain(self) -> None:
        found = by_depth(None, 1e-3, 1.0, 1.0, 1.0)["gradient_decades_below"]
        assert found.layers == (1, 2, 3)

    def test_a_network_of_one_layer_has_no_depth(self) -> None:
        assert "gradient_decades_below" not in by_depth(1.0, topology=builders.chain("a"))

    @pytest.mark.parametrize(("other", "told"), [(1.0, 1.0), (0.0, 0.0)])
    def test_a_chain_that_gets_nothing_is_told_where_others_get_some(self, other, told) -> None:
        found = gradient_signals(
            builders.recording(
                DEEP,
                steps=4,
                sampled=[0],
                layer={"out_grad_norm": {n: [0.0] for n in ("a", "b", "c")}},
                grad={"head.weight": [other] * 4, "a.weight": [0.0] * 4},
            )
        )
        assert found["gradient_zero"].values[0].tolist() == [told] * 3

    def test_all_zero_gradients_have_no_reference(self) -> None:
        assert "gradient_decades_below" not in by_depth(*[0.0] * 5)


def over_time(*norms, params=None):
    topology = builders.chain("a", "b")
    grad = params or {"a.weight": list(norms)}
    steps = len(next(iter(grad.values())))
    return gradient_signals(builders.recording(topology, steps=steps, grad=grad))


class TestLevel:
    def test_a_jump_above_the_history_is_a_burst(self) -> None:
        found = over_time(*[1.0] * 20, 1000.0, *[1.0] * 5)["gradient_burst"]
        assert int(np.argmax(found.values)) == 20
        # ln 1000 over the floor of 0.25
        assert found.values[20] == pytest.approx(np.log(1000.0) / 0.25, rel=1e-3)

    def test_a_nan_is_non_finite_and_no_burst(self) -> None:
        found = over_time(*[1.0] * 20, NAN, 1.0)
        assert found["gradient_nonfinite"].values[20] == 1.0
        assert found["gradient_burst"].values[20] == 0.0

    def test_growth_is_in_decades_and_known_late(self) -> None:
        found = over_time(*[1.0] * 30, *[100.0] * 30)["gradient_growth"]
        assert found.values[0] == pytest.approx(2.0)
        assert found.steps[0] >= 30

    def test_a_short_run_has_no_growth(self) -> None:
        assert "gradient_growth" not in over_time(*[1.0] * 10)

    def test_absence_is_the_share_of_steps_without_any_gradient(self) -> None:
        found = over_time(0.0, 0.0, 0.0, 1.0)["gradient_absent"]
        assert found.values[0] == pytest.approx(0.75)

    @pytest.mark.parametrize(
        ("losses", "share"),
        [([1.0, 0.0, 0.0, 0.0], 0.0), ([1.0, 1.0, 1.0, 0.0], 2 / 3)],
        ids=["nothing is left to learn", "something is"],
    )
    def test_where_the_loss_is_zero_no_gradient_is_missed(self, losses, share) -> None:
        run = builders.recording(
            builders.chain("a", "b"),
            steps=4,
            grad={"a.weight": [1.0, 0.0, 0.0, 0.0]},
            step={"loss": losses},
        )
        found = gradient_signals(run)["gradient_absent"]
        assert found.values[0] == pytest.approx(share)

    @pytest.mark.parametrize(
        ("gradients", "change", "decay", "share"),
        [
            pytest.param([None] * 5, 0.0, 0.0, 1.0, id="gone"),
            pytest.param([0.0] * 5, 0.0, 0.0, 1.0, id="zero"),
            pytest.param([0.0] * 5, 0.001, 0.1, 1.0, id="zero, and only the decay moves weights"),
            pytest.param([None] * 5, 0.3, 0.1, 0.0, id="the step used others"),
            pytest.param([2.0] * 5, 0.3, 0.0, 0.0, id="there"),
            pytest.param([2.0, None, None, 2.0, 2.0], 0.0, 0.0, 0.4, id="now and then"),
        ],
    )
    def test_gradients_that_are_gone_when_the_optimizer_steps_are_thrown_away(
        self, gradients, change, decay, share
    ) -> None:
        run = builders.recording(
            builders.chain("a", "b"),
            steps=5,
            grad={"a.weight": gradients, "b.weight": [None] * 5},
            step={"grad_norm_raw": [1.0] * 5},
            param={"update_ratio": {"a.weight": [change] * 5}},
            group={"lr": 0.01, "weight_decay": decay},
        )
        found = gradient_signals(run)["gradients_thrown_away"]
        assert found.values[0] == pytest.approx(share)

    def test_nothing_is_thrown_away_where_nobody_steps(self) -> None:
        run = builders.recording(
            builders.chain("a", "b"), steps=5, step={"grad_norm_raw": [1.0] * 5}
        )
        assert gradient_signals(run)["gradients_thrown_away"].values[0] == 0.0

    def test_one_layer_with_a_gradient_is_enough(self) -> None:
        found = over_time(params={"a.weight": [0.0] * 4, "b.weight": [1.0] * 4})["gradient_absent"]
        assert found.values[0] == 0.0

    def test_without_gradients_nothing_is_said(self) -> None:
        assert gradient_signals(builders.recording(steps=20)) == {}

    def test_the_total_is_over_parameters_that_are_always_seen(self) -> None:
        run = builders.recording(
            builders.chain("a", "b"),
            steps=4,
            grad={"a.weight": [3.0] * 4, "b.weight": [4.0, None, None, None]},
        )
        total, seen = total_gradient(run)
        assert total.tolist() == [3.0] * 4
        assert seen.all()

    def test_the_total_of_two_parameters_is_their_length_together(self) -> None:
        run = builders.recording(
            builders.chain("a", "b"), steps=2, grad={"a.weight": 3.0, "b.weight": 4.0}
        )
        assert total_gradient(run)[0].tolist() == [5.0, 5.0]


class TestClipping:
    def derived(self, raw, used):
        run = builders.recording(
            steps=len(raw), step={"grad_norm_raw": raw, "grad_norm_used": used}
        )
        return gradient_signals(run)

    def test_a_constant_norm_far_below_the_raw_one_is_a_hard_clip(self) -> None:
        found = self.derived([10.0, 20.0, 40.0, 20.0], [1.0] * 4)
        assert found["clip_strength"].values[0] == pytest.approx(20.0)
        assert found["clip_share"].values[0] == 1.0
        assert found["clip_constant"].values[0] == 1.0

    def test_a_constant_ratio_is_an_unscaling_and_not_a_clip(self) -> None:
        raw = [10.0, 20.0, 40.0, 20.0]
        found = self.derived(raw, [x / 1024 for x in raw])
        assert found["clip_constant"].values[0] == 0.0
        assert found["clip_share"].values[0] == 0.0
        assert found["clip_strength"].values[0] == pytest.approx(1.0)

    def test_no_clipping_is_a_strength_of_one(self) -> None:
        found = self.derived([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
        assert found["clip_strength"].values[0] == pytest.approx(1.0)
        assert found["clip_share"].values[0] == 0.0

    def test_two_measurements_are_too_few(self) -> None:
        assert "clip_strength" not in self.derived([1.0, 2.0, None], [1.0, 2.0, None])

    def test_a_norm_that_is_not_a_number_is_left_out(self) -> None:
        found = self.derived([NAN, 1.0, 1.0, 1.0], [NAN, 1.0, 1.0, 1.0])
        assert found["clip_strength"].values[0] == pytest.approx(1.0)


class TestRest:
    def test_what_was_left_before_the_first_step_is_not_judged(self) -> None:
        run = builders.recording(steps=3, step={"residual": [1.0, 1.0, 0.0]})
        found = gradient_signals(run)["uncleared"]
        assert found.observed.tolist() == [False, True, True]

    def test_the_slope_over_time_steps_is_told_in_both_directions(self) -> None:
        run = builders.recording(steps=2, layer={"time_grad_slope": {"a": [0.7, None]}})
        found = gradient_signals(run)
        assert found["time_decay"].values[0, 0] == pytest.approx(0.7)
        assert found["time_growth"].values[0, 0] == pytest.approx(-0.7)
        assert found["time_decay"].observed[:, 0].tolist() == [True, False]
